"""Run the fast suite under every Python that the package claims.

    python tests/trust/matrix.py [--versions 3.12,3.13]

Interpreters are looked for on PATH, among pyenv's and uv's. Each gets a venv of its
own in build/trust, from the lock's pins, so the same ones everywhere. Versions without
an interpreter here are listed as not run. Colab's pins are tests/colab/job.py's task.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
OUT = REPO / "build" / "trust"
CLAIMED = ("3.11", "3.12", "3.13", "3.14")  # pyproject: 3.11 or newer


def interpreter(version: str) -> str | None:
    """Return a Python of this version, if one is here."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*root.glob(f"versions/{version}.*/bin/python")]
    found += [Path(p) for p in [shutil.which(f"python{version}")] if p]
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        find = [uv, "python", "find", "--no-python-downloads", version]
        done = subprocess.run(find, capture_output=True, text=True)
        found += [Path(done.stdout.strip())] if done.returncode == 0 else []
    for path in found:
        says = subprocess.run([path, "-V"], capture_output=True, text=True).stdout
        if re.match(rf"Python {re.escape(version)}\.", says):
            return str(path)
    return None


def environment(version: str, python: str) -> tuple[str, str]:
    """Return the Python of a venv that holds the pins, and how it was installed."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable, "at hand, from the lock"
    folder = OUT / f"venv-{version}"
    own, stamp = str(folder / "bin" / "python"), folder / "how.txt"
    if stamp.is_file():
        return own, stamp.read_text()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    install = [own, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    lock, how = REPO / "requirements.lock", "from the lock, by hash"
    locked = [*install, "--no-deps", "--require-hashes", "-r", str(lock)]
    if subprocess.run(locked, check=False).returncode:
        how = "from pyproject.toml: the lock does not install here"
        subprocess.run([*install, "-e", f"{REPO}[book,hub,scale,test]"], check=True)
    else:
        ours = ["--no-build-isolation", "--no-deps", "-e", str(REPO)]
        subprocess.run([*install, *ours], check=True)
    stamp.write_text(how)
    return own, how


def figures(versions: tuple[str, ...] = CLAIMED) -> dict[str, Any]:
    """Return version → tests passed, failed and skipped; or why it was not run."""
    once = runpy.run_path(str(Path(__file__).with_name("repeat.py")))["once"]
    out: dict[str, Any] = {}
    for version in versions:
        python = interpreter(version)
        if python is None:
            out[version] = {"not run": "no interpreter on this machine"}
            continue
        own, how = environment(version, python)
        says = subprocess.run([own, "-V"], capture_output=True, text=True).stdout
        out[version] = {"python": says.split()[-1], "installed": how, **once(own)}
        print(version, out[version], flush=True)
    return {"versions": out}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", default=",".join(CLAIMED))
    found = figures(tuple(parser.parse_args().versions.split(",")))
    print(json.dumps(found, indent=1))
    return any(v.get("code") for v in found["versions"].values())


if __name__ == "__main__":
    sys.exit(main())
