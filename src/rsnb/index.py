"""Search a gallery: `Searcher.search(query_emb, k)` over FAISS.

Inner product on unit vectors. Equal scores are ordered by row, ascending, also where
they straddle the cut. Explained in notebook 00.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import EmbeddingError, ParameterError
from rsnb.vectors import check_embeddings, distinct_rows

__all__ = ["Searcher"]

# Vectors fetched beyond k, so that most ties at the cut need no second look.
_MARGIN = 8
Found = tuple[np.ndarray, np.ndarray]  # rows, scores


class Searcher:
    """A gallery of unit vectors that answers top-k queries.

    FAISS returns equal scores in an order of its own and pads with id -1; here equal
    vectors are stored once, ties are resolved by row, and -1 never comes back.

    >>> Searcher(np.eye(3, dtype=np.float32)).search(np.eye(3)[:1], 3)[0].tolist()
    [[0, 1, 2]]

    Args:
        emb: float (N, d), unit rows; kept as float32.
        kind: `"Flat"` is exact; any other FAISS factory string, such as `"HNSW32"` or
            `"IVF64,Flat"`, is approximate.
        params: FAISS search parameters, such as `"nprobe=8"` or `"efSearch=64"`.

    Raises:
        EmbeddingError: empty gallery, NaN, or rows that are not unit.
        ParameterError: FAISS refuses `kind` or `params`.
    """

    def __init__(self, emb: ArrayLike, kind: str = "Flat", *, params: str = "") -> None:
        """Build the index."""
        vectors, of = distinct_rows(_unit(emb, "gallery", None))
        self.kind = kind
        self._order = np.argsort(of, kind="stable")  # rows, grouped by vector
        self._size = np.bincount(of)
        self._index: Any = _build(vectors, kind, params)

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
        q = _unit(query_emb, "query", self._index.d)
        if not 1 <= k <= len(self):
            raise EmbeddingError(f"k must be 1 to {len(self)} (the gallery), got {k}.")
        ids = np.empty((len(q), k), np.int64)
        scores = np.empty((len(q), k), np.float32)
        todo, want, most = np.arange(len(q)), k + _MARGIN, len(self._size)
        while len(todo):
            want = min(want, most)
            s, at = self._index.search(q[todo], want)
            # done: everything level with the k-th vector has been fetched
            done = s[:, min(k, most) - 1] > s[:, -1]
            done |= want == most
            own = todo[done]
            ids[own], scores[own] = self._ordered(s[done], at[done], k)
            todo, want = todo[~done], want * 4
        return ids, scores

    def _ordered(self, s: np.ndarray, at: np.ndarray, k: int) -> Found:
        """Replace vectors by their rows, order by (score, row) and cut at k."""
        count = np.where(at < 0, 0, np.minimum(self._size[at], k))
        found = count.sum(1)
        if (found < k).any():
            few = f"{self.kind} found fewer than k = {k} items"
            raise EmbeddingError(f"{few}. Raise nprobe or efSearch, or take 'Flat'.")
        c = count.ravel()
        inner = np.arange(c.sum()) - np.repeat(np.cumsum(c) - c, c)
        start = np.cumsum(self._size) - self._size
        row = self._order[np.repeat(start[at].ravel(), c) + inner]
        score = np.repeat(s.ravel(), c)
        query = np.repeat(np.arange(len(s)), found)
        best = np.lexsort((row, -score, query))
        best = best[(np.cumsum(found) - found)[:, None] + np.arange(k)]
        return row[best], score[best]


def _unit(emb: ArrayLike, name: str, dim: int | None) -> np.ndarray:
    x = check_embeddings(emb, name, dim=dim).astype(np.float32, copy=False)
    norm = np.sqrt(np.einsum("ij,ij->i", x, x))
    bad = np.flatnonzero(np.abs(norm - 1) > 0.01)
    if len(bad):
        first = f"first row {bad[0]} with norm {norm[bad[0]]:.3f}"
        what = f"{len(bad)} of {len(x)} rows are not unit vectors, {first}"
        raise EmbeddingError(f"{name}: {what}. Divide each row by its norm.")
    return np.ascontiguousarray(x)


def _build(vectors: np.ndarray, kind: str, params: str) -> Any:
    import faiss

    try:
        index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        if params:
            space: Any = faiss.ParameterSpace()  # its stub knows one overload only
            space.set_index_parameters(index, params)
    except RuntimeError as e:
        what = f"kind={kind!r}, params={params!r} over {len(vectors)} distinct vectors"
        why = str(e).splitlines()[-1]
        raise ParameterError(f"FAISS cannot build {what}: {why}") from e
    return index
