"""The end mark has the largest id, because open_clip pools the text there."""

from __future__ import annotations

import numpy as np

from rsnb.words import WordTokenizer


def test_ids():
    words = WordTokenizer.fit(["A blue lake.", "a lake"], context=6)
    assert words.words == ("a", "blue", "lake")
    assert words.vocab_size == 7
    np.testing.assert_array_equal(
        words(["a lake", "odd blue one !"]), [[5, 2, 4, 6, 0, 0], [5, 1, 3, 1, 6, 0]]
    )


def test_long_captions_are_cut():
    words = WordTokenizer.fit(["a b c d e"], context=5)
    ids = words(["a b c d e", "a"])
    assert ids.shape == (2, 5)
    assert ids[0].argmax() == 4


def test_rare_words_may_be_dropped():
    assert WordTokenizer.fit(["a a b"], min_count=2).words == ("a",)
