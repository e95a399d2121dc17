"""Mutation testing with mutmut: `python tests/trust/mutate.py [--only metrics,files]`.

Each module is mutated in a copy of the tree (build/trust/mutate), and each mutant runs
only the tests of that module that reach the changed function. Of more than SAMPLE
mutants, SAMPLE are drawn with a fixed seed. A mutant counts as killed if a test fails
or runs out of time. Survivors are listed in build/trust/mutate/<module>/survivors.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
OUT = REPO / "build" / "trust" / "mutate"
MODULES = {  # module → the tests that are its own
    "metrics": ("metrics",),
    "recall": ("metrics",),
    "noise": ("noise",),
    "files": ("files", "cache", "trust_files"),
    "cache": ("files", "cache"),
    "report": ("report",),
    "runstate": ("runstate",),
}
SAMPLE, SEED, AIM = 250, 0, 85.0
ALIVE = (0, 5, 33)  # mutmut's exit codes: tests passed, or none reaches the function


def prepare(name: str) -> Path:
    """Copy package and tests to a folder of the module; return it."""
    work = OUT / name
    shutil.rmtree(work, ignore_errors=True)
    skip = shutil.ignore_patterns("weights", "__pycache__", "trust", "bench", "colab")
    shutil.copytree(REPO / "src" / "rsnb", work / "src" / "rsnb", ignore=skip)
    shutil.copytree(REPO / "tests", work / "tests", ignore=skip)
    (work / "src" / "rsnb" / "weights").mkdir()
    tests = [f"tests/test_{t}.py" for t in MODULES[name]]
    tests = [t for t in tests if (REPO / t).is_file()]
    conf = f"""\
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/rsnb/{name}.py"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-m", "not slow and not network",
  "--deselect=tests/test_cache.py::test_the_warning_names_the_caller"]
pytest_add_cli_args_test_selection = {json.dumps(tests)}
timeout_constant = 10.0
timeout_multiplier = 10.0
use_setproctitle = false
use_git_change_detection = false
track_dependencies = false

[tool.pytest.ini_options]
addopts = "-q"
markers = ["slow", "network", "trust"]
"""
    (work / "pyproject.toml").write_text(conf)
    return work


def codes(work: Path, name: str) -> dict[str, int | None]:
    """Return mutant → exit code of its tests, None where it was not run."""
    meta = json.loads((work / f"mutants/src/rsnb/{name}.py.meta").read_text())
    return meta["exit_code_by_key"]


def mutmut(work: Path, *words: str) -> int:
    """Run mutmut in a folder, on one core's worth of threads a process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
           "TQDM_DISABLE": "1"}  # fmt: skip
    log = work / "mutmut.log"
    with log.open("a") as f:
        command = [sys.executable, "-m", "mutmut", *words]
        return subprocess.run(command, cwd=work, env=env, stdout=f, stderr=f).returncode


def module(name: str, sample: int, workers: int) -> dict[str, Any]:
    """Return killed and total of one module."""
    work = prepare(name)
    mutmut(work, "run", "--max-children", str(workers), "nothing.of.this.name")
    every = sorted(codes(work, name))
    if not every:
        raise SystemExit(f"{name}: mutmut made no mutant; see {work}/mutmut.log")
    some = sorted(random.Random(SEED).sample(every, min(sample, len(every))))  # noqa: S311
    mutmut(work, "run", "--max-children", str(workers), *some)
    found = {k: codes(work, name)[k] for k in some}
    alive = [k for k, code in found.items() if code in ALIVE]
    odd = [k for k, code in found.items() if code is None]
    if odd:
        raise SystemExit(f"{name}: {len(odd)} mutants not run; see {work}/mutmut.log")
    (work / "survivors.txt").write_text("\n".join(alive) + "\n")
    killed = len(some) - len(alive)
    ends = {str(k): v for k, v in Counter(found.values()).items()}
    return {"mutants": len(every), "tried": len(some), "killed": killed, "codes": ends}


def figures(
    names: tuple[str, ...] = tuple(MODULES), sample: int = SAMPLE, workers: int = 2
) -> dict[str, Any]:
    """Return killed and tried of each module and of all."""
    by = {}
    for name in names:
        by[name] = module(name, sample, workers)
        print(name, by[name], flush=True)
    killed, tried = (sum(m[k] for m in by.values()) for k in ("killed", "tried"))
    return {"modules": by, "killed": killed, "tried": tried, "seed": SEED,
            "sample": sample, "percent": round(100 * killed / tried, 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(MODULES), help="modules, by comma")
    parser.add_argument("--quick", action="store_true", help="20 mutants a module")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    names = tuple(args.only.split(","))
    if unknown := set(names) - set(MODULES):
        parser.error(f"no module {', '.join(sorted(unknown))}; there are {[*MODULES]}")
    found = figures(names, 20 if args.quick else SAMPLE, args.workers)
    print(json.dumps(found, indent=1))
    return found["percent"] < AIM


if __name__ == "__main__":
    sys.exit(main())
