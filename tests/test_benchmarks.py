"""The measured pages show receipts, and `make bench` makes each of its own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from rsnb.errors import ParameterError
from rsnb.files import read_json

REPO = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(REPO / "book" / "figures" / "measured.py"))
PAGES = {p: (REPO / "book" / f"{p}.md").read_text("utf-8") for p in SCRIPT["PAGES"]}
RECEIPTS = sorted((REPO / "book" / "results" / "bench").glob("*.json"))


def test_every_mark_is_filled_from_a_receipt(tmp_path):
    SCRIPT["draw"](REPO, tmp_path)
    seen = set()
    for page, source in PAGES.items():
        text = (tmp_path / f"{page}.md").read_text("utf-8")
        assert "[[" not in text
        for name in re.findall(r"\[\[table:(\w+)\]\]", source):
            assert SCRIPT["TABLES"][name]().count("\n") >= 2, name
            assert SCRIPT["TABLES"][name]() in text
            seen.add(name)
    assert seen == set(SCRIPT["TABLES"])


@pytest.mark.parametrize("page", ["benchmarks", "reliability"])
def test_no_number_of_the_page_is_typed(page):
    marks = r"```.*?```|\[\[.*?\]\]|`[^`]*`|\{cite\}\S+|\bP\d+\b"
    prose = re.sub(marks, "", PAGES[page], flags=re.S)
    allowed = {"2"}  # cores
    assert set(re.findall(r"\d[\d.,]*\d|\d", prose)) <= allowed


def test_every_promise_is_on_the_page_and_was_run():
    shown = set(re.findall(r"\[\[promise:(\w+)\]\]", PAGES["reliability"]))
    assert shown == {f"P{i}" for i in range(1, 17)} | {"statistics"}
    for name in shown:
        found = read_json(REPO / "book" / "results" / "trust.json")["figures"]
        kept = found["battery"]["promises"][name]
        assert kept["checks"]["passed"] > 0
        assert not kept["checks"].get("failed", 0) + kept["off"].get("failed", 0)


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
