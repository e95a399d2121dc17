"""Line coverage of the package by its tests: `python tests/trust/coverage.py`.

Unit tests are run, those in other processes included ([tool.coverage] in
pyproject.toml); `COVERAGE_CORE=sysmon` makes it quick from Python 3.12 on. Aims: 92 %
in all, 100 % of the metrics and the file layer. `--quick` runs the tests of those
modules alone, and judges them alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
OUT = REPO / "build" / "trust" / "coverage.json"
ALL, WHOLE = 92.0, ("metrics", "recall", "files", "cache")
# Their subject is no line of the package: browsers, times, and pages that show the
# very figures that this stage writes.
LEFT_OUT = ("benchmarks", "bench_peers", "bench_scaling", "bench_search", "browser",
            "captioner_speed", "jupyterlab")  # fmt: skip
QUICK = ("tests/test_metrics.py", "tests/test_files.py", "tests/test_cache.py",
         "tests/test_trust_files.py")  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """Return per cent of all and of the whole modules, and what these miss."""
    found = json.loads(path.read_text())
    by = {Path(k).stem: v for k, v in found["files"].items() if "cadre" not in k}
    return {
        "total": round(found["totals"]["percent_covered"], 2),
        "lines": found["totals"]["num_statements"],
        **{name: round(by[name]["summary"]["percent_covered"], 2) for name in WHOLE},
        "missing": {n: by[n]["missing_lines"] for n in WHOLE if by[n]["missing_lines"]},
    }


def figures(*, quick: bool = False) -> dict[str, Any]:
    """Run the tests under coverage; return what `read` says."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    tests = [t for t in QUICK if (REPO / t).is_file()] if quick else ["tests"]
    command = [sys.executable, "-m", "pytest", *tests, "--cov=rsnb", "--cov-report=",
               *(f"--ignore=tests/test_{n}.py" for n in LEFT_OUT),
               f"--cov-report=json:{OUT}", "-m",
               "not slow and not network and not trust"]  # fmt: skip
    env = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True)
    print(done.stdout[-2000:])
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest returned {done.returncode}: nothing was measured")
    failed = re.search(r"(\d+) failed", done.stdout[-300:])  # lowers the figure at most
    return {"quick": quick, "failed": int(failed[1]) if failed else 0, **read(OUT)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="metrics and files alone")
    found = figures(quick=parser.parse_args().quick)
    print(json.dumps(found, indent=1))
    low = any(found[name] < 100 for name in WHOLE)
    short = not found["quick"] and found["total"] < ALL
    return bool(low or short or found["failed"])


if __name__ == "__main__":
    sys.exit(main())
