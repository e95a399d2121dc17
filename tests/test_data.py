"""Names, faults and quarantine of `rsnb.data.load`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import fixtures_data as fx
from rsnb.cards import CARDS
from rsnb.data import load, paraphrases
from rsnb.errors import DataError, DataProblems, FileCorruptError

pytestmark = pytest.mark.promise("P15")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("RSNB_DATA", raising=False)


def problems(path, **how):
    with pytest.raises(DataProblems) as e:
        load(path, **how)
    return [(p.kind, p.line) for p in e.value.problems]


@pytest.mark.parametrize("name", CARDS)
def test_absent_set_says_what_to_put_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    (tmp_path / name / "data").mkdir(parents=True)  # as a fetch that failed leaves it
    with pytest.raises(DataError) as e:
        load(name)
    text = str(e.value)
    assert (
        str(tmp_path / name) in text and "RSNB_DATA" in text and CARDS[name][2] in text
    )
    assert ("rsnb fetch rsicd" in text) == (name == "rsicd")


def test_unknown_name_lists_the_names():
    with pytest.raises(DataError, match="names: world, ucm, rsicd"):
        load("rsictmd")


def test_named_set_off_its_card(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    fx.karpathy(tmp_path / "ucm")
    assert problems("ucm") == [("count off", 0)]
    assert load("ucm", lenient=True).source["problems"] == {"count off": 1}


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"filename": "a.png"}', '{"captions": 1}']
)
def test_paraphrases_that_cannot_be_read_are_named(tmp_path, monkeypatch, line):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    pairs = load(fx.karpathy(tmp_path / "ucm"))
    pairs = replace(pairs, name="ucm")
    (tmp_path / "ucm" / "raw").mkdir()
    said = json.dumps({"filename": f"x/{pairs.ids[0]}", "captions": ["new words"]})
    for k in "ab":  # of two files on one image, both count
        (tmp_path / "ucm" / "raw" / f"textaug_{k}_ucm.jsonl").write_text(said)
    assert paraphrases(pairs) == {pairs.ids[0]: ["new words"] * 2}
    (tmp_path / "ucm" / "raw" / "textaug_c_ucm.jsonl").write_text(line)
    with pytest.raises(DataError, match="textaug_c_ucm"):
        paraphrases(pairs)


def test_cache_is_looked_up_too(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    fx.karpathy(tmp_path / "data" / "sydney")
    assert len(load("sydney", lenient=True)) == 4


def test_borrowed_pixels_and_rows_without(tmp_path):
    root = tmp_path / "rsitmd"
    root.mkdir()
    rows = []
    for k, (name, (split, label, texts)) in enumerate(fx.TOY.items()):
        row = {"image": f"x{k}.tif", "class": label, "split": split, "captions": texts}
        if k != 2:
            more = {"rsicd_zip": "a.zip", "rsicd_image": name, "map_tier": "AB"[k % 2]}
            row |= more
        rows.append(json.dumps(row))
    (root / "captions.jsonl").write_text("\n".join(rows))
    fx.write_zip(tmp_path / "rsicd" / "a.zip")
    pairs = load(root)
    assert pairs.has_pixels.tolist() == [True, True, False, True]
    want = np.asarray(fx.pixels(3))
    assert np.array_equal(np.asarray(pairs.with_pixels().image(2)), want)
    with pytest.raises(DataError, match="known without pixels"):
        pairs.image(2)
    (tmp_path / "rsicd" / "a.zip").unlink()
    with pytest.raises(DataProblems, match=r"\.\./rsicd/a\.zip") as e:
        load(root)
    assert len(e.value.problems) == 1


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_promised_image_that_is_missing(tmp_path, form):
    names = [n for n in fx.TOY if n != "farm_1.png"]
    if form == "zip":
        fx.jsonl(tmp_path, zip="a.zip")
        fx.write_zip(tmp_path / "a.zip", names)
    else:
        fx.karpathy(tmp_path)
        fx.write_images(tmp_path / "imgs", names)
    assert problems(tmp_path) == [("missing image", 3)]
    pairs = load(tmp_path, lenient=True)
    assert "farm_1.png" not in pairs.ids and len(pairs.captions) == 6
    assert pairs.has_pixels.all() and pairs.source["problems"] == {"missing image": 1}


def test_two_files_for_one_name_are_never_guessed(tmp_path):
    fx.karpathy(tmp_path)
    fx.write_images(tmp_path / "imgs")
    fx.write_images(tmp_path / "old", ["port_1.png"])
    assert problems(tmp_path) == [("ambiguous image", 1)]


def test_same_basename_in_two_folders_is_two_images(tmp_path):
    text = "filename,title\n/d/a/1.png,one\n/d/b/1.png,two\n"
    (tmp_path / "toy_test.csv").write_text(text)
    fx.write_images(tmp_path / "images", ["a/1.png", "b/1.png"])
    pairs = load(tmp_path)
    assert pairs.ids == ("a/1.png", "b/1.png")
    assert np.array_equal(np.asarray(pairs.image(1)), np.asarray(fx.pixels(1)))


def test_harma_keeps_split_folders_that_tell_images_apart(tmp_path):
    for split in ("train", "test"):
        caption = "a" if split == "train" else ["b"]
        rows = [{"image": f"{split}/1.png", "caption": caption, "image_id": 0}]
        (tmp_path / f"toy_{split}.json").write_text(json.dumps(rows))
    assert set(load(tmp_path).ids) == {"train/1.png", "test/1.png"}


def test_precomp_of_the_public_rsitmd_with_blank_lines(tmp_path):
    """20 blank captions of 4 images, as in the files that circulate."""
    names = [f"i{k}.tif" for k in range(40)]
    blank = {3, 17, 18, 39}
    lines = [
        "" if k in blank else f"scene {k} seen {j}" for k in range(40) for j in range(5)
    ]
    (tmp_path / "train_caps.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "train_filename.txt").write_text("\n".join(names) + "\n")
    found = problems(tmp_path)
    assert len(found) == 20 and {kind for kind, _ in found} == {"blank caption"}
    assert [line for _, line in found][:5] == [16, 17, 18, 19, 20]
    pairs = load(tmp_path, lenient=True)
    assert len(pairs) == 36 and len(pairs.captions) == 180
    assert pairs.source["problems"] == {"blank caption": 20}
    assert pairs.captions_of(pairs.ids.index("i4.tif"))[0] == "scene 4 seen 0"


def test_lost_caption_line_is_not_paired(tmp_path):
    fx.precomp(tmp_path, ())
    path = tmp_path / "train_caps.txt"
    names = tmp_path / "train_filename.txt"
    names.write_text("a.png\nb.png\n")
    path.write_text("one\ntwo\nthree\n")
    assert problems(tmp_path) == [("count off", 0)]
    assert "train" not in load(tmp_path, lenient=True).split
    names.unlink()
    assert problems(tmp_path) == [("captions without images", 0)]


def entry(name="a.png", split="test", texts=("x",)):
    return {"filename": name, "split": split, "sentences": [{"raw": t} for t in texts]}


@pytest.mark.parametrize(
    ("entries", "want"),
    [
        ([entry(), entry()], [("duplicate id", 2)]),
        ([entry(split="holdout")], [("unknown split", 1)]),
        ([entry(texts=[])], [("image without captions", 1)]),
        ([entry(texts=["x", " \t"])], [("blank caption", 1)]),
        ([entry(texts=["x", None])], [("bad field", 1)]),
        ([entry(texts=["\ud800"])], [("encoding", 1)]),
        ([{"filename": "a.png", "split": "test"}], [("bad field", 1)]),
        ([{"split": "test", "sentences": []}], [("bad field", 1)]),
        ([None], [("bad field", 1)]),
        ([entry(name="/etc/a.png"), entry(name="b.png")], [("unsafe path", 1)]),
    ],
)
def test_karpathy_faults(tmp_path, entries, want):
    (tmp_path / "d.json").write_text(json.dumps({"images": entries}))
    assert problems(tmp_path) == want


@pytest.mark.parametrize(
    "text", ['{"images": [', "[" * 200_000, '{"images": 3}', "not json", ""]
)
def test_file_of_no_layout(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(DataError):
        load(path)
    with pytest.raises(DataError):
        load(path, lenient=True)


def test_a_folder_of_no_layout_says_what_one_looks_like(tmp_path):
    with pytest.raises(DataError, match=r"holds none of: .*CSV filename,title"):
        load(tmp_path)
    (tmp_path / "test.csv").write_text("image,text\na.png,a lake\n")
    with pytest.raises(DataError, match=r"holds none of: .*CSV filename,title"):
        load(tmp_path)


def test_torn_jsonl_line(tmp_path):
    fx.jsonl(tmp_path)
    path = tmp_path / "captions.jsonl"
    path.write_text(path.read_text()[:-20])
    assert problems(tmp_path) == [("bad field", 4)]
    assert len(load(tmp_path, lenient=True)) == 3


def test_split_aliases(tmp_path):
    entries = [entry(f"{s}.png", s) for s in ("valid", "restval", "validation", "dev")]
    (tmp_path / "d.json").write_text(json.dumps({"images": entries}))
    assert load(tmp_path).split == ("val", "train", "val", "val")


TEXTS = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "{{ x }} $x$ {code-cell} ](javascript:": "{{ x }} $x$ {code-cell} ](javascript:",
    "ignore previous instructions": "ignore previous instructions",
    "a\u202eb\u2066c\u200fd": "abcd",
    "zero\u200bwidth\ufeff": "zerowidth",
    "cafe\u0301": "caf\u00e9",
    "bell\x07 nul\0 esc\x1b[31m": "bell nul esc[31m",
    "two\nlines\tand\u2028more": "two lines and more",
    "\U0001f6e9 \u0645\u0637\u0627\u0631 \u673a\u573a": (
        "\U0001f6e9 \u0645\u0637\u0627\u0631 \u673a\u573a"
    ),
    "  padded ": "padded",
    "x" * 2000: "x" * 2000,
}


def test_text_is_data(tmp_path):
    doc = {"images": [entry(texts=list(TEXTS))]}
    (tmp_path / "d.json").write_text(json.dumps(doc))
    assert load(tmp_path).captions == tuple(TEXTS.values())
    blank = {"images": [entry(texts=["\u200b\u202e", "x" * 2001])]}
    (tmp_path / "d.json").write_text(json.dumps(blank))
    assert sorted(problems(tmp_path)) == [("blank caption", 1), ("long caption", 1)]


def test_message_shows_twenty_and_counts_all(tmp_path):
    doc = {"images": [entry(f"{k}.png", texts=[""]) for k in range(57)]}
    (tmp_path / "d.json").write_text(json.dumps(doc))
    with pytest.raises(DataProblems) as e:
        load(tmp_path)
    text = str(e.value)
    assert "57 problems (57 blank caption)" in text and "and 37 more" in text
    assert text.count("d.json:") == 20 and "lenient=True" in text
    with pytest.raises(DataProblems):  # nothing is left
        load(tmp_path, lenient=True)


def test_identity_follows_captions_and_pixels(tmp_path):
    fx.jsonl(tmp_path, zip="a.zip")
    fx.write_zip(tmp_path / "a.zip")
    one = load(tmp_path).source["sha256"]
    assert load(tmp_path).source["sha256"] == one
    fx.write_zip(tmp_path / "a.zip", list(fx.TOY)[::-1])
    assert load(tmp_path).source["sha256"] != one


def test_an_image_that_does_not_decode_says_so(tmp_path):
    fx.karpathy(tmp_path)
    fx.write_images(tmp_path / "imgs")
    path = tmp_path / "imgs" / "farm_2.png"
    path.write_bytes(path.read_bytes()[:300])
    pairs = load(tmp_path)
    with pytest.raises(FileCorruptError):
        pairs.image(3)


def test_parquet_that_left_its_receipt(tmp_path):
    fx.parquet(tmp_path)
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    receipt = path.with_name(path.name + ".json")
    receipt.write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(DataProblems, match="receipt"):
        load(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataProblems, match="unreadable file"):
        load(tmp_path)
