"""The embedded world: true facts, fixed difficulty, frozen pixels and captions."""

import re
import statistics

import numpy as np
import pytest

from rsnb import profiles, world
from rsnb.errors import DataError
from rsnb.world import oracle
from rsnb.world.describe import Caption, describe
from rsnb.world.render import render
from rsnb.world.scene import KINDS, SPLITS, sample

REFREEZE = (
    "The world changed. If that is meant: bump VERSION, put `rsnb.world.digests()` "
    "into FROZEN_TEXT and FROZEN_PIXELS of rsnb/world/__init__.py, and re-run every "
    "receipt in book/results and every shipped weight: all figures refer to this world."
)


@pytest.fixture(scope="module")
def test_split():
    scenes = [sample("test", k) for k in range(450)]
    return [(s, describe(s)) for s in scenes]


def test_frozen():
    text, pixels = world.digests()
    assert text == world.FROZEN_TEXT, REFREEZE
    assert pixels == world.FROZEN_PIXELS, (
        f"{REFREEZE} If only the pixels differ, first look at the versions of Pillow "
        "and libm: the digest was made with the lock's."
    )


def test_difficulty_is_pinned(test_split):
    found = profiles.get("world").ceilings(world.load().where("test"))
    assert 83 <= found["oracle that reads the scene"]["mR"] <= 88
    assert np.median(oracle.truth("test").sum(1)) >= 2
    captions: list[Caption] = [c for _, cs in test_split for c in cs]
    words = [len(c.text.split()) for c in captions]
    assert 9 <= statistics.mean(words) <= 12
    assert min(words) >= 3
    assert max(words) <= 22
    no_class = [c for c in captions if all(f[0] != "class" for f in c.facts)]
    assert len(no_class) / len(captions) >= 0.12
    small = [c for c in captions if any(f[0] == "small" for f in c.facts)]
    assert 0.25 <= len(small) / len(captions) <= 0.35
    assert 150 <= len({w for c in captions for w in c.text.split()}) <= 260


def test_class_names_absent_by_words_too(test_split):
    heads = {cls: re.compile(rf"\b{cls}s?\b") for cls in KINDS}
    free = [
        c
        for s, cs in test_split
        for c in cs
        if all(f[0] != "class" for f in c.facts) and not heads[s.cls].search(c.text)
    ]
    assert len(free) / 2250 >= 0.12


def test_every_caption_is_true_of_its_scene(test_split):
    for s, captions in test_split:
        assert len({c.text for c in captions}) == 5
        for c in captions:
            assert oracle.consistent(c.facts, s), (c, s)


def test_oracle_decides():
    s = next(s for s in (sample("val", k) for k in range(450)) if s.cls == "river")
    assert oracle.consistent([("context", "river", "any")], s)
    assert not oracle.consistent([("context", "river", "left")], s)
    assert not oracle.consistent([("class", "river"), ("layout", "oval")], s)
    around = next(
        s
        for s in (sample("val", k) for k in range(450))
        if s.context and s.context[0][1] == "around"
    )
    kind = around.context[0][0]
    assert oracle.consistent([("context", kind, "left")], around)
    assert oracle.consistent([("context", kind, "around")], around)
    one = next(
        s
        for s in (sample("val", k) for k in range(450))
        if len(s.context) == 1 and s.context[0][1] != "around"
    )
    assert not oracle.consistent([("context", one.context[0][0], "around")], one)


def test_grammar():
    wrong = re.compile(
        r"\ban [^aeiou]|\ba [aeiou]|\b(\w+) \1\b|  |[^a-z ]|^ | $"
        r"|\bone (\w+ )?(cars|trucks|trees|sheds|boats|pools|tanks)\b|\bthis are\b"
        r"|\bthere is (two|several|some (?!open))"
    )
    for k in range(1500):
        for c in describe(sample("train", k)):
            assert not wrong.search(c.text), c.text


def test_sides_are_the_only_use_of_side_words():
    """Training turns images and swaps side words, so they may mean nothing else."""
    side = re.compile(r"\b(left|right|top|bottom)\b")
    sided = re.compile(r"\bon the (left|right|top|bottom)\b")
    for k in range(1000):
        for c in describe(sample("train", k)):
            assert len(side.findall(c.text)) == len(sided.findall(c.text)), c.text


def test_splits_share_no_scene():
    seeds = [{sample(s, k).seed for k in range(n)} for s, n in SPLITS.items()]
    assert len(set.union(*seeds)) == sum(SPLITS.values())
    with pytest.raises(IndexError):
        sample("test", 450)


def test_source_is_sparser():
    def facts(split):
        return np.mean(
            [len(c.facts) for k in range(400) for c in describe(sample(split, k))]
        )

    assert facts("source") < facts("train") - 0.5


@pytest.mark.parametrize("split", SPLITS)
def test_pictures_hold_what_the_graph_says(split):
    """`render` compares its ledger with the graph and raises on a difference."""
    seen = set()
    for k in range(100):
        s = sample(split, k)
        image = render(s)
        seen.add(s.cls)
        assert image.size == (192, 192)
        assert np.asarray(image).std() > 8
    assert len(seen) >= 20


def test_load_and_render_split():
    pairs = world.load("val")
    assert len(pairs) == 450
    assert len(pairs.captions) == 2250
    assert pairs.ids[7] == "world/val/000007"
    assert set(pairs.label) == set(KINDS)
    assert pairs.source["sha256"] == world.FROZEN
    assert all(type(c) is str for c in pairs.captions)
    pixels = world.render_split("val")
    assert pixels.shape == (450, 192, 192, 3)
    for k in (0, 224, 225, 449):
        assert np.array_equal(pixels[k], np.asarray(pairs.image(k)))
    part = pairs.subset([449, 3])
    assert np.array_equal(np.asarray(part.image(1)), pixels[3])


def test_unknown_split():
    with pytest.raises(DataError, match="no split 'dev'"):
        world.load("dev")
    with pytest.raises(DataError, match="no split 'dev'"):
        oracle.truth("dev")
