"""Count tests by the promise that they prove: `pytest --promises FILE`.

A test is tagged `@pytest.mark.promise("P12")`; one that switches the mechanism off and
shows that the check then fails, `@pytest.mark.promise("P12", off=True)`. A test hands
numbers over with the fixture `figure`. The page `reliability` renders the file.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

KNOWN = [f"P{i}" for i in range(1, 17)] + ["statistics", "matrix"]


def pytest_addoption(parser):
    parser.addoption("--promises", type=Path, help="write counts by promise to FILE")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "promise(*names, off=False): which promise this proves"
    )
    config.stash_promises = defaultdict(
        lambda: {"checks": Counter(), "off": Counter(), "figures": {}, "tests": set()}
    )


def tags(item):
    """Yield (promise, switched off) of a test, each once; one `off` makes it a twin."""
    marks = list(item.iter_markers("promise"))
    off = any(m.kwargs.get("off", False) for m in marks)
    for name in sorted({n for m in marks for n in m.args}):
        if name not in KNOWN:
            raise pytest.UsageError(f"{item.nodeid}: no promise {name!r}")
        yield name, off


def pytest_collection_modifyitems(items):
    for item in items:
        list(tags(item))


@pytest.fixture
def figure(request):
    """Return `figure(name, value, of=None)`, kept under the test's promises."""

    def keep(name, value, of=None):
        request.node.user_properties.append(("figure", (name, value, of)))

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        for name, off in tags(item):
            kept = item.config.stash_promises[name]
            kept["off" if off else "checks"][report.outcome] += 1
            kept["tests"].add(Path(item.location[0]).name)
            for key, value in item.user_properties:
                if key == "figure":
                    what, number, of = value
                    kept["figures"][what] = {"value": number, "of": of}
    return report


def pytest_sessionfinish(session):
    path = session.config.getoption("promises")
    if path:
        found = {
            name: {**kept, "tests": sorted(kept["tests"])}
            for name, kept in sorted(session.config.stash_promises.items())
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
