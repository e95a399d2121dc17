"""The landing page: a figure and a card for each chapter, and no typed result."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
INTRO = (REPO / "book" / "intro.md").read_text("utf-8")
LANDING = runpy.run_path(str(REPO / "book" / "figures" / "landing.py"))
PAGES = {
    "00_quickstart": {
        "recall": {"t2i_r1": 1.0, "t2i_r5": 2.0, "t2i_r10": 3.0},
        "ceilings": {"limit by x": {"t2i_r1": 4.0, "t2i_r5": 5.0, "t2i_r10": 6.0}},
    },
    "02_train_backbone": {"shares": [0.5, 1], "by_side": [1, 2], "by_window": [0, 2]},
}


@pytest.fixture
def root(tmp_path):
    """Return a tree that holds what two pages wrote; receipts are this tree's own."""
    folder = tmp_path / "build" / "results" / "world"
    folder.mkdir(parents=True)
    for name, numbers in PAGES.items():
        (folder / f"{name}.json").write_text(json.dumps(numbers))
    return tmp_path


def test_every_chapter_of_the_grid_has_its_figure_from_receipts(root, tmp_path):
    drawn = []
    for out in (tmp_path / "a", tmp_path / "b"):
        LANDING["draw"](root, out)
        drawn.append({p.name: p.read_bytes() for p in (out / "figures").glob("*.svg")})
    assert drawn[0] == drawn[1]  # equal data, equal bytes: the build may be kept
    wanted = re.findall(r":link: /notebooks/((\d\d)_\w+)\n", INTRO)
    assert [name for name, _ in wanted] == list(LANDING["CHAPTERS"])
    assert {f"{n}.svg" for _, n in wanted} == set(drawn[0])
    assert re.findall(r":img-top: figures/(\S+)", INTRO) == sorted(drawn[0])
    changed = {**PAGES["02_train_backbone"], "by_side": [1, 9]}
    page = root / "build" / "results" / "world" / "02_train_backbone.json"
    page.write_text(json.dumps(changed))
    LANDING["draw"](root, tmp_path / "a")
    assert (tmp_path / "a" / "figures" / "02.svg").read_bytes() != drawn[0]["02.svg"]


def test_the_landing_page_types_no_result_and_describes_each_figure():
    grid = INTRO[INTRO.index("::::{grid}") : INTRO.index("## What the book argues")]
    cards = grid.split(":::{grid-item-card}")[1:]
    assert all(re.search(r":img-alt: \S.{30,}", card) for card in cards)
    said = re.sub(r"\{glue:text\}`[^`]*`|:img\S+:.*|/notebooks/\S+", "", grid)
    assert not re.search(r"\d+\.\d|\bmR \d", said)
    assert "/notebooks/10_explore_retrieval" in INTRO[: INTRO.index("::::{grid}")]
