"""The judge of pairs: losses by a float64 loop, posteriors on known mixtures, draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsnb import pacing
from rsnb.errors import ParameterError
from rsnb.pacing import Judge, Verdict, draw, gmm_posterior, judge, null_posterior


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def mixture(rate, seed, size=4000):
    """Return losses, those of random pairs, and which of the former are false."""
    rng = np.random.default_rng(seed)
    false = rng.random(size) < rate
    loss = np.where(false, rng.normal(5, 1, size), rng.normal(1, 0.5, size))
    return loss, rng.normal(5, 1, size), false


# Panel losses


@pytest.mark.parametrize("panel", [5, 400])  # smaller, and larger, than the data
def test_panel_losses_against_a_loop(panel):
    rng, scale = np.random.default_rng(3), 7.0
    img, txt, gt = unit(rng, 9, 4), unit(rng, 14, 4), rng.integers(0, 9, 14)
    how = Judge(panel=panel, seed=2)
    found = pacing.look(img, txt, gt, scale, how)
    same = np.random.default_rng((2, 1))  # the stream that decides, in its order
    wrong = (gt + same.integers(1, 9, 14)) % 9
    images, texts = same.permutation(9)[:panel], same.permutation(14)[:panel]
    assert (wrong != gt).all()
    a, b = img.astype(float), txt.astype(float)
    for column, (i, t) in enumerate(zip([*gt, *wrong], [*range(14)] * 2, strict=True)):
        own = math.exp(scale * a[i] @ b[t])
        i2t = math.log((own + sum(math.exp(scale * a[i] @ b[s]) for s in texts)) / own)
        t2i = math.log((own + sum(math.exp(scale * a[j] @ b[t]) for j in images)) / own)
        np.testing.assert_allclose(found[:, column], [i2t, t2i], rtol=2e-5)
    assert found.dtype == np.float32 and found.shape == (2, 28)
    assert (found >= 0).all()


def test_a_look_is_a_pure_function_of_its_seed():
    rng = np.random.default_rng(0)
    img, txt, gt = unit(rng, 30, 4), unit(rng, 60, 4), np.repeat(np.arange(30), 2)
    a, b, c = (
        pacing.look(img, txt, gt, 9.0, Judge(panel=8, seed=s)) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


# Posteriors


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_null_finds_the_rate_and_is_calibrated(rate, seed):
    loss, null, false = mixture(rate, seed)
    p, found = null_posterior(loss, null)
    assert found == pytest.approx(rate, abs=0.03)
    assert float((1 - p).mean()) == pytest.approx(rate, abs=0.03)
    assert (np.diff(p[np.argsort(loss)]) <= 0).all()
    for low, high in [(0.0, 0.2), (0.2, 0.8), (0.8, 1.01)]:  # calibrated bin by bin
        some = (p >= low) & (p < high)
        share, n = float((~false)[some].mean()), some.sum()
        slack = 0.03 + 2.5 / math.sqrt(n)
        assert share == pytest.approx(float(p[some].mean()), abs=slack)


def test_a_clean_set_is_seen_to_be_clean_where_two_gaussians_halve_it():
    loss, null, _ = mixture(0.0, 0)
    p, rate = null_posterior(loss, null)
    assert rate < 0.005 and p.min() > 0.95
    assert gmm_posterior(loss)[1] > 0.3  # the reason for the known null


def test_pairs_that_are_all_random_are_not_trusted():
    rng = np.random.default_rng(0)
    p, rate = null_posterior(rng.normal(5, 1, 4000), rng.normal(5, 1, 4000))
    assert rate > 0.95 and np.median(p) < 0.1


def test_the_null_needs_no_gaussian_and_no_equal_sizes():
    rng = np.random.default_rng(5)
    false = rng.random(6000) < 0.4
    loss = np.where(false, 4 + rng.exponential(2, 6000), rng.exponential(0.5, 6000))
    p, rate = null_posterior(loss, 4 + rng.exponential(2, 1500))
    assert rate == pytest.approx(0.4, abs=0.03)
    assert float((1 - p).mean()) == pytest.approx(0.4, abs=0.03)


def test_two_gaussians_separate_what_lies_apart():
    loss, _, false = mixture(0.4, 0)
    p, rate = gmm_posterior(loss)
    assert rate == pytest.approx(0.4, abs=0.03)
    assert ((p < 0.5) == false).mean() > 0.98
    assert p.dtype == np.float32


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_losses_that_are_all_equal_stop_neither():
    flat = np.full(50, 2.0)
    for p, rate in (null_posterior(flat, flat), gmm_posterior(flat)):
        assert np.isfinite(p).all() and 0 <= rate <= 1


# Verdicts


def test_memory_by_hand():
    rng = np.random.default_rng(0)
    looks = rng.normal(5, 1, (3, 2, 80)).astype(np.float32)
    verdict = judge(looks, Judge(memory=0.25))
    kept = 0.25 * (0.25 * looks[0] + 0.75 * looks[1]) + 0.75 * looks[2]
    np.testing.assert_allclose(verdict.loss, kept[:, :40], rtol=1e-6)
    np.testing.assert_allclose(verdict.null, kept[:, 40:], rtol=1e-6)
    np.testing.assert_array_equal(
        judge(looks, Judge(memory=0.0)).loss, looks[2][:, :40]
    )


@pytest.mark.parametrize("split", ["null", "gmm"])
def test_a_verdict_judges_each_direction_and_their_sum(split):
    pair = [mixture(0.5, s, 500) for s in (1, 2)]
    looks = np.stack([np.concatenate([a, b]) for a, b, _ in pair])[None]
    verdict = judge(looks.astype(np.float32), Judge(split=split))
    assert verdict.clean.shape == (3, 500) and verdict.clean.dtype == np.float32
    views = [(a, b) for a, b, _ in pair]
    views.append(tuple(sum(v) for v in zip(*views, strict=True)))
    for found, (loss, null) in zip(verdict.clean, views, strict=True):
        args = (loss, null) if split == "null" else (loss,)
        want = {"null": null_posterior, "gmm": gmm_posterior}[split](*args)
        np.testing.assert_allclose(found, want[0], atol=1e-3)
    assert verdict.rate == pytest.approx(want[1], abs=1e-3)  # that of the sum


def test_groups_need_both_directions():
    clean = np.array(
        [[0.9, 0.9, 0.01, 0.01, 0.3], [0.9, 0.3, 0.01, 0.9, 0.3], [0.5] * 5]
    )
    verdict = Verdict(clean[:2], clean[:2], clean, 0.5)
    assert verdict.groups().tolist() == [0, 1, 2, 1, 1]
    assert verdict.groups(high=0.2).tolist() == [0, 0, 2, 1, 0]


@pytest.mark.parametrize(
    "bad",
    [
        {"split": "gauss"},
        {"memory": 1.0},
        {"memory": -0.1},
        {"memory": math.nan},
        {"every": 0},
        {"panel": 1},
    ],
)
def test_a_judge_that_could_not_judge_is_refused(bad):
    with pytest.raises(ParameterError, match=f"Judge.*{next(iter(bad))}"):
        Judge(**bad)


# Draws


def drawn(weight, gt, images, seed=0):
    """Draw one epoch, with the tables that `Batches` makes."""
    count = np.bincount(gt, minlength=images)
    return draw(
        np.asarray(weight, float), np.argsort(gt, kind="stable"),
        np.cumsum(count) - count, count, np.flatnonzero(count),
        np.random.default_rng(seed),
    )  # fmt: skip


def test_even_weights_give_every_image_once_and_spread_captions():
    rng = np.random.default_rng(0)
    gt = rng.permutation(np.repeat(np.arange(300), 5))
    seen = np.zeros(1500)
    for seed in range(20):
        rows, caps = drawn(np.ones(1500), gt, 300, seed)
        assert sorted(rows) == list(range(300))
        np.testing.assert_array_equal(gt[caps], rows)
        seen[caps] += 1
    spread = seen.reshape(-1)  # 4 expected each
    assert spread.max() <= 14 and (spread == 0).mean() < 0.04
    assert not np.array_equal(rows, np.sort(rows))


def test_images_without_captions_are_never_drawn():
    gt = np.array([0, 2, 2, 4])
    rows, caps = drawn(np.ones(4), gt, 6)
    assert sorted(rows) == [0, 2, 4]
    np.testing.assert_array_equal(gt[caps], rows)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-6, 0.3, 0.9, 1.0]), min_size=12, max_size=12),
    st.integers(0, 2**32),
)
def test_counts_are_the_expected_ones_rounded(weight, seed):
    gt = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 5, 5])[::-1]
    weight = np.array(weight)
    if not weight.any():
        return
    rows, caps = drawn(weight, gt, 6, seed)
    true = np.array([1 - np.prod(1 - weight[gt == i]) for i in range(6)])
    expected = true / true.sum() * 5  # image 4 has no caption
    count = np.bincount(rows, minlength=6)
    assert (count >= np.floor(expected - 1e-6)).all()
    assert (count <= np.ceil(expected + 1e-6)).all()
    assert len(rows) == len(caps) == 5
    np.testing.assert_array_equal(gt[caps], rows)
    assert (weight[caps] > 0).all(), "a caption of weight 0 was drawn"


def test_captions_come_in_proportion_to_their_weight():
    gt, weight = np.repeat([0, 1], 3), np.array([0.0, 0.2, 0.6, 0.5, 0.5, 0.0])
    caps = np.concatenate([drawn(weight, gt, 2, s)[1] for s in range(3000)])
    share = np.bincount(caps, minlength=6) / len(caps)
    true = np.array([1 - 0.8 * 0.4, 1 - 0.5 * 0.5])
    a, b = true / true.sum()
    want = [0, a / 4, 3 * a / 4, b / 2, b / 2, 0]
    np.testing.assert_allclose(share, want, atol=0.025)


def test_the_generator_decides():
    gt, weight = np.repeat(np.arange(40), 2), np.linspace(0, 1, 80)
    a, b, c = (drawn(weight, gt, 40, s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a[1] != c[1]).any()


def test_a_judge_that_trusts_nothing_stops_the_run():
    with pytest.raises(ParameterError, match="trusts no pair"):
        drawn(np.zeros(6), np.repeat([0, 1, 2], 2), 3)
