"""One contract for all engines: in memory, streamed, FAISS files, a database."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from rsnb import shards
from rsnb.databases import LanceSearcher, build_table
from rsnb.errors import DataError, EmbeddingError, FileCorruptError, ParameterError
from rsnb.exact import nearest
from rsnb.index import Searcher
from rsnb.ondisk import DiskSearcher, StreamedSearcher, build_index

pytestmark = pytest.mark.promise("P7", "P8")

N, D, K = 3000, 16, 10


def clustered(seed, n):
    """Return unit rows around 30 centres."""
    centres = np.random.default_rng(9).standard_normal((30, D))
    rng = np.random.default_rng(seed)
    x = centres[rng.integers(0, 30, n)] + 0.5 * rng.standard_normal((n, D))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def in_memory(made, folder, **how):
    return Searcher(np.concatenate([part["emb"] for _, part in made]), **how)


def on_disk(made, folder, *, kind, again=False, **how):
    path = build_index(made, folder / f"{kind}.faiss", kind)
    return DiskSearcher(path, shards=made if again else None, **how)


def database(made, folder):
    if not (folder / "lance").exists():
        build_table(made, folder / "lance")
    return LanceSearcher(folder / "lance")


PQ = {"kind": "IVF32,PQ8x6", "params": "nprobe=8"}
ENGINES = {  # how to open, and the least recall@10
    "flat": (in_memory, 1),
    "hnsw": (partial(in_memory, kind="HNSW16", params="efSearch=64"), 0.95),
    "ivf": (partial(in_memory, kind="IVF32,Flat", params="nprobe=8"), 0.95),
    "streamed": (lambda made, folder: StreamedSearcher(shards.Shards(made.folder)), 1),
    "ivf on disk": (partial(on_disk, kind="IVF32,Flat", params="nprobe=8"), 0.95),
    "hnsw on disk": (partial(on_disk, kind="HNSW16", params="efSearch=64"), 0.95),
    "pq on disk": (partial(on_disk, **PQ), 0.3),
    "pq, ranked again": (partial(on_disk, **PQ, again=True, fetch=200), 0.95),
    "lance": (database, 1),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return shards.write(folder, 3, lambda i: {"emb": clustered(i, N // 3)}, {"toy": N})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("indexes")


@pytest.fixture(params=ENGINES)
def engine(request, made, folder):
    if request.param == "lance":
        pytest.importorskip("lancedb", reason='needs pip install "rsnb[scale]"')
    how, least = ENGINES[request.param]
    return partial(how, made, folder), least


@pytest.fixture(scope="module")
def queries():
    return clustered(99, 40)


def truth(made, q, k):
    x = np.concatenate([part["emb"] for _, part in made]).astype(float)
    s = q.astype(float) @ x.T
    rows = np.argsort(-s, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(s, rows, 1)


def test_contract(engine, made, queries):
    opened, least = engine
    searcher = opened()
    assert len(searcher) == N
    rows, scores = searcher.search(queries, K)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    assert rows.shape == scores.shape == (len(queries), K)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == K for row in rows.tolist())
    right, level = truth(made, queries, K)
    hit = (rows[:, :, None] == right[:, None]).any(2).mean()
    assert hit >= least
    if least == 1:
        assert (rows == right).all()
        np.testing.assert_allclose(scores, level, atol=2e-6)
    one = searcher.search(queries[3:4], K)  # a query's answer is its own
    assert (one[0] == rows[3]).all()
    again = searcher.search(queries, K), opened().search(queries, K)
    for other, other_scores in again:
        assert (other == rows).all()
        np.testing.assert_allclose(other_scores, scores, atol=1e-6)


def test_bad_questions(engine, queries):
    searcher = engine[0]()
    for k in (0, -1, N + 1):
        with pytest.raises(EmbeddingError, match=f"k must be 1 to {N}"):
            searcher.search(queries, k)
    nan = np.where(queries > 0.5, np.nan, queries)
    for bad in (nan, queries * 2, queries[:, :5], queries[0], queries[:0]):
        with pytest.raises(EmbeddingError, match="query"):
            searcher.search(bad, K)


def test_too_few_found_is_said(made, folder, queries):
    narrow = on_disk(made, folder, kind="IVF32,Flat", params="nprobe=1")
    with pytest.raises(EmbeddingError, match="fewer than k = 2000"):
        narrow.search(queries, 2000)


def test_ties_come_by_row_across_parts(tmp_path):
    axes = np.eye(4, dtype=np.float32)
    made = shards.write(tmp_path, 3, lambda i: {"emb": np.tile(axes, (5, 1))}, {})
    for searcher in (StreamedSearcher(made), in_memory(made, tmp_path)):
        rows, scores = searcher.search(axes[1:2], 17)
        assert rows[0].tolist() == [*range(1, 60, 4), 0, 2]
        assert scores[0].tolist() == [1] * 15 + [0] * 2


@pytest.mark.parametrize("queries", [1, 63, 200, 1100])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_blocks_and_cores_change_nothing(queries, k):
    x, q = clustered(1, 7001), clustered(2, queries)
    rows, scores = nearest(q, [(0, x)], k)
    full = q.astype(float) @ x.T.astype(float)
    want = np.sort(full, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(scores, want, atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(full, rows, 1), want, atol=2e-6)
    assert all(len(set(row)) == k for row in rows.tolist())
    pieces = [(a, x[a : a + 900]) for a in range(0, 7001, 900)]
    np.testing.assert_allclose(nearest(q, pieces, k)[1], scores, atol=1e-6)


def test_scores_that_rise_along_the_gallery():
    x = clustered(1, 4000)
    q = clustered(2, 1)
    x = x[np.argsort((q @ x.T)[0])]
    assert nearest(q, [(0, x)], 5)[0].tolist() == [[3999, 3998, 3997, 3996, 3995]]


def test_damaged_index_and_other_shards_are_refused(made, tmp_path, queries):
    path = build_index(made, tmp_path / "i.faiss", "IVF8,Flat")
    data = path.read_bytes()
    before = path.stat().st_mtime_ns
    build_index(made, path, "IVF8,Flat")  # left as it is
    assert path.stat().st_mtime_ns == before
    other = shards.write(tmp_path / "o", 1, lambda i: {"emb": clustered(5, 100)}, {})
    with pytest.raises(DataError, match="other shards"):
        DiskSearcher(path, shards=other)
    for bad in (data[:-1], data[:-1] + b"\0", data + b"\0", b""):
        path.write_bytes(bad)
        if bad != data:
            with pytest.raises(FileCorruptError, match="does not match its receipt"):
                DiskSearcher(path)
    build_index(made, path, "IVF8,Flat")  # made anew
    assert len(DiskSearcher(path)) == N
    path.with_name("i.faiss.json").unlink()
    with pytest.raises(FileCorruptError, match="no receipt"):
        DiskSearcher(path)
    with pytest.raises(ParameterError, match="FAISS cannot build"):
        build_index(made, tmp_path / "j.faiss", "Nonsense9")
    assert not list(tmp_path.glob(".draft*"))


def test_damaged_table_is_refused(made, tmp_path):
    pytest.importorskip("lancedb", reason='needs pip install "rsnb[scale]"')
    table = build_table(made, tmp_path / "t")
    data = next(table.rglob("*.lance/data/*"))
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    with pytest.raises(FileCorruptError, match="does not match its receipt"):
        LanceSearcher(table)
    with pytest.raises(FileCorruptError, match="no receipt"):
        LanceSearcher(tmp_path / "none")


@pytest.mark.parametrize("how", ["streamed", "index"])
def test_vectors_that_are_not_unit_are_named(tmp_path, how):
    def part(i):
        return {"emb": clustered(i, 50) * (1 + i)}

    made = shards.write(tmp_path / "s", 2, part, {})
    with pytest.raises(EmbeddingError, match=r"part 1|sample"):
        if how == "streamed":
            StreamedSearcher(made).search(clustered(3, 1), 1)
        else:
            build_index(made, tmp_path / "i", "HNSW8")
