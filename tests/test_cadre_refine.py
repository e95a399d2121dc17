"""CADRE end to end on random embeddings, with a witness that knows the truth."""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rsnb.cadre.evidence import Asking, Witness
from rsnb.cadre.qgd import Probe
from rsnb.cadre.refine import Cadre, Stage, prepare, put
from rsnb.cadre.trace import trace
from rsnb.cadre.vci import VCI, best_first
from rsnb.cadre.views import Views, boxes
from rsnb.errors import ParameterError
from rsnb.pairs import Pairs
from rsnb.phrases import LEVELS
from rsnb.records import Record, Variant
from rsnb.t2t import TextGallery, TextSpace
from rsnb.twoway import First, TwoWay
from toy import squares, tiny

D, GRID = 24, ((1.0, 1), (0.5, 2))
ASK = Asking("typed", "say {query}")
ORDERS = (("qgd", "vci"), ("vci", "qgd"))


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


class Words:
    """A sentence encoder, and the text side of a backbone: text → vector."""

    def __init__(self):
        self.known = {}

    def encode(self, texts, **_):
        rows = []
        for t in texts:
            rng = np.random.default_rng(zlib.crc32(t.encode()))
            rows.append(self.known.get(t, unit(rng.standard_normal(D))))
        return np.stack(rows)

    encode_texts = encode


class Knows:
    """A captioner that finds a caption likelier for its own image, and is noisy."""

    def __init__(self):
        self.revision, self.truth, self.asked, self.noise = "", {}, [], {}

    def likelihood(self, image, turn, texts):
        row = None if image is None else image.getpixel((0, 0))[0]
        if row is not None:
            self.asked.append(row)
        out = []
        for text in texts:
            if (text, row) not in self.noise:
                rng = np.random.default_rng(zlib.crc32(f"{text} {row}".encode()))
                self.noise[text, row] = rng.normal(0, 0.4, len(text.split()) + 1)
            noise = self.noise[text, row]
            right = row is not None and self.truth.get(text) == row
            out.append((noise + 0.9 * right).astype(np.float32))
        return out

    def ask(self, images, turns):
        return [
            f"{i.getpixel((0, 0))[0]}: {t}" for i, t in zip(images, turns, strict=True)
        ]


BACKBONE, SPACE, KNOWS = Words(), Words(), Knows()


def stage(seed, n=12):
    """Return a split of n images with two captions each, and 5 views."""
    rng = np.random.default_rng(seed)
    gt = np.repeat(np.arange(n), 2)
    said = [f"a red lake{seed} near {n} pier{k}." for k in range(2 * n)]
    pairs = Pairs(
        f"toy{seed}", tuple(f"{k}" for k in range(n)), ("test",) * n, ("",) * n,
        tuple(said), gt, np.ones(n, bool),
        lambda row: Image.new("RGB", (4, 4), (row, 0, 0)), np.arange(n),
    )  # fmt: skip

    def noisy(x, size):
        return unit(x + size * unit(rng.standard_normal(x.shape)))

    img, detail = unit(rng.standard_normal((2, n, D)))
    txt = noisy(unit(img + detail)[gt], 1.6)
    views = unit(rng.standard_normal((n, 5, D)))
    views[:, 0] = img
    views[np.arange(n), rng.integers(1, 5, n)] = noisy(detail, 0.3)
    described = unit(rng.standard_normal((n, D)))
    notes = [f"image {k} of {seed} and {n}" for k in range(n)]
    BACKBONE.known |= dict(zip(said, txt, strict=True))
    SPACE.known |= dict(zip(said, noisy(described[gt], 1.8), strict=True))
    SPACE.known |= dict(zip(notes, described, strict=True))
    KNOWS.truth |= {s.strip("."): i for s, i in zip(said, gt.tolist(), strict=True)}
    space = TextSpace("toy", "", SPACE)
    texts = TextGallery(space, [[x] for x in notes])
    text = texts.scores(space.encode(said))
    found = Views(views, boxes(GRID))
    return Stage(pairs, First(txt, img), found, texts, tuple(notes), text)


def cut(one, rows):
    """Return a stage with some of its captions."""
    said = tuple(one.pairs.captions[t] for t in rows)
    pairs = replace(one.pairs, captions=said, gt=one.pairs.gt[rows])
    first = First(one.first.txt[rows], one.first.img)
    return replace(one, pairs=pairs, first=first, text=one.text[rows])


VAL, TEST = stage(0, 40), stage(1)
LARGE = stage(2, 40)  # more images than may be asked


def cadre(**how):
    parts = {"witness": Witness(KNOWS, ASK), "probe": Probe.plain(D, 5)}
    return Cadre(SimpleNamespace(encode_texts=BACKBONE.encode), **{**parts, **how})


