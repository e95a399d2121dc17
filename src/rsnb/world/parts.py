"""What many classes share: places, roads, roofs, vehicles, trees, shores."""

from __future__ import annotations

import math

from rsnb.world.canvas import FULL, LINE, RGB, ROAD, Box, Canvas, Point, corners, shade
from rsnb.world.scene import Scene

__all__ = [
    "boat", "centre", "course", "edge", "house", "oval", "places", "road", "shore",
    "tree",
]  # fmt: skip


def centre(box: tuple[float, float, float, float]) -> Point:
    """Return the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def places(
    c: Canvas, s: Scene, box: Box, most: float, *, n: int = 0, layout: str | None = "",
    aspect: float = 1.0, pad: float = 0.86,
) -> tuple[list[Point], float, float]:  # fmt: skip
    """Enter the main objects in the ledger; place them, or `n` others, in `box`.

    Returns:
        The centres, the width of a cell (at most `most`), and a common angle.
    """
    c.ledger["main"] = s.count or 0
    n = n or s.count or 1
    layout = s.layout if layout == "" else layout
    x0, y0, x1, y1 = box
    w, h, dice = x1 - x0, y1 - y0, c.dice
    if layout == "ring":
        r = min(w, h) / 2 / (1 + math.sin(math.pi / n))
        turn = dice.u() * 360
        ring = [2 * math.pi * k / n for k in range(n)]
        pts = [(math.cos(t), math.sin(t)) for t in ring]
        cell = min(most, 2 * r * math.sin(math.pi / n) * 0.8)
        return c.local(*centre(box), turn, r, pts), cell, turn
    angle = dice.between(-16, 16)
    if w < h * 0.85 or (w < h * 1.15 and dice.chance(0.5)):
        angle += 90
    rows = 1
    if layout == "grid" or (layout is None and n > 6):
        rows = 3 if n == 9 else 2
    cols = -(-n // rows)
    chosen = [(i % cols, i // cols) for i in range(n)]
    jitter = 0.0
    if layout == "scattered":
        jitter = 0.09
        rows = cols = 3 if n <= 5 else 4
        cells = [(i, j) for i in range(cols) for j in range(rows)]
        chosen = []
        while any(len({p[k] for p in chosen}) < 2 for k in (0, 1)):  # not a line
            chosen = dice.shuffled(cells)[:n]
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    a, b = cols * aspect, float(rows)
    cell = min(w / (a * cos + b * sin), h / (a * sin + b * cos), most / max(aspect, 1))
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
    x = (x0 + x1) / 2 + (dice.u() * 2 - 1) * sx * 0.7
    y = (y0 + y1) / 2 + (dice.u() * 2 - 1) * sy * 0.7
    return c.local(x, y, angle, cell, local), cell * pad, angle


def oval(
    c: Canvas, x: float, y: float, rx: float, ry: float, angle: float = 0
) -> list[Point]:
    """Return an ellipse as a polygon."""
    turns = [k * math.pi / 16 for k in range(32)]
    ring = [(rx * math.cos(t), ry * math.sin(t)) for t in turns]
    return c.local(x, y, angle, 1, ring)


def house(
    c: Canvas, x: float, y: float, w: float, h: float, angle: float, rgb: RGB,
    height: int = 0,
) -> None:  # fmt: skip
    """Draw a gable roof: one side lit, one in shade, a ridge."""
    c.bar(x, y, angle, w, h, shade(rgb, 80), height)
    c.poly(x, y, angle, 1, corners(-w / 2, -h / 2, w / 2, 0), shade(rgb, 112))
    c.line(x, y, angle, 1, [(-w / 2, 0), (w / 2, 0)], shade(rgb, 128))


def road(
    c: Canvas, a: Point, b: Point, width: int, slots: bool = True, rgb: RGB = ROAD
) -> None:
    """Draw a straight road with edge lines, dashes and slots for vehicles."""
    length = math.dist(a, b)
    angle = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
    x, y = centre((*a, *b))
    c.bar(x, y, angle, length, width + 6, shade(rgb, 140))
    c.bar(x, y, angle, length, width, rgb)
    for u in range(10, int(length) - 6, 26):
        dash = [(u - length / 2, 0), (u - length / 2 + 13, 0)]
        c.line(x, y, angle, 1, dash, LINE)
        for k in (-1, 1) if slots and u % 52 == 10 else ():
            slot = c.local(x, y, angle, 1, [(u - length / 2, k * width / 4)])[0]
            c.slots.append((*slot, angle + (0 if k > 0 else 180)))


def boat(
    c: Canvas, x: float, y: float, angle: float, rgb: RGB, size: float = 1
) -> None:
    """Draw a boat with its wake."""
    wake = [(-15, -5), (-24, 0), (-15, 5)]
    c.poly(x, y, angle, size * 1.3, wake, (225, 236, 240, 90))
    hull = [(-12, -5), (6, -5), (14, 0), (6, 5), (-12, 5)]
    c.solid(c.local(x, y, angle, size, hull), rgb, 2)
    c.poly(x, y, angle, size, corners(-8, -2.5, 2, 2.5), shade(rgb, 62))
    c.claim(x - 14 * size, y - 14 * size, x + 14 * size, y + 14 * size)


def tree(c: Canvas, x: float, y: float, r: int, rgb: RGB) -> None:
    """Draw a tree with its shadow."""
    x, y = int(x), int(y)
    sx, sy = c.sun
    c.disc(x + 4 * sx, y + 4 * sy, r, (8, 16, 22, 120))
    c.disc(x, y, r, shade(rgb, 70))
    c.disc(x - sx * r // 4, y - sy * r // 4, r * 2 // 3, rgb)


def edge(side: str, u: float, v: float) -> Point:
    """Map (along the edge, inward) to pixels."""
    across = FULL - v if side in ("bottom", "right") else v
    return (u, across) if side in ("top", "bottom") else (across, u)


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
