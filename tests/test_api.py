"""The API pages hold every module once, and links to functions lead to public names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import rsnb

PACKAGE, REPO = Path(rsnb.__file__).parent, Path(__file__).resolve().parents[1]
SHOWN = re.compile(r"^\.\. automodule:: (rsnb[\w.]*)$", re.M)
LINK = re.compile(r"\{py:(\w+)\}`([^`]+)`")


def public() -> dict[str, list[str]]:
    """Return module → `__all__`, for every module that has one."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "__all__"
            ):
                parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
                name = ".".join(parts).removesuffix(".__init__")
                found[name] = ast.literal_eval(node.value)
    return found


def test_each_module_stands_on_one_api_page():
    pages = sorted(REPO.glob("book/api/*.md"))
    shown = Counter(m for p in pages for m in SHOWN.findall(p.read_text("utf-8")))
    assert set(shown) == set(public()) - {"rsnb"}, "give it a place in book/api/"
    assert set(shown.values()) == {1}


def test_links_to_the_api_name_what_is_public():
    known = public()
    names = {f"{m}.{n}" for m, own in known.items() for n in own} | set(known)
    files = [*REPO.glob("book/**/*.md"), *REPO.glob("notebooks/*.py")]
    texts = {p.name: p.read_text("utf-8").replace("`~rsnb", "`rsnb") for p in files}
    found = {(name, *x) for name, text in texts.items() for x in LINK.findall(text)}
    assert len(found) > 20
    assert not [x for x in found if x[2] not in names]
