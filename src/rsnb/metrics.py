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
_TILE = 2**20  # scores made at once (4 MB)

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
    with np.errstate(all="ignore"):
        odd = np.flatnonzero(~np.isfinite(s @ np.ones(s.shape[1], s.dtype)))
    bad = odd[~np.isfinite(s[odd]).all(1)]  # a sum can also overflow
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
    Memory: one tile of 4 MB, or of 32 captions if that is more.

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
    # A caption's score with its image is made here, once for all copies of the pair,
    # and put in its tile, since a product rounds a pair differently by position.
    pair, copy = np.unique(t_of * len(img) + i_of[own], return_inverse=True)
    text, image = np.divmod(pair, len(img))
    score = np.empty(len(pair), np.result_type(txt, img))
    for lo in range(0, len(pair), 512):
        at = slice(lo, lo + 512)
        score[at] = np.einsum("ij,ij->i", txt[text[at]], img[image[at]])
    step = min(block, max(32, _TILE // len(i_of)))  # fewer rows make slow products
    order = np.argsort(t_of, kind="stable")

    def tiles() -> Iterator[_Tile]:
        for start in range(0, len(txt), step):
            s = product(txt[start : start + step], img)
            at = slice(*np.searchsorted(text, [start, start + step]))
            s[text[at] - start, image[at]] = score[at]
            rows = order[slice(*np.searchsorted(t_of[order], [start, start + step]))]
            yield s if len(img) == len(i_of) else s[:, i_of], rows, t_of[rows] - start

    return _recall(tiles(), score[copy], own, len(i_of))


def _recall(
    tiles: Iterable[_Tile], pos: np.ndarray, gt: np.ndarray, n_image: int
) -> Recall:
    """Count the scores above and level with each positive's, `pos`, tile by tile."""
    best = np.full(n_image, -np.inf, pos.dtype)
    np.maximum.at(best, gt, pos)
    t_above, t_level = np.zeros((2, len(gt)), np.int64)
    i_above, i_level = np.zeros((2, n_image), np.int64)
    step = min(max(1, _STEP // n_image), 255)  # a byte holds the count of a column
    cuts = np.arange(0, n_image, 255)
    for s, rows, at in tiles:
        for lo in range(0, len(rows), step):
            row, of = rows[lo : lo + step], at[lo : lo + step]
            apart = of[-1] - of[0] == len(of) - 1  # no row occurs twice: no copy
            part = s[of[0] : of[-1] + 1] if apart else s[of]
            p = pos[row, None]
            for hit, n in ((part > p, t_above), (part == p, t_level)):
                some = np.add.reduceat(hit.view(np.uint8), cuts, 1, np.uint8)
                n[row] = some.sum(1)
            for hit, n in ((part > best, i_above), (part == best, i_level)):
                n += hit.view(np.uint8).sum(0, np.uint8)
    good = np.bincount(gt, pos == best[gt]).astype(np.int64)
    one = np.ones_like(gt)
    hits = p_hit(t_above, t_level, one), p_hit(i_above, i_level, good)
    ranks = _ranks(t_above, t_level, one), _ranks(i_above, i_level, good)
    return Recall(gt, *hits, *ranks)


def _ranks(above: np.ndarray, level: np.ndarray, good: np.ndarray) -> np.ndarray:
    other = level - good
    return np.stack([above, above + other / (good + 1), above + other], 1)
