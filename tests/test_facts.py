"""Facts can be counted by hand; planted duplicates are found."""

from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

import fixtures_data as fx
from rsnb.duplicates import caption_matches, image_prints, near_duplicates
from rsnb.facts import caption_facts, conflicts, flat, leakage, report
from rsnb.images import decode_image
from rsnb.pairs import Pairs


def make(name, rows, images=()):
    """rows: (split, label, captions)."""
    n = len(rows)
    return Pairs(
        name=name,
        ids=tuple(f"{name}_{i}" for i in range(n)),
        split=tuple(s for s, _, _ in rows),
        label=tuple(c for _, c, _ in rows),
        captions=tuple(t for _, _, texts in rows for t in texts),
        gt=np.repeat(np.arange(n), [len(t) for *_, t in rows]),
        has_pixels=np.full(n, bool(images)),
        reader=lambda i: images[i],
        rows=np.arange(n),
        source={},
    )


FIVE = ["a red boat", "A red boat ", "two piers", "water", "a ship"]
TOY = make(
    "toy",
    [
        ("train", "port", FIVE),
        ("train", "farm", ["a field", "a barn", "a cow", "one track", "water"]),
        ("test", "port", ["a quay", "a crane", "a RED boat", "some boats", "nets"]),
        ("test", "farm", ["a crane", "mud", "hay", "a tractor", "corn"]),
    ],
)


def test_caption_facts_by_hand():
    f = caption_facts(TOY.where("train"))
    assert (f.images, f.captions, f.distinct, f.recurring, f.few_distinct) == (
        (2, 10, 8, 2, 1)
    )
    assert (f.words_mean, f.words_max) == (2, 3) and f.split == "train"
    assert f.ceiling["t2i_r1_random"] == pytest.approx(90)
    assert f.as_dict()["words_max"] == 3


def test_leakage_by_hand():
    leak = leakage(TOY.where("test"), TOY.where("train"))
    assert (leak.captions, leak.images, leak.of_captions) == (1, 1, 10)
    assert (leak.split, leak.found_in) == ("toy/test", "toy/train")


def test_report_compares_held_out_splits_with_all_others():
    other = make("far", [("train", "", ["hay"]), ("test", "", ["nets"])])
    seen = report(TOY, [other])
    got = {(x.split, x.found_in): x.captions for x in seen.leaks}
    assert got == {
        ("toy/test", "toy/train"): 1,
        ("toy/test", "far/train"): 1,
        ("toy/test", "far/test"): 1,
    }
    assert list(seen.table()["split"]) == ["train", "test"]
    assert len(seen.leak_table()) == 3 == len(seen.as_dict()["leaks"])
    figures = flat({"toy": TOY, "far": other})
    assert figures["toy_test_in_far_rest_captions"] == 1
    assert figures["far_test_distinct"] == 1


def test_conflict_needs_four_captions_of_one_other_class():
    rows = [
        ("train", "storagetanks", ["a beach"] * 4 + ["sand"]),
        ("train", "storagetanks", ["a beach"] * 4 + ["two storage tanks"]),
        ("train", "beach", ["a tank on the beach"] * 5),
        ("train", "airport", ["beaches"] * 3 + ["a road", "storage tank"]),
        ("train", "", ["a beach"] * 5),
    ]
    assert conflicts(make("toy", rows)).tolist() == [0]
    assert conflicts(make("bare", [("train", "", ["x"])])).tolist() == []


def test_prints_are_those_of_imagehash():
    images = [fx.pixels(k, 224) for k in range(8)]
    prints = image_prints(make("p", [("train", "", ["x"])] * 8, images))
    for image, bits in zip(images, prints["hash"][:, 0], strict=True):
        assert f"{int(bits):016x}" == str(imagehash.phash(image))


def scene(seed):
    """A field, two roads and some boxes: neighbours share their look, not layout."""
    rng = np.random.default_rng(seed)
    base = rng.integers(90, 150, 3)
    a = np.ones((160, 160, 3)) * base + rng.normal(0, 6, (160, 160, 1))
    for _ in range(int(rng.integers(8, 20))):
        y, x = rng.integers(0, 130, 2)
        h, w = rng.integers(10, 45, 2)
        a[y : y + h, x : x + w] = base + rng.integers(-80, 80, 3)
    k = int(rng.integers(0, 150))
    a[k : k + 6] = 200
    return Image.fromarray(np.clip(a, 0, 255).astype(np.uint8))


def jpeg(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return decode_image(out.getvalue())


def brighter(image):
    return ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.6)).enhance(1.25)


PLANT = {
    "exact": lambda im: im.copy(),
    "resized": lambda im: im.resize((97, 97), Image.Resampling.BILINEAR),
    "jpeg 40": lambda im: jpeg(im, 40),
    "rotated": lambda im: im.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda im: im.transpose(Image.Transpose.TRANSVERSE),
    "colour": brighter,
    "all": lambda im: jpeg(brighter(im.rotate(180).resize((128, 128))), 60),
}


def test_planted_duplicates_are_found_among_500():
    images = [scene(k) for k in range(395)]
    rows = [("train", "", ["x"])] * 395
    planted = {}
    for k, how in enumerate(list(PLANT.values()) * 15):
        planted[(3 * k, len(images))] = list(PLANT)[k % 7]
        images.append(how(images[3 * k]))
        rows.append(("test", "", ["x"]))
    assert len(images) == 500
    found = near_duplicates(make("plant", rows, images))
    pairs = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
    right = pairs & set(planted)
    missed = sorted(planted[p] for p in set(planted) - pairs)
    assert len(right) / len(planted) >= 0.95, missed
    assert len(right) / len(pairs) >= 0.95
    assert found.splits[("train", "test")] == len(right)
    assert found.as_dict()["pairs"] == len(pairs)


def test_turns_across_two_sets():
    a = make("a", [("train", "", ["x"])] * 3, [scene(k) for k in range(3)])
    turned = [scene(2).transpose(Image.Transpose.ROTATE_270), scene(9)]
    b = make("b", [("test", "", ["x"])] * 2, turned)
    found = near_duplicates(a, b)
    assert (found.a.tolist(), found.b.tolist()) == ([2], [0])
    assert found.turn[0] == 1 + Image.Transpose.ROTATE_270
    blank = make("c", [("train", "", ["x"])] * 2, [Image.new("RGB", (64, 64))] * 2)
    assert len(near_duplicates(blank).a) == 0  # nothing to see is no match


def test_caption_matches():
    one = make(
        "one",
        [
            ("train", "port", ["a red boat at a pier", "water"]),
            ("train", "port", ["seven cranes stand on the long quay", "water"]),
            ("test", "farm", ["a barn", "water"]),
        ],
    )
    two = make(
        "two",
        [
            ("train", "farm", ["three cows", "water"]),
            ("test", "port", ["A red boat, at a pier.", "water"]),
            ("test", "port", ["seven cranes on the long quay", "water"]),
        ],
    )
    assert caption_matches(one, two, shared=True) == {"one_0": "two_1"}
    assert caption_matches(one, two)["one_1"] == "two_2"
