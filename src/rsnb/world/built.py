"""Painters of buildings, sports and energy. Explained in notebook 00."""

from __future__ import annotations

import math
from itertools import pairwise

from rsnb.world.canvas import COLOURS, FULL, LINE, Canvas, Point, corners, shade
from rsnb.world.parts import house, oval, places, road
from rsnb.world.scene import Scene

__all__ = ["PAINTERS"]


def _baseball(c: Canvas, s: Scene) -> None:
    """Fans of grass around a dirt diamond."""
    most = {"large": 230, "small": 104}.get(s.size or "", 140)
    pad = 1.0 if s.count == 1 else 0.84
    pts, cell, angle = places(c, s, c.core, most, pad=pad)
    arc = [k * math.pi / 20 for k in range(11)]
    fan = [(-0.42 + 0.92 * math.cos(t), -0.42 + 0.92 * math.sin(t)) for t in arc]
    fan = [(p * 0.98, q * 0.98) for p, q in [(-0.42, -0.42), *fan]]
    mow = [(p * 0.8 - 0.07, q * 0.8 - 0.07) for p, q in fan]
    dirt = [(-0.39, -0.39), (0.1, -0.39), (0.06, 0.06), (-0.39, 0.1)]
    for x, y in pts:
        at = (x, y, angle + 45 + (180 if c.dice.chance(0.5) else 0), cell)
        c.solid(c.local(*at, fan), (72, 132, 58))
        c.poly(*at, mow, (88, 150, 70))
        c.poly(*at, dirt, (196, 140, 92))
        c.poly(*at, corners(-0.28, -0.28, -0.02, -0.02), (96, 156, 76))
        for end in ((0.5, -0.39), (-0.39, 0.5)):
            c.line(*at, [(-0.39, -0.39), end], (245, 245, 240))


def _church(c: Canvas, s: Scene) -> None:
    """Cross-shaped roof and a tower."""
    most = 200 if s.size == "large" else 100
    ((x, y),), r, angle = places(c, s, c.core, most)
    c.bar(x, y, angle, r * 1.08, r * 0.9, (186, 180, 166))
    rgb = c.tone(s.colour)
    house(c, x, y, r * 0.98, r * 0.34, angle, rgb, 9)
    wing, tower = c.local(x, y, angle, r, [(0.14, 0), (-0.38, 0)])
    house(c, *wing, r * 0.78, r * 0.26, angle + 90, rgb)
    c.bar(*tower, angle, r * 0.24, r * 0.24, (226, 222, 212), int(r * 0.2))
    c.bar(*tower, angle + 45, r * 0.13, r * 0.13, shade(rgb, 70))


