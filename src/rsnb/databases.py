"""A vector database behind the same `search`: LanceDB, embedded, on local disk.

Explained in notebook 08. Needs `pip install "rsnb[scale]"`. Nothing is sent anywhere;
other addresses that LanceDB can open are out of reach here, since files are verified.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import DataError
from rsnb.exact import Found, check_queries, check_unit
from rsnb.files import checked_receipt, install, tree_digest
from rsnb.index import by_score
from rsnb.shards import Shards

__all__ = ["LanceSearcher", "build_table"]


def _lancedb() -> Any:
    try:
        import lancedb
    except ImportError as e:
        what = f"LanceDB cannot be imported ({e})"
        raise DataError(f'{what}. Install it: pip install "rsnb[scale]".') from e
    return lancedb


def build_table(shards: Shards, folder: str | Path, **index: int) -> Path:
    """Copy shards into a LanceDB table with a receipt, a part at a time.

    Args:
        shards: whose column `"emb"` holds unit rows.
        folder: of the database; one that was there is replaced when this is whole.
        **index: of LanceDB's IVF-PQ, such as `num_partitions` and `num_sub_vectors`;
            without any, search is exact.
    """
    import pyarrow as pa

    lancedb, folder = _lancedb(), Path(folder)
    kind = pa.list_(pa.float32(), shards.dim)
    schema = pa.schema([("row", pa.int64()), ("emb", kind)])

    def batches() -> Any:
        for i, start in enumerate(shards.starts[:-1]):
            x = check_unit(shards.vectors(i), f"part {i}")
            emb = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), shards.dim)
            row = pa.array(np.arange(start, start + len(x)))
            yield pa.record_batch([row, emb], schema=schema)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".draft-") as name:
        draft = Path(name, "db")
        table = lancedb.connect(draft).create_table(
            "gallery", pa.RecordBatchReader.from_batches(schema, batches())
        )
        if index:
            config = lancedb.index.IvfPq(distance_type="dot", **index)
            table.create_index("emb", config=config)
        facts = {"rows": len(shards), "dim": shards.dim, "of": shards.digest}
        return install(folder, draft, {**facts, "sha256": tree_digest(draft)})


class LanceSearcher:
    """A LanceDB table as a gallery.

    Args:
        folder: as `build_table` left it.
        nprobes: lists that an IVF-PQ index visits.
        refine: exact vectors read for each of the k, to rank again.

    Raises:
        FileCorruptError: missing, without receipt, or changed since.
        DataError: LanceDB is not installed.
    """

    def __init__(
        self, folder: str | Path, *, nprobes: int = 20, refine: int = 10
    ) -> None:
        """Check the files and open the table."""
        facts = checked_receipt(folder, tree_digest)
        self._rows, self._dim = int(facts["rows"]), int(facts["dim"])
        self._table = _lancedb().connect(folder).open_table("gallery")
        self.nprobes, self.refine = nprobes, refine

    def __len__(self) -> int:
        """Return the number of gallery rows."""
        return self._rows

    def search(self, query_emb: ArrayLike, k: int) -> Found:
        """Return the k best gallery items of each query, as `rsnb.index.Searcher`.

        Raises:
            EmbeddingError: bad queries, wrong d, k out of range, or fewer than k found.
        """
        q = check_queries(query_emb, self._dim, k, len(self))
        ask = self._table.search(list(q), vector_column_name="emb")
        ask = ask.distance_type("dot").nprobes(self.nprobes)
        hits = ask.refine_factor(self.refine).limit(k).select(["row", "_distance"])
        found = hits.to_arrow().combine_chunks()
        row, far = (found[c].to_numpy() for c in ("row", "_distance"))
        many = "query_index" in found.column_names  # left out for one query
        query = found["query_index"].to_numpy() if many else np.zeros(len(row), int)
        return by_score(query, row, np.float32(1) - far, len(q), k)
