"""Recall against an independent implementation, by hand, by property and by clock."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsnb.errors import EmbeddingError, FileCorruptError, MetricError
from rsnb.metrics import (
    KS,
    Recall,
    caption_ceiling,
    evaluate,
    evaluate_embeddings,
    similarity,
)

pytestmark = pytest.mark.promise("P7", "P8", "P9")

KEYS = ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "mR"]


# An independent implementation: exact fractions, one query at a time, and for i2t a
# walk along the tied positions instead of a closed form.
def first_hit_law(scores: list, right: set) -> dict[int, Fraction]:
    """Position → probability that the first right item stands there."""
    top = max(scores[j] for j in right)
    start = sum(s > top for s in scores)
    tied = [j for j, s in enumerate(scores) if s == top]
    good, left = len(right.intersection(tied)), len(tied)
    law, alive, place = {}, Fraction(1), start
    while alive:
        law[place] = alive * Fraction(good, left)
        alive -= law[place]
        left -= 1
        place += 1
    return law


def reference(sim, gt) -> dict[str, list]:
    n_text, n_image = len(sim), len(sim[0])
    laws = {
        "i2t": [
            first_hit_law(
                [sim[t][i] for t in range(n_text)],
                {t for t in range(n_text) if gt[t] == i},
            )
            for i in range(n_image)
        ],
        "t2i": [first_hit_law(list(sim[t]), {gt[t]}) for t in range(n_text)],
    }
    out = {}
    for way, all_laws in laws.items():
        out[way] = [
            [sum((p for r, p in law.items() if r < k), Fraction(0)) for k in KS]
            for law in all_laws
        ]
        out[way + "_low"] = [min(law) for law in all_laws]
        out[way + "_high"] = [max(law) for law in all_laws]
        out[way + "_mean"] = [sum(r * p for r, p in law.items()) for law in all_laws]
    return out


def agree(recall: Recall, ref: dict[str, list]) -> None:
    for way in ("i2t", "t2i"):
        hits, ranks = getattr(recall, f"{way}_hits"), getattr(recall, f"{way}_ranks")
        for got, want in zip(hits.ravel(), itertools.chain(*ref[way]), strict=True):
            assert abs(got - float(want)) < 1e-13
            if want in (0, 1):
                assert got == want
        assert ranks[:, 0].tolist() == ref[way + "_low"]
        assert ranks[:, 2].tolist() == ref[way + "_high"]
        np.testing.assert_allclose(
            ranks[:, 1], [float(x) for x in ref[way + "_mean"]], atol=1e-12
        )
    mean = {
        f"{way}_r{k}": 100 * float(sum(q[j] for q in ref[way])) / len(ref[way])
        for way in ("i2t", "t2i")
        for j, k in enumerate(KS)
    }
    mean["mR"] = math.fsum(mean.values()) / 6
    assert list(recall.as_dict()) == KEYS == list(mean)
    for key, value in mean.items():
        assert recall.as_dict()[key] == pytest.approx(value, abs=1e-10)


def random_case(seed: int):
    rng = np.random.default_rng(seed)
    n_image = int(rng.integers(1, 16))
    extra = int(rng.integers(0, 4 * n_image))
    gt = np.concatenate([np.arange(n_image), rng.integers(0, n_image, extra)])
    rng.shuffle(gt)
    shape = (len(gt), n_image)
    match seed % 5:
        case 0:  # no ties
            sim = rng.standard_normal(shape)
        case 1:  # many ties
            sim = rng.integers(0, 3, shape).astype(float)
        case 2:  # few ties
            sim = rng.integers(-20, 20, shape) / 8
        case 3:  # duplicate captions and images
            base = rng.integers(0, 9, shape).astype(float)
            sim = base[rng.integers(0, len(gt), len(gt))]
            sim = sim[:, rng.integers(0, n_image, n_image)]
        case _:  # all equal
            sim = np.full(shape, 0.25)
    return sim.astype([np.float64, np.float32, np.float16][seed % 3]), gt


@pytest.mark.parametrize("chunk", range(6))
def test_agrees_with_independent_implementation_on_300_matrices(chunk):
    for seed in range(50 * chunk, 50 * chunk + 50):
        sim, gt = random_case(seed)
        agree(evaluate(sim, gt), reference(sim.tolist(), gt.tolist()))


def test_random_ties_are_the_mean_over_all_orders():
    sim, gt = np.array([[1, 1], [1, 0], [1, 1], [0, 1]], float), [0, 1, 1, 0]
    total, orders = np.zeros(2), list(itertools.permutations(range(4)))
    for order in orders:  # break i2t ties by each order of the captions
        for i in (0, 1):
            best = max(range(4), key=lambda t: (sim[t, i], order[t]))
            total[i] += gt[best] == i
    assert evaluate(sim, gt).i2t_hits[:, 0] == pytest.approx(total / len(orders))


# 20 cases worked by hand: sim, gt, then i2t and t2i hits at 1 of each query
H, T = 0.5, 1 / 3
HAND = [
    ([[1.0]], [0], [1], [1]),
    ([[1, 0], [0, 1.0]], [0, 1], [1, 1], [1, 1]),
    ([[0, 1], [1, 0.0]], [0, 1], [0, 0], [0, 0]),
    ([[1, 1], [1, 1.0]], [0, 1], [H, H], [H, H]),
    ([[1, 1], [0, 0.0]], [0, 1], [1, 0], [H, H]),
    ([[1, 0], [1, 0.0]], [0, 1], [H, H], [1, 0]),
    ([[3, 2], [2, 3.0]], [1, 0], [0, 0], [0, 0]),
    ([[2, 1], [1, 2], [3, 0.0]], [0, 1, 0], [1, 1], [1, 1, 1]),
    ([[2, 1], [1, 2], [3, 0.0]], [0, 1, 1], [0, 1], [1, 1, 0]),
    ([[2, 1], [2, 2], [2, 0.0]], [0, 1, 0], [2 / 3, 1], [1, H, 1]),
    ([[2, 1], [2, 2], [2, 0.0]], [0, 1, 1], [T, 1], [1, H, 0]),
    ([[0, 0], [0, 0], [0, 0.0]], [0, 0, 1], [2 / 3, T], [H, H, H]),
    ([[5], [4], [3.0]], [0, 0, 0], [1], [1, 1, 1]),
    ([[1, 1, 1], [0, 1, 0], [0, 0, 1.0]], [0, 1, 2], [1, H, H], [T, 1, 1]),
    ([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]], [0, 1, 2], [H, H, 1], [H, H, 1]),
    ([[1, 2, 2], [2, 1, 2], [2, 2, 1.0]], [0, 1, 2], [0, 0, 0], [0, 0, 0]),
    ([[2, 2, 1], [1, 2, 2], [2, 1, 2.0]], [0, 1, 2], [H, H, H], [H, H, H]),
    ([[-1, -2], [-2, -1.0]], [0, 1], [1, 1], [1, 1]),
    ([[0.0, -0.0], [-0.0, 0.0]], [0, 1], [H, H], [H, H]),
    ([[1, 0], [1, 0], [1, 0], [0, 1.0]], [0, 0, 1, 1], [2 / 3, 1], [1, 1, 0, 1]),
]


@pytest.mark.parametrize("case", HAND)
def test_hand_computed(case):
    sim, gt, i2t, t2i = case
    r = evaluate(np.array(sim), np.array(gt))
    assert r.i2t_hits[:, 0] == pytest.approx(i2t, abs=1e-15)
    assert r.t2i_hits[:, 0] == pytest.approx(t2i, abs=1e-15)
    assert (r.i2t_hits[:, 2] == 1).all()
    assert (r.t2i_hits[:, 2] == 1).all()


def test_hypergeometric_beyond_the_first_place():
    sim = np.zeros((12, 2))
    gt = np.array([0, 0] + [1] * 10)
    sim[2] = [1, 0]  # one caption above the tie for image 0: 4 draws of 11, 2 right
    assert evaluate(sim, gt).i2t_hits[0] == pytest.approx(
        [0, 1 - (9 * 8 * 7 * 6) / (11 * 10 * 9 * 8), 1 - (2 * 1) / (11 * 10)]
    )


def test_equals_published_conventions_without_ties():
    """CLIP_benchmark's "> 0" top-k rule, hit_rate@k of ranx, and min-rank argsort."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 30))
        gt = np.sort(np.concatenate([np.arange(n), rng.integers(0, n, 2 * n)]))
        sim = rng.permutation(len(gt) * n).reshape(len(gt), n) / 1024.0
        got = evaluate(sim, gt).as_dict()
        positive = gt[:, None] == np.arange(n)
        for way, s, pos in (("t2i", sim, positive), ("i2t", sim.T, positive.T)):
            order = np.argsort(-s, axis=1)
            for k in KS:
                top = np.take_along_axis(pos, order[:, :k], 1)
                hit = (top.sum(1) > 0).astype(float)
                assert got[f"{way}_r{k}"] == pytest.approx(100 * hit.mean())
                rank = [
                    min(np.flatnonzero(p[o])) for p, o in zip(pos, order, strict=True)
                ]
                assert (np.array(rank) < k).tolist() == hit.astype(bool).tolist()


