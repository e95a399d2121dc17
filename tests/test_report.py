import datetime
import importlib.metadata
import json
import os
import platform
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rsnb import report
from rsnb.errors import ParameterError
from rsnb.files import tree_digest


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "root", lambda: tmp_path)
    return tmp_path


def test_a_receipt_states_how_to_make_the_figures_again(tree):
    figures = {"mR": np.float32(52.5), "seeds": np.arange(2), "pair": (1, 2.5)}
    path = report.record(
        "x", figures, command="python -m rsnb x", inputs={"data": "d"}, seeds=[0, 1]
    )
    facts = json.loads(path.read_text())
    assert path == tree / "book" / "results" / "x.json"
    assert facts["figures"] == {"mR": 52.5, "seeds": [0, 1], "pair": [1, 2.5]}
    assert facts["seeds"] == [0, 1] and facts["command"] == "python -m rsnb x"
    code = tree_digest(Path(report.__file__).parent, "weights")
    assert facts["inputs"] == {"data": "d", "code": code}
    assert set(facts["made"]) == {"date", "hardware", "versions"}
    assert report.receipt("x") == facts


def test_what_made_it_is_stated(tree, monkeypatch):
    class Card:
        @staticmethod
        def is_available():
            return True

        @staticmethod
        def get_device_name():
            return "A card"

    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Card))
    made = report.receipt(report.record("x", {}, command="c").stem)["made"]
    assert re.fullmatch(r"7 x .+, A card", made["hardware"])
    assert made["date"] == datetime.datetime.now(datetime.UTC).date().isoformat()
    names = ("faiss-cpu", "numpy", "open_clip_torch", "pillow", "torch")
    want = {name: importlib.metadata.version(name) for name in names}
    assert made["versions"] == {**want, "python": platform.python_version()}
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(report, "_PACKAGES", ("numpy", "of-no-such-name"))
    made = report.receipt(report.record("x", {}, command="c").stem)["made"]
    assert "card" not in made["hardware"] and len(made["versions"]) == 2
    assert report.record("a/b", {}, command="c") == tree / "book/results/a/b.json"


def test_a_missing_receipt_names_those_that_exist(tree):
    with pytest.raises(ParameterError, match=r"'want' in .*; there are: none\."):
        report.receipt("want")
    report.record("have", {}, command="c")
    report.record("a/deep", {}, command="c")
    with pytest.raises(ParameterError, match=r"'want'.*there are: a/deep, have\."):
        report.receipt("want")


def test_an_installed_package_has_its_receipts_inside(tmp_path, monkeypatch):
    module = tmp_path / "lib" / "site" / "rsnb" / "report.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(report, "__file__", str(module))
    monkeypatch.chdir(tmp_path)
    assert report.root() == Path.cwd()
    assert report.shelf() == Path.cwd() / "book" / "results"
    (tmp_path / "lib" / "notebooks").mkdir()
    assert report.root() == tmp_path / "lib"
    (module.parent / "results").mkdir()
    assert report.shelf() == module.parent / "results"


def test_nan_is_no_figure(tree):
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.record("x", {"mR": float("nan")}, command="c")
    assert not list(tree.rglob("*.json"))


def test_a_page_writes_equal_bytes_twice_and_nothing_of_the_machine(tree):
    path = tree / "build" / "results" / "world" / "00.json"
    report.page("world", "00", {"mR": np.float64(1.5)}, rows={"a": [1]})
    first = path.read_bytes()
    report.page("world", "00", {"mR": 1.5}, rows={"a": (1,)})
    assert path.read_bytes() == first
    assert json.loads(first) == {"mR": 1.5, "rows": {"a": [1]}}


def test_glue_gets_plain_numbers(monkeypatch):
    got = {}
    module = type(sys)("myst_nb")
    module.glue = lambda name, value, display: got.update({name: value})
    monkeypatch.setitem(sys.modules, "myst_nb", module)
    report.glue(a=np.float64(1.5), b=np.int64(3), c="text")
    assert got == {"a": 1.5, "b": 3, "c": "text"}
    assert [type(v) for v in got.values()] == [float, int, str]
    for bad, kind in ((True, "bool"), ([1], "list"), (None, "NoneType")):
        with pytest.raises(ParameterError, match=f"a: {kind} is neither a number nor"):
            report.glue(a=bad)


def test_glue_does_nothing_without_myst_nb(monkeypatch):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    report.glue(a=1.0)


BAD = ["<script>alert(1)</script>", "</td>", "a & b", '" onload="x', "<img src=x>"]


@pytest.mark.parametrize("text", BAD)
def test_tables_escape_every_text(text):
    rows = {text: {"caption": text, text: 1.0}}
    for data in (rows, [*rows.values()], pd.DataFrame(rows)):
        html = report.table(data, caption=text).data
        assert "<script" not in html and "<img" not in html
        assert html.count("<td>") == html.count("</td>")


def test_tables_round_and_hold_rows_in_order():
    html = report.table({"b": {"x": 1 / 3, "n": 1234}, "a": {"x": None}}, "C").data
    assert "<td>0.33</td>" in html and "1,234" in html and "<td>–</td>" in html
    assert html.startswith('<div style="overflow-x:auto" tabindex="0"><table')
    assert "text-align: left" in html and 'border="1"' not in html
    near = report.table([{"x": -0.001, "y": 1234.5}], digits=1, index=False).data
    assert "<td>0.0</td>" in near and "<td>1,234.5</td>" in near
    assert "<th>" in near and "<th>0</th>" not in near and "<caption>" not in near
    assert html.index("<th>b</th>") < html.index("<th>a</th>")
    assert "<caption>C</caption>" in html


def test_seed_table_has_one_row_a_run_and_says_what_is_missing(tree):
    recalls = {f"{way}_r{k}": 9.04 for way in ("t2i", "i2t") for k in (10, 5, 1)}
    run = {"seed": 1, "mR": 52.1, "mR_interval": [50.0, 54.2], **recalls}
    report.record("backbone-x", {"runs": [{**run, "train_seconds": 90.0}]}, command="c")
    rows = report.seed_table(["backbone-x", "backbone-y"])
    assert rows[0]["backbone"] == "x" and rows[0]["95 %"] == "50.0–54.2"
    assert rows[0]["min"] == 2 and rows[0]["i2t 1"] == "9.0"
    assert [*rows[0]][4:] == [
        f"{w} {k}" for w in ("i2t", "t2i") for k in (1, 5, 10)
    ] + ["min"]
    assert rows[1] == {"backbone": "backbone-y", "seed": "no receipt in this copy"}
    assert report.seed_table(["backbone-y", "backbone-x"])[1] == rows[0]
    none = {"backbone": "none of this profile's own", "seed": "-"}
    assert report.seed_table([]) == [none]
