"""Properties of readers, metrics, noise and search, over what hypothesis thinks up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsnb import backbones, index, metrics, recall
from rsnb.errors import (
    BackboneError,
    EmbeddingError,
    MetricError,
    ParameterError,
    Problem,
)
from rsnb.index import Searcher
from rsnb.metrics import evaluate, evaluate_embeddings
from rsnb.noise import PROTOCOLS, orders
from rsnb.readers import SPLITS, clean, read_manifest
from test_metrics import agree, random_case, reference
from toy import tiny

many = settings(max_examples=100, deadline=None, derandomize=True)
FAILED = (AssertionError, pytest.fail.Exception)

# Readers

odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
odd = st.recursive(
    odd,
    lambda x: (
        st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3)
    ),
    max_leaves=6,
)
good = st.sampled_from(["a.png", "x/b.png", "../c.png", "train", "test", "a lake", ""])
value = good | st.lists(good, max_size=3) | odd
KEYS = {
    "captions.jsonl": "image split captions class zip image_here rsicd_zip rsicd_image",
    "d.json": "filename split sentences filepath class raw raw_1",
    "toy_test.json": "image caption label_name",
}  # fmt: skip


@st.composite
def manifests(draw):
    """Return a file name and bytes that are, nearly are, or never were a manifest."""
    name = draw(st.sampled_from([*KEYS, "toy_test.csv", "toy_test.csv.gz",
                                 "test_caps.txt", "train-0.parquet"]))  # fmt: skip
    if name not in KEYS or draw(st.integers(0, 3)) == 0:
        heads = (
            b"",
            b"filename,title\n",
            b"\xff\xfe",
            b'{"images": [',
            b"PAR1",
            b"\x1f\x8b",
        )
        return name, draw(st.sampled_from(heads)) + draw(st.binary(max_size=60))
    row = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[name].split(), value))
    rows = draw(st.lists(row | odd, max_size=4))
    if name == "captions.jsonl":
        text = "\n".join(map(json.dumps, rows))
    else:
        text = json.dumps(draw(st.sampled_from([rows, {"images": rows}, {"x": rows}])))
    return name, text.encode()[: draw(st.integers(0, 5000))]


@pytest.mark.promise("P15", "P16")
@many
@given(manifests())
def test_any_bytes_are_rows_or_problems(case):
    name, data = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        layout, rows, bad = read_manifest(path, name)
        kept = clean(rows, layout, bad)
    assert all(isinstance(p, Problem) and p.kind and p.fix for p in bad)
    for row in kept:
        assert row.captions and row.split in SPLITS.values()
        assert not row.image.startswith("/") and ".." not in row.image.split("/")
        assert all(isinstance(c, str) and 0 < len(c) <= 2000 for c in row.captions)
        assert isinstance(row.label, str)
    assert len({row.image for row in kept}) == len(kept)


# Metrics (permutations, rising transforms and bounds: tests/test_metrics.py)


@pytest.mark.promise("P7", "P9")
@many
@given(st.integers(0, 10**6))
def test_recall_is_that_of_brute_force(seed):
    sim, gt = random_case(seed)
    agree(evaluate(sim, gt), reference(sim.tolist(), gt.tolist()))


@st.composite
def quarters(draw, most=12):
    """Return gallery and queries of exact products, many of them equal."""
    axes = st.integers(0, 3).map(lambda i: np.eye(4)[i].tolist())
    signs = st.lists(st.sampled_from([-0.5, 0.5]), min_size=4, max_size=4)
    rows = st.lists(axes | signs, min_size=1, max_size=most)
    return tuple(np.array(draw(rows), np.float32) for _ in range(2))


def check_ties():
    """Six equal captions: the headline is the expectation, the order is by row."""
    r = evaluate(np.zeros((6, 6)), np.arange(6))
    assert r.t2i_hits[:, 0] == pytest.approx(1 / 6)
    assert r.bounds()["pessimistic"]["t2i_r1"] == 0
    found = Searcher(np.tile(np.eye(4, dtype=np.float32)[:1], (6, 1)))
    assert found.search(np.eye(4)[:1], 3)[0].tolist() == [[0, 1, 2]]


@pytest.mark.promise("P7")
def test_ties_have_a_rule():
    check_ties()


def highest_id_first(query, row, score, n, k):
    best = np.lexsort((-row, -score, query)).reshape(n, -1)[:, :k]
    return row[best], score[best]


@pytest.mark.promise("P7", "P9", off=True)
@pytest.mark.parametrize("off", ["metric", "search"])
def test_without_the_rule_of_ties_the_check_fails(monkeypatch, off):
    if off == "metric":
        lucky = lambda above, level, good: above[:, None] < np.array(recall.KS)  # noqa: E731
        monkeypatch.setattr(metrics, "p_hit", lucky)
    else:
        monkeypatch.setattr(index, "by_score", highest_id_first)
    with pytest.raises(FAILED):
        check_ties()


@st.composite
def spoiled(draw):
    """Return embeddings of which one row cannot be ranked, and that row."""
    x = np.eye(5, dtype=np.float32)[np.arange(draw(st.integers(2, 9))) % 5]
    row, col = draw(st.integers(0, len(x) - 1)), draw(st.integers(0, 4))
    bad = draw(st.sampled_from([np.nan, np.inf, -np.inf, None]))
    x[row] = 0 if bad is None else x[row]
    x[row, col] = 0 if bad is None else bad
    return x, row


def check_bad_numbers(x, row):
    sound, gt = np.eye(5, dtype=np.float32)[np.arange(len(x)) % 5], np.arange(len(x))
    for txt, img in ((x, sound), (sound, x)):
        with pytest.raises(EmbeddingError, match=rf"first rows \[{row}"):
            evaluate_embeddings(txt, img, gt)
    with pytest.raises(EmbeddingError, match="gallery"):
        Searcher(x)
    with pytest.raises(EmbeddingError, match="query"):
        Searcher(sound).search(x, 1)
    sim = sound @ sound.T
    sim[row, 0] = np.nan
    with pytest.raises(MetricError, match=f"row {row}"):
        evaluate(sim, gt)


@pytest.mark.promise("P8")
@many
@given(spoiled())
def test_a_number_that_is_none_never_ranks(case):
    check_bad_numbers(*case)


@pytest.mark.promise("P8", off=True)
@pytest.mark.parametrize("module", ["metrics", "exact"])
def test_without_the_check_of_numbers_they_rank(monkeypatch, module):
    x = np.eye(5, dtype=np.float32)
    x[2, 1] = np.nan
    monkeypatch.setattr(f"rsnb.{module}.check_embeddings", lambda x, *a, **k: x)
    with pytest.raises((*FAILED, IndexError)), np.errstate(all="ignore"):
        check_bad_numbers(x, 2)


# Noise


@st.composite
def draws(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=40))
    gt = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(gt)
    rate = draw(st.floats(0, 1, exclude_max=True))
    return gt, rate, draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(PROTOCOLS))


@pytest.mark.promise("P9")
@many
@given(draws())
def test_noise_moves_its_share_and_marks_no_fixed_point(case):
    gt, rate, seed, protocol = case
    label = [f"class {i % 3}" for i in gt]
    how = {"seed": seed, "protocol": protocol, "label": label}
    [noise] = orders(gt, [rate], **how)
    order, here = noise.order, np.arange(len(gt))
    assert sorted(order) == here.tolist()
    assert next(orders(gt, [rate], **how)).sha256 == noise.sha256
    texts = [f"caption {t}" for t in here]
    moved = noise.moved(texts)
    assert (moved == (order != here)).all()
    assert not noise.moved(["same"] * len(gt)).any()
    assert (noise.false(texts, gt) == (gt[order] != gt)).all()
    if protocol == "decl":
        images = np.unique(gt[gt[order] != gt])
        assert len(images) <= int(len(np.unique(gt)) * rate)
    else:
        drawn = int(len(gt) * rate)
        assert moved.sum() <= drawn
        if protocol in ("caption", "ncr"):  # a permutation keeps one in place, or so
            assert drawn - moved.sum() <= 8
    if protocol == "class":
        assert all(label[a] == label[b] for a, b in enumerate(order))


@pytest.mark.promise("P9")
@many
@given(st.floats().filter(lambda r: not 0 <= r < 1))
def test_a_share_outside_is_refused(rate):
    with pytest.raises(ParameterError):
        next(orders(np.arange(4), [0.5, rate]))


# Search


@pytest.mark.promise("P7", "P8")
@many
@given(quarters(), st.integers(1, 12))
def test_flat_is_brute_force_is_faiss(case, k):
    emb, queries = case
    assume(k <= len(emb))
    rows, scores = Searcher(emb).search(queries, k)
    full = queries.astype(float) @ emb.astype(float).T
    want = np.argsort(-full, axis=1, kind="stable")[:, :k]
    assert (rows == want).all()
    assert (scores == np.take_along_axis(full, want, 1)).all()
    other, level = Searcher(emb, params="verbose=0").search(queries, k)
    assert (level == scores).all()
    assert ((other >= 0) & (other < len(emb))).all()
    for a, b, row in zip(other, rows, full, strict=True):
        if k == len(emb) or np.sort(row)[-k - 1] < row[b[-1]]:  # no tie at the cut
            assert a.tolist() == b.tolist()


@pytest.mark.promise("P8")
@many
@given(quarters(), st.integers())
def test_more_than_there_is_is_refused(case, k):
    emb, queries = case
    assume(not 1 <= k <= len(emb))
    for params in ("", "verbose=0"):
        with pytest.raises(EmbeddingError, match=f"k must be 1 to {len(emb)}"):
            Searcher(emb, params=params).search(queries, k)


# The activation


def check_activation(folder):
    """A backbone that was saved with one GELU is refused with the other."""
    path = folder / "vit.safetensors"
    backbones.save(path, tiny("vit"))
    receipt = Path(f"{path}.json")
    facts = json.loads(receipt.read_text())
    facts["entry"]["activation"] = "quickgelu"
    del facts["receipt"]  # as if it had been written so
    receipt.write_text(json.dumps(facts))
    with pytest.raises(BackboneError, match="probe differs"):
        backbones.load(str(path))


@pytest.mark.promise("P10")
def test_the_wrong_activation_is_refused(tmp_path):
    check_activation(tmp_path)


@pytest.mark.promise("P10", off=True)
def test_without_the_probe_the_wrong_activation_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "check_probe", lambda backbone: None)
    with pytest.raises(FAILED):
        check_activation(tmp_path)
