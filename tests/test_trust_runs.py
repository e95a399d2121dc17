"""Runs say how they ended, show what the tree holds, and give the same bytes again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext.compare
import pytest
import torch

from rsnb import book, captionfile, cli, pages, runner
from rsnb.cli import main
from rsnb.errors import ParameterError, RsnbError, StalePageError
from test_captionfile import RUN, record
from test_captionfile import write as write_captions
from test_train import run as train
from test_train import same_bytes

FAILED = (AssertionError, pytest.fail.Exception)
METRICS = Path(pages.__file__).with_name("metrics.py")

# P1: exit codes, as `rsnb.errors` states them

ENDS = {
    "failing cell": ("1 / 0", [], 1, "ZeroDivisionError"),
    "time-out": ("import time; time.sleep(60)", ["--timeout", "2"], 3, "longer than"),
    "killed kernel": ("import os; os.kill(os.getpid(), 9)", [], 3, "kernel died"),
    "mistyped parameter": ("1", ["--set", "sede=3"], 2, "Did you mean 'seed'?"),
}


def check_end(toy_book, capsys, name):
    code, argv, want, says = ENDS[name]
    root = toy_book(**{"00_one": code})
    assert main(["run", "--root", str(root), *argv]) == want
    assert says in capsys.readouterr().err
    assert not (root / "build/run/world/00_one.ipynb").exists()


@pytest.mark.promise("P1")
@pytest.mark.parametrize("name", ENDS)
def test_exit_codes(toy_book, capsys, figure, name):
    check_end(toy_book, capsys, name)
    figure(f"exit code, {name}", ENDS[name][2])


@pytest.mark.promise("P1", off=True)
def test_off_exit_codes(toy_book, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_say", lambda message, code: 0)
    with pytest.raises(FAILED):
        check_end(toy_book, capsys, "mistyped parameter")


@pytest.mark.promise("P1", off=True)
def test_off_the_end_of_a_page(toy_book, capsys, monkeypatch):
    """Papermill, left alone, takes a page that leaves early for a whole run."""
    monkeypatch.setattr(runner, "CellError", type("Quiet", (RsnbError,), {}))
    monkeypatch.setitem(ENDS, "early", ("raise SystemExit(0)\n# %%\n1", [], 1, "ended"))
    with pytest.raises(FAILED):
        check_end(toy_book, capsys, "early")


# P2: parameters

MALFORMED = (
    "seed", "=3", "a b=3", "profile=ucm", "sede=3", "Seed=3", "seed=007", "seed=1.5",
    "seed=", "lr=nan", "lr=0x1", "quick=yes",
)  # fmt: skip


def check_parameters(toy_book, monkeypatch, capsys):
    def started(*args, **kwargs):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", started)
    root = toy_book(**{"00_one": "1"})
    for bad in MALFORMED:
        assert main(["run", "--root", str(root), "--set", bad]) == 2, bad
        said = capsys.readouterr().err
        assert "--set" in said
        if bad.partition("=")[0] in ("sede", "Seed"):
            assert "Did you mean 'seed'?" in said
    return len(MALFORMED)


@pytest.mark.promise("P2")
def test_parameters(toy_book, monkeypatch, capsys, figure):
    found = check_parameters(toy_book, monkeypatch, capsys)
    figure("malformed parameter sets refused before a kernel", found, of=12)


@pytest.mark.promise("P2", off=True)
@pytest.mark.parametrize("part", ["bind", "typed", "parse_settings"])
def test_off_parameters(toy_book, monkeypatch, capsys, part):
    as_given = {
        "bind": (
            runner,
            lambda books, profile, given: {nb: dict(given) for nb in books},
        ),
        "typed": (pages, lambda name, text, default: text),
        "parse_settings": (pages, lambda pairs: dict(p.split("=") for p in pairs)),
    }
    where, what = as_given[part]
    monkeypatch.setattr(where, part, what)
    with pytest.raises((*FAILED, ValueError)):
        check_parameters(toy_book, monkeypatch, capsys)


# P3: only what was executed from this tree is shown


def flip(path):
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


def check_stale(root, *names):
    """Change one byte of the package's metrics; the build refuses and names pages."""
    shutil.copy(METRICS, pages.PACKAGE / "metrics.py")
    assert main(["run", "--root", str(root)]) == 0
    book.stage(root)
    flip(pages.PACKAGE / "metrics.py")
    with pytest.raises(StalePageError) as e:
        book.stage(root)
    for name in names:
        assert f"{name}: changed: code" in str(e.value)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    "show", [book.stage, pytest.param(book.build, marks=pytest.mark.trust)]
)
def test_a_changed_byte_of_the_package(toy_book, capsys, show, figure):
    root = toy_book(**{"00_one": "print(seed)", "01_two": "print(note)"})
    check_stale(root, "00_one", "01_two")
    assert main(["build", "--root", str(root)]) == 2
    assert "01_two: changed: code" in capsys.readouterr().err
    # the two steps of `make book`; the second in full where there is time
    assert main(["run", "--root", str(root)]) == 0
    assert capsys.readouterr().out.count("changed: code") == 2
    assert show(root).exists()
    figure("stale pages refused, then run again", 2, of=2)


@pytest.mark.promise("P3")
def test_make_book_runs_before_it_builds():
    lines = (METRICS.parents[2] / "Makefile").read_text().splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith("book:"))
    steps = [text.split()[3] for text in lines[at + 1 : at + 3]]
    assert steps == ["run", "build"]


