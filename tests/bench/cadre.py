"""CADRE on the embedded world: design on validation, then score test.

    python -m rsnb assets world-vlm-cadre --force     # the adapter, about 15 minutes
    python tests/bench/cadre.py --design --write      # validation only
    python tests/bench/cadre.py --test --write        # book/results/cadre-world.json
    RSNB_DATA=... python tests/bench/cadre.py --real ucm --deep --write

What is tried, and the numbers that are chosen, are in the receipt `cadre-design` before
test is looked at; the receipt `cadre-world` counts how often that was (`test_runs`).
Rows named "oracle" read the scenes; nothing else does.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rsnb import assets, captions, probes, report, rerank, smallcaptioners, witnesses
from rsnb.cadre import (
    GRID,
    Cadre,
    Probe,
    Refined,
    Stage,
    Witness,
    inject,
    look,
    prepare,
)
from rsnb.cadre.evidence import tidy
from rsnb.cadre.qgd import RULES, learn
from rsnb.cadre.vci import SLACKS, VCI, harm
from rsnb.data import load
from rsnb.embed import embed, embed_texts
from rsnb.errors import ParameterError
from rsnb.metrics import Recall, evaluate
from rsnb.pairs import Pairs
from rsnb.phrases import LEVELS
from rsnb.stats import bootstrap_ci, paired_permutation
from rsnb.t2t import fit_fusion, space
from rsnb.twoway import Bank, TwoWay
from rsnb.world import oracle

BACKBONES = ("world-rn", "world-vit", "world-rn-robust", "source-rn-0")
SCALED = BACKBONES[:3]  # trained with windows of a third to all of the image
MINILM = space()


class Table(Witness):
    """Gains of every image and every distinct caption of a split, looked up."""

    def __init__(self, pairs: Pairs, gains: np.ndarray, texts: Sequence[str]) -> None:
        self.gains_of, self.pairs = gains, pairs
        self.at = {t: k for k, t in enumerate(texts)}

    def gains(self, pairs: Pairs, rows: np.ndarray, queries: Sequence[str], **_: Any):
        if pairs.ids != self.pairs.ids:
            raise ParameterError("the table is of other images")
        return self.gains_of[rows, [self.at[tidy(q)] for q in queries]]


class Memo(Witness):
    """A witness that is asked once about a pair, however many systems need it."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.known: dict[tuple[int, str], np.ndarray] = {}

    def gains(self, pairs: Pairs, rows: np.ndarray, queries: Sequence[str], **_: Any):
        asked = [(int(r), tidy(q)) for r, q in zip(rows, queries, strict=True)]
        new = [k for k in dict.fromkeys(asked) if k not in self.known]
        if new:
            at = np.array([r for r, _ in new])
            found = self.witness.gains(pairs, at, [q for _, q in new])
            self.known.update(zip(new, found, strict=True))
            print(f"    {len(new):,} new pairs asked", flush=True)
        return np.stack([self.known[k] for k in asked])


def table(witness: Witness, pairs: Pairs) -> Table:
    """Ask the witness about every pair: minutes, then cached."""
    texts = list(dict.fromkeys(tidy(t) for t in pairs.captions))
    rows = np.repeat(np.arange(len(pairs)), len(texts))
    gains = witness.gains(pairs, rows, texts * len(pairs))
    return Table(pairs, gains.reshape(len(pairs), len(texts), -1), texts)


def true_table(pairs: Pairs) -> Table:
    """Return the oracle's table: 1 where a caption is true of an image."""
    texts = list(dict.fromkeys(tidy(t) for t in pairs.captions))
    first = [
        next(t for t, c in enumerate(pairs.captions) if tidy(c) == x) for x in texts
    ]
    gains = np.zeros((len(pairs), len(texts), len(LEVELS)), np.float32)
    gains[..., 0] = oracle.truth(pairs.split[0])[first].T
    return Table(pairs, gains, texts)


