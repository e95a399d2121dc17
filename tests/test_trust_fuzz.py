"""The fuzzer's corpus, replayed: whatever the bytes, only our own errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rsnb import readers

pytestmark = [pytest.mark.promise("P15"), pytest.mark.promise("P16")]
PATH = Path(__file__).parent / "trust" / "fuzz.py"
spec = importlib.util.spec_from_file_location("fuzz", PATH)
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_the_kept_corpus_brings_no_other_error(target, figure):
    kept = fuzz.kept(target)
    bad = [f for f in (fuzz.fault(target, data) for data in kept) if f]
    figure(f"kept fuzz inputs without a stray error: {target}", len(kept) - len(bad),
           of=len(kept))  # fmt: skip
    assert kept
    assert not bad


def test_the_seeds_are_made_and_bring_none():
    for target in fuzz.TARGETS:
        found = fuzz.seeds(target)
        assert len(found) >= 3 and not any(fuzz.fault(target, x) for x in found)


def test_the_corpus_is_small():
    files = [p for p in fuzz.CORPUS.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 400_000


def test_a_longer_run_keeps_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path)
    many = [k.to_bytes(3, "big") + bytes([k % 251]) * (k % 40) for k in range(9000)]
    count, size = fuzz.shrink("answer", many)
    assert 500 < count < 9000 and size < fuzz.MOST
    assert (tmp_path / "answer.zip").stat().st_size <= fuzz.MOST
    assert fuzz.kept("answer") == sorted(many, key=lambda x: (len(x), x))[:count]


@pytest.mark.promise("P15", off=True)
def test_without_typed_errors_the_replay_says_so(monkeypatch):
    monkeypatch.setattr(readers, "UNREADABLE", ())
    assert any(fuzz.fault("manifest", data) for data in fuzz.kept("manifest"))
