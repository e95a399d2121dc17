"""Colab: the setup cell, what it adds, what it never touches, where links lead."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import hatchling.build
import jupytext
import pytest
import yaml
from bs4 import BeautifulSoup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rsnb
from colab import job
from rsnb import colab, report

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(REPO.glob("notebooks/[0-9][0-9]_*.py"))
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
TAG = f"v{rsnb.__version__}"
HOME = yaml.safe_load((REPO / "_config.yml").read_text())["repository"]
ADDED = [Requirement(line) for line in colab.PINS.values()]
OURS = {canonicalize_name(r.name) for r in ADDED}
# What comes with a package of theirs is there, whatever its version.
BROUGHT = {canonicalize_name(Requirement(r).name) for r in requires("scikit-learn")}
THEIRS = {canonicalize_name(name): version for name, version in job.pins().items()}


def setup(path: Path) -> str:
    """Return the part of a page's first code cell that prepares Colab."""
    cell = next(c for c in jupytext.read(path).cells if c.cell_type == "code")
    assert cell.metadata["tags"] == ["hide-input"]
    head, end, _ = cell.source.partition("    colab.prepare()\n")
    return head + end


# The cell


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_the_setup_cell_is_one_text(path):
    assert setup(path) == setup(PAGES[0])
    assert "colab.prepare()" in setup(path)


def test_the_setup_cell_installs_the_release_without_dependencies():
    assert job.setup_source() == (HOME["url"], TAG)
    assert re.findall(r'"(install .*) git', setup(PAGES[0])) == ["install -q --no-deps"]


def cell(code: str, tmp_path: Path) -> str:
    """Return what a new IPython shell shows for a cell."""
    run = (
        "import sys\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "if sys.argv[2]: sys.modules['google.colab'] = sys\n"
        "InteractiveShell(colors='NoColor').run_cell(sys.argv[1])"
    )
    env = {**os.environ, "IPYTHONDIR": str(tmp_path), "RSNB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", run, code, "colab" if "google" in code else ""],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_the_setup_cell_runs_and_says_what_fits(tmp_path):
    [line] = cell(setup(PAGES[0]), tmp_path).splitlines()
    assert "profile 'world'" in line or "GPU: " in line


def test_a_fault_is_shown_as_one_line(tmp_path):
    code = "from rsnb import colab\nraise colab.SetupError('numpy is another')"
    assert cell(code, tmp_path).strip() == "rsnb: numpy is another"


# What is added


@pytest.fixture
def runtime(monkeypatch):
    """Stand in for pip: record its calls, let the test say what is missing."""
    state = {"missing": set(), "calls": [], "rc": 0, "stderr": ""}
    monkeypatch.setenv("RSNB_CACHE", "x")
    find = colab.find_spec

    def run(command, **_):
        state["calls"].append(command[1:])
        return subprocess.CompletedProcess(command, state["rc"], "", state["stderr"])

    monkeypatch.setattr(
        colab, "find_spec", lambda m: None if m in state["missing"] else find(m)
    )
    monkeypatch.setattr(colab.subprocess, "run", run)
    return state


def test_nothing_is_installed_where_nothing_is_missing(runtime, capsys):
    colab.prepare()
    assert not runtime["calls"]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_only_what_is_missing_is_installed_and_alone(runtime):
    runtime["missing"] = {"faiss", "open_clip"}
    colab.prepare()
    pins = [colab.PINS["faiss"], colab.PINS["open_clip"]]
    assert runtime["calls"] == [["-m", "pip", "install", "-q", "--no-deps", *pins]]


def test_a_failed_installation_stops_with_pips_last_line(runtime):
    runtime.update(missing={"faiss"}, rc=1, stderr="noise\nERROR: no network")
    with pytest.raises(colab.SetupError, match=r"faiss-cpu==.*: ERROR: no network$"):
        colab.prepare()


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_another_version_in_the_kernel_stops(runtime, monkeypatch, name):
    module = sys.modules.setdefault(name, __import__(name))
    monkeypatch.setattr(module, "__version__", "1.0.0+cu1")
    with pytest.raises(colab.SetupError, match=rf"{name} 1\.0\.0.*Restart session"):
        colab.prepare()


