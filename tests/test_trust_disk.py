"""Full disks, read-only folders, odd names: an error that says so, nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from rsnb import shards
from rsnb.cache import cached_arrays
from rsnb.errors import ResourceError
from writers import (
    BYTES,
    INDEX,
    LINES,
    RECEIPT,
    STATE,
    WRITERS,
    arrays,
    cache_in,
    part,
)  # fmt: skip

# Where no writer can write


@contextmanager
def full(folder):
    """Mount a small disk and fill it; only root can."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as f:
        try:
            while True:
                f.write(b"0" * 4096)
        except OSError:
            pass


DIRECT = [BYTES, RECEIPT, STATE, INDEX, LINES]


def refuses(writer, folder):
    with pytest.raises(ResourceError, match="cannot be written"):
        writer.put(folder, "a", 1)
    with pytest.raises(ResourceError, match="cannot be written"), cache_in(folder):
        cached_arrays("c", {}, lambda: arrays(1))
    with pytest.raises(ResourceError, match="cannot be written"):
        shards.write_part(folder / "s", 0, part(0), {})


def by_name(writer):
    return writer.name


@pytest.mark.promise("P13")
@pytest.mark.parametrize("writer", DIRECT, ids=by_name)
def test_full_disk(writer, tmp_path, figure):
    (folder := tmp_path / "disk" / "in").parent.mkdir()
    with full(folder.parent):
        folder.mkdir()
        for i in (1, 0):  # what either content needs beside itself is there
            writer.put(folder, "a", i)
        there = sorted(p.name for p in folder.rglob("*") if p.is_file())
        old = writer.get(folder, "a")
        fill(folder.parent / "filler")
        refuses(writer, folder)
        assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == there
        (folder.parent / "filler").unlink()
        assert writer.get(folder, "a") == old
        writer.put(folder, "a", 1)
        assert writer.get(folder, "a") == 1
    figure(f"full disk, {writer.name}", "the old content stays")


@pytest.mark.promise("P13")
@pytest.mark.parametrize("writer", DIRECT, ids=by_name)
def test_no_room_for_the_file(writer, tmp_path):
    """The same by a limit on file size, which needs no rights."""
    (folder := tmp_path / "in").mkdir()
    for i in (1, 0):
        writer.put(folder, "a", i)
    old = writer.get(folder, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        refuses(writer, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert writer.get(folder, "a") == old


@contextmanager
def powerless(folder):
    """Let nobody write into a folder; root has to become somebody else for that."""
    user = os.geteuid()
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.promise("P13")
@pytest.mark.parametrize("writer", DIRECT, ids=by_name)
def test_read_only_folder(writer, figure):
    """It can be read, and a writer says that it cannot be written."""
    top = Path(tempfile.mkdtemp())  # pytest's own is closed to others
    try:
        top.chmod(0o755)
        (folder := top / "in").mkdir()
        for i in (1, 0):
            writer.put(folder, "a", i)
        old = writer.get(folder, "a")
        with powerless(top):
            assert writer.get(folder, "a") == old
            refuses(writer, folder)
        assert writer.get(folder, "a") == old
    finally:
        shutil.rmtree(top)


NAMES = ["ü 漢字.bin", "-rf", "two\nlines", "a'b\"c;$(d)", "x" * 200, "..a", "%s{0}"]


@pytest.mark.promise("P13")
@pytest.mark.parametrize("writer", WRITERS, ids=by_name)
def test_odd_names(writer, tmp_path, figure):
    (folder := tmp_path / "ordner ü").mkdir()
    for name in NAMES:
        writer.put(folder, name, 1)
        writer.get(folder, name)
    figure(f"odd names, {writer.name}", len(NAMES), of=len(NAMES))


@pytest.mark.promise("P13")
def test_a_name_that_is_too_long_leaves_nothing(tmp_path):
    for length in (251, 255, 300):  # its receipt, or it, cannot have such a name
        with pytest.raises(ResourceError, match="cannot be written"):
            RECEIPT.put(tmp_path, "x" * length, 0)
    assert list(tmp_path.iterdir()) == []
