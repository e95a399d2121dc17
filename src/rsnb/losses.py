"""Losses over a batch of paired embeddings, and what they are made of.

Explained in notebooks 02 (InfoNCE) and 03 (noise). A similarity matrix `sim` here is
(B, B), images in rows and captions in columns, its diagonal the pairs as given.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["alignment", "complementary", "hardest", "info_nce", "info_nce_each", "pace",
           "soft_margin", "triplet", "uniformity"]  # fmt: skip


def info_nce(
    img_emb: Tensor, txt_emb: Tensor, logit_scale: Tensor | float,
    same: Tensor | None = None, smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return the symmetric InfoNCE loss (van den Oord 2018; CLIP 2021, eq. in Fig. 3).

    Args:
        img_emb: (B, d), unit norm.
        txt_emb: (B, d), unit norm.
        logit_scale: inverse temperature, > 0.
        same: (B, B) in [0, 1], how far image i and caption j belong together; targets
            are its rows and columns, each made to sum to 1. A batch that holds a
            caption twice would otherwise punish right answers.
        smoothing: label smoothing in [0, 1).

    Returns:
        Scalar tensor; log B for embeddings that tell nothing.
    """
    logits = logit_scale * img_emb @ txt_emb.T
    i2t, t2i = info_nce_each(logits, same, smoothing)
    return (i2t.mean() + t2i.mean()) / 2


def info_nce_each(
    logits: Tensor, same: Tensor | None = None, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return InfoNCE pair by pair: (B,) i2t and (B,) t2i, each log B at chance.

    `logits` are scaled similarities (B, B); `same` and `smoothing` as in `info_nce`.
    """
    same = (torch.eye(len(logits)) if same is None else same).to(logits)
    rows, columns = same / same.sum(1, keepdim=True), same.T / same.T.sum(1, True)
    how: dict = {"reduction": "none", "label_smoothing": smoothing}
    i2t = F.cross_entropy(logits, rows, **how)
    return i2t, F.cross_entropy(logits.T, columns, **how)


def hardest(sim: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity of each image's and each caption's hardest negative, (B,).

    Pairs that `same` (B, B) marks as belonging together are no negatives.
    """
    off = sim.masked_fill(same.to(sim.device) > 0, -math.inf)
    return off.max(1).values, off.max(0).values


def triplet(sim: Tensor, same: Tensor, margin: Tensor | float) -> Tensor:
    """Return (B,) hinges against the hardest negatives (VSE++, Faghri 2018, eq. 6).

    `margin` is a number or one for each pair, in units of `sim`.
    """
    own = sim.diagonal()
    image, caption = hardest(sim, same)
    return F.relu(margin + image - own) + F.relu(margin + caption - own)


def soft_margin(clean: Tensor, margin: float = 0.2, base: float = 10.0) -> Tensor:
    """Return each pair's margin, 0 where `clean` is 0 (NCR, Huang 2021, eq. 8)."""
    return margin * (base**clean - 1) / (base - 1)


def complementary(logits: Tensor, same: Tensor) -> Tensor:
    """Return (B,): how far each pair's *negatives* are not pushed away (RCL, Hu 2023).

    Sum of -log(1 - p) over the negatives, both directions. A false pair teaches little,
    because its own similarity enters only through the softmax.
    """
    negative = (same.to(logits.device) == 0).to(logits)
    i2t = -(torch.log1p(-logits.softmax(1).clamp(max=1 - 1e-6)) * negative).sum(1)
    t2i = -(torch.log1p(-logits.softmax(0).clamp(max=1 - 1e-6)) * negative).sum(0)
    return i2t + t2i


def pace(loss: Tensor, gamma: Tensor | float) -> Tensor:
    """Return self-paced weights cos(pi/2 * loss / gamma), 0 from gamma on (RRSITR §3).

    Weights carry no gradient: they say how much a pair may teach, not what.
    """
    share = (loss.detach() / gamma).clamp(0, 1)
    return torch.cos(share * math.pi / 2).clamp(min=0)


def alignment(img_emb: Tensor, txt_emb: Tensor) -> float:
    """Return the mean squared distance of true pairs (Wang & Isola 2020, eq. 2).

    0 when each caption lies on its image, 2 when they are orthogonal.
    """
    return float((img_emb - txt_emb).square().sum(1).mean())


def uniformity(emb: Tensor, t: float = 2.0) -> float:
    """Return log of the mean Gaussian potential (Wang & Isola 2020, eq. 3).

    0 when all rows coincide; about -2t for points spread over a large sphere.
    """
    return float(torch.pdist(emb).square().mul(-t).exp().mean().log())
