"""QGD: what each rule does, what a probe learns, and that it comes back from disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from rsnb.cadre.qgd import RULES, Lesson, Probe, learn
from rsnb.errors import EmbeddingError, FileCorruptError, ParameterError
from rsnb.metrics import evaluate

D, V = 16, 5
LESSON = Lesson(epochs=10, lr=2e-2, batch=64)
ARRAYS = ("ask", "see", "whole", "bias")


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def some(seed=0, q=9, k=7):
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((q, D))), unit(rng.standard_normal((q, k, V, D)))


def drawn(rule="guided", seed=1):
    """Return a probe with random parameters."""
    rng = np.random.default_rng(seed)
    ask, see, whole = rng.standard_normal((3, D, D)).astype(np.float32) / 8
    bias = rng.standard_normal(V).astype(np.float32)
    return Probe(ask, see, whole, bias, sharp=7.0, mix=0.3, rule=rule)


def by_hand(probe, q, views):
    """Return weights (V,) and the score of one candidate."""
    found = views @ (q + q @ probe.ask)
    best = int(found.argmax())
    w = {
        "guided": softmax(probe.sharp * found + probe.bias),
        "anti": softmax(-probe.sharp * found + probe.bias),
        "uniform": softmax(probe.bias),
        "max": np.eye(V)[best],
        "global": np.eye(V)[0],
    }[probe.rule]
    first = views[0] @ (q + q @ probe.whole)
    if probe.rule == "global":
        return w, first
    read = w @ (views @ (q + q @ probe.see))
    return w, (1 - probe.mix) * first + probe.mix * read


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_scores_are_those_of_the_formula(rule):
    probe, (txt, views) = drawn(rule), some()
    weights, scores = probe.weights(txt, views), probe(txt, views)
    assert weights.shape == (9, 7, V) and weights.dtype == np.float32
    assert scores.shape == (9, 7) and scores.dtype == np.float32
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(2), 1, atol=1e-6)
    for i in range(9):
        for j in range(7):
            w, score = by_hand(probe, txt[i], views[i, j])
            np.testing.assert_allclose(weights[i, j], w, atol=1e-5)
            np.testing.assert_allclose(scores[i, j], score, atol=1e-5)


def test_rules_where_one_window_holds_the_query():
    e = np.eye(4, dtype=np.float32)
    query = e[:1]
    views = np.stack([e[[1, 0, 2]], e[[3, 1, 2]]])  # of the first, window 1 shows it
    got = {rule: Probe.plain(4, 3, rule) for rule in RULES}
    w = {rule: probe.weights(query, views)[0] for rule, probe in got.items()}
    s = {rule: probe(query, views)[0] for rule, probe in got.items()}
    assert w["guided"][0, 1] > 0.99 and w["anti"][0, 1] < 0.01
    np.testing.assert_allclose(w["guided"][1], 1 / 3)  # nothing to find
    np.testing.assert_allclose(w["uniform"], 1 / 3)
    assert w["max"][0].tolist() == [0, 1, 0]
    assert w["global"].tolist() == [[1, 0, 0]] * 2
    np.testing.assert_allclose(s["guided"], [0.5, 0], atol=1e-3)
    np.testing.assert_allclose(s["max"], [0.5, 0])
    np.testing.assert_allclose(s["uniform"], [1 / 6, 0], atol=1e-6)
    np.testing.assert_allclose(s["anti"], 0, atol=1e-3)
    np.testing.assert_array_equal(s["global"], 0)


def test_uniform_weights_do_not_see_the_query():
    txt, views = some()
    weights = drawn("uniform").weights(txt, views)
    assert (weights == weights[0, 0]).all()
    assert len(np.unique(drawn("guided").weights(txt, views))) > 300


@pytest.mark.parametrize("rule", RULES)
def test_without_windows_a_plain_probe_is_the_backbone(rule):
    txt, views = some()
    plain = replace(Probe.plain(D, V, rule), mix=0.0)
    cosine = np.einsum("qd,qkd->qk", txt, views[:, :, 0])
    np.testing.assert_allclose(plain(txt, views), cosine, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_shared_candidates_are_those_of_each_query(rule):
    probe, (txt, _) = drawn(rule), some(q=130, k=1)  # more than are scored at once
    views = some(3, q=1, k=6)[1][0]
    own = np.broadcast_to(views, (130, *views.shape)).copy()
    np.testing.assert_allclose(probe(txt, views), probe(txt, own), atol=1e-6)
    shared = probe.weights(txt, views)
    np.testing.assert_allclose(shared, probe.weights(txt, own), atol=1e-5)
    for k in (0, 77, 129):  # a query alone
        np.testing.assert_allclose(
            probe(txt[k : k + 1], views), probe(txt, views)[k : k + 1], atol=1e-6
        )


def test_an_unknown_rule():
    with pytest.raises(ParameterError, match="no rule 'best'"):
        Probe.plain(D, V, "best")


def test_bad_shapes_and_values():
    probe, (txt, views) = drawn(), some()
    for t, v in (
        (txt, views[..., :-1]),
        (txt, views[:, :, :-1]),
        (txt, views[0, 0]),
        (txt, views[:-1]),
        (txt[:-1], views),
        (txt, views[None]),
        (txt[:, :-1], views),
        (txt[0], views),
        (txt * np.float32(np.nan), views),
        (txt, views * np.float32(np.nan)),
        (txt, views + np.float32(np.inf)),
    ):
        with pytest.raises(EmbeddingError):
            probe(t, v)
    many = np.repeat(txt, 8, 0)[:64]
    with pytest.raises(EmbeddingError):  # as many as are scored at once, of 100
        probe(many, np.repeat(views, 12, 0)[:100])


# Learning


def hidden(seed, n=192):
    """Return captions, views and gt: one window, anywhere, shows what two captions say.

    The second half of the dimensions is noise to captions and windows alike.
    """
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, V, D // 2))
    views = np.concatenate([signal, 0.6 * rng.standard_normal(signal.shape)], 2)
    said = np.repeat(signal[np.arange(n), rng.integers(1, V, n)], 2, 0)
    said = said + 0.2 * rng.standard_normal(said.shape)
    txt = np.concatenate([said, 0.6 * rng.standard_normal(said.shape)], 1)
    return unit(txt), unit(views), np.repeat(np.arange(n), 2)


def recall(probe, data):
    txt, views, gt = data
    return evaluate(probe(txt, views), gt).mR


@pytest.fixture(scope="module")
def learned():
    plain = {rule: Probe.plain(D, V, rule) for rule in ("guided", "uniform")}
    return {rule: learn(p, *hidden(0), LESSON) for rule, p in plain.items()}


def test_what_is_learned_holds_for_new_pairs(learned):
    new = hidden(1)
    score = {rule: recall(probe, new) for rule, probe in learned.items()}
    plain = recall(Probe.plain(D, V), new)
    assert score["guided"] > plain + 10
    assert score["guided"] > score["uniform"] + 10
    txt, views, gt = new
    w = learned["guided"].weights(txt, views)
    found = w[np.arange(len(gt)), gt]
    assert found[:, 1:].max(1).mean() > 1.5 / V  # it looks somewhere
    assert learned["guided"].rule == "guided" and learned["uniform"].rule == "uniform"


def test_learning_is_a_function_of_the_seed():
    data, how = hidden(2, 40), Lesson(epochs=2, batch=16)
    one, same = (learn(Probe.plain(D, V), *data, how) for _ in range(2))
    other = learn(Probe.plain(D, V), *data, replace(how, seed=1))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert (one.sharp, one.mix) == (same.sharp, same.mix)
    assert np.abs(one.ask - other.ask).max() > 1e-5
    assert one.ask.dtype == np.float32 and isinstance(one.sharp, float)


def test_learning_leaves_its_start_and_data_alone():
    start, data = drawn(), hidden(3, 32)
    before = [x.copy() for x in (*(getattr(start, n) for n in ARRAYS), *data)]
    learn(start, *data, Lesson(epochs=1, batch=16))
    after = [*(getattr(start, n) for n in ARRAYS), *data]
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rule", RULES)
def test_no_epoch_is_no_change_and_every_rule_learns(rule):
    data, start = hidden(4, 32), drawn(rule)
    same = learn(start, *data, Lesson(epochs=0, batch=16))
    assert recall(same, data) == recall(start, data) and same.rule == rule
    moved = learn(start, *data, Lesson(epochs=1, batch=16))
    assert np.abs(moved(*data[:2]) - start(*data[:2])).max() > 1e-4


def test_too_few_images():
    with pytest.raises(ParameterError, match="32 images do not fill a batch of 256"):
        learn(Probe.plain(D, V), *hidden(5, 32))


# Files


def test_a_probe_comes_back_from_disk(tmp_path):
    for rule in RULES:
        probe = drawn(rule)
        path = probe.save(tmp_path / "p.safetensors", weights="their digest")
        got = Probe.load(path)
        for name in ARRAYS:
            x, y = getattr(probe, name), getattr(got, name)
            assert y.dtype == np.float32
            np.testing.assert_array_equal(y, x.astype(np.float16).astype(np.float32))
        assert (got.sharp, got.mix, got.rule) == (7.0, 0.3, rule)
        txt, views = some()
        np.testing.assert_allclose(got(txt, views), probe(txt, views), atol=5e-3)
        again = got.save(tmp_path / "q.safetensors")  # nothing more is lost
        assert again.read_bytes() == path.read_bytes()


def test_a_damaged_probe(tmp_path):
    path = drawn().save(tmp_path / "p.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileCorruptError, match="sha256"):
        Probe.load(path)
    path.unlink()
    with pytest.raises(FileCorruptError, match="No such file"):
        Probe.load(path)
