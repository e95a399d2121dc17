"""The house style, as far as it can be measured: sizes, shapes, forbidden calls."""

from __future__ import annotations

import ast
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import yaml

import rsnb

REPO = Path(__file__).resolve().parents[1]
PACKAGE = Path(rsnb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted(REPO.glob("notebooks/[0-9][0-9]_*.py"))

MODULE_LINES = 250
# Lines of code: no blanks, comments or docstrings. The world draws and describes 24
# kinds of scene, and annotates them, which is a programme of its own. Both numbers are
# what stands: whoever adds must first look for what can go.
PACKAGE_LINES, WORLD_LINES = 9700, 1890
# raises-exception is not here: papermill stops at such a cell all the same.
TAGS = {
    "parameters", "hide-input", "hide-cell", "remove-cell", "nbval-check-output",
    "nbval-skip", "gpu", "network",
}  # fmt: skip
BAD_NAMES = re.compile(r"tmp|temp|df\d*|x\d|foo|data\d")
FIGURE = re.compile(r"plots\.|report\.(table|glue|page)|plt\.")


# The package


def length(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_is_short(path):
    assert length(path) <= MODULE_LINES


def code_lines(path: Path) -> int:
    """Count the lines that hold code."""
    text = path.read_text("utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(getattr(body[0].value, "value", None), str):
                prose.update(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    return sum(
        bool(line.strip()) and line.strip()[0] != "#" and i not in prose
        for i, line in enumerate(text.splitlines(), 1)
    )


def test_the_package_is_thin():
    world = [p for p in MODULES if "world" in p.parts]
    assert sum(map(code_lines, world)) <= WORLD_LINES
    assert sum(map(code_lines, set(MODULES) - set(world))) <= PACKAGE_LINES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_lists_its_public_names(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    if path.name == "__main__.py":
        return
    names = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert len(names) == 1
    assert names[0] == sorted(names[0], key=lambda n: (not n.isupper(), n[0] > "Z", n))


# Forbidden calls

LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal",
           "shelve", "jsonpickle"}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "pty.spawn",
    "subprocess.getoutput", "subprocess.getstatusoutput", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "torch.jit.load",
    "torch.hub.load", "pandas.read_pickle",
}  # fmt: skip
KEYWORDS = {"allow_pickle": True, "weights_only": False, "shell": True,
            "trust_remote_code": True}  # fmt: skip


def long_names(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for: np → numpy, load → torch.load."""
    out = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            out |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return out


def forbidden(tree: ast.AST, *, test: bool = False) -> list[str]:
    """Return what could run code from a file or a string. Tests may write pickles."""
    found, known = [], long_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names]
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
                if "*" in names:
                    found.append("star import")
            bad = LOADERS - ({"pickle"} if test else set())
            if bad & {n.split(".")[0] for n in names}:
                found.append(f"import of {names}")
        elif isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            name = (known.get(first, first) + dot + rest).removeprefix("builtins.")
            if name in CALLS:
                found.append(name)
            given = {k.arg: k.value for k in node.keywords}
            for key, unsafe in KEYWORDS.items():
                value = given.get(key, ast.Constant(not unsafe))
                if not isinstance(value, ast.Constant) or bool(value.value) is unsafe:
                    found.append(f"{key}={ast.unparse(value)}")
            if name == "torch.load" and "weights_only" not in given:
                found.append("torch.load without weights_only=True")
            if name == "numpy.load" and len(node.args) > 2:
                found.append("numpy.load with allow_pickle by position")
    return found


def code_of(path: Path) -> str:
    """Return the code of a page, magics left out."""
    cells = [c.source for c in jupytext.read(path).cells if c.cell_type == "code"]
    return "\n".join(re.sub(r"(?m)^\s*[%!].*$", "", source) for source in cells)


CHECKED = sorted(
    {*MODULES, *PAGES, *REPO.glob("tests/**/*.py"), *REPO.glob("book/**/*.py")}
)


@pytest.mark.promise("P11")
@pytest.mark.parametrize("path", CHECKED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_forbidden_call(path):
    text = code_of(path) if path in PAGES else path.read_text("utf-8")
    assert not forbidden(ast.parse(text), test="tests" in path.relative_to(REPO).parts)


@pytest.mark.promise("P11")
def test_all_code_was_looked_at(figure):
    """The pages of the book hold no code of their own, only the notebooks do."""
    figure("files free of unsafe loading", len(CHECKED))
    assert {p.parent.name for p in CHECKED} > {"rsnb", "notebooks", "tests", "_ext"}
    for page in REPO.glob("book/**/*.md"):
        assert "{code-cell" not in page.read_text("utf-8"), page.name


UNSAFE = [
    "import pickle",
    "import dill as d",
    "from joblib import load",
    "from a import *",
    "np.load(f, allow_pickle=True)",
    "import numpy as n; n.load(f, None, True)",
    "torch.load(f)",
    "from torch import load; load(f)",
    "import torch as t; t.load(f, map_location='cpu')",
    "torch.load(f, weights_only=False)",
    "torch.load(f, weights_only=maybe)",
    "yaml.load(f)",
    "from yaml import load as l; l(f)",
    "yaml.full_load(f)",
    "import pandas as pd; pd.read_pickle(f)",
    "eval('1')",
    "import builtins; builtins.exec('1')",
    "subprocess.run('ls', shell=True)",
    "subprocess.run('ls', shell=1)",
    "AutoModel.from_pretrained(n, trust_remote_code=True)",
    "AutoModel.from_pretrained(n, trust_remote_code=yes)",
    "os.system('ls')",
    "from os import system; system('ls')",
]


@pytest.mark.promise("P11", off=True)
@pytest.mark.parametrize("code", UNSAFE)
def test_forbidden_calls_are_seen(code):
    assert forbidden(ast.parse(code))


@pytest.mark.promise("P11", off=True)
@pytest.mark.parametrize("code", ["pickle.loads(b'')", "import joblib"])
def test_a_test_may_write_a_pickle_and_not_read_one(code):
    assert not forbidden(ast.parse("import pickle; pickle.dumps(1)"), test=True)
    assert forbidden(ast.parse(code), test=True)


@pytest.mark.promise("P11")
def test_allowed_calls_are_not():
    code = "model.eval(), re.compile('a'), torch.load(f, weights_only=True)"
    more = "; np.load(f, allow_pickle=False); yaml.safe_load(f); run(a, shell=False)"
    assert not forbidden(ast.parse(code + more))


# Strings that belong to one machine

OWN = re.compile(
    r"/(home|root|work|Users|opt)/\w|pythonhosted|pypi\.org/simple"
    r"|(?<!-emit-)(index-url|find-links)\b"
)


def test_no_path_or_registry_of_one_machine():
    top = [p for p in REPO.glob("*") if p.is_file() and p.name != "requirements.lock"]
    some = [*REPO.glob(".ci/*"), *REPO.glob("book/**/*"), *REPO.glob("notebooks/*")]
    text = {
        ".py",
        ".md",
        ".json",
        ".yml",
        ".yaml",
        ".toml",
        ".ipynb",
        ".bib",
        ".cff",
        "",
    }
    for path in [*top, *some, *PACKAGE.rglob("*"), *REPO.glob("tests/*")]:
        skip = path.name in (Path(__file__).name, ".coverage")
        if path.is_file() and path.suffix in text and not skip:
            hit = OWN.search(path.read_text("utf-8", "replace"))
            assert not hit, f"{path.name}: {hit.group()}"


# Pages

ORDER = [
    r"# \w",
    r"## What you will see",
    r"\[hide-input\]",
    r"\[parameters\]",
    r"## What we found",
    r"## What this does not show",
    r"## References",
]


def words(text: str) -> int:
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", text, flags=re.S)
    return len(re.findall(r"[A-Za-z]\S*", text))


def faults(path: Path) -> list[str]:
    """Return how a page (py:percent) departs from the house style."""
    nb = jupytext.read(path)
    out: list[str] = []
    code = [c for c in nb.cells if c.cell_type == "code"]
    prose = [c.source for c in nb.cells if c.cell_type == "markdown"]
    sizes = sorted(sum(bool(x.strip()) for x in c.source.splitlines()) for c in code)
    n_words, lines = sum(map(words, prose)), sum(sizes)

    def limit(what: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            out.append(f"{what}: {value:g}, not in {low:g} to {high:g}")

    limit("code cells", len(code), 1, 25)
    limit("median cell", statistics.median(sizes or [0]), 0, 6)
    limit("p90 cell", sizes[int(0.9 * (len(sizes) - 1))] if sizes else 0, 0, 15)
    limit("longest cell", max(sizes, default=0), 0, 30)
    limit("code lines", lines, 0, 200)
    limit("words", n_words, 800, 2500)
    limit("words per code line", n_words / max(lines, 1), 5, math.inf)
    if not re.fullmatch(r"\d\d_[a-z0-9]+(_[a-z0-9]+)*", path.stem) or (
        len(path.stem) > 32
    ):
        out.append(f"name {path.stem}")
    for before, cell in zip(nb.cells, nb.cells[1:], strict=False):
        both = before.cell_type == cell.cell_type == "code"
        tags = cell.metadata.get("tags", [])
        if both and not FIGURE.search(cell.source) and "parameters" not in tags:
            out.append(f"two code cells without prose: {cell.source[:40]!r}")
    for i, cell in enumerate(nb.cells):
        if extra := set(cell.metadata.get("tags", [])) - TAGS:
            out.append(f"cell {i}: tags {sorted(extra)}")
        if cell.cell_type == "code":
            out += [
                f"cell {i}: {len(line)} columns: {line[:30]}"
                for line in cell.source.splitlines()
                if len(line) > 79
            ]
    out += code_faults(code_of(path))
    out += shape_faults(nb)
    return out


def code_faults(code: str) -> list[str]:
    out = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ClassDef):
            out.append(f"class {node.name}")
        if isinstance(node, ast.FunctionDef):
            size = node.end_lineno - node.lineno + 1
            if size > 12:
                out.append(f"function {node.name} of {size} lines")
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            if BAD_NAMES.fullmatch(node.id):
                out.append(f"name {node.id}")
    return out


def shape_faults(nb) -> list[str]:
    """Return what is missing from the fixed order of a page."""
    out = []
    flat = "\n".join(
        f"{c.metadata.get('tags', [])}\n".replace("'", "") + c.source
        if c.cell_type == "code"
        else c.source
        for c in nb.cells
    )
    at = 0
    for mark in ORDER:
        hit = re.compile(rf"^{mark}", re.M).search(flat, at)
        if hit is None:
            out.append(f"missing or out of order: {mark}")
        else:
            at = hit.end()
    head = flat.split("[hide-input]")[0]
    for row in ("Question", "Data", "Model", "Run time", "Download"):
        if not re.search(rf"^\|\s*\**{row}", head, re.M | re.I):
            out.append(f"header table has no row {row}")
    if not 3 <= len(re.findall(r"^- ", head, re.M)) <= 5:
        out.append("'What you will see' needs 3 to 5 bullets")
    cells = [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        out.append(f"{len(cells)} parameters cells")
    for line in [x for c in cells for x in c.source.splitlines() if x.strip()]:
        if not re.fullmatch(r"[a-z]\w* = [^#\[\]{}()]+  # \S.*", line):
            out.append(f"parameter without comment, or not flat: {line}")
    return out


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_keeps_to_the_style(path):
    assert not faults(path)


GOOD_PAGE = """\
# %% [markdown]
# # Title
# |  | |
# |---|---|
# | **Question** | q |
# | **Data set** | d |
# | **Model** | m |
# | **Run time** | t |
# | **Downloaded** | n |
#
# ## What you will see
# - a
# - b
# - c

# %% tags=["hide-input"]
import sys

# %% tags=["parameters"]
profile = "world"  # data

# %% [markdown]
# LONG

# %%
# BODY

# %% [markdown]
# ## What we found
# ## What this does not show
# ## References
""".replace("LONG", "word " * 900)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# BODY", "class A: pass", "class A"),
        ("# BODY", "def f():\n" + "    f()\n" * 12, "function f of 13"),
        ("# BODY", "tmp = 1", "name tmp"),
        ("# BODY", f"a = '{'a' * 80}'", "86 columns"),
        ("# BODY", "f()\n" * 31, "longest cell"),
        ("# BODY", "f()\n\n# %%\ng()", "without prose"),
        ("hide-input", "hide-output", "tags"),
        ("  # data", "", "without comment"),
        ('"world"', '["world"]', "not flat"),
        ("## What we found", "## Found", "missing or out of order"),
        ("| **Model** | m |", "", "no row Model"),
        ("# - c", "#", "3 to 5 bullets"),
        ("word word", "", "words"),
        ("# # Title", "# Title", "missing"),
    ],
)
def test_departures_are_seen(tmp_path, old, new, says):
    path = tmp_path / "00_one.py"
    path.write_text(GOOD_PAGE)
    assert not faults(path)
    path.write_text(GOOD_PAGE.replace(old, new))
    assert any(says in f for f in faults(path)), faults(path)


def test_the_contents_list_every_page_in_order():
    toc = yaml.safe_load((REPO / "book/_toc.yml").read_text())
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    pages = [f for f in files if f.startswith("notebooks/")]
    assert pages == [f"notebooks/{p.stem}" for p in PAGES]


# The tests


def test_tests_are_collected_in_one_order(request):
    """Two processes share the tests by their order: no set, clock or address in it."""
    items = request.session.items
    paths = dict.fromkeys(str(item.path) for item in items)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "", *paths]
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    out = subprocess.run(
        command, cwd=REPO, env=env, capture_output=True, text=True, check=True
    ).stdout
    ours = [item.nodeid for item in items]
    known = set(ours)
    assert [line for line in out.splitlines() if line in known] == ours
