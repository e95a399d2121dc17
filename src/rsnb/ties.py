"""What ties do to recall: hit probabilities, and the ceiling that equal captions set.

Explained in notebook 01. Use `caption_ceiling` through `rsnb.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import MetricError
from rsnb.vectors import as_array

__all__ = ["KS", "Ceiling", "caption_ceiling", "check_gt", "p_hit", "percent"]

KS = (1, 5, 10)


@dataclass(frozen=True)
class Ceiling:
    """Best recall (percent, at 1, 5, 10) that repeated captions leave to any encoder.

    Attributes:
        t2i_random: the encoder finds the images that own the caption; these tie and
            are ordered at random.
        t2i_deterministic: the best fixed order: images that own the caption most often
            come first. The highest that any encoder of the caption alone can reach.
        i2t_random: the encoder puts the image's rarest caption first; its copies
            under other images tie with it, as copies of a text always do.
        captions: number of captions.
        distinct: number of distinct captions.
        recurring: captions whose text belongs to more than one image.
    """

    t2i_random: tuple[float, ...]
    t2i_deterministic: tuple[float, ...]
    i2t_random: tuple[float, ...]
    captions: int
    distinct: int
    recurring: int

    def as_dict(self) -> dict[str, float]:
        """Return `t2i_r1_random`, `t2i_r1_deterministic`, `i2t_r1_random` and so on."""
        rules = "t2i_random", "t2i_deterministic", "i2t_random"
        return {
            name.replace("_", f"_r{k}_"): value
            for name in rules
            for k, value in zip(KS, getattr(self, name), strict=True)
        }


def caption_ceiling(captions: Sequence[str], gt: ArrayLike) -> Ceiling:
    """Return the recall ceiling that repeated captions set (notebook 01).

    Captions are equal if they agree after strip and lower-casing; only the paired
    image counts as right.

    >>> caption_ceiling(["a road", "A road ", "a", "b"], [0, 1, 2, 3]).t2i_random
    (75.0, 100.0, 100.0)

    Args:
        captions: T texts.
        gt: int (T,), caption → image.

    Raises:
        MetricError: `gt` does not fit the captions.
    """
    own = check_gt(gt, len(captions), allow_distractors=True)
    texts: dict[str, int] = {}
    text = np.array([texts.setdefault(c.strip().lower(), len(texts)) for c in captions])
    n_image = own.max() + 1
    pair, m = np.unique(text * n_image + own, return_counts=True)
    owner_text, owner = pair // n_image, pair % n_image
    owners = np.bincount(owner_text)
    copies = np.bincount(text)
    order = np.lexsort((-m, owner_text))
    place = np.arange(len(pair)) - (np.cumsum(owners) - owners)[owner_text[order]]
    best = np.zeros((n_image, len(KS)))
    np.maximum.at(best, owner, p_hit(0 * m, copies[owner_text], m))
    ks = np.array(KS)
    return Ceiling(
        percent(np.minimum(1, ks / owners[text][:, None]).mean(0)),
        percent(((place[:, None] < ks) * m[order][:, None]).sum(0) / len(text)),
        percent(best[np.unique(own)].mean(0)),
        len(text),
        len(texts),
        int((owners[text] > 1).sum()),
    )


def p_hit(greater: np.ndarray, equal: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return (n, 3): chance that one of `good` among `equal` ties is in the top k.

    Hypergeometric: k - greater draws without replacement all miss, or not.
    """
    miss = np.ones((len(equal), len(KS)))
    for c, k in enumerate(KS):
        for j in range(k):
            step = np.maximum(equal - good - j, 0) / np.maximum(equal - j, 1)
            miss[:, c] *= np.where(j < k - greater, step, 1.0)
    return 1 - miss


def check_gt(
    gt: ArrayLike,
    n_text: int,
    n_image: int | None = None,
    *,
    allow_distractors: bool = False,
) -> np.ndarray:
    """Return `gt` as int64 (n_text,) after checking that each query has an answer.

    Raises:
        MetricError: wrong shape or dtype, out of range, or images without captions.
    """
    out = as_array(gt)
    if out.shape != (n_text,) or out.dtype.kind not in "iu" or n_text == 0:
        raise MetricError(
            f"gt must hold one image number for each of {n_text} captions, got "
            f"{out.dtype} {out.shape}."
        )
    out = out.astype(np.int64)
    n_image = max(int(out.max()) + 1, 1) if n_image is None else n_image
    bad = np.flatnonzero((out < 0) | (out >= n_image))
    if len(bad):
        raise MetricError(
            f"gt: {len(bad)} captions point outside the {n_image} images, first "
            f"caption {bad[0]} → image {out[bad[0]]}."
        )
    if not allow_distractors:
        bare = np.flatnonzero(np.bincount(out, minlength=n_image) == 0)
        if len(bare):
            raise MetricError(
                f"{len(bare)} of {n_image} images have no caption, so they are queries "
                f"without a right answer; first images {bare[:5].tolist()}. Drop them, "
                "or pass allow_distractors=True to keep them in the gallery only."
            )
    return out


def percent(share: np.ndarray) -> tuple[float, ...]:
    """Return shares as a tuple of percentages."""
    return tuple((100 * share).tolist())
