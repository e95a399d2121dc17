"""Search a gallery: `Searcher.search(query_emb, k)`, exact or over FAISS.

Inner product on unit vectors. Equal scores are ordered by row, ascending.
Explained in notebook 00.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import EmbeddingError, ParameterError
from rsnb.exact import Found, check_queries, check_unit, nearest
from rsnb.vectors import distinct_rows

__all__ = ["Searcher", "by_score", "faiss_index", "tune"]


class Searcher:
    """A gallery of unit vectors that answers top-k queries.

    Equal vectors are stored once, so that rounding cannot part them; exact search
    orders equal scores by row also where they straddle the cut. Id -1, with which FAISS
    pads, never comes back.

    >>> Searcher(np.eye(3, dtype=np.float32)).search(np.eye(3)[:1], 3)[0].tolist()
    [[0, 1, 2]]

    Args:
        emb: float (N, d), unit rows; kept as float32.
        kind: `"Flat"` is exact, by `rsnb.exact`; any other FAISS factory string, such
            as `"HNSW32"` or `"IVF64,Flat"`, is approximate.
        params: FAISS search parameters, such as `"nprobe=8"` or `"efSearch=64"`.

    Raises:
        EmbeddingError: empty gallery, NaN, or rows that are not unit.
        ParameterError: FAISS refuses `kind` or `params`.
    """

    def __init__(self, emb: ArrayLike, kind: str = "Flat", *, params: str = "") -> None:
        """Build the index."""
        self._vectors, of = distinct_rows(check_unit(emb, "gallery"))
        self.kind, self._index = kind, None
        self._order = np.argsort(of, kind="stable")  # rows, grouped by vector
        self._size = np.bincount(of)
        self._start = np.cumsum(self._size) - self._size
        if kind != "Flat" or params:
            self._index = faiss_index(self._vectors, kind)
            self._index.add(self._vectors)
            tune(self._index, params)

    def __len__(self) -> int:
        """Return the number of gallery rows."""
        return len(self._order)

    def search(self, query_emb: ArrayLike, k: int) -> Found:
        """Return the k best gallery items of each query.

        Args:
            query_emb: float (Q, d), unit rows.
            k: 1 to the size of the gallery.

        Returns:
            rows int64 (Q, k) and scores float32 (Q, k), best first.

        Raises:
            EmbeddingError: bad queries, wrong d, k out of range, or an approximate
                index that found fewer than k.
        """
        q = check_queries(query_emb, self._vectors.shape[1], k, len(self))
        want = min(k, len(self._size))
        if self._index is None:
            at, s = nearest(q, [(0, self._vectors)], want)
        else:
            s, at = self._index.search(q, want)
        # vectors become rows: those ahead of the k-th row have a vector among the k
        count = np.where(at < 0, 0, np.minimum(self._size[at], k)).ravel()
        inner = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        row = self._order[np.repeat(self._start[at].ravel(), count) + inner]
        query = np.repeat(np.repeat(np.arange(len(q)), want), count)
        return by_score(query, row, np.repeat(s.ravel(), count), len(q), k)


def by_score(
    query: np.ndarray, row: np.ndarray, score: np.ndarray, n: int, k: int
) -> Found:
    """Return (n, k) rows and scores from triples, by score and row; -1 is no row.

    Raises:
        EmbeddingError: a query has fewer than k rows.
    """
    query, row, score = (x[row >= 0] for x in (query, row, score))
    found = np.bincount(query, minlength=n)
    if (found < k).any():
        what = f"an approximate index found fewer than k = {k} items"
        raise EmbeddingError(f"{what}. Raise nprobe or efSearch, or take 'Flat'.")
    best = np.lexsort((row, -score, query))
    best = best[(np.cumsum(found) - found)[:, None] + np.arange(k)]
    return row[best], score[best]


def faiss_index(sample: np.ndarray, kind: str) -> Any:
    """Return an empty FAISS index, trained on `sample` (n, d) where it needs to be.

    Raises:
        ParameterError: FAISS refuses `kind`, or to train it.
    """
    import faiss

    try:
        index = faiss.index_factory(sample.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(sample)
    except RuntimeError as e:
        what = f"kind={kind!r} over {len(sample)} distinct vectors"
        why = str(e).splitlines()[-1]
        raise ParameterError(f"FAISS cannot build {what}: {why}") from e
    return index


def tune(index: Any, params: str) -> None:
    """Set FAISS search parameters, such as `"nprobe=8"`.

    Raises:
        ParameterError: FAISS refuses them.
    """
    import faiss

    space: Any = faiss.ParameterSpace()  # its stub knows one overload only
    try:
        if params:
            space.set_index_parameters(index, params)
    except RuntimeError as e:
        why = str(e).splitlines()[-1]
        raise ParameterError(f"FAISS cannot build params={params!r}: {why}") from e
