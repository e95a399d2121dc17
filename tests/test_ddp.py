"""Two gloo processes train as one does, and a killed one costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import ddp_runs
from rsnb import ranks
from rsnb.errors import BackboneError, ParameterError
from rsnb.files import read_json, read_verified
from toy import tiny

HERE = Path(__file__).parent


def torchrun(folder: Path, *names: str, restarts: int = 0, kill: str = ""):
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--standalone", "--local-addr", "127.0.0.1", "--max-restarts", str(restarts),
        "--monitor-interval", "0.1", str(HERE / "ddp_runs.py"), str(folder), *names,
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1",
           "GLOO_SOCKET_IFNAME": "lo", "RSNB_KILL": kill,
           "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # fmt: skip
    return subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return the folder of undisturbed runs of two processes."""
    folder = tmp_path_factory.mktemp("ddp")
    done = torchrun(folder, *ddp_runs.METHODS, "differ")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", list(ddp_runs.METHODS))
def test_two_processes_train_as_one(pair, name):
    alone = ddp_runs.train(name)
    both = [read_json(pair / f"{name}-{k}.json") for k in (0, 1)]
    assert both[0] == both[1]
    assert len(alone["losses"]) == 9
    np.testing.assert_allclose(both[0]["losses"], alone["losses"], rtol=0, atol=1e-4)
    assert np.ptp(alone["losses"]) > 0.1  # there is something to agree on
    for one, two in zip(alone["log"], both[0]["log"], strict=True):
        assert one == pytest.approx(two, abs=1e-3)


def test_ranks_that_disagree_stop(pair):
    for k in (0, 1):
        assert "ranks [1] of 2" in read_json(pair / f"differ-{k}.json")["error"]


def test_a_killed_process_costs_nothing(pair, tmp_path):
    done = torchrun(tmp_path, "local", restarts=1, kill="1:5")  # in the second epoch
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SIGKILL" in done.stderr or "exitcode: -9" in done.stderr
    found, whole = (read_json(f / "local-0.json") for f in (tmp_path, pair))
    assert found["losses"] == whole["losses"][3:]  # the first epoch was saved
    assert found["log"] == whole["log"]
    states = [read_verified(f / "local/state.safetensors") for f in (tmp_path, pair)]
    assert states[0] == states[1]


def test_without_restarts_a_killed_process_ends_the_others(tmp_path):
    began = time.monotonic()
    assert torchrun(tmp_path, "infonce", kill="0:1").returncode == 1
    assert time.monotonic() - began < 60  # not the minute of `joined`
    assert not (tmp_path / "infonce-1.json").exists()


def test_what_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(BackboneError, match="normalises batches"):
        ranks.synced(tiny("rn").model, torch.device("cpu"))
    with pytest.raises(ParameterError, match="1 rows for 2"):
        ranks.share(1)


def test_restarts_need_a_store_of_their_own(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "1",
                        "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(ParameterError, match="SHARE_RDZV"), ranks.joined():
        pass
