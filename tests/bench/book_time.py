"""How long `make book` takes: from nothing, again, and after one page changed.

    python tests/bench/book_time.py [--repeats 5] [--write]

Works in a copy of the committed files, with a cache of its own, so the tree at hand
stays as it is. The cold run is measured once: it takes many minutes. Seconds of each
page are those that the runner wrote down. Wants an idle machine.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from rsnb import report
from rsnb.files import read_json

REPO = Path(__file__).resolve().parents[2]
STEPS = (("run", "--profile", "world"), ("build",))


def copied(folder: Path) -> Path:
    """Lay the committed files in a folder."""
    done = subprocess.run(
        ["git", "archive", "HEAD"], cwd=REPO, check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def seconds(tree: Path, cache: Path) -> float:
    """Return the seconds of one `make book` without its look at the environment."""
    own = {
        "PYTHONPATH": str(tree / "src"),
        "RSNB_CACHE": str(cache),
        "TQDM_DISABLE": "1",
    }
    env = {k: v for k, v in os.environ.items() if k != "RSNB_DATA"} | own
    start = time.perf_counter()
    for step in STEPS:
        command = [sys.executable, "-m", "rsnb", *step]
        subprocess.run(
            command, cwd=tree, check=True, env=env, stdout=subprocess.DEVNULL
        )
    return time.perf_counter() - start


def pages(tree: Path) -> dict[str, float]:
    """Return the seconds that each page took when it last ran."""
    run = tree / "build" / "run" / "world"
    return {p.stem: read_json(p)["seconds"] for p in sorted(run.glob("[0-9]*.json"))}


def measure(tree: Path, cache: Path, repeats: int) -> dict[str, Any]:
    """Return seconds of a cold run, of warm ones, and of ones with a page to redo."""
    cold = seconds(tree, cache)
    took = pages(tree)
    warm = [seconds(tree, cache) for _ in range(repeats)]
    page = tree / "book" / "glossary.md"
    words = []
    for k in range(repeats):
        page.write_text(page.read_text("utf-8") + f"\n<!-- {k} -->\n", "utf-8")
        words.append(seconds(tree, cache))
    return {
        "cold": cold, "pages": took,
        "warm": statistics.median(warm), "all_warm": warm,
        "prose_changed": statistics.median(words), "all_prose_changed": words,
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--write", action="store_true", help="keep a receipt")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        figures = measure(copied(Path(one)), Path(two), args.repeats)
    print(figures)
    if args.write:
        command = "python tests/bench/book_time.py --write"
        report.record("bench/book", figures, command=command)


if __name__ == "__main__":
    main()
