"""What is wrong with the public benchmarks, as lists, and how much each moves a score.

    python tests/bench/real_findings.py lists      # minutes; src/rsnb/lists/*.csv
    python tests/bench/real_findings.py effects    # with backbones trained here

Needs RSNB_DATA. Lists hold ids, numbers, scores and digests, no text. `effects` writes
`book/results/findings-real.json`.

- `leak-SET`: images whose scene is on the other side of the train/test line in SET:
  own test and train or val there, or the reverse. RSITMD's pixels are not public here,
  so scenes are matched by captions; the mapping that came with the data, made from
  captions too, is added, so that no scene that either knows remains.
- `repeated`: test images that are near-duplicates, by pixels, of own training images.
- `seen`: test captions that stand, word for word, in own train or val.
- `padded`: test captions that repeat an earlier caption of their image.
- `mismatch`: captions that the audit takes for wrong, by captions and classes alone, as
  many as it estimates there to be.
- `tier-c`: RSITMD images whose pixels were borrowed from RSICD on weak evidence.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from rsnb import assets, lists, recipes
from rsnb.audit import mismatches
from rsnb.data import load
from rsnb.duplicates import caption_matches, near_duplicates
from rsnb.embed import embed
from rsnb.files import write_bytes
from rsnb.metrics import Recall, evaluate_embeddings
from rsnb.pairs import Pairs, held_out
from rsnb.report import record
from rsnb.stats import bootstrap_ci

SETS = ("rsitmd", "rsicd", "ucm")
Rows = list[dict[str, Any]]


def known() -> dict[str, tuple[str, str, str]]:
    """Return RSITMD image → RSICD image, tier, score, as the data state it."""
    path = Path(os.environ["RSNB_DATA"]) / "rsitmd" / "rsitmd_to_rsicd.csv"
    with path.open(encoding="utf-8") as f:
        return {
            r["rsitmd_image"]: (r["rsicd_image"], r["tier"], r["score"])
            for r in csv.DictReader(f)
        }


def agreement(found: dict[str, str], a: Pairs, b: Pairs) -> dict[str, Any]:
    """Return how far our finder and the mapping that came with the data agree."""
    table, own = known(), dict(zip(a.ids, a.split, strict=True))
    far = dict(zip(b.ids, b.split, strict=True))
    right = {i for i, j in found.items() if i in table and table[i][0] == j}
    out: dict[str, Any] = {
        "found": len(found), "mapping": len(table),
        "precision": len(right) / len(found), "recall": len(right) / len(table),
        "precision, images in both": len(right) / len(found.keys() & table.keys()),
    }  # fmt: skip
    for tier in "ABC":
        here = {i for i, row in table.items() if row[1] == tier}
        out[f"recall, tier {tier}"] = len(right & here) / len(here)
    leaks = [
        {i for i, j in pairs if own[i] == "test" != far[j]}
        for pairs in (found.items(), ((i, r[0]) for i, r in table.items()))
    ]
    out |= {
        "test leaks found": len(leaks[0]), "test leaks in mapping": len(leaks[1]),
        "test leaks in both": len(leaks[0] & leaks[1]),
    }  # fmt: skip
    return out


def leaks(a: Pairs, b: Pairs, found: dict[str, str]) -> tuple[Rows, Rows]:
    """Return the rows of both sets that lie across the line, by finder and mapping."""
    split = [dict(zip(p.ids, p.split, strict=True)) for p in (a, b)]
    by: dict[tuple[str, str], list[str]] = defaultdict(list)
    score = {}
    for i, j in found.items():
        by[i, j].append("captions")
    for i, (j, tier, s) in known().items():
        by[i, j].append(f"mapping {tier}")
        score[i, j] = s
    one: Rows = []
    two: Rows = []
    for (i, j), why in sorted(by.items()):
        s, t = split[0][i], split[1][j]
        if (s == "test") != (t == "test"):
            more = {"score": score.get((i, j), ""), "by": " + ".join(why)}
            one.append({"image": i, "split": s, "other": j, "other_split": t, **more})
            two.append({"image": j, "split": t, "other": i, "other_split": s, **more})
    return one, two


def captions(pairs: Pairs, rows: np.ndarray, score: np.ndarray | None = None) -> Rows:
    """Return list rows for captions, by their row in `pairs`."""
    first = np.searchsorted(pairs.gt, pairs.gt)
    return [
        {
            "image": pairs.ids[pairs.gt[t]], "split": pairs.split[pairs.gt[t]],
            "caption": int(t - first[t]), "digest": lists.digest(pairs.captions[t]),
            "score": "" if score is None else round(float(score[t]), 4),
        }
        for t in rows
    ]  # fmt: skip


def repeated_captions(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return test caption rows that are padded, and those seen in train or val."""
    words = [lists.digest(c) for c in pairs.captions]
    test = np.array([s == "test" for s in pairs.split])[pairs.gt]
    rest = {w for w, t in zip(words, test, strict=True) if not t}
    own: set[tuple[int, str]] = set()
    padded, seen = [], []
    for t in np.flatnonzero(test):
        key = int(pairs.gt[t]), words[t]
        if key in own:
            padded.append(t)
        own.add(key)
        if words[t] in rest:
            seen.append(t)
    return np.array(padded, int), np.array(seen, int)


