"""Recall under ties, from a similarity matrix or from embeddings in blocks.

Protocol: image→text (i2t) hits at k if any of the image's captions is in the top k;
text→image (t2i) hits if the caption's own image is; mR is the mean of the six. Equal
scores are ordered at random, and the headline is the expectation over that order.
Explained in notebooks 01 and 02.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from rsnb.errors import MetricError
from rsnb.files import read_verified, write_with_receipt
from rsnb.ties import KS, Ceiling, caption_ceiling, check_gt, p_hit, percent
from rsnb.vectors import (
    as_array,
    check_embeddings,
    distinct_rows,
    product,
    similarity,
)

__all__ = [
    "KS",
    "Ceiling",
    "Recall",
    "caption_ceiling",
    "evaluate",
    "evaluate_embeddings",
    "similarity",
]

_STEP = 2**18  # scores compared at once: stays in the processor's cache
_KEEP = 2**25  # scores kept between the two passes of evaluate_embeddings (128 MB)

# One tile of scores: a matrix, then the caption and image numbers of its rows and
# columns, each followed by where they are in the matrix (equal embeddings share one).
_Tile = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Recall:
    """Recall of both directions, with every query's hits.

    Attributes:
        gt: int64 (T,), image of each t2i query (caption).
        images: int64 (Q,), the i2t queries: images that have captions, ascending.
        t2i_hits: float64 (T, 3), probability of a hit at 1, 5, 10 under random ties.
        i2t_hits: float64 (Q, 3), likewise.
        t2i_ranks: float64 (T, 3), 0-based rank of the image: with ties broken in its
            favour, in expectation, and against it.
        i2t_ranks: float64 (Q, 3), likewise for the best-ranked caption of the image.
        distractors: gallery images without captions (never queries).
    """

    gt: np.ndarray
    images: np.ndarray
    t2i_hits: np.ndarray
    i2t_hits: np.ndarray
    t2i_ranks: np.ndarray
    i2t_ranks: np.ndarray
    distractors: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the six expected recalls and mR, in percent."""
        return _table(self.i2t_hits, self.t2i_hits)

    @property
    def mR(self) -> float:
        """Mean of the six expected recalls, in percent."""
        return self.as_dict()["mR"]

    def bounds(self) -> dict[str, dict[str, float]]:
        """Return `optimistic` and `pessimistic` recall: luckiest, unluckiest order."""
        k = np.array(KS)
        return {
            name: _table(self.i2t_ranks[:, [c]] < k, self.t2i_ranks[:, [c]] < k)
            for name, c in (("optimistic", 0), ("pessimistic", 2))
        }

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
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        return write_with_receipt(path, st_save(arrays), recall=self.as_dict())

    @classmethod
    def load(cls, path: str | Path) -> Recall:
        """Read what `save` wrote; a changed file raises `FileCorruptError`."""
        arrays: dict[str, Any] = st_load(read_verified(path))
        return cls(**{**arrays, "distractors": int(arrays["distractors"])})

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
        t, q = len(self.gt), len(self.images)
        more = f", {self.distractors:,} distractor images" if self.distractors else ""
        return (
            f"{html}<p>{q:,} images, {t:,} captions{more}. One hit moves "
            f"i2t by {100 / q:.2f} and t2i by {100 / t:.2f} points; {self.ties:.1%} of "
            "queries have a tie at a cut.</p>"
        )


def evaluate(
    sim: ArrayLike, gt: ArrayLike, *, allow_distractors: bool = False
) -> Recall:
    """Return the recall of a similarity matrix.

    A plain matrix product rounds equal embeddings differently by position, which breaks
    their ties; make `sim` with `similarity`, or use `evaluate_embeddings`.

    >>> r = evaluate(np.array([[0.9, 0.1], [0.8, 0.3]]), [0, 1])
    >>> r.as_dict()["t2i_r1"], r.as_dict()["i2t_r1"]
    (50.0, 100.0)

    Args:
        sim: float (n_text, n_image), finite; an array or a tensor.
        gt: int (n_text,), caption → image.
        allow_distractors: keep images without captions in the gallery; they are no
            queries. Without it they are an error.

    Raises:
        MetricError: wrong shape or dtype, NaN or infinity, `gt` out of range, or an
            image without captions; the message says where.
    """
    s = as_array(sim)
    if s.ndim != 2 or 0 in s.shape or s.dtype.kind != "f":
        raise MetricError(
            f"sim must be float (n_text, n_image), got {s.dtype} {s.shape}."
        )
    own = check_gt(gt, *s.shape, allow_distractors=allow_distractors)
    bad = np.flatnonzero(~(np.isfinite(s.min(1)) & np.isfinite(s.max(1))))
    if len(bad):
        col = np.flatnonzero(~np.isfinite(s[bad[0]]))[0]
        raise MetricError(
            f"sim has NaN or infinity in {len(bad)} rows, first at row {bad[0]}, "
            f"column {col}. Mask with a finite low score, or repair the embeddings."
        )
    rows, cols = np.arange(s.shape[0]), np.arange(s.shape[1])
    return _recall([(s, rows, rows, cols, cols)], s[rows, own], own, s.shape[1])


