"""Run the fast suite 20 times in a row: `python tests/trust/repeat.py [--runs 20]`.

The fast suite: unit and property tests without a browser, a kernel, a built book or a
vision-language model; every test in it runs in all of the 20 runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
# What takes long, or needs a browser, kernels, the built book, or many processes.
SLOW = """
    bench_peers bench_scaling bench_search benchmarks book browser captioner_speed
    captioners cli colab ddp environment explorers findings gpu jupyterlab kin landing
    localindex lora methods notebooks own_pages real_data real_text reproduce rrsitr
    runner scale smallvlm sweep train trust_captions trust_runs vlm walk widgets
    witnesses world
""".split()
SELECT = [
    "tests", "-p", "no:cacheprovider", *(f"--ignore=tests/test_{n}.py" for n in SLOW)
]  # fmt: skip


def once(python: str = sys.executable, *more: str) -> dict[str, Any]:
    """Run the fast suite; return the exit code, the counts and the seconds."""
    env = {**os.environ, "TQDM_DISABLE": "1"}
    start = time.perf_counter()
    command = [python, "-m", "pytest", *SELECT, *more]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True)
    found = re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout[-400:])
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-2000:], file=sys.stderr)
    seconds = time.perf_counter() - start
    return {"code": done.returncode, "seconds": seconds} | {k: int(n) for n, k in found}


def figures(runs: int = 20) -> dict[str, Any]:
    """Return runs, failed runs, tests a run and the median seconds of one."""
    found = [once() for _ in range(runs)]
    return {
        "runs": runs, "failures": sum(bool(f["code"]) for f in found),
        "tests": min(f.get("passed", 0) for f in found),
        "seconds": round(statistics.median(f["seconds"] for f in found), 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="one run")
    args = parser.parse_args()
    found = figures(1 if args.quick else args.runs)
    print(json.dumps(found, indent=1))
    return bool(found["failures"])


if __name__ == "__main__":
    sys.exit(main())