def as_row(recall: Recall, **more: Any) -> dict[str, Any]:
    found = {k: round(v, 2) for k, v in recall.as_dict().items()}
    low_high = bootstrap_ci(recall)
    return {
        **found,
        "mR_interval": [round(low_high.low, 2), round(low_high.high, 2)],
        **more,
    }


class Split:
    """Everything about one split and one backbone."""

    def __init__(
        self, backbone: Any, pairs: Pairs, witness: Table, how: dict, name: str
    ) -> None:
        records = smallcaptioners.records(pairs, name)
        self.records, self.pairs, self.witness = records, pairs, witness
        self.stage = prepare(backbone, pairs, records, MINILM, **how)

    def of(self, scores: TwoWay) -> Recall:
        return scores.evaluate(self.pairs.gt)


def shuffles(pairs: Pairs, seed: int = 0) -> dict[str, np.ndarray]:
    """Return whose evidence stands for each image in the controls."""
    rng = np.random.default_rng(seed)
    within = np.arange(len(pairs))
    for label in sorted(set(pairs.label)):
        rows = rng.permutation(np.flatnonzero(np.array(pairs.label) == label))
        within[rows] = np.roll(rows, 1)
    return {
        "random evidence": rng.permutation(len(pairs)),
        "evidence shuffled within class": within,
    }


def harms(before: np.ndarray, after: TwoWay, gt: np.ndarray) -> dict[str, float]:
    """Return the share (%) of queries at rank 1 that lose it: by direction, both."""
    right = gt[:, None] == np.arange(before.shape[1])
    t = right[np.arange(len(gt)), before.argmax(1)]
    i = right[before.argmax(0), np.arange(before.shape[1])]
    lost_t = harm(after.t2i, before.argmax(1), right)
    lost_i = harm(after.i2t.T, before.argmax(0), right.T)
    both = (lost_t * t.sum() + lost_i * i.sum()) / max(1, t.sum() + i.sum())
    return {"t2i": 100 * lost_t, "i2t": 100 * lost_i, "both": 100 * both}


def moves(
    before: np.ndarray, after: np.ndarray, gt: np.ndarray
) -> list[dict[str, Any]]:
    """Return, by rank before, how many t2i queries rose and fell, and R@1 after."""
    rows = np.arange(len(gt))
    a, b = ((s > s[rows, gt][:, None]).sum(1) for s in (before, after))
    out = []
    for low, high in ((0, 1), (1, 5), (5, 10), (10, 20), (20, 10**9)):
        at = (a >= low) & (a < high)
        out.append(
            {
                "rank before": "1"
                if high == 1
                else f"{low + 1}-{high}"
                if high < 10**9
                else f"over {low}",
                "queries": int(at.sum()),
                "rose": 100 * float((b < a)[at].mean()),
                "fell": 100 * float((b > a)[at].mean()),
                "first after": 100 * float((b == 0)[at].mean()),
            }
        )
    return out


def curve(cadre: Cadre, val: Split, test: Split) -> dict[str, list[dict[str, float]]]:
    """Return recall of t2i against mean calls: fixed numbers, and the adaptive stop."""
    _, (way, _) = cadre.ways(test.stage, cadre.pick)
    out: dict[str, list[dict[str, float]]] = {"fixed": [], "adaptive": []}
    full = replace(cadre.t2i, slack=0.0)
    tried = [
        ("fixed", replace(full, most=k))
        for k in (0, 1, 2, 3, 5, 7, 8, 10, 12, 14, 15, 17, 20)
    ]
    tried += [("adaptive", replace(full, slack=s)) for s in SLACKS]
    for kind, how in tried:
        asked = how(*way)
        r = evaluate(asked.scores, test.pairs.gt)
        out[kind].append(
            {
                "slack": how.slack,
                "calls": float(asked.calls.mean()),
                "t2i": 100 * float(r.t2i_hits.mean()),
            }
        )
    return out


