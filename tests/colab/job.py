"""Run pages as Colab would: its published pins, its kernel, the unchanged setup cell.

    python tests/colab/job.py --python python3.13      # makes build/colab-venv
    python tests/colab/job.py --python python3 --as-is  # inside Colab's own image

The setup cell clones a release tag of the public repository. Here git is told to take
that address from a copy of this tree, so the cell runs word for word and installs what
stands here. Pages run in an empty folder, as on Colab: they see the package alone. The
job fails if a page fails, or if one package that was there before is another one after.
What it ran is kept in build/colab/.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PINS = Path(__file__).with_name("pins.txt")
VENV, OUT = REPO / "build" / "colab-venv", REPO / "build" / "colab"
KERNEL = (
    "import google.colab; from ipykernel import kernelapp as k; k.launch_new_instance()"
)
LIST = (
    "import importlib.metadata as m, json, sys; print(json.dumps({'python': "
    "sys.version.split()[0]} | {d.name.lower().replace('-', '_'): d.version "
    "for d in m.distributions()}))"
)


def pins() -> dict[str, str]:
    """Return Colab's pins, name → version."""
    lines = [x for x in PINS.read_text().splitlines() if x and x[0] != "#"]
    halves = [line.split("==") for line in lines]
    return {name.lower().replace("-", "_"): version for name, version in halves}


def setup_source() -> tuple[str, str]:
    """Return the address and the tag that the pages' setup cell installs from."""
    page = min(REPO.glob("notebooks/[0-9]*.py"))
    [found] = re.findall(r"git\+(https://[^@\s]+)@(\S+?)\"", page.read_text("utf-8"))
    return found


def snapshot(to: Path) -> dict[str, str]:
    """Commit and tag a copy of this tree; return what makes git take it for home."""
    url, tag = setup_source()
    config = to.with_suffix(".gitconfig")
    config.write_text(
        "[user]\nname = job\nemail = job@localhost\n"
        "[safe]\ndirectory = *\n"  # in a container the tree may be another user's
        f'[url "{to.as_uri()}"]\ninsteadOf = {url}\n'
    )
    env = {"GIT_CONFIG_GLOBAL": str(config)}
    own = {**os.environ, **env}
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=REPO, text=True, env=own)
    for name in filter(None, listed.split("\0")):
        if (REPO / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, to / name)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", tag]):
        subprocess.run(["git", *words], cwd=to, check=True, env=own)
    return env


def make_venv(python: str) -> str:
    """Make the environment of the pins, as far as they install; return its Python."""
    from rsnb.colab import PINS as LACKING

    if not shutil.which(python):
        print(f"{python} is not here; taking {sys.version.split()[0]} instead")
        python = sys.executable
    own = VENV / "bin" / "python"
    if not own.is_file():
        subprocess.run([python, "-m", "venv", VENV], check=True)
    install = [own, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if subprocess.run([*install, "-r", PINS], check=False).returncode:
        trial = [*install, "--dry-run", "--no-deps"]
        want = [f"{name}=={version}" for name, version in pins().items()]
        bad = [w for w in want if subprocess.run([*trial, w], check=False).returncode]
        near = [w.partition("==")[0] if w in bad else w for w in want]
        print(f"cannot be had here, taken as near as pip finds: {', '.join(bad)}")
        subprocess.run([*install, *near], check=True)
    own_pins = {x.partition("==")[0].replace("-", "_") for x in LACKING.values()}
    extra = own_pins - pins().keys()
    uninstall = [own, "-m", "pip", "uninstall", "-qy", "rsnb", *sorted(extra)]
    subprocess.run(uninstall, check=True, stderr=subprocess.DEVNULL)  # of a run before
    return str(own)


def installed(python: str) -> dict[str, str]:
    """Return what an interpreter has, name → version."""
    return json.loads(subprocess.check_output([python, "-c", LIST], text=True))


def add_kernel(folder: Path, python: str, *, stub: bool) -> None:
    """Write the spec of a kernel that has loaded google.colab, as Colab's own has."""
    env = {"PYTHONPATH": ""}  # what the driver brings is not for the kernel
    if stub:
        (folder / "stub/google/colab").mkdir(parents=True)
        (folder / "stub/google/colab/__init__.py").touch()
        env["PYTHONPATH"] = str(folder / "stub")
    spec = {"argv": [python, "-c", KERNEL, "-f", "{connection_file}"], "env": env}
    spec |= {"display_name": "Colab", "language": "python"}
    path = folder / "kernels" / "colab" / "kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(spec))
    os.environ["JUPYTER_PATH"] = str(folder)


def shown(page: Path) -> str:
    """Return what the setup cell of an executed page printed."""
    cells = json.loads(page.read_text("utf-8"))["cells"]
    cell = next(c for c in cells if "hide-input" in c["metadata"].get("tags", []))
    return "".join("".join(o.get("text", [])) for o in cell["outputs"]).strip()


def main() -> int:
    """Run the job; return 1 if packages of the runtime were changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="python3.13")
    parser.add_argument("--as-is", action="store_true", help="install no pins")
    parser.add_argument("--page", action="append", default=[], help="default: 00")
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    import papermill

    python = args.python if args.as_is else make_venv(args.python)
    before = installed(python)
    off = {n: v for n, v in pins().items() if before.get(n, "none") != v}
    print(f"Python {before['python']}; {len(pins()) - len(off)} of {len(pins())} pins")
    for name, version in off.items():
        print(f"  {name}: {before.get(name, 'none')} here, {version} on Colab")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        os.environ.update(snapshot(top / "tree"), RSNB_CACHE=str(top / "cache"))
        os.environ.pop("RSNB_DATA", None)
        add_kernel(top, python, stub=not args.as_is)
        (top / "content").mkdir()
        for number in args.page or ["00"]:
            [page] = REPO.glob(f"notebooks/{number}_*.ipynb")
            start = time.monotonic()
            papermill.execute_notebook(
                page, OUT / page.name, kernel_name="colab", cwd=top / "content",
                progress_bar=False,
            )  # fmt: skip
            print(f"{page.stem}: {time.monotonic() - start:.0f} s")
            print(f"  setup cell: {shown(OUT / page.name)}")
        shutil.copytree(top / "content/build/results", OUT, dirs_exist_ok=True)
    after = installed(python)
    added = {n: v for n, v in after.items() if n not in before}
    print("added:", ", ".join(f"{n} {v}" for n, v in sorted(added.items())))
    if changed := [n for n, v in before.items() if after.get(n) != v]:
        print(f"CHANGED, which must not be: {', '.join(changed)}")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main())
