"""Exact order under ties, typed errors, and approximate kinds."""

from __future__ import annotations

import numpy as np
import pytest

from rsnb.errors import EmbeddingError, ParameterError
from rsnb.index import Searcher

pytestmark = pytest.mark.promise("P7", "P8")

HALF = np.float32(0.5)


def exact(rng: np.random.Generator, n: int) -> np.ndarray:
    """Unit vectors whose products are multiples of 1/4: exact, and full of ties."""
    kind = int(rng.integers(4))
    if kind == 0:  # all equal
        return np.tile(np.array([[0.5, 0.5, -0.5, 0.5]], np.float32), (n, 1))
    signs = rng.choice([-HALF, HALF], (n, 4)).astype(np.float32)
    if kind == 1:
        return signs
    axes = np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)]
    if kind == 2:  # orthogonal: most scores are 0
        return axes
    return np.where(rng.random((n, 1)) < 0.5, signs, axes)


def brute_force(emb, queries, k):
    """Plain Python: every score, sorted by (score descending, row ascending)."""
    out = []
    for q in queries.tolist():
        scores = [sum(a * b for a, b in zip(q, e, strict=True)) for e in emb.tolist()]
        order = sorted(range(len(scores)), key=lambda j: (-scores[j], j))[:k]
        out.append([(j, scores[j]) for j in order])
    return out


def test_order_of_50_tied_galleries():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 120))
        emb, queries = exact(rng, n), exact(rng, int(rng.integers(1, 40)))
        for k in {1, min(5, n), n}:
            got, score = Searcher(emb).search(queries, k)
            want = brute_force(emb, queries, k)
            assert got.dtype == np.int64
            assert score.dtype == np.float32
            assert got.tolist() == [[i for i, _ in row] for row in want]
            assert score.tolist() == [[s for _, s in row] for row in want]


def test_many_different_vectors_level_at_the_cut():
    rng = np.random.default_rng(2)
    emb = rng.choice([-0.25, 0.25], (200, 16)).astype(np.float32)
    queries = np.eye(16, dtype=np.float32)  # every score is 1/4 or -1/4
    for k in (1, 3, 60, 150):
        got = Searcher(emb).search(queries, k)[0]
        want = brute_force(emb, queries, k)
        assert got.tolist() == [[i for i, _ in row] for row in want]


def test_order_is_the_same_for_every_k():
    emb = exact(np.random.default_rng(4), 300)
    s = Searcher(emb)
    full = s.search(emb[:30], 300)[0]
    for k in (1, 2, 9, 50, 299):
        assert (s.search(emb[:30], k)[0] == full[:, :k]).all()


def test_copies_stay_level_among_real_vectors():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((150, 96)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    emb = np.concatenate([x, x, x])
    ids, score = Searcher(emb).search(x, 7)
    row = np.arange(150)
    assert (ids[:, :3] == np.stack([row, row + 150, row + 300], 1)).all()
    assert (score[:, 0] == score[:, 2]).all()
    assert (score[:, 3] == score[:, 5]).all()
    np.testing.assert_allclose(score[:, 0], 1, atol=1e-6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda q: q * np.nan,
        lambda q: np.where(q > 0, np.inf, q),
        lambda q: q * 0,
        lambda q: q * 3,
        lambda q: q[:, :3],
        lambda q: q[0],
        lambda q: q[:0],
        lambda q: q.astype(int),
        lambda q: q.astype(str),
        lambda q: q[:, :, None],
    ],
)
def test_bad_numbers_never_rank(spoil):
    emb = exact(np.random.default_rng(1), 6)
    s = Searcher(emb)
    with pytest.raises(EmbeddingError, match="query"):
        s.search(spoil(emb), 2)
    bad = spoil(emb)
    if bad.shape != (6, 3):
        with pytest.raises(EmbeddingError, match="gallery"):
            Searcher(bad)


@pytest.mark.parametrize("k", [0, -1, 7])
def test_k_outside_the_gallery(k):
    emb = exact(np.random.default_rng(1), 6)
    with pytest.raises(EmbeddingError, match="k must be 1 to 6"):
        Searcher(emb).search(emb, k)


def test_approximate_kinds():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 16)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    truth = Searcher(x).search(x, 10)[0]
    few = Searcher(x, kind="IVF16,Flat", params="nprobe=1")
    wide = Searcher(x, kind="IVF16,Flat", params="nprobe=16")
    assert (wide.search(x, 10)[0] == truth).all()
    same = (few.search(x, 5)[0][:, :, None] == truth[:, None, :]).any(2).mean()
    assert 0.2 < same < 1
    with pytest.raises(EmbeddingError, match=r"fewer than k = 500.*nprobe"):
        few.search(x, 500)  # FAISS would pad with -1
    graph = Searcher(x, kind="HNSW16", params="efSearch=200")
    found = graph.search(x, 10)[0]
    assert (
        np.mean([len(set(a) & set(b)) for a, b in zip(found, truth, strict=True)]) > 9.5
    )


@pytest.mark.parametrize(
    ("kind", "params"),
    [("Nonsense9", ""), ("IVF64,Flat", ""), ("Flat", "nprobe=3,x=1")],
)
def test_faiss_refusals_are_named(kind, params):
    with pytest.raises(ParameterError, match="FAISS cannot build"):
        Searcher(np.eye(8, dtype=np.float32), kind=kind, params=params)
