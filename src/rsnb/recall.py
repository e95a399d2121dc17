"""`Recall`: what an evaluation found, query by query; and what ties do to it.

Explained in notebook 01; made by `rsnb.metrics`, which also exports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from safetensors.numpy import save as st_save

from rsnb.cache import read_arrays
from rsnb.errors import MetricError
from rsnb.files import write_with_receipt
from rsnb.vectors import as_array

__all__ = ["KS", "METRICS", "Ceiling", "Recall", "caption_ceiling", "check_gt", "p_hit"]

KS = (1, 5, 10)
#: The six recalls, in the order of every table of this field.
METRICS = tuple(f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS)


@dataclass(frozen=True, eq=False)
class Recall:
    """Recall of both directions, with every query's hits.

    Attributes:
        gt: int64 (T,), image of each t2i query (caption); i2t queries are images.
        t2i_hits: float64 (T, 3), probability of a hit at 1, 5, 10 under random ties.
        i2t_hits: float64 (N, 3), likewise.
        t2i_ranks: float64 (T, 3), 0-based rank of the image: with ties broken in its
            favour, in expectation, and against it.
        i2t_ranks: float64 (N, 3), likewise for the best-ranked caption of the image.
    """

    gt: np.ndarray
    t2i_hits: np.ndarray
    i2t_hits: np.ndarray
    t2i_ranks: np.ndarray
    i2t_ranks: np.ndarray

    def as_dict(self) -> dict[str, float]:
        """Return the six expected recalls and mR, in percent."""
        return _table(self.i2t_hits, self.t2i_hits)

    @property
    def mR(self) -> float:
        """Mean of the six expected recalls, in percent."""
        return self.as_dict()["mR"]

    def bounds(self) -> dict[str, dict[str, float]]:
        """Return `optimistic` and `pessimistic` recall: luckiest, unluckiest order."""
        k, ends = np.array(KS), {"optimistic": [0], "pessimistic": [2]}
        two = self.i2t_ranks, self.t2i_ranks
        return {name: _table(*(r[:, c] < k for r in two)) for name, c in ends.items()}

    @property
    def ties(self) -> float:
        """Share (0-1) of the queries of both directions with a tie across a cut.

        Above 0.001 the bounds matter, and the HTML table shows them.
        """
        ranks = np.concatenate([self.t2i_ranks, self.i2t_ranks])
        k = np.array(KS)
        return float(((ranks[:, [0]] < k) != (ranks[:, [2]] < k)).any(1).mean())

    def save(self, path: str | Path) -> Path:
        """Write hits and ranks as safetensors; the receipt beside it has the recall."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return write_with_receipt(path, st_save(arrays), recall=self.as_dict())

    @classmethod
    def load(cls, path: str | Path) -> Recall:
        """Read what `save` wrote; a changed file raises `FileCorruptError`."""
        return cls(**read_arrays(path))

    def __repr__(self) -> str:
        """Return mR and the six recalls in one line."""
        v = [f"{x:.2f}" for x in self.as_dict().values()]
        return f"Recall(mR {v[6]}, i2t {'/'.join(v[:3])}, t2i {'/'.join(v[3:6])})"

    def _repr_html_(self) -> str:
        import pandas as pd

        rows = {"recall (%)": self.as_dict()}
        if self.ties > 0.001:
            rows |= {f"{k} ties": v for k, v in self.bounds().items()}
        html = pd.DataFrame(rows).T.to_html(float_format="{:.2f}".format, border=0)
        t, q = len(self.gt), len(self.i2t_hits)
        step = f"One hit moves i2t by {100 / q:.2f} and t2i by {100 / t:.2f} points"
        ties = f"{self.ties:.1%} of queries have a tie at a cut"
        return f"{html}<p>{q:,} images, {t:,} captions. {step}; {ties}.</p>"


def _table(i2t: np.ndarray, t2i: np.ndarray) -> dict[str, float]:
    values = [*_percent(i2t.mean(0)), *_percent(t2i.mean(0))]
    return dict(zip(METRICS, values, strict=True)) | {"mR": float(np.mean(values))}


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
        names = [n.replace("_", f"_r{k}_") for n in rules for k in KS]
        values = (*self.t2i_random, *self.t2i_deterministic, *self.i2t_random)
        return dict(zip(names, values, strict=True))


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
    own = check_gt(gt, len(captions))
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
        _percent(np.minimum(1, ks / owners[text][:, None]).mean(0)),
        _percent(((place[:, None] < ks) * m[order][:, None]).sum(0) / len(text)),
        _percent(best[np.unique(own)].mean(0)), len(text), len(texts),
        int((owners[text] > 1).sum()),
    )  # fmt: skip


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


def check_gt(gt: ArrayLike, n_text: int, n_image: int | None = None) -> np.ndarray:
    """Return `gt` as int64 (n_text,) after checking that each query has an answer.

    Raises:
        MetricError: wrong shape or dtype, out of range, or (where `n_image` is given)
            images without captions.
    """
    out = as_array(gt)
    if out.shape != (n_text,) or out.dtype.kind not in "iu" or n_text == 0:
        want = f"one image number for each of {n_text} captions"
        raise MetricError(f"gt must hold {want}, got {out.dtype} {out.shape}.")
    out = out.astype(np.int64)
    size = max(int(out.max()) + 1, 1) if n_image is None else n_image
    bad = np.flatnonzero((out < 0) | (out >= size))
    if len(bad):
        first = f"first caption {bad[0]} → image {out[bad[0]]}"
        what = f"{len(bad)} captions point outside the {size} images"
        raise MetricError(f"gt: {what}, {first}.")
    bare = np.flatnonzero(np.bincount(out, minlength=size) == 0)
    if n_image is not None and len(bare):
        what = f"{len(bare)} of {n_image} images have no caption, so no right answer"
        raise MetricError(f"{what}; first images {bare[:5].tolist()}. Drop them.")
    return out


def _percent(share: np.ndarray) -> tuple[float, ...]:
    """Return shares as a tuple of percentages."""
    return tuple((100 * share).tolist())