def write(name: str, rows: Rows) -> None:
    """Write one list; an empty one is not kept."""
    path = lists.FOLDER / f"{name}.csv"
    if not rows:
        return print(f"{name}: nothing")
    out = io.StringIO()
    table = csv.DictWriter(out, lists.COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda r: (r["image"], r.get("caption", 0))))
    write_bytes(path, out.getvalue().encode())
    print(f"{name}: {len(rows)} rows", flush=True)


def make() -> dict[str, Any]:
    """Write all lists; return what the finder found and the audit estimates."""
    sets = {n: load(n) for n in SETS}
    a, b = sets["rsitmd"], sets["rsicd"]
    found = caption_matches(a, b)
    one, two = leaks(a, b, found)
    write("rsitmd-leak-rsicd", one)
    write("rsicd-leak-rsitmd", two)
    weak = [{"image": i, "split": dict(zip(a.ids, a.split, strict=True))[i],
             "score": s, "other": j, "by": "mapping C"}
            for i, (j, tier, s) in known().items() if tier == "C"]  # fmt: skip
    write("rsitmd-tier-c", weak)
    out: dict[str, Any] = {"overlap": agreement(found, a, b)}
    for name, pairs in sets.items():
        for kind, rows in zip(
            ("padded", "seen"), repeated_captions(pairs), strict=True
        ):
            write(f"{name}-{kind}", captions(pairs, rows))
        seen = near_duplicates(some := pairs.with_pixels())
        twins = []
        for i, j, d in zip(seen.a, seen.b, seen.distance, strict=True):
            for x, y in ((i, j), (j, i)):
                if some.split[x] == "test" != some.split[y]:
                    twins.append({
                        "image": some.ids[x], "split": "test", "other": some.ids[y],
                        "other_split": some.split[y], "score": round(1 - d / 64, 4),
                        "by": "pixels",
                    })  # fmt: skip
        write(f"{name}-repeated", twins)
        audit = mismatches(pairs)
        count = round(audit.rate * len(pairs.captions))
        worst = audit.ranking()[:count]
        rows = captions(pairs, worst, audit.score)
        for row, t in zip(rows, worst, strict=True):
            why = [k for k, v in audit.evidence.items() if v[t] >= 0.1]
            row["by"] = "text" if audit.broken[t] else " + ".join(why)
        write(f"{name}-mismatch", rows)
        out[name] = {
            "rate": audit.rate, "listed": count,
            "lists": {n: len(lists.read(name, n)) for n in lists.names(name)},
        }  # fmt: skip
    return out


