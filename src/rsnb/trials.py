"""What the noise sweep compares, and the settings that each method may try.

Explained in notebook 03. Every method has the same number of trials, all at 60 % noise,
chosen by validation mR: no method is tuned with more care than its rivals. RRSITR runs
at its published batch of 100, which its thresholds need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from rsnb import methods
from rsnb.batches import TrainConfig
from rsnb.methods import Method
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


_FINE = TrainConfig(epochs=12, average=0.98, min_scale=0.33, eval_every=3)
_SHORT = replace(_FINE, epochs=8, eval_every=2)
_REAL = replace(_FINE, min_scale=0.4, jitter=0.2, weight_decay=0.2)

Trials = tuple[tuple[Method, Mapping[str, float]], ...]


def _grid(method: Method, *rates: float, **more: float) -> Trials:
    return tuple((method, {"lr": lr, **more}) for lr in rates)


# RRSITR without its local term, thresholds at the published share of chance.
_LITERAL = RRSITR(local=False, gamma1=2.5, gamma2=9.0)
_FIXED = replace(_LITERAL, margin="fixed")
_GMM = Judge(split="gmm")
# The terms of `Paced`, one changed at a time, at its tuned rate.
_ABLATION: Mapping[str, Method] = {
    "all terms": methods.Paced(),
    "no pace": methods.Paced(start=1e9, end=1e9),
    "narrow pace": methods.Paced(start=0.55, end=0.977),
    "hard first": methods.HardFirst(),
    "no hinge": methods.Paced(noisy=0.0),
    "no ambiguous": methods.Paced(ambiguous=0.0),
    "even sampling": methods.Paced(judge=Judge(sample=False)),
    "two Gaussians": methods.Paced(judge=_GMM),
}
# One suspect at a time.
_COLLAPSE: Mapping[str, tuple[Method, float]] = {
    "literal": (_LITERAL, 3e-4),
    "lower rate": (_LITERAL, 1e-4),
    "higher rate": (_LITERAL, 1e-3),
    "higher rate no triplet": (replace(_LITERAL, margin="none"), 1e-3),
    "higher rate margin .2": (replace(_FIXED, sigma=0.2), 1e-3),
    "fixed margin": (_FIXED, 3e-4),
    "margin .2": (replace(_LITERAL, sigma=0.2), 3e-4),
    "no triplet": (replace(_LITERAL, margin="none"), 3e-4),
    "wide thresholds": (replace(_LITERAL, gamma2=14.0), 3e-4),
    "published thresholds": (RRSITR(local=False), 3e-4),
}
_LR = (1e-4, 3e-4, 1e-3)
TRIALS: Mapping[str, Trials] = MappingProxyType({
    "infonce": _grid(methods.InfoNCE(), *_LR, 5e-5),
    "paced": _grid(methods.Paced(), 5e-4, 1e-3, 2e-3, 7e-4),
    "triplet": _grid(methods.Triplet(), *_LR, 3e-5),
    "rcl": _grid(methods.Complementary(), 3e-4, 1e-3, 3e-3, 1e-4),
    "ncr": _grid(methods.NCR(), *_LR, 3e-5),
    "cream": _grid(methods.Credible(), 3e-4, 1e-3)
    + _grid(methods.Credible(_GMM), 1e-3, 5e-4),
    "eliminate": _grid(methods.Eliminate(), 1e-4)
    + _grid(methods.Eliminate(0.3), 3e-4)
    + _grid(methods.Eliminate(0.6), 3e-4, 1e-4),
    "rrsitr": _grid(RRSITR(), 3e-5, 1e-4, 3e-4, 1e-5, batch_size=100),
    # The published rule in units of chance: any backbone, any batch.
    "scaled": _grid(_LITERAL, 1e-4, 2e-4, batch_size=100)
    + _grid(_FIXED, 2e-4, 4e-4, batch_size=100),
    # What InfoNCE does on clean data at a rate that noise would punish.
    "infonce-fast": _grid(methods.InfoNCE(), 1e-3, batch_size=128),
    **{name: _grid(how, 1e-3, batch_size=128) for name, how in _ABLATION.items()},
    **{name: _grid(m, lr, batch_size=100) for name, (m, lr) in _COLLAPSE.items()},
})  # fmt: skip

_RIVALS = {"scaled": 2, "infonce-fast": 1, "triplet": 1, "rcl": 1, "ncr": 1, "cream": 1}
_RIVALS |= {"eliminate": 1}
_RN, _BOTH = ("source-rn-0", "source-rn-1"), {"infonce": 1, "paced": 1}
PLANS: Mapping[str, Plan] = MappingProxyType({
    "world-rn": Plan("world", _RN, {"infonce": 2, "paced": 2, **_RIVALS}, _FINE),
    "world-vit": Plan(
        "world", ("source-vit-0",), {**_BOTH, "rrsitr": 1}, _SHORT, images=2000,
    ),
    **{
        name: Plan("world", _RN[:1], dict.fromkeys(changes, 1), _SHORT, rates=(0.8,))
        for name, changes in (("ablation", _ABLATION), ("collapse", _COLLAPSE))
    },
    "ucm": Plan("ucm", ("rsicd-rest",), _BOTH, _REAL, store=128),
    "rsicd": Plan(
        "rsicd", ("rsicd-rest",), _BOTH, replace(_REAL, epochs=8, eval_every=2),
        images=2000, store=128,
    ),
})  # fmt: skip
