"""What the page `kin` rests on: late elimination, a second look, binary codes."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import kin
from rsnb.errors import EmbeddingError, ParameterError
from rsnb.hashing import Hash, agreement, learn, nearest_codes
from rsnb.losses import info_nce, info_nce_each
from rsnb.methods import Eliminate, InfoNCE, Paced, Step
from rsnb.metrics import evaluate
from rsnb.pacing import Judge
from rsnb.rerank import second_look
from rsnb.twoway import Way
from test_benchmarks import PAGES, REPO, SCRIPT

SIZE = 10


# Eliminate late


def planted(progress: float) -> Step:
    """Return ten pairs of which the one in row 3 is false."""
    gen = torch.Generator().manual_seed(0)
    img = F.normalize(torch.randn(SIZE, 8, generator=gen), dim=-1)
    txt = F.normalize(img + 0.2 * torch.randn(SIZE, 8, generator=gen), dim=-1)
    txt[3] = -img[3]
    one, eye = torch.tensor(5.0), torch.eye(SIZE)
    return Step(img, txt, one, eye, torch.ones(3, SIZE), progress)


def test_a_planted_false_pair_goes_and_only_after_the_start():
    late, early = planted(0.6), planted(0.5)
    plain = info_nce(late.img_emb, late.txt_emb, late.scale)
    torch.testing.assert_close(Eliminate(0.05)(early), plain)
    each = sum(info_nce_each(late.scale * late.sim)) / 2
    others = torch.arange(SIZE) != 3
    torch.testing.assert_close(Eliminate(0.05)(late), each[others].mean())
    assert float(Eliminate(0.05)(late)) < float(plain)
    torch.testing.assert_close(Eliminate(0.0)(late), plain)


def test_the_quantile_is_the_share_that_goes():
    late = planted(0.9)
    order = late.sim.diagonal().argsort()
    each = sum(info_nce_each(late.scale * late.sim)) / 2
    for n in range(1, SIZE):
        how = Eliminate((n - 0.5) / (SIZE - 1))
        torch.testing.assert_close(how(late), each[order[n:]].mean())


def test_what_goes_still_stands_among_the_negatives():
    late = planted(0.9)
    img = late.img_emb.clone().requires_grad_()
    Eliminate(0.05)(replace(late, img_emb=img)).backward()
    assert img.grad[3].abs().max() > 0


@pytest.mark.parametrize("wrong", [{"drop": 1.0}, {"drop": -0.1}, {"start": 2.0}])
def test_no_run_could_mean_it(wrong):
    with pytest.raises(ParameterError, match="out of range"):
        Eliminate(**wrong)


# A second look


def way() -> Way:
    gen = np.random.default_rng(0)
    return Way(np.eye(4, 5), np.eye(6, 5), gen.random((4, 6)))


def test_only_the_first_k_are_looked_at_and_stay_ahead():
    w, gen = way(), np.random.default_rng(1)
    near = np.where(w.rank <= 3, gen.random((4, 6)), np.nan)
    score = second_look(w, near, 3, 0.4)
    for q in range(4):
        first, rest = np.flatnonzero(w.rank[q] <= 3), np.flatnonzero(w.rank[q] > 3)
        want = 0.6 * w.sim[q, first] + 0.4 * near[q, first]
        assert (first[np.argsort(-want)] == np.argsort(-score[q])[:3]).all()
        assert score[q, first].min() > score[q, rest].max()
        assert (score[q, rest] == w.sim[q, rest]).all()


def test_no_weight_keeps_the_order_and_ties_are_looked_at_together():
    w = way()
    kept = second_look(w, np.zeros((4, 6)), 3, 0.0)
    assert (np.argsort(kept) == np.argsort(w.sim)).all()
    tied = Way(w.query, w.gallery, np.ones((4, 6)))
    near = np.random.default_rng(2).random((4, 6))
    assert (np.argsort(second_look(tied, near, 1, 0.5)) == np.argsort(near)).all()


@pytest.mark.parametrize("wrong", [(0, 0.5), (3, 1.5), (3, -0.1)])
def test_a_look_out_of_range(wrong):
    with pytest.raises(ParameterError, match="weight 0 to 1"):
        second_look(way(), np.zeros((4, 6)), *wrong)
    with pytest.raises(ParameterError, match="near"):
        second_look(way(), np.zeros((6, 4)), 3, 0.5)


# Codes


def clouds(n: int = 800, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return images and one caption each: half of the 16 dimensions are shared."""
    gen = np.random.default_rng(seed)
    said, *own = gen.normal(size=(3, n, 8))
    parts = [np.hstack([said + 0.2 * gen.normal(size=(n, 8)), x]) + 0.3 * k
             for k, x in enumerate(own)]  # fmt: skip
    return tuple(
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in parts
    )