@pytest.mark.promise("P3", off=True)
@pytest.mark.parametrize("part", ["stale", "digest"])
def test_off_stale(toy_book, monkeypatch, part):
    if part == "stale":
        monkeypatch.setattr(book, "stale", lambda done, now: "")
    else:  # the code is no input
        monkeypatch.setattr(pages, "tree_digest", lambda folder, *skip: "same")
    with pytest.raises(FAILED):
        check_stale(toy_book(**{"00_one": "print(seed)"}), "00_one")


# P5: pairs


def check_pair(toy_book):
    root = toy_book(**{"00_one": "print(1)"})
    notebook = root / "notebooks/00_one.ipynb"
    pages.check_pair(notebook)
    notebook.write_text(notebook.read_text().replace("print(1)", "print(2)"))
    with pytest.raises(ParameterError, match="differ"):
        pages.check_pair(notebook)


@pytest.mark.promise("P5")
def test_a_mutated_pair_fails(toy_book):
    check_pair(toy_book)


@pytest.mark.promise("P5", off=True)
def test_off_pairs(toy_book, monkeypatch):
    monkeypatch.setattr(jupytext.compare, "compare_notebooks", lambda *a, **how: None)
    with pytest.raises(FAILED):
        check_pair(toy_book)


# P6: the same inputs, the same bytes

PAGE = """
import sys
from pathlib import Path
import numpy as np
import torch
from rsnb import backbones, data, embed, metrics, noise, report, stats
torch.set_num_threads(int(sys.argv[2]))
report.root = lambda: Path(sys.argv[1])
pairs = data.load("world").where("test").subset(range(24))
emb = embed.embed(backbones.load("world-vit"), pairs, cache=False)
found = metrics.evaluate(emb.sim, pairs.gt)
wrong = noise.corrupt(pairs, 0.4)
ci = stats.bootstrap_ci(found, metric="mR", n=200)
more = {"hits": found.t2i_hits, "gt": wrong.gt, "words": sorted({
    w for c in wrong.captions for w in c.split()}), "emb": emb.img[:4]}
EXTRA
report.page("world", "toy", {**found.as_dict(), "low": ci.low, "high": ci.high}, **more)
"""
# One run, and one with all else that may differ
RUNS = [("0", "1", "a"), ("1", "2", "b")]
ALL = [RUNS[0]] + [
    (seed, threads, at) for seed in "01" for threads in "12" for at in "ab"
]


def check_bytes(folder, extra="", runs=RUNS):
    """Run the page in processes of its own; return how many files were equal."""
    made = []
    for n, (seed, threads, at) in enumerate(runs):
        (where := folder / at).mkdir(exist_ok=True)
        env = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        code, out = PAGE.replace("EXTRA", extra), folder / str(n)
        command = [sys.executable, "-c", code, str(out), threads]
        subprocess.run(command, check=True, cwd=where, env=env)
        (path,) = out.rglob("*.json")
        made.append(path.read_bytes())
    assert len(set(made)) == 1, "equal runs gave other bytes"
    return len(made)


@pytest.mark.promise("P6")
def test_equal_runs_give_equal_bytes(tmp_path, figure):
    found = check_bytes(tmp_path)
    figure("runs with equal bytes (threads, hash seed, folder)", found, of=len(RUNS))


@pytest.mark.promise("P6")
@pytest.mark.trust
def test_equal_runs_in_all_settings(tmp_path, figure):
    found = check_bytes(tmp_path, runs=ALL)
    figure("settings with equal bytes", found, of=len(ALL))


@pytest.mark.promise("P6", off=True)
@pytest.mark.trust
@pytest.mark.parametrize(
    "extra",
    [
        'more["draw"] = np.random.default_rng().random()',
        'more["set"] = list({"a", "b", "c", "d", "e", "f", "g", "h"})',
        'more["at"] = str(Path.cwd())',
        'more["threads"] = torch.get_num_threads()',
    ],
    ids=["no seed", "order of a set", "folder", "threads"],
)
def test_off_equal_bytes(tmp_path, extra):
    with pytest.raises(FAILED, match="other bytes"):
        check_bytes(tmp_path, extra)


# P14: what resumes goes on as if nothing had happened; see test_train, test_captionfile


def check_resume(folder):
    settings = {"epochs": 2, "tower": "vit", "average": 0.9}
    straight = train(**settings)
    train(folder, max_steps=4, **settings)
    same_bytes(straight, train(folder, **settings))


@pytest.mark.promise("P14", off=True)
def test_off_the_optimiser_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda self, state: None)
    with pytest.raises(FAILED):
        check_resume(tmp_path)


@pytest.mark.promise("P14", off=True)
def test_off_the_order_of_an_epoch_is_its_own(tmp_path, monkeypatch):
    """With one stream of random numbers for all, a second sitting draws others."""
    from rsnb import batches

    stream = batches.np.random.default_rng(0)
    monkeypatch.setattr(batches.np.random, "default_rng", lambda *seed: stream)
    with pytest.raises((*FAILED, ParameterError)):
        check_resume(tmp_path)


def check_lines(folder):
    whole = write_captions(folder / "b", 4).read_bytes()
    path = write_captions(folder / "a", 3)
    os.truncate(path, path.stat().st_size - 9)
    with captionfile.CaptionFile(path, RUN) as file:
        for k in range(4):
            if record(k).image not in file.done:
                file.append(record(k))
    assert path.read_bytes() == whole


@pytest.mark.promise("P14")
def test_captions_resume_to_the_same_bytes(tmp_path):
    check_lines(tmp_path)


@pytest.mark.promise("P14", off=True)
def test_off_torn_lines(tmp_path, monkeypatch):
    scan = captionfile._scan

    def keeps(path, data):
        return *scan(path, data)[:2], len(data)

    monkeypatch.setattr(captionfile, "_scan", keeps)
    with pytest.raises(FAILED):
        check_lines(tmp_path)
