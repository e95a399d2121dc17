"""The page of measurements shows receipts, and `make bench` makes every one of them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from rsnb.errors import ParameterError
from rsnb.files import read_json

REPO = Path(__file__).resolve().parents[1]
PAGE = (REPO / "book" / "benchmarks.md").read_text("utf-8")
SCRIPT = runpy.run_path(str(REPO / "book" / "figures" / "measured.py"))
RECEIPTS = sorted((REPO / "book" / "results" / "bench").glob("*.json"))


def test_every_mark_is_filled_from_a_receipt(tmp_path):
    SCRIPT["draw"](REPO, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text("utf-8")
    assert "[[" not in text
    for name in re.findall(r"\[\[table:(\w+)\]\]", PAGE):
        assert SCRIPT["TABLES"][name]().count("\n") > 2, name
        assert SCRIPT["TABLES"][name]() in text
    assert set(re.findall(r"\[\[table:(\w+)\]\]", PAGE)) == set(SCRIPT["TABLES"])


def test_no_number_of_the_page_is_typed():
    prose = re.sub(r"```.*?```|\[\[.*?\]\]|`[^`]*`|\{cite\}\S+", "", PAGE, flags=re.S)
    allowed = {"2"}  # cores
    assert set(re.findall(r"\d[\d.,]*\d|\d", prose)) <= allowed


def test_a_missing_receipt_stops_the_build():
    with pytest.raises(ParameterError, match="no receipt"):
        SCRIPT["fill"]("[[nothing-of-the-kind:a:.1f]]")


@pytest.mark.parametrize("path", RECEIPTS, ids=lambda p: p.stem)
def test_a_receipt_names_a_command_that_make_bench_runs(path):
    found = read_json(path)
    assert found["name"] == f"bench/{path.stem}"
    if found["command"] == "make bench":
        return
    script = re.search(r"tests/bench/(\w+)\.py", found["command"])
    assert script and (REPO / script[0]).is_file()
    assert re.search(rf"\b{script[1]}\b", (REPO / "Makefile").read_text("utf-8"))
