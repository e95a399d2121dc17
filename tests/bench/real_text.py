"""Text-to-text retrieval on real language, without a pixel.

    RSNB_DATA=... python tests/bench/real_text.py [--limit 300] [--write]

The closest stand-in for RSRT that can be run here. RSRT has a multimodal model describe
each image and people's captions look for it; its texts are not to be had, nor is a
model that could write them. Here people, or a translation program, wrote what stands
for the description, so the figures tell how far text alone carries a query, not how
well a model describes.

`rsitmd-rsicd`: RSITMD's captions look for pictures that RSICD's captions describe.
`rsitmd_to_rsicd.csv` says which pictures are the same; tiers A and B are used, and
every sentence that occurs in both sets is removed from both. The mapping was itself
made from captions (A by a sentence that both share, removed here; B by likeness), so
pictures whose two texts differ most are missing and the figures flatter, those of B and
of the lexical setting most: tier A is also shown alone.
`rsicd-paraphrases`: back-translated captions of RSICD that differ from every caption of
their picture look for the original captions.

Throughout, sentences count as equal if their letters and digits agree, and a sentence
counts once for each picture. The aggregate of each setting is the one with the best mR
on pictures outside test (RSITMD: train; RSICD: val); the test pictures are scored with
--write only, once, and with that aggregate. "all" contains the pictures of the choice.

Settings: MiniLM as it is; MiniLM centred and multiplied by the covariance to the power
-0.25; TF-IDF over words and pairs of words. The last two take mean, covariance and
frequencies from RSICD's train captions, less those of RSITMD's test pictures. Without
--write the choice alone is run, with --limit on so many pictures. Writes the receipt
book/results/t2t-real-text.json: numbers and hashes only.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from rsnb.data import load
from rsnb.files import sha256_file
from rsnb.metrics import Recall, caption_ceiling, evaluate
from rsnb.pairs import Pairs
from rsnb.report import record
from rsnb.stats import bootstrap_ci, holm, paired_permutation
from rsnb.t2t import AGGREGATES, TAU, TextGallery
from rsnb.textspace import Known, TextSpace, space

POWER, RIDGE = -0.25, 1e-3  # RIDGE: added to the variances, in units of their mean
WORDS = (1, 2)  # n-grams of TF-IDF; the rest is scikit-learn's default
NEAR = 0.8  # word sets that overlap so much (Jaccard) are nearly one sentence
MAPPING = "rsitmd/rsitmd_to_rsicd.csv"
REWORDED = [f"rsicd/raw/textaug_{s}_rsicd.jsonl.gz" for s in ("train", "valid", "test")]

# queries (Q), texts of each picture (N), aggregate -> scores (Q, N)
Scorer = Callable[[Sequence[str], Sequence[Sequence[str]], str], np.ndarray]


@dataclass(frozen=True)
class Task:
    """Pictures with queries and texts from two hands.

    Attributes:
        queries: those of each of N pictures, at least one.
        texts: likewise, what the gallery knows of it.
        test: bool (N,).
        choose: bool (N,), pictures that choose the aggregate; none of test.
        tier: N marks of the mapping, "" where there is none.
        train: texts of the gallery's side that statistics come from.
        counts: what was removed.
    """

    queries: list[list[str]]
    texts: list[list[str]]
    test: np.ndarray
    choose: np.ndarray
    tier: np.ndarray
    train: list[str]
    counts: dict[str, int]

    def part(self, keep: np.ndarray) -> tuple[list[str], np.ndarray, list[list[str]]]:
        """Return queries, their pictures and the texts of the pictures marked."""
        rows = np.flatnonzero(keep)
        size = [len(self.queries[i]) for i in rows]
        flat = [q for i in rows for q in self.queries[i]]
        texts = [self.texts[i] for i in rows]
        return flat, np.repeat(np.arange(len(rows)), size), texts


def form(text: str) -> str:
    """Return letters and digits alone, in lower case."""
    return "".join(c for c in text.casefold() if c.isalnum())


def own(texts: Iterable[str], without: Iterable[str] = ()) -> list[str]:
    """Return the texts with a form of their own, the first of each; no blank ones."""
    seen = {"", *without}
    return [t for t in texts if (f := form(t)) not in seen and not seen.add(f)]


def two_sets(
    asks: Pairs, holds: Pairs, same: Mapping[str, tuple[str, str]],
) -> Task:  # fmt: skip
    """Return the task of one set's captions against another's of the same pictures.

    Args:
        asks: its captions are the queries; its split says what test is.
        holds: its captions are the gallery.
        same: id in `asks` -> (id in `holds`, tier); the order is kept.
    """
    shared = {form(c) for c in asks.captions} & {form(c) for c in holds.captions} - {""}
    a, b = ({i: k for k, i in enumerate(p.ids)} for p in (asks, holds))
    left = {i: own(asks.captions_of(a[i]), shared) for i in same}
    right = {i: own(holds.captions_of(b[j]), shared) for i, (j, _) in same.items()}
    keep = [i for i in same if left[i] and right[i]]
    test = np.array([asks.split[a[i]] == "test" for i in keep])
    held = {j for i, (j, _) in same.items() if asks.split[a[i]] == "test"}
    fit = [holds.split[k] == "train" and holds.ids[k] not in held for k in holds.gt]
    before = [
        sum(len(own(p.captions_of(at[i]))) for i in ids)
        for p, at, ids in ((asks, a, same), (holds, b, [j for j, _ in same.values()]))
    ]
    counts = {
        "pictures mapped": len(same), "sentences in both sets": len(shared),
        "query sentences": before[0], "gallery sentences": before[1],
        "query sentences removed": before[0] - sum(map(len, left.values())),
        "gallery sentences removed": before[1] - sum(map(len, right.values())),
        "pictures left without query": sum(not x for x in left.values()),
        "pictures left without gallery text": sum(not x for x in right.values()),
        "pictures dropped": len(same) - len(keep),
        "test pictures dropped": len(held) - int(test.sum()),
    }  # fmt: skip
    return Task(
        [left[i] for i in keep], [right[i] for i in keep], test, ~test,
        np.array([same[i][1] for i in keep]),
        own(c for c, ok in zip(holds.captions, fit, strict=True) if ok), counts,
    )  # fmt: skip


def reworded(pairs: Pairs, others: Mapping[str, Sequence[str]]) -> Task:
    """Return the task of other wordings (id -> sentences) against the captions."""
    texts = [own(pairs.captions_of(i)) for i in range(len(pairs))]
    forms = [{form(t) for t in some} for some in texts]
    asked = [own(others.get(i, ()), forms[k]) for k, i in enumerate(pairs.ids)]
    keep = [k for k in range(len(pairs)) if asked[k] and texts[k]]
    split = np.array([pairs.split[k] for k in keep])
    every = set().union(*forms)
    train = (c for c, k in zip(pairs.captions, pairs.gt, strict=True)
             if pairs.split[k] == "train")  # fmt: skip
    differ = [form(t) for i, f in zip(pairs.ids, forms, strict=True)
              for t in others.get(i, ()) if form(t) not in {"", *f}]  # fmt: skip
    counts = {
        "pictures": len(pairs), "paraphrases": sum(map(len, others.values())),
        "equal to no caption of their picture": len(differ),
        "of these, equal to one of another picture": sum(f in every for f in differ),
        "distinct for their picture": sum(map(len, asked)),
        "pictures dropped": len(pairs) - len(keep),
        "test pictures dropped": pairs.split.count("test") - [*split].count("test"),
    }  # fmt: skip
    return Task(
        [asked[k] for k in keep], [texts[k] for k in keep], split == "test",
        split == "val", np.array([""] * len(keep)), own(train), counts,
    )  # fmt: skip


def whitened(known: Known, train: Sequence[str]) -> Known:
    """Return the vectors centred, and multiplied by the covariance of `train`^POWER."""
    x = known.encode(train).astype(float)
    mean = x.mean(0)
    variance, axes = np.linalg.eigh(np.cov(x.T))
    scale = (variance.clip(0) + RIDGE * variance.mean()) ** POWER
    y = (known.vectors - mean) @ (axes * scale) @ axes.T
    norm = np.linalg.norm(y, axis=1, keepdims=True)
    return Known(list(known.row), (y / norm).astype(np.float32))


def by_space(known: Known) -> Scorer:
    """Return the scores of a `TextGallery`."""
    at = TextSpace("known", "", known)
    return lambda q, t, how: TextGallery(at, t, aggregate=how).scores(at.encode(q))


def by_words(train: Sequence[str], step: int = 512) -> Scorer:
    """Return TF-IDF scores; cosines stay sparse. Words not in `train` do not count."""
    fitted = TfidfVectorizer(ngram_range=WORDS, dtype=np.float32).fit(train)

    def scores(queries, texts, how):
        distinct = {t: i for i, t in enumerate(dict.fromkeys(chain(*texts)))}
        # one order for the texts of a picture: equal pictures tie exactly
        of = np.concatenate([sorted(distinct[t] for t in some) for some in texts])
        count = np.array([len(some) for some in texts])
        start = np.cumsum(count) - count
        known, asked = fitted.transform(list(distinct)).T, fitted.transform(queries)
        out = np.empty((len(queries), len(texts)), np.float32)
        for lo in range(0, len(queries), step):
            cos = (asked[lo : lo + step] @ known).toarray()[:, of]
            best = np.maximum.reduceat(cos, start, axis=1)
            if how == "mean":
                best = np.add.reduceat(cos, start, axis=1) / count
            elif how == "lse":
                share = np.exp((cos - np.repeat(best, count, axis=1)) / TAU)
                share = np.add.reduceat(share, start, axis=1) / count
                best = best + TAU * np.log(share)
            out[lo : lo + step] = best
        return out

    return scores


def near(queries: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> float:
    """Return the share of queries that nearly repeat a text of their own picture."""

    def words(text):
        plain = "".join(c if c.isalnum() else " " for c in text.casefold())
        return frozenset(plain.split())

    hits = [
        any(len(w & v) >= NEAR * len(w | v) for v in map(words, some))
        for asked, some in zip(queries, texts, strict=True) for w in map(words, asked)
    ]  # fmt: skip
    return round(float(np.mean(hits)), 4)


def sizes(task: Task, keep: np.ndarray) -> dict:
    """Return counts of a part, and the recall that repeated sentences leave.

    "texts": of the pictures, each asked for by all of its own texts.
    """
    queries, gt, texts = task.part(keep)
    whole = ["\n".join(sorted(map(form, some))) for some in texts]
    pairs = {
        "queries": caption_ceiling(queries, gt),
        "texts": caption_ceiling(whole, np.arange(len(texts))),
    }
    rows = np.flatnonzero(keep)
    return {
        "pictures": len(texts), "queries": len(queries),
        "distinct queries": pairs["queries"].distinct,
        "texts": sum(map(len, texts)), "distinct texts": len({*chain(*texts)}),
        "pictures with the same texts as another": pairs["texts"].recurring,
        "near copies": near([task.queries[i] for i in rows], texts),
        "ceiling": {
            k: {m: round(v, 2) for m, v in c.as_dict().items()
                if k == "queries" or m.startswith("t2i")}
            for k, c in pairs.items()
        },
    }  # fmt: skip


def row(recall: Recall, aggregate: str) -> dict:
    found = bootstrap_ci(recall)
    return {
        "aggregate": aggregate, **{k: round(v, 2) for k, v in recall.as_dict().items()},
        "interval": [round(found.low, 2), round(found.high, 2)],
        "ties": round(recall.ties, 4),
    }  # fmt: skip


def measure(
    task: Task, settings: Mapping[str, Scorer], *, test: bool
) -> tuple[dict, dict[str, Recall]]:  # fmt: skip
    """Return the figures of a task, and each setting's recall on test (if `test`)."""

    def recall(name: str, part, how: str) -> Recall:
        queries, gt, texts = part
        return evaluate(settings[name](queries, texts, how), gt)

    part = task.part(task.choose)
    tried = {
        name: [row(recall(name, part, how), how) for how in AGGREGATES]
        for name in settings
    }
    best = {k: max(v, key=lambda r: r["mR"])["aggregate"] for k, v in tried.items()}
    figures = {
        "removed": task.counts, "statistics from": len(task.train),
        "choice": {"sizes": sizes(task, task.choose), "rows": tried},
        "chosen": best,
    }  # fmt: skip
    if not test:
        return figures, {}
    parts = {"test": task.test, "all": np.ones(len(task.test), bool)}
    if (tier := task.tier == "A").any():
        parts |= {f"{k}, tier A": v & tier for k, v in parts.items()}
    kept = {}
    for where, keep in parts.items():
        part = task.part(keep)
        found = {name: recall(name, part, how) for name, how in best.items()}
        rows = {name: row(r, best[name]) for name, r in found.items()}
        figures[where] = {"sizes": sizes(task, keep), "rows": rows}
        kept[where] = found
    return figures, kept["test"]


