"""Several views of each image at full resolution, embedded once.

Explained in notebook 06. An encoder reads a small square; a window of the full image,
enlarged to that square, shows what the square lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rsnb.backbones import Backbone
from rsnb.cache import cached_arrays
from rsnb.embed import BATCH, embed_images
from rsnb.errors import ParameterError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels

__all__ = ["GRID", "Grid", "Views", "boxes", "heat", "look"]

Grid = Sequence[tuple[float, int]]  # (side as a share of the image's, windows a row)
#: The image and 4 windows of 0.71 of its side, half of its area; from validation.
GRID: Grid = ((1.0, 1), (0.71, 2))
ENLARGED = 3  # sides of the encoder's input that the full image is read at, at most


@dataclass(frozen=True, eq=False)
class Views:
    """Embedded views of a data set.

    Attributes:
        emb: float32 (N, V, d), unit rows; view 0 is the whole image.
        boxes: float (V, 4), left, top, right, bottom as shares of the image's side.
        receipt: weights, data and grid.
    """

    emb: np.ndarray
    boxes: np.ndarray
    receipt: dict[str, Any] = field(default_factory=dict)


def boxes(grid: Grid = GRID) -> np.ndarray:
    """Return float (V, 4) of a grid: left, top, right, bottom in 0-1.

    >>> boxes([(1.0, 1), (0.5, 2)])[:, 0].tolist()
    [0.0, 0.0, 0.5, 0.0, 0.5]

    Raises:
        ParameterError: the first window is not the whole image, or one leaves it.
    """
    if not grid or tuple(grid[0]) != (1.0, 1):
        raise ParameterError(f"grid {grid} must begin with the whole image, (1.0, 1).")
    if any(not 0 < side <= 1 or n < 1 for side, n in grid):
        raise ParameterError(f"grid {grid}: sides lie in 0-1, counts from 1.")
    out = []
    for side, n in grid:
        at = np.linspace(0, 1 - side, n)
        out += [(x, y, x + side, y + side) for y in at for x in at]
    return np.array(out)


def _side(backbone: Backbone, pairs: Pairs) -> int:
    """Return the side to read images at: their own, as far as the encoder gains."""
    return min(*pairs.image(0).size, ENLARGED * backbone.image_size)


def look(
    backbone: Backbone, pairs: Pairs, grid: Grid = GRID, *, cache: bool = True
) -> Views:
    """Embed the views of all images.

    Args:
        backbone: from `rsnb.backbones.load`; each view is enlarged to its input.
        pairs: every image needs pixels; the middle square of each is used.
        grid: which windows, see `boxes`.
        cache: keep the array under `RSNB_CACHE`.

    Raises:
        DataError: an image has no pixels here.
        ParameterError: a bad grid.
    """
    where = boxes(grid)
    side = _side(backbone, pairs)
    key = {
        "weights": backbone.digest, "data": pairs.source.get("sha256", ""),
        "activation": backbone.entry.activation, "side": side, "batch": BATCH,
        "ids": fingerprint(list(pairs.ids)), "boxes": where.tolist(),
    }  # fmt: skip

    def make() -> dict[str, np.ndarray]:
        pixels, out = load_pixels(pairs, side), []
        for left, top, right, bottom in np.rint(where * side).astype(int):
            out.append(embed_images(backbone, pixels[:, top:bottom, left:right]))
        return {"emb": np.stack(out, 1)}

    known = cache and key["weights"] and key["data"]
    code = "rsnb.embed", "rsnb.backbones", "rsnb.pixels", "rsnb.images"
    got = cached_arrays("views", key, make, *code) if known else make()
    return Views(got["emb"], where, key)


def heat(weights: np.ndarray, where: np.ndarray, side: int = 64) -> np.ndarray:
    """Return float (side, side), mean weight of the views over each place, 0 to 1.

    The whole image covers all places alike, so it is left out.

    Args:
        weights: float (V,), of a candidate's views.
        where: float (V, 4), their boxes.
        side: of the map, in pixels.
    """
    total, count = np.zeros((2, side, side))
    for w, (left, top, right, bottom) in zip(
        weights[1:], np.rint(where[1:] * side).astype(int), strict=True
    ):
        total[top:bottom, left:right] += w
        count[top:bottom, left:right] += 1
    out = total / np.maximum(count, 1)
    return out / max(out.max(), 1e-12)
