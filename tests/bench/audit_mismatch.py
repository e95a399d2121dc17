"""Measure the mismatch audit: audit_mismatch.py world | real | words.

Captions are permuted among a share of rows; the audit is scored against what is false
for the image. World: the scene graphs say what is false. Real sets (RSNB_DATA): a
caption is false if it is none of the image's own. Writes book/results/audit-mismatch-*.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from rsnb import backbones, recipes
from rsnb.audit import AuditConfig, combine, mismatches
from rsnb.data import load
from rsnb.errors import ParameterError
from rsnb.evidence import from_captions, from_images, halves
from rsnb.pacing import null_posterior
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.report import receipt, record
from rsnb.train import fit
from rsnb.world import oracle

RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
SETS = {
    "all": ("unseen", "learned", "captions", "class"),
    "unseen + learned": ("unseen", "learned"),
    "no class": ("unseen", "learned", "captions"),
    "captions + class, no pixels": ("captions", "class"),
}


def moved(pairs: Pairs, rate: float, seed: int) -> tuple[Pairs, np.ndarray]:
    """Return pairs with captions permuted among a share of rows, and their order."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pairs.captions), int(rate * len(pairs.captions)), False)
    order = np.arange(len(pairs.captions))
    order[rows] = rng.permutation(rows)
    return replace(pairs, captions=tuple(pairs.captions[t] for t in order)), order


def false_by_text(pairs: Pairs, order: np.ndarray) -> np.ndarray:
    """Return bool (T,): the new text is none of the image's own."""
    true = set(zip(pairs.gt.tolist(), pairs.captions, strict=True))
    return np.array(
        [
            (i, pairs.captions[s]) not in true
            for i, s in zip(pairs.gt, order, strict=True)
        ]
    )


def false_by_scene(pairs: Pairs, order: np.ndarray) -> np.ndarray:
    """Return bool (T,): a fact of the new caption does not hold in the scene."""
    scenes = [oracle.scene(i) for i in pairs.ids]
    facts = [f for i in pairs.ids for f in oracle.facts(i)]
    return np.array(
        [
            not oracle.consistent(facts[s], scenes[i])
            for i, s in zip(pairs.gt, order, strict=True)
        ]
    )


def auroc(score: np.ndarray, false: np.ndarray) -> float | None:
    return round(float(roc_auc_score(false, score)), 4) if false.any() else None


