"""The whole trust battery, stage by stage: `make trust`.

    python tests/trust/run.py [--only battery,fuzz] [--no-write]

Each stage gives figures. They replace those of its last run in
`book/results/trust.json`, with the date and the digest of the code of this run; the
page `reliability` renders that file. A stage that fails stops the run and writes
nothing of itself. Stages other than `battery` are scripts beside this one with a
function `figures() -> dict`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rsnb import report
from rsnb.errors import ParameterError
from rsnb.files import tree_digest

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
SCRIPTS = ("fuzz", "audit", "coverage", "mutate", "repeat", "matrix")
STAGES = ("battery", *SCRIPTS)
BATTERY = "promise and not network and not slow"


def battery() -> dict[str, Any]:
    """Run every test that proves a promise; return counts and figures by promise."""
    out = REPO / "build" / "trust" / "promises.json"
    out.unlink(missing_ok=True)
    env = {**os.environ, "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=--strict-markers",
               "-m", BATTERY, "--promises", str(out)]  # fmt: skip
    code = subprocess.run(command, cwd=REPO, env=env).returncode
    if code:
        raise SystemExit(f"the battery failed (pytest returned {code}); mend it first")
    promises = json.loads(out.read_text())
    total = {way: sum(p[way].get("passed", 0) for p in promises.values())
             for way in ("checks", "off")}  # fmt: skip
    return {"promises": promises, **total}


def kept() -> dict[str, Any]:
    """Return the figures of other stages, as the receipt has them now."""
    try:
        return report.receipt("trust")["figures"]
    except ParameterError:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(STAGES), help="stages, by comma")
    parser.add_argument("--no-write", action="store_true", help="keep no receipt")
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := set(chosen) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {STAGES}")
    for stage in chosen:
        start = time.perf_counter()
        if stage == "battery":
            found = battery()
        else:
            found = runpy.run_path(str(HERE / f"{stage}.py"))["figures"]()
        found["seconds_in_all"] = round(time.perf_counter() - start)
        found["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
        found["code"] = tree_digest(REPO / "src" / "rsnb", "weights")
        print(f"{stage}: {found['seconds_in_all']} s", flush=True)
        if not args.no_write:
            report.record("trust", {**kept(), stage: found}, command="make trust")


if __name__ == "__main__":
    main()
