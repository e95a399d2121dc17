"""Search galleries that do not fit in memory: shards, and FAISS indexes in files.

Explained in notebook 08. FAISS parses an index in C++, so a file is opened only if it
matches its receipt. A build that was cut off leaves nothing under the final name.
"""

import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import DataError, FileCorruptError, ResourceError
from rsnb.exact import Found, check_queries, check_unit, nearest
from rsnb.files import checked_receipt, install, sha256_file, write_bytes
from rsnb.index import by_score, faiss_index, tune
from rsnb.shards import Shards

__all__ = ["DiskSearcher", "StreamedSearcher", "build_index"]

_BATCH = 256  # queries whose candidates are in memory at once


class StreamedSearcher:
    """Exact search over shards, a part in memory at a time.

    Rows and scores are those of `rsnb.index.Searcher`; equal vectors in different
    places may differ in the last bit of their score.

    Args:
        shards: whose column `"emb"` holds unit rows.
    """

    def __init__(self, shards: Shards) -> None:
        """Keep the shards."""
        self.shards = shards
        self._unit: set[int] = set()  # parts that have been checked

    def __len__(self) -> int:
        """Return the number of gallery rows."""
        return len(self.shards)

    def search(self, query_emb: ArrayLike, k: int) -> Found:
        """Return the k best gallery items of each query, as `rsnb.index.Searcher`.

        Raises:
            EmbeddingError: bad queries or vectors, wrong d, k out of range.
            FileCorruptError: a part is missing or changed.
        """
        q = check_queries(query_emb, self.shards.dim, k, len(self))
        slabs = ((start, self._part(i)) for i, start in enumerate(self.shards.starts))
        return nearest(q, slabs, k)

    def _part(self, i: int) -> np.ndarray:
        if i == len(self.shards.starts) - 1:
            return np.empty((0, self.shards.dim), np.float32)
        x = self.shards.vectors(i)
        if i not in self._unit:
            x = check_unit(x, f"part {i}")
            self._unit.add(i)
        return np.ascontiguousarray(x, np.float32)


def build_index(
    shards: Shards, path: str | Path, kind: str, *, sample: int = 200_000, seed: int = 0
) -> Path:
    """Build a FAISS index of shards, a part at a time, into a file with a receipt.

    A file that was made of the same shards and settings is left as it is. The index is
    in memory until it is written: about 4 * d bytes a vector for `"IVF...,Flat"` and
    HNSW, m + 8 for `"IVF...,PQm"`.

    Args:
        shards: whose column `"emb"` holds unit rows.
        path: the file.
        kind: FAISS factory string, such as `"IVF4096,PQ32"`.
        sample: rows drawn for training.
        seed: of the draw.

    Raises:
        ParameterError: FAISS refuses `kind`.
        EmbeddingError: vectors that are not unit.
        ResourceError: the file cannot be written.
    """
    import faiss

    path = Path(path)
    facts = {"kind": kind, "sample": sample, "seed": seed, "of": shards.digest}
    try:
        if facts.items() <= checked_receipt(path).items():
            return path
    except FileCorruptError:
        pass  # missing, or cut off: made anew
    some = np.random.default_rng(seed).permutation(len(shards))[:sample]
    index = faiss_index(check_unit(shards.take(np.sort(some)), "sample"), kind)
    for i in range(len(shards.starts) - 1):
        index.add(check_unit(shards.vectors(i), f"part {i}"))
    draft = write_bytes(path.with_name(f".draft-{secrets.token_hex(8)}"), b"")
    try:
        faiss.write_index(index, str(draft))
        with draft.open("rb") as f:
            os.fsync(f.fileno())
    except (RuntimeError, OSError) as e:
        draft.unlink()
        raise ResourceError(f"{path} cannot be written: {e}. Make room.") from e
    facts |= {"sha256": sha256_file(draft), "bytes": draft.stat().st_size}
    return install(path, draft, facts)


class DiskSearcher:
    """A FAISS index in a file, mapped into memory as far as it is used.

    With shards, the `fetch` best by the index are ranked again by their exact vectors,
    which mends what product quantisation rounds off.

    Args:
        path: as `build_index` left it.
        params: FAISS search parameters, such as `"nprobe=8"` or `"efSearch=64"`.
        shards: those that the index was built from; without them, no second ranking.
        fetch: candidates of each query for it, if more than k.

    Raises:
        FileCorruptError: missing, without receipt, or not matching it.
        DataError: other shards than those of the index.
        ParameterError: FAISS refuses `params`.
    """

    def __init__(
        self, path: str | Path, *, params: str = "", shards: Shards | None = None,
        fetch: int = 0,
    ) -> None:  # fmt: skip
        """Check the file and map it."""
        import faiss

        facts = checked_receipt(path)
        if shards is not None and shards.digest != facts["of"]:
            raise DataError(f"{path} was built from other shards. Build it again.")
        lists = "IVF" in facts["kind"]  # each sort of index is mapped in its own way
        flag = faiss.IO_FLAG_MMAP if lists else faiss.IO_FLAG_MMAP_IFC
        try:
            self._index: Any = faiss.read_index(str(path), flag)
            if lists:  # threads that read ahead cost a query more than they save
                inverted: Any = faiss.extract_index_ivf(self._index).invlists
                mapped: Any = faiss.downcast_InvertedLists(inverted)
                mapped.prefetch_nthread = 0
        except RuntimeError as e:
            raise FileCorruptError(f"{path}: FAISS cannot read it: {e}.") from e
        tune(self._index, params)
        self.kind, self.shards, self.fetch = str(facts["kind"]), shards, fetch

    def __len__(self) -> int:
        """Return the number of gallery rows."""
        return int(self._index.ntotal)

    def search(self, query_emb: ArrayLike, k: int) -> Found:
        """Return the k best gallery items of each query, as `rsnb.index.Searcher`.

        Raises:
            EmbeddingError: bad queries, wrong d, k out of range, or fewer than k found.
            FileCorruptError: a part of the shards is missing or changed.
        """
        q = check_queries(query_emb, self._index.d, k, len(self))
        want = min(max(k, self.fetch if self.shards else 0), len(self))
        found = [self._batch(q[i : i + _BATCH], want, k)
                 for i in range(0, len(q), _BATCH)]  # fmt: skip
        rows, scores = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(scores)

    def _batch(self, q: np.ndarray, want: int, k: int) -> Found:
        s, at = self._index.search(q, want)
        query, row = np.repeat(np.arange(len(q)), want)[at.ravel() >= 0], at[at >= 0]
        score = s[at >= 0]
        if self.shards is not None:
            used, of = np.unique(row, return_inverse=True)
            x = self.shards.take(used).astype(np.float32, copy=False)
            score = np.einsum("nd,nd->n", q[query], x[of])
        return by_score(query, row, score, len(q), k)
