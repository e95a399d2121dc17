"""Train many arms (method x start x noise rate x draw), each once, and keep receipts.

Explained in notebook 03. `python -m rsnb sweep noise PLAN` skips arms that have a
receipt in `book/results/noise/PLAN/`, resumes one that was stopped, and may run beside
another process with `--part`. Settings are tuned on validation at 60 % first.
"""

import argparse
import base64
import re
import shutil
import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from rsnb import assets, backbones, local, noise, report
from rsnb.averaging import interpolate
from rsnb.cache import cache_dir
from rsnb.data import load
from rsnb.embed import embed_images, embed_texts
from rsnb.errors import ParameterError
from rsnb.files import fingerprint, read_json, write_json
from rsnb.metrics import Recall, evaluate, evaluate_embeddings
from rsnb.pairs import Pairs, held_out
from rsnb.pixels import load_pixels
from rsnb.train import fit
from rsnb.trials import PLANS, TRIALS, TUNE_DRAW, TUNE_RATE, Plan

__all__ = ["Arm", "arms", "hits", "known", "main", "run", "tuned"]

MIX = (0.25, 0.5, 0.75)  # shares of WiSE-FT, chosen on validation


@dataclass(frozen=True)
class Arm:
    """One training run of a plan; `trial` is a row of `TRIALS[method]`."""

    plan: str
    method: str
    start: str
    rate: float
    draw: int
    trial: int

    @property
    def path(self) -> Path:
        """Return where its receipt is, or will be."""
        trial = f"-t{self.trial}" if self.draw == TUNE_DRAW else ""
        method, rate = self.method.replace(" ", "_"), round(100 * self.rate)
        name = f"{method}-{self.start}-{rate:02}-d{self.draw}"
        folder = report.root() / "book" / "results" / "noise" / self.plan
        return folder / f"{name}{trial}.json"

    @property
    def weights(self) -> Path:
        """Return where the trained weights are kept."""
        return cache_dir() / "noise" / self.plan / f"{self.path.stem}.safetensors"


def tuned(plan: str, method: str) -> int:
    """Return the trial with the best validation mR at 60 %.

    Raises:
        ParameterError: not all trials have a receipt.
    """
    trials = [arm.path for arm in tuning(plan, method)]
    missing = [p.stem for p in trials if not p.is_file()]
    if missing:
        fix = f"Run `python -m rsnb sweep noise {plan} --tune` first"
        raise ParameterError(f"{plan} lacks trials: {', '.join(missing)}. {fix}.")
    return int(np.argmax([read_json(p)["val_mR"] for p in trials]))


def tuning(plan: str, method: str) -> list[Arm]:
    """Return the arms that tune a method."""
    at = plan, method, PLANS[plan].starts[0], TUNE_RATE, TUNE_DRAW
    return [Arm(*at, trial) for trial in range(len(TRIALS[method]))]


def arms(plan: str, methods: Sequence[str] = ()) -> list[Arm]:
    """Return the arms of a plan, the ones that matter most first."""
    p = PLANS[plan]
    names = methods or list(p.methods)
    best = {m: len(TRIALS[m]) > 1 and tuned(plan, m) for m in names}
    return [
        Arm(plan, m, start, rate, draw, best[m])
        for draw, rate, m in product(p.draws, p.rates, best)
        for start in p.starts[: p.methods[m]]
    ]


_Parts = tuple[Pairs, np.ndarray, Pairs, Pairs]


def _parts(p: Plan) -> _Parts:
    """Return what all arms share, decoded once: train and its pixels, val, test."""
    pairs = load(p.data).with_pixels()
    train, val, test = (pairs.where(s) for s in (p.split, "val", "test"))
    pixels = load_pixels(train, p.store)
    if p.images:
        rows = held_out(len(train), p.images)
        train, pixels = train.subset(rows), pixels[rows]
    return train, pixels, val, test


def _score(model: backbones.Backbone, pairs: Pairs) -> Recall:
    img = embed_images(model, load_pixels(pairs, model.image_size))
    return evaluate_embeddings(embed_texts(model, pairs.captions), img, pairs.gt)


def _pack(recall: Recall) -> str:
    """Return every query's hits as text: for paired tests without the weights."""
    both = np.concatenate([recall.i2t_hits, recall.t2i_hits])
    packed = zlib.compress(np.rint(both * 250).astype(np.uint8).tobytes(), 9)
    return base64.b85encode(packed).decode()


def hits(text: str, gt: np.ndarray) -> Recall:
    """Return the recall that a receipt holds, given the test split's `gt`.

    Ranks are not kept; hits are rounded to 1/250, which matters for ties alone.
    """
    flat = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)
    both = flat.reshape(-1, 3) / 250
    n = len(both) - len(gt)
    none = np.full((len(both), 3), np.nan)
    return Recall(np.asarray(gt), both[n:], both[:n], none[n:], none[:n])


