"""The fuzzer's corpus, replayed: whatever the bytes, only our own errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rsnb import parsing

pytestmark = [pytest.mark.promise("P15"), pytest.mark.promise("P16")]
PATH = Path(__file__).parent / "trust" / "fuzz.py"
spec = importlib.util.spec_from_file_location("fuzz", PATH)
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_the_kept_corpus_brings_no_other_error(target, figure):
    kept = [p.read_bytes() for p in sorted((fuzz.CORPUS / target).iterdir())]
    bad = [f for f in (fuzz.fault(target, data) for data in kept) if f]
    figure(f"kept fuzz inputs without a stray error: {target}", len(kept) - len(bad),
           of=len(kept))  # fmt: skip
    assert len(kept) >= 5
    assert not bad


def test_the_seeds_are_made_and_bring_none():
    for target in fuzz.TARGETS:
        found = fuzz.seeds(target)
        assert len(found) >= 3 and not any(fuzz.fault(target, x) for x in found)


def test_the_corpus_is_small():
    files = [p for p in fuzz.CORPUS.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 300_000


@pytest.mark.promise("P16", off=True)
def test_without_a_typed_error_the_replay_would_say_so(monkeypatch):
    def fails(raw):
        raise KeyError(raw)

    monkeypatch.setattr(parsing, "parse", fails)
    assert "KeyError" in fuzz.fault("answer", b"{}")
