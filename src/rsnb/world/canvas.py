"""A supersampled canvas: materials, soft shadows, free-space search, sensor model.

Drawing is integer-only (Pillow and numpy integers), so that pixels repeat.
Explained in notebook 00.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rsnb.world.scene import Dice

__all__ = [
    "COLOURS", "FULL", "LINE", "NATIVE", "RGB", "ROAD", "SHORE", "Box", "Canvas",
    "Point", "corners", "shade",
]  # fmt: skip

RGB = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[int, int, int, int]
Fill = tuple[int, ...]
Shape = Sequence[Point] | Image.Image  # a polygon or a mask
NATIVE = 192  # side of an image in pixels: three times the encoders' 64
FULL = 2 * NATIVE  # side that is drawn, then reduced by 2
CELL = 4  # free-space grid: one cell is 4x4 drawn pixels
TILE = 640

COLOURS: dict[str, RGB] = {
    "white": (238, 238, 233), "gray": (146, 149, 155), "red": (190, 58, 46),
    "brown": (124, 80, 52), "blue": (54, 98, 176), "green": (58, 128, 82),
    "yellow": (226, 190, 70), "black": (36, 38, 46), "orange": (214, 130, 66),
}  # fmt: skip
ROAD: RGB = (84, 86, 92)
LINE: RGB = (232, 230, 220)
SHORE: RGB = (196, 184, 146)
# texture: (rgb, ((noise cell, amplitude), ...), pattern); its number is its seed
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


def corners(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    """Return a rectangle as a polygon."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _noise(rng: np.random.Generator, cell: int) -> np.ndarray:
    n = TILE // cell + 4
    grain = Image.fromarray((rng.random((n, n)) * 255).astype(np.uint8))
    big = np.asarray(grain.resize((n * cell, n * cell), Image.Resampling.BICUBIC))
    return big[cell : cell + TILE, cell : cell + TILE].astype(np.int32) - 128


