"""kill -9 at any point, or a second writer, leaves the old content or the new.

Each has a twin that takes the mechanism away and shows that the check then fails.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

from rsnb import cache, captionfile, files
from rsnb.errors import ResourceError
from writers import (
    BYTES,
    CACHED,
    DATA,
    LINES,
    PAIRED,
    RECEIPT,
    RUN,
    WRITERS,
    arrays,
    cache_in,
    check_kills,
    check_lines,
    check_two_writers,
    ended,
    forked,
    line,
)

pytestmark = [
    pytest.mark.promise("P13"),
    pytest.mark.filterwarnings("error:cache entry"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
FAILED = (AssertionError, pytest.fail.Exception)


def by_name(writer):
    return writer.name


@pytest.fixture
def folder():
    """Return a folder in memory where there is one: kill -9 loses no page of a file."""
    memory = Path("/dev/shm")  # noqa: S108  made by mkdtemp, for us alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as top:
        (folder := Path(top, "in")).mkdir()
        yield folder


@pytest.mark.parametrize("writer", WRITERS, ids=by_name)
def test_a_killed_writer_leaves_old_or_new(writer, folder, figure):
    figure(f"kills survived, {writer.name}", check_kills(writer, folder, 20), of=20)


@pytest.mark.trust
@pytest.mark.parametrize("writer", WRITERS, ids=by_name)
def test_many_kills(writer, folder, figure):
    done = check_kills(writer, folder, 200, seed=1)
    figure(f"kills survived in the long run, {writer.name}", done, of=200)


@pytest.mark.parametrize("writer", [BYTES, *PAIRED[:2]], ids=by_name)
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.trust)])
def test_a_kill_before_a_line_leaves_old_or_new(writer, folder, step, figure):
    points = check_lines(writer, folder, step)
    assert points >= 3
    figure(f"kills survived, before lines of {writer.name}", points, of=points)


@pytest.mark.parametrize("writer", [BYTES, *PAIRED], ids=by_name)
def test_two_writers_of_one_name_never_mix(writer, folder, figure):
    check_two_writers(writer, folder)
    figure(f"two writers, {writer.name}", "one or the other")


def test_two_writers_of_one_cache_entry(tmp_path):
    """Both compute; whichever is stored is whole."""
    with cache_in(tmp_path):
        for n in range(10):
            key = {"n": n}

            def make(key=key):
                got = cache.cached_arrays("c", key, lambda: arrays(1))["x"]
                assert (got == 1).all()

            assert [ended(p) for p in [forked(make), forked(make)]] == [0, 0]
            make()


def test_a_second_process_may_not_append(tmp_path):
    def second():
        with pytest.raises(ResourceError, match="another process"):
            captionfile.CaptionFile(tmp_path / "a", RUN)

    with captionfile.CaptionFile(tmp_path / "a", RUN) as file:
        file.append(line(0))
        assert ended(forked(second)) == 0


# Each mechanism, taken away


def torn_write(path, data):
    """What a plain `open` does, in the blocks of a large file."""
    with open(path, "wb", buffering=0) as f:  # noqa: PTH123
        for at in range(0, len(data), 500):
            f.write(data[at : at + 500])
    return path


def unpaired(path, data, /, **facts):
    """Two atomic writes, the receipt after the data, as it was once."""
    files.write_bytes(path, data)
    own = {"sha256": files.sha256_bytes(data), "bytes": len(data)}
    files.write_json(files.receipt_path(path), {**facts, **own})
    return path


@pytest.mark.promise("P13", off=True)
def test_off_rename(folder, monkeypatch):
    monkeypatch.setattr(files, "write_bytes", torn_write)
    with pytest.raises((*FAILED, ValueError)):  # no such content
        check_kills(BYTES, folder, 60)


@pytest.mark.promise("P13", off=True)
def test_off_pairing(folder, monkeypatch):
    monkeypatch.setattr(files, "write_with_receipt", unpaired)
    with pytest.raises((*FAILED, files.FileCorruptError)):
        check_lines(RECEIPT, folder)


@pytest.mark.promise("P13", off=True)
def test_off_pairing_beside_another(folder, monkeypatch):
    """A second writer that comes between data and receipt."""
    write_json = files.write_json

    def late(path, value):
        monkeypatch.setattr(files, "write_json", write_json)
        unpaired(folder / "a", DATA[1], which=1)
        return write_json(path, value)

    monkeypatch.setattr(files, "write_json", late)
    unpaired(folder / "a", DATA[0], which=0)
    with pytest.raises(files.FileCorruptError):
        RECEIPT.get(folder, "a")


def check_code(folder, monkeypatch):
    """Change the module that makes an entry; what it made before is not found."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    text = "import numpy as np\ndef make():\n    return {'x': np.full(2, 0)}\n"
    for value in (0, 1):
        (folder / "maker.py").write_text(text.replace("0)", f"{value})"))
        monkeypatch.delitem(sys.modules, "maker", raising=False)
        make = importlib.import_module("maker").make
        with cache_in(folder):
            assert (cache.cached_arrays("c", {}, make)["x"] == value).all()


@pytest.mark.promise("P13")
def test_new_code_finds_nothing_that_old_code_made(folder, monkeypatch):
    check_code(folder, monkeypatch)


@pytest.mark.promise("P13", off=True)
def test_off_the_code_in_the_key(folder, monkeypatch):
    monkeypatch.setattr(cache, "import_module", lambda name: cache)
    with pytest.raises(FAILED):
        check_code(folder, monkeypatch)


@pytest.mark.promise("P13", off=True)
def test_off_one_lock_a_file(folder, monkeypatch):
    """Without the lock, the second process is let in."""
    import fcntl

    def second():
        captionfile.CaptionFile(folder / "a", RUN).close()

    with captionfile.CaptionFile(folder / "a", RUN):
        assert ended(forked(second)) == 1
        monkeypatch.setattr(fcntl, "flock", lambda *args: None)
        assert ended(forked(second)) == 0


@pytest.mark.promise("P13", off=True)
def test_off_torn_lines_are_dropped(folder, monkeypatch):
    """A last line that was cut off is found because a reader looks for it."""
    LINES.put(folder, "a", 0)
    whole = (folder / "a").stat().st_size
    LINES.put(folder, "a", 1)
    os.truncate(folder / "a", whole + 900)
    assert LINES.get(folder, "a") == 0
    monkeypatch.setattr(captionfile, "_parsed", lambda path, n, text: {"run": 0})
    with pytest.raises(files.FileCorruptError):
        LINES.get(folder, "a")


@pytest.mark.promise("P13", off=True)
def test_off_the_check_of_cache_entries(folder, monkeypatch):
    CACHED.put(folder, "a", 0)
    (entry,) = (folder / "c").glob("*.safetensors")
    entry.write_bytes(cache.st_save(arrays(1)))
    monkeypatch.setattr(cache, "read_verified", lambda path: path.read_bytes())
    assert CACHED.get(folder, "a") == 1  # another's content, without a word
