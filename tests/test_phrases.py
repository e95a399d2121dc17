"""Levels of the words of captions, in the styles that data sets have."""

from __future__ import annotations

import pytest

from rsnb.phrases import LEVELS, levels

S, O, A, R, W = LEVELS  # noqa: E741


@pytest.mark.parametrize(
    ("caption", "want"),
    [
        # UCM: "there is", and a relation that ends the scene
        ("There is a strip of grassland .", [W, W, W, S, W, S, W]),
        ("an airport with two white planes", [W, S, R, A, A, O]),
        # RSICD: a relation before the scene is named ends nothing
        ("In the middle is a church, near green trees.", [R, W, R, W, W, S, R, A, O]),
        ("some sheds are in a sparse allotment quarter", [A, S, W, R, W, A, O, O]),
        # our world, and a caption that is all objects of a relation
        ("red block at the left", [A, S, R, W, R]),
        ("12 ships (large) parked beside a pier", [A, S, A, R, R, W, O]),
    ],
)
def test_levels_of_captions(caption, want):
    assert levels(caption.split()) == want
    assert levels(caption.upper().split()) == want  # case does not count


def test_punctuation_and_blanks_are_wording():
    assert levels(", -- … ''".split()) == [W] * 4
    assert levels(["", "lake", " "]) == [W, S, W]
    assert levels(['"Lake".', "(on)", "lawn!?"]) == [S, R, O]


def test_nothing_has_no_levels():
    assert levels([]) == []


def test_a_word_a_level_whatever_it_is():
    words = "Zürich's Ørsted 滑走路 A380 x-ray 7 _".split()
    found = levels(words)
    assert len(found) == len(words)
    assert set(found) <= set(LEVELS)
    assert found[5] == A