def _wave(phase: np.ndarray, period: int, height: int) -> np.ndarray:
    """Return a triangle wave in [-height, height]."""
    return np.abs(phase % period - period // 2) * 4 * height // period - height


@lru_cache(maxsize=32)
def _texture(name: str) -> Image.Image:
    """Return a TILE x TILE picture of a material."""
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
    ellipse = ImageDraw.Draw(image, "RGBA").ellipse
    trees = pattern == "trees"
    many = {"trees": 4200, "pebbles": 260}.get(pattern, 0)
    for u, v, tint, size in rng.random((many, 4)).tolist():  # shadow, body, lit half
        px, py = int(u * TILE), int(v * TILE)
        r = 7 + int(size * 6) if trees else 1 + int(size * 4)
        lit, q = shade(rgb, 90 + int(tint * 60) if trees else 68), max(r * 2 // 3, 1)
        ellipse((px - r + 3, py - r + 4, px + r + 3, py + r + 4), (8, 16, 22, 90))
        ellipse((px - r, py - r, px + r, py + r), shade(lit, 76))
        ellipse((px - r + 1, py - r + 1, px - r + 2 * q, py - r + 2 * q), lit)
    return image


class Canvas:
    """What is drawn so far, and where there is still room. Units: drawn pixels.

    Attributes:
        dice: the scene's render stream.
        box: area inside the context bands; core: the part for main objects.
        slots: (x, y, angle) places for vehicles on roads.
        ledger: what was drawn, to be compared with the scene graph.
    """

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.image = Image.new("RGB", (FULL, FULL))
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.occupied = Image.new("L", (FULL // CELL, FULL // CELL))
        self.wet = self.occupied.copy()
        self.box: Box = (0, 0, FULL, FULL)
        self.core = self.box
        self.slots: list[tuple[float, float, float]] = []
        self.ledger: Counter[str] = Counter()
        self.sun = dice.pick(((1, 1), (-1, 1), (1, -1), (-1, -1)))

    def tone(self, name: str | None) -> RGB:
        """Return a named colour, slightly varied."""
        d = self.dice.between(-9, 9)
        r, g, b = (max(0, min(255, v + d)) for v in COLOURS[str(name)])
        return r, g, b

    def fill(self, material: str, shape: Shape | None = None) -> None:
        """Fill a shape, or everything, with a randomly turned material."""
        x, y = self.dice.between(0, TILE - FULL), self.dice.between(0, TILE - FULL)
        tile = _texture(material).crop((x, y, x + FULL, y + FULL))
        if shape is None:
            self.image.paste(tile)
            return
        mask = self.mask(shape)
        if self.dice.chance(0.5):
            tile = tile.transpose(Image.Transpose.TRANSPOSE)
        self.image.paste(tile, (0, 0), mask)

    @staticmethod
    def mask(shape: Shape | Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
        """Return the mask of a polygon, or one on which a function drew."""
        if isinstance(shape, Image.Image):
            return shape
        out = Image.new("L", (FULL, FULL))
        draw = ImageDraw.Draw(out)
        shape(draw) if callable(shape) else draw.polygon(shape, 255)
        return out

    def water(self, material: str, shape: Shape, bank: RGB | None = None) -> None:
        """Pour water into a shape; it is closed to land objects, open to boats."""
        mask = self.mask(shape)
        if bank:
            self.image.paste(bank, (0, 0), mask.filter(ImageFilter.BoxBlur(4)))
        self.fill(material, mask)
        for grid in (self.wet, self.occupied):
            grid.paste(255, (0, 0), mask.reduce(CELL))

    def claim(
        self, x0: float, y0: float, x1: float, y1: float, value: int = 255,
        grid: Image.Image | None = None,
    ) -> None:  # fmt: skip
        """Close a rectangle of a grid to later objects (or open it with value 0)."""
        box = [int(min(max(v, 0), FULL) // CELL) for v in (x0, y0, x1, y1)]
        ImageDraw.Draw(grid or self.occupied).rectangle(box, value)

    def local(
        self, x: float, y: float, angle: float, scale: float, pts: Sequence[Point]
    ) -> list[Point]:
        """Turn local points by `angle` (degrees), scale, move to (x, y)."""
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return [
            (round(x + scale * (p * c - q * s)), round(y + scale * (p * s + q * c)))
            for p, q in pts
        ]

    def solid(self, pts: Sequence[Point], rgb: RGB, height: int = 0) -> None:
        """Draw a polygon with a soft shadow of length `height`, and claim its box."""
        sx, sy = self.sun
        for k in (height, height * 2 // 3) if height else ():
            moved = [(x + sx * k, y + sy * k) for x, y in pts]
            self.draw.polygon(moved, (10, 14, 30, 70))
        self.draw.polygon(pts, rgb)
        xs, ys = [p[0] for p in pts], [p[1] for p in pts]
        self.claim(min(xs) - 3, min(ys) - 3, max(xs) + 3, max(ys) + 3)

    def poly(
        self, x: float, y: float, angle: float, scale: float, pts: Sequence[Point],
        fill: Fill,
    ) -> None:  # fmt: skip
        """Draw a flat polygon given in local coordinates."""
        self.draw.polygon(self.local(x, y, angle, scale, pts), fill)

    def line(
        self, x: float, y: float, angle: float, scale: float, pts: Sequence[Point],
        fill: Fill, width: int = 2,
    ) -> None:  # fmt: skip
        """Draw a line given in local coordinates."""
        self.draw.line(self.local(x, y, angle, scale, pts), fill, width)

    def disc(self, x: float, y: float, r: float, fill: Fill) -> None:
        """Draw a flat disc."""
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill)

    def bar(
        self, x: float, y: float, angle: float, w: float, h: float, rgb: RGB,
        height: int = 0,
    ) -> None:  # fmt: skip
        """Draw a turned rectangle of w by h."""
        box = corners(-w / 2, -h / 2, w / 2, h / 2)
        self.solid(self.local(x, y, angle, 1, box), rgb, height)

    def find(self, w: int, h: int, wet: bool = False) -> Point | None:
        """Return the centre of a random free w by h rectangle, or None."""
        closed = np.asarray(self.wet) == 0 if wet else np.asarray(self.occupied) > 0
        x0, y0, x1, y1 = (8, 8, FULL - 8, FULL - 8) if wet else self.box
        free = np.zeros(closed.shape, bool)
        window = np.s_[y0 // CELL + 1 : y1 // CELL - 1, x0 // CELL + 1 : x1 // CELL - 1]
        free[window] = ~closed[window]
        sums = np.pad((~free).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        a, b = -(-h // CELL), -(-w // CELL)
        bad = sums[a:, b:] - sums[:-a, b:] - sums[a:, :-b] + sums[:-a, :-b]
        spots = np.flatnonzero(bad == 0)
        if not len(spots):
            return None
        row, col = divmod(int(spots[int(self.dice.u() * len(spots))]), bad.shape[1])
        return (col + b / 2) * CELL, (row + a / 2) * CELL
