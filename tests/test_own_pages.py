"""Every page that reads data runs on a folder of one's own, as the README says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rsnb import profiles, runner
from toy import scenes

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(p.stem for p in REPO.glob("notebooks/[0-9][0-9]_*.ipynb"))
PAGES.remove("09_results")  # reads receipts alone, whatever the folder
SIZES = {"train": 110, "val": 8, "test": 24}  # a batch of RRSITR needs 100

# No hub is reached here: models of the package stand for the published ones that the
# profile of a path names.
STAND_IN = """
from rsnb.profiles import Profile

small = {"CLIP-ViT-B-32": "world-vit", "Qwen/Qwen2.5-VL-3B-Instruct": "world-vlm"}
start = Profile.__init__
start.__defaults__ = tuple(small.get(value, value) for value in start.__defaults__)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Return the profile of a folder of images with one CSV for each split."""
    folder = tmp_path_factory.mktemp("mine")
    for split, n in SIZES.items():
        scenes(folder, folder / f"{split}.csv", n, split, each=2)
    which = profiles.get(str(folder))
    yield which
    for part in ("run", "results", "failed"):
        shutil.rmtree(REPO / "build" / part / which.name, ignore_errors=True)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_on_a_folder(page, mine, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert runner.run(REPO, mine, [page]) == [page]
