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
