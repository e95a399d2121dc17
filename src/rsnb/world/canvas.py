"""A supersampled canvas: textures, soft shadows, free-space search, sensor model.

Drawing is integer-only (Pillow and numpy integers), so that pixels repeat.
Explained in notebook 00.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from rsnb.world.scene import Dice

__all__ = ["COLOURS", "FULL", "NATIVE", "RGB", "Canvas", "Point", "develop", "shade"]

RGB = tuple[int, int, int]
Point = tuple[float, float]
NATIVE = 192  # side of an image in pixels: three times the encoders' 64
FULL = 2 * NATIVE  # side that is drawn, then reduced by 2
CELL = 4  # free-space grid: one cell is 4x4 drawn pixels
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
def _texture(name: str) -> Image.Image:
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
        self.wet = Image.new("L", (FULL // CELL, FULL // CELL))
        self.box = self.core = (0, 0, FULL, FULL)
        self.slots: list[tuple[float, float, float]] = []
        self.ledger: dict[str, int] = {}
        self.sun = dice.pick(((1, 1), (-1, 1), (1, -1), (-1, -1)))

    def tone(self, name: str) -> RGB:
        """Return a named colour, slightly varied."""
        d = self.dice.between(-9, 9)
        r, g, b = (max(0, min(255, v + d)) for v in COLOURS[name])
        return r, g, b

    def fill(self, texture: str, shape: Sequence[Point] | Image.Image | None) -> None:
        """Fill a polygon, a mask or everything with a randomly turned texture."""
        x, y = self.dice.between(0, TILE - FULL), self.dice.between(0, TILE - FULL)
        tile = _texture(texture).crop((x, y, x + FULL, y + FULL))
        if shape is None:
            self.image.paste(tile)
            return
        if not isinstance(shape, Image.Image):
            shape = self.mask(lambda d: d.polygon(shape, 255))
        if self.dice.chance(0.5):
            tile = tile.transpose(Image.Transpose.TRANSPOSE)
        self.image.paste(tile, (0, 0), shape)

    @staticmethod
    def mask(paint: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
        """Return an L mask of full size on which `paint` drew."""
        out = Image.new("L", (FULL, FULL))
        paint(ImageDraw.Draw(out))
        return out

    def water(self, texture: str, mask: Image.Image, bank: RGB | None) -> None:
        """Pour water into a mask; it is closed to land objects, open to boats."""
        if bank:
            from PIL import ImageFilter

            self.image.paste(bank, (0, 0), mask.filter(ImageFilter.BoxBlur(4)))
        self.fill(texture, mask)
        small = mask.reduce(CELL)
        self.wet.paste(255, (0, 0), small)
        self.occupied.paste(255, (0, 0), small)

    def claim(
        self, x0: float, y0: float, x1: float, y1: float, value: int = 255
    ) -> None:
        """Close a rectangle to later objects (or open it with value 0)."""
        box = [int(min(max(v, 0), FULL) // CELL) for v in (x0, y0, x1, y1)]
        for im in (self.occupied, self.wet) if value == 0 else (self.occupied,):
            ImageDraw.Draw(im).rectangle(box, value)

    def local(
        self, cx: float, cy: float, angle: float, scale: float, pts: Sequence[Point]
    ) -> list[Point]:
        """Turn local points by `angle` (degrees), scale, move to (cx, cy)."""
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return [
            (
                round(cx + scale * (px * c - py * s)),
                round(cy + scale * (px * s + py * c)),
            )
            for px, py in pts
        ]

    def solid(self, pts: Sequence[Point], rgb: RGB, height: int = 0) -> None:
        """Draw a polygon with a soft shadow of length `height`, and claim its box."""
        if height:
            sx, sy = self.sun
            for k, alpha in ((height, 70), (height * 2 // 3, 70)):
                moved = [(x + sx * k, y + sy * k) for x, y in pts]
                self.draw.polygon(moved, (10, 14, 30, alpha))
        self.draw.polygon(pts, rgb)
        xs, ys = [p[0] for p in pts], [p[1] for p in pts]
        self.claim(min(xs) - 3, min(ys) - 3, max(xs) + 3, max(ys) + 3)

    def bar(
        self, x: float, y: float, angle: float, w: float, h: float, rgb: RGB,
        height: int = 0,
    ) -> None:  # fmt: skip
        """Draw a turned rectangle of w by h."""
        corners = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)]
        self.solid(self.local(x, y, angle, 1, corners), rgb, height)

    def find(self, w: int, h: int, wet: bool = False) -> Point | None:
        """Return the centre of a random free w by h rectangle inside `box`, or None."""
        busy = np.asarray(self.occupied) > 0
        if wet:
            closed = np.asarray(self.wet) == 0
        else:
            closed = busy
        free = np.zeros(closed.shape, bool)
        x0, y0, x1, y1 = self.box
        if wet:
            x0, y0, x1, y1 = 8, 8, FULL - 8, FULL - 8
        window = (
            slice(y0 // CELL + 1, y1 // CELL - 1),
            slice(x0 // CELL + 1, x1 // CELL - 1),
        )
        free[window] = ~closed[window]
        sums = np.zeros((free.shape[0] + 1, free.shape[1] + 1), np.int32)
        sums[1:, 1:] = (~free).cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        a, b = -(-h // CELL), -(-w // CELL)
        bad = sums[a:, b:] - sums[:-a, b:] - sums[a:, :-b] + sums[:-a, :-b]
        spots = np.flatnonzero(bad == 0)
        if not len(spots):
            return None
        row, col = divmod(int(spots[int(self.dice.u() * len(spots))]), bad.shape[1])
        return (col + b / 2) * CELL, (row + a / 2) * CELL

    def count(self, name: str, number: int = 1) -> None:
        """Enter drawn objects in the ledger."""
        self.ledger[name] = self.ledger.get(name, 0) + number


def develop(canvas: Canvas, seed: int, style: str, shifted: bool) -> Image.Image:
    """Reduce to native size, then light, haze and sensor noise.

    Args:
        canvas: the finished drawing.
        seed: scene seed, for the sensor noise.
        style: decides the cast of the light.
        shifted: the source domain's sensor: strong blur (about a third of the detail)
            and mixed channels.
    """
    dice = canvas.dice
    image = canvas.image.reduce(2)
    if shifted:
        side = NATIVE * 44 // 128
        image = image.resize((side, side), Image.Resampling.BOX)
        image = image.resize((NATIVE, NATIVE), Image.Resampling.BICUBIC)
    px = np.asarray(image).astype(np.int32)
    cast = {
        "temperate": (98, 101, 99),
        "arid": (104, 100, 94),
        "coastal": (100, 101, 103),
        "urban": (98, 98, 101),
    }[style]
    gain = dice.between(84, 112)
    px = px * (np.array(cast, np.int32) * gain) // 10_000
    gx, gy = dice.between(-14, 14), dice.between(-14, 14)
    ramp = np.arange(NATIVE, dtype=np.int32) - NATIVE // 2
    px += (ramp[None, :] * gx // NATIVE + ramp[:, None] * gy // NATIVE)[:, :, None]
    haze = dice.between(0, 16)
    px += (np.array((206, 214, 224), np.int32) - px) * haze // 100
    if shifted:
        mix = np.array(((52, 36, 12), (30, 44, 26), (16, 34, 50)), np.int32)
        px = px @ mix.T // 100
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    raw = np.frombuffer(rng.bytes(px.size), np.uint8).reshape(px.shape)
    px += (raw.astype(np.int32) - 128) * dice.between(2, 7) // 100
    return Image.fromarray(np.clip(px, 0, 255).astype(np.uint8))