def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Hamming distances (len(a), len(b)), bit by bit."""
    one, two = (np.array([[int(f"{v:08b}"[k]) for v in row for k in range(8)]
                          for row in x]) for x in (a, b))  # fmt: skip
    return (one[:, None] != two[None]).sum(2)


@pytest.mark.parametrize("make", [Hash.random, Hash.itq])
def test_a_code_is_the_signs_of_an_affine_map(make):
    img, txt = clouds()
    found = make(img, txt, 16)
    for emb, grid, codes in ((img, found.img, found.encode_images(img)),
                             (txt, found.txt, found.encode_texts(txt))):  # fmt: skip
        assert codes.shape == (800, 2) and codes.dtype == np.uint8
        want = emb @ grid[:-1] + grid[-1] > 0
        assert (np.unpackbits(codes, axis=1).astype(bool) == want).all()
        assert abs(want.mean(0) - 0.5).max() < 0.12  # centred: no bit is wasted
    again = make(img, txt, 16)
    assert (again.img == found.img).all()
    assert (make(img, txt, 16, seed=1).img != found.img).any()


def test_hamming_equals_brute_force_also_among_ties():
    gen = np.random.default_rng(0)
    codes, queries = (gen.integers(0, 4, (n, 2), dtype=np.uint8) for n in (300, 40))
    far = differing(queries, codes)
    assert (16 - agreement(queries, codes) == far).all()
    for k in (1, 7, 150, 300):
        rows, found = nearest_codes(codes, queries, k)
        want = np.argsort(far, axis=1, kind="stable")[:, :k]
        assert (rows == want).all()
        assert (found == np.take_along_axis(far, want, 1)).all()


def test_recall_of_codes_that_all_tie_is_chance():
    same = np.zeros((8, 2), np.uint8)
    found = evaluate(agreement(same, same), np.arange(8)).as_dict()
    assert found["t2i_r1"] == found["i2t_r1"] == pytest.approx(100 / 8)


def test_bad_codes_are_refused():
    img, txt = clouds(50)
    with pytest.raises(ParameterError, match="16 is the most"):
        Hash.itq(img, txt, 24)
    with pytest.raises(ParameterError, match="as many bits"):
        Hash.random(img, txt, 12)
    with pytest.raises(EmbeddingError, match="columns"):
        Hash.random(img, txt, 16).encode_images(img[:, :8])
    codes = np.zeros((5, 2), np.uint8)
    for query, k in ((codes[:, :1], 1), (codes, 6), (codes, 0)):
        with pytest.raises(EmbeddingError, match="gallery"):
            nearest_codes(codes, query, k)


def test_learned_codes_beat_drawn_ones_and_a_judge_helps_among_false_pairs():
    img, txt = clouds()
    new, gt = clouds(300, seed=1), np.arange(800)
    noisy = gt.copy()
    noisy[:480] = np.random.default_rng(0).permutation(480)

    def mR(code: Hash) -> float:
        pair = code.encode_texts(new[1]), code.encode_images(new[0])
        return evaluate(agreement(*pair), np.arange(300)).mR

    how = {"batch": 100, "epochs": 15, "lr": 3e-2}
    drawn, turned = (mR(make(img, txt, 16)) for make in (Hash.random, Hash.itq))
    clean = mR(learn(img, txt, gt, 16, **how))
    plain = mR(learn(img, txt, noisy, 16, method=InfoNCE(), **how))
    judged = Paced(judge=Judge(panel=200))
    ours = mR(learn(img, txt, noisy, 16, method=judged, **how))
    assert drawn + 2 < turned < plain - 5 < ours - 15 < clean - 15


def test_equal_seeds_learn_equal_codes():
    img, txt = clouds(120)
    maps = [learn(img, txt, np.arange(120), 8, epochs=2, batch=40, seed=s).img
            for s in (0, 0, 1)]  # fmt: skip
    assert (maps[0] == maps[1]).all() and (maps[0] != maps[2]).any()


# The bench and the page


def test_quick_bench(capsys):
    kin.main(["--quick"])
    said = capsys.readouterr().out
    assert "world-vit" in said and "ours > InfoNCE" in said
    with pytest.raises(SystemExit):
        kin.main(["--quick", "--write"])


def test_the_guided_similarity_by_hand():
    gen = torch.Generator().manual_seed(0)
    tokens = F.normalize(torch.randn(3, 5, 4, generator=gen), dim=-1)
    txt = F.normalize(torch.randn(2, 4, generator=gen), dim=-1)
    part = kin.Part(txt, txt, tokens, tokens, np.arange(2), np.arange(2))
    for t in range(2):
        for i in range(3):
            weight = (kin.SHARP * tokens[i] @ txt[t]).softmax(0)
            want = F.cosine_similarity(weight @ tokens[i], txt[t], dim=0)
            assert kin.guided(part)[t, i] == pytest.approx(float(want), abs=1e-5)


def test_the_page_is_whole(tmp_path):
    SCRIPT["draw"](REPO, tmp_path)
    text = (tmp_path / "kin.md").read_text("utf-8")
    assert "[[" not in text and "not measured in this copy" not in text
    assert (tmp_path / "figures" / "kin.svg").read_bytes().rstrip().endswith(b"</svg>")
    known = set(re.findall(r"^@\w+\{(\w+),", (REPO / "book/references.bib").read_text(),
                           re.M))  # fmt: skip
    cited = re.findall(r"\{cite\}`([^`]+)`", PAGES["kin"])
    assert {key for keys in cited for key in keys.split(",")} <= known
    depth = [len(h) for h in re.findall(r"^(#+) ", text, re.M)]
    assert depth[0] == 1 and all(b <= a + 1 for a, b in pairwise(depth))