@pytest.fixture(scope="module")
def fitted():
    """Return order → Cadre with its constants."""
    return {order: cadre(order=order).fit(VAL) for order in ORDERS}


# Refining


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("test", [TEST, LARGE], ids=["12", "40"])
def test_refining_helps_in_both_directions(fitted, order, test):
    refined, gt = fitted[order].refine(test), test.pairs.gt
    sim = test.first.sim
    before, after = TwoWay(sim, sim).evaluate(gt), refined.scores.evaluate(gt)
    assert after.mR > before.mR + 5
    for side in ("t2i_r1", "i2t_r1"):
        assert after.as_dict()[side] > before.as_dict()[side] + 5
    assert after.mR > refined.base.evaluate(gt).mR  # VCI adds to QGD


@pytest.mark.parametrize("other", [np.roll(np.arange(40), 7)])
def test_the_evidence_of_other_images_is_no_help(fitted, other):
    gt, how = LARGE.pairs.gt, cadre()
    refined = fitted[ORDERS[0]].refine(LARGE)
    one, base = (x.evaluate(gt).mR for x in (refined.scores, refined.base))
    control = how.fit(VAL, other).refine(LARGE, other).scores.evaluate(gt).mR
    assert control < one - 5
    assert abs(control - base) < 0.5 * (one - base)  # near what went in
    # and with constants that trust the evidence, it does harm
    assert fitted[ORDERS[0]].refine(LARGE, other).scores.evaluate(gt).mR < one - 5


def test_without_modules_nothing_changes():
    bare = cadre(witness=None, probe=None)
    assert bare.fit(VAL) is bare
    refined = bare.refine(TEST)
    for side in ("t2i", "i2t"):
        np.testing.assert_array_equal(getattr(refined.scores, side), TEST.first.sim)
    assert refined.calls.tolist() == [0] * 24 and refined.order.shape == (24, 0)


def test_without_a_witness_it_is_qgd():
    one = cadre(witness=None)
    refined = one.refine(LARGE)
    want = one.probe(LARGE.first.txt, LARGE.views.emb)
    for side in ("t2i", "i2t"):  # `top` passes the gallery
        np.testing.assert_allclose(getattr(refined.scores, side), want, atol=1e-6)
    few = replace(one, top=3).probed(LARGE)
    sim = LARGE.first.sim
    for got, old, new in ((few.t2i, sim, want), (few.i2t.T, sim.T, want.T)):
        near = best_first(old, 3)
        inside = np.take_along_axis(got, near, 1)
        np.testing.assert_allclose(inside, np.take_along_axis(new, near, 1), atol=1e-6)
        rest = got.copy()
        np.put_along_axis(rest, near, -np.inf, 1)
        assert (rest.max(1) < inside.min(1)).all()


def test_the_order_decides_who_is_asked(fitted):
    sim = LARGE.first.sim
    qgd, vci = (fitted[o].refine(LARGE) for o in ORDERS)
    probed = fitted[ORDERS[0]].probed(LARGE)
    for one in (qgd, vci):  # the scores that VCI starts from are the same
        np.testing.assert_array_equal(one.base.t2i, probed.t2i)
        np.testing.assert_array_equal(one.base.i2t, probed.i2t)
        assert one.order.shape == (80, 20) and one.calls.dtype == np.int64
    np.testing.assert_array_equal(qgd.order, best_first(probed.t2i, 20))
    np.testing.assert_array_equal(vci.order, best_first(sim, 20))
    assert (qgd.order != vci.order).any()
    # without a probe, there is no order
    one, other = (cadre(probe=None, order=o).fit(VAL).refine(TEST) for o in ORDERS)
    np.testing.assert_array_equal(one.scores.t2i, other.scores.t2i)
    np.testing.assert_array_equal(one.scores.i2t, other.scores.i2t)


@pytest.mark.parametrize("order", [("qgd",), ("vci", "vci"), ("vci", "qgd", "qgd"), ()])
def test_bad_orders(order):
    with pytest.raises(ParameterError, match="must name qgd and vci"):
        cadre(order=order)


def test_fit_sets_all_constants_and_leaves_the_rest(fitted):
    start = cadre()
    one = start.fit(VAL)
    assert start.t2i is None
    for name in ("backbone", "top", "captions", "order"):
        assert getattr(one, name) == getattr(fitted[ORDERS[0]], name) or name[0] == "b"
    for how in (one.t2i, one.i2t):
        assert len(how.weights) == len(LEVELS) + 2
    assert one.i2t.slack == 0 and 0 <= one.pick.weight <= 1
    assert one.t2i == fitted[ORDERS[0]].t2i  # a function of its data
    assert one.fit(VAL).t2i == one.t2i