def interval(score: np.ndarray, false: np.ndarray, gt: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval of AUROC over images."""
    rng, order = np.random.default_rng(0), np.argsort(gt, kind="stable")
    count = np.bincount(gt)
    rows = np.split(order, np.cumsum(count)[:-1])
    draws = []
    for _ in range(200):
        pick = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        draws.append(roc_auc_score(false[pick], score[pick]))
    return [round(float(q), 4) for q in np.quantile(draws, [0.025, 0.975])]


def measure(
    pairs: Pairs, start: backbones.Backbone, how: AuditConfig, order: np.ndarray,
    false: np.ndarray,
) -> dict:  # fmt: skip
    """Return the figures of one audit: each kind of evidence alone, and together."""
    began = time.process_time()
    found = from_images(pairs, start, how) | from_captions(pairs, how)
    two = halves(pairs, how)
    row: dict = {
        "moved": round(float((order != np.arange(len(order))).mean()), 4),
        "false": round(float(false.mean()), 4),
        "alone": {k: auroc(v[0].sum(0), false) for k, v in found.items()},
        "together": {},
    }
    for name, keys in SETS.items():
        some = {k: found[k] for k in keys if k in found}
        loss, null = combine(some, two)
        clean, rate = null_posterior(loss, null)
        row["together"][name] = {"auroc": auroc(loss, false), "rate": round(rate, 4)}
        if name != "all":
            continue
        if false.any():
            row["interval"] = interval(loss, false, pairs.gt)
        flag = clean < 0.5
        row["flagged"] = round(float(flag.mean()), 4)
        row["precision"] = round(float(false[flag].mean()), 4) if flag.any() else None
        row["recall"] = round(float(flag[false].mean()), 4) if false.any() else None
        bins = np.minimum((10 * (1 - clean)).astype(int), 9)
        gaps = [
            abs(float((1 - clean[bins == b]).mean() - false[bins == b].mean()))
            * float((bins == b).mean())
            for b in np.unique(bins)
        ]
        row["calibration_error"] = round(sum(gaps), 4)
    row["cpu_seconds"] = round(time.process_time() - began)
    print(row, flush=True)
    return row


def world(rates: list[float]) -> None:
    train, how = load("world").where("train"), AuditConfig()
    start = backbones.load("source-rn-0")
    figures = {}
    for rate in rates:
        noisy, order = moved(train, rate, 42)
        false = false_by_scene(train, order)
        figures[f"{rate:.0%}"] = measure(noisy, start, how, order, false)
    record(
        "audit-mismatch-world", figures,
        command="python tests/bench/audit_mismatch.py world",
        inputs={"data": train.source["sha256"], "start": start.digest}, seeds=[42],
    )  # fmt: skip


def pretrained(on: Pairs, also: Pairs) -> backbones.Backbone:
    """Return a start that was trained on another set; its words are those of both.

    Words of the audited captions are needed to read them; their pairing is not used.
    """
    recipe = recipes.RECIPES["ucm-rn"]
    start = recipes.start(recipe, on.captions + also.captions)
    pixels = load_pixels(on, recipe.store)
    cfg = replace(recipe.cfg, epochs=8 if len(on) > 4000 else 24, eval_every=99)
    few = np.arange(200)
    return fit(start, on, pixels, on.subset(few), pixels[few], cfg).last


def defects(pairs: Pairs, found) -> dict:
    """Return rank percentiles of the labelled captions, 100 for the most suspicious."""
    path = Path(os.environ["RSNB_DATA"]) / "noise" / "real_caption_defects.csv"
    place = np.empty(len(pairs.captions))
    place[found.ranking()] = np.linspace(100, 0, len(place))
    at = {i: k for k, i in enumerate(pairs.ids)}
    out: dict[str, list[float]] = {}
    for row in csv.DictReader(path.open(encoding="utf-8")):
        if row["dataset"] != pairs.name or row["image"] not in at:
            continue
        rows = np.flatnonzero(pairs.gt == at[row["image"]])
        for j in map(int, row["caption_indices_in_5"].split()):
            out.setdefault(row["label"], []).append(round(float(place[rows[j]]), 1))
    return {
        k: {"captions": len(v), "median": round(float(np.median(v)), 1), "each": v}
        for k, v in out.items()
    }


def real(rates: list[float]) -> None:
    sets = {n: load(n).where("train").with_pixels() for n in ("ucm", "rsicd")}
    try:  # sets that were measured before are kept; delete the receipt to begin anew
        figures = dict(receipt("audit-mismatch-real")["figures"])
    except ParameterError:
        figures = {}
    for name in sets:
        if name in figures:
            continue
        train, other = sets[name], sets["rsicd" if name == "ucm" else "ucm"]
        start = pretrained(other, train)
        how = AuditConfig(epochs=6, side=128)
        if name == "rsicd":
            found = mismatches(train, start, replace(how, epochs=4))
            figures["rsicd_as_published"] = {
                "rate": round(found.rate, 4), **defects(train, found)
            }  # fmt: skip
            print(figures["rsicd_as_published"], flush=True)
        some = np.random.default_rng(42).permutation(len(train))[:2000]
        part = train.subset(np.sort(some))
        rows = figures[name] = {"images": len(part)}
        for rate in rates:
            noisy, order = moved(part, rate, 42)
            false = false_by_text(part, order)
            rows[f"{rate:.0%}"] = measure(noisy, start, how, order, false)
        record(
            "audit-mismatch-real", figures,
            command="python tests/bench/audit_mismatch.py real",
            inputs={n: p.source.get("sha256") for n, p in sets.items()}, seeds=[42],
        )  # fmt: skip


def words() -> None:
    """Rank the labelled captions of both sets by captions and classes alone."""
    figures: dict = {}
    inputs = {}
    for name in ("rsicd", "rsitmd"):
        pairs = load(name)
        found = mismatches(pairs.where("train"))
        figures[name] = {"rate": round(found.rate, 4), **defects(found.pairs, found)}
        inputs[name] = pairs.source.get("sha256")
        print(name, figures[name], flush=True)
    record(
        "audit-mismatch-words", figures,
        command="python tests/bench/audit_mismatch.py words", inputs=inputs,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["world", "real", "words"])
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    args = parser.parse_args()
    if args.what == "words":
        words()
    elif args.what == "world":
        world(args.rates)
    else:
        real(args.rates[1:])
