"""Evidence: gains word by word and by level, of a stub and of a real model."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rsnb.cadre.evidence import ASKING, Asking, Witness, tidy
from rsnb.errors import ParameterError
from rsnb.pairs import Pairs
from rsnb.phrases import LEVELS, levels
from rsnb.vlm import TransformersCaptioner
from test_vlm import pictures
from test_vlm import save as save_model

ASK = Asking("what is typed", "say {query} again")
QUERIES = (
    "a red lake",
    "There is a church near two tall trees.",
    "boats on the left of a pier",
    "a red lake .",  # the first, once it is tidy
)


def numbered(row):
    """Return an image that shows its number."""
    return Image.new("RGB", (8, 8), (row, 0, 0))


def album(n=6, data="album"):
    return Pairs(
        "album", tuple(f"a/{k}" for k in range(n)), ("test",) * n, ("",) * n,
        QUERIES, np.arange(4), np.ones(n, bool), numbered, np.arange(n),
        {"sha256": data},
    )  # fmt: skip


def value(row, turn, word, place):
    """Return what a stub makes of a word: any number, but always the same."""
    return zlib.crc32(f"{row}|{turn}|{word}|{place}".encode()) % 997 / 100 - 9.97


class Told:
    """A captioner whose likelihoods are `value`; it counts what it is asked."""

    def __init__(self, revision="one"):
        self.revision, self.seen, self.blind = revision, [], []

    def likelihood(self, image, turn, texts):
        row = None if image is None else image.getpixel((0, 0))[0]
        (self.blind if row is None else self.seen).append((row, tuple(texts)))
        return [
            np.array(
                [value(row, turn, w, k) for k, w in enumerate([*t.split(), ""])],
                np.float32,
            )
            for t in texts
        ]

    def ask(self, images, turns):
        return [
            f"{i.getpixel((0, 0))[0]}: {t}" for i, t in zip(images, turns, strict=True)
        ]


def want(row, query, turn=ASK.typed):
    """Return the gains of one pair by level."""
    out, names = np.zeros(5), tidy(query).split()
    at = [*(LEVELS.index(x) for x in levels(names)), 4]
    for k, word in enumerate([*names, ""]):
        out[at[k]] += value(row, turn, word, k) - value(None, turn, word, k)
    return out


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    return tmp_path / "evidence"


def test_tidy():
    assert tidy("  A  lake\n. ") == "A lake"
    assert tidy("a St. Peter") == "a St. Peter"
    assert tidy(" . ") == ""
    assert all(tidy(tidy(q)) == tidy(q) for q in QUERIES)


def test_turns_of_a_witness():
    for asking in ASKING.values():
        assert "{query}" in asking.rewrite and "{" not in asking.typed
        assert "a lake" in asking.rewrite.format(query="a lake")


def test_gains_of_pairs_in_any_order():
    rng = np.random.default_rng(0)
    rows, picks = rng.integers(0, 6, 40), rng.integers(0, 4, 40)
    queries = [QUERIES[k] for k in picks]
    told = Told()
    got = Witness(told, ASK).gains(album(), rows, queries, cache=False)
    assert got.shape == (40, 5) and got.dtype == np.float32
    for k in range(40):
        np.testing.assert_allclose(got[k], want(rows[k], queries[k]), atol=1e-4)
    # an image is read once, a text once for it, and once without any image
    assert sorted(row for row, _ in told.seen) == sorted(set(rows.tolist()))
    for row, texts in told.seen:
        mine = {tidy(queries[k]) for k in np.flatnonzero(rows == row)}
        assert len(texts) == len(mine) and set(texts) == mine
    blind = [t for _, texts in told.blind for t in texts]
    assert sorted(blind) == sorted({tidy(q) for q in queries})


def test_the_witness_reads_the_image_of_the_pair():
    """In a subset, rows are those of the subset."""
    got = Witness(Told(), ASK).gains(album().subset([4, 2]), np.array([1]), QUERIES[:1])
    np.testing.assert_allclose(got[0], want(2, QUERIES[0]), atol=1e-4)


@pytest.mark.parametrize("query", QUERIES)
def test_levels_are_sums_of_words(query):
    witness = Witness(Told(), ASK)
    words = witness.words(album(), 3, query)
    assert [w for w, _, _ in words] == [*tidy(query).split(), ""]
    assert words[-1][1] == "wording"
    gains = witness.gains(album(), np.array([3]), [query], cache=False)[0]
    for k, level in enumerate(LEVELS):
        total = sum(g for _, x, g in words if x == level)
        assert gains[k] == pytest.approx(total, abs=1e-4)
    blind = Told().likelihood(None, ASK.typed, [tidy(query)])[0]
    seen = Told().likelihood(numbered(3), ASK.typed, [tidy(query)])[0]
    np.testing.assert_allclose([g for *_, g in words], seen - blind, atol=1e-5)


def test_an_image_that_adds_nothing_gains_nothing():
    class Same(Told):
        def likelihood(self, image, turn, texts):
            return super().likelihood(None, turn, texts)

    got = Witness(Same(), ASK).gains(album(), np.arange(4), QUERIES, cache=False)
    assert not got.any()


def test_no_pairs_and_uneven_pairs():
    witness = Witness(Told(), ASK)
    none = witness.gains(album(), np.zeros(0, int), [], cache=False)
    assert none.shape == (0, 5)
    with pytest.raises(ParameterError, match="3 images and 4 queries"):
        witness.gains(album(), np.arange(3), QUERIES)


def test_the_cache_knows_what_it_is_about(cache):
    def kept():
        return len(list(cache.glob("*.safetensors")))

    def gains(revision="one", ask=ASK, pairs=None, rows=(0, 1, 2, 3), said=QUERIES):
        told = Told(revision)
        got = Witness(told, ask).gains(pairs or album(), np.array(rows), said)
        return got, bool(told.seen)

    first, asked = gains()
    assert asked and kept() == 1
    again, asked = gains()
    assert not asked and kept() == 1
    np.testing.assert_array_equal(again, first)
    # how a query is written, or how a rewrite is asked for, is nothing to it
    assert not gains(said=[f" {q} " for q in QUERIES])[1]
    assert not gains(ask=replace(ASK, rewrite="{query}"))[1]
    others = [
        {"revision": "two"},
        {"ask": replace(ASK, typed="another turn")},
        {"pairs": album(data="other")},
        {"pairs": album(7)},
        {"rows": (0, 1, 2, 4)},
        {"said": QUERIES[::-1]},
    ]
    for k, other in enumerate(others):
        assert gains(**other)[1] and kept() == k + 2
    # nothing is kept of an unknown model, of unknown data, or where it is not wanted
    assert gains(revision="")[1] and gains(pairs=replace(album(), source={}))[1]
    witness = Witness(Told(), ASK)
    witness.gains(album(), np.arange(4), QUERIES, cache=False)
    assert witness.captioner.seen and kept() == len(others) + 1


def test_a_query_is_rewritten_in_view_of_an_image():
    got = Witness(Told(), ASK).rewrite(album(), [4, 0], [" A lake. ", "{odd} 100%"])
    assert got == ["4: say A lake again", "0: say {odd} 100% again"]


def test_a_real_model(tmp_path, cache):
    """From pixels to gains, through a checkpoint of a published class."""
    captioner = TransformersCaptioner.load(save_model(tmp_path / "m", "llava"))
    images = pictures(3)
    pairs = replace(album(3), reader=lambda row: images[row])
    ask = Asking("say what you see here", "describe this {query}")
    witness = Witness(captioner, ask)
    queries = ["the red road at left", "a ship", "the red road at left."]
    got = witness.gains(pairs, np.array([2, 2, 1]), queries)
    for k, row in enumerate((2, 2, 1)):
        text = tidy(queries[k])
        (seen,) = captioner.likelihood(images[row], ask.typed, [text])
        (blind,) = captioner.likelihood(None, ask.typed, [text])
        assert got[k].sum() == pytest.approx((seen - blind).sum(), abs=1e-3)
        words = witness.words(pairs, row, queries[k])
        np.testing.assert_allclose([g for *_, g in words], seen - blind, atol=1e-4)
    assert np.abs(got[0] - got[2]).max() > 1e-3  # the image counts
    assert len(list(cache.glob("*.safetensors"))) == 1
    for blank in ("", " . ", "\n"):
        rows = np.array([0, 1, 1])
        some = witness.gains(pairs, rows, ["a ship", blank, "a ship"], cache=False)
        assert (some.any(1) == [True, False, True]).all()
        with pytest.raises(ParameterError, match="blank"):
            witness.words(pairs, 0, blank)
    again = witness.gains(pairs, np.array([1]), queries[2:])[0]  # none the worse for it
    np.testing.assert_allclose(again, got[2], atol=1e-4)
    said = witness.rewrite(pairs, [0, 1], queries[:2])
    assert len(said) == 2 and all(isinstance(s, str) for s in said)