@st.composite
def matrices(draw):
    n = draw(st.integers(1, 7))
    gt = list(range(n)) + draw(st.lists(st.integers(0, n - 1), max_size=8))
    row = st.lists(st.integers(-2, 2), min_size=n, max_size=n)
    sim = draw(st.lists(row, min_size=len(gt), max_size=len(gt)))
    return np.array(sim, float), np.array(gt), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_properties(case):
    sim, gt, seed = case
    r = evaluate(sim, gt)
    rng = np.random.default_rng(seed)
    # any order of captions and images gives the same recall, exactly
    t, i = rng.permutation(len(gt)), rng.permutation(sim.shape[1])
    new = np.argsort(i)
    shuffled = evaluate(sim[t][:, i], new[gt[t]])
    assert (shuffled.t2i_hits == r.t2i_hits[t]).all()
    assert (shuffled.i2t_hits == r.i2t_hits[i]).all()
    # a rising transform changes nothing; recall grows with k and lies in its bounds
    assert evaluate(np.exp(sim) * 3 - 1, gt).as_dict() == r.as_dict()
    for hits, ranks in ((r.t2i_hits, r.t2i_ranks), (r.i2t_hits, r.i2t_ranks)):
        assert (np.diff(hits, axis=1) >= -1e-15).all()
        assert ((hits >= 0) & (hits <= 1)).all()
        assert (np.diff(ranks, axis=1) >= 0).all()
    b = r.bounds()
    for key, value in r.as_dict().items():
        low, high = b["pessimistic"][key], b["optimistic"][key]
        assert low - 1e-9 <= value <= high + 1e-9
    tied = (r.t2i_hits % 1 != 0).any(1).sum() + (r.i2t_hits % 1 != 0).any(1).sum()
    assert r.ties == pytest.approx(tied / (len(gt) + sim.shape[1]))


