"""Files are whole or absent, and a changed byte is always noticed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import save as st_save

from rsnb import cache, files
from rsnb.errors import FileCorruptError, ResourceError


def test_write_then_read(tmp_path):
    path = files.write_with_receipt(tmp_path / "ü.bin", b"abc", why="test")
    assert files.read_verified(path) == b"abc"
    assert files.read_json(files.receipt_path(path))["why"] == "test"


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_truncation_is_noticed(tmp_path, share):
    path = files.write_with_receipt(tmp_path / "a", os.urandom(500))
    path.write_bytes(path.read_bytes()[: int(500 * share)])
    with pytest.raises(FileCorruptError, match="sha256"):
        files.read_verified(path)


@pytest.mark.parametrize("at", [0, 77, 255, 499])
def test_one_flipped_bit_is_noticed(tmp_path, at):
    path = files.write_with_receipt(tmp_path / "a", os.urandom(500))
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileCorruptError, match="sha256"):
        files.read_verified(path)


def test_missing_file_and_receipt_say_what_to_do(tmp_path):
    with pytest.raises(FileCorruptError, match="Restore"):
        files.read_verified(tmp_path / "none")
    (tmp_path / "bare").write_bytes(b"x")
    with pytest.raises(FileCorruptError, match="no receipt"):
        files.read_verified(tmp_path / "bare")


def test_failed_write_leaves_old_content_and_no_litter(tmp_path, monkeypatch):
    path = files.write_bytes(tmp_path / "a", b"old")

    def full(fd):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk full"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _rewrite(path):
    while True:
        files.write_bytes(path, os.urandom(1) * 300_000)


def test_kill_during_write_never_leaves_a_part(tmp_path):
    path = files.write_bytes(tmp_path / "a", b"0" * 300_000)
    context = multiprocessing.get_context("spawn")
    for delay in (0.0, 0.003, 0.007):
        process = context.Process(target=_rewrite, args=(path,))
        process.start()
        while path.read_bytes()[:1] == b"0" and process.is_alive():
            time.sleep(0.01)  # the first write proves that the loop runs
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        data = path.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1


def test_json_refuses_nan_and_broken_text(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(FileCorruptError, match="not valid JSON"):
        files.read_json(tmp_path / "b.json")


def test_fingerprint_sees_content_only():
    a = np.arange(6)
    assert files.fingerprint(a) == files.fingerprint(a.copy())
    assert files.fingerprint(a) != files.fingerprint(a.reshape(2, 3))
    assert files.fingerprint("a", "b") != files.fingerprint("ab")
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1})


def test_cache_returns_stored_arrays_and_remakes_corrupt_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    calls = []

    def make():
        calls.append(1)
        return {"x": np.arange(4.0)}

    for _ in range(2):
        got = cache.cached_arrays("kind", {"a": 1}, make)
        np.testing.assert_array_equal(got["x"], np.arange(4.0))
    assert len(calls) == 1
    entry = next((tmp_path / "kind").glob("*.safetensors"))
    entry.write_bytes(st_save({"x": np.zeros(4)}))  # valid file, other content
    with pytest.warns(UserWarning, match="moved to"):
        got = cache.cached_arrays("kind", {"a": 1}, make)
    np.testing.assert_array_equal(got["x"], np.arange(4.0))
    assert len(calls) == 2
    assert list((tmp_path / "kind").glob("*.corrupt"))


def test_a_file_has_the_rights_of_any_other(tmp_path):
    (other := tmp_path / "other").write_bytes(b"")
    path = files.write_bytes(tmp_path / "a", b"")
    assert path.stat().st_mode == other.stat().st_mode
    before = os.umask(0o077)
    try:
        assert files.write_bytes(path, b"").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert os.umask(before) == before  # writing leaves it as it was


def test_digests_are_the_same_for_good_and_hold_the_content():
    assert files.fingerprint(b"ab") != files.fingerprint(b"ac")
    zeros, ones = np.zeros(3), np.ones(3)
    assert files.fingerprint(zeros) != files.fingerprint(ones)
    assert files.fingerprint(zeros) != files.fingerprint(zeros.astype(np.float32))
    found = files.fingerprint({"b": 1, "a": [2]}, np.arange(3, dtype=np.int64), b"ab")
    assert found.startswith("4d52840ba7a019c9c4fe0f9da5d2a8ef")


def test_a_file_is_made_beside_its_place_under_a_hidden_name(tmp_path, monkeypatch):
    seen = []
    sync = os.fsync

    def look(fd):
        seen.extend(p.name for p in deep.parent.iterdir())
        sync(fd)

    monkeypatch.setattr(os, "fsync", look)
    deep = tmp_path / "a" / "b" / "c"
    files.write_bytes(deep, b"x")
    assert len(seen) == 1 and seen[0].startswith(".draft-")
    assert [p.name for p in deep.parent.iterdir()] == ["c"]


def test_messages_name_the_file_and_what_to_do(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    under = tmp_path / "file" / "x"
    for write in (files.write_bytes, files.write_with_receipt):
        with pytest.raises(ResourceError, match=r"/file/x cannot be written: .+\. Wh"):
            write(under, b"")
    none = tmp_path / "none"
    for read in (files.read_verified, files.checked_receipt):
        with pytest.raises(FileCorruptError, match=r"/none cannot be read: No such"):
            read(none)
    with pytest.raises(FileCorruptError, match=r"/none cannot be read: No such"):
        files.read_verified(none, "0" * 64)
    with pytest.raises(
        FileCorruptError, match=r"sha256 is [0-9a-f]{12}…, expected 0{12}…\. It"
    ):
        files.read_verified(tmp_path / "file", "0" * 64)
    with pytest.raises(FileCorruptError, match=r"/file has no receipt beside it\. Re"):
        files.checked_receipt(tmp_path / "file")
    path = files.write_with_receipt(tmp_path / "a", b"x")
    path.write_bytes(b"y")
    with pytest.raises(FileCorruptError, match=r"/a does not match its receipt \(sha2"):
        files.checked_receipt(path)


def folder(at, text):
    at.mkdir()
    (at / "x").write_text(text)
    return at, {"sha256": files.tree_digest(at), "text": text}


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = tmp_path / "db"
    for text in ("old", "new"):
        draft, facts = folder(tmp_path / "draft", text)
        assert files.install(path, draft, facts) == path
        assert files.checked_receipt(path, files.tree_digest) == facts
        assert (path / "x").read_text() == text
        assert {p.name for p in tmp_path.iterdir()} == {"db", "db.json"}


def test_a_failed_install_leaves_no_draft(tmp_path):
    draft, facts = folder(tmp_path / "draft", "a")
    with pytest.raises(TypeError):
        files.install(tmp_path / "db", draft, {**facts, "no": {1, 2}})
    (draft := tmp_path / "file").write_bytes(b"")
    with pytest.raises(TypeError):
        files.install(tmp_path / "a", draft, {"sha256": "0" * 64, "no": {1, 2}})
    with pytest.raises(ResourceError, match=r"/gone/a cannot be written"):
        files.install(tmp_path / "gone" / "a", tmp_path / "b", {"sha256": "0" * 64})
    assert not list(tmp_path.iterdir())


def test_a_receipt_waits_under_the_digest_of_its_file(tmp_path):
    """A writer that dies between data and receipt leaves a pair all the same."""
    path = files.write_with_receipt(tmp_path / "a", b"old", which=1)
    old = files.receipt_path(path).read_bytes()
    files.write_with_receipt(path, b"new", which=2)
    new = files.receipt_path(path)
    waiting = files._waiting(path, files.sha256_bytes(b"new"))
    assert len(waiting.name) == 39
    new.replace(waiting)
    for at_place in (old, None):  # the old receipt, or none yet
        if at_place:
            new.write_bytes(at_place)
        else:
            new.unlink()
        assert files.read_with_receipt(path)[1]["which"] == 2
    files.write_with_receipt(path, b"newer", which=3)
    assert files.read_with_receipt(path) == (b"newer", files.checked_receipt(path))
    assert {p.name for p in tmp_path.iterdir()} == {"a", "a.json"}


def test_a_name_that_is_not_unicode(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff")
    files.write_with_receipt(path, b"x")
    assert files.read_verified(path) == b"x"