def compared(found: Mapping[str, Mapping[str, Recall]]) -> list[dict]:
    """Return mR of each setting less another's on test: Holm over all rows."""
    rows = []
    for task, recalls in found.items():
        for a, b in combinations(recalls, 2):
            x, y = recalls[a], recalls[b]
            gap = bootstrap_ci(x, y)
            rows.append({
                "task": task, "setting": a, "less": b, "mR": round(x.mR - y.mR, 2),
                "interval": [round(gap.low, 2), round(gap.high, 2)],
                "p": paired_permutation(x, y),
            })  # fmt: skip
    for one, p in zip(rows, holm([r["p"] for r in rows]), strict=True):
        one["p_holm"] = float(p)
    return rows


def tasks(root: Path) -> tuple[dict[str, Task], dict]:
    """Return both tasks from the files below `root`, and the digests of these."""
    rsitmd, rsicd = load("rsitmd"), load("rsicd")
    with (root / MAPPING).open(encoding="utf-8") as f:
        same = {r["rsitmd_image"]: (r["rsicd_image"], r["tier"])
                for r in csv.DictReader(f) if r["tier"] in "AB"}  # fmt: skip
    others = {}
    for name in REWORDED:
        with gzip.open(root / name, "rt", encoding="utf-8") as f:
            for one in map(json.loads, f):
                others[Path(one["filename"]).name] = one["captions"]
    inputs = {p.name: p.source["sha256"] for p in (rsitmd, rsicd)}
    inputs |= {Path(n).name: sha256_file(root / n) for n in (MAPPING, *REWORDED)}
    made = {
        "rsitmd-rsicd": two_sets(rsitmd, rsicd, same),
        "rsicd-paraphrases": reworded(rsicd, others),
    }
    return made, inputs


