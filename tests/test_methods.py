"""Each method against plain float64 loops over pairs, and its gradient numerically."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rsnb.losses import complementary, hardest, info_nce, pace, soft_margin, triplet
from rsnb.methods import (
    NCR,
    Complementary,
    Credible,
    Eliminate,
    HardFirst,
    InfoNCE,
    Paced,
    Step,
    Triplet,
)

SIZE = 6
# Posteriors by i2t, t2i and both: clean, clean, ambiguous, ambiguous, noisy, noisy.
CLEAN = torch.tensor(
    [
        [0.99, 0.7, 0.9, 0.3, 0.01, 0.0],
        [0.95, 0.6, 0.2, 0.4, 0.04, 0.0],
        [1.00, 0.8, 0.6, 0.3, 0.02, 0.0],
    ],
    dtype=torch.float64,
)
ALL = [InfoNCE(), InfoNCE(smoothing=0.1), Triplet(), Complementary(tau=0.5), NCR(),
       Credible(), Paced(), HardFirst(), Eliminate(0.3)]  # fmt: skip
IDS = [f"{type(m).__name__}{i}" for i, m in enumerate(ALL)]


def step(progress=0.3, clean=CLEAN, seed=0, scale=6.0):
    """Return a batch whose images 1 and 2 carry the same caption."""
    gen = torch.Generator().manual_seed(seed)
    img, txt = torch.randn(2, SIZE, 5, generator=gen, dtype=torch.float64)
    txt[2] = txt[1]
    txt = F.normalize(txt + 0.8 * img, dim=-1)
    same = torch.eye(SIZE, dtype=torch.float64)
    same[1, 2] = same[2, 1] = 1.0
    one = torch.tensor(scale, dtype=torch.float64)
    return Step(F.normalize(img, dim=-1), txt, one, same, clean, progress)


def directions(s):
    """Yield (similarity of i and j, same) for i2t and for t2i, as plain functions."""
    sim, same = s.sim.tolist(), s.same.tolist()
    yield lambda i, j: sim[i][j], lambda i, j: same[i][j]
    yield lambda i, j: sim[j][i], lambda i, j: same[j][i]


def nce_by_hand(s):
    """Return i2t + t2i InfoNCE of every pair."""
    out = [0.0] * SIZE
    for sim, same in directions(s):
        for i in range(SIZE):
            logits = [float(s.scale) * sim(i, j) for j in range(SIZE)]
            log_sum = math.log(sum(map(math.exp, logits)))
            mass = sum(same(i, j) for j in range(SIZE))
            for j in range(SIZE):
                out[i] -= same(i, j) / mass * (logits[j] - log_sum)
    return out


def hinge_by_hand(s, margin):
    out = [0.0] * SIZE
    for sim, same in directions(s):
        for i in range(SIZE):
            rival = max(sim(i, j) for j in range(SIZE) if not same(i, j))
            out[i] += max(0.0, margin[i] + rival - sim(i, i))
    return out


def mean(values):
    return pytest.approx(sum(values) / SIZE, rel=1e-10)


# By hand


def test_infonce_by_hand():
    s = step()
    assert float(InfoNCE()(s)) == mean([x / 2 for x in nce_by_hand(s)])


def test_triplet_by_hand():
    s = step()
    assert float(Triplet(0.3)(s)) == mean(hinge_by_hand(s, [0.3] * SIZE))


def test_complementary_by_hand():
    s, tau, out = step(), 0.2, [0.0] * SIZE
    for sim, same in directions(s):
        for i in range(SIZE):
            total = sum(math.exp(sim(i, j) / tau) for j in range(SIZE))
            out[i] -= sum(
                math.log(1 - math.exp(sim(i, j) / tau) / total)
                for j in range(SIZE)
                if not same(i, j)
            )
    assert float(Complementary(tau)(s)) == mean(out)
    each = complementary(s.sim / tau, s.same)
    torch.testing.assert_close(each, torch.tensor(out, dtype=torch.float64))


@pytest.mark.parametrize("late", [False, True])
def test_ncr_by_hand_and_its_noisy_pairs_enter_late(late):
    s = step(progress=0.5 if late else 0.49)
    clean = CLEAN[2].tolist()
    each = hinge_by_hand(s, [0.2 * (10**y - 1) / 9 for y in clean])
    want = [h if y > 0.5 or late else 0.0 for h, y in zip(each, clean, strict=True)]
    assert float(NCR()(s)) == mean(want)


def test_credible_by_hand():
    s, total = step(), 0.0
    for sim, same in directions(s):
        for i, y in enumerate(CLEAN[2].tolist()):
            raw = [math.exp(float(s.scale) * sim(i, j)) for j in range(SIZE)]
            mass = sum(same(i, j) for j in range(SIZE))
            for j in range(SIZE):
                p = raw[j] / sum(raw)
                target = y * same(i, j) / mass + (1 - y) * p
                total -= target * math.log(p) / SIZE / 2
    assert float(Credible()(s)) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("kind", [Paced, HardFirst])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.6, 0.95])
def test_paced_by_hand(kind, progress):
    s, how = step(progress), kind()
    grown = min(1.0, progress / 0.6)
    gamma = 2 * math.log(SIZE) * (0.9 + 0.4 * grown)
    nce = nce_by_hand(s)
    hinge = hinge_by_hand(s, [0.2 * y for y in CLEAN[2].tolist()])
    want = []
    for i, (a, b, y) in enumerate(CLEAN.T.tolist()):
        share = min(1.0, nce[i] / gamma)
        turn = math.cos if kind is Paced else math.sin
        weight = turn(math.pi / 2 * share)
        if a < 0.05 and b < 0.05:
            want.append(0.9 * hinge[i])
        elif a > 0.5 and b > 0.5:
            want.append(weight * nce[i] / 2)
        else:
            want.append(0.8 * y * weight * nce[i] / 2)
    assert float(how(s)) == mean(want)


# What must hold


@pytest.mark.parametrize("method", ALL, ids=IDS)
@pytest.mark.parametrize("progress", [0.2, 0.8])
def test_gradient_numerically(method, progress):
    s = step(progress)
    args = [x.clone().requires_grad_() for x in (s.img_emb, s.txt_emb, s.scale)]

    def loss(img, txt, scale):
        return method(replace(s, img_emb=img, txt_emb=txt, scale=scale))

    if isinstance(method, Paced | Credible):  # paces and soft labels carry none
        found = torch.autograd.grad(loss(*args), args)
        want = torch.autograd.grad(frozen(method, s)(*args), args)
        for x, y in zip(found, want, strict=True):
            torch.testing.assert_close(x, y)
        assert torch.autograd.gradcheck(frozen(method, s), args)
    else:
        assert torch.autograd.gradcheck(loss, args)


def frozen(method, s):
    """Return the loss with weights or soft labels fixed at their values on `s`."""
    logits = s.scale * s.sim

    def nce(sim, target):
        return -(target * sim.log_softmax(1)).sum(1)

    def rows(same):
        return same / same.sum(1, keepdim=True)

    def credible(img, txt, scale):
        y, sim, out = s.clean[2][:, None], scale * img @ txt.T, 0.0
        for now, then, same in ((sim, logits, s.same), (sim.T, logits.T, s.same.T)):
            target = y * rows(same) + (1 - y) * then.softmax(1)
            out = out + nce(now, target).mean() / 2
        return out

    gamma = 2 * math.log(SIZE) * (0.9 + 0.4 * min(1.0, s.progress / 0.6))
    each = nce(logits, rows(s.same)) + nce(logits.T, rows(s.same.T))
    turn = torch.sin if isinstance(method, HardFirst) else torch.cos
    weight = turn((each / gamma).clamp(max=1) * math.pi / 2)
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    weight = weight * torch.where(groups == 1, 0.8 * s.clean[2], (groups == 0).double())

    def paced(img, txt, scale):
        sim = img @ txt.T
        now = nce(scale * sim, rows(s.same)) + nce(scale * sim.T, rows(s.same.T))
        hinge = triplet(sim, s.same, 0.2 * s.clean[2]) * (groups == 2)
        return (weight * now / 2 + 0.9 * hinge).mean()

    return credible if isinstance(method, Credible) else paced


def test_all_clean_and_an_endless_pace_are_infonce():
    sure = torch.ones(3, SIZE, dtype=torch.float64)
    s = step(clean=sure)
    want = info_nce(s.img_emb, s.txt_emb, s.scale, s.same)
    torch.testing.assert_close(Paced(start=1e9, end=1e9)(s), want)
    torch.testing.assert_close(Credible()(s), want)
    assert float(Paced()(s)) < float(want)


def test_noisy_pairs_give_no_infonce_gradient():
    s = step(clean=torch.zeros(3, SIZE, dtype=torch.float64))
    scale = s.scale.clone().requires_grad_()
    img = s.img_emb.clone().requires_grad_()
    Paced()(replace(s, img_emb=img, scale=scale)).backward()
    assert float(scale.grad) == 0  # only InfoNCE knows the temperature
    assert img.grad.any()  # the hinge of margin 0 still teaches
    img.grad = None
    loss = Paced(noisy=0.0)(replace(s, img_emb=img))
    loss.backward()
    assert loss.item() == 0 and not img.grad.any()


def test_ambiguous_weight_falls_away_with_its_posterior():
    clean = CLEAN.clone()
    clean[2, 2:4] = 0
    one, none = Paced()(step(clean=clean)), Paced(ambiguous=0.0)(step(clean=clean))
    torch.testing.assert_close(one, none)


def test_hard_first_is_the_opposite_order():
    each = torch.linspace(0, 6, 25, dtype=torch.float64)
    easy, hard = Paced().weigh(each, 4.0), HardFirst().weigh(each, 4.0)
    assert (easy.diff() <= 0).all() and (hard.diff() >= 0).all()
    ends = torch.stack([easy[[0, -1]], hard[[-1, 0]]])
    torch.testing.assert_close(ends, torch.tensor([[1.0, 0.0]] * 2).double())
    torch.testing.assert_close(easy**2 + hard**2, torch.ones_like(each))


@pytest.mark.parametrize("method", ALL, ids=IDS)
def test_bad_embeddings_reach_the_loss(method):
    s = step(clean=torch.ones(3, SIZE, dtype=torch.float64))
    s.img_emb[0, 0] = math.nan
    assert not method(s).isfinite()


def test_methods_say_what_they_need():
    assert not any(m.tokens for m in ALL)
    judged = [m for m in ALL if m.judge]
    assert [type(m) for m in judged] == [NCR, Credible, Paced, HardFirst]
    assert {m.judge.split: m.judge.sample for m in judged} == {
        "gmm": False, "null": True,
    }  # fmt: skip
    assert repr(HardFirst()).startswith("HardFirst("), "identities rest on the repr"


# The pieces


def test_soft_margin_at_its_ends():
    ends = soft_margin(torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64), 0.2)
    want = [0.0, 0.2, 0.2 * (math.sqrt(10) - 1) / 9]
    torch.testing.assert_close(ends, torch.tensor(want, dtype=torch.float64))


def test_pace_at_its_ends_and_without_gradient():
    loss = torch.tensor([0.0, 1.0, 2.0, 9.0], requires_grad=True)
    weight = pace(loss, 2.0)
    torch.testing.assert_close(weight, torch.tensor([1, math.sqrt(0.5), 0, 0]))
    assert not weight.requires_grad


def test_hardest_skips_what_belongs_together():
    sim = torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.2, 0.6], [0.3, 0.7, 0.4]])
    same = torch.eye(3)
    same[0, 1] = 0.3  # a mixed image belongs to both captions
    image, caption = hardest(sim, same)
    torch.testing.assert_close(image, torch.tensor([0.5, 0.8, 0.7]))
    torch.testing.assert_close(caption, torch.tensor([0.8, 0.7, 0.6]))


def test_a_batch_of_one_caption_has_no_negative_and_no_hinge():
    sim, same = torch.rand(3, 3), torch.ones(3, 3)
    assert not triplet(sim, same, 0.2).any()
    assert not complementary(sim, same).any()
