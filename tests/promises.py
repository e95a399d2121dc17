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
    config.pluginmanager.register(Counts(config.getoption("promises")))


class Counts:
    """What the reports say, added up; reports of other processes come here too."""

    def __init__(self, path):
        self.path = path
        self.found = defaultdict(
            lambda: {"checks": Counter(), "off": Counter(), "figures": {}, "tests": []}
        )

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            own = [value for key, value in report.user_properties if key == "promise"]
            for name, off in own:
                kept = self.found[name]
                kept["off" if off else "checks"][report.outcome] += 1
                file = Path(report.location[0]).name
                kept["tests"] = sorted({*kept["tests"], file})
                for key, value in report.user_properties:
                    if key == "figure":
                        what, number, of = value
                        kept["figures"][what] = {"value": number, "of": of}

    def pytest_sessionfinish(self, session):
        if self.path and not hasattr(session.config, "workerinput"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.found, indent=1, sort_keys=True)
            self.path.write_text(text + "\n")


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
        item.user_properties += [("promise", tag) for tag in tags(item)]


@pytest.fixture
def figure(request):
    """Return `figure(name, value, of=None)`, kept under the test's promises."""

    def keep(name, value, of=None):
        plain = value.item() if hasattr(value, "item") else value  # of NumPy
        request.node.user_properties.append(("figure", (name, plain, of)))

    return keep
