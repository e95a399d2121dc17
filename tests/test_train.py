"""Training learns, keeps the best validation weights, and resumes to the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rsnb import recipes
from rsnb.errors import ParameterError
from rsnb.pixels import load_pixels
from rsnb.steps import lr_at
from rsnb.train import TrainConfig, fit
from toy import recipe, squares


def run(folder=None, max_steps=None, tower="rn", **cfg):
    made = recipe(tower, **cfg)
    train, val = squares(48), squares(12, "val")
    start = recipes.start(made, train.captions)
    return fit(
        start, train, load_pixels(train, 48, cache=False),
        val, load_pixels(val, 32, cache=False),
        made.cfg, folder=folder, max_steps=max_steps,
    )  # fmt: skip


def weights(result):
    return {k: v.numpy() for k, v in result.backbone.model.state_dict().items()}


def test_it_learns_the_squares():
    result = run(epochs=12, lr=3e-3, average=0.5)
    first, last = result.log[0], max(result.log, key=lambda e: e["val_mR"])
    assert last["loss"] < first["loss"]
    assert last["val_mR"] > 60  # chance is about 46 with 12 images
    assert result.best_epoch == last["epoch"]


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("tower", ["rn", "vit"])
def test_resume_gives_the_same_bytes(tmp_path, stop, tower):
    settings = {
        "epochs": 3, "average": 0.9, "jitter": 0.1, "mix": 0.4,
        "tower": tower,
    }  # fmt: skip
    straight = run(**settings)
    run(tmp_path, max_steps=stop, **settings)
    torch.manual_seed(99)  # whatever happens between the sittings
    resumed = run(tmp_path, **settings)
    a, b = weights(straight), weights(resumed)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    drop = {"seconds"}
    for x, y in zip(straight.log, resumed.log, strict=True):
        assert {k: v for k, v in x.items() if k not in drop} == {
            k: v for k, v in y.items() if k not in drop
        }
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["epoch"] for x in lines] == [1, 2, 3]


def test_another_run_may_not_take_over_the_folder(tmp_path):
    run(tmp_path, max_steps=1)
    with pytest.raises(ParameterError, match="other settings"):
        run(tmp_path, lr=2e-3)


def test_seed_decides():
    a, b, c = run(seed=1), run(seed=1), run(seed=2)
    assert all(
        (x == y).all()
        for x, y in zip(weights(a).values(), weights(b).values(), strict=True)
    )
    assert any(
        (x != y).any()
        for x, y in zip(weights(a).values(), weights(c).values(), strict=True)
    )


def test_learning_rate_rises_then_falls():
    cfg = TrainConfig(lr=1e-3, warmup=0.1)
    rates = [lr_at(s, 100, cfg) for s in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == pytest.approx(1e-3)
    assert rates[-1] < 1e-6


@pytest.mark.parametrize("bad", [{"lr": 0}, {"epochs": 0}, {"min_scale": 1.5}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ParameterError, match=next(iter(bad))):
        TrainConfig(**bad)