def line(recall: Recall) -> dict[str, Any]:
    """Return mR with its interval, and the number of queries."""
    about = bootstrap_ci(recall, n=2000)
    return {"mR": recall.mR, "low": about.low, "high": about.high,
            "images": len(recall.i2t_hits), "captions": len(recall.gt)}  # fmt: skip


def each_image(recall: Recall) -> np.ndarray:
    """Return (N,), what each image and its captions add to mR, in percent."""
    own = np.stack([recall.t2i_hits[recall.gt == i].mean()
                    for i in range(len(recall.i2t_hits))])  # fmt: skip
    return 50 * (recall.i2t_hits.mean(1) + own)


def gap(score: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Return the mean of seen images minus that of others, 95 %, images resampled."""
    rng = np.random.default_rng(0)
    draws = [rng.choice(score[m], (5000, m.sum())).mean(1) for m in (seen, ~seen)]
    low, high = np.quantile(draws[0] - draws[1], (0.025, 0.975))
    value = score[seen].mean() - score[~seen].mean()
    return {"points": float(value), "low": float(low), "high": float(high)}


def leaky(clean: str, others: tuple[str, ...]) -> dict[str, Any]:
    """RSITMD's borrowed test images: those a backbone was trained on, and the rest.

    They are trained on under their names in RSICD. `clean` was trained on none. Its
    own gap between the same two groups says how much easier the images are; `leak` is
    what is left, image by image.
    """
    test = load("rsitmd", drop="tier-c").where("test").with_pixels()
    partner = {i: j for i, (j, *_) in known().items()}

    def scores(name: str) -> np.ndarray:
        emb = embed(assets.backbone(name), test, turns=recipes.get(name).turns)
        return each_image(evaluate_embeddings(emb.txt, emb.img, test.gt))

    base, out = scores(clean), {}
    for name in others:
        recipe = recipes.get(name)
        train = recipe.load().where(recipe.split)
        gone = held_out(len(train), recipe.skip)
        mine = set(np.delete(np.array(train.ids), gone))
        seen = np.array([partner[i] in mine for i in test.ids])
        score = scores(name)
        out[name] = {
            "images": len(test), "seen": int(seen.sum()),
            "own": {"seen": score[seen].mean(), "others": score[~seen].mean(),
                    **gap(score, seen)},
            "clean": {"seen": base[seen].mean(), "others": base[~seen].mean(),
                      **gap(base, seen)},
            "leak": gap(score - base, seen),
        }  # fmt: skip
        print(name, out[name], flush=True)
    return out


def moved(data: str, name: str) -> dict[str, Any]:
    """Return a backbone's test score with each list of its data left out."""
    test = load(data).where("test")
    emb = embed(assets.backbone(name), test, turns=recipes.get(name).turns)
    out = {"nothing": line(evaluate_embeddings(emb.txt, emb.img, test.gt))}
    for each in lists.names(data):
        keep = lists.keep(test, lists.read(data, each))
        left, gt = np.unique(test.gt[keep], return_inverse=True)
        out[each] = line(evaluate_embeddings(emb.txt[keep], emb.img[left], gt))
    print(data, name, {k: round(v["mR"], 2) for k, v in out.items()}, flush=True)
    return out


def effects() -> dict[str, Any]:
    """Return what each list moves, for the backbones that were trained here."""
    return {
        "leak": leaky("rsitmd-rn", ("rsicd-rest", "rsicd-deep")),
        "moved": {
            f"{data}, {name}": moved(data, name)
            for data, name in (("rsicd", "rsicd-rest"), ("rsicd", "rsicd-deep"),
                               ("ucm", "rsicd-rest"), ("ucm", "ucm-deep"))
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["lists", "effects"])
    name = "findings-lists" if parser.parse_args().what == "lists" else "findings-real"
    figures = make() if name == "findings-lists" else effects()
    inputs = {n: load(n).source.get("sha256") for n in SETS}
    what = "lists" if name == "findings-lists" else "effects"
    command = f"python tests/bench/real_findings.py {what}"
    print(record(name, figures, command=command, inputs=inputs))


if __name__ == "__main__":
    main()
