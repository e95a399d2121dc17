"""RRSITR against plain float64 loops that share no code with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rsnb.errors import ParameterError
from rsnb.local import local_similarity
from rsnb.losses import pace
from rsnb.methods import Step
from rsnb.rrsitr import RRSITR, pace_value, rrsitr

SMALL = RRSITR(gamma1=4.0, gamma2=8.0)  # thresholds for the batches of 8 below


def sims(size=8, seed=0):
    """Return similarities whose pairs fall in all three groups."""
    rng = np.random.default_rng(seed)
    sim = rng.uniform(-0.3, 0.3, (size, size))
    local = rng.uniform(0.0, 0.2, (size, size))
    lift = np.linspace(0.7, -0.1, size)
    return (
        torch.from_numpy(sim + np.diag(lift)),
        torch.from_numpy(local + np.diag(lift.clip(0))),
    )


def by_hand(sim, local, cfg):
    """Return loss, per-pair losses, weights and groups, one pair at a time."""
    size = len(sim)

    def entropy(row, i):
        return math.log(sum(math.exp(cfg.scale * (s - row[i])) for s in row))

    total, each, weights, groups = 0.0, [], [], []
    for i in range(size):
        ell = entropy(sim[i], i) + entropy(sim[:, i], i)
        if cfg.local:
            ell += entropy(local[i], i) + entropy(local[:, i], i)
        group = 0 if ell < cfg.gamma1 else 1 if ell < cfg.gamma2 else 2
        group = 2 if group and not cfg.ambiguous else group
        w = 0.0
        if group < 2:
            gamma = cfg.gamma1 if group == 0 else cfg.gamma2
            w = math.cos(math.pi * ell / (2 * gamma))
            w = {"easy": w, "hard": math.sqrt(1 - w * w), "none": 1.0}[cfg.pace]
            reg = -2 / math.pi * gamma * (w * math.acos(w) - math.sqrt(1 - w * w))
            total += (1.0 if group == 0 else cfg.lambda1) * (w * ell + reg)
        elif cfg.margin != "none":
            others = [j for j in range(size) if j != i]
            for hardest in (
                max(sim[i, j] for j in others),
                max(sim[j, i] for j in others),
            ):
                margin = cfg.sigma
                if cfg.margin == "dynamic":
                    margin *= 1 + max(0.0, hardest - sim[i, i])
                total += cfg.lambda2 * max(0.0, margin - sim[i, i] + hardest)
        each, weights = [*each, ell], [*weights, w]
        groups.append(group)
    return total / size, each, weights, groups


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"local": False, "gamma1": 2.0, "gamma2": 8.0},
        {"pace": "none"},
        {"pace": "hard"},
        {"margin": "none"},
        {"margin": "fixed"},
        {"ambiguous": False},
    ],
    ids=str,
)
def test_parity_with_loops(change):
    cfg = RRSITR(**{"gamma1": 4.0, "gamma2": 8.0, **change})
    seen: set[int] = set()
    for seed in range(5):
        sim, local = sims(seed=seed)
        got = rrsitr(sim, local if cfg.local else None, cfg)
        loss, each, weights, groups = by_hand(sim.numpy(), local.numpy(), cfg)
        seen |= {*groups}
        assert got.group.tolist() == groups
        np.testing.assert_allclose(got.each, each, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(got.weight, weights, rtol=1e-12, atol=1e-15)
        assert got.loss.item() == pytest.approx(loss, rel=1e-12)
    assert seen == ({0, 1, 2} if cfg.ambiguous else {0, 2})


def test_published_constants():
    cfg = RRSITR()
    assert cfg.scale == pytest.approx(20, rel=1e-3)
    assert (cfg.gamma1, cfg.gamma2, cfg.sigma) == (5, 18, 0.6)
    assert (cfg.lambda1, cfg.lambda2) == (0.8, 0.9)


def test_batch_of_100_at_chance_is_all_noisy_by_hand():
    same = torch.full((100, 100), 0.25, dtype=torch.float64)
    got = rrsitr(same, same)
    np.testing.assert_allclose(got.each, 4 * math.log(100))  # 18.42, above 18
    assert (got.group == 2).all() and not got.weight.any()
    assert got.loss.item() == pytest.approx(0.9 * 2 * 0.6)  # negatives level: margin


def test_perfect_pairs_by_hand():
    eye = torch.eye(100, dtype=torch.float64)
    got = rrsitr(eye, eye)
    ell = 4 * math.log(1 + 99 * math.exp(-RRSITR().scale))
    np.testing.assert_allclose(got.each, ell, rtol=1e-6)
    assert (got.group == 0).all()
    # w is all but 1 and R(1) = 0, so that the loss is the plain sum.
    assert got.loss.item() == pytest.approx(ell, rel=1e-6)


def test_margin_where_the_negative_is_more_similar():
    """There the term is σ + (1 + σ)(S_neg - S_pos), with that slope."""
    sim = torch.full((100, 100), 0.0, dtype=torch.float64)
    sim[0, 0], sim[0, 1], sim[2, 0] = 0.1, 0.5, 0.3
    sim.requires_grad_()
    got = rrsitr(sim, torch.zeros_like(sim), RRSITR(gamma2=5.01))
    assert got.group[0] == 2
    (grad,) = torch.autograd.grad(got.loss, sim)
    first = 0.6 + 1.6 * (0.5 - 0.1) + 0.6 + 1.6 * (0.3 - 0.1)
    assert grad[0, 0].item() == pytest.approx(-2 * 1.6 * 0.9 / 100)
    more = sim.detach().clone()
    more[0, 1] += 1e-3
    fixed = rrsitr(sim, torch.zeros_like(sim), RRSITR(gamma2=5.01, margin="none"))
    assert (got.loss - fixed.loss).item() * 100 / 0.9 > first
    rise = rrsitr(more, torch.zeros_like(sim), RRSITR(gamma2=5.01)).loss - got.loss
    # Pair 1 sees the same 0.5 in its own column, hence twice.
    assert rise.item() == pytest.approx(2 * 1.6 * 0.9 / 100 * 1e-3, rel=1e-6)


@pytest.mark.parametrize("change", [{}, {"margin": "fixed"}, {"pace": "none"}], ids=str)
def test_gradient_numerically(change):
    """The weights are detached, yet the value has this gradient: they minimise it."""
    cfg = RRSITR(**{"gamma1": 4.0, "gamma2": 8.0, **change})
    for seed in range(3):
        pair = tuple(s.requires_grad_() for s in sims(seed=seed))
        assert torch.autograd.gradcheck(lambda a, b: rrsitr(a, b, cfg).loss, pair)


def test_weight_minimises_its_own_objective():
    grid = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    for gamma in (5.0, 18.0):
        for ell in (0.0, 1.0, 4.9, 5.0, 12.0, 17.9, 18.0, 30.0):
            best = grid[(grid * ell + pace_value(grid, gamma)).argmin()]
            want = pace(torch.tensor(ell, dtype=torch.float64), gamma)
            assert best.item() == pytest.approx(want.item(), abs=2e-5)
    ends = pace_value(torch.tensor([0.0, 1.0]), 5.0)
    torch.testing.assert_close(ends, torch.tensor([10 / math.pi, 0.0]))


def test_weights_stay_in_the_published_ranges():
    ell = torch.linspace(5, 18, 1000)[:-1]
    weight = pace(ell, 18.0)
    assert 0 < weight.min() and weight.max().item() == pytest.approx(0.906, abs=5e-4)
    assert pace(torch.tensor([0.0, 5.0, 9.0]), 5.0).tolist() == [1, 0, 0]


def test_either_orientation_gives_the_same_loss():
    sim, local = sims(seed=1)
    a, b = rrsitr(sim, local, SMALL), rrsitr(sim.T, local.T, SMALL)
    torch.testing.assert_close(a.loss, b.loss)


def test_random_weights_follow_their_generator():
    sim, local = sims()
    cfg = RRSITR(gamma1=4.0, gamma2=8.0, pace="random")
    a, b, c = (
        rrsitr(sim, local, cfg, torch.Generator().manual_seed(s)).weight
        for s in (1, 1, 2)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert not a[rrsitr(sim, local, cfg).group == 2].any()


def test_nan_in_one_similarity_reaches_the_loss():
    sim, local = sims()
    local[2, 3] = math.nan
    assert rrsitr(sim, local, SMALL).loss.isnan()


def step(size=12, tokens=True):
    gen = torch.Generator().manual_seed(0)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, generator=gen), dim=-1)

    more = (unit(size, 4, 8), unit(size, 3, 8)) if tokens else ()
    args = (torch.ones(()), torch.eye(size), torch.ones(3, size), 0.25, *more)
    return Step(unit(size, 8).requires_grad_(), unit(size, 8), *args)


def test_as_a_method_it_takes_tokens_and_is_the_same_loss():
    one = step()
    loss = RRSITR()(one)
    local = local_similarity(one.img_tokens, one.txt_tokens).T
    torch.testing.assert_close(loss, rrsitr(one.sim, local).loss)
    loss.backward()
    assert one.img_emb.grad.isfinite().all() and one.img_emb.grad.any()
    alone = RRSITR(local=False, gamma1=2.0, gamma2=8.0)
    assert RRSITR().tokens and not alone.tokens
    assert alone(step(tokens=False)).isfinite()
    random = RRSITR(pace="random")
    assert torch.equal(random(one), random(one))


def test_without_tokens_the_local_term_says_so():
    with pytest.raises(ParameterError, match="local=False"):
        RRSITR()(step(tokens=False))


@pytest.mark.parametrize(
    ("cfg", "size", "says"),
    [
        (RRSITR(), 9, r"batch of 9 .*gamma1=5 and gamma2=18.* 8\.79"),
        (RRSITR(), 1, "batch of 1"),
        (RRSITR(local=False), 90, "batch of 90"),
        (RRSITR(gamma1=17, gamma2=17.5), 64, "batch of 64"),
    ],
)
def test_batch_too_small_for_the_thresholds(cfg, size, says):
    sim = torch.zeros(size, size)
    with pytest.raises(ParameterError, match=says):
        rrsitr(sim, sim if cfg.local else None, cfg)


def test_smallest_batches_that_serve():
    RRSITR().check_batch(10)
    RRSITR(local=False).check_batch(91)  # so that the paper's ablation runs at 100


@pytest.mark.parametrize(
    "change",
    [
        {"gamma1": math.inf},
        {"gamma1": -1.0},
        {"gamma2": math.nan},
        {"pace": "slow"},
        {"margin": "soft"},
        {"scale": 0.0},
    ],
    ids=str,
)
def test_settings_out_of_range(change):
    with pytest.raises(ParameterError, match=next(iter(change))):
        RRSITR(**change)


def test_similarities_that_do_not_fit():
    sim, local = sims()
    with pytest.raises(ParameterError, match="needs 2 square"):
        rrsitr(sim, None, SMALL)
    with pytest.raises(ParameterError, match=r"\(8, 7\)"):
        rrsitr(sim, local[:, :7], SMALL)
