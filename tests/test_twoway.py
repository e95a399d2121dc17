"""Two matrices to one recall; embeddings to the two directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsnb.errors import EmbeddingError, MetricError, ParameterError
from rsnb.metrics import evaluate
from rsnb.twoway import Bank, First, TwoWay
from rsnb.vectors import similarity


def unit(rng, n, d=8):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


GT = np.repeat(np.arange(6), 2)


def test_one_matrix_twice_is_evaluate():
    sim = np.random.default_rng(0).standard_normal((12, 6))
    got, want = TwoWay(sim, sim).evaluate(GT), evaluate(sim, GT)
    for name in ("gt", "t2i_hits", "i2t_hits", "t2i_ranks", "i2t_ranks"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_each_direction_reads_its_own_matrix():
    right = np.eye(6)[GT]
    recall = TwoWay(right, -right).evaluate(GT).as_dict()
    assert [recall[f"t2i_r{k}"] for k in (1, 5, 10)] == [100, 100, 100]
    assert recall["i2t_r1"] == 0
    recall = TwoWay(-right, right).evaluate(GT).as_dict()
    assert recall["t2i_r1"] == 0
    assert recall["i2t_r1"] == 100


def test_only_the_order_within_a_query_counts():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 12, 6))
    moved = TwoWay(a * 3 + rng.standard_normal((12, 1)), b + rng.standard_normal(6))
    assert moved.evaluate(GT).as_dict() == TwoWay(a, b).evaluate(GT).as_dict()


def test_bad_matrices():
    sim = np.random.default_rng(2).standard_normal((12, 6))
    with pytest.raises(MetricError, match="Transpose i2t"):
        TwoWay(sim, sim.T)
    for two in (TwoWay(sim * np.nan, sim), TwoWay(sim, sim * np.nan)):
        with pytest.raises(MetricError, match="NaN"):
            two.evaluate(GT)
    with pytest.raises(MetricError, match="gt must hold"):
        TwoWay(sim, sim).evaluate(GT[:-1])


def test_the_two_ways_are_mirror_images():
    rng = np.random.default_rng(3)
    first, bank = First(unit(rng, 12), unit(rng, 6)), Bank(unit(rng, 5), unit(rng, 4))
    assert first.sim is first.sim
    np.testing.assert_array_equal(first.sim, similarity(first.txt, first.img))
    t2i, i2t = first.ways(bank)
    assert (t2i.query is first.txt) and (i2t.query is first.img)
    assert (t2i.bank is bank.txt) and (i2t.bank is bank.img)
    assert (t2i.bank_gallery is bank.img) and (i2t.bank_gallery is bank.txt)
    np.testing.assert_array_equal(t2i.sim, i2t.sim.T)
    np.testing.assert_allclose(t2i.bank_sim, bank.txt @ first.img.T, atol=1e-6)
    np.testing.assert_allclose(i2t.bank_sim, bank.img @ first.txt.T, atol=1e-6)
    for way in (t2i, i2t):
        want = (way.sim[:, None] > way.sim[:, :, None]).sum(2) + 1
        np.testing.assert_array_equal(way.rank, want)


def test_ties_share_the_best_rank():
    first = First(np.eye(2), np.eye(2)[[1, 0, 1]])
    assert first.ways()[0].rank.tolist() == [[2, 1, 2], [1, 3, 1]]


def test_tensors_and_half_precision_become_arrays():
    x = torch.eye(3, dtype=torch.bfloat16, requires_grad=True)
    first = First(x, np.eye(3, dtype=np.float16))
    assert first.txt.dtype == first.img.dtype == np.float32
    assert first.sim.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("kind", [First, Bank])
@pytest.mark.parametrize(
    ("txt", "img", "says"),
    [
        (np.eye(3), np.eye(4), "img has 4 columns where 3"),
        (np.eye(3) * np.nan, np.eye(3), "txt: 3 of 3 rows are NaN"),
        (np.eye(3), np.diag([1, 1, np.inf]), "img: 1 of 3 rows are NaN"),
        (np.eye(3), 2 * np.eye(3), "img has rows that are not unit"),
        (np.zeros((0, 3)), np.eye(3), "txt must be float"),
        (np.eye(3), np.eye(3)[0], "img must be float"),
        (np.eye(3), np.eye(3, dtype=int), "img must be float"),
    ],
)
def test_bad_embeddings(kind, txt, img, says):
    with pytest.raises(EmbeddingError, match=says):
        kind(txt, img)


def test_bad_banks():
    first = First(np.eye(3), np.eye(3))
    with pytest.raises(EmbeddingError, match=r"bank.txt has 4 columns where 3"):
        first.ways(Bank(np.eye(4), np.eye(4)))
    with pytest.raises(ParameterError, match="Embed training captions"):
        _ = first.ways()[0].bank_sim
