"""The scripts of the trust battery judge rightly; none is run in full here."""

from __future__ import annotations

import json
import runpy
import sys
from types import SimpleNamespace

import pytest

from test_style import REPO

TRUST = REPO / "tests" / "trust"
CLEAN = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
KNOWN = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1"}]}]}


def script(name):
    """Return what a script defines, in a dict that its functions look names up in."""
    return runpy.run_path(str(TRUST / f"{name}.py"))["main"].__globals__


def audit_with(monkeypatch, out, err=""):
    """Return the audit script, asking a pip-audit that says `out`."""
    own = script("audit")
    answer = SimpleNamespace(stdout=out, stderr=err, returncode=1)
    fake = SimpleNamespace(run=lambda *a, **k: answer, TimeoutExpired=TimeoutError)
    own["subprocess"] = fake
    monkeypatch.setattr(sys, "argv", ["audit.py"])
    return own


@pytest.mark.promise("P11")
@pytest.mark.parametrize(("report", "code"), [(CLEAN, 0), (KNOWN, 1)])
def test_an_audit_tells_known_advisories(monkeypatch, capsys, report, code):
    own = audit_with(monkeypatch, json.dumps(report))
    assert own["main"]() == code
    said = json.loads(capsys.readouterr().out)
    assert said["pins"] == 1 and said["known"] == ({"a==1": ["X-1"]} if code else {})


@pytest.mark.promise("P11", off=True)
def test_an_audit_that_nobody_answers_is_no_clean_audit(monkeypatch, capsys):
    own = audit_with(monkeypatch, "", "ERROR: ConnectionError")
    assert own["main"]() == 3
    assert "no advisory service reachable" in capsys.readouterr().out
    skipped = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}
    with pytest.raises(SystemExit, match="not found"):
        audit_with(monkeypatch, json.dumps(skipped))["figures"]()
    with pytest.raises(SystemExit, match="pip install"):
        audit_with(monkeypatch, "", "No module named pip_audit")["figures"]()


@pytest.mark.promise("P11")
def test_every_pin_is_asked_about():
    own = script("audit")
    for name in own["FILES"]:
        pins = own["pins"]((REPO / name).read_text())
        assert pins and all("==" in pin and " --hash" not in pin for pin in pins)


def test_coverage_reads_its_file(tmp_path):
    def of(percent, missing):
        return {"summary": {"percent_covered": percent}, "missing_lines": missing}

    own, path = script("coverage"), tmp_path / "c.json"
    files = {f"src/rsnb/{n}.py": of(100, []) for n in own["WHOLE"]}
    files["src/rsnb/files.py"] = of(98.5, [7])
    totals = {"percent_covered": 93.456, "num_statements": 10}
    path.write_text(json.dumps({"files": files, "totals": totals}))
    found = own["read"](path)
    assert (found["total"], found["files"], found["metrics"]) == (93.46, 98.5, 100)
    assert found["missing"] == {"files": [7]}


@pytest.mark.promise("matrix")
def test_the_matrix_knows_what_is_here_and_what_is_not():
    own = script("matrix")
    major, minor = sys.version_info[:2]
    assert own["interpreter"](f"{major}.{minor}")
    found = own["figures"](("9.9",))
    assert found == {"versions": {"9.9": {"not run": "no interpreter on this machine"}}}
    assert own["CLAIMED"][0] == "3.11"


@pytest.mark.promise("matrix")
def test_what_the_scripts_name_exists():
    for name in script("repeat")["SLOW"]:
        assert (REPO / f"tests/test_{name}.py").is_file(), name
    mutate = script("mutate")
    for module, tests in mutate["MODULES"].items():
        assert (REPO / f"src/rsnb/{module}.py").is_file()
        assert any((REPO / f"tests/test_{t}.py").is_file() for t in tests), module


@pytest.mark.promise("matrix")
def test_repeating_counts_failures(monkeypatch):
    own = script("repeat")
    ends = iter([0, 1, 0])
    own["once"] = lambda: {"code": next(ends), "passed": 5, "seconds": 2.0}
    assert own["figures"](3) == {"runs": 3, "failures": 1, "tests": 5, "seconds": 2.0}
