"""Pages run through papermill with honest exit codes, and re-run when they must."""

from __future__ import annotations

import json

import pytest

from rsnb import pages, profiles
from rsnb.cli import main
from rsnb.errors import DataError, ParameterError, ResourceError
from rsnb.pages import (
    bind,
    check_pair,
    defaults,
    find_pages,
    parse_settings,
    typed,
)
from rsnb.runner import CellError, run

WORLD = profiles.PROFILES["world"]


@pytest.fixture
def no_kernel(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", refuse)


@pytest.mark.promise("P3")
def test_runs_then_stands_then_reruns_what_changed(toy_book, monkeypatch, capsys):
    monkeypatch.setenv("RSNB_DATA", "/nowhere")
    code = (  # a bar in one run and none in the next would differ under nbval
        "import os\nfrom tqdm.auto import tqdm\n"
        "for _ in tqdm([1]):\n    print(os.getcwd(), seed, 'RSNB_DATA' in os.environ)"
    )
    root = toy_book(**{"00_one": code, "01_two": "print(note)"})
    assert run(root, WORLD) == ["00_one", "01_two"]
    done = root / "build/run/world/00_one.ipynb"
    nb = json.loads(done.read_text())
    (out,) = nb["cells"][-1]["outputs"]
    assert "".join(out["text"]) == f"{root} 7 False\n"
    assert "papermill" not in done.read_text()
    first = done.read_bytes()
    assert run(root, WORLD) == []
    assert "up to date" in capsys.readouterr().out
    assert run(root, WORLD, force=True, only=["00"]) == ["00_one"]
    assert done.read_bytes() == first
    assert run(root, WORLD, settings={"seed": "8"}, only=["0".zfill(2)]) == ["00_one"]
    assert "seed = 8" in done.read_text()
    assert run(root, WORLD) == ["00_one"]  # back to its defaults


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("1 / 0", CellError, "cell 2 raised ZeroDivisionError"),
        ("raise SystemExit(0)\n# %%\nprint(1)", CellError, "ended before cell"),
        ("raise MemoryError", ResourceError, "MemoryError"),
        ("import time; time.sleep(60)", ResourceError, "longer than 3 s"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            ResourceError,
            "kernel died",
        ),
    ],
)
@pytest.mark.promise("P1")
def test_failures_are_told_apart(toy_book, code, error, says):
    root = toy_book(**{"00_bad": code})
    seconds = 3 if "sleep" in code else 60  # a busy machine starts a kernel slowly
    with pytest.raises(error, match=says):
        run(root, WORLD, timeout=seconds)
    assert not (root / "build/run/world/00_bad.ipynb").exists()


@pytest.mark.promise("P1")
def test_exit_codes(toy_book, capsys):
    root = toy_book(**{"00_bad": "1 / 0"})
    base = ["run", "--root", str(root)]
    assert main(base) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (root / "build/failed/world/00_bad.ipynb").is_file()
    assert main([*base, "--set", "sede=3"]) == 2
    assert "Did you mean 'seed'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        ["seed"],
        ["=3"],
        ["a b=3"],
        ["seed=1", "seed=2"],
        ["profile=ucm"],
        ["sede=3"],
        ["Seed=3"],
        ["seed=007"],
        ["seed=1.5"],
        ["seed="],
        ["seed=True"],
        ["lr=nan"],
        ["lr=1e999"],
        ["lr=0x1"],
        ["quick=1"],
        ["quick=yes"],
    ],
)
@pytest.mark.promise("P2")
def test_bad_parameters_stop_before_a_kernel(toy_book, no_kernel, settings):
    root = toy_book(**{"00_one": "print(1)"})
    with pytest.raises(ParameterError):
        run(root, WORLD, settings=parse_settings(settings))


