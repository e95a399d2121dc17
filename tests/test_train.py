"""Training learns, keeps the best validation weights, and resumes to the same bytes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rsnb import noise, recipes
from rsnb.batches import Batches
from rsnb.errors import BackboneError, ParameterError, TrainingError
from rsnb.files import read_json, receipt_path
from rsnb.methods import InfoNCE, Paced
from rsnb.pacing import Judge
from rsnb.pixels import load_pixels
from rsnb.rrsitr import RRSITR
from rsnb.steps import Run, lr_at
from rsnb.train import TrainConfig, fit
from toy import recipe, squares


def run(folder=None, max_steps=None, tower="rn", method=None, rate=0.0, **cfg):
    made = recipe(tower, **cfg)
    train, val = squares(48), squares(12, "val")
    if rate:
        train = noise.corrupt(train, rate)
    start = recipes.start(made, train.captions)
    return fit(
        start, train, load_pixels(train, 48, cache=False),
        val, load_pixels(val, 32, cache=False),
        made.cfg, method, folder=folder, max_steps=max_steps,
    )  # fmt: skip


def weights(result):
    return {k: v.numpy() for k, v in result.backbone.model.state_dict().items()}


def test_it_learns_the_squares():
    result = run(epochs=12, lr=3e-3, average=0.5)
    first, last = result.log[0], max(result.log, key=lambda e: e["val_mR"])
    assert last["loss"] < first["loss"]
    assert last["val_mR"] > 60  # chance is about 46 with 12 images
    assert result.best_epoch == last["epoch"]


def same_bytes(a, b):
    for one, two in ((a.backbone, b.backbone), (a.last, b.last)):
        other = two.model.state_dict()
        for key, value in one.model.state_dict().items():
            assert torch.equal(value, other[key]), key
    drop = {"seconds"}
    for x, y in zip(a.log, b.log, strict=True):
        assert {k: v for k, v in x.items() if k not in drop} == {
            k: v for k, v in y.items() if k not in drop
        }
    for x, y in zip(a.verdicts, b.verdicts, strict=True):
        np.testing.assert_array_equal(x.loss, y.loss)
        np.testing.assert_array_equal(x.clean, y.clean)


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("tower", ["rn", "vit"])
@pytest.mark.promise("P14")
def test_resume_gives_the_same_bytes(tmp_path, stop, tower):
    settings = {
        "epochs": 3, "average": 0.9, "jitter": 0.1, "mix": 0.4,
        "tower": tower,
    }  # fmt: skip
    straight = run(**settings)
    run(tmp_path, max_steps=stop, **settings)
    torch.manual_seed(99)  # whatever happens between the sittings
    same_bytes(straight, run(tmp_path, **settings))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["epoch"] for x in lines] == [1, 2, 3]


PACED = {
    "method": Paced(judge=Judge(every=1, panel=16)), "tower": "vit",
    "epochs": 3, "rate": 0.4, "average": 0.9,
}  # fmt: skip
# Thresholds for batches of 16, where a pair at chance has loss 4 log 16 = 11.
LOCAL = {
    "method": RRSITR(gamma1=9.0, gamma2=12.0, pace="random"), "tower": "vit",
    "epochs": 3, "rate": 0.4,
}  # fmt: skip


@pytest.fixture(scope="module")
def unbroken():
    return {"paced": run(**PACED), "local": run(**LOCAL)}


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("paced", [1]),  # after the first look, in its epoch
        ("paced", [3]),  # all of an epoch done, its evaluation and the next look not
        ("paced", [4, 4]),  # twice, the second time just before the end
        ("paced", [9]),  # all steps done, the last look not
        ("local", [4]),
    ],
)
@pytest.mark.promise("P14")
def test_resume_with_a_method_gives_the_same_bytes(tmp_path, unbroken, name, stops):
    settings = {"paced": PACED, "local": LOCAL}[name]
    for n in stops:
        run(tmp_path, max_steps=n, **settings)
        torch.manual_seed(n)
        np.random.seed(n)  # noqa: NPY002  whatever happens between the sittings
    same_bytes(unbroken[name], run(tmp_path, **settings))
    same_bytes(unbroken[name], run(tmp_path, **settings))  # nothing left to do


def test_one_verdict_a_look(unbroken):
    found = unbroken["paced"].verdicts
    assert len(found) == 4  # before each epoch, and after the last
    assert all(v.clean.shape == (3, 96) for v in found)
    assert [e["noise"] for e in unbroken["paced"].log] == [v.rate for v in found[:3]]
    assert unbroken["local"].verdicts == ()
    every_other = Paced(judge=Judge(every=2, panel=16))
    settings = {**PACED, "method": every_other}
    looks = run(**settings).verdicts
    assert len(looks) == 3  # before epochs 1 and 3, and after the last
    np.testing.assert_array_equal(looks[0].loss, found[0].loss)


def test_the_judge_sees_the_model_as_it_is_without_a_running_mean():
    settings = {**PACED, "average": 0.0, "eval_every": 3}
    found = run(**settings).verdicts
    assert (found[0].loss != found[1].loss).any()


@pytest.mark.promise("P14")
def test_another_method_may_not_take_over_the_folder(tmp_path):
    run(tmp_path, max_steps=1, tower="vit")
    with pytest.raises(ParameterError, match="other settings"):
        run(tmp_path, method=Paced(), tower="vit")


@dataclass(frozen=True)
class Breaks:
    """InfoNCE whose loss, or gradient, stops being a number at a share of training."""

    at: float = 0.5
    gradient: bool = False
    judge: Judge | None = None
    tokens: bool = False

    def __call__(self, step):
        loss = InfoNCE()(step)
        if step.progress < self.at:
            return loss
        if self.gradient:
            return loss + 0 * (step.img_emb * 0).sum().sqrt()  # 0 * infinity behind
        return loss * math.nan

    def __repr__(self):
        return "InfoNCE"  # so that it may take over a run, as a mended one would


@pytest.mark.parametrize("gradient", [False, True])
def test_a_loss_that_is_no_number_names_the_batch_and_keeps_the_state(
    tmp_path, gradient
):
    settings = {"epochs": 2, "average": 0.9, "tower": "vit"}
    broken = Breaks(gradient=gradient)  # in the first step of the second epoch
    with pytest.raises(TrainingError) as e:
        run(tmp_path, method=broken, **settings)
    text = str(e.value)
    assert "epoch 2, step 1;" in text and "lr=0.0015" in text
    assert ("loss nan" in text) != gradient and "gradient norm" in text
    rows = re.search(r"caption rows ([\d, ]+), …", text).group(1).split(", ")
    made, train = recipe("vit", epochs=2), squares(48)
    start = recipes.start(made, train.captions)
    pixels = load_pixels(train, 48, cache=False)
    batch = next(Batches(start, train, pixels, made.cfg).epoch(1))
    assert [int(r) for r in rows] == batch.rows[:8].tolist()
    saved = read_json(receipt_path(tmp_path / "state.safetensors"))
    assert (saved["epoch"], saved["step"]) == (1, 0)
    whole = run(method=Breaks(at=2), **settings)
    same_bytes(whole, run(tmp_path, method=Breaks(at=2), **settings))


def test_a_step_that_fails_changes_no_weight():
    made, train = recipe("vit"), squares(48)
    start = recipes.start(made, train.captions)
    one = Run(start, train, load_pixels(train, 48, cache=False), made.cfg, Breaks(0))
    before = {k: v.clone() for k, v in one.model.named_parameters()}
    with pytest.raises(TrainingError):
        one.step(next(one.data.epoch(0)), None, 0)
    assert all(torch.equal(v, before[k]) for k, v in one.model.named_parameters())


def test_a_batch_too_small_for_the_thresholds_stops_at_once():
    with pytest.raises(ParameterError, match="batch of 8"):
        run(tower="vit", method=RRSITR(), batch_size=8)


def test_local_terms_need_a_vit():
    with pytest.raises(BackboneError, match="local=False"):
        run(method=LOCAL["method"])


@pytest.mark.promise("P14")
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
