"""Parts, manifest, resume; every damage to a folder is named."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from rsnb import shards
from rsnb.errors import DataError, FileCorruptError

IDENTITY = {"model": "toy", "seeds": [1, 2]}
ROWS = (5, 3, 4)


def make(i):
    rng = np.random.default_rng(i)
    emb = rng.standard_normal((ROWS[i], 6)).astype(np.float32)
    return {"emb": emb, "text": [f"é {i} {j}\n" * j for j in range(ROWS[i])]}


@pytest.fixture
def folder(tmp_path):
    shards.write(tmp_path / "s", 3, make, IDENTITY)
    return tmp_path / "s"


def test_what_is_written_is_read(folder):
    found = shards.Shards(folder)
    assert (len(found), found.dim, found.starts) == (12, 6, [0, 5, 8, 12])
    assert found.identity == IDENTITY
    for i, (start, part) in enumerate(found):
        assert start == found.starts[i]
        assert (part["emb"] == make(i)["emb"]).all()
        assert part["text"] == make(i)["text"]
        assert (found.vectors(i) == make(i)["emb"]).all()
    whole = np.concatenate([make(i)["emb"] for i in range(3)])
    rows = np.array([0, 4, 5, 11])
    assert (found.take(rows) == whole[rows]).all()
    found.verify()


@pytest.mark.promise("P13")
def test_only_what_is_missing_or_damaged_is_made_again(folder):
    (folder / "manifest.json").unlink()
    (folder / "part-00000.safetensors.json").unlink()
    part = folder / "part-00002.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    made = []
    shards.write(folder, 3, lambda i: made.append(i) or make(i), IDENTITY)
    assert made == [0, 2]
    shards.Shards(folder).verify()


@pytest.mark.promise("P13")
def test_a_killed_writer_loses_no_finished_part(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from test_shards import IDENTITY, make
from rsnb import shards
def killed(i):
    if i == 2:
        os.kill(os.getpid(), 9)
    return make(i)
shards.write({str(tmp_path)!r}, 3, killed, IDENTITY)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with pytest.raises(
        FileCorruptError, match=r"manifest\.json cannot be read: No such file"
    ):
        shards.Shards(tmp_path)
    made = []
    shards.write(tmp_path, 3, lambda i: made.append(i) or make(i), IDENTITY)
    assert made == [2]


@pytest.mark.promise("P13")
def test_another_identity_is_refused(folder):
    other = {**IDENTITY, "model": "else"}
    with pytest.raises(DataError, match="model is 'toy' there, 'else' now"):
        shards.write_part(folder, 3, make(0), other)
    with pytest.raises(DataError, match="holds something else"):
        shards.has_part(folder, 0, other)


def swap(folder):
    a, b, c = (folder / f"part-0000{i}.safetensors" for i in (0, 1, 9))
    for end in ("", ".json"):
        paths = [p.with_name(p.name + end) for p in (a, b, c)]
        paths[0].rename(paths[2])
        paths[1].rename(paths[0])
        paths[2].rename(paths[1])


def flip(folder):
    path = folder / "part-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(folder):
    path = folder / "part-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def lose(folder):
    (folder / "part-00001.safetensors").unlink()


def edit(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"rows": 12', '"rows": 13'))


@pytest.mark.parametrize("damage", [swap, flip, cut, lose, edit])
@pytest.mark.promise("P12")
def test_damage_is_found(folder, damage):
    damage(folder)
    with pytest.raises(FileCorruptError):
        shards.Shards(folder).verify()
    with pytest.raises(FileCorruptError):
        list(shards.Shards(folder))
    if damage is not edit:
        (folder / "manifest.json").unlink()
        with pytest.raises(FileCorruptError):
            shards.finish(folder, 3, IDENTITY)


@pytest.mark.promise("P12")
def test_a_part_that_changes_while_open_is_read_again(folder):
    found = shards.Shards(folder)
    found.verify()
    cut(folder)
    with pytest.raises(FileCorruptError, match="part-00001"):
        found.vectors(1)


@pytest.mark.promise("P12")
def test_a_manifest_that_lies_is_refused(folder):
    from rsnb.files import write_with_receipt

    for text in (b"[]", b"{}", b'{"rows": 1, "parts": [], "columns": {}}', b"\xff"):
        write_with_receipt(folder / "manifest.json", text)
        with pytest.raises(FileCorruptError, match="no manifest"):
            shards.Shards(folder)


def test_columns_must_agree(tmp_path):
    with pytest.raises(DataError, match="want one length"):
        shards.write_part(tmp_path, 0, {**make(0), "id": ["a"]}, IDENTITY)
    with pytest.raises(DataError, match="want one length"):
        shards.write_part(tmp_path, 0, {"id": []}, IDENTITY)
    shards.write_part(tmp_path, 0, make(0), IDENTITY)
    shards.write_part(tmp_path, 1, {"emb": make(1)["emb"]}, IDENTITY)
    with pytest.raises(DataError, match="same columns"):
        shards.finish(tmp_path, 2, IDENTITY)
    shutil.rmtree(tmp_path)