def _dense(c: Canvas, s: Scene) -> None:
    """Rows of houses between streets."""
    c.fill({"arid": "soil", "coastal": "drygrass"}.get(s.style, "grass"))
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
    lots = []
    for v in ((k + q) * pitch for k in range(bands) for q in (0.3, 0.7)):
        for lo, hi in pairwise(columns or [0, w]):
            n = max(1, int((hi - lo - 26) // 34))
            step = (hi - lo - 26) / n
            lots += [at(lo + 13 + (m + 0.5) * step, v) for m in range(n)]
    # empty yards, where trees and pools find room
    free = max(len(lots) * 16 // 100, sum(2 * g.count for g in s.small))
    for x, y in c.dice.shuffled(lots)[free:]:
        tint = shade(COLOURS[str(s.colour)], c.dice.between(88, 112))
        house(c, x, y, 24, min(19, pitch * 0.24), 90 if flip else 0, tint, 4)
    c.slots = [p for p in c.slots if 24 < p[0] < FULL - 24 and 24 < p[1] < FULL - 24]


def _industrial(c: Canvas, s: Scene) -> None:
    """Flat-roofed halls."""
    pts, cell, angle = places(c, s, c.core, 150, aspect=1.5)
    w, h = cell * 1.42, cell * 0.84
    for x, y in pts:
        c.bar(x, y, angle, cell * 1.5 * 1.08, cell * 1.06, (150, 148, 146))
    for x, y in pts:
        rgb = c.tone(s.colour)
        c.bar(x, y, angle, w, h, rgb, 9)
        for u in (w * (k / 6 - 0.5) for k in range(1, 6)):  # roof ribs
            c.line(x, y, angle, 1, [(u, -h / 2), (u, h / 2)], shade(rgb, 84))
        c.poly(x, y, angle, 1, corners(-w / 2, 0, w / 2, h / 2), (0, 0, 20, 34))


def _school(c: Canvas, s: Scene) -> None:
    """Wings of a school and a running track."""
    x0, y0, x1, y1 = c.core
    if x1 - x0 >= y1 - y0:
        cut = (x0 + x1) // 2
        halves = [(x0, y0, cut, y1), (cut, y0, x1, y1)]
    else:
        cut = (y0 + y1) // 2
        halves = [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    field, yard = c.dice.shuffled(halves)
    ((x, y),), r, angle = places(c, s, field, 150, n=1, layout=None, aspect=1.6)
    rx, ry = r * 0.82, r * 0.5
    c.solid(oval(c, x, y, rx, ry, angle), (186, 84, 62))
    for k, rgb in ((0.86, (216, 190, 178)), (0.82, (186, 84, 62)),
                   (0.66, (92, 156, 72))):  # fmt: skip
        c.draw.polygon(oval(c, x, y, rx * k, ry * k, angle), rgb)
    c.line(x, y, angle, 1, [(0, -ry * 0.6), (0, ry * 0.6)], LINE)
    pts, cell, angle = places(c, s, yard, 112)
    w = cell * 0.96
    for x, y in pts:
        rgb = c.tone(s.colour)
        house(c, x, y, w, w * 0.4, angle + 90, rgb, 7)
        wing = c.local(x, y, angle + 90, w, [(0.33, 0.22)])[0]
        house(c, *wing, w * 0.52, w * 0.32, angle, rgb)


def _solar(c: Canvas, s: Scene) -> None:
    """Blocks of panel rows."""
    pts, cell, angle = places(c, s, c.core, 150, aspect=1.35)
    base = (34, 56, 118) if s.colour == "blue" else (34, 35, 42)
    w, h = cell * 1.26, cell * 0.94
    rows = max(3, int(h // 15))
    pitch = h / rows
    edge_line = [(-w / 2, -pitch * 0.32), (w / 2, -pitch * 0.32)]
    for x, y in pts:
        c.bar(x, y, angle, w + 8, h + 8, (170, 162, 140))
        middles = [(0, (k + 0.5) * pitch - h / 2) for k in range(rows)]
        for px, py in c.local(x, y, angle, 1, middles):
            c.bar(px, py, angle, w, pitch * 0.72, base, 2)
            c.line(px, py, angle, 1, edge_line, shade(base, 190))
        for u in (w * (k / 6 - 0.5) for k in range(1, 6)):
            seam = [(u, -h / 2), (u, h / 2)]
            c.line(x, y, angle, 1, seam, (150, 160, 180, 120), 1)


def _sparse(c: Canvas, s: Scene) -> None:
    """Houses with an annex each."""
    pts, cell, angle = places(c, s, c.core, 86)
    for x, y in pts:
        turn = angle + (c.dice.between(-30, 30) if s.layout == "scattered" else 0)
        rgb = c.tone(s.colour)
        c.bar(x, y, turn, cell * 0.94, cell * 0.84, (188, 176, 148))
        house(c, x, y, cell * 0.74, cell * 0.52, turn, rgb, 8)
        annex = c.local(x, y, turn, cell, [(0.2, 0.2)])[0]
        house(c, *annex, cell * 0.44, cell * 0.26, turn + 90, rgb)


def _stadium(c: Canvas, s: Scene) -> None:
    """Stands around a green field."""
    most = 205 if s.size == "large" else 104
    ((x, y),), r, angle = places(c, s, c.core, most)
    rx = r * 0.5
    ry = rx * {"round": 1, "oval": 0.72}.get(s.layout or "", 0.76)
    rgb = c.tone(s.colour)

    def shape(k: float, q: float) -> list[Point]:
        a, b = rx * k, ry * q
        if s.layout != "rectangular":
            return oval(c, x, y, a, b, angle)
        return c.local(x, y, angle, 1, corners(-a, -b, a, b))

    c.solid(shape(1.08, 1.1), (172, 170, 166))
    c.solid(shape(1, 1), shade(rgb, 74), 12)
    for k, light in ((0.95, 104), (0.82, 88), (0.78, 110), (0.66, 84)):
        c.draw.polygon(shape(k, k), shade(rgb, light))
    for t in (k * math.pi / 12 for k in range(24)):  # aisles
        aisle = [(rx * m * math.cos(t), ry * m * math.sin(t)) for m in (0.62, 0.93)]
        c.line(x, y, angle, 1, aisle, shade(rgb, 66))
    c.draw.polygon(shape(0.58, 0.54), (84, 150, 66))
    for u in (rx * -0.36, 0, rx * 0.36):
        c.line(x, y, angle, 1, [(u, -ry * 0.4), (u, ry * 0.4)], LINE)


def _tanks(c: Canvas, s: Scene) -> None:
    """Round tanks with a lit roof."""
    pts, cell, _ = places(c, s, c.core, 96)
    rgb = c.tone(s.colour)
    sx, sy = c.sun
    r = cell * 0.44
    for x, y in pts:
        for k in (r * 0.36, r * 0.22):
            c.disc(x + sx * k, y + sy * k, r, (10, 14, 30, 70))
        c.solid(oval(c, x, y, r, r), shade(rgb, 76))
        for q, light in ((0.9, 98), (0.6, 106), (0.54, 96)):
            o = r * (1 - q) * 0.3
            c.disc(x - sx * o, y - sy * o, r * q, shade(rgb, light))
        c.draw.line([(x, y), (x + r * 0.9, y)], shade(rgb, 60), 2)


def _tennis(c: Canvas, s: Scene) -> None:
    """Marked courts with a net."""
    pts, cell, angle = places(c, s, c.core, 150, aspect=0.62)
    rgb = COLOURS[str(s.colour)]
    w, h = cell * 0.62, cell * 1.02
    a, b = w * 0.31, h * 0.37
    rim = corners(-a, -b, a, b)
    lines: list[list[Point]] = [[*rim, rim[0]], [(0, -b / 2), (0, b / 2)]]
    lines += [[(-a, v), (a, v)] for v in (-b / 2, b / 2)]
    for x, y in pts:
        c.bar(x, y, angle, w * 0.98, h, shade(rgb, 74))
        c.bar(x, y, angle, w * 0.62, h * 0.74, shade(rgb, 116))
        for line in lines:
            c.line(x, y, angle, 1, line, (246, 246, 242))
        c.line(x, y, angle, 1, [(-a * 1.3, 0), (a * 1.3, 0)], (30, 34, 40), 3)


def _wind(c: Canvas, s: Scene) -> None:
    """Turbines and their shadows."""
    pts, cell, _ = places(c, s, c.core, 112)
    sx, sy = c.sun
    r = cell * 0.46
    dark, white = (16, 20, 34, 150), (250, 250, 250, 255)
    for x, y in pts:
        c.disc(x, y, 13, (196, 188, 172))
        turn = c.dice.between(0, 119)
        arms = [math.radians(turn + k * 120) for k in range(3)]
        shadow = (x + sx * r * 0.3, y + sy * r * 0.3)
        for (a, b), rgb in ((shadow, dark), ((x, y), white)):
            for t in arms:
                tip = (a + math.cos(t) * r, b + math.sin(t) * r)
                c.draw.line([(a, b), tip], rgb, 5)
            c.disc(a, b, 6, rgb)
        c.draw.line([(x, y), shadow], dark, 6)
        c.disc(x, y, 6, white)
        c.claim(x - r, y - r, x + r, y + r)


PAINTERS = {
    "baseball field": _baseball, "church": _church, "dense residential area": _dense,
    "industrial area": _industrial, "school": _school, "solar farm": _solar,
    "sparse residential area": _sparse, "stadium": _stadium, "storage tank": _tanks,
    "tennis court": _tennis, "wind farm": _wind,
}  # fmt: skip
