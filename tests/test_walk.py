"""The walk of `book/own_data.md` runs as it stands, on a small folder of scenes."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

from rsnb.cli import main
from toy import scenes

PAGE = Path(__file__).resolve().parents[1] / "book" / "own_data.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)


def walk() -> list[tuple[str, str]]:
    """Return the (language, code) of the walk, in order."""
    text = PAGE.read_text("utf-8")
    start, end = text.index("## The walk"), text.index("## Layouts that are read")
    return BLOCK.findall(text[start:end])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with `mine/` and `captions.csv`, as the page describes it."""
    home = tmp_path_factory.mktemp("walk")
    (home / "mine").mkdir()
    scenes(home / "mine", home / "captions.csv", 40)
    return home


@pytest.fixture
def one_thread():
    """Let tiny models run on one thread: more only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_walk_runs_from_a_folder_to_a_refined_ranking(home, monkeypatch, capsys):
    """All in one process: eight starts would take longer than the walk."""
    monkeypatch.chdir(home)
    steps = walk()
    assert len(steps) >= 7
    for k, (language, code) in enumerate(steps):
        if language == "python":
            (home / f"step_{k}.py").write_text(code, "utf-8")
            runpy.run_path(f"step_{k}.py")
            continue
        for line in filter(None, code.splitlines()):
            command = shlex.split(line)
            assert command[:3] == ["python", "-m", "rsnb"]
            assert main(command[3:]) == 0, line
    told = capsys.readouterr().out
    for split in ("train", "val", "test"):
        assert (home / "mine" / f"{split}.csv").is_file()
    assert (home / "review" / "mismatch.html").is_file()
    assert "estimated share of wrong captions" in told
    assert "5 of 5 records usable" in told
    assert told.count("Recall(mR") == 3  # backbone, text to text, CADRE
