"""VCI: weights that are recovered, candidates that are asked, and a stop that holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from rsnb.cadre.vci import (
    ENOUGH,
    HARM,
    PRIORS,
    SLACKS,
    STAYS,
    VCI,
    best_first,
    calibrate,
    fit,
    harm,
)
from rsnb.errors import ParameterError
from rsnb.metrics import evaluate

ASK = VCI((12.0, 1.0, -0.5), prior=-0.5, stay=1.0, most=8)


def world(seed=0, q=60, g=30, k=8, e=2):
    """Return scores, order and evidence of q queries."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0.3, 0.2, (q, g))
    return first, best_first(first, k), rng.standard_normal((q, k, e))


def logit(seed, weights, q=1500, k=8):
    """Return a set whose right candidate is drawn from the softmax of x·weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((q, k, len(weights))) * [0.1, *[1] * (len(weights) - 1)]
    order = np.argsort(rng.random((q, k + 4)), 1)[:, :k]
    first = np.full((q, k + 4), -5.0)
    np.put_along_axis(first, order, x[..., 0], 1)
    p = softmax(x @ np.array(weights), 1)
    pick = (p.cumsum(1) > rng.random((q, 1))).argmax(1)
    right = np.zeros(first.shape, bool)
    right[np.arange(q), order[np.arange(q), pick]] = True
    return first, order, x[..., 1:], right


# The fit


def test_fit_recovers_the_weights():
    want = (10.0, 1.0, -0.7, 0.0)
    got = fit(*logit(0, want))
    assert got.most == 8 and (got.prior, got.stay, got.slack) == (0, 0, 0)
    np.testing.assert_allclose(got.weights, want, rtol=0.15, atol=0.1)
    assert abs(got.weights[3]) < 0.1  # a useless feature


def test_fit_does_not_depend_on_units():
    first, order, evidence, right = logit(1, (10.0, 1.0, -0.7), q=300)
    one = fit(first, order, evidence, right).weights
    other = fit(first / 50, order, evidence * [3, 1000], right).weights
    np.testing.assert_allclose(other, np.array(one) * [50, 1 / 3, 1e-3], rtol=1e-3)


def test_fit_leaves_out_queries_that_say_nothing():
    first, order, evidence, right = logit(2, (10.0, 1.0), q=200)
    one = fit(first, order, evidence, right)
    none, every = np.zeros_like(right[:50]), np.ones_like(right[:50])
    parts = [(x, x[:50], x[:50]) for x in (first, order, evidence)]
    more = [np.concatenate(p) for p in (*parts, (right, none, every))]
    np.testing.assert_allclose(fit(*more).weights, one.weights, rtol=1e-6)
    for useless in (none, every):
        with pytest.raises(ParameterError, match="no right candidate"):
            fit(first[:50], order[:50], evidence[:50], useless)


def test_fit_takes_several_right_candidates():
    first, order, evidence, right = logit(3, (10.0, 2.0), q=300)
    right = right | (np.arange(12) == order[:, :1])
    got = fit(first, order, evidence, right)
    assert np.isfinite(got.weights).all() and got.weights[1] > 0.3


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_a_feature_that_never_changes_gets_no_weight(value):
    first, order, evidence, right = logit(4, (10.0, 1.0), q=300)
    one = fit(first, order, evidence, right).weights
    same = np.full_like(evidence, value)
    got = fit(first, order, np.concatenate([evidence, same], 2), right).weights
    np.testing.assert_allclose(got, [*one, 0], rtol=1e-3, atol=1e-3)


# Whom it asks


def test_without_slack_all_are_asked():
    for extreme in (1.0, 1e6):  # nothing is too plain
        first, order, evidence = world()
        asked = ASK(first * extreme, order, evidence)
        assert asked.calls.dtype == np.int64 and (asked.calls == 8).all()
    assert (
        ASK(first[:, :8], np.tile(np.arange(8), (60, 1)), evidence).calls == 8
    ).all()
    assert (replace(ASK, most=3)(first, order, evidence).calls == 3).all()
    assert (replace(ASK, most=50)(first, order, evidence).calls == 8).all()


def test_scores_are_those_of_the_formula():
    first, order, evidence = world()
    for slack in (0.0, 0.05, 0.3):
        asked = replace(ASK, slack=slack)(first, order, evidence)
        want = 12 * first + ASK.prior
        want[np.arange(60), first.argmax(1)] += ASK.stay
        for q in range(60):
            for j in order[q, : asked.calls[q]]:
                (at,) = np.flatnonzero(order[q] == j)
                want[q, j] += evidence[q, at] @ ASK.weights[1:] - ASK.prior
        np.testing.assert_allclose(asked.scores, want, atol=1e-9)


def test_it_stops_where_the_rest_holds_too_little():
    """By hand: the share of those not asked, after each number of questions."""
    first, order, evidence = world(5)
    how = replace(ASK, slack=0.08)
    calls = how(first, order, evidence).calls
    assert len(set(calls.tolist())) > 3
    for q in range(60):
        x = 12 * first[q] + ASK.prior
        x[first[q].argmax()] += ASK.stay
        share, stop = softmax(x), None
        if share.max() > 1 - how.slack:
            stop = 0
        for k in range(8):
            if stop is None:
                x[order[q, k]] += evidence[q, k] @ how.weights[1:] - how.prior
                rest = np.isin(np.arange(30), order[q, : k + 1], invert=True)
                stop = k + 1 if softmax(x)[rest].sum() < how.slack else None
        assert calls[q] == (8 if stop is None else stop)


def test_more_slack_never_asks_more():
    for seed in range(5):
        data, before = world(seed), np.full(60, 8)
        total = []
        for slack in (*SLACKS, 0.7, 0.9, 0.999):
            calls = replace(ASK, slack=slack)(*data).calls
            assert (calls <= before).all()
            before, total = calls, [*total, calls.sum()]
        assert total[0] == 480 and total[-1] < 60


def test_a_plain_query_asks_none():
    first, order, evidence = world()
    first[0, 7] += 3
    order = best_first(first, 8)
    asked = replace(ASK, slack=0.01)(first, order, evidence)
    assert asked.calls[0] == 0 and asked.calls[1:].max() > 0
    assert asked.scores[0].argmax() == 7
    assert (np.argsort(-asked.scores[0]) == np.argsort(-first[0])).all()


def test_what_comes_after_the_stop_is_not_looked_at():
    for seed in range(5):
        first, order, evidence = world(seed)
        how = replace(ASK, slack=(0.01, 0.03, 0.1, 0.2, 0.4)[seed])
        asked = how(first, order, evidence)
        assert asked.calls.min() < asked.calls.max()
        for size in (1, 1e3, -1e3):
            noise = np.random.default_rng(9).standard_normal(evidence.shape) * size
            late = np.arange(8) >= asked.calls[:, None]
            other = how(first, order, np.where(late[..., None], noise, evidence))
            np.testing.assert_array_equal(other.calls, asked.calls)
            np.testing.assert_array_equal(other.scores, asked.scores)
        # and what comes before it is
        early = np.arange(8) < asked.calls[:, None]
        other = how(first, order, evidence + early[..., None])
        some = asked.calls > 0
        assert (other.scores != asked.scores).any(1)[some].all()
        np.testing.assert_array_equal(other.scores[~some], asked.scores[~some])


def test_a_query_alone_gets_the_same():
    data = world()
    how = replace(ASK, slack=0.05)
    asked = how(*data)
    for q in range(0, 60, 7):
        alone = how(*(x[q : q + 1] for x in data))
        np.testing.assert_allclose(alone.scores[0], asked.scores[q], atol=1e-12)
        assert alone.calls[0] == asked.calls[q]


def test_nothing_handed_in_changes():
    first, order, evidence = data = world()
    before = [x.copy() for x in data]
    ASK(first, order, evidence)
    fit(first, order, evidence, np.arange(30) == order[:, 2:3])
    for x, y in zip(data, before, strict=True):
        np.testing.assert_array_equal(x, y)


# The backbone's first choice


def test_who_stays():
    first, order, evidence = world()
    choice = first.argmax(1)
    rows = np.arange(60)
    free, held = replace(ASK, stay=0.0), replace(ASK, stay=1e4)
    assert (free(first, order, evidence).scores.argmax(1) != choice).mean() > 0.3
    assert (held(first, order, evidence).scores.argmax(1) == choice).all()
    moved = free(first, order, evidence).scores - ASK(first, order, evidence).scores
    np.testing.assert_allclose(moved[rows, choice], -ASK.stay)
    assert np.count_nonzero(np.abs(moved) > 1e-9) == 60
    # the choice of another stage, asked or not
    other = order[:, 3] * (rows % 2) + first.argmin(1) * (1 - rows % 2)
    got = held(first, order, evidence, other)
    assert (got.scores.argmax(1) == other).all()


def test_the_choice_is_that_of_the_scores_whatever_their_weight():
    first, order, evidence = world()
    for w in (-3.0, 0.0):
        how = VCI((w, 0.0, 0.0), stay=1e3)
        got = how(first, order, evidence).scores.argmax(1)
        np.testing.assert_array_equal(got, first.argmax(1))


def test_harm():
    right = np.eye(4, dtype=bool)
    choice = np.array([0, 1, 0, 0])  # the first two are right
    assert harm(np.eye(4), choice, right) == 0  # all right now
    assert harm(np.eye(4)[[0, 0, 2, 3]], choice, right) == 0.5
    assert harm(np.eye(4)[[1, 0, 0, 0]], choice, right) == 1
    assert harm(np.eye(4), np.full(4, 2) - np.eye(4, dtype=int)[2], right) == 0


# All constants


def ways(seed, w=(10.0, 1.5), q=300):
    first, order, evidence, right = logit(seed, w, q)
    order = np.take_along_axis(
        order, best_first(np.take_along_axis(first, order, 1), 8), 1
    )
    evidence = np.random.default_rng(seed).standard_normal((q, 8, 1))
    evidence += np.take_along_axis(right, order, 1)[..., None] * w[1]
    return (first, order, evidence, first.argmax(1)), right


@pytest.mark.parametrize("seed", range(3))
def test_calibrate_keeps_to_its_bounds(seed):
    way, right = ways(seed)
    how = calibrate(way, right)
    assert how.prior in PRIORS and how.stay in STAYS and how.slack in SLACKS
    assert how.weights == fit(*way[:3], right).weights
    gt = right.argmax(1)

    def recall(one):
        r = evaluate(one(*way).scores, gt).as_dict()
        return np.mean([r[f"t2i_r{k}"] for k in (1, 5, 10)])

    before = evaluate(way[0], gt).as_dict()["t2i_r1"]
    assert evaluate(how(*way).scores, gt).as_dict()["t2i_r1"] > before + 5
    every = replace(how, slack=0.0)
    assert harm(every(*way).scores, way[3], right) <= HARM
    for stay in STAYS[: STAYS.index(how.stay)]:  # the smallest that does
        less = replace(every, stay=stay)
        assert harm(less(*way).scores, way[3], right) > HARM
    assert recall(how) >= recall(every) - ENOUGH - 1e-9
    for slack in SLACKS[SLACKS.index(how.slack) + 1 :]:  # the largest that does
        assert recall(replace(how, slack=slack)) < recall(every) - ENOUGH


def test_calibrate_does_what_it_can_where_all_evidence_misleads():
    """A first stage that is right, and validation that says it is not."""
    way, right = ways(0, (0.0, 20.0))
    first, order, evidence, choice = way
    how = calibrate((first, order, evidence * 50, choice), right)
    assert how.stay in STAYS and np.isfinite(how.weights).all()


# What is refused


def test_bad_input():
    first, order, evidence = world()
    bad = [
        (first[:-1], order, evidence),
        (first[0], order, evidence),
        (first, order, evidence[..., :1]),
        (first, order, evidence[:, :-1]),
        (first, order[:, :-1], evidence),
        (first, order, evidence[..., 0]),
    ]
    for some in bad:
        with pytest.raises(ParameterError, match="evidence must be"):
            ASK(*some)
    for k, value in ((0, np.nan), (0, np.inf), (2, np.nan), (2, -np.inf)):
        some = [x.astype(float) for x in (first, order, evidence)]
        some[k].flat[-1] = value
        some[1] = order
        with pytest.raises(ParameterError, match="NaN or infinity"):
            ASK(*some)
        with pytest.raises(ParameterError, match="NaN or infinity"):
            fit(*some, np.arange(30) == order[:, :1])


def test_best_first():
    scores = np.array([[1.0, 3, 3, 2], [0, 0, 0, 0]])
    assert best_first(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert best_first(scores, 9).tolist() == [[1, 2, 3, 0], [0, 1, 2, 3]]
