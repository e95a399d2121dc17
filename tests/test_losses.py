"""Losses against values that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from rsnb.losses import alignment, info_nce, uniformity


def test_chance_is_log_batch():
    emb = torch.ones(8, 4) / 2
    assert info_nce(emb, emb, 20.0).item() == pytest.approx(math.log(8))


def test_two_pairs_by_hand():
    img = torch.eye(2)
    loss = info_nce(img, img, 3.0)  # logits 3 on the diagonal, 0 off it
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)))


def test_same_caption_shares_the_target():
    img = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.5], [0.0, 1.0]]), dim=1)
    txt = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    share = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    logits = 20 * img @ txt.T
    want = sum(-(share * x.log_softmax(1)).sum(1).mean() for x in (logits, logits.T))
    torch.testing.assert_close(info_nce(img, txt, 20.0, same), want / 2)
    eye = torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(info_nce(img, txt, 20.0, eye), info_nce(img, txt, 20.0))


def test_a_mixed_image_belongs_to_two_captions():
    emb = torch.eye(3)
    share = 0.7 * torch.eye(3) + 0.3 * torch.eye(3).roll(1, 0)
    logits = 5 * torch.eye(3)
    want = -(share * logits.log_softmax(1)).sum(1).mean()
    want = want - (share.T * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(info_nce(emb, emb, 5.0, share), want / 2)


def test_gradient_numerically():
    torch.manual_seed(0)
    img = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    txt = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    same = torch.eye(5, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 2.0, same), (img, txt))


def test_alignment_and_uniformity_at_their_ends():
    x = torch.eye(4)
    assert alignment(x, x) == 0
    assert alignment(x, x.roll(1, 0)) == pytest.approx(2)
    assert uniformity(torch.ones(4, 4) / 2) == pytest.approx(0, abs=1e-6)
    assert uniformity(x) == pytest.approx(-4)  # all squared distances are 2, t = 2