def test_calls_are_those_made(fitted):
    one = fitted[ORDERS[0]]
    for slack in (0.0, 0.05, 0.5):
        for most in (4, 20):
            how = replace(one, t2i=replace(one.t2i, slack=slack, most=most))
            refined = how.refine(LARGE)
            assert (refined.calls <= most).all() and refined.order.shape[1] == most
            assert slack or (refined.calls == most).all()
            # what was not asked kept its place
            x = one.t2i.weights[0] * refined.base.t2i + one.t2i.prior
            x[np.arange(80), LARGE.first.sim.argmax(1)] += one.t2i.stay
            late = np.ones(x.shape, bool)
            for q, n in enumerate(refined.calls):
                late[q, refined.order[q, :n]] = False
            np.testing.assert_allclose(refined.scores.t2i[late], x[late], atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_caption_does_not_need_the_others(fitted, order):
    """Inductive: the same rows with other queries, or with none."""
    whole = fitted[order].refine(LARGE)
    for rows in ([5], [3, 40, 79], np.arange(0, 80, 2)):
        part = fitted[order].refine(cut(LARGE, rows))
        np.testing.assert_array_equal(part.calls, whole.calls[rows])
        np.testing.assert_array_equal(part.order, whole.order[rows])
        np.testing.assert_allclose(part.scores.t2i, whole.scores.t2i[rows], atol=1e-4)


def test_refining_before_fit():
    with pytest.raises(ParameterError, match="call fit"):
        cadre().refine(TEST)
    with pytest.raises(ParameterError, match="no witness"):
        rows = np.zeros((1, 1), int)
        cadre(witness=None).evidence(TEST, rows, rows)


def test_evidence_is_gains_and_the_description():
    one, rng = cadre(), np.random.default_rng(0)
    images, texts = rng.integers(0, 12, (5, 3)), rng.integers(0, 24, (5, 3))
    got = one.evidence(TEST, images, texts)
    assert got.shape == (5, 3, len(LEVELS) + 1)
    other = np.roll(np.arange(12), 1)
    moved = one.evidence(TEST, images, texts, other)
    for k in np.ndindex(5, 3):
        for found, row in ((got, images[k]), (moved, other[images[k]])):
            said = [TEST.pairs.captions[texts[k]]]
            gains = one.witness.gains(TEST.pairs, np.array([row]), said)[0]
            np.testing.assert_allclose(found[k][:-1], gains, atol=1e-6)
            assert found[k][-1] == TEST.text[texts[k], row]
    np.testing.assert_array_equal(moved, one.evidence(TEST, other[images], texts))


def test_put():
    rng = np.random.default_rng(0)
    old = rng.uniform(-1, 1, (50, 9)).astype(np.float32)  # as cosines are
    rows, before = best_first(old, 4), old.copy()
    for shift in (-3, -1, 0, 3):
        new = rng.uniform(-1, 1, (50, 4)).astype(np.float32) + np.float32(shift)
        got = put(old, rows, new)
        assert got.dtype == old.dtype
        np.testing.assert_array_equal(np.take_along_axis(got, rows, 1), new)
        rest = np.ones(old.shape, bool)
        np.put_along_axis(rest, rows, False, 1)
        out, was = got[rest].reshape(50, 5), old[rest].reshape(50, 5)
        assert (out.max(1) < new.min(1)).all()
        np.testing.assert_array_equal(np.argsort(-out, 1), np.argsort(-was, 1))
        if shift == 3:  # they need not move
            np.testing.assert_array_equal(out, was)
    np.testing.assert_array_equal(old, before)
    every = best_first(old, 9)
    want = np.zeros_like(old)
    np.put_along_axis(want, every, np.take_along_axis(old, every, 1) - 3, 1)
    np.testing.assert_array_equal(
        put(old, every, np.take_along_axis(old, every, 1) - 3), want
    )


# One query


def ranks(scores):
    out = np.empty(len(scores), int)
    out[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("probe", [True, False], ids=["probe", "no probe"])
@pytest.mark.parametrize("slack", [0.0, 0.05, 0.4])
def test_a_trace_is_a_row_of_refine(fitted, order, probe, slack):
    one = fitted[order]
    one = replace(one, t2i=replace(one.t2i, slack=slack))
    one = one if probe else replace(one, probe=None)
    refined = one.refine(LARGE)
    for t, block in ((0, 5), (7, 1), (33, 50), (64, 3)):
        got = trace(one, LARGE, LARGE.pairs.captions[t], block=block)
        n = refined.calls[t]
        assert got.query == LARGE.pairs.captions[t] and got.calls == n
        np.testing.assert_array_equal(got.rows, refined.order[t])
        np.testing.assert_allclose(
            got.scores, refined.scores.t2i[t, got.rows], atol=1e-4
        )
        sim = LARGE.first.sim[t]
        np.testing.assert_allclose(got.first, sim[got.rows], atol=1e-6)
        np.testing.assert_array_equal(got.before, ranks(sim)[got.rows])
        np.testing.assert_array_equal(got.after, ranks(refined.scores.t2i[t])[got.rows])
        assert len(got.words) == len(got.said) == n
        heard = one.evidence(LARGE, got.rows[None, :n], np.full((1, n), t))[0]
        for words, e in zip(got.words, heard, strict=True):
            names = got.query.strip(".").split()
            assert [w for w, _, _ in words] == [*names, ""]
            for k, level in enumerate(LEVELS):
                total = sum(g for _, x, g in words if x == level)
                assert total == pytest.approx(e[k], abs=1e-4)
        assert got.said == [LARGE.said[r] for r in got.rows[:n]]
        best = refined.scores.t2i[t].argmax()
        turn = f"{best}: say {got.query.strip('.')}"
        assert got.rewritten == (turn if n else "")
        if probe:
            assert got.weights.shape == (20, 5)
            np.testing.assert_allclose(got.weights.sum(1), 1, atol=1e-5)
        else:
            assert got.weights.size == 0
        np.testing.assert_array_equal(got.boxes, boxes(GRID))


@pytest.mark.parametrize("order", ORDERS)
def test_a_trace_works_on_the_best_of_a_large_gallery(fitted, order):
    one = fitted[order]
    one = replace(one, t2i=replace(one.t2i, slack=0.0), top=25)
    refined = one.refine(LARGE)
    for t in range(0, 80, 13):
        got = trace(one, LARGE, LARGE.pairs.captions[t], block=20)
        np.testing.assert_array_equal(got.rows, refined.order[t])
        np.testing.assert_allclose(
            got.scores, refined.scores.t2i[t, got.rows], atol=1e-4
        )
        near = best_first(LARGE.first.sim, 25)[t]
        after = dict(zip(near, ranks(refined.scores.t2i[t, near]), strict=True))
        assert got.calls == 20 and got.after.tolist() == [after[r] for r in got.rows]
    few = trace(replace(one, top=6), LARGE, LARGE.pairs.captions[0])
    assert len(few.rows) == few.calls == 6


def test_a_plain_query_is_not_asked_about(fitted):
    one = fitted[ORDERS[0]]
    sure = replace(one, t2i=VCI((1e5, *one.t2i.weights[1:]), slack=0.1))
    KNOWS.asked.clear()
    got = trace(sure, LARGE, LARGE.pairs.captions[4])
    assert got.calls == 0 and not KNOWS.asked
    assert not got.words and not got.said and got.rewritten == ""
    assert len(got.rows) == len(got.after) == 20


def test_a_trace_asks_no_more_than_a_block_too_many(fitted):
    one = fitted[ORDERS[0]]
    one = replace(one, t2i=replace(one.t2i, slack=0.05))
    for t in range(0, 80, 9):
        KNOWS.asked.clear()
        got = trace(one, LARGE, LARGE.pairs.captions[t], block=3)
        asked = KNOWS.asked
        assert asked == got.rows[: len(asked)].tolist()
        assert got.calls <= len(asked) <= got.calls + 3


def test_any_text_can_be_traced(fitted):
    got = trace(fitted[ORDERS[0]], TEST, "two blue boats beside a quay")
    assert sorted(got.rows.tolist()) == list(range(12))
    assert got.calls <= 12 and len(got.words) == got.calls
    assert sorted(got.after.tolist()) == list(range(1, 13))


@pytest.mark.parametrize("how", [{}, {"witness": None}])
def test_a_trace_needs_a_witness_and_constants(how):
    with pytest.raises(ParameterError, match="trace needs a witness"):
        trace(cadre(**how), TEST, "a lake")


# From a data set


def test_prepare(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    pairs, backbone = squares(4), tiny()
    records = [
        Record(i, (Variant(f"a {k}. b.", f"c {k}", f"d {k}. e {k}."),))
        for k, i in enumerate(pairs.ids)
    ]
    records[2] = Record(pairs.ids[2], (), "failed", "no answer")
    got = prepare(backbone, pairs, records, TextSpace("toy", "", SPACE))
    assert got.first.sim.shape == got.text.shape == (8, 4)
    assert got.views.emb.shape == (4, 5, 32) and len(got.texts) == 4
    assert got.said == ("d 0. e 0.", "d 1. e 1.", "", "d 3. e 3.")
    assert (got.text[:, 2] < got.text[:, [0, 1, 3]].min()).all()  # nothing is written
    one = prepare(
        backbone, pairs, records, TextSpace("toy", "", SPACE), fields=("feature",)
    )
    assert (one.text != got.text).any()
    # it goes through, with a probe of its size
    parts = {"probe": Probe.plain(32, 5)}
    refined = Cadre(backbone, **parts).refine(got)
    assert refined.scores.t2i.shape == (8, 4)
    assert np.isfinite(refined.scores.t2i).all()
