"""One square array, in row order, cached by data and side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rsnb import pixels
from rsnb.errors import DataError, ResourceError
from toy import squares


def test_square_resizes_the_shorter_side_and_crops_the_centre():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (pixels.square(Image.fromarray(wide), 10) == 255).all()


def test_pixels_are_in_row_order_and_come_back_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    pairs = squares(6)
    got = pixels.load_pixels(pairs, 48)
    assert got.shape == (6, 48, 48, 3)
    np.testing.assert_array_equal(got[4], np.asarray(pairs.image(4)))

    def unreadable(row):
        raise AssertionError("the cache was not used")

    again = pixels.load_pixels(replace(pairs, reader=unreadable), 48)
    np.testing.assert_array_equal(got, again)


def test_images_without_pixels_and_too_many_pixels_are_errors():
    pairs = squares(4)
    blind = replace(pairs, has_pixels=np.array([True, True, False, True]))
    with pytest.raises(DataError, match="1 of 4 images have no pixels"):
        pixels.load_pixels(blind, 32)
    with pytest.raises(ResourceError, match="GiB"):
        pixels.load_pixels(pairs, 20_000)
