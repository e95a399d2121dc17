"""Published figures are typed right, lists leave out what they name, pages add up."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsnb import data, lists, published, report, results
from rsnb.errors import DataError, DataProblems
from test_real_data import ROOT, real
from toy import squares

REPO = Path(__file__).resolve().parents[1]
SETS = ("rsitmd", "rsicd", "ucm")


# Published


def test_recalls_average_to_the_mR_that_is_stated():
    """One row does not, at its source; its note says so."""
    off = []
    for row in published.rows():
        if row.recalls and abs(np.mean(row.recalls) - row.mR) > 0.02:
            off.append(row.note)
    seen = "trained on the train split of this set"
    assert off == [f"{seen}; its six recalls average to 33.84"]


def test_every_row_has_a_source_of_a_known_kind():
    rows = published.rows()
    assert len(rows) > 80
    assert {r.kind for r in rows} == {"paper", "readme", "paper-note", "secondary"}
    assert all(r.system and r.source and r.start and r.train for r in rows)
    assert {r.selection for r in rows} <= {"validation", "test", "none", "not stated"}
    keys = {r.key for r in rows if r.key}
    assert keys == {
        "clip-b32/zero-shot", "clip-b32/rrsitr", "remoteclip-b32/zero-shot",
        "georsclip-b32/zero-shot", "t2t",
    }  # fmt: skip
    two = published.rows("rsitmd", "clip-b32/zero-shot")
    assert len({r.source for r in two}) == 2


# Lists


def listed(pairs, *rows, **more):
    """Return a list with one row for each (image, caption number or None)."""
    out = []
    for i, k in rows:
        row = dict.fromkeys(lists.COLUMNS, "") | {"image": pairs.ids[i]}
        if k is not None:
            row["caption"] = str(k)
            row["digest"] = lists.digest(pairs.captions_of(i)[k])
        out.append(row | more)
    return out


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Return a function that makes a list `toy-NAME` findable."""
    monkeypatch.setattr(lists, "FOLDER", tmp_path)

    def write(name, rows):
        with (tmp_path / f"{name}.csv").open("w", newline="") as f:
            table = csv.DictWriter(f, lists.COLUMNS)
            table.writeheader()
            table.writerows(rows)

    return write


def test_a_list_leaves_out_images_and_captions():
    pairs = squares(6)
    keep = lists.keep(pairs, listed(pairs, (0, None), (2, 1)))
    gone = np.flatnonzero(~keep)
    assert [(pairs.gt[t], pairs.captions[t]) for t in gone] == [
        (0, pairs.captions[0]), (0, pairs.captions[1]), (2, pairs.captions[5]),
    ]  # fmt: skip


def test_a_caption_is_known_by_its_words_and_not_by_its_place():
    pairs = squares(6)
    [row] = listed(pairs, (2, 1))
    turned = replace(pairs, captions=pairs.captions[:4] + pairs.captions[5:3:-1]
                     + pairs.captions[6:])  # fmt: skip
    gone = np.flatnonzero(~lists.keep(turned, [row]))
    assert [turned.captions[t] for t in gone] == [pairs.captions[5]]
    other = replace(pairs, captions=("no such text",) * len(pairs.captions))
    with pytest.raises(DataProblems, match=r"caption 1 of .* audit it anew"):
        lists.keep(other, [row])
    assert lists.keep(pairs.subset([0, 1]), [row]).all()  # a part without the image


def test_load_takes_names_paths_and_several(named, tmp_path, monkeypatch):
    folder = tmp_path / "toy"
    folder.mkdir()
    texts = [f"{i}.png,{c}" for i in range(4) for c in ("one red square", f"a {i}")]
    (folder / "pairs.csv").write_text("\n".join(["filename,title", *texts]))
    pairs = data.load(folder)
    named("toy-twins", listed(pairs, (0, None)))
    named("toy-odd", listed(pairs, (1, 0)))
    assert lists.names("toy") == ["odd", "twins"]
    one = data.load(folder, drop="twins")
    two = data.load(folder, drop=("twins", "odd"))
    assert one.ids == pairs.ids[1:] and one.source["dropped"] == 2
    assert two.captions[:2] == ("a 1", "one red square") and two.source["dropped"] == 3
    assert len({p.source["sha256"] for p in (pairs, one, two)}) == 3
    with pytest.raises(DataError, match=r"no list 'none' for toy; there are: odd, tw"):
        data.load(folder, drop="none")
    named(
        "toy-far", [r | {"image": "x" + r["image"]} for r in listed(pairs, (0, None))]
    )
    with pytest.raises(DataError, match=r"'far' names nothing .* like '0.png'"):
        data.load(folder, drop="far")
    assert len(data.load(folder, drop=("twins", "twins"))) == 3
    with pytest.raises(DataError, match="is no file"):
        data.load(folder, drop="none.csv")
    named("toy-all", listed(pairs, *((i, None) for i in range(4))))
    with pytest.raises(DataError, match="drops every caption"):
        data.load(folder, drop="all")


