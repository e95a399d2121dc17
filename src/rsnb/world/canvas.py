"""A supersampled canvas: textures, soft shadows, free-space search, sensor model.

Drawing is integer-only (Pillow and numpy integers), so that pixels repeat.
Explained in notebook 00.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rsnb.world.scene import Dice
from rsnb.world.textures import COLOURS, RGB, TILE, texture

__all__ = ["FULL", "NATIVE", "Canvas", "Point", "develop"]

Point = tuple[float, float]
Fill = tuple[int, ...]
NATIVE = 192  # side of an image in pixels: three times the encoders' 64
FULL = 2 * NATIVE  # side that is drawn, then reduced by 2
CELL = 4  # free-space grid: one cell is 4x4 drawn pixels


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

    def fill(self, material: str, shape: Sequence[Point] | Image.Image | None) -> None:
        """Fill a polygon, a mask or everything with a randomly turned texture."""
        x, y = self.dice.between(0, TILE - FULL), self.dice.between(0, TILE - FULL)
        tile = texture(material).crop((x, y, x + FULL, y + FULL))
        if shape is None:
            self.image.paste(tile)
            return
        if not isinstance(shape, Image.Image):
            shape = self.region(shape)
        if self.dice.chance(0.5):
            tile = tile.transpose(Image.Transpose.TRANSPOSE)
        self.image.paste(tile, (0, 0), shape)

    @staticmethod
    def mask(paint: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
        """Return an L mask of full size on which `paint` drew."""
        out = Image.new("L", (FULL, FULL))
        paint(ImageDraw.Draw(out))
        return out

    def region(self, pts: Sequence[Point]) -> Image.Image:
        """Return the mask of a polygon."""
        return self.mask(lambda d: d.polygon(pts, 255))

    def water(self, material: str, mask: Image.Image, bank: RGB | None) -> None:
        """Pour water into a mask; it is closed to land objects, open to boats."""
        if bank:
            self.image.paste(bank, (0, 0), mask.filter(ImageFilter.BoxBlur(4)))
        self.fill(material, mask)
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

    def poly(
        self, x: float, y: float, angle: float, scale: float, pts: Sequence[Point],
        fill: Fill,
    ) -> None:  # fmt: skip
        """Draw a flat polygon given in local coordinates."""
        self.draw.polygon(self.local(x, y, angle, scale, pts), fill)

    def line(
        self, x: float, y: float, angle: float, scale: float, pts: Sequence[Point],
        fill: Fill, width: int,
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
