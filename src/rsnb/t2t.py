"""Text-to-text retrieval: a query against what is written about each image.

No training: a sentence encoder puts queries and descriptions into one space, and an
image scores by its texts. The score matrix stays (texts T, images N), so that
`rsnb.metrics.evaluate` reads both directions from it: image → text takes the query
image's description to the captions. Explained in notebook 04.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import EmbeddingError, MetricError, ParameterError
from rsnb.index import Searcher
from rsnb.metrics import evaluate
from rsnb.textspace import TextSpace, space
from rsnb.vectors import as_array, check_embeddings, distinct_rows, group_max, product

__all__ = ["AGGREGATES", "MISSING", "TAU", "Fusion", "TextGallery", "TextSpace",
           "fit_fusion", "space"]  # fmt: skip

AGGREGATES = ("max", "mean", "lse")
MISSING = -2.0  # score of an image without text: finite, and below every cosine
TAU = 0.05
GRID = tuple(i / 20 for i in range(21))
_STEP = 2**23  # cosines held at once (32 MB)


class TextGallery:
    """Images by their texts.

    Args:
        space: encodes the texts; encode queries with it too.
        texts: those of each image. An image without any (blank ones do not count) keeps
            its place: it scores `MISSING`, ranks last and ties with others like it.
        aggregate: an image's score from the cosines of its texts: `"max"`, `"mean"`,
            or `"lse"`, tau · log(mean(exp(cosine / tau))), which lies between the two.
        tau: for `"lse"`, between 0 (towards max) and 1 (towards mean).

    Raises:
        ParameterError: unknown aggregate, tau out of range, or a string in place of an
            image's list of texts.
    """

    def __init__(
        self, space: TextSpace, texts: Sequence[Sequence[str]], *,
        aggregate: str = "max", tau: float = TAU,
    ) -> None:  # fmt: skip
        """Encode the texts."""
        if aggregate not in AGGREGATES or not 0 < tau < 1:
            what = f"got aggregate {aggregate!r}, tau {tau}; choose one of {AGGREGATES}"
            raise ParameterError(f"{what} and a tau between 0 and 1.")
        if not len(texts) or any(isinstance(x, str) for x in (texts, *texts)):
            raise ParameterError("texts must hold one list of texts for each image.")
        self.space, self.aggregate, self.tau = space, aggregate, tau
        kept = [[t for t in some if t.strip()] for some in texts]
        count = np.array([len(some) for some in kept])
        self._missing = np.flatnonzero(count == 0)
        self._size = len(kept)
        image = np.repeat(np.arange(len(kept)), count)
        flat = [t for some in kept for t in some]
        # without any text the gallery still needs to know d
        vectors, of = distinct_rows(space.encode(flat or ["none"])[: len(flat)])
        # One order for the texts of an image: sums of the same texts round alike, so
        # that images with the same texts tie exactly.
        of = of[np.lexsort((of, image))]
        if aggregate == "mean":
            # The mean cosine is the product with the mean vector. One more value makes
            # that vector unit, as the index needs it, and meets a 0 in the query.
            start, count = np.flatnonzero(np.diff(image, prepend=-1)), count[count > 0]
            mean = np.add.reduceat(vectors[of].astype(float), start) / count[:, None]
            rest = (1 - np.square(mean).sum(1, keepdims=True)).clip(0) ** 0.5
            vectors, of = distinct_rows(np.hstack([mean, rest]).astype(np.float32))
            image = image[start]
        self._vectors, self._of, self._image = vectors, of, image  # a row a text

    def __len__(self) -> int:
        """Return the number of images, those without text included."""
        return self._size

    def scores(self, query_emb: ArrayLike, images: Any = None) -> np.ndarray:
        """Return float32 (Q, N); equal queries and equal images tie exactly.

        Args:
            query_emb: float (Q, d), from `space.encode`; rows are made unit.
            images: int (K,), distinct rows to score, for (Q, K); None for all.

        Raises:
            EmbeddingError: wrong shape or dtype, NaN, infinity or a zero row.
        """
        q, same = distinct_rows(self._queries(query_emb))
        rows = np.arange(len(self._of))
        rows = rows if images is None else rows[np.isin(self._image, images)]
        out = np.full((len(q), len(self)), MISSING, np.float32)
        if len(rows):
            out[:, np.unique(self._image[rows])] = self._pool(q, rows)
        out = out if len(q) == len(same) else out[same]
        return out if images is None else out[:, images]

    def search(self, query_emb: ArrayLike, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best images of each query, from an exact index over the texts.

        Order and scores are those of `scores` (to 1e-6), equal scores by row.

        Args:
            query_emb: as for `scores`.
            k: 1 to the number of images.

        Returns:
            rows int64 (Q, k) and scores float32 (Q, k), best first.

        Raises:
            EmbeddingError: bad queries, or k out of range.
        """
        q = self._queries(query_emb)
        if not 1 <= k <= len(self):
            raise EmbeddingError(f"k must be 1 to {len(self)} (the gallery), got {k}.")
        n = min(k, len(self) - len(self._missing))
        rows = np.empty((len(q), k), np.int64)
        scores = np.full((len(q), k), MISSING, np.float32)
        rows[:, n:] = self._missing[: k - n]
        for i in range(len(q) if n else 0):
            rows[i, :n], scores[i, :n] = self._best(q[i : i + 1], n)
        return rows, scores

    @cached_property
    def _index(self) -> Searcher:
        return Searcher(self._vectors[self._of])

    def _queries(self, query_emb: ArrayLike) -> np.ndarray:
        more = int(self.aggregate == "mean")
        q = check_embeddings(query_emb, "query_emb", dim=self._vectors.shape[1] - more)
        q = q / np.linalg.norm(q, axis=1, keepdims=True)
        return np.pad(q, ((0, 0), (0, more))).astype(np.float32, copy=False)

    def _best(self, one: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of the k best images with text."""
        want = k * int(np.bincount(self._image).max())  # texts that surely hold k
        while True:
            want = min(want, len(self._of))
            hit, cos = self._index.search(one, want)
            image, first = np.unique(self._image[hit[0]], return_index=True)
            s = cos[0, first]
            if self.aggregate == "lse":
                s = self._pool(one, np.flatnonzero(np.isin(self._image, image)))[0]
            best = np.lexsort((image, -s))[:k]
            # An image not seen yet has no text above the last hit, and scores no more
            # than its best text. Without lse, the hits came in the final order.
            done = self.aggregate != "lse" or want == len(self._of)
            if done or s[best[-1]] > cos[0, -1] + 1e-5:
                return image[best], s[best]
            want *= 4

    def _pool(self, q: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return (Q, images) scores from text rows, which are grouped by image."""
        used, of = np.unique(self._of[rows], return_inverse=True)
        vectors = self._vectors[used]
        at = slice(None) if (np.diff(of) > 0).all() else of  # no copy of distinct texts
        start = np.flatnonzero(np.diff(self._image[rows], prepend=-1))
        n = np.diff(start, append=len(rows))
        out = np.empty((len(q), len(start)), np.float32)
        step = max(1, _STEP // len(rows))
        for i in range(0, len(q), step):
            cos = product(vectors, q[i : i + step])[at]  # a row a text: quick to pool
            best = group_max(cos, start)
            if self.aggregate == "lse":
                share = np.exp((cos - np.repeat(best, n, axis=0)) / self.tau)
                best += self.tau * np.log(np.add.reduceat(share, start) / n[:, None])
            out[i : i + step] = best.T
        return out


@dataclass(frozen=True)
class Fusion:
    """Weighted sum of two score matrices, each in units of its validation spread.

    Nothing is taken from the matrices at hand, so a query's order does not depend on
    the other queries. A score that is `MISSING` counts as the validation mean, so that
    the other matrix decides.

    Attributes:
        weight: of the first matrix, 0 to 1; the second has the rest.
        first: mean and standard deviation of the first matrix on validation.
        second: those of the second.
        grid: (weight, validation mR in percent) of all that were tried.
    """

    weight: float
    first: tuple[float, float]
    second: tuple[float, float]
    grid: tuple[tuple[float, float], ...] = ()

    @property
    def edge(self) -> bool:
        """Return whether the weight lies at an end of the grid, or was not tried."""
        tried = [w for w, _ in self.grid]
        return not any(w < self.weight for w in tried) or self.weight >= max(tried)

    def __call__(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
        """Return fused scores (T, N) of two matrices of that shape.

        Raises:
            MetricError: the shapes differ.
        """
        x, y = as_array(a), as_array(b)
        if x.shape != y.shape:
            what = f"cannot fuse scores of shapes {x.shape} and {y.shape}"
            raise MetricError(f"{what}; score the same captions and images with both.")
        x, y = _standard(x, *self.first), _standard(y, *self.second)
        return self.weight * x + (1 - self.weight) * y


def fit_fusion(
    a: ArrayLike, b: ArrayLike, gt: ArrayLike, weights: Sequence[float] = GRID
) -> Fusion:
    """Return the fusion with the highest mR on validation.

    Args:
        a: float (T, N), one model's scores on a validation split.
        b: float (T, N), those of another.
        gt: int (T,), caption → image.
        weights: of `a`, all tried; of equally good ones, the middle one is taken.

    Raises:
        ParameterError: no weight, or one outside 0-1.
        MetricError: scores without spread, other shapes, or what `evaluate` refuses.
    """
    if not len(weights) or not all(0 <= w <= 1 for w in weights):
        raise ParameterError(f"weights must lie between 0 and 1, got {weights}.")
    spread = _spread(as_array(a)), _spread(as_array(b))
    grid = tuple((float(w), evaluate(Fusion(w, *spread)(a, b), gt).mR) for w in weights)
    best = [w for w, mR in grid if mR == max(m for _, m in grid)]
    return Fusion(best[len(best) // 2], *spread, grid)


def _spread(x: np.ndarray) -> tuple[float, float]:
    known = x[x != MISSING].astype(float)
    if not len(known) or not known.std() > 0:
        raise MetricError("a matrix has scores that are all equal, or NaN.")
    return float(known.mean()), float(known.std())


def _standard(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return np.where(x == MISSING, 0, (x - mean) / sd)