@pytest.mark.promise("P2")
def test_parameters_take_the_type_of_their_default(toy_book):
    root = toy_book(**{"00_one": "1", "01_two": "2"})
    books = find_pages(root)
    assert defaults(books[0]) == {
        "profile": "world", "seed": 7, "lr": 0.1, "quick": False, "note": "a",
    }  # fmt: skip
    got = bind(books, "ucm", {"seed": "-3", "lr": "2", "quick": "TRUE", "note": "7"})
    want = {"profile": "ucm", "seed": -3, "lr": 2.0, "quick": True, "note": "7"}
    assert got == dict.fromkeys(books, want)
    assert typed("lr", "1e-3", 0.1) == 1e-3


@pytest.mark.parametrize("cell", ["seed = 1", "profile = 3", "profile = [1]", ""])
@pytest.mark.promise("P2")
def test_parameters_cell_must_be_flat_and_name_profile(toy_book, cell):
    root = toy_book(**{"00_one": "1"})
    path = root / "notebooks/00_one.ipynb"
    nb = json.loads(path.read_text())
    nb["cells"][1]["source"] = cell
    path.write_text(json.dumps(nb))
    with pytest.raises(ParameterError):
        defaults(path)


@pytest.mark.parametrize("only", ["7", "00_two", "two"])
@pytest.mark.promise("P2")
def test_unknown_page(toy_book, no_kernel, only):
    root = toy_book(**{"00_one": "1"})
    with pytest.raises(ParameterError, match="00_one"):
        run(root, WORLD, only=[only])


def test_no_pages(tmp_path):
    with pytest.raises(ParameterError, match="no notebooks"):
        find_pages(tmp_path)


@pytest.mark.parametrize("damage", ["edit", "outputs", "no twin"])
@pytest.mark.promise("P5")
def test_pair_out_of_step_stops(toy_book, no_kernel, damage):
    root = toy_book(**{"00_one": "print(1)"})
    path = root / "notebooks/00_one.ipynb"
    nb = json.loads(path.read_text())
    if damage == "edit":
        nb["cells"][-1]["source"] = "print(2)"
    elif damage == "outputs":
        nb["cells"][-1]["execution_count"] = 1
    else:
        path.with_suffix(".py").unlink()
    path.write_text(json.dumps(nb))
    with pytest.raises(ParameterError):
        check_pair(path)
    with pytest.raises(ParameterError):
        run(root, WORLD)


def test_named_data_must_be_there_before_a_kernel(
    toy_book, no_kernel, tmp_path, monkeypatch
):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    root = toy_book(**{"00_one": "1"})
    with pytest.raises(DataError, match="ucm is not on this machine"):
        run(root, profiles.PROFILES["ucm"])
    assert main(["run", "--root", str(root), "--profile", "ucmm"]) == 2


@pytest.mark.promise("P3")
def test_path_profile_reruns_when_its_data_changes(toy_book, tmp_path):
    root = toy_book(**{"00_one": "print(profile)"})
    data = tmp_path / "my set"
    data.mkdir()
    (data / "captions.csv").write_text("filename,title\n")
    mine = profiles.get(str(data))
    assert run(root, mine) == ["00_one"]
    out = root / "build/run" / mine.name / "00_one.ipynb"
    assert str(data) in out.read_text()
    assert run(root, mine) == []
    (data / "captions.csv").write_text("filename,title\na,b\n")
    assert run(root, mine) == ["00_one"]


@pytest.mark.parametrize("part", ["code", "weights", "receipts", "lock", "source"])
@pytest.mark.promise("P3")
def test_every_input_counts(toy_book, part):
    root, package = toy_book(**{"00_one": "1"}), pages.PACKAGE
    (package / "weights").mkdir()
    nb = find_pages(root)[0]
    (root / "book/results").mkdir()
    (root / "requirements.lock").write_text("")
    before = pages.inputs(root, WORLD, {nb: {}})[nb]
    file = {
        "code": package / "a.py",
        "weights": package / "weights/a.safetensors",
        "receipts": root / "book/results/a.json",
        "lock": root / "requirements.lock",
        "source": nb.with_suffix(".py"),
    }[part]
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    after = pages.inputs(root, WORLD, {nb: {}})[nb]
    assert [k for k in after if after[k] != before[k]] == [part]
