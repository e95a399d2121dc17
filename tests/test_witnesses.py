"""Witnesses and probes by name: lessons, places, what is made and what is kept."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rsnb import probes, witnesses
from rsnb.cadre.evidence import ASKING
from rsnb.cadre.qgd import Lesson, Probe
from rsnb.cadre.views import boxes, look
from rsnb.embed import embed
from rsnb.errors import FileCorruptError
from rsnb.files import read_json, receipt_path
from rsnb.pairs import join
from rsnb.smallcaptioners import COURSES, WEIGHTS
from rsnb.witnesses import ADAPTATIONS, BLIND, REWRITES, folder, lessons, witness
from toy import squares, tiny

TYPED = [["A red lake.", "a lake "], ["two ships"]]
TOLD = [["a red lake near a pier", "a lake beside a wood"], ["two ships at sea"]]
TURN = ASKING["world"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    return tmp_path


# Lessons


def drawn(n=4000, seed=0):
    draw, rng = lessons(TYPED, TOLD), np.random.default_rng(seed)
    return [draw(k % 2, rng, 0) for k in range(n)]


def test_shares_of_lessons():
    some = drawn()
    typed = [x for x in some if x.turn == TURN.typed]
    # five standard errors
    assert abs(1 - len(typed) / len(some) - REWRITES) < 0.035
    blind = sum(not x.sees for x in typed) / len(typed)
    assert abs(blind - BLIND) < 0.03
    assert all(x.sees for x in some if x.turn != TURN.typed)


def test_a_lesson_is_about_its_image():
    some = drawn(400)
    for k in range(2):
        queries = {"A red lake", "a lake"} if k == 0 else {"two ships"}
        own = some[k::2]
        assert {x.answer for x in own if x.turn == TURN.typed} == queries
        rest = [x for x in own if x.turn != TURN.typed]
        assert {x.turn for x in rest} == {f"rewrite {q}" for q in queries}
        assert {x.answer for x in rest} == set(TOLD[k])


def test_lessons_are_a_function_of_the_random_numbers():
    assert drawn(50) == drawn(50)
    assert drawn(50) != drawn(50, 1)
    draw = lessons(TYPED, TOLD)
    one, other = (draw(0, np.random.default_rng(3), k) for k in (0, 5))
    assert one == other  # `adapt` turns it


# Places


def test_where_adapters_lie(cache):
    assert set(ADAPTATIONS) <= set(COURSES)
    for name in ADAPTATIONS:
        base = WEIGHTS if COURSES[name].shipped else cache / "captioners"
        assert folder(name) == base / f"{name}-cadre"
    assert {COURSES[name].shipped for name in ADAPTATIONS} == {True, False}


def test_a_witness_is_made_once(cache, monkeypatch):
    made, loaded = [], []

    def make(name, device):
        made.append((name, device))
        folder(name).mkdir(parents=True)
        (folder(name) / "adapter_model.safetensors").touch()

    def load(name, **how):
        loaded.append((name, how))
        return "a captioner"

    monkeypatch.setattr(witnesses, "make", make)
    monkeypatch.setattr(witnesses, "TransformersCaptioner", SimpleNamespace(load=load))
    for _ in range(2):
        one = witness("real-vlm", "meta")
        assert one.captioner == "a captioner" and one.asking is ASKING["world"]
    assert made == [("real-vlm", "meta")] and len(loaded) == 2
    name, how = loaded[1]
    assert name == cache / "captioners" / "real-vlm"
    assert how["adapter"] == folder("real-vlm") and how["device"] == "meta"


def test_any_other_model_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(witnesses, "captioner", lambda *args: args)
    one = witness("owner/a-model", "meta")
    assert one.captioner == ("owner/a-model", "meta")
    assert one.asking is ASKING["plain"]


def test_what_an_adapter_learns_from(cache, monkeypatch):
    """Both training splits, and nothing else, of the course's data."""
    asked, got, saved = [], {}, []

    def load_data(name):
        asked.append(name)
        sets = [squares(n, split) for n, split in ((4, "train"), (3, "test"))]
        return replace(join(sets), name=name)

    def adapt(who, pixels, draw, settings, *, words, folder):
        got.update(who=who, pixels=pixels, draw=draw, words=words, folder=folder)
        return ["a log"]

    who = SimpleNamespace(revision="a revision")
    monkeypatch.setattr(witnesses, "load_data", load_data)
    monkeypatch.setattr(witnesses, "adapt", adapt)
    monkeypatch.setattr(witnesses, "captioner", lambda name, device: who)
    keep = SimpleNamespace(save=lambda *args, **facts: saved.append((args, facts)))
    monkeypatch.setattr(witnesses, "adapters", keep)
    assert witnesses.make("real-vlm") == folder("real-vlm")
    assert asked == ["ucm", "rsicd"]
    n, side = 8, COURSES["real-vlm"].shape.side
    assert got["pixels"].shape == (n, side, side, 3) and got["who"] is who
    rng, texts = np.random.default_rng(0), squares(4).captions
    known = set(" ".join(got["words"]).split())
    for row in range(n):
        for _ in range(20):
            one = got["draw"](row, rng, 0)
            mine = texts[2 * (row % 4)], texts[2 * (row % 4) + 1]
            if one.turn == TURN.typed:
                assert one.answer in mine
            else:
                assert one.turn in {f"rewrite {t}" for t in mine}
                assert set(one.answer.split(". ")) <= set(mine)
            assert set(f"{one.turn} {one.answer}".split()) <= known
    assert got["folder"].parent == cache / "runs"
    ((args, facts),) = saved
    assert args == (folder("real-vlm"), who, ADAPTATIONS["real-vlm"], ["a log"])
    assert facts["images"] == n and len(facts["data"]) == 2


