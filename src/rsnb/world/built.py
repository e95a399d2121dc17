"""Painters of buildings and sports classes. Explained in notebook 00."""

from __future__ import annotations

import math
from itertools import pairwise

from rsnb.world.canvas import FULL, Canvas, Point
from rsnb.world.parts import (
    LINE,
    house,
    oval,
    places,
    road,
)
from rsnb.world.scene import Scene
from rsnb.world.textures import COLOURS, shade

__all__ = [
    "baseball",
    "church",
    "dense",
    "industrial",
    "school",
    "sparse",
    "stadium",
    "tennis",
]


def baseball(c: Canvas, s: Scene) -> None:
    """Fans of grass around a dirt diamond."""
    n = s.count or 0
    most = {"large": 230, "small": 104}.get(str(s.size), 140)
    pts, cell, angle = places(
        c, n, s.layout, c.core, most=most, pad=1.0 if n == 1 else 0.84
    )
    for x, y in pts:
        turn = angle + 45 + (180 if c.dice.chance(0.5) else 0)
        fan = [(-0.42, -0.42)] + [
            (
                -0.42 + 0.92 * math.cos(k * math.pi / 20),
                -0.42 + 0.92 * math.sin(k * math.pi / 20),
            )
            for k in range(11)
        ]
        fan = [(p * 0.98, q * 0.98) for p, q in fan]
        c.solid(c.local(x, y, turn, cell, fan), (72, 132, 58))
        mow = [(p * 0.8 - 0.07, q * 0.8 - 0.07) for p, q in fan]
        c.poly(x, y, turn, cell, mow, (88, 150, 70))
        dirt = [(-0.39, -0.39), (0.1, -0.39), (0.06, 0.06), (-0.39, 0.1)]
        c.poly(x, y, turn, cell, dirt, (196, 140, 92))
        inner = [(-0.28, -0.28), (-0.02, -0.28), (-0.02, -0.02), (-0.28, -0.02)]
        c.poly(x, y, turn, cell, inner, (96, 156, 76))
        for line in ([(-0.39, -0.39), (0.5, -0.39)], [(-0.39, -0.39), (-0.39, 0.5)]):
            c.line(x, y, turn, cell, line, (245, 245, 240), 2)
        c.count("main")


def church(c: Canvas, s: Scene) -> None:
    """Cross-shaped roof and a tower."""
    most = 200 if s.size == "large" else 100
    ((x, y),), r, angle = places(c, 1, None, c.core, most=most)
    c.bar(x, y, angle, r * 1.08, r * 0.9, (186, 180, 166))
    rgb = c.tone(str(s.colour))
    house(c, x, y, r * 0.98, r * 0.34, angle, rgb, 9)
    ((tx, ty),) = c.local(x, y, angle, r, [(0.14, 0)])
    house(c, tx, ty, r * 0.78, r * 0.26, angle + 90, rgb, 0)
    ((px, py),) = c.local(x, y, angle, r, [(-0.38, 0)])
    c.bar(px, py, angle, r * 0.24, r * 0.24, (226, 222, 212), int(r * 0.2))
    c.bar(px, py, angle + 45, r * 0.13, r * 0.13, shade(rgb, 70))


