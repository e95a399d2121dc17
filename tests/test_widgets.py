"""Explorers show themselves with a kernel and without, and escape what they hold."""

from __future__ import annotations

import json
import re

import pytest

from rsnb.errors import ParameterError
from rsnb.widgets import Explorer, front_end

pytestmark = pytest.mark.promise("P16")

HOSTILE = "</script><script>alert(1)</script> & \u2028 <!--"


@pytest.fixture
def explorer():
    return Explorer("retrieval", {"captions": [HOSTILE]}, lambda t: {"heard": t})


def test_an_unknown_kind_is_named():
    with pytest.raises(ParameterError, match="retrieval, audit, t2t"):
        front_end("retreival")


def test_the_module_is_what_anywidget_wants():
    code = front_end("retrieval")
    assert code.rstrip().endswith("export default { render };")
    assert not re.search(r"^\s*import |https?://(?!www\.w3\.org/)", code, re.M)
    assert "innerHTML" not in code and "eval(" not in code
    assert "</" not in code  # it stands in a script element


def test_static_html_holds_no_markup_of_the_data(explorer, monkeypatch):
    monkeypatch.setenv("RSNB_STATIC", "1")
    bundle = explorer._repr_mimebundle_()
    assert bundle.pop("text/plain") == "Explorer('retrieval')"
    assert list(bundle) == ["text/html"]
    html = bundle["text/html"]
    assert "alert(1)</script>" not in html and "\u2028" not in html
    assert html.count("<script") == html.count("</script>") == 2
    held = re.search(r'application/json">(.*?)</script>', html, re.S)
    assert json.loads(held.group(1)) == {"captions": [HOSTILE]}
    assert explorer.html() == html  # equal runs, equal bytes


def test_numbers_that_are_no_json_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        Explorer("retrieval", {"x": float("nan")}).html()


def test_the_live_widget_answers(explorer, monkeypatch):
    monkeypatch.delenv("RSNB_STATIC", raising=False)
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    widget = explorer.widget
    assert widget.live and widget.data == {"captions": [HOSTILE]}
    assert widget._esm == front_end("retrieval")
    widget.asked = "a lake"
    assert widget.answered == {"asked": "a lake", "heard": "a lake"}


def test_errors_of_ours_reach_the_page_and_others_the_kernel():
    def answer(text):
        if text == "two":
            raise ParameterError("too short")
        raise KeyError(text)

    widget = Explorer("retrieval", {}, answer).widget
    widget.asked = "two"
    assert widget.answered["error"] == "too short"
    with pytest.raises(KeyError):
        widget.asked = "three"


def test_without_an_answer_the_widget_is_not_live():
    widget = Explorer("retrieval", {}).widget
    widget.asked = "a lake"
    assert not widget.live and widget.answered == {}