def test_extra_positive_score_never_hurts():
    sim, gt = random_case(7)
    before = evaluate(sim, gt)
    for t in range(len(gt)):
        s = sim.copy()
        s[t, gt[t]] += 1
        assert evaluate(s, gt).t2i_hits[t].sum() >= before.t2i_hits[t].sum()


def test_half_precision_is_taken():
    e = np.eye(3, dtype=np.float16)
    assert evaluate_embeddings(e, e, [0, 1, 2]).mR == 100


def test_images_without_captions_are_refused():
    sim = np.array([[1.0, 2, 0], [0, 0, 3]])
    with pytest.raises(MetricError, match=r"1 of 3 images have no caption.*\[1\]"):
        evaluate(sim, [0, 2])
    e = np.eye(3, dtype=np.float32)
    with pytest.raises(MetricError, match="1 of 3 images"):
        evaluate_embeddings(e[:2], e, [0, 1])


S2 = np.zeros((2, 2))


@pytest.mark.parametrize(
    ("sim", "gt", "message"),
    [
        ([[0, np.nan], [0, 0]], [0, 1], "row 0, column 1"),
        ([[0, 0], [-np.inf, 0]], [0, 1], "row 1, column 0"),
        ([[0, 0], [np.inf, 0]], [0, 1], "1 rows, first at row 1"),
        (np.zeros((2, 2), int), [0, 1], "must be float"),
        (np.zeros((2, 2), complex), [0, 1], "must be float"),
        (np.zeros(4), [0, 1], "n_text, n_image"),
        (np.zeros((0, 2)), [], r"\(0, 2\)"),
        (np.zeros((2, 0)), [0, 1], r"\(2, 0\)"),
        (np.zeros((2, 2, 1)), [0, 1], r"\(2, 2, 1\)"),
        (S2, [0, 2], "caption 1 → image 2"),
        (S2, [-1, 1], "caption 0 → image -1"),
        (S2, [0, 1, 1], r"each of 2 captions"),
        (S2, [[0], [1]], "each of 2 captions"),
        (S2, [0.0, 1.0], "float64"),
        (S2, [True, False], "bool"),
        (S2, [1, 1], "no caption"),
    ],
)
def test_bad_input_is_named(sim, gt, message):
    with pytest.raises(MetricError, match=message):
        evaluate(np.array(sim), np.array(gt))


