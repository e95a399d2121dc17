"""Images by their texts: aggregates, exact ties, search = scores, fusion."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from rsnb import t2t
from rsnb.errors import EmbeddingError, MetricError, ParameterError
from rsnb.metrics import evaluate
from rsnb.t2t import AGGREGATES, MISSING, Fusion, TextGallery, TextSpace, fit_fusion


class Table:
    """A model whose text "i" has row i of a table."""

    def __init__(self, rows) -> None:
        self.rows = np.asarray(rows, np.float32)

    def encode(self, texts, **_):
        return self.rows[[int(t) if t.isdigit() else 0 for t in texts]]


def unit(rng, n, d):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def signs(rng, n):
    """Unit vectors whose products are multiples of 1/4: exact, and full of ties."""
    return rng.choice([-0.5, 0.5], (n, 4)).astype(np.float32)


def galleries(rng, table, n, most=6):
    """Return n lists of texts, some of them empty, some repeated."""
    texts = [
        [str(i) for i in rng.integers(0, len(table), rng.integers(0, most))]
        for _ in range(n)
    ]
    for i in range(0, n - 1, 5):
        texts[i + 1] = texts[i][::-1]
    return texts


def by_hand(cosines, aggregate, tau):
    if not cosines:
        return MISSING
    if aggregate == "max":
        return max(cosines)
    if aggregate == "mean":
        return sum(cosines) / len(cosines)
    return tau * math.log(sum(math.exp(c / tau) for c in cosines) / len(cosines))


def ordered(scores, k):
    """Return rows by (score descending, row ascending)."""
    return [sorted(range(len(s)), key=lambda j: (-s[j], j))[:k] for s in scores]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scores_by_hand(aggregate):
    rng = np.random.default_rng(0)
    table, queries = unit(rng, 40, 8), unit(rng, 9, 8)
    texts = galleries(rng, table, 30)
    for tau in (0.02, 0.05, 0.9):
        space = TextSpace("table", "", Table(table))
        gallery = TextGallery(space, texts, aggregate=aggregate, tau=tau)
        got = gallery.scores(queries)
        want = [
            [by_hand([float(q @ table[int(t)]) for t in some], aggregate, tau)
             for some in texts]
            for q in queries
        ]  # fmt: skip
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("kind", ["ties", "random", "one vector"])
def test_search_is_scores_and_a_sort(aggregate, kind):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 60))
        table = signs(rng, 12) if kind == "ties" else unit(rng, 60, 16)
        table = table[:1] if kind == "one vector" else table
        texts = galleries(rng, table, n)
        queries = signs(rng, 5) if kind == "ties" else unit(rng, 5, table.shape[1])
        tau = float(rng.choice([0.01, 0.05, 0.5]))
        gallery = TextGallery(
            TextSpace("table", "", Table(table)), texts, aggregate=aggregate, tau=tau
        )
        scores = gallery.scores(queries)
        for k in {1, min(5, n), n}:
            rows, best = gallery.search(queries, k)
            assert rows.dtype == np.int64
            assert best.dtype == np.float32
            assert rows.tolist() == ordered(scores.tolist(), k)
            np.testing.assert_allclose(
                best, np.take_along_axis(scores, rows, 1), atol=1e-6
            )


def test_lse_looks_further_than_the_first_hits():
    # One close text among far ones wins by max; two close ones win by lse. The first
    # hits all belong to images of the first kind.
    angle = np.radians([0, 1, 2, 3, 4, 5, 6, 7, 80])
    table = np.stack([np.cos(angle), np.sin(angle)], 1)
    texts = [[str(i), "8", "8", "8"] for i in range(7)] + [["7", "7", "7", "7"]]
    space, query = TextSpace("table", "", Table(table)), np.array([[1.0, 0.0]])
    assert TextGallery(space, texts).search(query, 1)[0].tolist() == [[0]]
    gallery = TextGallery(space, texts, aggregate="lse", tau=0.1)
    rows, score = gallery.search(query, 2)
    assert rows.tolist() == ordered(gallery.scores(query).tolist(), 2) == [[7, 0]]
    assert score[0, 0] == pytest.approx(math.cos(angle[7]), abs=1e-6)
    assert gallery.search(query, 1)[0].tolist() == [[7]]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_the_same_texts_tie_exactly(aggregate):
    rng = np.random.default_rng(3)
    table = unit(rng, 900, 384)
    texts = [[str(i) for i in x] for x in rng.permutation(900).reshape(60, 15)]
    texts += [rng.permutation(x).tolist() for x in texts]
    gallery = TextGallery(
        TextSpace("table", "", Table(table)), texts, aggregate=aggregate
    )
    queries = unit(rng, 33, 384)
    scores = gallery.scores(np.concatenate([queries, queries]))
    np.testing.assert_array_equal(scores[:, :60], scores[:, 60:])
    np.testing.assert_array_equal(scores[:33], scores[33:])
    rows = gallery.search(queries, 10)[0]
    np.testing.assert_array_equal(rows[:, 1::2], rows[:, ::2] + 60)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    table, queries = signs(rng, 10), signs(rng, 50)
    gallery = TextGallery(
        TextSpace("table", "", Table(table)), galleries(rng, table, 20), aggregate="lse"
    )
    whole = gallery.scores(queries)
    monkeypatch.setattr(t2t, "_STEP", 1)
    np.testing.assert_array_equal(gallery.scores(queries), whole)


def test_both_directions_and_images_without_text():
    # Text i points along axis i. Image 0 has text 0, image 1 none, image 2 text 2.
    space = TextSpace("table", "", Table(np.eye(3)))
    gallery = TextGallery(space, [["0"], [], ["2", " "]])
    assert len(gallery) == 3
    scores = gallery.scores(space.encode(["0", "1", "2"]))
    want = [[1, MISSING, 0], [0, MISSING, 0], [0, MISSING, 1]]
    assert scores.tolist() == want
    recall = evaluate(scores, [0, 1, 2]).as_dict()
    assert recall["t2i_r1"] == pytest.approx(200 / 3)  # image 1 ranks last of 3
    # image 1 as a query knows nothing: its caption is first in 1 of 3 random orders
    assert recall["i2t_r1"] == pytest.approx(100 * (2 + 1 / 3) / 3)
    for aggregate in AGGREGATES:
        bare = TextGallery(space, [[], [" "], []], aggregate=aggregate)
        assert (bare.scores(np.eye(3)) == MISSING).all()
        rows, score = bare.search(np.eye(3), 2)
        assert rows.tolist() == [[0, 1]] * 3
        assert (score == MISSING).all()


@pytest.mark.parametrize(
    ("texts", "more", "says"),
    [
        ([["0"]], {"aggregate": "median"}, "median"),
        ([["0"]], {"aggregate": "lse", "tau": 0.0}, "tau"),
        ([["0"]], {"tau": 1.0}, "tau"),
        (["0", "1"], {}, "one list of texts for each image"),
        ("0", {}, "one list of texts"),
        ([], {}, "one list of texts"),
    ],
)
def test_bad_galleries(texts, more, says):
    with pytest.raises(ParameterError, match=says):
        TextGallery(TextSpace("table", "", Table(np.eye(3))), texts, **more)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_bad_queries(aggregate):
    space = TextSpace("table", "", Table(np.eye(3)))
    gallery = TextGallery(space, [["0"], ["1"]], aggregate=aggregate)
    for bad in (np.eye(4), np.eye(3)[0], np.eye(3) * np.nan, np.zeros((1, 3))):
        for ask in (gallery.scores, lambda q: gallery.search(q, 1)):
            with pytest.raises(EmbeddingError, match="query_emb"):
                ask(bad)
    for k in (0, 3):
        with pytest.raises(EmbeddingError, match="k must be 1 to 2"):
            gallery.search(np.eye(3), k)
    np.testing.assert_array_equal(
        gallery.scores(7 * np.eye(3)), gallery.scores(np.eye(3))
    )


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_query_is_quick(aggregate):
    """450 images with 15 texts each: 5 ms are promised, a busy machine gets 10."""
    rng = np.random.default_rng(0)
    scene = unit(rng, 450, 384)  # the texts of an image resemble each other
    table = unit(rng, 6750, 384) * 0.7 + np.repeat(scene, 15, 0)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    texts = [[str(15 * i + j) for j in range(15)] for i in range(450)]
    gallery = TextGallery(
        TextSpace("table", "", Table(table)), texts, aggregate=aggregate
    )
    spent = []
    for q in (unit(rng, 40, 384) * 0.7 + scene[:40])[:, None]:
        start = time.process_time()  # of this process: others share the machine
        gallery.search(q, 10)
        spent.append(time.process_time() - start)
    assert np.quantile(spent, 0.2) < 0.010


# Fusion


def two_models(seed, n=60):
    """Return two noisy score matrices over n images, with other scales, and gt."""
    rng = np.random.default_rng(seed)
    gt = np.repeat(np.arange(n), 2)
    right = np.eye(n)[gt]
    a = 0.5 + 0.05 * (rng.standard_normal(right.shape) + 2 * right)
    b = 9.0 * (rng.standard_normal(right.shape) + 2.5 * right)
    return a.astype(np.float32), b.astype(np.float32), gt


def test_fusion_is_fitted_on_validation_and_helps():
    a, b, gt = two_models(0)
    fusion = fit_fusion(a, b, gt)
    assert len(fusion.grid) == 21
    assert dict(fusion.grid)[fusion.weight] == max(mR for _, mR in fusion.grid)
    assert 0.2 < fusion.weight < 0.7
    assert not fusion.edge
    assert fusion.first == pytest.approx((a.mean(), a.std()), rel=1e-4)
    x, y, own = two_models(1)
    fused = evaluate(fusion(x, y), own)
    assert fused.mR > max(evaluate(x, own).mR, evaluate(y, own).mR) + 3


def test_the_edge_of_the_grid_is_visible():
    a, b, gt = two_models(0)
    noise = np.random.default_rng(5).standard_normal(a.shape).astype(np.float32)
    fusion = fit_fusion(a, noise, gt, [0.0, 0.5, 1.0])
    assert (fusion.weight, fusion.edge) == (1.0, True)
    assert fit_fusion(a, b, gt, np.linspace(0.4, 0.6, 2)).edge
    # equally good weights: the middle one, which is no edge
    perfect = np.eye(60)[gt]
    fusion = fit_fusion(perfect, perfect, gt, [0, 0.25, 0.5, 0.75, 1])
    assert (fusion.weight, fusion.edge) == (0.5, False)
    assert Fusion(0.5, (0, 1), (0, 1)).edge


def test_the_order_of_a_query_does_not_depend_on_others():
    fusion = fit_fusion(*two_models(0))
    a, b, _ = two_models(1)
    before = fusion(a, b)
    rng = np.random.default_rng(2)
    a[1:], b[1:] = 100 * rng.standard_normal((2, *a[1:].shape))
    np.testing.assert_array_equal(fusion(a, b)[0], before[0])
    np.testing.assert_array_equal(fusion(a[:1], b[:1])[0], before[0])


def test_a_missing_score_leaves_it_to_the_other_model():
    a, b, gt = two_models(0)
    plain = fit_fusion(a, b, gt, [0.5])
    a[:, :30] = MISSING
    fusion = fit_fusion(a, b, gt, [0.5])
    # the spread is that of the scores that exist
    assert fusion.first == pytest.approx(plain.first, rel=0.1)
    mean, sd = fusion.second
    np.testing.assert_allclose(
        fusion(a, b)[:, :30], 0.5 * (b[:, :30] - mean) / sd, rtol=1e-5
    )
    assert fusion(a, b).dtype == np.float32


def test_bad_fusions():
    a, b, gt = two_models(0)
    for weights in ([], [1.2], [-0.1, 0.5], [float("nan")]):
        with pytest.raises(ParameterError, match="weights"):
            fit_fusion(a, b, gt, weights)
    with pytest.raises(MetricError, match="cannot fuse"):
        fit_fusion(a, b[:, :1], gt)
    for bad in (0 * b, b * np.nan, 0 * b + MISSING):
        with pytest.raises(MetricError, match="all equal, or NaN"):
            fit_fusion(a, bad, gt)
