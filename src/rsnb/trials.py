"""What the noise sweep compares, and the settings that each method may try.

Explained in notebook 03. Every method has the same number of trials, all at 60 % noise,
chosen by validation mR: no method is tuned with more care than its rivals. RRSITR runs
at its published batch of 100, which its thresholds need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from rsnb.batches import TrainConfig
from rsnb.methods import (
    NCR,
    Complementary,
    Credible,
    HardFirst,
    InfoNCE,
    Method,
    Paced,
    Triplet,
)
from rsnb.pacing import Judge
from rsnb.rrsitr import RRSITR

__all__ = ["PLANS", "TRIALS", "TUNE_DRAW", "TUNE_RATE", "Plan"]

TUNE_RATE, TUNE_DRAW = 0.6, 9  # a draw that no test arm uses


@dataclass(frozen=True)
class Plan:
    """One sweep.

    Attributes:
        data: name for `rsnb.data.load`.
        starts: pre-trained backbones; the first is also the one for tuning.
        methods: method → how many of the starts it gets.
        cfg: training settings beside those that a trial sets.
        rates: shares of captions that are moved.
        draws: seeds of noise and of training order.
        split: training split.
        images: size of the training subset, 0 for all.
        store: side in pixels of the training images in memory.
        tuned_on: plan whose tuned settings are used; empty: its own.
    """

    data: str
    starts: tuple[str, ...]
    methods: Mapping[str, int]
    cfg: TrainConfig
    rates: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    draws: tuple[int, ...] = (0, 1, 2)
    split: str = "train"
    images: int = 0
    store: int = 192
    tuned_on: str = ""


_FINE = TrainConfig(epochs=12, average=0.98, min_scale=0.33, eval_every=3)

_REAL = TrainConfig(
    epochs=12, average=0.98, min_scale=0.4, jitter=0.2, weight_decay=0.2, eval_every=3
)

Trials = tuple[tuple[Method, Mapping[str, float]], ...]


def _grid(methods: Sequence[Method], rates: Sequence[float], **more: float) -> Trials:
    return tuple((m, {"lr": lr, **more}) for m in methods for lr in rates)


def _one(method: Method, lr: float = 1e-3, batch: int = 128) -> Trials:
    return _grid([method], [lr], batch_size=batch)


_LITERAL = RRSITR(local=False, gamma1=2.5, gamma2=9.0)
_SAMPLED = Judge(split="gmm")
_LR = (1e-4, 3e-4, 1e-3)
TRIALS: Mapping[str, Trials] = MappingProxyType(
    {
        "infonce": _grid([InfoNCE()], (*_LR, 5e-5)),
        "paced": _grid([Paced()], (5e-4, 1e-3, 2e-3, 7e-4)),
        "triplet": _grid([Triplet()], (*_LR, 3e-5)),
        "rcl": _grid([Complementary()], (3e-4, 1e-3, 3e-3, 1e-4)),
        "ncr": _grid([NCR()], (*_LR, 3e-5)),
        "cream": (
            *_grid([Credible()], (3e-4, 1e-3)),
            *_grid([Credible(_SAMPLED)], (1e-3, 5e-4)),
        ),
        # The published rule with its thresholds in units of chance, without the local
        # term: any backbone, any batch.
        "scaled": (
            *_grid([_LITERAL], (1e-4, 2e-4), batch_size=100),
            *_grid([replace(_LITERAL, margin="fixed")], (2e-4, 4e-4), batch_size=100),
        ),
        # What InfoNCE does on clean data at a rate that noise would punish.
        "infonce-fast": _one(InfoNCE()),
        # The terms of `Paced`, one changed at a time, at its tuned rate.
        "all terms": _one(Paced()),
        "no pace": _one(Paced(start=1e9, end=1e9)),
        "narrow pace": _one(Paced(start=0.55, end=0.977)),
        "hard first": _one(HardFirst()),
        "no hinge": _one(Paced(noisy=0.0)),
        "no ambiguous": _one(Paced(ambiguous=0.0)),
        "even sampling": _one(Paced(judge=Judge(sample=False))),
        "two Gaussians": _one(Paced(judge=Judge(split="gmm"))),
        # RRSITR without its local term, thresholds at the published share of chance,
        # and one suspect at a time.
        "literal": _one(_LITERAL, 3e-4, 100),
        "lower rate": _one(_LITERAL, 1e-4, 100),
        "higher rate": _one(_LITERAL, 1e-3, 100),
        "higher rate no triplet": _one(replace(_LITERAL, margin="none"), 1e-3, 100),
        "higher rate margin .2": _one(
            replace(_LITERAL, sigma=0.2, margin="fixed"), 1e-3, 100
        ),
        "fixed margin": _one(replace(_LITERAL, margin="fixed"), 3e-4, 100),
        "margin .2": _one(replace(_LITERAL, sigma=0.2), 3e-4, 100),
        "no triplet": _one(replace(_LITERAL, margin="none"), 3e-4, 100),
        "wide thresholds": _one(replace(_LITERAL, gamma2=14.0), 3e-4, 100),
        "published thresholds": _one(RRSITR(local=False), 3e-4, 100),
        "rrsitr": _grid([RRSITR()], (3e-5, 1e-4, 3e-4, 1e-5), batch_size=100),
    }
)


def _each(*methods: str) -> dict[str, int]:
    return dict.fromkeys(methods, 1)


_RIVALS = {"scaled": 2, "infonce-fast": 1, "triplet": 1, "rcl": 1, "ncr": 1, "cream": 1}
PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "world-rn": Plan(
            data="world",
            starts=("source-rn-0", "source-rn-1"),
            methods={"infonce": 2, "paced": 2, **_RIVALS},
            cfg=_FINE,
        ),
        "world-vit": Plan(
            data="world",
            starts=("source-vit-0",),
            methods={"infonce": 1, "paced": 1, "rrsitr": 1},
            cfg=replace(_FINE, epochs=8, eval_every=2),
            images=2000,
        ),
        "ablation": Plan(
            data="world",
            starts=("source-rn-0",),
            methods=_each(
                "all terms",
                "no pace",
                "narrow pace",
                "hard first",
                "no hinge",
                "no ambiguous",
                "even sampling",
                "two Gaussians",
            ),
            cfg=replace(_FINE, epochs=8, eval_every=2),
            rates=(0.8,),
        ),
        "collapse": Plan(
            data="world",
            starts=("source-rn-0",),
            methods=_each(
                "literal",
                "lower rate",
                "higher rate",
                "higher rate no triplet",
                "higher rate margin .2",
                "fixed margin",
                "margin .2",
                "no triplet",
                "wide thresholds",
                "published thresholds",
            ),
            cfg=replace(_FINE, epochs=8, eval_every=2),
            rates=(0.8,),
        ),
        "ucm": Plan(
            data="ucm",
            starts=("rsicd-rest",),
            methods={"infonce": 1, "paced": 1},
            cfg=_REAL,
            rates=(0.0, 0.4, 0.6, 0.8),
            store=128,
        ),
        "rsicd": Plan(
            data="rsicd",
            starts=("rsicd-rest",),
            methods={"infonce": 1, "paced": 1},
            cfg=replace(_REAL, epochs=8, eval_every=2),
            rates=(0.0, 0.4, 0.6, 0.8),
            images=2000,
            store=128,
            tuned_on="ucm",
        ),
    }
)
