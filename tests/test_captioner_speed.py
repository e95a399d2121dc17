"""The measurement of captioning speed (`tests/bench/captioner_speed.py`), shrunken."""

from __future__ import annotations

import os

import pytest
import torch

from bench import captioner_speed as cs
from rsnb import smallcaptioners
from rsnb.records import Record, Variant
from rsnb.world import oracle


class Knowing:
    """A captioner that reads the scene."""

    model, revision, decoding = "knowing", "1", {}

    def describe(self, images, prompt, ids):
        rows = zip(ids, oracle.records(ids), strict=True)
        return [Record(i, tuple(Variant(**v) for v in row)) for i, row in rows]


def test_the_pipeline_is_timed_stage_by_stage(monkeypatch, capsys):
    monkeypatch.setattr(smallcaptioners, "captioner", lambda name: Knowing())
    cache = os.environ["RSNB_CACHE"]
    figures, inputs = cs.pipeline(
        "knowing", images=4, batches=[3, 1], queries=6,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    assert (figures["images"], figures["usable"], figures["texts"]) == (4, 4, 20)
    seconds = figures["seconds"]
    assert list(seconds) == ["load", "caption", "index"]
    assert figures["total_seconds"] == pytest.approx(sum(seconds.values()))
    assert seconds["caption"] == figures["caption_seconds_by_batch"][3]
    assert set(figures["query_ms"]) == {"max", "mean", "lse"}
    for ms in figures["query_ms"].values():
        assert 0 < ms["search"]["median"] <= ms["search"]["p99"] < ms["both"]["p99"]
    assert os.environ["RSNB_CACHE"] == cache
    assert inputs["captioner"] == "1"
    cs.show("pipeline", figures)
    assert "4 usable records" in capsys.readouterr().out


def test_the_large_model_has_the_published_size():
    net = cs.llava(cs.FULL, "meta")
    assert sum(p.numel() for p in net.parameters()) == 7_063_427_072
    assert (net.dtype, net.config.image_seq_length) == (torch.bfloat16, 576)
    # Llama's own 6,738,415,616 and 64 rows more in the head, without the table
    assert cs.weight_bytes(net) == 2 * (6_738_415_616 - (32_000 - 64) * 4096)
    assert cs.token_bytes(net) == 2**19


def test_the_floor_counts_what_a_step_reads():
    net = cs.llava(cs.SMALL, "cpu")
    inputs = cs.prompts(net, cs.SMALL, 3)
    cache = net(**inputs).past_key_values
    held = sum(x.nbytes for layer in cache.layers for x in (layer.keys, layer.values))
    length = cs.SMALL["prompt"] + 4
    assert held == 3 * length * cs.token_bytes(net)
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96 + 2 * 64
    assert cs.weight_bytes(net) == 2 * (2 * layer + 64 + 128 * 64)
    meter = cs.Meter(net)
    meter(**inputs, max_new_tokens=3, do_sample=False)
    keys = 3 * (2 * length + 3) * meter.token  # length + 1, then length + 2
    assert (meter.steps, meter.read) == (2, 2 * meter.weights + keys)
    assert meter.tokens == 9
    assert meter.prefill > 0 < meter.decode
    found = meter.against(1e9)
    assert found["floor_ms"] == pytest.approx(meter.read / 2 / 1e6)
    assert found["ratio"] == pytest.approx(found["step_ms"] / found["floor_ms"])


def test_tokens_after_the_end_are_not_counted():
    net = cs.llava(cs.SMALL, "cpu")
    meter = cs.Meter(net)
    answers = torch.tensor([[5, 9, 0, 0], [9, 0, 0, 0], [5, 6, 7, 8]])

    def generate(input_ids, stopping_criteria, **_):
        for _ in range(4):
            stopping_criteria(input_ids, None)
        return torch.cat([input_ids, answers], 1)

    meter.generate = generate
    meter(input_ids=torch.ones(3, 2, dtype=torch.long), eos_token_id=[9])
    assert (meter.tokens, meter.steps) == (2 + 1 + 4, 3)


def test_the_gpu_part_runs_shrunken(monkeypatch, capsys):
    shown = {}
    monkeypatch.setattr(cs, "show", lambda what, figures: shown.update(figures))
    cs.main("--what gpu --small --device cpu --repeats 1".split())
    assert shown["bytes_per_second"] > 0
    ours, large = shown["embedded"]["rows"], shown["llava"]["rows"]
    assert [row["batch"] for row in ours] == [1, 4]
    assert [row["batch"] for row in large] == [1, 2]
    assert [row["tokens"] for row in large] == [6, 12]
    for row in [*ours, *large]:
        assert row["images_per_second"] > 0 < row["tokens_per_second"]
        assert row["ratio"] > 0 < row["floor_ms"]
    monkeypatch.undo()
    cs.show("gpu", shown)
    assert capsys.readouterr().out.count("ratio") == 4


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cs.main(["--what", "gpu", "--write"])
    out = capsys.readouterr().out
    assert out.startswith("No CUDA device") and out.count("\n") == 1


@pytest.mark.parametrize(
    "more", ["gpu --small --write", "pipeline --images 3 --write", "gpu --device cpu"]
)
def test_no_receipt_of_less_than_all(more, capsys):
    with pytest.raises(SystemExit):
        cs.main(["--what", *more.split()])
    assert "error" in capsys.readouterr().err
