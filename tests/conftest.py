"""Shared set-up: no network, no display, a cache of its own, toy books."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["promises"]
REPO = Path(__file__).resolve().parents[1]
LOCAL = {"127.0.0.1", "::1", "localhost"}

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A toy page
#
# Some words.

# %% tags=["parameters"]
profile = "world"  # data set
seed = 7  # a number
lr = 0.1
quick = False
note = "a"

# %%
"""


def pytest_configure(config):
    os.environ["MPLBACKEND"] = "agg"
    if "RSNB_CACHE" not in os.environ:
        os.environ["RSNB_CACHE"] = config.stash_cache = tempfile.mkdtemp("-rsnb")


def pytest_unconfigure(config):
    if hasattr(config, "stash_cache"):
        shutil.rmtree(config.stash_cache, ignore_errors=True)


@pytest.fixture(autouse=True)
def offline(request, monkeypatch):
    """Refuse every connection that leaves this machine."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            raise RuntimeError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def toy_book(tmp_path, monkeypatch):
    """Return a function that makes a small book: page name → code of its last cell."""
    import jupytext

    package = tmp_path / "src"  # so that an edit during the tests stales no toy page
    package.mkdir()
    monkeypatch.setattr("rsnb.pages.PACKAGE", package)

    def make(**cells: str) -> Path:
        shutil.copy2(REPO / "_config.yml", tmp_path)
        (tmp_path / "notebooks").mkdir()
        for part in ("_ext", "_static"):  # _config.yml names them
            shutil.copytree(REPO / "book" / part, tmp_path / "book" / part)
        for name, code in cells.items():
            py = tmp_path / "notebooks" / f"{name}.py"
            py.write_text(HEADER + code + "\n")
            jupytext.write(jupytext.read(py), py.with_suffix(".ipynb"))
        files = "".join(f"  - file: notebooks/{name}\n" for name in cells)
        toc = f"format: jb-book\nroot: book/intro\nchapters:\n{files}"
        (tmp_path / "book" / "_toc.yml").write_text(toc)
        (tmp_path / "book" / "intro.md").write_text("# Toy book\n\nHello.\n")
        (tmp_path / "book" / "references.bib").write_text("")
        return tmp_path

    return make