def dense(c: Canvas, s: Scene) -> None:
    """Rows of houses between streets."""
    yard = {"arid": "soil", "coastal": "drygrass"}.get(s.style, "grass")
    c.fill(yard, None)
    x0, y0, x1, y1 = c.box
    flip = c.dice.chance(0.5)
    w, h = (y1 - y0, x1 - x0) if flip else (x1 - x0, y1 - y0)

    def at(u: float, v: float) -> Point:
        return (x0 + v, y0 + u) if flip else (x0 + u, y0 + v)

    bands = max(2, h // 88)
    pitch = h / bands
    columns = [k * w / 3 for k in range(4)] if s.layout == "blocks" else []
    for k in range(bands + 1):
        v = min(max(k * pitch, 12), h - 12)
        road(c, at(0, v), at(w, v), 20)
    for u in columns:
        u = min(max(u, 12), w - 12)
        road(c, at(u, 0), at(u, h), 20)
    spans = list(pairwise(columns)) or [(0, w)]
    lots = []
    for v in ((k + q) * pitch for k in range(bands) for q in (0.3, 0.7)):
        for lo, hi in spans:
            n = max(1, int((hi - lo - 26) // 34))
            step = (hi - lo - 26) / n
            lots += [at(lo + 13 + (m + 0.5) * step, v) for m in range(n)]
    # empty yards, where trees and pools find room
    free = max(len(lots) * 16 // 100, sum(2 * g.count for g in s.small))
    for x, y in c.dice.shuffled(lots)[free:]:
        tint = shade(COLOURS[str(s.colour)], c.dice.between(88, 112))
        house(c, x, y, 24, min(19, pitch * 0.24), 90 if flip else 0, tint, 4)
    c.slots = [p for p in c.slots if 24 < p[0] < FULL - 24 and 24 < p[1] < FULL - 24]


def industrial(c: Canvas, s: Scene) -> None:
    """Flat-roofed halls."""
    n = s.count or 0
    pts, cell, angle = places(c, n, s.layout, c.core, aspect=1.5, most=150)
    for x, y in pts:
        c.bar(x, y, angle, cell * 1.5 * 1.08, cell * 1.06, (150, 148, 146))
    for x, y in pts:
        rgb = c.tone(str(s.colour))
        w, h = cell * 1.42, cell * 0.84
        c.bar(x, y, angle, w, h, rgb, 9)
        for k in range(1, 6):  # roof ribs
            rib = [(w * (k / 6 - 0.5), -h / 2), (w * (k / 6 - 0.5), h / 2)]
            c.line(x, y, angle, 1, rib, shade(rgb, 84), 2)
        lower = [(-w / 2, 0), (w / 2, 0), (w / 2, h / 2), (-w / 2, h / 2)]
        c.poly(x, y, angle, 1, lower, (0, 0, 20, 34))
        c.count("main")


def school(c: Canvas, s: Scene) -> None:
    """Wings of a school and a running track."""
    x0, y0, x1, y1 = c.core
    if x1 - x0 >= y1 - y0:
        cut = (x0 + x1) // 2
        halves = [(x0, y0, cut, y1), (cut, y0, x1, y1)]
    else:
        cut = (y0 + y1) // 2
        halves = [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    field, yard = c.dice.shuffled(halves)
    ((x, y),), r, angle = places(c, 1, None, field, aspect=1.6, most=150)
    rx, ry = r * 0.82, r * 0.5
    for k, rgb in ((1.0, (186, 84, 62)), (0.86, (216, 190, 178)), (0.82, (186, 84, 62)),
                   (0.66, (92, 156, 72))):  # fmt: skip
        track = oval(c, x, y, rx * k, ry * k, angle)
        (c.solid if k == 1.0 else c.draw.polygon)(track, rgb)
    c.line(x, y, angle, 1, [(0, -ry * 0.6), (0, ry * 0.6)], LINE, 2)
    n = s.count or 0
    pts, cell, angle = places(c, n, s.layout, yard, most=112)
    for x, y in pts:
        rgb = c.tone(str(s.colour))
        w = cell * 0.96
        house(c, x, y, w, w * 0.4, angle + 90, rgb, 7)
        ((ex, ey),) = c.local(x, y, angle + 90, w, [(0.33, 0.22)])
        house(c, ex, ey, w * 0.52, w * 0.32, angle, rgb, 0)
        c.count("main")


def sparse(c: Canvas, s: Scene) -> None:
    """Houses with an annex each."""
    n = s.count or 0
    pts, cell, angle = places(c, n, s.layout, c.core, most=86)
    for x, y in pts:
        turn = angle + (c.dice.between(-30, 30) if s.layout == "scattered" else 0)
        rgb = c.tone(str(s.colour))
        c.bar(x, y, turn, cell * 0.94, cell * 0.84, (188, 176, 148))
        house(c, x, y, cell * 0.74, cell * 0.52, turn, rgb, 8)
        ((ex, ey),) = c.local(x, y, turn, cell, [(0.2, 0.2)])
        house(c, ex, ey, cell * 0.44, cell * 0.26, turn + 90, rgb, 0)
        c.count("main")


def stadium(c: Canvas, s: Scene) -> None:
    """Stands around a green field."""
    most = 205 if s.size == "large" else 104
    ((x, y),), r, angle = places(c, 1, None, c.core, aspect=1.0, most=most)
    rx = r * 0.5
    ry = {"round": rx, "oval": rx * 0.72}.get(str(s.layout), rx * 0.76)
    rgb = c.tone(str(s.colour))

    def shape(k: float, q: float) -> list[Point]:
        a, b = rx * k, ry * q
        if s.layout != "rectangular":
            return oval(c, x, y, a, b, angle)
        return c.local(x, y, angle, 1, [(-a, -b), (a, -b), (a, b), (-a, b)])

    c.solid(shape(1.08, 1.1), (172, 170, 166))
    c.solid(shape(1, 1), shade(rgb, 74), 12)
    for k, light in ((0.95, 104), (0.82, 88), (0.78, 110), (0.66, 84)):
        c.draw.polygon(shape(k, k), shade(rgb, light))
    for k in range(0, 24):  # aisles
        t = k * math.pi / 12
        aisle = [(rx * m * math.cos(t), ry * m * math.sin(t)) for m in (0.62, 0.93)]
        c.line(x, y, angle, 1, aisle, shade(rgb, 66), 2)
    c.draw.polygon(shape(0.58, 0.54), (84, 150, 66))
    for k in (-0.36, 0, 0.36):
        line = [(rx * k, -ry * 0.4), (rx * k, ry * 0.4)]
        c.line(x, y, angle, 1, line, LINE, 2)


def tennis(c: Canvas, s: Scene) -> None:
    """Marked courts with a net."""
    n = s.count or 0
    pts, cell, angle = places(c, n, s.layout, c.core, aspect=0.62, most=150)
    rgb = COLOURS[str(s.colour)]
    for x, y in pts:
        w, h = cell * 0.62, cell * 1.02
        c.bar(x, y, angle, w * 0.98, h, shade(rgb, 74))
        c.bar(x, y, angle, w * 0.62, h * 0.74, shade(rgb, 116))
        a, b = w * 0.31, h * 0.37
        lines: list[list[Point]] = [
            [(-a, -b), (a, -b), (a, b), (-a, b), (-a, -b)],
            [(-a, -b / 2), (a, -b / 2)],
            [(-a, b / 2), (a, b / 2)],
            [(0, -b / 2), (0, b / 2)],
        ]
        for line in lines:
            c.line(x, y, angle, 1, line, (246, 246, 242), 2)
        net = c.local(x, y, angle, 1, [(-a * 1.3, 0), (a * 1.3, 0)])
        c.draw.line(net, (30, 34, 40), 3)
        c.count("main")
