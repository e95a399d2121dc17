"""Adapters: trained on models of several classes, saved, merged, resumed, refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rsnb.adapters import learn, save
from rsnb.batches import TrainConfig
from rsnb.errors import BackboneError, FileCorruptError, ParameterError
from rsnb.lora import Adapter, Lesson, _asks, adapt
from rsnb.smallvlm import Shape, build
from rsnb.smallvlm import save as save_small
from rsnb.vlm import TransformersCaptioner
from test_vlm import pictures
from test_vlm import save as save_model

KINDS = ("llava", "qwen", "fast_vlm", "small")  # the last ties its embeddings
CFG = TrainConfig(epochs=6, batch_size=8, lr=1e-2, average=0.9)
SETTINGS = Adapter(rank=4, train=CFG)
COLOURS = ("red", "green", "blue", "brown")  # the last is a word that no model knows
TURN, TEXTS = "describe the top", [f"a {c} field at left" for c in COLOURS]


def draw(row, rng, _symmetry):
    return Lesson(TURN, TEXTS[row % 4], sees=bool(rng.random() < 0.7))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Return kind → folder of an untrained model."""
    out = {k: save_model(tmp_path_factory.mktemp(k), k) for k in KINDS[:-1]}
    words = {f: "a red green blue field at left of, the top" for f in "abc"}
    fields = dict(zip(("one_sentence", "feature", "caption"), words.values()))  # noqa: B905
    shape = Shape(side=32, channels=(8, 8, 16, 16), width=64, layers=1)
    model, processor = build([[fields]], shape)
    out["small"] = tmp_path_factory.mktemp("small")
    save_small(out["small"], model, processor)
    return out


@pytest.fixture(scope="module")
def adapted(bases, images, tmp_path_factory):
    """Return kind → (live captioner, log, folder, (base weights, base words))."""
    out = {}
    for kind in KINDS:
        who = TransformersCaptioner.load(bases[kind])
        known = len(who.processor.tokenizer)
        before = {k: v.clone() for k, v in who.net.state_dict().items()}
        log = adapt(who, images, draw, SETTINGS, words=[TURN, *TEXTS])
        folder = tmp_path_factory.mktemp(f"{kind}-adapter")
        save(folder, who, SETTINGS, log, note="test")
        out[kind] = who, log, folder, (before, known)
    return out


