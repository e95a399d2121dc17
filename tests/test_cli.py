"""The command line: exit codes, one message, no traceback unless asked."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

import rsnb
from rsnb import cli
from rsnb.cli import main
from rsnb.errors import ParameterError


def test_module_runs_and_states_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "rsnb", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, rsnb.__version__)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["rum"],
        ["run", "--what"],
        ["run", "02"],
        ["audit"],
        ["run", "--timeout", "x"],
        ["describe", "world"],
        ["describe", "world", "--out", "x.jsonl", "--prompt", "poem"],
    ],
)
@pytest.mark.promise("P1")
def test_usage_errors(argv):
    with pytest.raises(SystemExit) as e:
        main(argv)
    assert e.value.code == 2


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "--profile", "nowhere"],
        ["run", "--timeout", "-1"],
        ["run", "--only", "77"],
        ["run", "--root", "/"],
        ["build", "--root", "/"],
        ["audit", "/no/such/folder"],
        ["fetch", "nothing"],
        ["describe", "nowhere", "--out", "x.jsonl"],
        ["describe", "world", "--split", "tset", "--out", "x.jsonl"],
        ["sweep", "noise", "nosuchplan"],
        ["sweep", "noise", "nosuchplan", "--summary"],
        ["sweep", "noise", "ucm", "--part", "3/2"],
    ],
)
@pytest.mark.promise("P1")
def test_bad_input_is_2_with_one_message(argv, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("rsnb: ")
    assert "Traceback" not in err
    with pytest.raises(rsnb.errors.RsnbError):
        main(["--debug", *argv])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (KeyboardInterrupt(), 130),
        (ParameterError("x"), 2),
    ],
)
@pytest.mark.promise("P1")
def test_exit_codes(monkeypatch, capsys, error, code):
    def fail(*args):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["build"]) == code
    assert capsys.readouterr().err.startswith("rsnb: ")


def test_other_os_errors_are_not_hidden(monkeypatch):
    def fail(*args):
        raise PermissionError("x")

    monkeypatch.setattr(cli, "_dispatch", fail)
    with pytest.raises(PermissionError):
        main(["build"])


def test_assets_gets_its_own_arguments(monkeypatch):
    from rsnb import assets

    seen = []
    monkeypatch.setattr(assets, "main", lambda a: seen.append(a) or 0, raising=False)
    assert main(["assets", "check", "--seed", "3"]) == 0
    assert seen == [["check", "--seed", "3"]]


def test_fetch_and_audit_pass_their_arguments(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("rsnb.hub.fetch", lambda name, to: f"{name} in {to}")
    assert main(["fetch", "rsicd", "--to", str(tmp_path)]) == 0
    monkeypatch.setattr("rsnb.review.survey", lambda sets, **how: print(sets, how))
    assert main(["audit", "ucm", "rsicd", "--lenient"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"rsicd in {tmp_path}"
    assert out[1] == "['ucm', 'rsicd'] {'lenient': True, 'record_as': None}"


def test_root_is_given_or_here_or_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli._root(Path("x")) == tmp_path / "x"
    assert cli._root(None) == Path(rsnb.__file__).parents[2]
    (tmp_path / "_config.yml").touch()
    (tmp_path / "notebooks").mkdir()
    assert cli._root(None) == tmp_path