def evaluate_embeddings(
    txt_emb: ArrayLike,
    img_emb: ArrayLike,
    gt: ArrayLike,
    *,
    block: int = 2048,
    device: str | None = None,
    allow_distractors: bool = False,
) -> Recall:
    """Return the recall of embeddings without building the full matrix.

    Scores are inner products. Equal embeddings are scored once, so they tie exactly.
    Memory: one tile, plus at most 128 MB of tiles kept between the two passes.

    Args:
        txt_emb: float (n_text, d).
        img_emb: float (n_image, d).
        gt: int (n_text,), caption → image.
        block: side of a tile, in distinct embeddings.
        device: torch device for the products; None multiplies with NumPy.
        allow_distractors: as in `evaluate`.

    Raises:
        EmbeddingError: wrong shape or dtype, NaN, infinity or a zero row.
        MetricError: as in `evaluate`.
    """
    txt = check_embeddings(txt_emb, "txt_emb")
    img = check_embeddings(img_emb, "img_emb", dim=txt.shape[1])
    own = check_gt(gt, len(txt), len(img), allow_distractors=allow_distractors)
    if block < 1:
        raise MetricError(f"block must be at least 1, got {block}.")
    txt, t_of = distinct_rows(txt)
    img, i_of = distinct_rows(img)
    kept: dict[tuple[int, ...], np.ndarray] = {}

    def tile(r: int, c: int) -> np.ndarray:
        a, b = r * block, c * block
        return product(txt[a : a + block], img[b : b + block], device)

    # Pass 1: the score of each caption with its image. It is read from the very tile
    # that pass 2 compares with, since other block shapes round differently.
    pos = np.empty(len(own), np.result_type(txt, img))
    for (r, c), at in _groups(np.stack([t_of, i_of[own]], 1) // block):
        s = tile(r, c)
        pos[at] = s[t_of[at] % block, i_of[own[at]] % block]
        if len(txt) * len(img) <= _KEEP:
            kept[r, c] = s
    columns = list(_groups(i_of[:, None] // block))

    def tiles() -> Iterator[_Tile]:
        for (r,), rows in _groups(t_of[:, None] // block):
            for (c,), cols in columns:
                s = kept[r, c] if (r, c) in kept else tile(r, c)
                yield s, rows, t_of[rows] % block, cols, i_of[cols] % block

    return _recall(tiles(), pos, own, len(i_of))


def _groups(key: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each distinct row of `key` with the numbers of its rows, ascending."""
    order = np.lexsort(key.T[::-1])
    cuts = np.flatnonzero((np.diff(key[order], axis=0) != 0).any(1)) + 1
    for own in np.split(order, cuts):
        yield tuple(key[own[0]].tolist()), own


def _recall(
    tiles: Iterable[_Tile], pos: np.ndarray, gt: np.ndarray, n_image: int
) -> Recall:
    """Count the scores above and level with each positive's, `pos`, tile by tile."""
    images = np.unique(gt)
    best = np.full(n_image, np.inf, pos.dtype)  # inf: nothing beats a distractor
    best[images] = -np.inf
    np.maximum.at(best, gt, pos)
    t_above, t_level = np.zeros((2, len(gt)), np.int64)
    i_above, i_level = np.zeros((2, n_image), np.int64)
    for s, rows, at, cols, cols_at in tiles:
        step = max(1, _STEP // len(cols))
        whole = np.array_equal(cols_at, np.arange(s.shape[1]))
        for lo in range(0, len(rows), step):
            row = rows[lo : lo + step]
            part = s[at[lo : lo + step]]
            part = part if whole else part[:, cols_at]
            t_above[row] += (part > pos[row, None]).sum(1)
            t_level[row] += (part == pos[row, None]).sum(1)
            i_above[cols] += (part > best[cols]).sum(0)
            i_level[cols] += (part == best[cols]).sum(0)
    above, level = i_above[images], i_level[images]
    good = np.bincount(gt, pos == best[gt])[images].astype(np.int64)
    if (t_level < 1).any() or (level < good).any():
        raise MetricError(
            "one block product gave two results, so ties cannot be counted. "
            "Use device=None, or evaluate(similarity(txt_emb, img_emb), gt)."
        )
    one = np.ones_like(gt)
    hits = p_hit(t_above, t_level, one), p_hit(above, level, good)
    ranks = _ranks(t_above, t_level, one), _ranks(above, level, good)
    return Recall(gt, images, *hits, *ranks, n_image - len(images))


def _ranks(above: np.ndarray, level: np.ndarray, good: np.ndarray) -> np.ndarray:
    other = level - good
    return np.stack([above, above + other / (good + 1), above + other], 1)


def _table(i2t: np.ndarray, t2i: np.ndarray) -> dict[str, float]:
    names = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS]
    values = [*percent(i2t.mean(0)), *percent(t2i.mean(0))]
    return dict(zip(names, values, strict=True)) | {"mR": float(np.mean(values))}
