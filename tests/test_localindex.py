"""Codes whose inner product is the square of the local similarity, and their index."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import save

from bench import local_index as bench
from rsnb.errors import EmbeddingError, FileCorruptError, ParameterError
from rsnb.files import write_with_receipt
from rsnb.local import local_similarity
from rsnb.localindex import LocalCode, LocalIndex, gram_halves, similarity_of

FULL = 6 * 7 // 2 - 1  # of d = 6; the trace of a Gram matrix is the number of tokens


def unit(*shape, seed):
    gen = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=gen, dtype=torch.float64), dim=-1)


IMG, TXT = unit(90, 5, 6, seed=0), unit(70, 3, 6, seed=1)
NEW_IMG, NEW_TXT = unit(80, 5, 6, seed=2), unit(40, 3, 6, seed=3)


def fitted(rank=FULL):
    return LocalCode.fit(IMG, TXT, rank)


def both(code):
    return code.encode_texts(NEW_TXT), code.encode_images(NEW_IMG)


def test_halves_give_the_square():
    img, txt = (torch.cat([g for _, g in gram_halves(x)]) for x in (NEW_IMG, NEW_TXT))
    assert img.shape == (80, 21)
    want = local_similarity(NEW_IMG, NEW_TXT).square()
    torch.testing.assert_close(txt @ img.T, want)


def test_full_rank_is_exact_on_items_never_seen():
    exact = local_similarity(NEW_IMG, NEW_TXT).numpy()
    np.testing.assert_allclose(similarity_of(*both(fitted())), exact, atol=1e-5)


def test_the_more_rank_the_nearer_on_training_items():
    exact = local_similarity(IMG, TXT).square().numpy()
    inner = exact - exact.mean(1, keepdims=True) - exact.mean(0) + exact.mean()
    s, errors = np.linalg.svd(inner, compute_uv=False), []
    for rank in (1, 5, 10, 15, FULL):
        code = fitted(rank)
        txt, img = code.encode_texts(TXT), code.encode_images(IMG)
        square = txt[:, :-1] @ img[:, :-1].T + txt[:, -1:] + img[:, -1]
        errors.append(np.linalg.norm(square - exact))
        # nothing of this rank is nearer (Eckart and Young); the levels are exact
        assert errors[-1] == pytest.approx(np.linalg.norm(s[rank:]), abs=1e-3)
    assert errors == sorted(errors, reverse=True)


def test_both_sides_have_the_same_spread():
    code = fitted(8)
    img, txt = code.encode_images(IMG), code.encode_texts(TXT)
    spread = [np.sqrt(np.square(x[:, :-1]).mean(0)) for x in (img, txt)]
    np.testing.assert_allclose(*spread, rtol=1e-4)


@pytest.mark.parametrize("rank", [4, FULL])
@pytest.mark.parametrize("kind", ["Flat", "SQ8"])
def test_search_ranks_by_the_codes_in_both_directions(rank, kind):
    txt, img = both(fitted(rank))
    est = similarity_of(txt, img)
    near = 1e-5 if kind == "Flat" else 0.03
    for gallery, queries, want in ((img, txt, est), (txt, img, est.T)):
        rows, found = LocalIndex(gallery, kind).search(queries, len(gallery))
        assert (np.diff(found) <= 0).all()
        assert (np.sort(rows) == np.arange(len(gallery))).all()
        np.testing.assert_allclose(found, np.take_along_axis(want, rows, 1), atol=near)
        few = LocalIndex(gallery, kind).search(queries, 3)
        np.testing.assert_array_equal(few[0], rows[:, :3])


def test_codes_are_the_same_in_any_batch():
    code = fitted(4)
    parts = [code.encode_images(NEW_IMG[i : i + 7]) for i in range(0, 80, 7)]
    whole = code.encode_images(NEW_IMG)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_a_code_comes_back_from_its_file(tmp_path):
    code, path = fitted(4), tmp_path / "code.safetensors"
    code.save(path, backbone="tiny")
    back = LocalCode.load(path)
    for a, b in zip(dataclasses.astuple(code), dataclasses.astuple(back), strict=True):
        np.testing.assert_array_equal(a, b)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileCorruptError, match="sha256"):
        LocalCode.load(path)
    write_with_receipt(path, save({"other": np.zeros(2)}))
    with pytest.raises(FileCorruptError, match="no LocalCode"):
        LocalCode.load(path)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match=f"rank {FULL}. Take rank {FULL} or less"):
        fitted(FULL + 1)
    for rank in (0, 71):
        with pytest.raises(ParameterError, match="is not 1 to 21"):
            fitted(rank)
    with pytest.raises(EmbeddingError, match="of one backbone"):
        LocalCode.fit(IMG, TXT[..., :5], 2)
    code = fitted(4)
    for wrong in (NEW_IMG[..., :5], NEW_IMG[0]):
        with pytest.raises(EmbeddingError, match="backbone that the code was fitted"):
            code.encode_images(wrong)
    txt, img = both(code)
    with pytest.raises(EmbeddingError, match="5 are needed"):
        LocalIndex(img).search(txt[:, 1:], 3)
    with pytest.raises(EmbeddingError, match="k must be 1 to 80"):
        LocalIndex(img).search(txt, 81)
    with pytest.raises(ParameterError, match="FAISS"):
        LocalIndex(img, "SQ7")


# The measurement


@pytest.fixture(scope="module")
def figures():
    return bench.measure([0], 1, quick=True)


def test_all_is_measured_and_the_choice_is_made_on_validation(figures):
    rows = figures["validation"]["0"]
    assert {(r["rank"], r["kind"]) for r in rows} >= {(31, "float32"), (15, "int4")}
    assert set(figures["forms_on_validation"]) == set(bench.FORMS)
    chosen = figures["choice"]
    row = next(r for r in rows if chosen.items() <= r.items())
    enough = [r for r in rows if r["ratio"] >= 0.99
              and min(r["top10_t2i"], r["top10_i2t"]) >= 0.9]  # fmt: skip
    assert row["bytes"] == min(r["bytes"] for r in enough)
    (run,) = figures["test"]
    assert run["index"]["ratio"] == pytest.approx(run["index"]["mR"] / run["exact_mR"])
    assert set(figures["others"]) == {"InfoNCE", "start", "untrained"}
    assert min(figures["speed"]["ms"].values()) > 0


def test_nothing_is_timed_before_equal_output(monkeypatch):
    part = bench.Part(
        torch.eye(80)[:, :6] + 1e-3, torch.ones(40, 6), NEW_IMG.float(),
        NEW_TXT.float(), np.zeros(40, int), np.arange(40),
    )  # fmt: skip
    part = dataclasses.replace(part, img=F.normalize(part.img, dim=-1),
                               txt=F.normalize(part.txt, dim=-1))  # fmt: skip
    assert bench.speed(part, part, fitted(8), 1)["gallery"] == 80
    search = LocalIndex.search

    def wrong(self, queries, k):
        rows, found = search(self, queries, k)
        return rows, found + 0.1

    monkeypatch.setattr(LocalIndex, "search", wrong)
    with pytest.raises(AssertionError):
        bench.speed(part, part, fitted(8), 1)


def test_no_receipt_of_a_quick_run(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--quick", "--write"])
    assert "no receipt" in capsys.readouterr().err
