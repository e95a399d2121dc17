"""CADRE replayed from rounded parts: in Python, and the same in a browser."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from browser import chromium
from rsnb.cadre import VCI, Asking, Cadre, Witness
from rsnb.cadre.evidence import tidy
from rsnb.cadre.qgd import Probe
from rsnb.cadre.trace import trace
from rsnb.cadre.vci import best_first
from rsnb.errors import ParameterError
from rsnb.explorers import unpack
from rsnb.replay import LONGEST, ask, replay, retrieval, rewrite
from rsnb.widgets import front_end
from test_cadre_refine import BACKBONE, KNOWS, D, stage

FITTED = {
    "both": VCI((9.0, 0.7, 0.8, 0.9, 0.6, 0.4, 2.0), 0.5, 0.3, 0.02, 20),
    "vci": VCI((4.0, 0.6, 0.9, 0.7, 0.8, 0.5, 1.0), 1.0, 0.5, 0.05, 20),
}


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(5)
    ask_, see, whole = rng.normal(0, 0.1, (3, D, D)).astype(np.float32)
    probe = Probe(ask_, see, whole, rng.normal(0, 1, 5).astype(np.float32), 7.0, 0.4)
    witness = Witness(KNOWS, Asking("typed", "say {query}"))
    cadre = Cadre(BACKBONE, witness, probe, top=30, t2i=FITTED["both"])
    return cadre, stage(3, n=40)


@pytest.fixture(scope="module")
def data(split):
    found = retrieval(*split, FITTED, range(0, 80, 5))
    rewrite(*split, found, found["queries"], best=3)
    return found


def settings(seed):
    """Return random settings of all controls, the ends of their ranges among them."""
    rng = np.random.default_rng(seed)
    return {
        "qgd": bool(rng.random() < 0.6), "vci": bool(rng.random() < 0.8),
        "most": int(rng.integers(0, 21)), "prior": float(rng.normal(0, 2)),
        "stay": float(rng.choice([0, 0.5, 3])), "mix": float(rng.random()),
        "slack": float(rng.choice([0, 0.005, 0.02, 0.1, 0.5])),
        "sharp": float(rng.choice([0, 1, 7.3, 40, 200])),
        # all zero at seed 0: candidates that were not asked tie
        "weights": tuple(rng.uniform(0, 3, 7) * [5, *[1] * 6] * (seed > 0)),
    }  # fmt: skip


def test_replay_finds_what_trace_finds(split, data):
    cadre, test = split
    most = cadre.t2i.most
    for t, one in zip(range(0, 80, 5), data["queries"], strict=True):
        seen = trace(cadre, test, test.pairs.captions[t], block=most)
        found = replay(data, one)
        assert found.calls[0] == seen.calls
        rows = np.array(one["near"])[best_first(found.scores, most)[0]]
        best = seen.rows[np.argsort(seen.after)]
        assert rows[0] == best[0] and one["near"][one["right"]] == test.pairs.gt[t]


def test_without_modules_the_backbone_ranks(data):
    for one in data["queries"]:
        found = replay(data, one, qgd=False, vci=False)
        assert best_first(found.scores, 30)[0].tolist() == list(range(30))
        assert not found.calls[0]


def test_the_probe_alone_is_the_probe(split, data):
    cadre, test = split
    one, t = data["queries"][1], 5
    want = cadre.probe(test.first.txt[t : t + 1], test.views.emb[one["near"]])
    found = replay(data, one, vci=False).scores
    np.testing.assert_allclose(found, want, atol=2e-4)
    sharp = replace(cadre.probe, sharp=50.0, mix=1.0)
    want = sharp(test.first.txt[t : t + 1], test.views.emb[one["near"]])
    found = replay(data, one, vci=False, sharp=50.0, mix=1.0).scores
    np.testing.assert_allclose(found, want, atol=3e-3)


def test_words_and_rewrites_belong_to_their_candidates(split, data):
    cadre, test = split
    one = data["queries"][2]
    gains = unpack(one["gains"])
    for k in (0, 7):
        said = cadre.witness.words(test.pairs, one["near"][k], one["query"])
        assert [w for w, *_ in said] == one["words"]
        np.testing.assert_allclose(gains[k], [g for *_, g in said], atol=1e-3)
    best = best_first(replay(data, one).scores, 3)[0]
    assert list(one["rewrites"]) == [str(k) for k in best]
    for k, text in one["rewrites"].items():
        assert text == f"{one['near'][int(k)]}: say {tidy(one['query'])}"


@pytest.mark.parametrize("text", [" . ", "", "x" * (LONGEST + 1)])
def test_a_text_that_cannot_be_searched_is_refused(split, text):
    with pytest.raises(ParameterError, match="characters"):
        ask(*split, ["a lake", text])


def test_modules_are_needed(split):
    cadre, test = split
    with pytest.raises(ParameterError, match="probe and a witness"):
        ask(replace(cadre, probe=None), test, ["a lake"])


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def test_the_browser_ranks_as_python_does(browser, data):
    some = [settings(seed) for seed in range(40)]
    module = front_end("retrieval") + "\nexport { rank, parts };"
    code = """async ([code, data, some]) => {
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      const { rank } = await import(url);
      return data.queries.map((q) => some.map((s) => {
        const { order, scores, calls } = rank(data, q, s);
        return { order, scores, calls };
      }));
    }"""
    page = browser.new_page()
    found = page.evaluate(code, [module, json.loads(json.dumps(data)), some])
    for one, row in zip(data["queries"], found, strict=True):
        for s, got in zip(some, row, strict=True):
            want = replay(data, one, **s)
            np.testing.assert_allclose(got["scores"], want.scores[0], atol=1e-8)
            assert got["order"] == best_first(want.scores, 30)[0].tolist(), s
            assert got["calls"] == want.calls[0]


OPEN = """async ([code, data, live]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { render } = (await import(url)).default;
  const held = { data, live }, heard = {};
  window.held = held;
  window.answer = (a) => { held.answered = a; heard["change:answered"](); };
  const el = document.body.appendChild(document.createElement("div"));
  render({ el, model: {
    get: (k) => held[k], set: (k, v) => { held[k] = v; }, save_changes() {},
    on: (e, f) => { heard[e] = f; }, off() {} } });
}"""


@pytest.fixture
def opened(browser, data):
    """Return a function that opens the explorer, live or not, as a page."""
    page = browser.new_page()

    def go(live):
        page.evaluate(OPEN, [front_end("retrieval"), data, live])
        return page

    yield go
    page.close()


def type_in(page, text):
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Search").click()


def test_free_text_without_a_kernel_finds_a_stored_query_and_says_so(opened, data):
    page = opened(False)
    own = data["queries"][7]
    type_in(page, own["query"].upper())
    assert own["query"] in page.locator(".query").inner_text()
    assert "no kernel" in page.get_by_role("status").inner_text()
    type_in(page, "zebra")
    assert "None shares a word" in page.get_by_role("status").inner_text()
    assert own["query"] in page.locator(".query").inner_text()


def test_free_text_with_a_kernel_is_asked_and_never_read_as_markup(opened, data):
    page, text = opened(True), "<img src=x onerror=alert(1)> lake"
    type_in(page, text)
    assert page.evaluate("held.asked") == text
    page.evaluate("(a) => answer(a)", {"query": {**data["queries"][3], "query": text}})
    assert text in page.locator(".query").inner_text()
    assert not page.locator("img[onerror]").count()
    page.evaluate("(a) => answer(a)", {"error": "too long"})
    assert page.get_by_role("status").inner_text() == "too long"


def test_a_switch_a_slider_and_reset_give_what_replay_gives(opened, data):
    page, one = opened(True), data["queries"][0]

    def says(**change):
        found = replay(data, one, **change)
        rank = best_first(found.scores, 30)[0].tolist().index(one["right"]) + 1
        most = change.get("most", 20)
        asked = f"{found.calls[0]} of {most} candidates asked."
        shown = page.locator(".summary").inner_text()
        assert (
            shown == f"Image of this caption: rank {one['right'] + 1} → {rank}. {asked}"
        )

    says()
    page.get_by_label("Candidates asked, K").fill("3")
    says(most=3)
    page.get_by_label("QGD looks again").uncheck()
    says(qgd=False)
    page.get_by_role("button", name="Reset").click()
    says()
