"""What many classes share: places, roads, roofs, vehicles, trees, shores."""

from __future__ import annotations

import math

from rsnb.world.canvas import FULL, Canvas, Point
from rsnb.world.textures import RGB, shade

__all__ = [
    "boat",
    "car",
    "centre",
    "course",
    "edge",
    "house",
    "oval",
    "places",
    "road",
    "shore",
    "sorted_box",
    "tree",
]

ROAD: RGB = (84, 86, 92)
LINE: RGB = (232, 230, 220)
SHORE: RGB = (196, 184, 146)
Box = tuple[int, int, int, int]


def places(
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


def centre(box: Box) -> Point:
    """Return the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def oval(
    c: Canvas, x: float, y: float, rx: float, ry: float, angle: float
) -> list[Point]:
    """Return an ellipse as a polygon."""
    ring = [(math.cos(k * math.pi / 16), math.sin(k * math.pi / 16)) for k in range(32)]
    return c.local(x, y, angle, 1, [(rx * p, ry * q) for p, q in ring])


def house(
    c: Canvas, x: float, y: float, w: float, h: float, angle: float, rgb: RGB,
    height: int = 7,
) -> None:  # fmt: skip
    """Gable roof: one side lit, one in shade, a ridge."""
    c.bar(x, y, angle, w, h, shade(rgb, 80), height)
    half = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, 0), (-w / 2, 0)]
    c.poly(x, y, angle, 1, half, shade(rgb, 112))
    c.line(x, y, angle, 1, [(-w / 2, 0), (w / 2, 0)], shade(rgb, 128), 2)


def road(
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
        c.line(x, y, angle, 1, dash, LINE, 2)
        if slots and u % 52 == 10:
            for k in (-1, 1):
                ((px, py),) = c.local(x, y, angle, 1, [(u - length / 2, k * width / 4)])
                c.slots.append((px, py, angle + (0 if k > 0 else 180)))


def car(
    c: Canvas, x: float, y: float, angle: float, rgb: RGB, truck: bool = False
) -> None:
    """Draw a car or a truck."""
    w, h = (27, 12) if truck else (17, 10)
    c.bar(x, y, angle, w, h, rgb, 3)
    glass = [(-5, 1 - h / 2), (-2, 1 - h / 2), (-2, h / 2 - 1), (-5, h / 2 - 1)]
    dx = 13 if truck else 5
    c.poly(x, y, angle, 1, [(p + dx, q) for p, q in glass], (40, 46, 58))


def boat(
    c: Canvas, x: float, y: float, angle: float, rgb: RGB, size: float = 1
) -> None:
    """Draw a boat with its wake."""
    hull = [(-12, -5), (6, -5), (14, 0), (6, 5), (-12, 5)]
    c.poly(
        x, y, angle, size * 1.3, [(-15, -5), (-24, 0), (-15, 5)], (225, 236, 240, 90)
    )
    c.solid(c.local(x, y, angle, size, hull), rgb, 2)
    deck = [(-8, -2.5), (2, -2.5), (2, 2.5), (-8, 2.5)]
    c.poly(x, y, angle, size, deck, shade(rgb, 62))
    c.claim(x - 14 * size, y - 14 * size, x + 14 * size, y + 14 * size)


def tree(c: Canvas, x: float, y: float, r: int, rgb: RGB) -> None:
    """Draw a tree with its shadow."""
    x, y = int(x), int(y)
    sx, sy = c.sun
    c.draw.ellipse(
        (x - r + 4 * sx, y - r + 4 * sy, x + r + 4 * sx, y + r + 4 * sy),
        (8, 16, 22, 120),
    )
    c.disc(x, y, r, shade(rgb, 70))
    k = r * 2 // 3
    x, y = x - sx * r // 4, y - sy * r // 4
    c.disc(x, y, k, rgb)


def edge(side: str, u: float, v: float) -> Point:
    """Map (along the edge, inward) to pixels."""
    return {
        "top": (u, v),
        "bottom": (u, FULL - v),
        "left": (v, u),
        "right": (FULL - v, u),
    }[side]


def shore(
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
    return [edge(side, u, v) for u, v in [(-40, -40), *line, (FULL + 40, -40)]]


def course(c: Canvas, winding: bool) -> list[Point]:
    """Return a line across the whole image, through the middle of the box."""
    x, y = centre(c.box)
    across = c.dice.chance(0.5)
    x0, y0, x1, y1 = c.box
    across = x1 - x0 >= y1 - y0 if abs((x1 - x0) - (y1 - y0)) > 40 else across
    swing = 36 if winding else 0
    slope = 0 if winding else c.dice.between(-14, 14) / 100
    phase, k = c.dice.u() * 6.28, 1.2 + 0.5 * c.dice.u()
    line: list[Point] = []
    for u in range(-24, FULL + 25, 12):
        v = swing * math.sin(phase + k * u / FULL * 6.28) + slope * (u - FULL / 2)
        line.append((u, round(y + v)) if across else (round(x + v), u))
    return line


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...]:
    """Return a box with its corners in Pillow's order."""
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
