"""What a run keeps is what it gets back; another run's state is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rsnb.batches import TrainConfig
from rsnb.errors import FileCorruptError, ParameterError
from rsnb.files import read_json, receipt_path
from rsnb.runstate import RunState

CFG = TrainConfig(lr=0.01, weight_decay=0.5)


def net(frozen=False, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for p in model[0].parameters():
        p.requires_grad_(not frozen)
    return model


def step(state, model, times=3):
    for k in range(times):
        torch.manual_seed(k)
        state.optim.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        state.optim.step()
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.promise("P14")
@pytest.mark.parametrize("frozen", [False, True])
def test_a_restored_run_goes_on_as_if_it_had_not_stopped(tmp_path, frozen):
    model = net(frozen)
    state = RunState(model, CFG)
    step(state, model)
    state.mean = {k: v + 1 for k, v in state.mean.items()}
    state.best = {k: v + 2 for k, v in state.mean.items()}
    state.looks = [torch.full((2,), float(k)) for k in range(12)]
    state.save(tmp_path / "s", identity="a", step=7)
    other = net(frozen, seed=0 if frozen else 9)  # what is frozen is there before
    again = RunState(other, CFG)
    facts = again.resume(tmp_path / "s", "a")
    assert (facts["identity"], facts["step"]) == ("a", 7)
    assert same(state.mean, again.mean) and same(state.best, again.best)
    assert not same(again.mean, again.best)
    assert [x.tolist() for x in again.looks] == [x.tolist() for x in state.looks]
    assert same(step(state, model), step(again, other))


@pytest.mark.promise("P14", off=True)
def test_without_the_optimiser_the_run_departs(tmp_path):
    model, other = net(), net()
    state, again = RunState(model, CFG), RunState(other, CFG)
    step(state, model)
    other.load_state_dict(model.state_dict())
    assert not same(step(state, model), step(again, other))


def test_weight_decay_is_for_matrices_alone():
    groups = RunState(net(), CFG).optim.param_groups
    assert [g["weight_decay"] for g in groups] == [0.5, 0.0]
    assert [{p.ndim for p in g["params"]} for g in groups] == [{2}, {1}]
    assert [len(g["params"]) for g in groups] == [2, 4]
    assert {g["lr"] for g in groups} == {0.01}
    assert {g["betas"] for g in groups} == {(0.9, 0.98)}


def test_frozen_parameters_are_not_kept(tmp_path):
    model = net(frozen=True)
    state = RunState(model, CFG)
    assert {k.split(".")[0] for k in state.weights()} == {"1", "2"}
    assert "1.running_mean" in state.weights()
    assert sum(len(g["params"]) for g in state.optim.param_groups) == 4
    state.put({k: v + 1 for k, v in state.weights().items()})
    with pytest.raises(RuntimeError, match="Missing"):
        part = RunState(net(), CFG).weights()
        whole = net()
        whole.extra = nn.Linear(1, 1)
        RunState(whole, CFG).put({**part, "x": 1, "y": 2})


def test_no_state_another_state_and_a_broken_one(tmp_path):
    state, path = RunState(net(), CFG), tmp_path / "s"
    assert state.resume(path, "a") == {}
    state.save(path, identity="a")
    assert read_json(receipt_path(path))["identity"] == "a"
    with pytest.raises(ParameterError, match="other settings, data or start"):
        state.resume(path, "b")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileCorruptError):
        state.resume(path, "a")
