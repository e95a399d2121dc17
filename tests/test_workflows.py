"""The workflows of a public host: they call make, and hold nothing of their own.

Nothing here runs them. What can be known without the host is checked.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from test_style import OWN

REPO = Path(__file__).resolve().parents[1]
FILES = sorted(REPO.glob(".github/workflows/*"))
TARGETS = set(re.findall(r"(?m)^([a-z][\w-]*):", (REPO / "Makefile").read_text()))


def faults(text: str) -> list[str]:
    """Return what a workflow must not hold, or lacks."""
    flow, out = yaml.safe_load(text), []
    if "Not run here" not in text:
        out.append("does not say that it was not run")
    if flow.get("permissions") != {"contents": "read"}:
        out.append("may do more than read")
    out += [f"names {hit}" for hit in re.findall(r"secrets\.\w+", text)]
    out += [f"names {hit.group()}" for hit in OWN.finditer(text)]
    for name, job in flow["jobs"].items():
        if not 0 < job.get("timeout-minutes", 0) <= 90:
            out.append(f"{name}: no time limit")
        for step in job["steps"]:
            if extra := step.keys() - {"uses", "with", "run"}:
                out.append(f"{name}: {sorted(extra)}")
            call = re.fullmatch(r"make ([\w-]+)", step.get("run", "make book"))
            if not call or call[1] not in TARGETS:
                out.append(f"{name}: {step['run']} is no make target")
            action = step.get("uses", "actions/x@v1")
            if not re.fullmatch(r"actions/[\w-]+@v\d+", action):
                out.append(f"{name}: {action} is not the host's own, with a version")
    return out


def test_tests_book_and_colab_have_a_workflow():
    assert [p.name for p in FILES] == ["book.yml", "colab.yml", "tests.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_workflow_calls_make_and_holds_no_logic(path):
    assert not faults(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# Not run here", "#", "not run"),
        ("contents: read", "contents: write", "more than read"),
        ("make book", "make boook", "no make target"),
        ("make book", "make book && rm -rf x", "no make target"),
        ("make book", "echo ${{ secrets.KEY }}", "names secrets.KEY"),
        ("timeout-minutes: 60", "name: x", "no time limit"),
        ("- run: make book", "- run: make book\n        if: always()", "['if']"),
        ("actions/checkout@v5", "someone/checkout@v5", "not the host's own"),
        ("actions/checkout@v5", "actions/checkout@main", "with a version"),
    ],
)
def test_departures_are_seen(old, new, says):
    text = (REPO / ".github/workflows/book.yml").read_text("utf-8")
    assert old in text
    found = faults(text.replace(old, new, 1))
    assert any(says in fault for fault in found), found


def test_what_is_published_is_what_the_build_makes():
    flow = yaml.safe_load((REPO / ".github/workflows/book.yml").read_text("utf-8"))
    steps = [s for job in flow["jobs"].values() for s in job["steps"]]
    [folder] = [s["with"]["path"] for s in steps if "pages-artifact" in str(s)]
    build = (REPO / "src/rsnb/book.py").read_text("utf-8")
    assert folder == "build/_build/html"
    assert 'root / "build" / "_build"' in build and 'out / "html"' in build


def test_the_runtime_image_is_run_every_week():
    text = (REPO / ".github/workflows/colab.yml").read_text("utf-8")
    flow = yaml.safe_load(text)
    [when] = flow[True]["schedule"]  # YAML 1.1 reads the key `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", when["cron"])
    assert flow["jobs"]["image"]["container"]["image"].endswith(
        "/public/runtime:latest"
    )
    assert {"run": "make colab-image"} in flow["jobs"]["image"]["steps"]