def few(task: Task, limit: int) -> Task:
    """Return `limit` pictures of the choice, drawn at random, and no others."""
    rows = np.random.default_rng(0).permutation(np.flatnonzero(task.choose))[:limit]
    rows.sort()
    return replace(
        task, queries=[task.queries[i] for i in rows],
        texts=[task.texts[i] for i in rows], test=task.test[rows],
        choose=task.choose[rows], tier=task.tier[rows], train=task.train[: 9 * limit],
    )  # fmt: skip


def encoded(tasks: Iterable[Task], encoder: TextSpace, step: int = 2048) -> Known:
    """Return the vectors of all texts, each encoded once; kept after every `step`."""
    every = sorted({t for x in tasks for t in chain(x.train, *x.texts, *x.queries)})
    parts = [every[i : i + step] for i in range(0, len(every), step)]
    return Known(every, np.concatenate([encoder.encode(part) for part in parts]))


def scorers(task: Task, known: Known) -> dict[str, Scorer]:
    """Return the settings, by name."""
    return {
        "minilm": by_space(known),
        "minilm whitened": by_space(whitened(known, task.train)),
        "tf-idf": by_words(task.train),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, help="pictures of the choice to try on")
    parser.add_argument("--write", action="store_true", help="score test, keep receipt")
    args = parser.parse_args()
    if args.limit and args.write:
        parser.error("--write is for the full measurement")
    began = time.process_time()
    made, inputs = tasks(Path(os.environ["RSNB_DATA"]))
    if args.limit:
        made = {name: few(task, args.limit) for name, task in made.items()}
    encoder = space()
    known = encoded(made.values(), encoder)
    figures: dict = {
        "tau": TAU, "power": POWER, "ridge": RIDGE, "ngrams": WORDS, "near": NEAR,
        "distinct texts encoded": len(known.row),
    }  # fmt: skip
    found = {}
    for name, task in made.items():
        figures[name], found[name] = measure(
            task, scorers(task, known), test=args.write
        )
        print(name, json.dumps(figures[name], indent=1), flush=True)
    if args.write:
        figures["compared on test"] = compared(found)
        figures["cpu_seconds"] = round(time.process_time() - began)
        print(json.dumps(figures["compared on test"], indent=1))
        record(
            "t2t-real-text", figures,
            command="python tests/bench/real_text.py --write",
            inputs={**inputs, "minilm": encoder.digest}, seeds=[0],
        )  # fmt: skip


if __name__ == "__main__":
    main()
