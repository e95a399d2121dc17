"""RRSITR exactly as published (Song 2026, arXiv 2603.28134), and its ablation.

Explained in notebook 03, term by term. `methods.Paced` is our scale-free form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsnb.backbones import Backbone
from rsnb.errors import ParameterError, check_settings
from rsnb.local import image_tokens, local_similarity, text_tokens
from rsnb.losses import hardest, info_nce_each, pace
from rsnb.methods import Step
from rsnb.pacing import Judge

__all__ = ["RRSITR", "Split", "pace_value", "rrsitr", "split_of"]


@dataclass(frozen=True)
class RRSITR:
    """Published constants, and a switch for each row of the paper's ablation.

    The thresholds are absolute values of a loss whose chance level is 4·ln B (2·ln B
    without the local terms), so they hold near the published batch of 100 only.

    Attributes:
        scale: what multiplies both similarities before the softmax, e^2.996 ≈ 20.
        gamma1: a pair below this loss is clean.
        gamma2: a pair at or above this loss is noisy; between the two, ambiguous.
        sigma: least margin of the triplet; not a sigmoid.
        lambda1: weight of the ambiguous pairs.
        lambda2: weight of the triplet.
        local: add the two local terms to a pair's loss.
        ambiguous: keep the middle class; without it, its pairs count as noisy (the
            paper does not say where they go; this is our reading).
        pace: weights `"easy"` first (published), `"hard"` first (ours: the sine instead
            of the cosine), `"random"` in [0, 1), or `"none"`, all 1.
        margin: `"dynamic"` (published), `"fixed"` at sigma, or `"none"`, no triplet.
        judge: none, the split is made anew in every batch.
    """

    scale: float = math.exp(2.996)
    gamma1: float = 5.0
    gamma2: float = 18.0
    sigma: float = 0.6
    lambda1: float = 0.8
    lambda2: float = 0.9
    local: bool = True
    ambiguous: bool = True
    pace: str = "easy"
    margin: str = "dynamic"
    judge: Judge | None = None

    def __post_init__(self) -> None:
        """Refuse values that split nothing."""
        check_settings(
            self, scale=0 < self.scale < math.inf,
            gamma1=0 < self.gamma1 < self.gamma2,
            gamma2=self.gamma1 < self.gamma2 < math.inf,
            sigma=0 <= self.sigma < math.inf, lambda1=0 <= self.lambda1 < math.inf,
            lambda2=0 <= self.lambda2 < math.inf,
            pace=self.pace in ("easy", "hard", "random", "none"),
            margin=self.margin in ("dynamic", "fixed", "none"),
        )  # fmt: skip

    @property
    def tokens(self) -> bool:
        """Return whether patch and word tokens are needed."""
        return self.local

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a batch; random weights follow from the step alone."""
        local = None
        if self.local:
            if step.img_tokens is None or step.txt_tokens is None:
                what = "RRSITR's local term needs patch and word tokens"
                raise ParameterError(f"{what}: train a ViT, or set local=False.")
            local = local_similarity(step.img_tokens, step.txt_tokens).T
        seeded = torch.Generator().manual_seed(int(step.progress * 2**40))
        return rrsitr(step.sim, local, self, seeded).loss

    def check_batch(self, size: int) -> None:
        """Raise ParameterError if no three-way split can arise in batches of `size`."""
        chance = (4 if self.local else 2) * math.log(max(1, size))
        if size < 2 or self.gamma1 >= chance or self.gamma2 >= 2 * chance:
            raise ParameterError(
                f"a batch of {size} is too small for gamma1={self.gamma1:g} and gamma2="
                f"{self.gamma2:g}: they must lie below {chance:.2f}, the chance loss, "
                "and twice that. Use the published batch of 100, or smaller thresholds."
            )


@dataclass(frozen=True)
class Split:
    """What `rrsitr` made of a batch of B pairs; only `loss` carries a gradient.

    Attributes:
        loss: scalar.
        each: (B,), loss of each pair before weighting.
        weight: (B,), self-paced weight, 0 for noisy pairs.
        group: int64 (B,), 0 clean, 1 ambiguous, 2 noisy.
    """

    loss: Tensor
    each: Tensor
    weight: Tensor
    group: Tensor


