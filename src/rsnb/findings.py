"""What the receipts of a sweep say: means, bands, retention, paired tests.

Explained in notebook 03. Everything is computed from `book/results/noise/PLAN/*.json`,
so a reader needs neither weights nor images, only the test split's `gt` for the tests.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rsnb.assets import WEIGHTS
from rsnb.data import load
from rsnb.errors import ParameterError
from rsnb.files import read_json, read_with_receipt, write_with_receipt
from rsnb.metrics import Recall
from rsnb.report import record, shelf
from rsnb.stats import bootstrap_ci, paired_permutation
from rsnb.sweep import Arm, hits, known
from rsnb.trials import PLANS

__all__ = ["NAMES", "Band", "Gap", "at", "bands", "gap", "gaps", "lines", "main",
           "overview", "read", "retention", "ship", "summary"]  # fmt: skip


#: How the methods of the sweep are called in figures and tables, in their order.
NAMES: Mapping[str, str] = MappingProxyType({
    "paced": "ours", "infonce": "InfoNCE", "wise": "InfoNCE + WiSE-FT",
    "infonce-fast": "InfoNCE, rate 1e-3", "rrsitr": "RRSITR",
    "scaled": "RRSITR, global, scaled", "cream": "soft labels (CREAM)",
    "rcl": "negatives only (RCL)", "eliminate": "eliminate late (EBAKER)",
    "ncr": "NCR", "triplet": "hardest triplet",
})  # fmt: skip
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Band:
    """mR in percent over `n` arms: mean, lowest, highest."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Gap:
    """A minus B on the same arms, hits averaged over arms, query by query.

    Attributes:
        mR: difference in points; `low` to `high` is its 95 % interval over images.
        p: two-sided, paired permutation over images with their captions.
        n: number of arms on either side.
    """

    mR: float
    low: float
    high: float
    p: float
    n: int


def read(plan: str) -> Rows:
    """Return the receipts of a plan's test arms; WiSE-FT is a method of its own.

    Each row has `method`, `start`, `rate` and `draw` beside what the receipt holds. A
    plan that was not run here has no rows.
    """
    folder = shelf() / "noise" / plan
    rows: Rows = []
    for path in sorted(folder.glob("*.json")):
        facts = read_json(path)
        if "test" not in facts:
            continue  # a tuning trial, which never saw the test split
        rows.append(facts)
        if wise := facts.get("wise"):
            same = {k: facts[k] for k in ("start", "start_sha256", "rate", "draw")}
            rows.append({**same, **wise, "method": "wise", "test": wise})
    return rows


