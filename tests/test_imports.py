"""Imports go one way, and the first one is quick."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import rsnb

PACKAGE = Path(rsnb.__file__).parent

# Lowest first. A module imports from floors below its own, or from its own floor as
# long as no cycle arises; imports inside functions count. A new module needs a place.
FLOORS = [
    "errors files cache ranks shards",
    "pairs words registry",
    "images stores layouts readers hub world",
    "lists cards",
    "data noise noisefiles",
    "vectors recall metrics stats published",
    "twoway rerank",
    "checkpoints backbones pixels embed exact index ondisk databases records parsing "
    "captionfile phrases",
    "augment pacing losses methods hashing local localindex rrsitr averaging batches "
    "runstate steps train",
    "prompts vlm likelihood endpoint captioners textspace t2t captions smallvlm "
    "lessons adapters lora",
    "cadre",
    "duplicates evidence probes",
    "report plots",
    "recipes smallcaptioners witnesses assets facts audit review trials sweep findings "
    "explorers replay widgets scale",
    "profiles pages runner book colab cells comparison reproduce results",
    "cli __main__",
]
FLOOR = {name: i for i, row in enumerate(FLOORS) for name in row.split()}


def imported(path: Path) -> set[str]:
    """Return the modules of rsnb that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
            inside = {f"{node.module}.{a.name}" for a in node.names}
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            if not all((folder / f"{a.name}.py").is_file() for a in node.names):
                names.add(node.module)  # more than modules is taken from it
            names |= inside
    return {n.removeprefix("rsnb.") for n in names if n.startswith("rsnb.")}


def modules() -> dict[str, set[str]]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = imported(path)
    return {n: {d for d in deps if d in found} for n, deps in found.items()}


def test_every_module_has_a_floor():
    top = {n.split(".")[0] for n in modules()} - {"__init__"}
    assert top <= FLOOR.keys(), "give it a place in FLOORS"


def test_imports_go_down():
    up = [
        f"{name} imports {dep}"
        for name, deps in modules().items()
        for dep in deps
        if name != "__init__" and FLOOR[dep.split(".")[0]] > FLOOR[name.split(".")[0]]
    ]
    assert not up


def test_no_cycles():
    list(graphlib.TopologicalSorter(modules()).static_order())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("rsnb", "numpy torch"),
        ("rsnb.cli", "numpy torch papermill"),
        ("rsnb.runner", "torch transformers papermill jupytext matplotlib"),
        ("rsnb.book", "torch transformers papermill sphinx matplotlib"),
        ("rsnb.noisefiles", "torch transformers open_clip matplotlib"),
        ("rsnb.data", "torch transformers open_clip matplotlib"),
        ("rsnb.metrics", "torch transformers open_clip faiss matplotlib"),
    ],
)
def test_imports_are_light(module, heavy):
    code = f"import sys, {module}; print(*set({heavy.split()}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
