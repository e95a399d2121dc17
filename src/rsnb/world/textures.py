"""Colours and tileable materials of the embedded world; integers only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["COLOURS", "RGB", "TILE", "shade", "texture"]

RGB = tuple[int, int, int]
TILE = 640

COLOURS: dict[str, RGB] = {
    "white": (238, 238, 233),
    "gray": (146, 149, 155),
    "red": (190, 58, 46),
    "brown": (124, 80, 52),
    "blue": (54, 98, 176),
    "green": (58, 128, 82),
    "yellow": (226, 190, 70),
    "black": (36, 38, 46),
    "orange": (214, 130, 66),
}
# texture: (rgb, ((noise cell, amplitude), ...), pattern)
_TEXTURES: dict[str, tuple[RGB, tuple[tuple[int, int], ...], str]] = {
    "grass": ((104, 142, 72), ((90, 16), (18, 10), (3, 9)), ""),
    "drygrass": ((142, 142, 84), ((90, 18), (18, 12), (3, 10)), ""),
    "soil": ((150, 118, 86), ((80, 16), (14, 10), (3, 9)), ""),
    "sand": ((222, 202, 158), ((100, 10), (20, 6), (3, 6)), ""),
    "pavement": ((182, 181, 178), ((70, 8), (8, 5), (3, 5)), "slabs"),
    "asphalt": ((92, 94, 99), ((60, 8), (6, 6)), ""),
    "water blue": ((46, 104, 156), ((110, 14), (12, 5)), "ripples"),
    "water green": ((62, 122, 104), ((110, 14), (12, 5)), "ripples"),
    "water brown": ((134, 110, 78), ((110, 12), (12, 5)), "ripples"),
    "crop green": ((96, 152, 66), ((60, 9), (6, 6)), "furrows"),
    "crop yellow": ((214, 190, 96), ((60, 9), (6, 6)), "furrows"),
    "crop brown": ((138, 100, 68), ((60, 9), (6, 6)), "furrows"),
    "dunes yellow": ((222, 192, 122), ((120, 10), (5, 5)), "dunes"),
    "dunes orange": ((206, 134, 82), ((120, 10), (5, 5)), "dunes"),
    "dunes white": ((234, 226, 208), ((120, 8), (5, 4)), "dunes"),
    "flat yellow": ((216, 188, 122), ((120, 12), (20, 8), (4, 6)), "pebbles"),
    "flat orange": ((200, 132, 84), ((120, 12), (20, 8), (4, 6)), "pebbles"),
    "flat white": ((230, 222, 204), ((120, 10), (20, 6), (4, 5)), "pebbles"),
    "trees green": ((46, 82, 44), ((70, 10),), "trees"),
    "trees yellow": ((140, 104, 40), ((70, 10),), "trees"),
}


def shade(rgb: RGB, percent: int) -> RGB:
    """Return a colour scaled by `percent`, clipped to 255."""
    r, g, b = (min(255, v * percent // 100) for v in rgb)
    return r, g, b


def _noise(rng: np.random.Generator, cell: int) -> np.ndarray:
    n = TILE // cell + 4
    grain = Image.fromarray((rng.random((n, n)) * 255).astype(np.uint8))
    big = grain.resize((n * cell, n * cell), Image.Resampling.BICUBIC)
    return (
        np.asarray(big)[cell : cell + TILE, cell : cell + TILE].astype(np.int32) - 128
    )


def _wave(phase: np.ndarray, period: int, height: int) -> np.ndarray:
    """Return a triangle wave in [-height, height]; integers only."""
    return np.abs(phase % period - period // 2) * 4 * height // period - height


@lru_cache(maxsize=32)
def texture(name: str) -> Image.Image:
    """Return a cached TILE x TILE picture of a material."""
    rgb, octaves, pattern = _TEXTURES[name]
    rng = np.random.Generator(np.random.PCG64([7, list(_TEXTURES).index(name)]))
    value = np.zeros((TILE, TILE), np.int32)
    for cell, amp in octaves:
        value += _noise(rng, cell) * amp // 96
    y, x = np.mgrid[:TILE, :TILE].astype(np.int32)
    if pattern == "ripples":
        value += _wave(y * 3 + x + _noise(rng, 40) // 3, 30, 4)
    elif pattern == "furrows":
        value += _wave(y + _noise(rng, 90) // 40, 10, 9)
    elif pattern == "dunes":
        bend = _noise(rng, 70) // 2 + _noise(rng, 24) // 8
        value += _wave(y * 2 + x + bend, 90, 20) + _wave(y + bend, 14, 4)
    elif pattern == "slabs":
        value -= 14 * ((y % 32 < 2) | (x % 32 < 2))
    out = np.clip(value[:, :, None] + np.array(rgb, np.int32), 0, 255)
    image = Image.fromarray(out.astype(np.uint8))
    if pattern in ("trees", "pebbles"):
        draw = ImageDraw.Draw(image, "RGBA")
        many = 4200 if pattern == "trees" else 260
        for px, py, tint, size in rng.random((many, 4)).tolist():
            r = 7 + int(size * 6) if pattern == "trees" else 1 + int(size * 4)
            lit = shade(rgb, 90 + int(tint * 60)) if many > 300 else shade(rgb, 68)
            _blob(draw, int(px * TILE), int(py * TILE), r, lit)
    return image


def _blob(draw: ImageDraw.ImageDraw, x: int, y: int, r: int, rgb: RGB) -> None:
    """Draw a tree or a rock: shadow, body, lit half."""
    draw.ellipse((x - r + 3, y - r + 4, x + r + 3, y + r + 4), (8, 16, 22, 90))
    draw.ellipse((x - r, y - r, x + r, y + r), shade(rgb, 76))
    q = max(r * 2 // 3, 1)
    draw.ellipse((x - r + 1, y - r + 1, x - r + 2 * q, y - r + 2 * q), rgb)
