"""Intervals cover, tests keep their level and find what is there."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rsnb import stats
from rsnb.errors import MetricError, ParameterError
from rsnb.metrics import Recall, evaluate
from rsnb.stats import bootstrap_ci, holm, paired_permutation

pytestmark = pytest.mark.promise("statistics")


def fake(p: np.ndarray, rng: np.random.Generator, captions: int = 5) -> Recall:
    """Hits of n images whose captions share the image's own success rates p (n, 3)."""
    gt = np.repeat(np.arange(len(p)), captions)

    def draw(q: np.ndarray) -> np.ndarray:
        return (rng.random((len(q), 1)) < q).astype(float)  # nested: R@1 <= R@5

    t2i, i2t = draw(p[gt]), draw(p)
    return Recall(gt, t2i, i2t, t2i * 0, i2t * 0)


def rates(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.beta(1.2, 1.2, (n, 3)), axis=1)


def check_coverage(figure, metric="mR", shift=None, captions=5):
    """An interval holds the truth in 93 to 97 % of 1,000 simulated sets.

    With `shift`, the interval is that of a difference, of that many points.
    """
    rng = np.random.default_rng(0)
    far = np.sort(rng.beta(1.2, 1.2, (400_000, 3)), axis=1)
    at = {"mR": slice(None), "i2t_r1": 0, "t2i_r10": 2}[metric]
    truth = 100 * far[:, at].mean() if shift is None else shift
    hits = 0
    for trial in range(1000):
        p = rates(120, rng) * (1 if shift is None else 0.9)
        more = None if shift is None else fake(p, rng, captions)
        a = fake(p + (shift or 0) / 100, rng, captions)
        ci = bootstrap_ci(a, more, metric=metric, n=800, seed=trial)
        hits += ci.low <= truth <= ci.high
    what = metric if shift is None else f"a difference of {shift} points"
    figure(f"95 % intervals of {what} that hold the truth", int(hits), of=1000)
    assert 930 <= hits <= 970


def check_type_one(figure, apart=0.0):
    """Two models that are equally good are told apart in at most 6 % of 1,000 sets.

    With `apart`, one or the other is better on each image, by a fair coin.
    """
    rng = np.random.default_rng(1)
    wrong = 0
    for trial in range(1000):
        p = rates(80, rng) * (1 - apart) + apart / 2
        e = apart / 2 * rng.choice([-1, 1], (80, 1))
        a, b = fake(p + e, rng), fake(p - e, rng)
        wrong += paired_permutation(a, b, n=999, seed=trial) <= 0.05
    what = "equal models" + (" that differ by image" if apart else "")
    figure(f"{what} called different at 5 %", int(wrong), of=1000)
    assert 25 <= wrong <= 60


def check_families(figure):
    """Of 1,000 tables of five models like the first, 6 % at most claim anything."""
    rng = np.random.default_rng(11)
    wrong = 0
    for trial in range(1000):
        p = rates(60, rng)
        first = fake(p, rng)
        each = [paired_permutation(first, fake(p, rng), n=399, seed=trial)
                for _ in range(5)]  # fmt: skip
        wrong += min(stats.holm(each)) <= 0.05
    figure("tables of 5 equal models with a claim after Holm", int(wrong), of=1000)
    assert wrong <= 60


def by_caption(recall, metric):
    """Return what `stats._clusters` does, as if captions were independent."""
    gt, n = recall.gt, len(recall.gt)
    hits = recall.t2i_hits, recall.i2t_hits[gt]
    alone = Recall(np.arange(n), *hits, *hits)  # an image of its own for each
    x = CLUSTERS(recall, metric)[0]
    return x[gt], CLUSTERS(alone, metric)[1], np.ones(n)


CLUSTERS = stats._clusters


def test_interval_covers_93_to_97_percent(figure):
    check_coverage(figure)


@pytest.mark.parametrize("metric", ["i2t_r1", "t2i_r10"])
def test_interval_of_one_recall_covers(figure, metric):
    check_coverage(figure, metric)


@pytest.mark.parametrize("shift", [0, 5])
def test_interval_of_a_difference_covers(figure, shift):
    check_coverage(figure, shift=shift)


