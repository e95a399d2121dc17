"""Archives, images and manifests from strangers: refused by type, nothing written."""

from __future__ import annotations

import gzip
import json
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import fixtures_data as fx
from hostile_files import CASES, MALFORMED
from rsnb import images, stores
from rsnb.data import load
from rsnb.errors import DataProblems, RsnbError

pytestmark = pytest.mark.promise("P15")
MOST = 300_000_000  # bytes of memory that one refusal may take
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "os.chmod"}
seen: list[SimpleNamespace] = []  # those that watch now


def heard(event, args):
    """Note what is opened to be written; an audit hook, so it stays."""
    if not seen:
        return
    if event == "open":
        path, mode, flags = args
        writes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        if writes and "__pycache__" not in str(path):
            seen[-1].written.append(str(path))
    elif event in WRITES and "__pycache__" not in str(args):
        seen[-1].written.append(f"{event} {args}")


sys.addaudithook(heard)


def memory(name: str) -> int:
    """Return a line of Linux's account of this process, in bytes; 0 elsewhere."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else ()
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(name)), 0)


@contextmanager
def watched():
    """Yield what is written meanwhile, and by how much memory grew at most."""
    found = SimpleNamespace(written=[], grown=0)
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    before = memory("VmRSS:")
    seen.append(found)
    try:
        yield found
    finally:
        seen.pop()
        found.grown = memory("VmHWM:") - before


def attempt(root: Path, **how) -> None:
    pairs = load(root, **how)
    for i in range(len(pairs)):
        pairs.image(i)


def check_refused(make, root: Path) -> None:
    """Load and read all images of what `make` makes: a typed error and no trace."""
    root.mkdir(parents=True)
    make(root)
    before = sorted(root.parent.rglob("*"))
    with watched() as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RsnbError):
            attempt(root)
        try:
            attempt(root, lenient=True)
        except RsnbError:
            pass
    assert not found.written
    assert sorted(root.parent.rglob("*")) == before
    assert found.grown < MOST, f"{found.grown:,} bytes"


def all_refused(cases, tmp_path: Path, check=check_refused) -> dict[str, str]:
    """Return what was not refused as it should be, with the reason."""
    missed = {}
    for k, (name, make) in enumerate(cases.items()):
        try:
            check(make, tmp_path / str(k) / "data")
        except (Exception, pytest.fail.Exception) as e:
            missed[name] = f"{type(e).__name__}: {e}"[:200]
    return missed


def test_every_hostile_archive_and_image_is_refused(tmp_path, figure):
    missed = all_refused(CASES, tmp_path)
    n = len(CASES)
    figure("hostile archives and images refused", n - len(missed), of=n)
    assert not missed
    assert n >= 25


@pytest.mark.promise("P15", off=True)
def test_without_the_check_of_names_an_archive_gets_in(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "is_safe_name", lambda name: True)
    with pytest.raises(pytest.fail.Exception):
        check_refused(CASES["zip: ../"], tmp_path / "data")


@pytest.mark.promise("P15", off=True)
def test_without_the_cap_on_pixels_an_image_gets_in(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 10**12)
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        check_refused(CASES["image: 8,001 x 8,001 pixels"], tmp_path / "data")


@pytest.mark.promise("P15", off=True)
def test_without_the_check_of_stores_an_archive_outside_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("rsnb.readers.is_safe_name", lambda name: True)
    with pytest.raises(pytest.fail.Exception):
        check_refused(CASES["zip: beside the data's folder"], tmp_path / "data")


def check_malformed(case, root: Path) -> None:
    """Load a manifest: a typed error; leniently, captions that are clean, or none."""
    root.mkdir(parents=True)
    name, data, *receipt = case
    (root / name).write_bytes(data() if callable(data) else data)
    if receipt:
        (root / f"{name}.json").write_bytes(receipt[0])
    with watched() as found:
        with pytest.raises(RsnbError) as e:
            load(root / name)
        try:
            pairs = load(root / name, lenient=True)
        except RsnbError:
            pairs = None
    if isinstance(e.value, DataProblems):
        assert all(p.kind and p.detail is not None and p.fix for p in e.value.problems)
        json.dumps(str(e.value)).encode()
    assert pairs is None or set(pairs.captions) <= {"a lake", "b"}
    assert not found.written and found.grown < MOST


def test_every_malformed_manifest_is_refused(tmp_path, figure):
    missed = all_refused(MALFORMED, tmp_path, check_malformed)
    n = len(MALFORMED)
    figure("malformed CSV and JSON files refused", n - len(missed), of=n)
    assert not missed
    assert n >= 15


OPEN = b'id,caption,drop\na.png,"x,y\rz' + b"x" * 200_000
CUT = gzip.compress(b"id,caption,drop\n", mtime=0)[:-3]


@pytest.mark.parametrize("data", [OPEN, CUT], ids=["open quote", "cut"])
def test_a_malformed_review_is_refused(tmp_path, data):
    fx.jsonl(tmp_path)
    (tmp_path / "review.txt").write_bytes(data)
    with pytest.raises(RsnbError, match="cannot be read"):
        load(tmp_path, drop=tmp_path / "review.txt")
