"""Recipes are data: names, seeds and vocabularies follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from rsnb import recipes
from rsnb.errors import ParameterError
from toy import recipe, squares


def test_every_recipe_builds_its_model_and_fits_its_captions():
    captions = ["a long road beside a lake", "two planes"]
    for name, made in recipes.RECIPES.items():
        start = recipes.start(made, captions, name)
        assert start.image_size == made.vision["image_size"]
        emb = start.encode_texts(captions)
        assert emb.shape == (2, made.dim)
        assert made.store >= start.image_size, "windows need pixels to be cut from"


def test_seed_decides_the_first_weights():
    captions = squares(4).captions
    a, b = (recipes.start(recipe(seed=s), captions) for s in (0, 0))
    c = recipes.start(recipe(seed=1), captions)
    text = list(captions[:1])
    np.testing.assert_array_equal(a.encode_texts(text), b.encode_texts(text))
    assert np.abs(a.encode_texts(text) - c.encode_texts(text)).max() > 1e-3


def test_get_changes_the_seed_and_names_what_there_is():
    assert recipes.get("world-rn", 7).cfg.seed == 7
    assert recipes.get("world-rn").cfg.seed == 0
    with pytest.raises(ParameterError, match="world-rn"):
        recipes.get("world-rm")