def test_a_build_label_is_no_other_version(runtime, monkeypatch):
    torch = __import__("torch")
    plain = torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{plain}+cu128")
    colab.prepare()


def test_pins_are_those_of_the_lock():
    lock = (REPO / "requirements.lock").read_text("utf-8")
    locked = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", lock))
    locked = {canonicalize_name(n): v for n, v in locked.items()}
    for pin in ADDED:
        assert str(pin.specifier) == f"=={locked.get(canonicalize_name(pin.name))}"


def test_what_is_colabs_own_is_never_added():
    assert not OURS & {"torch", "torchvision", "numpy", "pillow", "ipywidgets"}


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_each_dependency_is_there_or_added(line):
    want = Requirement(line)
    name = canonicalize_name(want.name)
    assert name in THEIRS or name in OURS or name in BROUGHT
    assert name not in THEIRS or want.specifier.contains(THEIRS[name])


# The job that runs a page under Colab's pins


def test_the_pins_hold_what_the_issue_names():
    want = {"ipywidgets", "ipython", "ipykernel", "numpy", "pillow", "transformers"}
    assert want <= THEIRS.keys()
    assert (THEIRS["ipywidgets"], THEIRS["ipython"]) == ("7.7.1", "7.34.0")
    assert list(job.pins()) == sorted(set(job.pins()), key=list(job.pins()).index)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", ["colab", "colab-image"])
def test_make_runs_the_job(target):
    command = ["make", "-n", target, "COLAB_PYTHON=py313", "PYTHON=py"]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of a make that runs the tests
    env = {k: v for k, v in os.environ.items() if k not in outer}
    out = subprocess.check_output(command, cwd=REPO, env=env, text=True)
    python = "py313" if target == "colab" else "py --as-is"
    assert out.endswith(f"tests/colab/job.py --python {python}\n")


def test_git_takes_the_public_address_from_this_tree(tmp_path):
    (tmp_path / "tree").mkdir()
    env = {**os.environ, **job.snapshot(tmp_path / "tree")}
    command = ["git", "ls-remote", "--tags", HOME["url"], TAG]
    out = subprocess.check_output(command, env=env, text=True)
    assert out.endswith(f"refs/tags/{TAG}\n")
    assert (tmp_path / "tree/src/rsnb/colab.py").is_file()
    assert not (tmp_path / "tree/build").exists()


def test_a_wheel_carries_the_receipts_and_an_editable_one_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(REPO)
    for make, n in (("build_wheel", 1), ("build_editable", 0)):
        (tmp_path / make).mkdir()
        name = getattr(hatchling.build, make)(str(tmp_path / make))
        names = zipfile.ZipFile(tmp_path / make / name).namelist()
        assert names.count("rsnb/results/cadre-world.json") == n


def test_receipts_are_read_from_an_installed_package(tmp_path, monkeypatch):
    assert report.shelf() == REPO / "book" / "results"
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
    assert report.shelf() == tmp_path / "results"


# Links


def link(page: Path) -> str:
    """Return where Colab opens a page."""
    own = HOME["url"].removeprefix("https://")
    at = own.replace("github.com", "colab.research.google.com/github", 1)
    return f"https://{at}/blob/{TAG}/notebooks/{page.stem}.ipynb"


def test_the_readme_has_a_badge_for_each_page_and_no_other():
    text = (REPO / "README.md").read_text("utf-8")
    found = re.findall(
        r"\]\((https://colab\.research\.google\.com/github[^)]*)\)", text
    )
    assert found == [link(page) for page in PAGES]
    assert all(page.with_suffix(".ipynb").is_file() for page in PAGES)


def test_launch_buttons_name_the_release():
    assert HOME["branch"] == TAG


def test_each_built_page_opens_its_own_notebook():
    html = REPO / "build/_build/html/notebooks"
    if not html.is_dir():
        pytest.skip("the book is not built: make book")
    for path in sorted(html.glob("*.html")):
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        links = soup.find_all("a", href=re.compile("colab.research"))
        assert [a["href"] for a in links] == [link(path)]
        assert links[0]["title"] == "Launch on Colab"