def test_tensors_are_taken():
    torch = pytest.importorskip("torch")
    sim = torch.eye(3, requires_grad=True)
    gt = torch.arange(3)
    assert evaluate(sim, gt).mR == 100
    assert evaluate(sim.to(torch.bfloat16), gt).mR == 100
    assert evaluate_embeddings(sim, sim, gt).mR == 100


# --- from embeddings


def coarse(rng, n: int, d: int = 6) -> np.ndarray:
    """Embeddings whose products are exact in float32, so block shape can't matter."""
    x = rng.integers(-2, 3, (n, d)).astype(np.float32)
    x[(x == 0).all(1), 0] = 1
    return x


@pytest.mark.parametrize("seed", range(60))
def test_blocks_equal_the_matrix_to_the_last_hit(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    gt = np.concatenate([np.arange(n), rng.integers(0, n, 3 * n)])
    rng.shuffle(gt)
    txt, img = coarse(rng, len(gt)), coarse(rng, n)
    want = evaluate(txt @ img.T, gt)
    agree(want, reference((txt @ img.T).tolist(), gt.tolist()))
    if seed % 2:  # the path of large galleries: nothing kept, small steps
        monkeypatch.setattr("rsnb.metrics._TILE", 0)
        monkeypatch.setattr("rsnb.metrics._STEP", 64)
    for block in (1, 3, 16, 2048):
        got = evaluate_embeddings(txt, img, gt, block=block)
        for name in ("t2i_hits", "i2t_hits", "t2i_ranks", "i2t_ranks"):
            assert (getattr(got, name) == getattr(want, name)).all()


def real_like(n_image: int, d: int, seed: int = 0, noise: float = 6.0):
    rng = np.random.default_rng(seed)
    img = rng.standard_normal((n_image, d), dtype=np.float32)
    gt = np.arange(5 * n_image) // 5
    txt = img[gt] + noise * rng.standard_normal((len(gt), d), dtype=np.float32)
    img /= np.linalg.norm(img, axis=1, keepdims=True)
    txt /= np.linalg.norm(txt, axis=1, keepdims=True)
    return txt, img, gt


def test_equal_embeddings_tie_exactly():
    """A bare product rounds copies of a row differently by position; we must not."""
    txt, img, gt = real_like(203, 512)
    txt[:] = txt[0]  # one caption for all
    r = evaluate_embeddings(txt, img, gt)
    assert (r.i2t_ranks == [0, 1010 / 6, 1010]).all()
    assert r.i2t_hits[:, 0] == pytest.approx(5 / 1015)
    for block in (1, 7, 64, 100):
        b = evaluate_embeddings(txt, img, gt, block=block)
        assert (b.i2t_hits == r.i2t_hits).all()
    assert (evaluate(similarity(txt, img), gt).i2t_hits == r.i2t_hits).all()
    txt, img, gt = real_like(206, 512)
    img[103:] = img[:103]  # twins: every image occurs twice
    r = evaluate_embeddings(txt, img, gt, block=50)
    assert (r.t2i_ranks[:, 2] - r.t2i_ranks[:, 0] >= 1).all()


def test_planted_duplicates_match_a_score_table():
    """Random real vectors with duplicates, checked through a table of their scores."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        txt, img, gt = real_like(12, 64, int(rng.integers(1 << 30)), noise=2.0)
        a, b = rng.integers(0, 60, 60), rng.integers(0, 12, 12)
        table = txt.astype(np.float64) @ img.T.astype(np.float64)
        ref = reference(table[a][:, b].tolist(), gt.tolist())
        for block in (5, 2048):
            agree(evaluate_embeddings(txt[a], img[b], gt, block=block), ref)


def test_rsicd_size_in_half_a_second_and_same_as_matrix():
    txt, img, gt = real_like(1093, 512)
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        got = evaluate_embeddings(txt, img, gt)
        best = min(best, time.perf_counter() - start)
    print(f"1,093 x 5,465, d 512, both directions: {best * 1e3:.0f} ms")
    want = evaluate(txt @ img.T, gt)
    assert 5 < got.mR < 95
    for name in ("t2i_hits", "i2t_hits", "t2i_ranks", "i2t_ranks"):
        assert (getattr(got, name) == getattr(want, name)).all()
    assert best <= 0.5


MEMORY = """
from pathlib import Path
import numpy as np
from rsnb.metrics import evaluate_embeddings
def peak():  # kB since exec; ru_maxrss would begin with the parent's
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
rng = np.random.default_rng(0)
img = rng.standard_normal((2_000, 16), dtype=np.float32)
gt = np.arange(200_000) // 100
txt = img[gt] + rng.standard_normal((200_000, 16), dtype=np.float32)
before = peak()
evaluate_embeddings(txt, img, gt)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_gallery_stays_small_in_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    mb = int(done.stdout) / 1024
    print(f"200,000 captions x 2,000 images: {mb:.0f} MB beside the embeddings")
    assert mb < 300  # the matrix alone would take 1,600


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, i: (t * np.nan, i), "txt_emb: 4 of 4 rows are NaN"),
        (lambda t, i: (t, np.where(i == i[1, 1], np.inf, i)), r"img_emb.*\[1\]"),
        (lambda t, i: (t * [[1], [1], [0], [1]], i), r"zero, first rows \[2\]"),
        (lambda t, i: (t.astype(int), i), "int64"),
        (lambda t, i: (t.astype(complex), i), "complex"),
        (lambda t, i: (t.astype(str), i), "<U"),
        (lambda t, i: (t[0], i), "must be float"),
        (lambda t, i: (t[:0], i), "at least one row"),
        (lambda t, i: (t, i[:, :2]), "img_emb has 2 columns where 3"),
        (lambda t, i: (t, i[:, :0]), "at least one row|columns"),
    ],
)
def test_bad_embeddings_are_named(spoil, message):
    t = np.arange(1, 13, dtype=float).reshape(4, 3)
    with pytest.raises(EmbeddingError, match=message):
        evaluate_embeddings(*spoil(t, t + 0.5), np.arange(4))