def study(
    name: str, val: Split, test: Split | None, backbone: Any, extra: dict[str, Any]
) -> dict[str, Any]:
    """Tune every system on validation; report that, and test if it is given."""
    target, gt = test or val, (test or val).pairs.gt
    rows: dict[str, Any] = {}
    kept: dict[str, Recall] = {}

    def put(label: str, recall: Recall, **more: Any) -> None:
        kept[label] = recall
        rows[label] = as_row(recall, **more)
        print(
            f"  {label:44s} mR {recall.mR:.2f}  {more if len(str(more)) < 90 else ''}",
            flush=True,
        )

    sim = target.stage.first.sim
    put("backbone", evaluate(sim, gt))
    put("text to text alone", evaluate(target.stage.text, gt))
    fusion = fit_fusion(val.stage.text, val.stage.first.sim, val.pairs.gt)
    put(
        "text and backbone, whole gallery",
        evaluate(fusion(target.stage.text, sim), gt),
        weight=fusion.weight,
    )
    guided = extra["probes"]["guided"]
    made: dict[str, tuple[Cadre, Refined]] = {}
    for label, cadre in {
        "QGD": Cadre(backbone, None, guided),
        "VCI": Cadre(backbone, val.witness),
        "CADRE": Cadre(backbone, val.witness, guided),
        "CADRE, uniform weights": Cadre(
            backbone, val.witness, extra["probes"]["uniform"]
        ),
        "CADRE, VCI first": Cadre(backbone, val.witness, guided, order=("vci", "qgd")),
    }.items():
        fitted = cadre.fit(val.stage)
        if fitted.witness is not None:
            fitted = replace(fitted, witness=target.witness)
        found = fitted.refine(target.stage)
        made[label] = fitted, found
        more: dict[str, Any] = {
            "harm": harms(sim, found.scores, gt),
            "calls": float(found.calls.mean()),
        }
        if fitted.t2i:
            more |= {"left alone": 100 * float((found.calls == 0).mean())}
            more |= {
                "t2i": vars(fitted.t2i),
                "i2t": vars(fitted.i2t),
                "pick": fitted.pick.weight,
            }
        put(label, target.of(found.scores), **more)
    full, refined = made["CADRE"]
    for label, other in (shuffles(val.pairs) if extra["full"] else {}).items():
        there = other if test is None else shuffles(test.pairs)[label]
        fitted = Cadre(backbone, val.witness).fit(val.stage, other)
        found = replace(fitted, witness=target.witness).refine(target.stage, there)
        put(f"VCI, {label}", target.of(found.scores))
    for rule in list(RULES)[1:]:
        put(
            f"QGD, {rule}",
            target.of(
                Cadre(backbone, None, extra["probes"][rule]).refine(target.stage).scores
            ),
        )
    plain = Cadre(backbone, None, extra["plain"])
    put("QGD, nothing learned", target.of(plain.refine(target.stage).scores))
    for tuned in extra["tuned"]:
        how = tuned.reranker
        scores = how.both(target.stage.first.ways(extra["bank"]), tuned.t2i, tuned.i2t)
        put(
            f"re-rank, {how.name}",
            target.of(scores),
            transductive=how.transductive,
            val_mR=tuned.mR,
        )
    if target.pairs.name == "world":
        perfect = captions.from_variants(
            oracle.records(target.pairs.ids), target.pairs.ids
        )
        perfect_val = captions.from_variants(
            oracle.records(val.pairs.ids), val.pairs.ids
        )
        text = {}
        for key, split, records in (
            ("val", val, perfect_val),
            ("target", target, perfect),
        ):
            made_of = captions.gallery(MINILM, records, **extra["how"])
            blank = Table(
                split.pairs,
                np.zeros_like(split.witness.gains_of),
                list(split.witness.at),
            )
            text[key] = (
                replace(
                    split.stage,
                    text=made_of.scores(MINILM.encode(split.pairs.captions)),
                ),
                blank,
            )
        top = replace(
            Cadre(backbone, text["val"][1], guided).fit(text["val"][0]),
            witness=text["target"][1],
        )
        put(
            "oracle: perfect descriptions of the candidates",
            target.of(top.refine(text["target"][0]).scores),
        )
        top = Cadre(backbone, true_table(val.pairs), guided).fit(val.stage)
        top = replace(top, witness=true_table(target.pairs))
        put(
            "oracle: facts of the candidates compared",
            target.of(top.refine(target.stage).scores),
        )
    if extra["full"]:
        everyone = Cadre(
            backbone, val.witness, t2i=VCI((), most=len(val.pairs)), captions=10**6
        ).fit(val.stage)
        found = replace(everyone, witness=target.witness).refine(target.stage)
        put(
            "VCI that may ask the whole gallery",
            target.of(found.scores),
            calls=float(found.calls.mean()),
        )
    p: dict[str, Any] = {}
    for a, b in (
        ("CADRE", "backbone"),
        ("CADRE", "text and backbone, whole gallery"),
        ("CADRE", "VCI"),
        ("CADRE", "CADRE, uniform weights"),
        ("QGD", "backbone"),
        *[("VCI", f"VCI, {k}") for k in shuffles(val.pairs)],
        ("VCI", "re-rank, rocchio"),
        *[("QGD", f"QGD, {r}") for r in list(RULES)[1:]],
        *[("CADRE", k) for k in kept if k.startswith("re-rank")],
    ):
        if a in kept and b in kept:
            d = bootstrap_ci(kept[a], minus=kept[b])
            p[f"{a} > {b}"] = {
                "difference": round(kept[a].mR - kept[b].mR, 2),
                "interval": [round(d.low, 2), round(d.high, 2)],
                "p": paired_permutation(kept[a], kept[b]),
            }
    base = rows["backbone"]
    worst = min(
        rows["CADRE"][k] - base[k] for k in base if k[-2:] in ("r1", "r5", "10")
    )
    return {
        "rows": rows,
        "tests": p,
        "worst_recall": round(worst, 2),
        "moves": moves(sim, refined.scores.t2i, gt),
        "curve": curve(full, val, target),
        "recall_of_candidates": 100
        * float((refined.order == gt[:, None]).any(1).mean()),
    }


