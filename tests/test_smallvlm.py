"""A small model of a published class: built, taught, saved, loaded like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rsnb import smallcaptioners as sc
from rsnb.batches import TrainConfig
from rsnb.errors import (
    BackboneError,
    DataError,
    FileCorruptError,
    ParameterError,
    TrainingError,
)
from rsnb.files import receipt_path
from rsnb.lessons import Lessons, from_captions, teach
from rsnb.parsing import parse
from rsnb.pixels import load_pixels
from rsnb.prompts import PROMPTS
from rsnb.smallvlm import GLUE, Shape, answer, build, save
from rsnb.vlm import TransformersCaptioner
from rsnb.world import oracle
from toy import squares

SHAPE = Shape(side=32, channels=(8, 8, 16, 16), width=64, layers=1)
CFG = TrainConfig(epochs=4, batch_size=8, lr=3e-3, average=0.9)


@pytest.fixture(scope="module")
def lesson():
    pairs = squares(24)
    return pairs, load_pixels(pairs, SHAPE.side), from_captions(pairs)


def taught(lesson, **how):
    _, pixels, variants = lesson
    model, processor = build(variants, SHAPE)
    log = teach(model, processor, pixels, variants, CFG, **how)
    return model, processor, log


def test_answer_is_json_in_four_tokens_and_words():
    variant = {"one_sentence": 'a "red" car', "feature": "a\\b", "caption": "c, d"}
    [parsed] = parse(answer(variant))
    assert (parsed.one_sentence, parsed.feature) == ("a red car", "ab")
    _, processor = build([[vars(parsed)]], SHAPE)
    tokenizer = processor.tokenizer
    ids = tokenizer(answer(variant))["input_ids"]
    glue = set(tokenizer.convert_tokens_to_ids(list(GLUE)))
    assert sum(i in glue for i in ids) == 4
    assert tokenizer.unk_token_id not in ids
    [again] = parse(tokenizer.decode(ids, skip_special_tokens=True))
    assert again.caption == "c, d"


def test_human_captions_become_variants():
    pairs = squares(4)
    rows = from_captions(pairs)
    assert [len(r) for r in rows] == [5] * 4
    assert rows[0][0]["one_sentence"] == pairs.captions[0]
    assert rows[0][1]["caption"] == f"{pairs.captions[1]}. {pairs.captions[0]}"
    assert rows[0][0]["feature"] == pairs.label[0]


def test_the_loss_falls_and_the_loader_of_published_models_takes_the_folder(
    lesson, tmp_path
):
    model, processor, log = taught(lesson)
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    save(tmp_path / "small", model, processor, note="test")
    who = TransformersCaptioner.load(tmp_path / "small")
    assert who.model == "small"
    pairs = lesson[0]
    images = [pairs.image(i) for i in range(3)]
    records = who.describe(images, PROMPTS["world"], pairs.ids[:3])
    assert [r.image for r in records] == list(pairs.ids[:3])
    [alone] = who.describe(images[:1], PROMPTS["world"], pairs.ids[:1])
    assert alone == records[0]
    path = tmp_path / "small" / "model.safetensors"
    assert json.loads(receipt_path(path).read_text())["note"] == "test"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileCorruptError):
        TransformersCaptioner.load(tmp_path / "small")


@pytest.mark.parametrize("stop", [1, 5])
def test_a_run_that_stopped_ends_with_the_same_weights(lesson, tmp_path, stop):
    whole, _, log = taught(lesson)
    taught(lesson, folder=tmp_path, max_steps=stop)
    resumed, _, again = taught(lesson, folder=tmp_path)
    assert [e["loss"] for e in log] == [e["loss"] for e in again]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ParameterError, match="other settings"):
        _, pixels, variants = lesson
        model, processor = build(variants, SHAPE)
        teach(model, processor, pixels[::-1].copy(), variants, CFG, folder=tmp_path)


def test_sides_turn_with_the_image(lesson):
    _, pixels, variants = lesson
    _, processor = build(variants, SHAPE)
    lessons = Lessons(pixels, variants, processor, CFG)
    assert lessons.steps == 3
    batch, again = lessons(4), lessons(4)
    assert all(torch.equal(batch[k], again[k]) for k in batch)
    side = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}
    for image, labels in zip(batch["pixel_values"], batch["labels"], strict=True):
        text = processor.tokenizer.decode(labels[labels >= 0])
        # the square is what differs most from its field
        spread = image - image.mean((1, 2), keepdim=True)
        y, x = divmod(int(spread.norm(dim=0).argmax()), SHAPE.side)
        named = [d for word, d in side.items() if f" {word}" in text.split(". ")[0]]
        dy, dx = named[0]
        centre = (SHAPE.side - 1) / 2
        assert dy * (y - centre) + dx * (x - centre) > 0, text


def test_a_loss_that_is_no_number_stops(lesson):
    _, pixels, variants = lesson
    model, processor = build(variants, SHAPE)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 1"):
        teach(model, processor, pixels, variants, CFG)


def test_only_the_captioner_split_is_annotated():
    from rsnb.world.annotate import annotated

    assert len(annotated(["world/captioner/000000"])[0]) == 5
    for split in ("train", "val", "test", "source"):
        with pytest.raises(DataError, match="not annotated"):
            annotated([f"world/{split}/000000"])


def test_oracle_records_and_queries():
    ids = [f"world/val/{k:06d}" for k in range(60)]
    records = oracle.records(ids)
    for row in records:
        assert len({tuple(v.values()) for v in row}) == len(row) == 5
        assert all(text.strip() for v in row for text in v.values())
    queries = oracle.queries(ids)
    assert len(set(queries)) > 55
    said = {v["caption"] for row in records for v in row}
    assert not said & set(queries)
    assert set(oracle.agreement(records, ids).values()) == {100.0}
    shifted = oracle.agreement([*records[1:], []], ids)
    assert shifted["class"] < 20
    assert max(shifted.values()) < 100


def test_courses():
    assert sc.folder("world-vlm").name == "world-vlm"
    with pytest.raises(ParameterError, match="no course"):
        sc.folder("word-vlm")
    with pytest.raises(ParameterError, match="world-test"):
        sc.shipped("world-tset")
    assert sc.COURSES["world-vlm"].split == "captioner"
    assert np.all([c.split in ("captioner", "train") for c in sc.COURSES.values()])


@pytest.mark.parametrize("name", ["world-vml", "captions.jsonl"])
def test_a_mistyped_captioner_is_told_the_known_ones(name):
    with pytest.raises(BackboneError, match=r"no captioner.*owner/model.*world-vlm"):
        sc.captioner(name)
