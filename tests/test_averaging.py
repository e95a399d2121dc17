"""Weights between two backbones, and their running mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsnb import recipes
from rsnb.averaging import interpolate, move_mean, rebuild, with_weights
from rsnb.errors import BackboneError
from toy import recipe, squares, tiny


def ends():
    """Return two backbones of one architecture and vocabulary."""
    captions = squares().captions
    return [recipes.start(recipe(seed=s), captions, "tiny") for s in (0, 1)]


def state(backbone):
    return backbone.model.state_dict()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_between_two_backbones(share):
    a, b = ends()
    mixed = interpolate(a, b, share)
    for key, value in state(mixed).items():
        x, y = state(a)[key], state(b)[key]
        want = (1 - share) * x + share * y if x.is_floating_point() else y
        torch.testing.assert_close(value, want)
    text = ["a red square on the left"]
    if share != 0.5:
        end = b if share else a
        np.testing.assert_array_equal(mixed.encode_texts(text), end.encode_texts(text))
    assert mixed.digest not in ("", a.digest)


def test_the_ends_stay_as_they_are():
    a, b = ends()
    before = {k: v.clone() for k, v in state(a).items()}
    mixed = interpolate(a, b)
    with torch.no_grad():
        for p in mixed.model.parameters():
            p.zero_()
    assert all(torch.equal(v, state(a)[k]) for k, v in before.items())


def test_another_architecture_is_refused():
    with pytest.raises(BackboneError, match="architecture"):
        interpolate(tiny("rn"), tiny("vit"))


def test_another_vocabulary_is_refused():
    words = squares().captions
    other = [c.replace("red", "pink") for c in words]  # as many words, other meanings
    a, b = (recipes.start(recipe(), c, "tiny") for c in (words, other))
    with pytest.raises(BackboneError, match="vocabulary"):
        interpolate(a, b)


def test_a_rebuilt_model_shares_nothing():
    a = tiny()
    with torch.no_grad():
        next(rebuild(a).parameters()).add_(1)
    again = with_weights(a, state(a))
    assert all(torch.equal(v, state(again)[k]) for k, v in state(a).items())


def test_the_running_mean_forgets_the_start_first():
    model = torch.nn.BatchNorm1d(1)
    mean = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(3):
        with torch.no_grad():
            model.weight.fill_(step + 2.0)
        model.num_batches_tracked.fill_(step)
        move_mean(mean, model, 0.15, step)
    want = 1.0
    for step, decay in enumerate([0.1, 0.15, 0.15]):  # min(0.15, (1 + n) / (10 + n))
        want = decay * want + (1 - decay) * (step + 2.0)
    assert mean["weight"].item() == pytest.approx(want)
    assert mean["num_batches_tracked"].item() == 2  # counts are copied, not averaged
