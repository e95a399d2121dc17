"""The cache and the odd corners of the file layer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as st_save

from rsnb import cache, files
from rsnb.errors import FileCorruptError, ResourceError

pytestmark = pytest.mark.promise("P12")


def test_arrays_are_read_with_their_receipt(tmp_path):
    path = files.write_with_receipt(tmp_path / "a", st_save({"x": np.arange(3)}))
    assert cache.read_arrays(path)["x"].tolist() == [0, 1, 2]
    files.write_with_receipt(path, b"no arrays at all")
    with pytest.raises(FileCorruptError, match="holds no arrays"):
        cache.read_arrays(path)


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    monkeypatch.delenv("RSNB_CACHE")
    assert cache.cache_dir() == Path.home() / ".cache" / "rsnb"


def test_a_cache_entry_is_named_by_its_key(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    for value in (1, 2):
        got = cache.cached_arrays("k", {"a": value}, lambda v=value: {"x": np.ones(v)})
        assert len(got["x"]) == value
    found = sorted((tmp_path / "k").glob("*.safetensors"))
    assert len(found) == 2 and {len(p.stem) for p in found} == {32}
    assert {files.checked_receipt(p)["key"]["a"] for p in found} == {1, 2}


def test_a_corrupt_entry_is_kept_aside_under_another_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))

    def make():
        return {"x": np.ones(2)}

    cache.cached_arrays("k", {}, make)
    (path,) = (tmp_path / "k").glob("*.safetensors")
    path.write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"cache entry moved to .*\.corrupt"):
        cache.cached_arrays("k", {}, make)
    assert path.with_suffix(".corrupt").read_bytes() == b"broken"
    assert cache.read_arrays(path)["x"].tolist() == [1, 1]


@pytest.mark.parametrize("receipt", [True, False])
def test_a_corrupt_entry_leaves_no_receipt_behind(tmp_path, monkeypatch, receipt):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    cache.cached_arrays("k", {}, lambda: {"x": np.ones(2)})
    (path,) = (tmp_path / "k").glob("*.safetensors")
    path.write_bytes(b"broken")
    if not receipt:
        files.receipt_path(path).unlink()

    def stopped():
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="moved"), pytest.raises(KeyboardInterrupt):
        cache.cached_arrays("k", {}, stopped)
    assert [p.name for p in (tmp_path / "k").iterdir()] == [f"{path.stem}.corrupt"]


def test_the_warning_names_the_caller(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    cache.cached_arrays("k", {}, lambda: {"x": np.ones(2)})
    (path,) = (tmp_path / "k").glob("*.safetensors")
    path.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="cache entry") as said:
        cache.cached_arrays("k", {}, lambda: {"x": np.ones(2)})
    assert said[0].filename == __file__


def test_without_file_locks_a_file_is_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    path = files.write_with_receipt(tmp_path / "a", b"x")
    assert files.read_verified(path) == b"x"


def test_what_cannot_be_read_is_said(tmp_path):
    for given in (None, "0" * 64):
        with pytest.raises(FileCorruptError, match=r"cannot be read: .*Restore it"):
            files.read_verified(tmp_path, given)  # a folder
    with pytest.raises(FileCorruptError, match="cannot be read: No such file"):
        files.checked_receipt(tmp_path / "none")
    path = files.write_bytes(tmp_path / "a", b"x")
    with pytest.raises(FileCorruptError, match="expected 000000000000…"):
        files.read_verified(path, "0" * 64)
    assert files.read_verified(path, files.sha256_bytes(b"x")) == b"x"
    with pytest.raises(ResourceError, match="cannot be written"):
        files.write_bytes(path / "below", b"x")  # a file is no folder


def test_a_folder_has_a_digest_of_names_and_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"1")
    first = files.tree_digest(tmp_path)
    for skipped in ("__pycache__", "weights"):
        (tmp_path / "a" / skipped).mkdir()
        (tmp_path / "a" / skipped / "g").write_bytes(b"2")
    assert files.tree_digest(tmp_path, "weights") == first
    assert files.tree_digest(tmp_path) != first
    (tmp_path / "a" / "f").rename(tmp_path / "a" / "h")
    assert files.tree_digest(tmp_path, "weights") != first


def test_a_fingerprint_tells_kinds_apart():
    of = files.fingerprint
    parts = [b"a", "a", ["a"], np.frombuffer(b"a", np.uint8), np.frombuffer(b"a", "i1"),
             Path("b"), 1, 1.5, None]  # fmt: skip
    assert len({of(p) for p in parts}) == len(parts)
    assert of("a", "b") != of("b", "a") and of() != of("")
    grid = np.arange(6).reshape(2, 3)
    assert of(grid.T) == of(np.ascontiguousarray(grid.T)) != of(grid)
    assert len(of()) == 64


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_bytes(b"abc") == files.sha256_file(tmp_path / "a") == want


def test_json_is_sorted_indented_and_ends_with_a_line(tmp_path):
    path = files.write_json(tmp_path / "new" / "a.json", {"b": 1, "a": [1]})
    assert path.read_text() == '{\n "a": [\n  1\n ],\n "b": 1\n}\n'
    facts = {"sha256": files.sha256_bytes(b"12"), "bytes": 2, "z": 3}
    made = files.write_with_receipt(tmp_path / "x", b"12", z=3)
    assert files.checked_receipt(made) == facts
    receipt = files.receipt_path(made)
    assert files.read_json(receipt) == {**facts, "receipt": "0bb7a7236824f3eb"}
    receipt.write_text(receipt.read_text().replace('"z": 3', '"z": 2'))
    with pytest.raises(FileCorruptError, match="does not match its receipt"):
        files.checked_receipt(made)