# Probes


def both():
    """Return a set with the splits train and test."""
    return replace(join([squares(6, "train"), squares(4, "test")]), name="own")


def named(digest="some weights"):
    return SimpleNamespace(name="bb", digest=digest)


@pytest.mark.parametrize("name", probes.SHIPPED)
def test_shipped_probes_are_whole_and_of_the_shipped_weights(name):
    path = probes.path_of(name)
    if not path.is_file():
        pytest.skip("not trained yet")
    probe, facts = Probe.load(path), read_json(receipt_path(path))
    backbone = read_json(receipt_path(WEIGHTS / f"{name}.safetensors"))
    assert facts["weights"] == backbone["sha256"] and facts["split"] == "captioner"
    assert len(probe.bias) == len(boxes()) and probe.rule == "guided"
    assert probe.sharp >= 0 and 0 <= probe.mix <= 1
    for part in (probe.ask, probe.see, probe.whole, probe.bias):
        assert np.isfinite(part).all()


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Return a list that fills with what probes are learned from; none is shipped."""
    made = []

    def learned(backbone, pairs):
        made.append((backbone.digest, pairs.ids))
        return replace(Probe.plain(4, 5), sharp=float(len(made)))

    monkeypatch.setattr(probes, "learned", learned)
    place = tmp_path / "shipped"
    monkeypatch.setattr(probes, "path_of", lambda n: place / f"{n}.safetensors")
    return made


def test_a_probe_is_learned_once_and_kept(cache, calls):
    pairs = both()
    one = probes.probe(named(), pairs)
    assert one.sharp == 1 and probes.probe(named(), pairs).sharp == 1
    assert len(calls) == 1
    assert calls[0] == ("some weights", pairs.where("train").ids)
    (path,) = (cache / "probes").glob("*.safetensors")
    assert receipt_path(path).is_file()
    # other weights, other data
    assert probes.probe(named("other"), pairs).sharp == 2
    assert probes.probe(named(), pairs.subset([0, 1, 7])).sharp == 3
    source = replace(pairs, source={"sha256": "x"})
    assert probes.probe(named(), source).sharp == 4
    # a run that was stopped before the receipt, and a file that changed
    receipt_path(path).unlink()
    assert probes.probe(named(), pairs).sharp == 5
    path.write_bytes(b"damaged")
    with pytest.raises(FileCorruptError):
        probes.probe(named(), pairs)


def test_a_split_of_its_own_comes_first_and_pixels_are_needed(cache, calls):
    pairs = join([squares(3, s) for s in ("train", "captioner")])
    seen = replace(pairs, has_pixels=np.arange(6) != 4)
    probes.probe(named(), seen)
    assert calls == [("some weights", (pairs.ids[3], pairs.ids[5]))]


def test_a_shipped_probe_is_for_its_weights_and_the_world(cache, calls):
    own = replace(Probe.plain(4, 5), sharp=99.0)
    own.save(probes.path_of("bb"), weights="some weights")
    world = replace(both(), name="world")
    assert probes.probe(named(), world).sharp == 99 and not calls
    assert probes.probe(named("tuned since"), world).sharp == 1
    assert probes.probe(named(), both()).sharp == 2  # another data set
    other = SimpleNamespace(name="cc", digest="some weights")
    assert probes.probe(other, world).sharp == 2  # by weights, it is that of `both`
    assert len(calls) == 2


def test_a_probe_from_pixels(cache):
    """With small images, a small batch and a real encoder."""
    backbone, pairs, grid = tiny(), squares(8), ((1.0, 1), (0.5, 2))
    how = Lesson(epochs=1, batch=4)
    probe = probes.learned(backbone, pairs, how, rule="max", grid=grid)
    assert probe.rule == "max" and probe.bias.shape == (5,)
    assert probe.ask.shape == (32, 32) and np.abs(probe.see).max() > 0
    views = look(backbone, pairs, grid)
    scores = probe(embed(backbone, pairs).txt, views.emb)
    assert scores.shape == (16, 8) and np.isfinite(scores).all()
