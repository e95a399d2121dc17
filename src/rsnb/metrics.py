"""Recall under ties, from a similarity matrix or from embeddings in blocks.

Protocol: image→text (i2t) hits at k if any of the image's captions is in the top k;
text→image (t2i) hits if the caption's own image is; mR is the mean of the six. Equal
scores are ordered at random, and the headline is the expectation over that order.
Explained in notebooks 01 and 02.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import MetricError
from rsnb.recall import KS, Ceiling, Recall, caption_ceiling, check_gt, p_hit
from rsnb.vectors import as_array, check_embeddings, distinct_rows, product, similarity

__all__ = ["KS", "Ceiling", "Recall", "caption_ceiling", "evaluate",
           "evaluate_embeddings", "similarity"]  # fmt: skip

_STEP = 2**18  # scores compared at once: stays in the processor's cache
_KEEP = 2**25  # scores in a tile, and kept between two passes (128 MB)

# Scores (rows x all images), captions, and the row of each (equal captions share one).
_Tile = tuple[np.ndarray, np.ndarray, np.ndarray]


def evaluate(sim: ArrayLike, gt: ArrayLike) -> Recall:
    """Return the recall of a similarity matrix.

    A plain matrix product rounds equal embeddings differently by position, which breaks
    their ties; make `sim` with `similarity`, or use `evaluate_embeddings`.

    >>> r = evaluate(np.array([[0.9, 0.1], [0.8, 0.3]]), [0, 1])
    >>> r.as_dict()["t2i_r1"], r.as_dict()["i2t_r1"]
    (50.0, 100.0)

    Args:
        sim: float (n_text, n_image), finite; an array or a tensor.
        gt: int (n_text,), caption → image.

    Raises:
        MetricError: wrong shape or dtype, NaN or infinity, `gt` out of range, or an
            image without captions; the message says where.
    """
    s = as_array(sim)
    if s.ndim != 2 or 0 in s.shape or s.dtype.kind != "f":
        want = "float (n_text, n_image)"
        raise MetricError(f"sim must be {want}, got {s.dtype} {s.shape}.")
    own = check_gt(gt, *s.shape)
    bad = np.flatnonzero(~(np.isfinite(s.min(1)) & np.isfinite(s.max(1))))
    if len(bad):
        col = np.flatnonzero(~np.isfinite(s[bad[0]]))[0]
        where = f"{len(bad)} rows, first at row {bad[0]}, column {col}"
        raise MetricError(f"sim has NaN or infinity in {where}. Repair the embeddings.")
    rows = np.arange(len(s))
    return _recall([(s, rows, rows)], s[rows, own], own, s.shape[1])


def evaluate_embeddings(
    txt_emb: ArrayLike, img_emb: ArrayLike, gt: ArrayLike, *, block: int = 2048
) -> Recall:
    """Return the recall of embeddings without building the full matrix.

    Scores are inner products. Equal embeddings are scored once, so they tie exactly.
    Memory: one tile of up to 128 MB, or one row if that is more.

    Args:
        txt_emb: float (n_text, d).
        img_emb: float (n_image, d).
        gt: int (n_text,), caption → image.
        block: distinct captions in a tile, at most.

    Raises:
        EmbeddingError: wrong shape or dtype, NaN, infinity or a zero row.
        MetricError: as in `evaluate`.
    """
    txt = check_embeddings(txt_emb, "txt_emb")
    img = check_embeddings(img_emb, "img_emb", dim=txt.shape[1])
    own = check_gt(gt, len(txt), len(img))
    if block < 1:
        raise MetricError(f"block must be at least 1, got {block}.")
    txt, t_of = distinct_rows(txt)
    img, i_of = distinct_rows(img)
    step = max(1, min(block, _KEEP // len(i_of)))
    order = np.argsort(t_of, kind="stable")
    kept: dict[int, np.ndarray] = {}

    def tiles() -> Iterator[_Tile]:
        for start in range(0, len(txt), step):
            lo, hi = np.searchsorted(t_of[order], [start, start + step])
            rows = order[lo:hi]
            s = kept.get(start)
            if s is None:
                s = product(txt[start : start + step], img)
                s = s if len(img) == len(i_of) else s[:, i_of]
                if len(txt) * len(i_of) <= _KEEP:
                    kept[start] = s
            yield s, rows, t_of[rows] - start

    # Pass 1: the score of each caption with its image. It is read from the very tile
    # that pass 2 compares with, since other block shapes round differently.
    pos = np.empty(len(own), np.result_type(txt, img))
    for s, rows, at in tiles():
        pos[rows] = s[at, own[rows]]
    return _recall(tiles(), pos, own, len(i_of))


def _recall(
    tiles: Iterable[_Tile], pos: np.ndarray, gt: np.ndarray, n_image: int
) -> Recall:
    """Count the scores above and level with each positive's, `pos`, tile by tile."""
    best = np.full(n_image, -np.inf, pos.dtype)
    np.maximum.at(best, gt, pos)
    t_above, t_level = np.zeros((2, len(gt)), np.int64)
    i_above, i_level = np.zeros((2, n_image), np.int64)
    step = max(1, _STEP // n_image)
    for s, rows, at in tiles:
        for lo in range(0, len(rows), step):
            row, part = rows[lo : lo + step], s[at[lo : lo + step]]
            t_above[row] = (part > pos[row, None]).sum(1)
            t_level[row] = (part == pos[row, None]).sum(1)
            i_above += (part > best).sum(0)
            i_level += (part == best).sum(0)
    good = np.bincount(gt, pos == best[gt]).astype(np.int64)
    if (t_level < 1).any() or (i_level < good).any():
        what = "one block product gave two results, so ties cannot be counted"
        raise MetricError(f"{what}. Use evaluate(similarity(txt_emb, img_emb), gt).")
    one = np.ones_like(gt)
    hits = p_hit(t_above, t_level, one), p_hit(i_above, i_level, good)
    ranks = _ranks(t_above, t_level, one), _ranks(i_above, i_level, good)
    return Recall(gt, *hits, *ranks)


def _ranks(above: np.ndarray, level: np.ndarray, good: np.ndarray) -> np.ndarray:
    other = level - good
    return np.stack([above, above + other / (good + 1), above + other], 1)
