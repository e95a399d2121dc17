"""Every artefact is checked when it is read; every writer keeps what was there.

Six kinds of artefact, nine damages each: an error, or the artefact made anew.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict, astuple, replace

import numpy as np
import pytest

from rsnb import backbones, captionfile, files, metrics, ondisk, shards
from rsnb.embed import embed
from rsnb.errors import FileCorruptError, RsnbError
from rsnb.localindex import LocalCode
from rsnb.recall import Recall
from rsnb.records import Record
from toy import squares, tiny
from writers import (
    LINES,
    RUN,
    cache_in,
    gallery,
    line,
)  # fmt: skip

FAILED = (AssertionError, pytest.fail.Exception)


class Weights:
    """A backbone."""

    def make(self, folder, i):
        path, made = folder / "w.safetensors", tiny()
        with backbones.torch.no_grad():
            made.model.logit_scale.add_(i)
        backbones.save(path, made)
        return path

    def load(self, path):
        state = backbones.load(str(path)).model.state_dict()
        return [v.numpy() for _, v in sorted(state.items())]


class Embedded:
    """Embeddings in the cache."""

    def make(self, folder, i):
        with cache_in(folder):
            self.load(folder, i)
        (path,) = (folder / "embed").glob("*.safetensors")
        return path

    def load(self, path, i=0):
        folder, pairs = path if path.is_dir() else path.parents[1], squares(6)
        turned = replace(pairs, captions=pairs.captions[i:] + pairs.captions[:i])
        with cache_in(folder):
            got = embed(replace(tiny(), digest="toy"), turned)
        return [got.img, got.txt]


class Index:
    """A FAISS index in a file."""

    def make(self, folder, i):
        made = shards.write(folder / "s", 1, lambda _: {"emb": gallery(i)}, {"i": i})
        return ondisk.build_index(made, folder / "x.faiss", "Flat")

    def load(self, path):
        return list(ondisk.DiskSearcher(path).search(gallery(0), 3))


class Captions:
    """Captions in shards."""

    def make(self, folder, i):
        with captionfile.CaptionFile(folder / "a.jsonl", RUN) as file:
            for k in range(3):
                file.append(Record(f"i/{k}", (), "unparsed", "no JSON", f"said {i}"))
        lines = (folder / "a.jsonl").read_text().splitlines()[1:]
        made = shards.write(folder / "c", 1, lambda _: {"line": lines},
                            {"run": asdict(RUN)})  # fmt: skip
        return made.folder / "part-00000.safetensors"

    def load(self, path):
        return captionfile.read(path.parent)[1]


class Results:
    """What an evaluation found, query by query."""

    def make(self, folder, i):
        sim = np.random.default_rng(i).standard_normal((20, 20))
        return metrics.evaluate(sim, np.arange(20)).save(folder / "r.safetensors")

    def load(self, path):
        return list(astuple(Recall.load(path)))


class Adapter:
    """Fitted maps beside a backbone."""

    def make(self, folder, i):
        maps = np.random.default_rng(i).standard_normal((2, 10, 4)).astype(np.float32)
        code = LocalCode(maps[0], maps[0, 0], maps[1], maps[1, 0])
        return code.save(folder / "m.safetensors")

    def load(self, path):
        return list(astuple(LocalCode.load(path)))


def cut(share):
    return lambda data, other: data[: int(len(data) * share)]


def flip(share):
    def damage(data, other):
        at = int((len(data) - 1) * share)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return damage


KINDS = [Weights, Embedded, Index, Captions, Results, Adapter]
DAMAGES = {
    **{f"cut at {s:.0%}": cut(s) for s in (0, 0.01, 0.5, 0.99)},
    **{f"flip at {s:.0%}": flip(s) for s in (0, 0.6, 1)},
    "append": lambda data, other: data + b"\0\0",
    "swap": lambda data, other: other,
}
RECEIPTS = [b"", b"{", b"[]", b"{}", b'"a"', b"null", b'{"sha256": 1}']


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


def check_damages(kind, tmp_path, receipts=()):
    """Damage the artefact in each way; return how often that was noticed."""
    one, two, artefact = tmp_path / "one", tmp_path / "two", kind()
    one.mkdir()
    two.mkdir()
    path, other = artefact.make(one, 0), artefact.make(two, 1).read_bytes()
    want, noticed = artefact.load(path), 0
    shutil.copytree(one, tmp_path / "kept")
    at = files.receipt_path(path) if receipts else path
    data = at.read_bytes()
    every = [r for r in receipts] or [d(data, other) for d in DAMAGES.values()]
    for bad in every:
        assert bad != data
        at.write_bytes(bad)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                got = artefact.load(path)
            except RsnbError:
                noticed += 1
            else:  # made anew, with a word; or the receipt is not what it is read by
                assert same(got, want), f"{kind.__name__}: other content was returned"
                anew = any("moved to" in str(w.message) for w in said)
                noticed += anew or bool(receipts)
        shutil.rmtree(one)
        shutil.copytree(tmp_path / "kept", one)
    assert noticed == len(every)
    return noticed


@pytest.mark.promise("P12")
def test_corruptions(tmp_path, figure):
    found = 0
    for kind in KINDS:
        (folder := tmp_path / kind.__name__).mkdir()
        found += check_damages(kind, folder)
    figure("corruptions detected", found, of=54)
    assert found == 54


@pytest.mark.promise("P12")
def test_damaged_receipts(tmp_path, figure):
    found = 0
    for kind in KINDS:
        (folder := tmp_path / kind.__name__).mkdir()
        found += check_damages(kind, folder, RECEIPTS)
    figure("damaged receipts, no wrong content", found, of=len(KINDS) * len(RECEIPTS))


@pytest.mark.promise("P12", off=True)
def test_off_the_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "sha256_bytes", lambda data: "0" * 64)
    with pytest.raises((*FAILED, Exception)):
        check_damages(Results, tmp_path)


def check_flips(path, figure=None):
    """Flip bits of a caption file; what is read is as it was, missing or refused."""
    with captionfile.CaptionFile(path, RUN) as file:
        for k in range(3):
            file.append(replace(line(k), raw=f"a lake beside {k} roads"))
        known = {r.image: r for r in file.records()}
    data, refused = path.read_bytes(), 0
    rng = np.random.default_rng(0)
    for at in rng.choice(len(data), 200, replace=False):
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(7))
        path.write_bytes(bad)
        try:
            run, records = captionfile.read(path)
        except RsnbError:
            refused += 1
        else:
            assert run == RUN and len(records) >= 1
            assert all(known.get(r.image) == r for r in records)
    return refused


@pytest.mark.promise("P12")
def test_no_flipped_bit_of_a_caption_file_passes(tmp_path, figure):
    figure("bits flipped in a caption file", 200, of=200)
    assert check_flips(tmp_path / "a") > 100


@pytest.mark.promise("P12", off=True)
def test_off_the_sum_of_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(captionfile, "_sum", lambda row: "")
    with pytest.raises(AssertionError):
        check_flips(tmp_path / "a")


@pytest.mark.promise("P12")
def test_caption_lines_without_a_sum_are_read(tmp_path):
    import re

    path = tmp_path / "a"
    LINES.put(tmp_path, "a", 0)
    path.write_bytes(re.sub(rb', "sum": "[0-9a-f]{16}"', b"", path.read_bytes()))
    assert b"sum" not in path.read_bytes()
    LINES.put(tmp_path, "a", 1)
    assert LINES.get(tmp_path, "a") == 1


@pytest.mark.promise("P12")
def test_an_empty_file_is_content_or_refused(tmp_path):
    path = files.write_with_receipt(tmp_path / "a", b"")
    assert files.read_verified(path) == b""
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(FileCorruptError, match="empty"):
        captionfile.read(tmp_path / "b.jsonl")
