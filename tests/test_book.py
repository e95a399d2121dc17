"""Only fresh pages are published, without a warning, and looked over afterwards."""

from __future__ import annotations

import json
import re

import pytest

from rsnb import book, pages, profiles
from rsnb.book import BuildError, build, check_html, stage
from rsnb.cli import main
from rsnb.errors import StalePageError
from rsnb.runner import run

WORLD = profiles.PROFILES["world"]
PAGE = """\
from rsnb.report import glue
glue(answer=42)
print("ran with", seed)

# %% [markdown]
# The answer is {glue:text}`answer`.
"""


@pytest.mark.promise("P3")
def test_build_reuse_and_refusal(toy_book, monkeypatch, capsys):
    root = toy_book(**{"00_one": PAGE, "01_two": "print(note)"})
    with pytest.raises(StalePageError, match="00_one: never run\n  01_two: never run"):
        build(root)
    run(root, WORLD)
    index = build(root)
    html = (index.parent / "notebooks/00_one.html").read_text()
    assert "ran with 7" in html
    assert ">42<" in html
    assert re.search(r"/blob/[^/]+/notebooks/00_one\.ipynb", html)
    made = index.stat().st_mtime_ns

    def no_sphinx(*args, **kwargs):
        raise AssertionError("built again")

    with monkeypatch.context() as m:
        m.setattr(book.subprocess, "run", no_sphinx)
        assert build(root).stat().st_mtime_ns == made

    # One byte of the package makes every page stale, and only running them helps.
    (pages.PACKAGE / "metrics.py").write_bytes(b" ")
    assert main(["build", "--root", str(root)]) == 2
    said = capsys.readouterr().err
    assert "00_one: changed: code" in said
    assert "01_two" in said


@pytest.mark.promise("P3")
def test_other_parameters_or_a_touched_copy_are_not_published(toy_book):
    root = toy_book(**{"00_one": "print(seed)"})
    run(root, WORLD, settings={"seed": "8"})
    with pytest.raises(StalePageError, match="00_one: changed: parameters"):
        stage(root)
    run(root, WORLD)
    assert (stage(root) / "notebooks/00_one.ipynb").is_file()
    done = root / "build/run/world/00_one.ipynb"
    done.write_text(done.read_text().replace("7\\n", "9\\n"))
    with pytest.raises(StalePageError, match="the executed copy itself"):
        stage(root)
    done.with_suffix(".json").write_text("{")
    with pytest.raises(StalePageError, match="unreadable"):
        stage(root)


@pytest.mark.promise("P4")
def test_a_warning_fails_the_build_each_time(toy_book):
    root = toy_book(**{"00_one": "1\n\n# %% [markdown]\n# See {doc}`nowhere`."})
    run(root, WORLD)
    for _ in range(2):
        with pytest.raises(BuildError, match="nowhere"):
            build(root)
        assert not (root / "build/_build/site.json").exists()


def test_an_image_is_described_by_the_start_of_its_caption():
    code = {"cell_type": "code", "source": ["plot()"]}
    texts = [
        "See Figure 2.",
        "*Table 1 and\nFigure 2. Best at {glue:text}`a.b`. More.*",
    ]
    prose = [{"cell_type": "markdown", "source": [t]} for t in texts]
    cells = [{**code, "metadata": {}}, *prose, {**code, "metadata": {}}]
    first, *_, last = book._described({"cells": cells})["cells"]
    alt = "Table 1 and Figure 2. Best at …"
    assert first["metadata"]["mystnb"] == {"image": {"alt": alt}}
    assert last["metadata"]["mystnb"] == {"image": {"alt": ""}}


GOOD = "<html><body><h1 id='top'>T</h1>{}</body></html>"


@pytest.mark.promise("P4", off=True)  # a fault is planted in each
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("<a href='b.html'>x</a>", "broken link b.html"),
        ("<a href='../../x.html'>x</a>", "broken link"),
        ("<a href='#gone'>x</a>", "no such anchor #gone"),
        ("<a href='a.html#gone'>x</a>", "no such anchor"),
        ("<img src='no.png'>", "broken link no.png"),
        ("<a href='https://colab.research.google.com/x/blob/main/a.py'>x</a>", "Colab"),
        ("<p>Pending glue reference</p>", "not rendered"),
        ("<p>:::{note}</p>", "not rendered"),
        ("<p>```{figure} a.png</p>", "not rendered"),
        ("<p>see {doc}`x`</p>", "not rendered"),
        ("<span class='pasted-text'> </span>", "empty glue"),
        ("<pre>/somewhere/of/mine/src/a.py</pre>", "shows the path"),
    ],
)
def test_faults_in_pages_are_found(tmp_path, body, says):
    from pathlib import Path

    (tmp_path / "a.html").write_text(GOOD.format(body))
    [fault] = check_html(tmp_path, Path("/somewhere/of/mine"))
    assert says in fault


@pytest.mark.promise("P4")
def test_sound_pages_pass(tmp_path):
    ok = (
        "<a href='#top'>x</a><a href='a.html#top'>x</a><a href='https://a.org/#b'>x</a>"
        "<a href='mailto:a@b.org'>x</a><pre>```{note}</pre><p>{a} and ```</p>"
        "<a href='https://colab.research.google.com/github/o/r/blob/v1/notebooks/"
        "00_one.ipynb'>x</a>"
    )
    (tmp_path / "a.html").write_text(GOOD.format(ok))
    assert not list(check_html(tmp_path, tmp_path))
    (tmp_path / "a.html").write_text("<html><body>no heading</body></html>")
    assert list(check_html(tmp_path, tmp_path)) == ["a.html: no H1"]


@pytest.mark.promise("P3")
def test_manifest_states_what_a_page_was_made_from(toy_book):
    root = toy_book(**{"00_one": "1"})
    run(root, WORLD)
    facts = json.loads((root / "build/run/world/00_one.json").read_text())
    assert set(facts) == {"inputs", "output", "seconds"}
    assert set(facts["inputs"]) == {
        "code", "weights", "receipts", "lock", "python", "data", "source", "parameters",
    }  # fmt: skip
