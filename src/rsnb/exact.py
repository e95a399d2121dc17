"""Exact search: the k best rows of each query, block by block.

Explained in notebook 08. Scores of a block stay in the processor's cache: a block is
multiplied, and only what beats a query's k-th best so far is looked at again. Cores
share out the queries, each with one BLAS thread, so that all of the work is parallel.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import EmbeddingError
from rsnb.vectors import check_embeddings

__all__ = ["check_queries", "check_unit", "nearest"]

Found = tuple[np.ndarray, np.ndarray]  # rows int64 (Q, k), scores float32 (Q, k)
_CELLS = 2**19  # scores of a block: 2 MB
_ROWS = 2**10, 2**17  # least and most rows of a block
_CHUNK, _FEW = 512, 64  # queries of a core: at most, and about what keeps BLAS quick
_GROUP = 16  # scores of which only the largest is compared
_ALONE = threading.Lock()  # the number of BLAS threads is the whole process's


def check_unit(emb: ArrayLike, name: str, dim: int | None = None) -> np.ndarray:
    """Return contiguous float32 rows after checking that each has norm 1.

    Raises:
        EmbeddingError: as `rsnb.vectors.check_embeddings`, or a norm off by over 0.01.
    """
    x = check_embeddings(emb, name, dim=dim).astype(np.float32, copy=False)
    norm = np.sqrt(np.einsum("ij,ij->i", x, x))
    bad = np.flatnonzero(np.abs(norm - 1) > 0.01)
    if len(bad):
        first = f"first row {bad[0]} with norm {norm[bad[0]]:.3f}"
        what = f"{len(bad)} of {len(x)} rows are not unit vectors, {first}"
        raise EmbeddingError(f"{name}: {what}. Divide each row by its norm.")
    return np.ascontiguousarray(x)


def check_queries(query_emb: ArrayLike, dim: int, k: int, size: int) -> np.ndarray:
    """Return the queries as unit rows, after checking that k is 1 to `size`.

    Raises:
        EmbeddingError: bad queries, wrong d, or k out of range.
    """
    q = check_unit(query_emb, "query", dim)
    if not 1 <= k <= size:
        raise EmbeddingError(f"k must be 1 to {size} (the gallery), got {k}.")
    return q


def nearest(q: np.ndarray, slabs: Iterable[tuple[int, np.ndarray]], k: int) -> Found:
    """Return the k rows of largest inner product, equal scores by row.

    Args:
        q: float32 (Q, d), C-contiguous.
        slabs: (first row, float32 (n, d)) in order; together at least k rows.
        k: how many.

    Returns:
        rows int64 (Q, k) and scores float32 (Q, k), best first.
    """
    blas: Any = None
    cores = 1
    if len(q) >= 2 * _FEW:
        blas = _controller().select(user_api="blas")
        cores = max((lib["num_threads"] for lib in blas.info()), default=1)
    pieces = max(-(-len(q) // _CHUNK), min(cores, len(q) // _FEW), 1)
    best = [_Best(part, k) for part in np.array_split(q, pieces)]
    if cores == 1:
        for start, x in slabs:
            for b in best:
                b.see(start, x)
    else:
        with _ALONE, blas.limit(limits=1), ThreadPoolExecutor(cores) as pool:
            for start, x in slabs:
                list(pool.map(lambda b, at=start, x=x: b.see(at, x), best))
    rows, scores = zip(*[b.settle() for b in best], strict=True)
    return np.concatenate(rows), np.concatenate(scores)


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn

    return ThreadpoolController()


class _Best:
    """The k best rows of some queries, so far; padded with -inf until there are k."""

    def __init__(self, q: np.ndarray, k: int) -> None:
        self.q = q
        self.scores = np.full((len(q), k), -np.inf, np.float32)
        self.rows = np.full((len(q), k), -1)
        self.most = min(max(_CELLS // len(q), _ROWS[0]), _ROWS[1])
        self.buffer = np.empty(self.most * len(q), np.float32)
        self.new: list[tuple[np.ndarray, ...]] = []
        self.waiting = 0

    def see(self, start: int, x: np.ndarray) -> None:
        """Take in rows `start`, `start` + 1, ... of the gallery."""
        # The first blocks are small, since most of their scores survive. With few
        # queries, to sort those costs less than more blocks.
        few = len(self.q) < _FEW
        first, more = max(4, 64 // len(self.q)) * _GROUP, 15 if few else 3
        at = 0
        while at < len(x):
            step = min(max(first, more * (start + at)), self.most)
            self._block(start + at, x[at : at + step])
            at += step

    def _block(self, start: int, x: np.ndarray) -> None:
        n, c = len(x), len(self.q)
        group = _GROUP if n % _GROUP == 0 else 1
        out = self.buffer[: n * c].reshape(n, c)
        # columns are (row, query); row r of a column lies r * n / group further down
        s = np.matmul(x, self.q.T, out=out).reshape(group, -1)
        floor = self.scores[:, -1]
        at = np.flatnonzero(s.max(0).reshape(-1, c) > floor)
        some = s[:, at]
        i, j = np.nonzero(some > floor[at % c])
        if len(i) == 0:
            return
        row, query = np.divmod(at[j], c)
        query = query.astype(np.uint16)  # sorts by radix
        self.new.append((query, start + i * (n // group) + row, some[i, j]))
        self.waiting += len(i)
        if self.waiting >= 2 * self.scores.size:
            self.settle()

    def settle(self) -> Found:
        """Return the k best; later rows must beat the k-th to be looked at."""
        c, k = self.scores.shape
        name = np.repeat(np.arange(c, dtype=np.uint16), k)
        old = name, self.rows.ravel(), self.scores.ravel()
        query, row, score = map(np.concatenate, zip(old, *self.new, strict=True))
        order = np.lexsort((-score, query))  # stable, so equal scores stay by row
        size = np.bincount(query, minlength=c)
        keep = order[(np.cumsum(size) - size)[:, None] + np.arange(k)]
        self.rows, self.scores = row[keep], score[keep]
        self.new, self.waiting = [], 0
        return self.rows, self.scores