def test_embeddings_need_a_block():
    e = np.eye(3)
    with pytest.raises(MetricError, match="block"):
        evaluate_embeddings(e, e, np.arange(3), block=0)


def test_a_pair_has_one_score_however_the_product_rounds(monkeypatch):
    rng = np.random.default_rng(0)

    def shaky(a, b):
        return a @ b.T + 1e-6 * rng.standard_normal((len(a), len(b)))

    monkeypatch.setattr("rsnb.metrics.product", shaky)
    e, gt = np.eye(20), np.arange(20)
    for block in (3, 64):
        r = evaluate_embeddings(e, e, gt, block=block)
        assert (r.t2i_ranks == 0).all() and (r.i2t_ranks == 0).all()
        twice = evaluate_embeddings(e[gt % 10], e[gt % 10], gt, block=block)
        assert (twice.t2i_ranks == [0, 0.5, 1]).all()


# --- reporting, saving, ceilings


def test_tables_show_bounds_only_when_ties_matter(tmp_path):
    clean, tied = evaluate(np.eye(2), [0, 1]), evaluate(np.zeros((2, 2)), [0, 1])
    assert clean.ties == 0
    assert tied.ties == 1
    assert "optimistic" not in clean._repr_html_()
    html = tied._repr_html_()
    assert "optimistic" in html
    assert "100.0% of queries" in html
    assert "moves i2t by 50.00" in html
    assert tied.bounds()["optimistic"]["t2i_r1"] == 100
    assert tied.bounds()["pessimistic"]["t2i_r1"] == 0
    assert repr(tied) == (
        "Recall(mR 83.33, i2t 50.00/100.00/100.00, t2i 50.00/100.00/100.00)"
    )
    path = tied.save(tmp_path / "tied.safetensors")
    back = Recall.load(path)
    assert back.as_dict() == tied.as_dict()
    assert (back.gt == tied.gt).all()
    assert json.loads(Path(f"{path}.json").read_text())["recall"] == tied.as_dict()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileCorruptError):
        Recall.load(path)


