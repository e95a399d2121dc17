"""Turning an image and its caption together keeps the caption true."""

from __future__ import annotations

import pytest
import torch

from rsnb.augment import SYMMETRIES, random_view, turn, turn_caption
from toy import SIDES

# One bright cell at the middle of each edge of a 3 x 3 image.
CELL = {"top": (0, 1), "right": (1, 2), "bottom": (2, 1), "left": (1, 0)}


@pytest.mark.parametrize("k", range(SYMMETRIES))
@pytest.mark.parametrize("side", SIDES)
def test_side_word_follows_the_pixels(k, side):
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0][CELL[side]] = 1
    at = tuple(torch.nonzero(turn(image, k)[0, 0])[0].tolist())
    word = turn_caption(f"a field on the {side} .", k).split()[-2]
    assert CELL[word] == at


def test_other_words_stay():
    assert turn_caption("rightly bottomless tops", 3) == "rightly bottomless tops"
    assert turn_caption("north of the south road", 2) == "south of the north road"


def test_view_is_whole_or_window_of_the_asked_side():
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.uint8).reshape(2, 3, 16, 16)
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(random_view(images, 16, 0.5, 1.0, 0.0, rng), images)
    view = random_view(images, 8, 0.5, 0.0, 0.3, rng)
    assert view.shape == (2, 3, 8, 8)
    assert view.dtype == torch.uint8
