"""Losses over a batch of paired embeddings.

Explained in notebook 02 (InfoNCE). All take unit-norm float tensors `img_emb` and
`txt_emb` of shape (B, d), row i of one belonging to row i of the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["alignment", "info_nce", "uniformity"]


def info_nce(
    img_emb: Tensor,
    txt_emb: Tensor,
    logit_scale: Tensor | float,
    same: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
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
    same = torch.eye(len(logits)) if same is None else same
    same = same.to(logits)  # on its device, in its dtype
    rows, columns = same / same.sum(1, keepdim=True), same.T / same.T.sum(1, True)
    i2t = F.cross_entropy(logits, rows, label_smoothing=smoothing)
    t2i = F.cross_entropy(logits.T, columns, label_smoothing=smoothing)
    return (i2t + t2i) / 2


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