@pytest.mark.parametrize("apart", [0.0, 0.6])
def test_type_one_error_stays_under_6_percent(figure, apart):
    check_type_one(figure, apart)


def test_families_stay_under_6_percent(figure):
    check_families(figure)


@pytest.mark.promise("statistics", off=True)
@pytest.mark.parametrize("check", [check_coverage, check_type_one])
def test_without_clusters_the_rates_are_off(monkeypatch, check):
    monkeypatch.setattr(stats, "_clusters", by_caption)
    with pytest.raises(AssertionError):
        check(lambda *a, **k: None)


@pytest.mark.promise("statistics", off=True)
def test_without_holm_tables_claim_too_much(monkeypatch):
    monkeypatch.setattr(stats, "holm", list)
    with pytest.raises(AssertionError):
        check_families(lambda *a, **k: None)


def test_a_known_effect_is_found(figure):
    rng = np.random.default_rng(2)
    found = 0
    for trial in range(60):
        p = rates(450, rng) * 0.9
        a, b = fake(p + 0.05, rng), fake(p, rng)
        ci = bootstrap_ci(a, b, n=999, seed=trial)
        value = paired_permutation(a, b, n=999, seed=trial)
        assert value > 0.05 or a.mR > b.mR
        found += value <= 0.05
        agree = (ci.low > 0 or ci.high < 0) == (value <= 0.05)
        assert agree or 0.02 < value < 0.1  # the two may part at the border only
    figure("effects of 5 points found with 450 images", int(found), of=60)
    assert found >= 54


def test_clusters_widen_the_interval():
    """Five captions that always agree hold as much as one, not as five."""
    rng = np.random.default_rng(3)
    p = (rng.random((200, 1)) < 0.5) * np.ones((1, 3))
    five = bootstrap_ci(fake(p, rng), metric="t2i_r1")
    one = bootstrap_ci(fake(p, rng, captions=1), metric="t2i_r1")
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.05)
    spread = rng.random((200, 1)) * 0 + 0.5
    loose = bootstrap_ci(fake(spread * np.ones((1, 3)), rng), metric="t2i_r1")
    assert loose.high - loose.low < 0.6 * (five.high - five.low)


@pytest.mark.parametrize("metric", ["mR", "i2t_r1", "t2i_r10"])
def test_interval_agrees_with_scipy(metric):
    rng = np.random.default_rng(4)
    r = fake(rates(60, rng) ** 3, rng)
    i2t, t2i = r.i2t_hits, r.t2i_hits.reshape(60, 5, 3).mean(1)

    def value(rows: np.ndarray, axis: int = -1) -> np.ndarray:
        if metric == "mR":
            return 50 * (i2t.mean(1) + t2i.mean(1))[rows].mean(axis)
        side = i2t[:, 0] if metric == "i2t_r1" else t2i[:, 2]
        return 100 * side[rows].mean(axis)

    want = scipy_stats.bootstrap(
        (np.arange(60),), value, n_resamples=20_000, method="BCa", rng=rng
    ).confidence_interval
    got = bootstrap_ci(r, metric=metric, n=20_000)
    assert value(np.arange(60)) == pytest.approx(r.as_dict()[metric])
    assert got.low == pytest.approx(want.low, abs=0.45)
    assert got.high == pytest.approx(want.high, abs=0.45)
    assert got.low < r.as_dict()[metric] < got.high


def test_permutation_agrees_with_scipy():
    rng = np.random.default_rng(5)
    p = rates(9, rng)
    a, b = fake(p, rng), fake(p * 0.5, rng)
    d = 50 * (a.i2t_hits - b.i2t_hits).mean(1)
    d += 50 * (a.t2i_hits - b.t2i_hits).reshape(9, 5, 3).mean((1, 2))
    want = scipy_stats.permutation_test(  # all 512 sign patterns
        (d, 0 * d), lambda x, y: (x - y).sum(), permutation_type="samples"
    ).pvalue
    assert paired_permutation(a, b, n=50_000) == pytest.approx(want, abs=0.01)