def pace_value(weight: Tensor, gamma: Tensor | float) -> Tensor:
    """Return the self-paced regulariser R(w, γ) = -2γ/π (w·arccos w - √(1 - w²))."""
    root = (1 - weight.square()).clamp(min=0).sqrt()
    return -2 / math.pi * gamma * (weight * weight.arccos() - root)


def rrsitr(
    sim: Tensor, local: Tensor | None, cfg: RRSITR | None = None,
    generator: torch.Generator | None = None,
) -> Split:  # fmt: skip
    """Return the loss of RRSITR on one batch, and the split that it makes.

    A pair's loss ℓ sums the softmax cross-entropies of its row and its column, in both
    similarities. L = L_clean + λ1·L_ambiguous + λ2·L_triplet, each a sum over the pairs
    of its group divided by B. Weights carry no gradient, so R moves the value alone
    (whose gradient this still is, since the weights minimise it); the dynamic margin
    carries one. Captions or images may be the rows: all is symmetric.

    Args:
        sim: (B, B) cosine of the global embeddings, true pairs on the diagonal.
        local: (B, B) `rsnb.local.local_similarity`, same order; None if `cfg.local` is
            False.
        cfg: constants and switches; the published ones by default.
        generator: of the random weights, on the CPU.

    Raises:
        ParameterError: B too small for the thresholds, or similarities that do not fit.
    """
    cfg = cfg or RRSITR()
    size = len(sim)
    sims = [sim] if local is None else [sim, local]
    if len(sims) != 1 + cfg.local or any(s.shape != (size, size) for s in sims):
        want = f"{1 + cfg.local} square similarities of one batch"
        got = [tuple(s.shape) for s in sims]
        raise ParameterError(f"rrsitr, local={cfg.local}, needs {want}, got {got}.")
    cfg.check_batch(size)
    each = torch.stack([x for s in sims for x in info_nce_each(cfg.scale * s)]).sum(0)
    ell = each.detach()
    group = (ell >= cfg.gamma1).long() + (ell >= cfg.gamma2)
    if not cfg.ambiguous:
        group = 2 * group.clamp(max=1)
    gamma = ell.new_tensor([cfg.gamma1, cfg.gamma2, cfg.gamma2])[group]
    weight = pace(ell, gamma)
    if cfg.pace == "hard":
        weight = (1 - weight.square()).sqrt()
    elif cfg.pace == "random":
        weight = torch.rand(size, generator=generator).to(ell)
    elif cfg.pace == "none":
        weight = torch.ones_like(ell)
    weight = weight * (group < 2)
    paced = weight * each + pace_value(weight, gamma)

    own, triplet = sim.diagonal(), torch.zeros_like(each)
    if cfg.margin != "none":
        for rival in hardest(sim, torch.eye(size)):
            rise = F.relu(rival - own) if cfg.margin == "dynamic" else 0.0
            triplet = triplet + F.relu(cfg.sigma * (1 + rise) - own + rival)
    factor = ell.new_tensor([1.0, cfg.lambda1, cfg.lambda2])[group]
    loss = (factor * torch.where(group < 2, paced, triplet)).sum() / size
    return Split(loss, ell, weight, group)


@torch.inference_mode()
def split_of(
    backbone: Backbone, images: np.ndarray, captions: Sequence[str], cfg: RRSITR
) -> Split:
    """Return how the rule splits one batch as a backbone sees it, untrained by it.

    Args:
        backbone: a ViT if `cfg.local`.
        images: uint8 (B, S, S, 3).
        captions: B texts.
        cfg: constants.
    """
    pixels = backbone.prepare(images)
    ids = backbone.tokenize(list(captions)).to(backbone.device)
    if not cfg.local:
        img, txt = backbone.encode_images(images), backbone.encode_texts(captions)
        return rrsitr(torch.from_numpy(img @ txt.T), None, cfg)
    img_emb, patches = image_tokens(backbone.model, pixels)
    txt_emb, words = text_tokens(backbone.model, ids)
    sim = F.normalize(img_emb, dim=-1) @ F.normalize(txt_emb, dim=-1).T
    return rrsitr(sim, local_similarity(patches, words).T, cfg)
