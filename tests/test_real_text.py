"""The measurement on real language (`tests/bench/real_text.py`), on made-up texts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench import real_text as rt
from rsnb.metrics import evaluate
from rsnb.pairs import Pairs
from rsnb.t2t import AGGREGATES, MISSING

ROOT = Path(os.environ.get("RSNB_DATA", "RSNB_DATA-is-not-set"))
THINGS = ["road", "river", "pond", "bridge", "tower", "beach", "farm", "harbour"]
SIDES = ["north", "south", "east", "west", "middle"]


def pairs(name: str, captions: dict[str, list[str]], split: list[str]) -> Pairs:
    size = [len(c) for c in captions.values()]
    return Pairs(
        name=name, ids=tuple(captions), split=tuple(split), label=("",) * len(size),
        captions=tuple(t for c in captions.values() for t in c),
        gt=np.repeat(np.arange(len(size)), size), has_pixels=np.zeros(len(size), bool),
        reader=lambda i: None, rows=np.arange(len(size)),
    )  # fmt: skip


def hashed(texts, dim=64):
    """Return unit vectors: the sum of a random vector for each word."""
    rows = [
        sum(np.random.default_rng([*w.encode()]).normal(size=dim) for w in t.split())
        for t in texts
    ]
    x = np.array(rows)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def task():
    """40 pictures of a thing on one side, the last ten in test."""
    places = [(t, s) for t in THINGS for s in SIDES]
    queries = [[f"{s} we see some {t}", f"picture of {t} {s}"] for t, s in places]
    texts = [[f"a {t} lies in the {s}", f"{t} {s} of it"] for t, s in places]
    test = np.arange(40) >= 30
    tier = np.where(np.arange(40) % 2, "A", "B")
    train = [t for some in texts[:30] for t in some] + ["the west farm and harbour"]
    return rt.Task(queries, texts, test, ~test, tier, train, {"pictures": 40})


def known(task):
    every = sorted({t for t in rt.chain(task.train, *task.texts, *task.queries)})
    return rt.Known(every, hashed(every))


def test_forms_ignore_case_blanks_and_punctuation():
    assert rt.form("A  road, here .") == rt.form("a road here") == "aroadhere"
    assert rt.own(["A road.", "a road", " . ", "two"], ["two"]) == ["A road."]


def test_what_two_sets_share_is_removed_on_both_sides():
    asks = pairs(
        "asks",
        {
            "a": ["A road .", "the long road", "The long road."],
            "b": ["a pond"],
            "c": ["one farm"],
            "d": ["a tower", "it stands"],
            "e": ["not mapped"],
        },
        ["train", "train", "test", "test", "train"],
    )
    holds = pairs(
        "holds",
        {
            "1": ["a road", "grey road", "grey road"],
            "2": ["small pond", "not  mapped"],
            "3": ["the farm"],
            "4": ["A POND"],
            "5": ["a tower stands"],
            "6": ["other"],
        },
        ["train", "train", "train", "train", "val", "train"],
    )
    same = {"a": ("1", "A"), "b": ("2", "B"), "c": ("3", "B"), "d": ("4", "A")}
    task = rt.two_sets(asks, holds, same)
    assert task.queries == [["the long road"], ["one farm"]]  # b: pond is shared
    assert task.texts == [["grey road"], ["the farm"]]  # d: nothing left of 4
    assert task.test.tolist() == [False, True]
    assert task.choose.tolist() == [True, False]
    assert task.tier.tolist() == ["A", "B"]
    # not 3 and 4, which are test pictures, though `holds` calls them train
    assert task.train == ["a road", "grey road", "small pond", "not  mapped", "other"]
    assert task.counts == {
        "pictures mapped": 4, "sentences in both sets": 3, "query sentences": 6,
        "gallery sentences": 6, "query sentences removed": 2,
        "gallery sentences removed": 3, "pictures left without query": 1,
        "pictures left without gallery text": 1, "pictures dropped": 2,
        "test pictures dropped": 1,
    }  # fmt: skip


def test_paraphrases_must_differ_from_every_caption_of_their_picture():
    made = pairs(
        "made",
        {"a": ["a road"] * 2, "b": ["a pond", "it"], "c": ["x"], "d": ["farm"]},
        ["train", "val", "test", "test"],
    )
    others = {"a": ["A road.", "a way", "a way ."], "b": ["a road"], "c": ["X", ""]}
    task = rt.reworded(made, {**others, "d": ["field"]})
    assert task.queries == [["a way"], ["a road"], ["field"]]
    assert task.texts == [["a road"], ["a pond", "it"], ["farm"]]
    assert (task.test.tolist(), task.choose.tolist()) == (
        [False, False, True], [False, True, False],
    )  # fmt: skip
    assert task.train == ["a road"]
    assert all(type(n) is int for n in task.counts.values())
    assert task.counts == {
        "pictures": 4, "paraphrases": 7, "equal to no caption of their picture": 4,
        "of these, equal to one of another picture": 1,
        "distinct for their picture": 3, "pictures dropped": 1,
        "test pictures dropped": 1,
    }  # fmt: skip


@pytest.mark.parametrize("how", AGGREGATES)
def test_sparse_scores_are_those_of_a_gallery(task, how):
    queries, _, texts = task.part(task.choose)
    fitted = rt.TfidfVectorizer(ngram_range=rt.WORDS, dtype=np.float32).fit(task.train)
    every = list(dict.fromkeys(rt.chain(queries, *texts)))
    dense = rt.by_space(rt.Known(every, fitted.transform(every).toarray()))
    ours = rt.by_words(task.train, step=7)(queries, texts, how)
    assert np.allclose(ours, dense(queries, texts, how), atol=1e-5)
    assert (ours > MISSING).all()


def test_equal_pictures_tie_exactly_whatever_the_order_of_their_texts(task):
    queries, _, texts = task.part(task.choose)
    texts = [texts[3], *texts, texts[3][::-1], ["unheard"]]
    for how in AGGREGATES:
        s = rt.by_words(task.train)(queries, texts, how)
        assert (s[:, 0] == s[:, 4]).all() and (s[:, 0] == s[:, -2]).all()
        assert (abs(s[:, -1]) < 1e-6).all()


def test_whitening_evens_out_the_variance(task):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) * [9, 3, 1, 0.3] + [2, 0, 0, 1]
    texts = [f"t{i}" for i in range(500)]
    was = rt.Known(texts, x.astype(np.float32))
    now = rt.whitened(was, texts)
    assert np.allclose(np.linalg.norm(now.vectors, axis=1), 1, atol=1e-6)
    spread = [np.linalg.eigvalsh(np.cov(k.vectors.T)) for k in (was, now)]
    assert spread[1].max() / spread[1].min() < 0.1 * spread[0].max() / spread[0].min()
    # without a ridge the power -1/4 takes a variance v to v^(1/2)
    y = (x - x.mean(0)) / np.array([9, 3, 1, 0.3]) ** 0.5
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    assert (y * now.vectors).sum(1).mean() > 0.95


def test_near_copies():
    asked, held = [["A long road.", "pond"]], [["road , a long", "a pond"]]
    assert rt.near(asked, held) == 0.5


def test_figures_of_a_task(task):
    settings = rt.scorers(task, known(task))
    figures, none = rt.measure(task, settings, test=False)
    assert rt.json.dumps(figures)
    assert set(figures) == {"removed", "statistics from", "choice", "chosen"}
    assert none == {} and figures["choice"]["sizes"]["pictures"] == 30
    for name, rows in figures["choice"]["rows"].items():
        assert [r["aggregate"] for r in rows] == list(AGGREGATES)
        best = max(rows, key=lambda r: r["mR"])
        assert figures["chosen"][name] == best["aggregate"]
        assert best["interval"][0] <= best["mR"] <= best["interval"][1]
    figures, found = rt.measure(task, settings, test=True)
    assert {"test", "all", "test, tier A", "all, tier A"} < set(figures)
    pictures = [figures[k]["sizes"]["pictures"] for k in ("test", "all")]
    assert pictures == [10, 40] and figures["test, tier A"]["sizes"]["pictures"] == 5
    ceiling = figures["test"]["sizes"]["ceiling"]
    assert ceiling["queries"]["t2i_r1_random"] == 100
    for name, recall in found.items():
        queries, gt, texts = task.part(task.test)
        sim = settings[name](queries, texts, figures["chosen"][name])
        assert recall.mR == evaluate(sim, gt).mR > 50
    rows = rt.compared({"one": found, "two": found})
    assert len(rows) == 6 and all(r["p"] <= r["p_holm"] <= 1 for r in rows)


def test_a_few_pictures_are_none_of_test(task):
    part = rt.few(task, 8)
    assert len(part.texts) == part.choose.sum() == 8 and not part.test.any()
    assert len(part.part(part.choose)[0]) == 16


def test_each_text_is_encoded_once(task):
    calls = []

    class Fake:
        def encode(self, texts, **_):
            calls.extend(texts)
            return hashed(texts)

    made = rt.encoded([task, task], rt.TextSpace("fake", "", Fake()), step=50)
    assert len(calls) == len(set(calls)) == len(made.row)
    assert np.allclose(made.encode(calls), hashed(calls), atol=1e-6)


@pytest.mark.skipif(
    not all((ROOT / n).exists() for n in (rt.MAPPING, *rt.REWORDED)),
    reason=f"{ROOT}: no {rt.MAPPING} or rsicd/raw. Set RSNB_DATA to a folder with both",
)
def test_a_few_real_pictures():
    made, inputs = rt.tasks(ROOT)
    assert [len(t.texts) for t in made.values()] == [3196, 8895]
    assert [int(t.test.sum()) for t in made.values()] == [315, 923]
    counts = made["rsitmd-rsicd"].counts
    assert (counts["pictures mapped"], counts["sentences in both sets"]) == (3548, 4101)
    assert len(inputs) == 6
    for task in made.values():
        part = rt.few(task, 60)
        some = {"tf-idf": rt.by_words(part.train)}
        figures, _ = rt.measure(part, some, test=False)
        assert figures["choice"]["sizes"]["pictures"] == 60
        assert max(r["mR"] for r in figures["choice"]["rows"]["tf-idf"]) > 40