def test_interval_is_corrected_for_bias_as_in_scipy():
    rng = np.random.default_rng(10)
    x = 10 * rng.exponential(size=12) ** 2  # a skewed mean
    r = Recall(np.arange(12), *[np.tile(x[:, None] / 100, 3)] * 4)
    want = scipy_stats.bootstrap(
        (x,), np.mean, n_resamples=100_000, method="BCa", rng=rng
    ).confidence_interval
    got = bootstrap_ci(r, n=100_000)
    assert got.low == pytest.approx(want.low, abs=0.15)
    assert got.high == pytest.approx(want.high, abs=0.15)


def test_p_value_counts_the_observed_order():
    one, none = evaluate(np.eye(30), np.arange(30)), evaluate(-np.eye(30), range(30))
    assert paired_permutation(one, none, n=99) == 0.01  # never 0
    a = fake(np.ones((1, 3)), np.random.default_rng(0))
    b = Recall(a.gt, a.t2i_hits * 0.3, a.i2t_hits * 0.7, *[a.t2i_hits] * 2)
    assert paired_permutation(a, b, n=99) == 1  # one image: both orders are as far


def test_uneven_captions():
    rng = np.random.default_rng(6)
    gt = np.concatenate([np.arange(20), rng.integers(0, 20, 60)])
    sim = rng.integers(0, 6, (80, 20)).astype(float)
    sim[np.arange(80), gt] += 2
    r = evaluate(sim, gt)
    weaker = evaluate(sim - (np.arange(20) == gt[:, None]), gt)
    for metric, value in r.as_dict().items():
        gap = bootstrap_ci(r, weaker, metric=metric, n=500)
        assert gap.low <= value - weaker.as_dict()[metric] <= gap.high
        ci = bootstrap_ci(r, metric=metric, n=500)
        assert ci.low <= value <= ci.high


def test_same_seed_same_interval_and_degenerate_cases():
    rng = np.random.default_rng(7)
    r = fake(rates(50, rng), rng)
    assert bootstrap_ci(r, seed=1) == bootstrap_ci(r, seed=1)
    assert bootstrap_ci(r, seed=1) != bootstrap_ci(r, seed=2)
    narrow, wide = bootstrap_ci(r, level=0.5), bootstrap_ci(r, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    same = bootstrap_ci(r, r)
    assert (same.low, same.high, paired_permutation(r, r)) == (0, 0, 1)
    for n in (1, 5):
        perfect = bootstrap_ci(evaluate(np.eye(n), np.arange(n)))
        assert perfect.low == pytest.approx(100)
        assert perfect.high == pytest.approx(100)


def test_ten_thousand_resamples_take_seconds():
    rng = np.random.default_rng(8)
    p = rates(1093, rng)
    a, b = fake(p, rng), fake(p, rng)
    start = time.perf_counter()
    bootstrap_ci(a)
    middle = time.perf_counter()
    bootstrap_ci(a, b), paired_permutation(a, b)
    end = time.perf_counter()
    print(f"bootstrap {middle - start:.2f} s, compare {end - middle:.2f} s")
    assert end - start < 5


def test_holm():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []
    rng = np.random.default_rng(9)  # step-down, written the other way round
    for _ in range(50):
        p = rng.random(8) ** 3
        for alpha in (0.01, 0.05, 0.3):
            rejected, left = set(), sorted(range(8), key=lambda i: p[i])
            while left and p[left[0]] <= alpha / len(left):
                rejected.add(left.pop(0))
            assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


@pytest.mark.parametrize("p", [[0.1, np.nan], [-0.1], [1.1], [[0.1]]])
def test_holm_refuses(p):
    with pytest.raises(ParameterError, match="p values"):
        holm(p)


def test_bad_arguments():
    a = evaluate(np.eye(3), [0, 1, 2])
    with pytest.raises(ParameterError, match="unknown metric 'MR'"):
        bootstrap_ci(a, metric="MR")
    with pytest.raises(ParameterError, match="n must be"):
        bootstrap_ci(a, n=0)
    with pytest.raises(ParameterError, match="level"):
        bootstrap_ci(a, level=95)
    b = evaluate(np.eye(3), [0, 2, 1])
    with pytest.raises(MetricError, match="same gt"):
        bootstrap_ci(a, b)
    with pytest.raises(MetricError, match="A has 3 captions and B 2"):
        paired_permutation(a, evaluate(np.eye(2), [0, 1]))