def test_ceiling_by_hand():
    # "a" belongs to image 0 twice, image 1 once; "b" to images 1 and 2
    c = caption_ceiling(["a", "A ", " a", "b", "B", "c"], [0, 0, 1, 1, 2, 2])
    assert c.t2i_random == pytest.approx((100 * 3.5 / 6, 100, 100))
    assert c.t2i_deterministic == pytest.approx((100 * 4 / 6, 100, 100))
    assert c.i2t_random == pytest.approx((100 * (2 / 3 + 1 / 2 + 1) / 3, 100, 100))
    assert (c.captions, c.distinct, c.recurring) == (6, 3, 5)
    assert c.as_dict()["t2i_r1_deterministic"] == c.t2i_deterministic[0]
    assert len(c.as_dict()) == 9
    with pytest.raises(MetricError):
        caption_ceiling(["a"], [0, 1])
    with pytest.raises(MetricError, match="-3"):
        caption_ceiling(["a"], [-3])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1))
def test_ceiling_is_what_an_ideal_encoder_scores(items):
    names = sorted({i for _, i in items})
    gt = [names.index(i) for _, i in items]
    c = caption_ceiling([f"text {t}" for t, _ in items], gt)
    owned = {(t, g) for (t, _), g in zip(items, gt, strict=True)}
    count = {
        (t, g): sum(u == t and h == g for (u, _), h in zip(items, gt, strict=True))
        for t, g in owned
    }
    # finds the owners (ties), or orders them by how often they own the caption
    ties = [[float((t, g) in owned) for g in range(len(names))] for t, _ in items]
    best = [[float(count.get((t, g), 0)) for g in range(len(names))] for t, _ in items]
    assert c.t2i_random == pytest.approx(100 * evaluate(ties, gt).t2i_hits.mean(0))
    assert c.t2i_deterministic == pytest.approx(
        100 * evaluate(best, gt).t2i_hits.mean(0)
    )
    # i2t: every image puts the caption first of which it owns the largest share
    share = {(t, g): n / sum(u == t for u, _ in items) for (t, g), n in count.items()}
    rare = [[share.get((t, g), -1.0) for g in range(len(names))] for t, _ in items]
    got = evaluate(rare, gt).i2t_hits.mean(0)
    assert c.i2t_random[0] == pytest.approx(100 * got[0])
    assert (np.array(c.i2t_random) >= 100 * got - 1e-9).all()
    assert (np.array(c.t2i_deterministic) >= np.array(c.t2i_random) - 1e-9).all()


REAL = {
    "ucm": ((39.33, 88.76, 99.05), (39.08, 88.40, 99.05), 1050, 384, 878),
    "rsicd": ((93.12, 99.19, 99.78), (92.62, None, None), 5465, 3331, 641),
    "rsitmd": ((99.87, 100, 100), (99.87, None, None), 2260, 2108, 6),
}


@pytest.mark.parametrize("name", REAL)
def test_ceilings_of_real_sets(name):
    path = Path(os.environ.get("RSNB_DATA", "")) / name / "captions.jsonl"
    if not path.is_file():
        pytest.skip(f"RSNB_DATA has no {name}/captions.jsonl")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [r for r in rows if r["split"] == "test"]
    captions = [c for r in rows for c in r["captions"]]
    gt = np.repeat(np.arange(len(rows)), [len(r["captions"]) for r in rows])
    c = caption_ceiling(captions, gt)
    deterministic, random, *counts = REAL[name]
    assert [round(x, 2) for x in c.t2i_deterministic] == list(deterministic)
    for got, want in zip(c.t2i_random, random, strict=True):
        assert want is None or round(got, 2) == want
    assert [c.captions, c.distinct, c.recurring] == counts