def tools(backbone: Any, data: Pairs, val: Split) -> dict[str, Any]:
    """Learn the probes, and tune the re-rankers."""
    split = "captioner" if "captioner" in data.split else "train"
    own = data.where(split).with_pixels()
    views, txt = look(backbone, own), embed_texts(backbone, own.captions)
    made: dict[str, Probe] = {"guided": probes.probe(backbone, data)}
    for rule in list(RULES)[1:]:
        plain = Probe.plain(txt.shape[1], views.emb.shape[1], rule)
        made[rule] = learn(plain, txt, views.emb, own.gt)
    train = embed(backbone, data.where("train").with_pixels())
    pick = np.random.default_rng(0)
    some = np.sort(
        pick.choice(len(train.txt), min(5000, len(train.txt)), replace=False)
    )
    bank = Bank(train.txt[some], train.img[:2000])
    tuned = rerank.tune(val.stage.first, val.pairs.gt, bank)
    plain = Probe.plain(txt.shape[1], views.emb.shape[1])
    return {
        "probes": made,
        "bank": bank,
        "tuned": tuned,
        "plain": plain,
    }


SPLIT = re.compile(
    r",| with | and | on | next to | near | close to | beside | surrounded by | along "
)


def phrases(query: str) -> list[str]:
    """Return the parts of a query of two words or more, or the query."""
    parts = [p.strip() for p in SPLIT.split(tidy(query).lower())]
    return [p for p in parts if len(p.split()) > 1] or [query]


