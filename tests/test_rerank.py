"""Re-rankers: formulas by hand, what inductive means, ties, hubs, one budget."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from rsnb.errors import EmbeddingError, MetricError, ParameterError
from rsnb.rerank import RERANKERS, Bank, First, Way, tune
from rsnb.twoway import TwoWay

NEED_BANK = {"multivariate-bank", "qb-norm", "dual-softmax-bank"}
EVERY = pytest.mark.parametrize("name", RERANKERS)
INDUCTIVE = [n for n, r in RERANKERS.items() if not r.transductive]
# Small galleries need small cuts; everything else is as in the grids.
SMALL = {
    "multivariate": {"K": 12, "W1": 0.3, "W2": 1.1},
    "multivariate-bank": {"K": 12, "W1": 0.3, "W2": 1.1},
    "qb-norm": {"beta": 20, "k": 1},
    "dual-softmax": {"tau": 0.05},
    "dual-softmax-bank": {"tau": 0.05},
    "alpha-qe": {"n": 4, "alpha": 2},
    "rocchio": {"n": 4, "beta": 0.4, "gamma": 0.15},
    "k-reciprocal": {"K": 15, "k1": 6, "k2": 3, "lam": 0.3},
}


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def scene(seed, n=40, d=16, gap=1.5, each=2, noise=1.0):
    """Return noisy images, captions and gt, with a gap between the modalities."""
    rng = np.random.default_rng(seed)
    gt, axis = np.repeat(np.arange(n), each), gap * np.eye(d)[0]
    z = rng.standard_normal((n, d))
    img = z + 0.5 * noise * rng.standard_normal(z.shape) + 2 * axis
    txt = z[gt] + noise * rng.standard_normal((len(gt), d)) + axis
    return First(unit(txt), unit(img)), gt


def a_bank(seed=9, n=60, **more):
    other, _ = scene(seed, n, **more)
    return Bank(other.txt, other.img)


def grids(name):
    """Return the small setting and a few of the grid."""
    return [SMALL[name], *RERANKERS[name].grid[::5]]


def order(x):
    return np.argsort(-x, axis=1, kind="stable").tolist()


def run(name, sim, bank=None, **setting):
    """Return scores of one direction over items on the axes: sims are coordinates."""
    gallery = np.eye(sim.shape[1])
    return RERANKERS[name].scores(Way(sim, gallery, sim, bank), **setting)


# What inductive means


@pytest.mark.parametrize("name", INDUCTIVE)
@pytest.mark.parametrize("gap", [0.0, 1.5])
def test_inductive_is_a_query_at_a_time(name, gap):
    first, _ = scene(0, gap=gap)
    bank, r = a_bank(gap=gap), RERANKERS[name]
    for setting in grids(name):
        whole = r(first, bank, **setting)
        for some in ([3], [0, 1, 7, 30], np.arange(25)[::-1]):
            t2i = r(First(first.txt[some], first.img), bank, **setting).t2i
            i2t = r(First(first.txt, first.img[some]), bank, **setting).i2t
            for got, want in (t2i, whole.t2i[some]), (i2t.T, whole.i2t.T[some]):
                np.testing.assert_allclose(got, want, atol=1e-5)
                assert order(got) == order(want)


@pytest.mark.parametrize("name", sorted(set(RERANKERS) - set(INDUCTIVE)))
def test_transductive_depends_on_the_company(name):
    first, _ = scene(0)
    r, some = RERANKERS[name], [0, 1, 7, 30]
    whole = r(first, **SMALL[name])
    t2i = r(First(first.txt[some], first.img), **SMALL[name]).t2i
    i2t = r(First(first.txt, first.img[some]), **SMALL[name]).i2t
    assert order(t2i) != order(whole.t2i[some])
    assert order(i2t.T) != order(whole.i2t.T[some])


# Equal things, order of things


@EVERY
def test_equal_queries_and_equal_items_are_equal_to_the_bit(name):
    first, _ = scene(1)
    rng = np.random.default_rng(0)
    t, i = rng.integers(0, len(first.txt), 150), rng.integers(0, len(first.img), 70)
    again = First(first.txt[t], first.img[i])
    for setting in grids(name):
        two = RERANKERS[name](again, a_bank(), **setting)
        for x in (two.t2i, two.i2t):
            for of, y in (t, x), (i, x.T):
                head = [int(np.flatnonzero(of == v)[0]) for v in of]
                np.testing.assert_array_equal(y, y[head])


@EVERY
def test_rows_and_columns_may_be_permuted(name):
    first, _ = scene(2)
    rng = np.random.default_rng(0)
    t, i = rng.permutation(len(first.txt)), rng.permutation(len(first.img))
    for setting in grids(name):
        want = RERANKERS[name](first, a_bank(), **setting)
        got = RERANKERS[name](First(first.txt[t], first.img[i]), a_bank(), **setting)
        np.testing.assert_allclose(got.t2i, want.t2i[t][:, i], atol=1e-5)
        np.testing.assert_allclose(got.i2t, want.i2t[t][:, i], atol=1e-5)


@EVERY
def test_no_nan_and_no_new_tie(name):
    # no gap: half of the cosines are negative
    first, gt = scene(3, gap=0.0)
    for setting in grids(name):
        two = RERANKERS[name](first, a_bank(gap=0.0), **setting)
        assert np.isfinite(two.t2i).all() and np.isfinite(two.i2t).all()
        for x in (*two.t2i, *two.i2t.T):
            assert len(np.unique(x)) == len(x)
        assert two.evaluate(gt).ties == 0


@pytest.mark.parametrize("name", ["multivariate", "multivariate-bank", "k-reciprocal"])
def test_the_rest_stays_below_the_candidates_in_its_order(name):
    first, _ = scene(4)
    two = RERANKERS[name](first, a_bank(), **SMALL[name])
    k = SMALL[name]["K"]
    for new, old in (two.t2i, first.sim), (two.i2t.T, first.sim.T):
        a, b = np.array(order(new)), np.array(order(old))
        np.testing.assert_array_equal(np.sort(a[:, :k]), np.sort(b[:, :k]))
        np.testing.assert_array_equal(a[:, k:], b[:, k:])
        assert (a[:, :k] != b[:, :k]).any()


@EVERY
def test_one_item_one_query(name):
    first = First(np.eye(3)[:1], np.eye(3)[:1])
    for setting in grids(name):
        two = RERANKERS[name](first, Bank(np.eye(3), np.eye(3)), **setting)
        assert two.evaluate([0]).mR == 100


# Formulas

S = np.array([[0.9, 0.5, 0.4], [0.8, 0.79, 0.1], [0.28, 0.7, 0.3]])


def galr(share, j, r):
    return 0.3 * share + math.exp(-0.05 * j) + 1.1 * math.exp(-0.05 * r)


def test_galr_by_hand():
    got = run("multivariate", S, K=2, W1=0.3, W2=1.1)
    # Query 0: item 0 is its 1st and has it 1st; item 1 is its 2nd and has it 3rd.
    # Query 1: item 0 is its 1st and has it 2nd; item 1 is its 2nd and has it 1st.
    # Query 2: item 1 is its 1st, item 2 its 2nd, both have it 2nd: its order decides.
    want = [
        galr(0.9 / 1.98, 1, 1) - galr(0.5 / 1.99, 2, 2),
        galr(0.8 / 1.98, 1, 2) - galr(0.79 / 1.99, 2, 1),
        galr(0.7 / 1.99, 1, 1) - galr(0.3 / 0.8, 2, 2),
    ]
    pairs = got[[0, 1, 2], [0, 0, 1]] - got[[0, 1, 2], [1, 1, 2]]
    np.testing.assert_allclose(pairs, want, atol=1e-12)
    assert want[1] < 0 < want[0]  # the reverse rank turned query 1 round
    assert got[[0, 1, 2], [2, 2, 0]].tolist() == S[[0, 1, 2], [2, 2, 0]].tolist()
    assert got.min(1).tolist() == [0.4, 0.1, 0.28]


def test_galr_from_a_bank_by_hand():
    bank = np.array([[0.95, 0.1, 0.2], [0.85, 0.45, 0.3]])
    got = run("multivariate-bank", S[:1], bank, K=2, W1=0.3, W2=1.1)
    # item 0 has the query 2nd, behind the first of the bank; item 1 has it 1st
    want = galr(0.9 / 2.7, 1, 2) - galr(0.5 / 1.05, 2, 1)
    assert got[0, 0] - got[0, 1] == pytest.approx(want, abs=1e-12)
    # a copy of the query in the bank is level with it, not above it
    twice = run("multivariate-bank", S[:1], S[:1] + 2e-7, K=3, W1=0.0, W2=1.1)
    assert order(twice) == order(S[:1])


def test_qb_norm_by_hand():
    bank = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])
    sim = np.array([[0.8, 0.75, 0.3], [0.2, 0.7, 0.3], [0.1, 0.2, 0.6]])
    got = run("qb-norm", sim, bank, beta=20, k=1)
    ratio = np.exp(20 * sim[0]) / np.exp(20 * bank).sum(0)
    np.testing.assert_allclose(got[0], np.log(ratio) / 20, atol=1e-12)
    assert order(got[:1]) == [[1, 2, 0]]  # item 0 is near everything
    # only item 0 is a first hit of the bank: the other queries are left alone
    np.testing.assert_array_equal(got[1:], sim[1:])
    got = run("qb-norm", sim, bank, beta=20, k=2)  # items 0, 1, 2 are among two first
    assert (got != sim).all()


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_dual_softmax_by_hand(tau):
    got = run("dual-softmax", S, tau=tau)
    np.testing.assert_allclose(got, S * softmax(S / tau, axis=0), rtol=1e-9)
    bank = np.array([[0.95, 0.1, 0.2], [0.85, 0.45, 0.3]])
    got = run("dual-softmax-bank", S, bank, tau=tau)
    for one, row in zip(S, got, strict=True):
        p = softmax(np.vstack([one, bank]) / tau, axis=0)[0]
        np.testing.assert_allclose(row, one * p, rtol=1e-9)


def test_query_expansion_by_hand():
    first, _ = scene(5, gap=0.0)
    qe = RERANKERS["alpha-qe"](first, n=3, alpha=2).t2i
    roc = RERANKERS["rocchio"](first, n=3, beta=0.4, gamma=0.2).t2i
    img = first.img.astype(float)
    for q, s in enumerate(first.sim.astype(float)):
        best, rest = np.split(np.argsort(-s), [3])
        more = sum(max(s[c], 0) ** 2 * img[c] for c in best)
        for got, new in (
            (qe, first.txt[q] + more),
            (roc, first.txt[q] + 0.4 * img[best].mean(0) - 0.2 * img[rest].mean(0)),
        ):
            np.testing.assert_allclose(
                got[q], img @ new / np.linalg.norm(new), atol=1e-6
            )


def k_reciprocal_by_hand(sim, inside, K, k1, k2, lam):
    """Return the candidates of each query, best first, with sets and loops."""
    items = range(len(inside))

    def best(row, k):
        return sorted(items, key=lambda c: -row[c])[:k]

    def mutual(g, k):
        near = best(inside[g], 1 + k)
        return {c for c in near if g in best(inside[c], 1 + k)}

    def vector(members, row):
        out = set(members)
        for c in members:
            half = mutual(c, round(k1 / 2))
            if 3 * len(half & set(members)) > 2 * len(half):
                out |= half
        x = np.array([math.exp(row[c]) if c in out else 0.0 for c in items])
        return x / x.sum()

    alone = [vector(mutual(g, k1), inside[g]) for g in items]
    mean = [np.mean([alone[c] for c in best(inside[g], k2)], 0) for g in items]
    out = []
    for s in sim:
        own = vector(best(s, k1), s)
        own = np.mean([own, *(alone[c] for c in best(s, k2 - 1))], 0)
        score, cand = {}, best(s, K)
        for c in cand:
            jaccard = (
                1 - np.minimum(own, mean[c]).sum() / np.maximum(own, mean[c]).sum()
            )
            first = (s[cand[0]] - s[c]) / (s[cand[0]] - s[cand[-1]])
            score[c] = (1 - lam) * jaccard + lam * first
        out.append(sorted(cand, key=score.__getitem__))
    return out


@pytest.mark.parametrize("k2", [1, 3])
@pytest.mark.parametrize("lam", [0.1, 0.3, 1.0])
def test_k_reciprocal_by_hand(k2, lam):
    first, _ = scene(6)
    setting = {"K": 15, "k1": 6, "k2": k2, "lam": lam}
    got = np.array(order(RERANKERS["k-reciprocal"](first, **setting).t2i))[:, :15]
    inside = first.ways()[0].gallery @ first.img.T
    want = k_reciprocal_by_hand(first.sim.astype(float), inside, **setting)
    np.testing.assert_array_equal(got, want)
    if lam == 1:
        np.testing.assert_array_equal(got, np.array(order(first.sim))[:, :15])


# Hubs


@pytest.mark.parametrize(
    "name", ["qb-norm", "dual-softmax", "dual-softmax-bank", "multivariate"]
)
def test_a_hub_loses_its_place(name):
    def with_hub(seed):
        """Return a split in which image 0 is near every caption."""
        first, gt = scene(seed, n=60, d=32, gap=0.0, noise=0.8)
        common = unit(np.ones((1, 32)))
        txt = unit(first.txt + 0.9 * common)
        return First(txt, np.vstack([common, first.img[1:]])), gt

    first, gt = with_hub(0)
    train, _ = with_hub(1)
    plain = TwoWay(first.sim, first.sim).evaluate(gt).as_dict()
    assert plain["t2i_r1"] < 30
    setting = SMALL[name] | ({"W2": 8.0} if name == "multivariate" else {})
    two = RERANKERS[name](first, Bank(train.txt, train.img), **setting)
    assert two.evaluate(gt).as_dict()["t2i_r1"] > plain["t2i_r1"] + 20
    hits = (np.argmax(two.t2i, axis=1) == 0).mean()
    assert hits < (np.argmax(first.sim, axis=1) == 0).mean() / 2


# Budget


def test_one_budget():
    for name, r in RERANKERS.items():
        assert r.name == name
        assert r.paper
        assert len(r.grid) == 16
        assert len({tuple(s.items()) for s in r.grid}) == 16
        assert {tuple(s) for s in r.grid} == {tuple(SMALL[name])}
    assert {n for n, r in RERANKERS.items() if r.transductive} == {
        "multivariate", "dual-softmax",
    }  # fmt: skip


def test_tune_takes_the_best_of_each_direction():
    first, gt = scene(7)
    bank = a_bank()
    rows = tune(first, gt, bank)
    assert [row.reranker.name for row in rows] == list(RERANKERS)
    for row in rows:
        assert row.trials == 16
        tried = [row.reranker(first, bank, **s).evaluate(gt) for s in row.reranker.grid]
        t = [r.t2i_hits.mean() for r in tried]
        i = [r.i2t_hits.mean() for r in tried]
        assert row.t2i == row.reranker.grid[t.index(max(t))]
        assert row.i2t == row.reranker.grid[i.index(max(i))]
        applied = row.reranker.both(first.ways(bank), row.t2i, row.i2t).evaluate(gt)
        assert applied.mR == pytest.approx(row.mR)
        assert row.mR >= max(r.mR for r in tried) - 1e-9
    assert any(row.t2i != row.i2t for row in rows)


def test_tune_without_a_bank():
    first, gt = scene(7)
    free = {n: r for n, r in RERANKERS.items() if n not in NEED_BANK}
    assert len(tune(first, gt, None, free)) == 5
    with pytest.raises(ParameterError, match="Embed training"):
        tune(first, gt, None)
    with pytest.raises(MetricError, match="gt"):
        tune(first, gt[:-1], None, free)
    short = replace(RERANKERS["rocchio"], grid=RERANKERS["rocchio"].grid[:4])
    with pytest.raises(ParameterError, match="'rocchio': 4"):
        tune(first, gt, None, free | {"rocchio": short})


# Errors


@EVERY
def test_who_needs_a_bank(name):
    first, _ = scene(8)
    if name not in NEED_BANK:
        RERANKERS[name](first, **SMALL[name])
        return
    with pytest.raises(ParameterError, match="Embed training"):
        RERANKERS[name](first, **SMALL[name])
    with pytest.raises(EmbeddingError, match="same backbone"):
        RERANKERS[name](first, a_bank(d=20), **SMALL[name])


@EVERY
def test_bad_settings(name):
    first, _ = scene(8)
    good = SMALL[name]
    some = next(iter(good))
    for bad in (
        {}, good | {"more": 1.0}, good | {some: math.nan}, good | {some: math.inf},
        good | {some: -1}, good | {some: 0},
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=f"{name} takes settings like"):
            RERANKERS[name](first, a_bank(), **bad)
        with pytest.raises(ParameterError, match=f"{name} takes settings like"):
            RERANKERS[name].both(first.ways(a_bank()), good, bad)


def test_a_weight_over_one_is_refused():
    first, _ = scene(8)
    with pytest.raises(ParameterError, match="k-reciprocal takes"):
        RERANKERS["k-reciprocal"](first, K=5, k1=6, k2=3, lam=1.1)