def bands(rows: Rows, key: str = "test") -> dict[str, dict[float, Band]]:
    """Return method → rate → `Band` of the test mR at the selected epoch.

    With `key="last_mR"`, that of the last epoch; with "global_mR", that by the cosine
    where a method has a score of its own.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        value = row["test"]["mR"] if key == "test" else row.get(key)
        if value is not None:
            by = found.setdefault(row["method"], {})
            by.setdefault(row["rate"], []).append(value)

    def band(v: list[float]) -> Band:
        return Band(float(np.mean(v)), min(v), max(v), len(v))

    return {m: {r: band(by[r]) for r in sorted(by)} for m, by in found.items()}


def retention(by_rate: Mapping[float, Band]) -> dict[float, float]:
    """Return the percent of its own clean mR (above 0) that a method keeps, by rate."""
    if 0.0 not in by_rate or by_rate[0.0].mean <= 0:
        raise ParameterError("retention needs arms on clean captions, with an mR > 0.")
    clean = by_rate[0.0].mean
    return {r: 100 * b.mean / clean for r, b in by_rate.items() if r}


def gap(rows: Rows, a: str, b: str, rate: float, gt: np.ndarray) -> Gap:
    """Compare two methods at one rate on the arms that both have.

    Args:
        rows: from `read`.
        a: method.
        b: method.
        rate: share of moved captions.
        gt: (T,) of the test split.

    Raises:
        ParameterError: no arm in common.
    """
    by: dict[str, dict[tuple[str, int], Recall]] = {a: {}, b: {}}
    for row in rows:
        if row["rate"] == rate and row["method"] in by:
            key = (row["start"], row["draw"])
            by[row["method"]][key] = hits(row["hits"], gt)
    both = sorted(by[a].keys() & by[b].keys())
    if not both:
        raise ParameterError(f"{a} and {b} have no arm in common at {rate:.0%} noise.")
    one, two = (_mean([by[m][k] for k in both]) for m in (a, b))
    interval = bootstrap_ci(one, two, n=2000)
    p = paired_permutation(one, two, n=5000)
    return Gap(one.mR - two.mR, interval.low, interval.high, p, len(both))


def _mean(recalls: Sequence[Recall]) -> Recall:
    t2i, i2t = ([getattr(r, k) for r in recalls] for k in ("t2i_hits", "i2t_hits"))
    return replace(recalls[0], t2i_hits=np.mean(t2i, 0), i2t_hits=np.mean(i2t, 0))


def lines(plan: str) -> dict[str, dict[float, tuple[float, float, float]]]:
    """Return name → percent moved → (mean, low, high), as `plots.bands` takes it.

    A method that was run at one rate alone makes no line, and is in `overview` only.
    """
    table = bands(read(plan))
    return {
        name: {100 * r: (b.mean, b.low, b.high) for r, b in table[method].items()}
        for method, name in NAMES.items()
        if len(table.get(method, {})) > 1
    }


def at(plan: str, rate: float) -> dict[str, dict[str, float]]:
    """Return method → {"mR": mean} at one rate, as `plots.bars` takes it."""
    table = bands(read(plan))
    return {m: {"mR": by[rate].mean} for m, by in table.items() if rate in by}


def _kept(rows: Rows, method: str, by: Mapping[float, Band]) -> dict[float, float]:
    """Return the retention at the rates whose arms have the starts of clean ones."""
    made: dict[float, set[str]] = {r: set() for r in by}
    for row in (r for r in rows if r["method"] == method):
        made[row["rate"]].add(row["start_sha256"])
    kept = retention(by) if 0.0 in by else {}
    return {r: v for r, v in kept.items() if made[r] == made[0.0]}


def overview(*plans: str) -> Rows:
    """Return one row a plan and method: mean mR by rate, and what is kept of it.

    A method with a score of its own has a second row, by the cosine that chose its
    epoch. Starts count by digest.
    """
    out = []
    for plan in plans:
        rows = read(plan)
        scores = {"": bands(rows), ", by cosine": bands(rows, "global_mR")}
        for method, how in product(NAMES, scores):
            if not (by := scores[how].get(method)):
                continue
            kept = _kept(rows, method, by)
            row: dict[str, Any] = {"plan": plan, "method": NAMES[method] + how}
            row |= {f"{r:.0%}": round(b.mean, 1) for r, b in by.items()}
            row |= {f"kept {r:.0%}": f"{v:.0f} %" for r, v in kept.items() if r > 0.5}
            starts = {r["start_sha256"] for r in rows if r["method"] == method}
            row |= {"starts": len(starts), "arms": sum(b.n for b in by.values())}
            out.append(row)
    return out or [{"plan": "no receipts in this copy"}]


def gaps(plan: str, gt: np.ndarray, rivals: Sequence[str] = tuple(NAMES)) -> Rows:
    """Return one row a rival and rate: ours minus it, interval, p, arms."""
    rows, out = read(plan), []
    table = bands(rows)
    both = [(m, r) for m in rivals if m != "paced" for r in table.get(m, {})]
    for method, rate in both:
        with suppress(ParameterError):  # no arm in common yet
            g = gap(rows, "paced", method, rate, gt)
            out.append({
                "ours minus": NAMES.get(method, method), "noise": f"{rate:.0%}",
                "points": g.mR, "95 %": f"{g.low:.1f} to {g.high:.1f}",
                "p": f"{g.p:.4f}", "arms": g.n,
            })  # fmt: skip
    return out or [{"ours minus": "no receipts in this copy"}]


def summary(plan: str, gt: np.ndarray) -> dict[str, Any]:
    """Return all that the receipts of a plan say, JSON-able."""
    rows = read(plan)
    table, last = bands(rows), bands(rows, "last_mR")
    out: dict[str, Any] = {"gaps": gaps(plan, gt, list(table))}
    for m, by in table.items():
        out[m] = {f"{r:.0%}": vars(b) for r, b in by.items()}
        for r, b in last.get(m, {}).items():
            out[m][f"{r:.0%}"] |= {"last": b.mean}
        out[m]["kept"] = _kept(rows, m, by)
    return out


def ship(plan: str, method: str = "paced", rate: float = 0.6) -> Path:
    """Copy the best weights, by validation, into the package as `<plan>-robust`."""
    rows = [r for r in read(plan) if r["method"] == method and r["rate"] == rate]
    best = max(rows, key=lambda r: r["val_mR"], default=None)
    if best is None:
        raise ParameterError(f"{plan} has no {method} arm at {rate:.0%}; run it first.")
    arm = Arm(plan, method, best["start"], rate, best["draw"], 0)
    facts = {k: v for k, v in best.items() if k != "hits"}
    data, made = read_with_receipt(arm.weights)
    to = WEIGHTS / f"{plan}-robust.safetensors"
    return write_with_receipt(to, data, entry=made["entry"], arm=facts)


def main(args: argparse.Namespace) -> int:
    """Run `python -m rsnb sweep noise PLAN --summary` or `--ship`."""
    if args.ship:
        print(ship(args.plan))
        return 0
    known("plan", [args.plan], PLANS)
    gt = load(PLANS[args.plan].data).with_pixels().where("test").gt
    command = f"python -m rsnb sweep noise {args.plan} --summary"
    print(record(f"noise-{args.plan}", summary(args.plan, gt), command=command))
    return 0
