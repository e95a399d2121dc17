"""What training does with a batch of pairs that may be wrong: one class a method.

Explained in notebook 03. Each is a frozen dataclass that maps a `Step` to a loss, and
names the judge it needs, if any. `fit(..., method=...)` takes any of them, or your own.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rsnb import losses
from rsnb.errors import check_settings
from rsnb.pacing import Judge

__all__ = ["NCR", "Complementary", "Credible", "Eliminate", "HardFirst", "InfoNCE",
           "Method", "Paced", "Step", "Triplet"]  # fmt: skip


_NULL = Judge()
_GMM = Judge(split="gmm", sample=False)
_NCR = Judge(split="gmm", memory=0.0, sample=False)


@dataclass(frozen=True)
class Step:
    """What a method sees of one step.

    Attributes:
        img_emb: (B, d), unit norm.
        txt_emb: (B, d), unit norm.
        scale: inverse temperature that the model learns.
        same: (B, B) in [0, 1], what belongs together; see `batches.Batch`.
        clean: (3, B), posterior that each pair is true, by i2t, t2i and both; ones
            for a method without a judge.
        progress: share of the training done, in [0, 1).
        img_tokens: (B, P, d) unit patch tokens, for a method with `tokens`.
        txt_tokens: (B, L, d) unit word tokens, likewise.
    """

    img_emb: Tensor
    txt_emb: Tensor
    scale: Tensor
    same: Tensor
    clean: Tensor
    progress: float
    img_tokens: Tensor | None = None
    txt_tokens: Tensor | None = None

    @property
    def sim(self) -> Tensor:
        """Return (B, B) cosines, images in rows."""
        return self.img_emb @ self.txt_emb.T


class Method(Protocol):
    """Anything that `fit` can train with."""

    @property
    def judge(self) -> Judge | None:
        """Return how pairs are judged, or None to trust them all."""

    @property
    def tokens(self) -> bool:
        """Return whether patch and word tokens are needed."""

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch, a scalar."""


@dataclass(frozen=True)
class InfoNCE:
    """Symmetric InfoNCE: every pair is believed."""

    smoothing: float = 0.0
    judge: Judge | None = None
    tokens: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        return losses.info_nce(
            step.img_emb, step.txt_emb, step.scale, step.same, self.smoothing
        )


@dataclass(frozen=True)
class Eliminate:
    """InfoNCE that late in training leaves out the least similar pairs (EBAKER, 2024).

    Published, the threshold is a quantile of a queue of the last 200,000 similarities
    of pairs *as given*, set once an epoch; so the quantile is the share that goes. Here
    the batch is the queue. What goes still stands among the negatives of the others.

    Attributes:
        drop: share of the pairs that goes; published 0.01.
        start: share of training before any goes; published 4 epochs of 7.
    """

    drop: float = 0.01
    start: float = 4 / 7
    judge: Judge | None = None
    tokens: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no run could mean."""
        check_settings(self, drop=0 <= self.drop < 1, start=0 <= self.start <= 1)

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        i2t, t2i = losses.info_nce_each(step.scale * step.sim, step.same)
        own = step.sim.diagonal().detach()
        keep = (own >= own.quantile(self.drop)) | (step.progress < self.start)
        return (i2t + t2i)[keep].mean() / 2


@dataclass(frozen=True)
class Triplet:
    """Hinge against the hardest negative (VSE++, Faghri 2018)."""

    margin: float = 0.2
    judge: Judge | None = None
    tokens: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        return losses.triplet(step.sim, step.same, self.margin).mean()


@dataclass(frozen=True)
class Complementary:
    """Learn from negatives alone (RCL, Hu 2023, log form), temperature `tau`."""

    tau: float = 0.05
    judge: Judge | None = None
    tokens: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        return losses.complementary(step.sim / self.tau, step.same).mean()


@dataclass(frozen=True)
class NCR:
    """Two Gaussians split, posteriors weigh, soft margins (NCR, Huang 2021).

    One network instead of two that exchange splits; noisy pairs enter in the second
    half of training, as published.
    """

    margin: float = 0.2
    judge: Judge | None = _NCR
    tokens: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        clean = step.clean[2]
        late = float(step.progress >= 0.5)
        margin = losses.soft_margin(clean, self.margin)
        each = losses.triplet(step.sim, step.same, margin)
        return (each * torch.where(clean > 0.5, 1.0, late)).mean()


@dataclass(frozen=True)
class Credible:
    """InfoNCE on soft labels: what a pair lacks in credibility goes to its neighbours.

    After CREAM (Ma 2024): target = y on the pair, 1 - y spread by the model's own
    similarities, without gradient.
    """

    judge: Judge | None = _GMM
    tokens: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        logits, y = step.scale * step.sim, step.clean[2][:, None]
        total = torch.zeros((), device=logits.device)
        for way, same in ((logits, step.same), (logits.T, step.same.T)):
            guess = way.detach().softmax(1)
            target = y * same / same.sum(1, keepdim=True) + (1 - y) * guess
            total = total - (target * way.log_softmax(1)).sum(1).mean()
        return total / 2


@dataclass(frozen=True)
class Paced:
    """RRSITR made scale-free: posteriors split, a wide pace, three kinds of lesson.

    Thresholds are in units of chance, so batch size, temperature and noise rate may
    change. Pairs that both directions believe learn by self-paced InfoNCE; ambiguous
    ones likewise, weighted by their posterior; noisy ones by a hinge whose margin is
    that posterior.

    Attributes:
        start: gamma at the start, in units of the loss at chance.
        end: gamma from `ramp` on.
        ramp: share of training over which gamma grows.
        high: both posteriors above it: clean.
        low: both below it: noisy.
        ambiguous: weight of ambiguous pairs.
        noisy: weight of the hinge.
        margin: of the hinge, times the posterior.
    """

    start: float = 0.9
    end: float = 1.3
    ramp: float = 0.6
    high: float = 0.5
    low: float = 0.05
    ambiguous: float = 0.8
    noisy: float = 0.9
    margin: float = 0.2
    judge: Judge | None = _NULL
    tokens: bool = False

    def weigh(self, each: Tensor, gamma: float) -> Tensor:
        """Return each pair's weight, from its loss and the pace."""
        return losses.pace(each, gamma)

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch."""
        i2t, t2i = losses.info_nce_each(step.scale * step.sim, step.same)
        each, chance = i2t + t2i, 2 * math.log(len(i2t))
        grown = min(1.0, step.progress / self.ramp)
        gamma = chance * (self.start + (self.end - self.start) * grown)
        both = step.clean[:2]
        clean = (both > self.high).all(0)
        noisy = (both < self.low).all(0)
        lesson = self.ambiguous * step.clean[2]
        weight = self.weigh(each, gamma) * torch.where(clean, 1.0, lesson) * ~noisy
        hinge = losses.triplet(step.sim, step.same, self.margin * step.clean[2])
        return (weight * each / 2 + self.noisy * hinge * noisy).mean()


class HardFirst(Paced):
    """The opposite order, for the ablation: the higher the loss, the more it counts."""

    def weigh(self, each: Tensor, gamma: float) -> Tensor:
        """Return sin(pi/2 * loss / gamma), 1 from gamma on."""
        return losses.pace(gamma - each, gamma)
