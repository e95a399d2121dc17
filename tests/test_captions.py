"""`compare` ranks records by the retrieval they support; nothing leaves the gallery."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from rsnb import captions, records
from rsnb.captions import Record, Variant, compare, texts_of
from rsnb.errors import DataError, MetricError, ParameterError
from rsnb.metrics import evaluate
from rsnb.t2t import AGGREGATES, TextGallery, TextSpace, space
from toy import COLOURS, SIDES, squares


class Words:
    """A model that sums a random vector for each word; letters, if `size` is 1."""

    def __init__(self, size: int = 0) -> None:
        self.size = size

    def encode(self, texts, **_):
        return np.array([sum(self.vector(p) for p in self.parts(t)) for t in texts])

    def parts(self, text):
        words = re.findall(r"\w+", text.lower())
        return "".join(words) if self.size else words

    def vector(self, part):
        seed = int(hashlib.sha256(part.encode()).hexdigest()[:8], 16)
        return np.random.default_rng(seed).standard_normal(64)


WORDS = TextSpace("words", "", Words())
LETTERS = TextSpace("letters", "", Words(1))


def record(image, i, *, side=True, colour=True):
    """Return what a captioner that sees colour or side would say of square i."""
    c = list(COLOURS)[i % 3] if colour else "bright"
    s = SIDES[i % 4] if side else "ground"
    variants = tuple(
        Variant(
            f"{adverb} a {c} square", f"it is on the {s}", f"a {c} block at the {s}"
        )
        for adverb in ("here", "there", "now", "again", "still")
    )
    return Record(image, variants)


def described(pairs, **sees):
    return [record(image, i, **sees) for i, image in enumerate(pairs.ids)]


def test_rows_are_ranked_with_interval_and_p():
    pairs = squares(12)  # each colour at each side, once
    rows = compare(
        pairs,
        {
            "colour only": described(pairs, side=False),
            "both": described(pairs),
            "neither": described(pairs, side=False, colour=False),
        },
        [WORDS, LETTERS],
        n=500,
    )
    assert len(rows) == 6
    assert [r["mR"] for r in rows] == sorted((r["mR"] for r in rows), reverse=True)
    assert (rows[0]["captions"], rows[0]["encoder"]) == ("both", "words")
    found = {(r["captions"], r["encoder"]): r for r in rows}
    blind = found["neither", "words"]
    assert blind["t2i_r1"] == pytest.approx(100 / 12)  # all images tie
    assert rows[0]["mR"] > found["colour only", "words"]["mR"] > blind["mR"]
    assert rows[0]["p"] == 1
    assert blind["p"] < 0.01
    for row in rows:
        low, high = row["mR_interval"]
        assert low <= row["mR"] + 1e-9
        assert row["mR"] <= high + 1e-9
        assert (row["images"], row["usable"], row["cut"]) == (12, 12, 0)
        assert row["fields"] == "one_sentence + feature + caption"
        assert 0 < row["p"] <= 1


def test_figures_are_those_of_the_full_gallery():
    pairs = squares(12)
    some = described(pairs)[:9]
    some[3] = Record(pairs.ids[3], (), "truncated", "no end", "a blue squ")
    (row,) = compare(pairs, {"some": some[::-1]}, [WORDS], n=50)
    assert (row["images"], row["usable"]) == (12, 8)
    texts = [r.texts() if r.usable else () for r in some] + [()] * 3
    scores = TextGallery(WORDS, texts).scores(WORDS.encode(pairs.captions))
    want = evaluate(scores, pairs.gt).as_dict()
    assert {k: row[k] for k in want} == want
    # captions of the 4 images without text can't be found at rank 1
    assert row["t2i_r1"] <= 100 * 8 / 12
    (full,) = compare(pairs, {"all": described(pairs)}, [WORDS], n=50)
    assert full["mR"] > row["mR"]


def test_a_captioner_that_always_fails_is_ranked_at_chance():
    pairs = squares(12)
    none = [Record(i, (), "failed", "out of memory") for i in pairs.ids]
    rows = compare(pairs, {"none": none, "both": described(pairs)}, [WORDS], n=50)
    assert [r["captions"] for r in rows] == ["both", "none"]
    assert rows[1]["usable"] == 0
    assert rows[1]["t2i_r1"] == pytest.approx(100 / 12)
    assert rows[1]["i2t_r10"] == pytest.approx(100 * (1 - 14 * 13 / (24 * 23)))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_fields_variants_and_aggregates(aggregate):
    pairs = squares(12)

    def one(**more):
        rows = compare(
            pairs, {"both": described(pairs)}, [WORDS], aggregate=aggregate, n=50,
            **more,
        )  # fmt: skip
        return rows[0]

    colour, side = one(fields=("one_sentence",)), one(fields=("feature",))
    assert (colour["fields"], side["fields"]) == ("one_sentence", "feature")
    both = one(fields=("one_sentence", "feature"), variants=2)
    assert both["mR"] > max(colour["mR"], side["mR"])
    apart = one(apart=True, tau=0.1)
    assert apart["fields"] == "one_sentence, feature, caption"
    assert apart["mR"] > side["mR"]


def test_texts_of_records():
    some = [record("a", 0), Record("b", (), "failed", "no record")]
    assert [len(t) for t in texts_of(some)] == [5, 0]
    joined = texts_of(some, ("one_sentence", "feature"), 1)
    assert joined == [("here a red square it is on the left",), ()]
    apart = texts_of(some, ("one_sentence", "feature"), 1, apart=True)
    assert apart == [("here a red square", "it is on the left"), ()]
    assert len(texts_of(some, apart=True)[0]) == 15


def test_with_a_real_encoder():
    pairs = squares(12)
    galleries = {
        "both": described(pairs),
        "colour only": described(pairs, side=False),
    }
    rows = compare(pairs, galleries, [WORDS, space()], fields=("caption",), n=50)
    assert {r["encoder"] for r in rows} == {"words", "minilm"}
    found = {(r["captions"], r["encoder"]): r["mR"] for r in rows}
    assert found["both", "minilm"] > found["colour only", "minilm"] + 10


def test_records_of_other_images():
    pairs = squares(12)
    everything = [*described(pairs), record("squares/test/3", 3)]
    (row,) = compare(pairs, {"all": everything}, [WORDS], n=50)
    assert (row["images"], row["usable"]) == (12, 12)
    with pytest.raises(DataError, match="not in the data set"):
        compare(pairs, {"other": everything[-1:]}, [WORDS], n=50)
    with pytest.raises(DataError, match="two records"):
        compare(pairs, {"twice": everything[:2] + everything[:1]}, [WORDS], n=50)


def test_refusals():
    pairs = squares(12)
    some = {"both": described(pairs)}
    with pytest.raises(ParameterError, match="at least one"):
        compare(pairs, some, [])
    with pytest.raises(ParameterError, match="at least one"):
        compare(pairs, {}, [WORDS])
    for bad in ({"fields": ("title",)}, {"aggregate": "median"}, {"variants": 0}):
        with pytest.raises(ParameterError):
            compare(pairs, some, [WORDS], **bad)
    bare = squares(3)
    object.__setattr__(bare, "gt", np.array([0, 0, 0, 0, 1, 1]))
    with pytest.raises(MetricError, match="no caption"):
        compare(bare, {"both": described(bare)}, [WORDS])


def test_the_parts_stand_here_too():
    assert captions.quality is records.quality
    for name in captions.__all__:
        assert hasattr(captions, name)


def test_tune_finds_the_field_that_names_what_captions_name():
    pairs = squares(12)
    rows = [
        Record(r.image, tuple(Variant("a square", "somewhere", v.caption)
                              for v in r.variants[:1]))
        for r in described(pairs)
    ]  # fmt: skip
    ways = captions.tune(pairs, rows, WORDS)
    assert len(ways) == 84
    assert [mR for _, mR in ways] == sorted((mR for _, mR in ways), reverse=True)
    how, best = ways[0]
    assert how["fields"] == ("caption",)
    made = captions.gallery(WORDS, rows, **how)
    assert evaluate(made.scores(WORDS.encode(pairs.captions)), pairs.gt).mR == best
    blind = next(mR for way, mR in ways if way["fields"] == ("feature",))
    assert blind < best
