"""Painters of energy and storage classes. Explained in notebook 00."""

from __future__ import annotations

import math

from rsnb.world.canvas import Canvas
from rsnb.world.parts import (
    oval,
    places,
)
from rsnb.world.scene import Scene
from rsnb.world.textures import shade

__all__ = ["solar", "tanks", "wind"]


def solar(c: Canvas, s: Scene) -> None:
    """Blocks of panel rows."""
    n = s.count or 0
    pts, cell, angle = places(c, n, s.layout, c.core, aspect=1.35, most=150)
    base = (34, 56, 118) if s.colour == "blue" else (34, 35, 42)
    for x, y in pts:
        w, h = cell * 1.26, cell * 0.94
        c.bar(x, y, angle, w + 8, h + 8, (170, 162, 140))
        rows = max(3, int(h // 15))
        pitch = h / rows
        for k in range(rows):
            ((px, py),) = c.local(x, y, angle, 1, [(0, (k + 0.5) * pitch - h / 2)])
            c.bar(px, py, angle, w, pitch * 0.72, base, 2)
            edge = [(-w / 2, -pitch * 0.32), (w / 2, -pitch * 0.32)]
            c.line(px, py, angle, 1, edge, shade(base, 190), 2)
        for k in range(1, 6):
            u = w * (k / 6 - 0.5)
            seam = c.local(x, y, angle, 1, [(u, -h / 2), (u, h / 2)])
            c.draw.line(seam, (150, 160, 180, 120), 1)
        c.count("main")


def tanks(c: Canvas, s: Scene) -> None:
    """Round tanks with a lit roof."""
    n = s.count or 0
    pts, cell, _ = places(c, n, s.layout, c.core, most=96)
    rgb = c.tone(str(s.colour))
    sx, sy = c.sun
    for x, y in pts:
        r = cell * 0.44
        for k, alpha in ((r * 0.36, 70), (r * 0.22, 70)):
            a, b = x + sx * k, y + sy * k
            c.disc(a, b, r, (10, 14, 30, alpha))
        c.solid(oval(c, x, y, r, r, 0), shade(rgb, 76))
        for q, light in ((0.9, 98), (0.6, 106), (0.54, 96)):
            k, o = r * q, r * (1 - q) * 0.3
            a, b = x - sx * o, y - sy * o
            c.disc(a, b, k, shade(rgb, light))
        c.draw.line([(x, y), (x + r * 0.9, y)], shade(rgb, 60), 2)
        c.count("main")


def wind(c: Canvas, s: Scene) -> None:
    """Turbines and their shadows."""
    n = s.count or 0
    pts, cell, _ = places(c, n, s.layout, c.core, most=112)
    sx, sy = c.sun
    for x, y in pts:
        r = cell * 0.46
        c.disc(x, y, 13, (196, 188, 172))
        turn = c.dice.between(0, 119)
        tips = [
            (
                math.cos(math.radians(turn + k * 120)),
                math.sin(math.radians(turn + k * 120)),
            )
            for k in range(3)
        ]
        for dx, dy, rgb in ((sx * r * 0.3, sy * r * 0.3, (16, 20, 34, 150)),
                            (0, 0, (250, 250, 250, 255))):  # fmt: skip
            for p, q in tips:
                a, b = x + dx, y + dy
                c.draw.line([(a, b), (a + p * r, b + q * r)], rgb, 5)
            c.disc(x + dx, y + dy, 6, rgb)
        c.draw.line(
            [(x, y), (x + sx * r * 0.3, y + sy * r * 0.3)], (16, 20, 34, 150), 6
        )
        c.disc(x, y, 6, (250, 250, 250))
        c.claim(x - r, y - r, x + r, y + r)
        c.count("main")
