"""The quick form of the search benchmark runs, and equal rows are asserted first."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb", reason='needs pip install "rsnb[scale]"')
PATH = Path(__file__).parent / "bench" / "search.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_search", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quick(bench, monkeypatch, tmp_path, capsys):
    order = ["search.py", "--quick", "--folder", str(tmp_path / "f")]
    monkeypatch.setattr(sys, "argv", order)
    bench.main()
    said = capsys.readouterr().out
    for engine in ("exact", "streamed", "HNSW32", "IVF256,Flat", "IVF256,PQ16x4"):
        assert f"4,000 {engine} " in said
    assert not (tmp_path / "f").exists()


def test_a_large_size_is_streamed_alone(bench, monkeypatch, tmp_path, capsys):
    order = ["search.py", "--quick", "--size", "5000", "--folder", str(tmp_path / "f")]
    monkeypatch.setattr(sys, "argv", order)
    bench.main()
    said = capsys.readouterr().out
    assert "5,000 streamed" in said
    assert "HNSW" not in said


def test_a_wrong_engine_is_not_timed(bench, monkeypatch):
    right = bench.by_torch
    monkeypatch.setattr(bench, "by_torch", lambda x, q: right(x[:-500], q))
    monkeypatch.setattr(bench, "QUERIES", (16,))  # some of whose hits are left out
    monkeypatch.setattr(bench, "interleaved", lambda *_: pytest.fail("timed"))
    with pytest.raises(AssertionError, match="torch"):
        bench.exact(3000, 16, 1)


def test_a_part_is_a_function_of_its_number(bench):
    a, b = bench.clustered(3, 400, 5000), bench.clustered(3, 400, 5000)
    assert (a == b).all()
    assert (bench.clustered(4, 400, 5000) != a).any()
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-5)
