"""Scene graph → native 192x192 RGB picture, everything in the graph visible.

`render` compares what it drew with the graph and raises if an object is missing.
Explained in notebook 00.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageDraw

from rsnb.errors import DataError
from rsnb.world.canvas import COLOURS, FULL, RGB, Canvas, Point, develop, shade
from rsnb.world.scene import Dice, Scene, Small

__all__ = ["render"]

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
ROAD: RGB = (84, 86, 92)
LINE: RGB = (232, 230, 220)
SHORE: RGB = (196, 184, 146)
Box = tuple[int, int, int, int]


def _places(
    c: Canvas, n: int, layout: str | None, box: Box, aspect: float = 1.0,
    most: float = 104, pad: float = 0.86,
) -> tuple[list[Point], float, float]:  # fmt: skip
    """Return n centres that fit in `box`, the cell's width, and a common angle."""
    x0, y0, x1, y1 = box
    w, h, dice = x1 - x0, y1 - y0, c.dice
    if layout == "ring" and n > 1:
        r = min(w, h) / 2 / (1 + math.sin(math.pi / n))
        turn = dice.u() * 360
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        pts = c.local(cx, cy, turn, r, [
            (math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n))
            for k in range(n)
        ])  # fmt: skip
        return pts, min(most, 2 * r * math.sin(math.pi / n) * 0.8), turn
    angle = dice.between(-16, 16)
    if (w < h * 0.85) or (w < h * 1.15 and dice.chance(0.5)):
        angle += 90
    rows = 1
    if layout == "grid" or (layout is None and n > 6):
        rows = 3 if n == 9 else 2
    cols = -(-n // rows)
    chosen = [(i % cols, i // cols) for i in range(n)]
    if layout == "scattered":
        rows = cols = 3 if n <= 5 else 4
        cells = [(i, j) for i in range(cols) for j in range(rows)]
        while True:  # a scatter must not look like a line
            chosen = dice.shuffled(cells)[:n]
            if len({i for i, _ in chosen}) > 1 and len({j for _, j in chosen}) > 1:
                break
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    a, b = cols * aspect, float(rows)
    cell = min(w / (a * cos + b * sin), h / (a * sin + b * cos), most / max(aspect, 1))
    jitter = 0.09 if layout == "scattered" else 0.0
    local = [
        (
            (i - (cols - 1) / 2 + dice.u() * 2 * jitter - jitter) * aspect,
            j - (rows - 1) / 2 + dice.u() * 2 * jitter - jitter,
        )
        for i, j in chosen
    ]
    a, b = a * cell, b * cell
    sx = max(0.0, (w - a * cos - b * sin) / 2)
    sy = max(0.0, (h - a * sin - b * cos) / 2)
    cx = (x0 + x1) / 2 + (dice.u() * 2 - 1) * sx * 0.7
    cy = (y0 + y1) / 2 + (dice.u() * 2 - 1) * sy * 0.7
    return c.local(cx, cy, angle, cell, local), cell * pad, angle


def _centre(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _oval(
    c: Canvas, x: float, y: float, rx: float, ry: float, angle: float
) -> list[Point]:
    ring = [(math.cos(k * math.pi / 16), math.sin(k * math.pi / 16)) for k in range(32)]
    return c.local(x, y, angle, 1, [(rx * p, ry * q) for p, q in ring])


def _house(
    c: Canvas, x: float, y: float, w: float, h: float, angle: float, rgb: RGB,
    height: int = 7,
) -> None:  # fmt: skip
    """Gable roof: one side lit, one in shade, a ridge."""
    c.bar(x, y, angle, w, h, shade(rgb, 80), height)
    half = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, 0), (-w / 2, 0)]
    c.draw.polygon(c.local(x, y, angle, 1, half), shade(rgb, 112))
    c.draw.line(c.local(x, y, angle, 1, [(-w / 2, 0), (w / 2, 0)]), shade(rgb, 128), 2)


def _road(
    c: Canvas, a: Point, b: Point, width: int, slots: bool = True, rgb: RGB = ROAD
) -> None:
    """Straight road with edge lines, centre dashes and places for vehicles."""
    length = math.dist(a, b)
    angle = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
    x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
    c.bar(x, y, angle, length, width + 6, shade(rgb, 140))
    c.bar(x, y, angle, length, width, rgb)
    for u in range(10, int(length) - 6, 26):
        dash = [(u - length / 2, 0), (u - length / 2 + 13, 0)]
        c.draw.line(c.local(x, y, angle, 1, dash), LINE, 2)
        if slots and u % 52 == 10:
            for k in (-1, 1):
                ((px, py),) = c.local(x, y, angle, 1, [(u - length / 2, k * width / 4)])
                c.slots.append((px, py, angle + (0 if k > 0 else 180)))


def _car(
    c: Canvas, x: float, y: float, angle: float, rgb: RGB, truck: bool = False
) -> None:
    w, h = (27, 12) if truck else (17, 10)
    c.bar(x, y, angle, w, h, rgb, 3)
    glass = [(-5, 1 - h / 2), (-2, 1 - h / 2), (-2, h / 2 - 1), (-5, h / 2 - 1)]
    dx = 13 if truck else 5
    c.draw.polygon(
        c.local(x, y, angle, 1, [(p + dx, q) for p, q in glass]), (40, 46, 58)
    )


def _boat(
    c: Canvas, x: float, y: float, angle: float, rgb: RGB, size: float = 1
) -> None:
    hull = [(-12, -5), (6, -5), (14, 0), (6, 5), (-12, 5)]
    c.draw.polygon(
        c.local(x, y, angle, size * 1.3, [(-15, -5), (-24, 0), (-15, 5)]),
        (225, 236, 240, 90),
    )
    c.solid(c.local(x, y, angle, size, hull), rgb, 2)
    deck = [(-8, -2.5), (2, -2.5), (2, 2.5), (-8, 2.5)]
    c.draw.polygon(c.local(x, y, angle, size, deck), shade(rgb, 62))
    c.claim(x - 14 * size, y - 14 * size, x + 14 * size, y + 14 * size)


# ---- main objects -----------------------------------------------------------------


def _airport(c: Canvas, s: Scene) -> None:
    x0, y0, x1, y1 = c.core
    if c.dice.chance(0.5):
        y = y0 + 26 if c.dice.chance(0.5) else y1 - 26
        ends, rest = (
            ((x0, y), (x1, y)),
            ((x0, y0 + 56, x1, y1) if y < (y0 + y1) / 2 else (x0, y0, x1, y1 - 56)),
        )
    else:
        x = x0 + 26 if c.dice.chance(0.5) else x1 - 26
        ends, rest = (
            ((x, y0), (x, y1)),
            ((x0 + 56, y0, x1, y1) if x < (x0 + x1) / 2 else (x0, y0, x1 - 56, y1)),
        )
    _road(c, *ends, 40, slots=False, rgb=(66, 68, 74))
    (ax, ay), (bx, by) = ends
    for k in (-14, -8, -2, 4, 10):  # threshold marks at both ends
        for x, y, d in ((ax, ay, 1), (bx, by, -1)):
            if ay == by:
                c.draw.rectangle(
                    sorted_box(x + 6 * d, y + k, x + 22 * d, y + k + 3), LINE
                )
            else:
                c.draw.rectangle(
                    sorted_box(x + k, y + 6 * d, x + k + 3, y + 22 * d), LINE
                )
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, rest, most=84)
    body = [
        (-0.5, -0.03), (-0.42, -0.07), (-0.1, -0.08), (0.08, -0.5), (0.18, -0.5),
        (0.12, -0.08), (0.36, -0.07), (0.4, -0.22), (0.48, -0.22), (0.46, 0),
        (0.48, 0.22), (0.4, 0.22), (0.36, 0.07), (0.12, 0.08), (0.18, 0.5),
        (0.08, 0.5), (-0.1, 0.08), (-0.42, 0.07), (-0.5, 0.03),
    ]  # fmt: skip
    rgb = c.tone(str(s.colour))
    for x, y in pts:  # one apron under each, so that they join
        c.bar(x, y, angle, cell * 1.16, cell * 1.16, (112, 114, 118))
    for x, y in pts:
        turn = angle + (90 if s.layout != "scattered" else c.dice.between(0, 359))
        c.solid(c.local(x, y, turn, cell, body), rgb, 5)
        c.count("main")


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
    """Return a box with its corners in Pillow's order."""
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _baseball(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    most = {"large": 230, "small": 104}.get(str(s.size), 140)
    pts, cell, angle = _places(
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
        c.draw.polygon(c.local(x, y, turn, cell, mow), (88, 150, 70))
        dirt = [(-0.39, -0.39), (0.1, -0.39), (0.06, 0.06), (-0.39, 0.1)]
        c.draw.polygon(c.local(x, y, turn, cell, dirt), (196, 140, 92))
        inner = [(-0.28, -0.28), (-0.02, -0.28), (-0.02, -0.02), (-0.28, -0.02)]
        c.draw.polygon(c.local(x, y, turn, cell, inner), (96, 156, 76))
        for line in ([(-0.39, -0.39), (0.5, -0.39)], [(-0.39, -0.39), (-0.39, 0.5)]):
            c.draw.line(c.local(x, y, turn, cell, line), (245, 245, 240), 2)
        c.count("main")


def _shore(
    c: Canvas, side: str, depth: float, swing: float, fixed: bool = False
) -> list[Point]:
    """Return the polygon between an image edge and a wavy line `depth` inside."""
    if fixed:  # lines that follow each other
        k, phase = c.sun[0] * 1.25, c.sun[1] * 1.3
    else:
        k, phase = 2 + c.dice.u() * 2, c.dice.u() * 6.28
    line = [
        (u * FULL / 24, depth + swing * math.sin(phase + k * u / 24 * 6.28))
        for u in range(-1, 26)
    ]
    return [_edge(side, u, v) for u, v in [(-40, -40), *line, (FULL + 40, -40)]]


def _edge(side: str, u: float, v: float) -> Point:
    """Map (along the edge, inward) to pixels."""
    return {
        "top": (u, v),
        "bottom": (u, FULL - v),
        "left": (v, u),
        "right": (FULL - v, u),
    }[side]


def _beach(c: Canvas, s: Scene) -> None:
    side = next(side for kind, side in s.context if kind == "sea")
    c.fill("sand", None)
    depth = 150 + c.dice.between(0, 30)
    for extra, rgb in ((16, (202, 178, 128)), (7, (236, 240, 238))):
        c.draw.polygon(_shore(c, side, depth + extra, 11, fixed=True), rgb)
    line = _shore(c, side, depth, 11, fixed=True)
    c.water(f"water {s.colour}", c.mask(lambda d: d.polygon(line, 255)), None)
    for less in (40, 90):
        deep = _shore(c, side, depth - less, 11, fixed=True)
        c.draw.polygon(deep, (8, 24, 60, 38))
    c.count("sea")


def _bridge(c: Canvas, s: Scene) -> None:
    cx, cy = _centre(c.box)
    across = c.dice.chance(0.5)
    half = 58
    river = (
        [(-9, cy - half), (FULL + 9, cy - half), (FULL + 9, cy + half), (-9, cy + half)]
        if across
        else [
            (cx - half, -9),
            (cx + half, -9),
            (cx + half, FULL + 9),
            (cx - half, FULL + 9),
        ]
    )
    c.water(
        f"water {c.dice.pick(('blue', 'green'))}",
        c.mask(lambda d: d.polygon(river, 255)),
        SHORE,
    )
    n = s.count or 0
    for k in range(n):
        off = 0 if n == 1 else (k - 0.5) * 124
        off += c.dice.between(-14, 14)
        if across:
            ends = ((cx + off, -6), (cx + off, FULL + 6))
            deck = (cx + off, cy, 90)
        else:
            ends = ((-6, cy + off), (FULL + 6, cy + off))
            deck = (cx, cy + off, 0)
        _road(c, *ends, 32, slots=False)
        rgb = c.tone(str(s.colour))
        c.bar(*deck, 2 * half + 30, 46, rgb, 6)
        c.bar(*deck, 2 * half + 30, 28, shade(rgb, 84))
        for t in range(-half, half + 1, 29):
            rib = [(t, -23), (t, 23)]
            c.draw.line(c.local(*deck, 1, rib), shade(rgb, 66), 2)
        x, y, a = deck
        for t in (-54, -18, 18, 54):
            for v in (-8, 8):
                ((px, py),) = c.local(x, y, a, 1, [(t + v, v)])
                c.slots.append((px, py, a + (0 if v > 0 else 180)))
        near = (x - 30, 0, x + 30, FULL) if across else (0, y - 30, FULL, y + 30)
        ImageDraw.Draw(c.wet).rectangle([int(v // 4) for v in near], 0)
        c.count("main")


def _church(c: Canvas, s: Scene) -> None:
    most = 200 if s.size == "large" else 100
    ((x, y),), r, angle = _places(c, 1, None, c.core, most=most)
    c.bar(x, y, angle, r * 1.08, r * 0.9, (186, 180, 166))
    rgb = c.tone(str(s.colour))
    _house(c, x, y, r * 0.98, r * 0.34, angle, rgb, 9)
    ((tx, ty),) = c.local(x, y, angle, r, [(0.14, 0)])
    _house(c, tx, ty, r * 0.78, r * 0.26, angle + 90, rgb, 0)
    ((px, py),) = c.local(x, y, angle, r, [(-0.38, 0)])
    c.bar(px, py, angle, r * 0.24, r * 0.24, (226, 222, 212), int(r * 0.2))
    c.bar(px, py, angle + 45, r * 0.13, r * 0.13, shade(rgb, 70))


def _dense(c: Canvas, s: Scene) -> None:
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
        _road(c, at(0, v), at(w, v), 20)
    for u in columns:
        u = min(max(u, 12), w - 12)
        _road(c, at(u, 0), at(u, h), 20)
    spans = list(zip(columns, columns[1:], strict=False)) or [(0, w)]
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
        _house(c, x, y, 24, min(19, pitch * 0.24), 90 if flip else 0, tint, 4)
    c.slots = [p for p in c.slots if 24 < p[0] < FULL - 24 and 24 < p[1] < FULL - 24]


def _desert(c: Canvas, s: Scene) -> None:
    c.fill(f"{s.layout} {s.colour}", None)
    if s.layout == "dunes":  # a few great crests over the fine ripples
        lit = c.dice.u() * 6.28
        for k in range(3):
            base = 50 + k * 120 + c.dice.between(-20, 20)
            line = [
                (u * 16, base + 24 * math.sin(lit + k + u * 0.35))
                for u in range(-1, 26)
            ]
            low = [(x, y + 34) for x, y in reversed(line)]
            c.draw.polygon(line + low, (70, 40, 20, 46))
            c.draw.line(line, (255, 246, 224, 150), 4)


def _farmland(c: Canvas, s: Scene) -> None:
    crop = f"crop {s.colour}"
    if s.layout == "circles":
        c.fill("drygrass" if s.colour != "yellow" else "soil", None)
        x0, y0, x1, y1 = c.box
        n = 3 if c.dice.chance(0.5) else 2
        w, h = (x1 - x0) / n, (y1 - y0) / n
        r = min(w, h) / 2 - 5
        for i in range(n):
            for j in range(n):
                x, y = x0 + (i + 0.5) * w, y0 + (j + 0.5) * h
                disc = (x - r, y - r, x + r, y + r)
                c.fill(crop, c.mask(lambda d, b=disc: d.ellipse(b, 255)))
                c.draw.ellipse(disc, (0, 0, 0, c.dice.between(0, 40)))
                arm = c.dice.u() * 6.28
                tip = (x + r * math.cos(arm), y + r * math.sin(arm))
                c.draw.line([(x, y), tip], (230, 226, 210), 2)
        return
    c.fill(crop, None)
    angle = c.dice.between(-14, 14) + (90 if c.dice.chance(0.5) else 0)
    mid = FULL / 2
    if s.layout == "strips":
        cuts, length = [c.dice.between(24, 50) for _ in range(20)], FULL * 1.6
        v = -FULL * 0.7
        for cut in cuts:
            strip = [
                (-length / 2, v), (length / 2, v), (length / 2, v + cut), (-length / 2, v + cut),
            ]  # fmt: skip
            tint = c.dice.pick(((255, 255, 230, 46), (20, 24, 0, 54), (0, 0, 0, 10)))
            c.draw.polygon(c.local(mid, mid, angle, 1, strip), tint)
            edge = c.local(mid, mid, angle, 1, strip[:2])
            c.draw.line(edge, (92, 84, 60, 190), 3)
            v += cut
        return
    size = 86
    for i in range(-4, 4):
        for j in range(-4, 4):
            x, y = i * size + c.dice.between(-6, 6) * 0, j * size + (i % 2) * 40
            patch = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
            pts = c.local(mid, mid, angle, 1, patch)
            if all(-10 < p[0] < FULL + 10 and -10 < p[1] < FULL + 10 for p in pts):
                if c.dice.chance(0.4):
                    c.fill(crop, pts)
            tint = c.dice.pick(((255, 255, 230, 60), (20, 24, 0, 66), (0, 0, 0, 14)))
            c.draw.polygon(pts, tint)
            c.draw.line([*pts, pts[0]], (92, 84, 60, 220), 4)


def _tree(c: Canvas, x: float, y: float, r: int, rgb: RGB) -> None:
    x, y = int(x), int(y)
    sx, sy = c.sun
    c.draw.ellipse(
        (x - r + 4 * sx, y - r + 4 * sy, x + r + 4 * sx, y + r + 4 * sy),
        (8, 16, 22, 120),
    )
    c.draw.ellipse((x - r, y - r, x + r, y + r), shade(rgb, 70))
    k = r * 2 // 3
    x, y = x - sx * r // 4, y - sy * r // 4
    c.draw.ellipse((x - k, y - k, x + k, y + k), rgb)


def _forest(c: Canvas, s: Scene) -> None:
    canopy = f"trees {s.colour}"
    if s.layout == "sparse":
        c.fill("grass" if s.style == "temperate" else "drygrass", None)
        rgb = (58, 104, 50) if s.colour == "green" else (190, 146, 52)
        for i in range(8):
            for j in range(8):
                if c.dice.chance(0.22):
                    continue
                x = 24 + i * 48 + c.dice.between(-13, 13)
                y = 24 + j * 48 + c.dice.between(-13, 13)
                _tree(
                    c, x, y, c.dice.between(11, 16), shade(rgb, c.dice.between(84, 116))
                )
                c.claim(x - 14, y - 14, x + 14, y + 14)
        return
    c.fill(canopy, None)
    x, y = _centre(c.box)
    if s.layout == "clearing":
        r = 62 + c.dice.between(0, 12)
        blob = [
            (
                x + (r + 9 * math.sin(3 * k + x)) * math.cos(k * math.pi / 12),
                y + (r + 9 * math.sin(2 * k)) * math.sin(k * math.pi / 12),
            )
            for k in range(24)
        ]
        c.fill("soil" if c.dice.chance(0.4) else "drygrass", blob)
    elif s.layout == "path":
        line = _course(c, winding=True)
        c.draw.line(line, (120, 96, 66), 24, joint="curve")
        c.draw.line(line, (214, 190, 146), 17, joint="curve")
        for px, py in line:
            c.claim(px - 20, py - 20, px + 20, py + 20)


def _course(c: Canvas, winding: bool) -> list[Point]:
    """Return a line across the whole image, through the middle of the box."""
    x, y = _centre(c.box)
    across = c.dice.chance(0.5)
    x0, y0, x1, y1 = c.box
    across = x1 - x0 >= y1 - y0 if abs((x1 - x0) - (y1 - y0)) > 40 else across
    swing = 36 if winding else 0
    slope = 0 if winding else c.dice.between(-14, 14) / 100
    phase, k = c.dice.u() * 6.28, 1.2 + 0.5 * c.dice.u()
    line = []
    for u in range(-24, FULL + 25, 12):
        v = swing * math.sin(phase + k * u / FULL * 6.28) + slope * (u - FULL / 2)
        line.append((u, round(y + v)) if across else (round(x + v), u))
    return line


def _golf(c: Canvas, s: Scene) -> None:
    c.fill("grass", None)
    c.draw.rectangle((0, 0, FULL, FULL), (20, 60, 10, 60))
    x0, y0, x1, y1 = c.box
    for _ in range(3):
        a = (c.dice.between(x0 + 20, x1 - 20), c.dice.between(y0 + 20, y1 - 20))
        b = (c.dice.between(x0 + 20, x1 - 20), c.dice.between(y0 + 20, y1 - 20))
        m = ((a[0] + b[0]) // 2 + 30, (a[1] + b[1]) // 2 - 24)
        for width, rgb in ((62, (98, 158, 70)), (48, (122, 184, 86))):
            c.draw.line([a, m, b], rgb, width, joint="curve")
            for px, py in (a, m, b):
                r = width // 2
                c.draw.ellipse((px - r, py - r, px + r, py + r), rgb)
    n = s.count or 0
    pts, cell, _ = _places(c, n, "scattered" if n > 2 else None, c.core, most=78)
    for k, (x, y) in enumerate(pts):
        r = min(cell * 0.36, 25)
        if k == 0:
            c.draw.ellipse(
                (x - r - 15, y - r - 15, x + r + 15, y + r + 15), (150, 212, 108)
            )
        parts = ((0, 0, r), (r * 0.6, r * 0.3, r * 0.6), (-r * 0.5, r * 0.4, r * 0.6))
        for grow, rgb in ((3, (84, 128, 58)), (0, (240, 224, 182))):
            for dx, dy, q in parts:
                q += grow
                c.draw.ellipse((x + dx - q, y + dy - q, x + dx + q, y + dy + q), rgb)
        c.claim(x - 1.3 * r, y - 1.1 * r, x + 1.3 * r, y + 1.1 * r)
        c.count("main")


def _harbor(c: Canvas, s: Scene) -> None:
    everything = c.mask(lambda d: d.rectangle((0, 0, FULL, FULL), 255))
    c.water("water blue" if s.style == "coastal" else "water green", everything, None)
    x0, y0, x1, y1 = c.box
    side = c.dice.pick(("left", "right", "top", "bottom"))
    t = 66
    quay = {
        "left": (x0, y0, x0 + t, y1),
        "right": (x1 - t, y0, x1, y1),
        "top": (x0, y0, x1, y0 + t),
        "bottom": (x0, y1 - t, x1, y1),
    }[side]
    qx0, qy0, qx1, qy1 = quay
    c.claim(*quay, value=0)
    c.draw.rectangle((qx0 - 4, qy0 - 4, qx1 + 4, qy1 + 4), (88, 84, 78))
    c.fill("pavement", [(qx0, qy0), (qx1, qy0), (qx1, qy1), (qx0, qy1)])
    basin = {
        "left": (x0 + t, y0, x1, y1),
        "right": (x0, y0, x1 - t, y1),
        "top": (x0, y0 + t, x1, y1),
        "bottom": (x0, y0, x1, y1 - t),
    }[side]
    bx, by = _centre(basin)
    n, rgb = s.count or 0, str(s.colour)
    if s.layout == "row":  # moored along one pier that leaves the quay
        flat = side in ("left", "right")
        length = basin[2] - basin[0] if flat else basin[3] - basin[1]
        c.bar(bx, by, 0 if flat else 90, length, 14, (176, 160, 132), 4)
        step = (length - 12) / n
        size = min(1.9, step / 18, 2.2)
        for k in range(n):
            u = -length / 2 + 10 + (k + 0.5) * step
            ((x, y),) = c.local(bx, by, 0 if flat else 90, 1, [(u, 12 + 14 * size)])
            _boat(c, x, y, (90 if flat else 180), c.tone(rgb), size)
            c.count("main")
        return
    inner = (basin[0] + 6, basin[1] + 6, basin[2] - 6, basin[3] - 6)
    pts, cell, _ = _places(c, n, "scattered" if n > 2 else None, inner, most=90)
    for x, y in pts:
        _boat(c, x, y, c.dice.between(0, 359), c.tone(rgb), min(2.1, cell / 32))
        c.count("main")


def _industrial(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, c.core, aspect=1.5, most=150)
    for x, y in pts:
        c.bar(x, y, angle, cell * 1.5 * 1.08, cell * 1.06, (150, 148, 146))
    for x, y in pts:
        rgb = c.tone(str(s.colour))
        w, h = cell * 1.42, cell * 0.84
        c.bar(x, y, angle, w, h, rgb, 9)
        for k in range(1, 6):  # roof ribs
            rib = [(w * (k / 6 - 0.5), -h / 2), (w * (k / 6 - 0.5), h / 2)]
            c.draw.line(c.local(x, y, angle, 1, rib), shade(rgb, 84), 2)
        lower = [(-w / 2, 0), (w / 2, 0), (w / 2, h / 2), (-w / 2, h / 2)]
        c.draw.polygon(c.local(x, y, angle, 1, lower), (0, 0, 20, 34))
        c.count("main")


def _intersection(c: Canvas, s: Scene) -> None:
    x, y = _centre(c.box)
    width = 66 if s.size == "wide" else 32
    gap = width / 2 + 14
    ends = [(x, -6.0), (x, FULL + 6.0), (-6.0, y), (FULL + 6.0, y)]
    if s.layout == "tee":
        ends.pop(c.dice.between(0, 3))
    for ex, ey in ends:
        _road(c, (x, y), (ex, ey), width)
    if s.layout == "roundabout":
        r = 46 + width / 2
        c.draw.ellipse((x - r - 4, y - r - 4, x + r + 4, y + r + 4), shade(ROAD, 140))
        c.draw.ellipse((x - r, y - r, x + r, y + r), ROAD)
        q = r - width * 0.8
        c.draw.ellipse((x - q - 3, y - q - 3, x + q + 3, y + q + 3), LINE)
        c.draw.ellipse((x - q, y - q, x + q, y + q), (98, 146, 70))
        c.draw.ellipse((x - q / 2, y - q / 2, x + q / 2, y + q / 2), (70, 116, 54))
        gap = r + 12
        c.claim(x - r, y - r, x + r, y + r)
    else:
        k = width / 2
        c.draw.rectangle((x - k, y - k, x + k, y + k), ROAD)
        for dx, dy in ((0, -1), (0, 1), (-1, 0), (1, 0)):
            leg = any((ex - x) * dx + (ey - y) * dy > 60 for ex, ey in ends)
            for t in range(-int(k) + 4, int(k) - 3, 8) if leg else ():
                p, q = x + dx * (k + 7) + dy * t, y + dy * (k + 7) + dx * t
                a, b = (5, 2) if dx else (2, 5)
                c.draw.rectangle((p - a, q - b, p + a, q + b), LINE)
    x0, y0, x1, y1 = c.box
    c.slots = [
        (p, q, a)
        for p, q, a in c.slots
        if max(abs(p - x), abs(q - y)) > gap
        and x0 + 18 < p < x1 - 18
        and y0 + 18 < q < y1 - 18
    ]


def _parking(c: Canvas, s: Scene) -> None:
    x0, y0, x1, y1 = c.core
    x0, y0, x1, y1 = x0 + 14, y0 + 14, x1 - 14, y1 - 14
    c.fill("asphalt", [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    c.claim(x0 - 6, y0 - 6, x1 + 6, y1 + 6)
    c.draw.line([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], (206, 204, 198), 4)
    step, row = (x1 - x0 - 10) / 10, (y1 - y0) / 3
    spots = []
    for j in range(3):
        y = y0 + (j + 0.5) * row
        for k in range(11):
            x = x0 + 5 + k * step
            c.draw.line([(x, y - 17), (x, y + 17)], LINE, 2)
            if k < 10:
                spots.append((x + step / 2, y))
        c.draw.line([(x0 + 5, y + 17), (x1 - 5, y + 17)], LINE, 2)
    for x, y in c.dice.shuffled(spots)[: s.count]:
        rgb = c.dice.pick(("white", "red", "blue", "black", "gray"))
        w, h = min(step * 0.66, 15), 27
        c.bar(x, y, 0, w, h, c.tone(rgb), 2)
        c.draw.rectangle((x - w / 3, y - 8, x + w / 3, y - 4), (40, 46, 58))
        c.count("main")


def _pond(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    most = {"large": 200, "small": 80}.get(str(s.size), 116)
    pts, cell, angle = _places(c, n, None, c.core, most=most)
    for x, y in pts:
        r = cell * 0.47
        if s.layout == "round":
            shape = _oval(c, x, y, r, r, 0)
        elif s.layout == "rectangular":
            box = [(-r, -r * 0.72), (r, -r * 0.72), (r, r * 0.72), (-r, r * 0.72)]
            shape = c.local(x, y, angle, 1, box)
        else:
            a, b = c.dice.u() * 6, c.dice.u() * 6
            shape = []
            for k in range(36):
                t = k * math.pi / 18
                q = r * (0.74 + 0.17 * math.sin(2 * t + a) + 0.11 * math.sin(3 * t + b))
                shape.append((x + q * math.cos(t), y + q * math.sin(t)))
        mask = c.mask(lambda d, p=shape: d.polygon(p, 255))
        c.water(f"water {s.colour}", mask, SHORE)
        c.count("main")


def _station(c: Canvas, s: Scene) -> None:
    x0, y0, x1, y1 = c.core
    flip = c.dice.chance(0.5)
    lo, hi = (x0, x1) if flip else (y0, y1)
    n = s.count or 0
    pitch = min(24.0, (hi - lo - 80) / n)
    first = c.dice.chance(0.5)
    span = n * pitch
    hall = lo + 26 if first else hi - 26
    start = (
        lo + 74 + (hi - lo - 76 - span) / 2 if first else lo + (hi - lo - 76 - span) / 2
    )

    def bar(
        v: float, u: float, length: float, thick: float, rgb: RGB, z: int = 0
    ) -> None:
        c.bar(*((v, u) if flip else (u, v)), 90 if flip else 0, length, thick, rgb, z)

    mid = (y0 + y1) / 2 if flip else (x0 + x1) / 2
    for k in range(n):
        v = start + (k + 0.5) * pitch
        bar(v, FULL / 2, FULL + 10, pitch * 0.72, (88, 76, 68))
        for u in range(2, FULL, 9):  # sleepers
            p, q = (v, u) if flip else (u, v)
            a, b = (7, 1) if flip else (1, 7)
            c.draw.rectangle((p - a, q - b, p + a, q + b), (62, 52, 46))
        for rail in (-4, 4):
            bar(v + rail, FULL / 2, FULL + 10, 2, (214, 212, 210))
        c.count("main")
    platform = start - 8 if first else start + span + 8
    length = 150
    bar(platform, mid, length, 12, (206, 202, 192), 2)
    rgb = c.tone(str(s.colour))
    _house(
        c, *((hall, mid) if flip else (mid, hall)), 132, 40, 90 if flip else 0, rgb, 8
    )


def _river(c: Canvas, s: Scene) -> None:
    line = _course(c, s.layout == "winding")
    width = 96 if s.size == "wide" else 38
    mask = c.mask(lambda d: d.line(line, 255, width, joint="curve"))
    c.water(f"water {s.colour}", mask, SHORE)


def _school(c: Canvas, s: Scene) -> None:
    x0, y0, x1, y1 = c.core
    if x1 - x0 >= y1 - y0:
        cut = (x0 + x1) // 2
        halves = [(x0, y0, cut, y1), (cut, y0, x1, y1)]
    else:
        cut = (y0 + y1) // 2
        halves = [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    field, yard = c.dice.shuffled(halves)
    ((x, y),), r, angle = _places(c, 1, None, field, aspect=1.6, most=150)
    rx, ry = r * 0.82, r * 0.5
    for k, rgb in ((1.0, (186, 84, 62)), (0.86, (216, 190, 178)), (0.82, (186, 84, 62)),
                   (0.66, (92, 156, 72))):  # fmt: skip
        oval = _oval(c, x, y, rx * k, ry * k, angle)
        (c.solid if k == 1.0 else c.draw.polygon)(oval, rgb)
    c.draw.line(c.local(x, y, angle, 1, [(0, -ry * 0.6), (0, ry * 0.6)]), LINE, 2)
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, yard, most=112)
    for x, y in pts:
        rgb = c.tone(str(s.colour))
        w = cell * 0.96
        _house(c, x, y, w, w * 0.4, angle + 90, rgb, 7)
        ((ex, ey),) = c.local(x, y, angle + 90, w, [(0.33, 0.22)])
        _house(c, ex, ey, w * 0.52, w * 0.32, angle, rgb, 0)
        c.count("main")


def _solar(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, c.core, aspect=1.35, most=150)
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
            c.draw.line(c.local(px, py, angle, 1, edge), shade(base, 190), 2)
        for k in range(1, 6):
            u = w * (k / 6 - 0.5)
            seam = c.local(x, y, angle, 1, [(u, -h / 2), (u, h / 2)])
            c.draw.line(seam, (150, 160, 180, 120), 1)
        c.count("main")


def _sparse(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, c.core, most=86)
    for x, y in pts:
        turn = angle + (c.dice.between(-30, 30) if s.layout == "scattered" else 0)
        rgb = c.tone(str(s.colour))
        c.bar(x, y, turn, cell * 0.94, cell * 0.84, (188, 176, 148))
        _house(c, x, y, cell * 0.74, cell * 0.52, turn, rgb, 8)
        ((ex, ey),) = c.local(x, y, turn, cell, [(0.2, 0.2)])
        _house(c, ex, ey, cell * 0.44, cell * 0.26, turn + 90, rgb, 0)
        c.count("main")


def _stadium(c: Canvas, s: Scene) -> None:
    most = 205 if s.size == "large" else 104
    ((x, y),), r, angle = _places(c, 1, None, c.core, aspect=1.0, most=most)
    rx = r * 0.5
    ry = {"round": rx, "oval": rx * 0.72}.get(str(s.layout), rx * 0.76)
    rgb = c.tone(str(s.colour))

    def shape(k: float, q: float) -> list[Point]:
        a, b = rx * k, ry * q
        if s.layout != "rectangular":
            return _oval(c, x, y, a, b, angle)
        return c.local(x, y, angle, 1, [(-a, -b), (a, -b), (a, b), (-a, b)])

    c.solid(shape(1.08, 1.1), (172, 170, 166))
    c.solid(shape(1, 1), shade(rgb, 74), 12)
    for k, light in ((0.95, 104), (0.82, 88), (0.78, 110), (0.66, 84)):
        c.draw.polygon(shape(k, k), shade(rgb, light))
    for k in range(0, 24):  # aisles
        t = k * math.pi / 12
        aisle = [(rx * m * math.cos(t), ry * m * math.sin(t)) for m in (0.62, 0.93)]
        c.draw.line(c.local(x, y, angle, 1, aisle), shade(rgb, 66), 2)
    c.draw.polygon(shape(0.58, 0.54), (84, 150, 66))
    for k in (-0.36, 0, 0.36):
        line = [(rx * k, -ry * 0.4), (rx * k, ry * 0.4)]
        c.draw.line(c.local(x, y, angle, 1, line), LINE, 2)


def _tanks(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, _ = _places(c, n, s.layout, c.core, most=96)
    rgb = c.tone(str(s.colour))
    sx, sy = c.sun
    for x, y in pts:
        r = cell * 0.44
        for k, alpha in ((r * 0.36, 70), (r * 0.22, 70)):
            a, b = x + sx * k, y + sy * k
            c.draw.ellipse((a - r, b - r, a + r, b + r), (10, 14, 30, alpha))
        c.solid(_oval(c, x, y, r, r, 0), shade(rgb, 76))
        for q, light in ((0.9, 98), (0.6, 106), (0.54, 96)):
            k, o = r * q, r * (1 - q) * 0.3
            a, b = x - sx * o, y - sy * o
            c.draw.ellipse((a - k, b - k, a + k, b + k), shade(rgb, light))
        c.draw.line([(x, y), (x + r * 0.9, y)], shade(rgb, 60), 2)
        c.count("main")


def _tennis(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, angle = _places(c, n, s.layout, c.core, aspect=0.62, most=150)
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
            c.draw.line(c.local(x, y, angle, 1, line), (246, 246, 242), 2)
        net = c.local(x, y, angle, 1, [(-a * 1.3, 0), (a * 1.3, 0)])
        c.draw.line(net, (30, 34, 40), 3)
        c.count("main")


def _wind(c: Canvas, s: Scene) -> None:
    n = s.count or 0
    pts, cell, _ = _places(c, n, s.layout, c.core, most=112)
    sx, sy = c.sun
    for x, y in pts:
        r = cell * 0.46
        c.draw.ellipse((x - 13, y - 13, x + 13, y + 13), (196, 188, 172))
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
            c.draw.ellipse((x + dx - 6, y + dy - 6, x + dx + 6, y + dy + 6), rgb)
        c.draw.line(
            [(x, y), (x + sx * r * 0.3, y + sy * r * 0.3)], (16, 20, 34, 150), 6
        )
        c.draw.ellipse((x - 6, y - 6, x + 6, y + 6), (250, 250, 250))
        c.claim(x - r, y - r, x + r, y + r)
        c.count("main")


_PAINTERS: Mapping[str, Callable[[Canvas, Scene], None]] = MappingProxyType(
    {
        "airport": _airport, "baseball field": _baseball, "beach": _beach,
        "bridge": _bridge, "church": _church, "dense residential area": _dense,
        "desert": _desert, "farmland": _farmland, "forest": _forest,
        "golf course": _golf, "harbor": _harbor, "industrial area": _industrial,
        "intersection": _intersection, "parking lot": _parking, "pond": _pond,
        "railway station": _station, "river": _river, "school": _school,
        "solar farm": _solar, "sparse residential area": _sparse,
        "stadium": _stadium, "storage tank": _tanks, "tennis court": _tennis,
        "wind farm": _wind,
    }
)  # fmt: skip


def _wear(c: Canvas) -> None:
    """Distractors that no caption names: worn patches and a faint trail."""
    for _ in range(c.dice.between(2, 5)):
        x, y = c.dice.between(0, FULL), c.dice.between(0, FULL)
        tint = c.dice.pick(((60, 44, 20), (255, 246, 210), (20, 34, 14)))
        for r in (c.dice.between(26, 70), c.dice.between(14, 40)):
            blob = _oval(c, x, y, r, r * (0.5 + c.dice.u() / 2), c.dice.between(0, 179))
            c.draw.polygon(blob, (*tint, 20))
    if c.dice.chance(0.5):
        a, b = (
            _edge("left", c.dice.between(0, FULL), 0),
            _edge("top", c.dice.between(0, FULL), FULL),
        )
        bend = (c.dice.between(60, 320), c.dice.between(60, 320))
        c.draw.line([a, bend, b], (70, 54, 30, 44), 6, joint="curve")


# ---- context bands ----------------------------------------------------------------


def _band(c: Canvas, s: Scene, kind: str, side: str, t: int) -> None:
    """Draw one context band of thickness `t` along a side."""
    strip = [
        _edge(side, u, v) for u, v in ((-9, -9), (FULL + 9, -9), (FULL + 9, t), (-9, t))
    ]
    a, b = _edge(side, -6, t / 2), _edge(side, FULL + 6, t / 2)
    angle = 0 if side in ("top", "bottom") else 90
    if kind == "road":
        verge = "drygrass" if s.style == "arid" else "grass"
        c.fill(verge, strip)
        _road(c, a, b, 34)
    elif kind == "railway":
        c.fill("soil", strip)
        c.bar(*_edge(side, FULL / 2, t / 2), angle, FULL + 12, 34, (120, 110, 100))
        for off in (-9, 9):
            x, y = _edge(side, FULL / 2, t / 2 + off)
            for u in range(0, FULL, 9):
                c.bar(*_edge(side, u, t / 2 + off), angle, 3, 14, (66, 54, 48))
            for rail in (-4, 4):
                px, py = _edge(side, FULL / 2, t / 2 + off + rail)
                c.bar(px, py, angle, FULL + 12, 2, (222, 220, 216))
    elif kind in ("river", "sea"):
        # a river has a far bank inside the frame, the sea has none and a beach line
        shape = _shore(c, side, t - 7, 5)
        c.draw.polygon(
            _shore(c, side, t, 3), SHORE if kind == "river" else (232, 220, 184)
        )
        mask = c.mask(lambda d: d.polygon(shape, 255))
        c.water("water green" if kind == "river" else "water blue", mask, None)
        if kind == "river":
            far = _shore(c, side, 15, 4)
            c.draw.polygon(far, SHORE)
            c.fill("grass", c.mask(lambda d: d.polygon(_inset(far, side), 255)))
        else:
            c.draw.line(shape[1:-1], (240, 246, 246), 3)
            c.draw.polygon(_shore(c, side, t // 2, 4), (8, 24, 60, 50))
    elif kind == "woods":
        edge = [*strip[:2]]
        for u in range(FULL + 10, -20, -14):
            edge.append(_edge(side, u, t - 5 + c.dice.between(-5, 5)))
        sx, sy = c.sun
        c.draw.polygon([(x + 5 * sx, y + 5 * sy) for x, y in edge], (8, 16, 22, 90))
        c.fill("trees green", edge)
        for u in range(0, FULL + 10, 17):
            x, y = _edge(side, u, t - 9 + c.dice.between(-3, 3))
            rgb = shade((58, 100, 52), c.dice.between(84, 118))
            _tree(c, x, y, c.dice.between(8, 11), rgb)
    elif kind == "fields":
        u = -20
        while u < FULL + 20:
            step = c.dice.between(44, 92)
            crop = c.dice.pick(
                ("crop green", "crop yellow", "crop brown", "crop green")
            )
            patch = [
                _edge(side, p, q)
                for p, q in ((u, -9), (u + step, -9), (u + step, t), (u, t))
            ]
            c.fill(crop, patch)
            c.draw.line([*patch, patch[0]], (98, 88, 62), 4)
            u += step
    elif kind == "houses":
        c.fill("drygrass" if s.style == "arid" else "grass", strip)
        c.draw.line(
            [_edge(side, 0, t - 2), _edge(side, FULL, t - 2)], (150, 146, 140), 5
        )
        roof = c.dice.pick(("red", "brown", "gray"))
        for u in range(20, FULL, 40):
            x, y = _edge(side, u + c.dice.between(-3, 3), t / 2 - 4)
            tint = shade(COLOURS[roof], c.dice.between(86, 112))
            _house(c, x, y, 30, 25, angle, tint, 5)
    c.count(f"{kind} {side}")


def _inset(polygon: list[Point], side: str) -> list[Point]:
    dx, dy = {"left": (-4, 0), "right": (4, 0), "top": (0, -4), "bottom": (0, 4)}[side]
    return [(x + dx, y + dy) for x, y in polygon]


# ---- small objects ----------------------------------------------------------------


def _small(c: Canvas, group: Small) -> None:
    kind, rgb = group.kind, group.colour
    if kind in ("cars", "trucks"):
        _vehicles(c, group)
        return
    w = {"trees": 20, "pools": 26, "sheds": 22, "boats": 30, "umbrellas": 18}[kind]
    for _ in range(group.count):
        spot = c.find(w, w, wet=kind == "boats")
        if spot is None:
            return
        x, y = spot
        if kind == "trees":
            _tree(c, x, y, 8, shade((52, 98, 46), c.dice.between(88, 112)))
        elif kind == "umbrellas":
            tint = c.tone(rgb)
            c.draw.ellipse((x - 3, y - 3, x + 11, y + 11), (60, 40, 20, 110))
            c.draw.ellipse((x - 7, y - 7, x + 7, y + 7), tint)
            c.draw.pieslice((x - 7, y - 7, x + 7, y + 7), 0, 60, shade(tint, 78))
            c.draw.pieslice((x - 7, y - 7, x + 7, y + 7), 180, 240, shade(tint, 78))
        elif kind == "pools":
            c.bar(x, y, 0, 22, 16, (226, 222, 210))
            c.bar(x, y, 0, 17, 11, (58, 176, 222))
        elif kind == "sheds":
            _house(c, x, y, 16, 13, c.dice.pick((0, 90)), c.tone(rgb), 4)
        else:
            _boat(c, x, y, c.dice.between(0, 359), c.tone(rgb), 0.8)
            ImageDraw.Draw(c.wet).rectangle(
                [int(v // 4) for v in (x - 15, y - 15, x + 15, y + 15)], 0
            )
        c.claim(x - w / 2, y - w / 2, x + w / 2, y + w / 2)
        c.count(kind)


def _vehicles(c: Canvas, group: Small) -> None:
    """Put cars or trucks on road slots, or on a lot of their own."""
    truck, n = group.kind == "trucks", group.count
    if len(c.slots) < n:
        step = 18 if truck else 16
        w, h = n * step + 8, 38 if truck else 28
        angle = 90
        spot = c.find(w + 4, h + 4)
        if spot is None:
            spot, angle = c.find(h + 4, w + 4), 0
        if spot is None:
            return
        x, y = spot
        c.bar(x, y, angle - 90, w, h, (112, 112, 114))
        c.slots = [
            (
                *c.local(x, y, angle - 90, 1, [(4 + (k + 0.5) * step - w / 2, 0)])[0],
                angle,
            )
            for k in range(n)
        ]
    order = c.dice.shuffled(c.slots)
    for x, y, angle in order[:n]:
        _car(c, x, y, angle, c.tone(group.colour), truck)
        c.count(group.kind)
    c.slots = order[n:]


# ---- the whole picture ------------------------------------------------------------

_AREA = ("beach", "dense residential area", "desert", "farmland", "forest", "harbor")
_NO_SPARE = (*_AREA, "bridge", "golf course", "intersection", "river")


def _expected(s: Scene) -> dict[str, int]:
    want: dict[str, int] = {}
    if s.count is not None:
        want["main"] = s.count
    for kind, side in s.context:
        sides = OPPOSITE if side == "around" else (side,)
        for one in sides:
            want["sea" if s.cls == "beach" and kind == "sea" else f"{kind} {one}"] = 1
    for group in s.small:
        want[group.kind] = group.count
    return want


def render(s: Scene) -> Image.Image:
    """Return the scene as a 192x192 RGB image; equal scenes give equal pixels.

    Raises:
        DataError: an object of the graph found no room, so a fact would be false.
    """
    want = _expected(s)
    for attempt in range(6):  # each with thinner bands, so with more room
        c = _compose(s, attempt)
        if c.ledger == want:
            return develop(c, s.seed, s.style, shifted=s.split == "source")
    raise DataError(
        f"scene {s.seed} ({s.cls}): drew {c.ledger}, the graph says {want}. "
        "This is a defect of the renderer; report the seed."
    )


def _compose(s: Scene, attempt: int) -> Canvas:
    c = Canvas(Dice(s.seed, 2 + 8 * attempt))
    bands: list[tuple[str, str]] = []
    for kind, side in s.context:
        if not (s.cls == "beach" and kind == "sea"):
            bands += [
                (kind, one) for one in (OPPOSITE if side == "around" else (side,))
            ]
    t = {side: c.dice.between(60, 68) - 4 * attempt for _, side in bands}
    x0, y0 = t.get("left", 0), t.get("top", 0)
    x1, y1 = FULL - t.get("right", 0), FULL - t.get("bottom", 0)
    c.box = (x0, y0, x1, y1)
    x0, y0, x1, y1 = x0 + 8, y0 + 8, x1 - 8, y1 - 8
    if s.small and s.cls not in _NO_SPARE:  # a margin where small objects find room
        spare = c.dice.pick(("left", "right", "top", "bottom"))
        x0, y0 = x0 + 46 * (spare == "left"), y0 + 46 * (spare == "top")
        x1, y1 = x1 - 46 * (spare == "right"), y1 - 46 * (spare == "bottom")
    c.core = (x0, y0, x1, y1)
    if s.ground:
        dry = s.ground == "grass" and s.style == "arid"
        c.fill("drygrass" if dry else s.ground, None)
        _wear(c)
    _PAINTERS[s.cls](c, s)
    own = len(c.slots)
    for kind, side in bands:
        _band(c, s, kind, side, t[side])
    c.slots = [  # a vehicle where two bands cross would be hidden
        p
        for k, p in enumerate(c.slots)
        if 16 < p[0] < FULL - 16 and 16 < p[1] < FULL - 16
        and sum(_inside(c.box, p)) >= (2 if k < own else 1)
    ]  # fmt: skip
    for group in sorted(s.small, key=lambda g: g.kind not in ("cars", "trucks")):
        _small(c, group)  # lots first: they need the most room
    return c


def _inside(box: Box, p: tuple[float, float, float]) -> tuple[bool, bool]:
    x0, y0, x1, y1 = box
    return x0 + 12 < p[0] < x1 - 12, y0 + 12 < p[1] < y1 - 12