def ablation(
    name: str, val: Split, data: Pairs, backbone: Any, extra: dict[str, Any]
) -> dict[str, Any]:
    """Change one choice at a time, on validation: name of the change to mR."""
    out: dict[str, Any] = {}
    stage, gt = val.stage, val.pairs.gt
    guided = extra["probes"]["guided"]

    def put(label: str, recall: Recall) -> None:
        r = recall.as_dict()
        t2i, i2t = (
            np.mean([r[f"{w}_r{k}"] for k in (1, 5, 10)]) for w in ("t2i", "i2t")
        )
        out[label] = {
            "mR": round(r["mR"], 2),
            "t2i": round(t2i, 2),
            "i2t": round(i2t, 2),
        }
        print(f"    {label:44s} {out[label]}", flush=True)

    own = data.where("captioner")
    for label, grid in {
        "QGD, views 1 + 4": GRID, "QGD, views 1 + 4 + 9": (*GRID, (0.5, 3)),
        "QGD, views 1 + 9 of 0.71": ((1.0, 1), (0.71, 3)),
        "QGD, views 1 + 4 + 9 + 16": (*GRID, (0.5, 3), (0.36, 4)),
    }.items():  # fmt: skip
        probe = probes.learned(backbone, own, grid=grid)
        views = look(backbone, val.pairs, grid)
        cadre = Cadre(backbone, None, probe)
        put(label, val.of(cadre.refine(replace(stage, views=views)).scores))
    for top in (10, 20, 50, 100):
        cadre = Cadre(backbone, None, guided, top=top)
        put(f"QGD of the first {top}", val.of(cadre.refine(stage).scores))
    neutral = embed_texts(backbone, data.where("train").captions[::10]).mean(0)
    for share in (0.25, 0.5, 1.0):
        txt = stage.first.txt - share * neutral
        s = guided(txt / np.linalg.norm(txt, axis=1, keepdims=True), stage.views.emb)
        put(f"QGD, {share} of the mean caption taken off", evaluate(s, gt))
    parts = [phrases(c) for c in val.pairs.captions]
    flat = list(dict.fromkeys(p for some in parts for p in some))
    at = {p: k for k, p in enumerate(flat)}
    found = extra["plain"](embed_texts(backbone, flat), stage.views.emb)
    mean = np.stack([found[[at[p] for p in some]].mean(0) for some in parts])
    for weight in (0.1, 0.2, 0.4):
        mixed = (1 - weight) * stage.first.sim + weight * mean
        put(f"QGD, phrases as probes, weight {weight}", evaluate(mixed, gt))
    base = Cadre(backbone, val.witness, guided)
    fitted = base.fit(stage)
    put("CADRE", val.of(fitted.refine(stage).scores))
    for k, level in enumerate([*LEVELS, "description"]):
        put(f"CADRE without {level}", val.of(without(base, stage, [k])))
    put("CADRE, gains not split by level", val.of(without(base, stage, [], sum_=True)))
    put("CADRE, description alone", val.of(without(base, stage, list(range(5)))))
    for most in (5, 10, 15, 20, 30, 50):
        cadre = replace(base, t2i=VCI((), most=most)).fit(stage)
        put(f"CADRE, at most {most} calls", val.of(cadre.refine(stage).scores))
    for label, change in {
        "every candidate asked": {"slack": 0.0}, "no stay": {"stay": 0.0},
        "those not asked rank last": {"prior": -1e3},
    }.items():  # fmt: skip
        how = replace(fitted.t2i, **change)
        other = replace(fitted.i2t, stay=0.0) if "stay" in change else fitted.i2t
        cadre = replace(fitted, t2i=how, i2t=other)
        put(f"CADRE, {label}", val.of(cadre.refine(stage).scores))
    for captions_ in (10, 20, 50, 100):
        cadre = replace(base, captions=captions_).fit(stage)
        put(f"CADRE, {captions_} captions an image", val.of(cadre.refine(stage).scores))
    vci = Cadre(backbone, val.witness).fit(stage)
    refined = vci.refine(stage)
    best = refined.scores.t2i.argmax(1)
    real = extra["witness"]
    new = real.rewrite(val.pairs, best.tolist(), list(val.pairs.captions))
    new = [text if n else "" for text, n in zip(new, refined.calls, strict=True)]
    out["rewritten"] = {"examples": [
        {"query": val.pairs.captions[t], "image": val.pairs.ids[best[t]], "new": new[t]}
        for t in range(0, len(new), 250)
    ]}  # fmt: skip
    for kind in ("embedding", "requery"):
        for weight in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0):
            s = inject(kind, stage, backbone, new, weight)
            label = f"VCI by {kind}, weight {weight}"
            put(label, evaluate(s, gt))
            # gallery captions are no queries: nothing was injected in them
            out[label] = {"t2i": out[label]["t2i"]}
    return out