def run(arm: Arm, parts: _Parts | None = None) -> dict[str, Any]:
    """Train and score one arm, or return its receipt; a stopped one resumes."""
    p = PLANS[arm.plan]
    train, pixels, val, test = parts or _parts(p)
    method, settings = TRIALS[arm.method][arm.trial]
    start = assets.backbone(arm.start)
    cfg = replace(p.cfg, seed=arm.draw, **settings)  # type: ignore[arg-type]
    moved = noise.draw(train, arm.rate, seed=42 + arm.draw, split=p.split)
    data = train.source.get("sha256")
    identity = fingerprint(repr(method), repr(cfg), start.digest, moved.sha256, data)
    if arm.path.is_file():
        known = read_json(arm.path)
        if known["identity"] == identity:
            return dict(known)
    folder = cache_dir() / "runs" / f"noise-{identity[:16]}"
    began = time.process_time()
    result = fit(
        start, moved.apply(train), pixels, val, load_pixels(val, start.image_size),
        cfg, method, folder=folder,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "identity": identity, "method": arm.method, "start": arm.start,
        "rate": arm.rate, "draw": arm.draw, "how": repr(method),
        "settings": dict(settings),
        "noise_sha256": moved.sha256, "start_sha256": start.digest,
        "val_mR": max(e["val_mR"] for e in result.log),
        "best_epoch": result.best_epoch, "log": [e["val_mR"] for e in result.log],
    }  # fmt: skip
    if result.verdicts:
        false = moved.false(train.captions, train.gt)
        facts["noise_estimate"] = result.verdicts[-1].rate
        facts["noise_true"] = float(false.mean())
        if false.any():
            losses = (v.loss.sum(0) for v in result.verdicts)
            facts["auroc"] = [float(roc_auc_score(false, loss)) for loss in losses]
    if arm.draw != TUNE_DRAW:  # settings never see the test split
        best = _score(result.backbone, test)
        if method.tokens:  # RRSITR's own score has the local term in it
            facts["global_mR"] = best.mR
            seen = load_pixels(test, start.image_size)
            best = evaluate(local.score(result.backbone, seen, test.captions), test.gt)
        facts |= {"test": best.as_dict(), "hits": _pack(best)}
        facts["last_mR"] = _score(result.last, test).mR
        if arm.method == "infonce":
            facts["wise"] = _wise(start, result.last, val, test)
        backbones.save(arm.weights, result.backbone, arm=repr(arm))
    facts["cpu_seconds"] = round(time.process_time() - began, 1)
    write_json(arm.path, facts)
    shutil.rmtree(folder, ignore_errors=True)
    return facts


def _wise(
    start: backbones.Backbone, end: backbones.Backbone, val: Pairs, test: Pairs
) -> dict[str, Any]:
    """Return the scores of WiSE-FT, its share chosen on validation."""
    mixed = [interpolate(start, end, share) for share in MIX]
    looks = [_score(m, val).mR for m in mixed]
    best = int(np.argmax(looks))
    recall = _score(mixed[best], test)
    facts = {"share": MIX[best], "val_mR": looks[best], "hits": _pack(recall)}
    return {**facts, **recall.as_dict()}


def known(what: str, given: Iterable[Any], there: Collection[Any]) -> None:
    """Raise ParameterError for the first name that is not there."""
    for name in given:
        if name not in there:
            listed = ", ".join(map(str, there))
            raise ParameterError(f"no {what} {name!r} in the sweep, only {listed}.")


def main(args: argparse.Namespace) -> int:
    """Run `python -m rsnb sweep noise`; return the exit code."""
    known("plan", [args.plan], PLANS)
    plan = PLANS[args.plan]
    known("method", args.method, plan.methods)
    known("rate", args.rate, plan.rates)
    known("draw", args.draw, plan.draws)
    part = re.fullmatch(r"(\d+)/(\d+)", args.part)
    if not part or int(part[1]) >= int(part[2]):
        raise ParameterError(f"--part {args.part!r} must be I/N, I from 0 to N-1.")
    names = args.method or list(plan.methods)
    if args.tune:
        todo = [arm for m in names for arm in tuning(args.plan, m)]
    else:
        todo = arms(args.plan, names)
        todo = [a for a in todo if a.rate in (args.rate or plan.rates)]
        todo = [a for a in todo if a.draw in (args.draw or plan.draws)]
    todo = todo[int(part[1]) :: int(part[2])]
    data = _parts(plan)
    for i, arm in enumerate(todo):
        facts = run(arm, data)
        mR = facts.get("test", {}).get("mR", facts["val_mR"])
        print(f"{i + 1}/{len(todo)} {arm.path.stem}: mR {mR:.1f}", flush=True)
    return 0
