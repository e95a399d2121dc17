"""The measurement of scaling (`tests/bench/scaling.py`), without its processes."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from bench import scaling
from rsnb import shards


@pytest.fixture
def in_process(monkeypatch):
    """Return a dict whose `off` is added to what the workers' stand-in embeds."""
    how = {"off": 0.0}

    def embed_shards(name, pairs, folder, *, workers=2, shard=64):
        worker = scaling.scale._Embedder(pairs, str(folder), shard, 1, name, "cpu")

        def make(i):
            rows = np.arange(i * shard, min((i + 1) * shard, len(pairs)))
            columns = worker.make(pairs.subset(rows), i)
            return {**columns, "emb": columns["emb"] + np.float32(how["off"])}

        return shards.write(folder, -(-len(pairs) // shard), make, worker.identity)

    monkeypatch.setattr(scaling.scale, "embed_shards", embed_shards)
    monkeypatch.setattr(scaling.scale, "_ray", lambda n: contextlib.nullcontext())
    return how


def test_embedding_is_timed_once_it_is_equal(in_process, tmp_path):
    found = scaling.embedding(tmp_path, images=128, shard=32, rounds=1)
    assert found["largest_gap"] <= 1e-5
    assert set(found["images_per_second"]) == {
        "one_process_1_threads", "one_process_2_threads", "ray_1_workers",
        "ray_2_workers",
    }  # fmt: skip
    assert found["bytes_per_image"] > 4 * found["dim"]


def test_unequal_embeddings_are_not_timed(in_process, tmp_path, monkeypatch):
    in_process["off"] = 1e-3
    with pytest.raises(AssertionError, match="off by"):
        scaling.embedding(tmp_path, images=64, shard=32, rounds=1)


def test_unequal_losses_are_not_timed(monkeypatch):
    def launch(processes, threads, steps):
        loss = 1.0 if processes == 1 else loss_of_two
        return {"losses": [loss] * steps, "seconds": 2.0 / processes, "wall": 3.0}

    monkeypatch.setattr(scaling, "launch", launch)
    loss_of_two = 1.00005
    found = scaling.training(steps=3, rounds=1)
    assert found["ratio_2_processes"] == 2.0
    assert found["start_seconds"]["1_process_2_threads"] == 1.0
    loss_of_two = 1.001
    with pytest.raises(AssertionError, match="losses"):
        scaling.training(steps=3, rounds=1)