def without(
    cadre: Cadre, stage: Stage, columns: list[int], sum_: bool = False
) -> TwoWay:
    """Return the scores of a Cadre that does not hear some columns of evidence."""

    class Deaf(Cadre):
        def evidence(self, *args: Any, **more: Any) -> np.ndarray:
            out = super().evidence(*args, **more).copy()
            if sum_:
                out[..., 0] = out[..., :5].sum(-1)
                out[..., 1:5] = 0
            out[..., columns] = 0
            return out

    deaf = Deaf(cadre.backbone, cadre.witness, cadre.probe)
    return deaf.fit(stage).refine(stage).scores


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--design", action="store_true")
    ask.add_argument("--test", action="store_true")
    ask.add_argument("--write", action="store_true")
    ask.add_argument("--real", default="")
    ask.add_argument("--deep", action="store_true")
    ask.add_argument("--backbone", default="", help="another one, real data alone")
    ask.add_argument("--only", default="")
    args = ask.parse_args()
    start = time.time()
    world = not args.real
    data = load(args.real or "world").with_pixels()
    names = BACKBONES if world else (f"{args.real}-rn",)
    if args.deep:  # backbone and captioner that a GPU trained
        names = (f"{args.real}-deep",)
    if args.backbone:
        names = (args.backbone,)
    names = tuple(n for n in names if not args.only or n in args.only.split(","))
    captioner = "world-vlm" if world else f"real-vlm{'-deep' if args.deep else ''}"
    how: dict[str, Any] = {"variants": 1}
    if world:
        how = report.receipt("t2t-world")["figures"]["chosen"]
    witness = witnesses.witness(captioner)
    parts = ["val", *(["test"] if args.test or not world else [])]
    full = args.real != "rsicd"  # 5 million pairs there: candidates alone are asked
    tables = {
        s: table(witness, data.where(s)) if full else Memo(witness) for s in parts
    }
    print(f"witness: {time.time() - start:.0f} s", flush=True)
    figures: dict[str, Any] = {}
    for name in names:
        print(name, flush=True)
        backbone = assets.backbone(name)
        splits = {
            s: Split(backbone, data.where(s), tables[s], how, captioner) for s in parts
        }
        extra = tools(backbone, data, splits["val"]) | {"how": how, "full": full}
        extra["witness"] = witness
        figures[name] = study(name, splits["val"], splits.get("test"), backbone, extra)
        if args.design and name in BACKBONES[:1]:
            figures[name]["ablation"] = ablation(
                name, splits["val"], data, backbone, extra
            )
    command = "python " + " ".join(["tests/bench/cadre.py", *sys.argv[1:]])
    label = (
        "cadre-design" if not args.test and world else f"cadre-{args.real or 'world'}"
    )
    old: dict[str, Any] = {}
    if (report.root() / "book" / "results" / f"{label}.json").is_file():
        old = report.receipt(label)["figures"]["backbones"]
    for name, found in figures.items():  # how often test was scored
        if args.test or not world:
            found["test_runs"] = old.get(name, {}).get("test_runs", 0) + 1
    rest = {n: v for n, v in old.items() if n not in figures}
    out = {"backbones": {**rest, **figures}, "seconds": round(time.time() - start, 1)}
    inputs = {"data": data.source["sha256"], "witness": witness.captioner.revision}
    if args.write:
        print(report.record(label, out, command=command, inputs=inputs, seeds=[0]))


if __name__ == "__main__":
    main()
