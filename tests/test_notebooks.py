"""The committed notebooks hold inputs only; the executed ones can be checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from rsnb import profiles
from rsnb.pages import check_pair
from rsnb.runner import run

REPO = Path(__file__).resolve().parents[1]
COMMITTED = sorted(REPO.glob("notebooks/*.ipynb"))
EXECUTED = sorted(REPO.glob("build/run/world/*.ipynb"))
CHECK = "nbval-check-output"


def read(path: Path):
    return nbformat.read(path, as_version=4)


def unstored(nb) -> list[int]:
    """Return the cells that nbval is to compare and that have nothing to compare.

    nbval passes such a cell without a word.
    """
    return [
        i
        for i, cell in enumerate(nb.cells)
        if CHECK in cell.metadata.get("tags", [])
        and not (cell.get("outputs") and cell.get("execution_count"))
    ]


@pytest.mark.promise("P5")
def test_every_notebook_has_a_twin():
    twins = {p.stem for p in REPO.glob("notebooks/[0-9]*.py")}
    assert {p.stem for p in COMMITTED} == twins


@pytest.mark.promise("P5")
@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_a_pair_is_in_step_and_holds_inputs_only(path):
    check_pair(path)
    nb = read(path)
    assert nb.metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    assert set(nb.metadata) <= {"kernelspec", "jupytext"}
    assert all(
        set(cell.metadata) <= {"tags", "lines_to_next_cell"} for cell in nb.cells
    )


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_a_page_has_cells_to_check(path):
    tags = [t for cell in read(path).cells for t in cell.metadata.get("tags", [])]
    assert CHECK in tags


@pytest.mark.parametrize("path", EXECUTED, ids=lambda p: p.stem)
def test_checked_cells_of_executed_pages_have_outputs(path):
    nb = read(path)
    assert not unstored(nb)
    assert all(c.execution_count for c in nb.cells if c.cell_type == "code")


TAGGED = "print(seed)\n\n# %% tags=['nbval-check-output']\nprint(seed + 1)"


def nbval(folder: Path) -> subprocess.CompletedProcess:
    """Run nbval as `make nbval` does, with the flags that stand there."""
    rule = (REPO / "Makefile").read_text().partition("\nnbval:")[2].partition("\n\n")[0]
    flags = re.findall(r"--nbval\S*", rule)
    assert "--nbval-lax" in flags
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags]
    return subprocess.run(
        [*command, str(folder)], cwd=folder, capture_output=True, text=True
    )


def test_nbval_accepts_an_executed_page_and_sees_a_changed_number(toy_book):
    root = toy_book(**{"00_one": TAGGED})
    run(root, profiles.PROFILES["world"])
    path = root / "build/run/world/00_one.ipynb"
    assert not unstored(read(path))
    assert nbval(path.parent).returncode == 0
    text = path.read_text()
    path.write_text(text.replace('"8\\n"', '"9\\n"'))
    assert path.read_text() != text
    assert nbval(path.parent).returncode == 1


def test_a_tagged_cell_without_output_is_found(toy_book):
    root = toy_book(**{"00_one": TAGGED})
    assert unstored(read(root / "notebooks/00_one.ipynb")) == [3]