def values(who, texts=TEXTS):
    some = [who.likelihood(x, TURN, texts) for x in (*pictures(2), None)]
    return np.concatenate([word for texts in some for word in texts])


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_and_the_base_stays(adapted, kind):
    who, log, _, (before, known) = adapted[kind]
    assert len(log) == 6 and log[-1]["loss"] < 0.8 * log[0]["loss"]
    inside = re.compile(r"(token_adapter\.)?(base_layer|original_module)\.")
    after = {inside.sub("", k): v for k, v in who.net.state_dict().items()}
    for key, value in before.items():
        same = slice(known) if "embed" in key or "lm_head" in key else ...
        assert torch.equal(after[key][same], value[same])
    moved = {k for k, p in who.net.named_parameters() if p.requires_grad}
    assert all("lora_" in k or "trainable_tokens" in k for k in moved)
    assert not any("vision" in k or "visual" in k for k in moved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_adapter_merges_into_the_same_model(adapted, bases, kind):
    who, log, folder, _ = adapted[kind]
    again = TransformersCaptioner.load(bases[kind], adapter=folder)
    np.testing.assert_allclose(values(again), values(who), atol=1e-4)
    base = TransformersCaptioner.load(bases[kind])
    assert len({who.revision, again.revision, base.revision}) == 3
    assert not any("lora" in name for name, _ in again.net.named_modules())
    known = TEXTS[:3]
    assert np.abs(values(base, known) - values(again, known)).max() > 0.1
    net, words = again.net, again.processor.tokenizer
    rows = len(net.get_input_embeddings().weight)
    assert rows == len(net.get_output_embeddings().weight) >= len(words)
    assert rows % 8 == 0 and words.padding_side == "left"
    tied = net.get_input_embeddings().weight is net.get_output_embeddings().weight
    assert tied == (kind == "small")
    ids = words(TEXTS[3], add_special_tokens=False)["input_ids"]
    assert words.unk_token_id not in ids and words.decode(ids) == TEXTS[3]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.model == bases[kind].name
    receipt = json.loads((folder / "adapter_model.safetensors.json").read_text())
    assert receipt["note"] == "test" and receipt["log"] == log
    assert receipt["base_revision"] == base.revision


def test_damaged_adapters_and_other_bases_are_refused(adapted, bases, tmp_path):
    for name in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json"):
        folder = tmp_path / name
        folder.mkdir()
        for path in adapted["llava"][2].iterdir():
            data = path.read_bytes()
            cut = data[:-2] + b"\n\n" if path.name == name else data
            (folder / path.name).write_bytes(cut)
        with pytest.raises(FileCorruptError, match=name):
            TransformersCaptioner.load(bases["llava"], adapter=folder)
    with pytest.raises(BackboneError, match="the base that it names"):
        TransformersCaptioner.load(bases["qwen"], adapter=adapted["llava"][2])
    with pytest.raises(FileCorruptError, match="cannot be read"):
        TransformersCaptioner.load(bases["qwen"], adapter=tmp_path)


@pytest.mark.parametrize("stop", [2, 10])
def test_a_run_that_stopped_ends_with_the_same_weights(
    adapted, bases, images, tmp_path, stop
):
    whole, log, _, _ = adapted["small"]
    for steps in (stop, None):
        who = TransformersCaptioner.load(bases["small"])
        how = {"words": [TURN, *TEXTS], "folder": tmp_path, "max_steps": steps}
        again = adapt(who, images, draw, SETTINGS, **how)
    assert [e["loss"] for e in again] == [e["loss"] for e in log]
    for a, b in zip(whole.net.parameters(), who.net.parameters(), strict=True):
        assert torch.equal(a, b)
    kept = [k for k in load_file(tmp_path / "state.safetensors") if "model/" in k]
    assert any("lora_A" in k for k in kept)
    assert not any(k.endswith(".weight") and "lora_" not in k for k in kept)
    who = TransformersCaptioner.load(bases["small"])
    with pytest.raises(ParameterError, match="other settings"):
        adapt(who, images[::-1].copy(), draw, SETTINGS, **how)


def test_lessons_are_turned_with_their_images():
    rows = np.zeros((8, 8, 8, 3), np.uint8)
    rows[:, :, :2] = 255  # what is bright lies at the left
    lesson = Lesson("what is at the left", "bright at the left")
    asks = _asks(4, rows, lambda *_: lesson, CFG)
    again = _asks(4, rows, lambda *_: lesson, CFG)
    assert [x[1:] for x in asks] == [x[1:] for x in again]
    where = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}
    assert len({turn for _, turn, _ in asks}) > 1
    for image, turn, answer in asks:
        y, x = np.argwhere(np.asarray(image)[..., 0]).mean(0) - 3.5
        side = turn.split()[-1]
        assert answer == f"bright at the {side}"
        assert (np.sign(round(y)), np.sign(round(x))) == where[side]


def test_new_words_are_found_between_marks_and_read_back(bases):
    who = TransformersCaptioner.load(bases["small"])
    words = who.processor.tokenizer
    old = ["a red field at the top", '{"one_sentence": "a field", "feature": "red"}']
    ids = [words(text)["input_ids"] for text in old]
    texts = ["there is brown farmland nearby", "a road, nearby."]
    learn(words, [*texts, '{"one_sentence": "one plane"}'])
    assert [words(text)["input_ids"] for text in old] == ids
    new = [words(text)["input_ids"] for text in [*texts, '{"one_sentence": "one plane']]
    assert not any(words.unk_token_id in x for x in new)
    assert [words.decode(x) for x in new[:2]] == texts
    size = len(words)
    learn(words, texts)
    assert len(words) == size


def test_what_cannot_be_trained_is_refused(adapted, bases, images):
    with pytest.raises(ParameterError, match="Load it anew"):
        adapt(adapted["qwen"][0], images, draw, SETTINGS)
    who = TransformersCaptioner.load(bases["qwen"])
    with pytest.raises(ParameterError, match="smaller batch_size"):
        adapt(who, images[:4], draw, SETTINGS)
    with pytest.raises(ParameterError, match="alpha=0"):
        Adapter(alpha=0)
    with pytest.raises(ParameterError, match="rank=0"):
        Adapter(rank=0)


def test_without_new_words_and_with_chosen_layers(bases, images, tmp_path):
    who = TransformersCaptioner.load(bases["qwen"])
    settings = Adapter(2, targets=r".*layers\.1.*q_proj", train=CFG)
    log = adapt(who, images, draw, settings, max_steps=3)
    save(tmp_path, who, settings, log)
    assert not (tmp_path / "tokenizer.json").exists()
    names = {k for k, p in who.net.named_parameters() if p.requires_grad}
    assert len(names) == 2
    again = TransformersCaptioner.load(bases["qwen"], adapter=tmp_path)
    np.testing.assert_allclose(values(again), values(who), atol=1e-4)
