"""One source of pins: pyproject states ranges, the lock pins, the rest refers to it."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import rsnb

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
LOCK = (REPO / "requirements.lock").read_text()
PINS = [
    Requirement(line.rstrip(" \\"))
    for line in LOCK.splitlines()
    if re.match(r"[A-Za-z0-9]", line)
]
ENVIRONMENT = yaml.safe_load((REPO / "environment.yml").read_text())
PIP = next(d["pip"] for d in ENVIRONMENT["dependencies"] if isinstance(d, dict))


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(d for extra in extras for d in extra)]
    return [Requirement(line) for line in lines]


def version_of(pin: Requirement) -> str:
    [spec] = pin.specifier
    assert spec.operator == "==", pin
    return spec.version


@pytest.mark.promise("P11")
@pytest.mark.parametrize("want", declared(), ids=lambda r: r.name)
def test_lock_satisfies_pyproject(want):
    name = canonicalize_name(want.name)
    pins = [p for p in PINS if canonicalize_name(p.name) == name]
    assert pins, f"{name} is not in the lock: run `make lock`"
    assert all(want.specifier.contains(version_of(p)) for p in pins)


def test_pins_outside_the_lock_are_those_of_the_lock():
    locked = {canonicalize_name(p.name): version_of(p) for p in PINS if not p.marker}
    files = [*REPO.glob("notebooks/*.py"), *REPO.glob("book/*.md"), REPO / "README.md"]
    for path in files:
        for name, version in re.findall(
            r"([\w-]+)==(\d[\w.]*)", path.read_text("utf-8")
        ):
            assert locked.get(canonicalize_name(name)) == version, (
                f"{path.name}: {name}"
            )


@pytest.mark.promise("P11")
def check_pins(text):
    blocks = [b for b in re.split(r"\n(?=[A-Za-z0-9])", text) if b[0].isalnum()]
    for block in blocks:
        assert re.match(r"[\w.\[\]-]+==[\w.+!]+ ", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert not re.search(r"://| @ |^--", text, re.M)
    return len(blocks)


def test_every_pin_has_hashes_and_no_host(figure):
    assert check_pins(LOCK) >= len(PINS)
    figure("dependencies pinned and hashed", len(PINS), of=len(PINS))
    for path in REPO.glob("tests/*/requirements.txt"):
        assert check_pins(path.read_text())


@pytest.mark.promise("P11", off=True)
@pytest.mark.parametrize(
    "line",
    ["a==1.0\n", "a>=1 --hash=sha256:0\n", "a\n", "a @ https://b/a --hash=sha256:0\n"],
)  # fmt: skip
def test_a_loose_pin_is_seen(line):
    with pytest.raises(AssertionError):
        check_pins(f"b==1 \\\n    --hash=sha256:0\n{line}")


# Versions below which a file or an archive could run code or bring the process down:
# torch CVE-2025-32434, Pillow's decoders, Arrow, NumPy, YAML, templates and notebooks.
FLOORS = {
    "torch": "2.6", "pillow": "12.3", "safetensors": "0.5", "pyyaml": "5.4",
    "jinja2": "3.1.6", "nbconvert": "7.17", "numpy": "2.0", "pyarrow": "14.0.1",
}  # fmt: skip


def too_old(pins):
    known = {canonicalize_name(p.name): Version(version_of(p)) for p in pins}
    return [n for n, v in FLOORS.items() if known.get(n, Version("0")) < Version(v)]


@pytest.mark.promise("P11")
def test_no_pin_is_below_a_known_advisory():
    assert not too_old(PINS)


@pytest.mark.promise("P11", off=True)
def test_an_old_pin_is_seen():
    assert too_old([*PINS, Requirement("torch==2.5.1")]) == ["torch"]


@pytest.mark.promise("P11")
def test_installed_is_what_is_locked():
    wrong = []
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate():
            have = importlib.metadata.version(pin.name)
            if Version(have) != Version(version_of(pin)):
                wrong.append(f"{pin.name} {have}, locked {version_of(pin)}")
    assert not wrong


def test_environment_takes_python_from_conda_and_all_else_from_the_lock():
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    conda = [d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)]
    assert conda == ["python=3.12", "pip", "make"]
    assert PIP == ["-r requirements.lock"]
    assert PROJECT["requires-python"] == ">=3.11"


def conda_pip(folder: Path, *flags: str, python: str = sys.executable) -> str:
    """Install the pip section as conda does: a file beside environment.yml, `-r`."""
    shutil.copy2(REPO / "requirements.lock", folder)
    (folder / "condaenv.requirements.txt").write_text("\n".join(PIP) + "\n")
    command = [python, "-m", "pip", "install", *flags, "--exists-action=b"]
    done = subprocess.run(
        [*command, "-r", "condaenv.requirements.txt"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(find_spec("pip") is None, reason="no pip in this environment")
def test_pip_section_resolves_to_what_is_installed(tmp_path):
    out = conda_pip(tmp_path, "--dry-run", "--no-index", "--require-hashes")
    assert "Would install" not in out


@pytest.mark.slow
@pytest.mark.network
def test_pip_section_installs(tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env/bin/python")
    # conda brings a current pip; the one bundled with 3.11 asks for the newest release
    # of a package that another names with an extra, whatever the lock says
    subprocess.run([python, "-m", "pip", "install", "-q", "-U", "pip"], check=True)
    conda_pip(tmp_path, "-U", python=python)
    command = [python, "-m", "pip", "install", "--no-build-isolation", "--no-deps"]
    subprocess.run([*command, str(REPO)], check=True)
    subprocess.run([python, "-c", "import rsnb.backbones, rsnb.book"], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert rsnb.__version__ == PROJECT["version"] == citation["version"]


def test_repository_address_is_the_same_everywhere():
    address = yaml.safe_load((REPO / "_config.yml").read_text())["repository"]["url"]
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["repository-code"] == address
    own = address.removeprefix("https://github.com/")
    files = [REPO / "README.md", *REPO.glob("book/*.md"), *REPO.glob("notebooks/*.py")]
    for path in files:
        text = path.read_text("utf-8")
        seen = set(re.findall(r"research\.google\.com/github/([^/]+/[^/]+)/", text))
        seen |= set(re.findall(r"git\+https://github\.com/([\w-]+/[\w-]+)", text))
        seen |= set(re.findall(r"git clone https://github\.com/([\w-]+/[\w-]+)", text))
        assert seen <= {own}, path.name


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def make(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *args], cwd=REPO, capture_output=True, text=True)


@needs_make
def test_make_uses_the_venv_it_is_given(tmp_path):
    done = make("-n", "book", f"VENV={tmp_path}/v")
    install = "pip install --quiet --no-deps --require-hashes -r requirements.lock"
    assert install in done.stdout
    assert f"{tmp_path}/v/bin/python -m rsnb build" in done.stdout
    assert ".venv" not in done.stdout


@needs_make
def test_make_says_when_python_is_too_old(tmp_path):
    fake = tmp_path / "v/bin/python"
    fake.parent.mkdir(parents=True)
    fake.write_text("#!/bin/sh\nexit 1\n")  # sys.version_info < (3, 11)
    fake.chmod(0o755)
    done = make("test", f"VENV={tmp_path}/v")
    assert done.returncode
    assert "needs Python 3.11 or newer" in done.stdout + done.stderr


@needs_make
def test_another_lock_is_another_installation(tmp_path):
    shutil.copy2(REPO / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("a==1\n")

    def stamp() -> str:
        return subprocess.run(
            ["make", "-pn", "test"], cwd=tmp_path, capture_output=True, text=True
        ).stdout.partition("STAMP := ")[2].split("\n")[0]  # fmt: skip

    first = stamp()
    (tmp_path / "requirements.lock").write_text("a==2\n")
    assert first != stamp()