def test_the_lists_of_the_package_hold_no_text():
    files = sorted(lists.FOLDER.glob("*.csv"))
    assert files
    for path in files:
        rows = lists.read(*path.stem.split("-", 1))
        assert rows, path.name
        for row in rows:
            assert tuple(row) == lists.COLUMNS
            assert not re.search(r"\s", row["image"] + row["other"] + row["caption"])
            assert re.fullmatch(r"([0-9a-f]{16})?", row["digest"])
            assert bool(row["digest"]) == bool(row["caption"])
            assert re.fullmatch(
                r"(captions|mapping [ABC]|pixels|class|text| \+ )*", row["by"]
            )


@real("rsitmd/captions.jsonl", "rsicd/captions.jsonl", "ucm/captions.jsonl")
@pytest.mark.parametrize("name", SETS)
def test_every_list_fits_the_data(name):
    pairs = data.load(name)
    for each in lists.names(name):
        rows = lists.read(name, each)
        split = dict(zip(pairs.ids, pairs.split, strict=True))
        assert all(split[r["image"]] == r["split"] for r in rows), each
        images = {r["image"] for r in rows if not r["caption"]}
        count = sum(bool(r["caption"]) for r in rows)
        count += sum(pairs.ids[i] in images for i in pairs.gt)
        assert (~lists.keep(pairs, rows)).sum() == count, each


@real("rsitmd/rsitmd_to_rsicd.csv", "rsicd/captions.jsonl")
def test_no_known_leak_remains_between_rsitmd_and_rsicd():
    one = data.load("rsitmd", drop="leak-rsicd")
    two = data.load("rsicd", drop="leak-rsitmd")
    own, far = (dict(zip(p.ids, p.split, strict=True)) for p in (one, two))
    whole = (data.load("rsitmd").where("test"), data.load("rsicd").where("test"))
    tests = tuple(set(p.ids) for p in whole)
    with (ROOT / "rsitmd" / "rsitmd_to_rsicd.csv").open() as f:
        known = [(r["rsitmd_image"], r["rsicd_image"]) for r in csv.DictReader(f)]
    assert sum(i in tests[0] for i, _ in known) > 300
    for i, j in known:  # train on either, test on the other: nothing in common
        assert not (i in tests[0] and far.get(j) in ("train", "val"))
        assert not (j in tests[1] and own.get(i) == "train")


# The page


def test_ours_come_from_receipts_alone(tmp_path, monkeypatch):
    made = {
        "name": "backbone-ucm-rn", "command": "c", "seeds": [0, 1],
        "inputs": {"code": "c" * 64, "data": "d" * 64},
        "made": {"date": "2026-01-01", "hardware": "h"},
        "figures": {"runs": [
            {"seed": s, "mR": mR, "mR_interval": [mR - 1, mR + 1], "images": 210,
             **{f"{w}_r{k}": mR for w in ("i2t", "t2i") for k in (1, 5, 10)}}
            for s, mR in enumerate((40.0, 42.0))
        ]},
    }  # fmt: skip
    (tmp_path / "backbone-ucm-rn.json").write_text(json.dumps(made))
    monkeypatch.setattr(report, "shelf", lambda: tmp_path)
    [row] = results.ours("ucm")
    assert row["mR"] == 41 and row["spread"] == "40.0 to 42.0"
    assert row["note"].endswith("2 run(s)")
    table = results.beside("ucm")
    assert [r["mR"] for r in table] == sorted((r["mR"] for r in table), reverse=True)
    assert len(table) == 1 + len(published.rows("ucm", noise=0.0))
    assert results.origin("backbone-ucm-rn")["data"] == "dddddddd"
    assert results.origin("none")["command"] == "not run here"
    assert results.ours("rsicd") == [] and results.gaps("ucm") == []


def test_published_noise_is_a_line_over_five_rates():
    lines = results.noise_lines("rsitmd")
    assert set(lines) == {"RRSITR", "CUP"}
    assert all(list(line) == [0, 20, 40, 60, 80] for line in lines.values())
