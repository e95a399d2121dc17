"""Painters of traffic classes. Explained in notebook 00."""

from __future__ import annotations

from PIL import ImageDraw

from rsnb.world.canvas import FULL, Canvas, Point
from rsnb.world.parts import (
    LINE,
    ROAD,
    SHORE,
    centre,
    house,
    places,
    road,
    sorted_box,
)
from rsnb.world.scene import Scene
from rsnb.world.textures import RGB, shade

__all__ = ["airport", "bridge", "intersection", "parking", "station"]


def airport(c: Canvas, s: Scene) -> None:
    """Runway at one edge, planes on aprons."""
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
    road(c, *ends, 40, slots=False, rgb=(66, 68, 74))
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
    pts, cell, angle = places(c, n, s.layout, rest, most=84)
    body = [
        (-0.5, -0.03), (-0.42, -0.07), (-0.1, -0.08), (0.08, -0.5), (0.18, -0.5),
        (0.12, -0.08), (0.36, -0.07), (0.4, -0.22), (0.48, -0.22), (0.46, 0),
        (0.48, 0.22), (0.4, 0.22), (0.36, 0.07), (0.12, 0.08), (0.18, 0.5),
        (0.08, 0.5), (-0.1, 0.08), (-0.42, 0.07), (-0.5, 0.03),
    ]  # fmt: skip
    rgb = c.tone(str(s.colour))
    for px, py in pts:  # one apron under each, so that they join
        c.bar(px, py, angle, cell * 1.16, cell * 1.16, (112, 114, 118))
    for px, py in pts:
        turn = angle + (90 if s.layout != "scattered" else c.dice.between(0, 359))
        c.solid(c.local(px, py, turn, cell, body), rgb, 5)
        c.count("main")


def bridge(c: Canvas, s: Scene) -> None:
    """A river, and one or two decks across it."""
    cx, cy = centre(c.box)
    ends: tuple[Point, Point]
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
        road(c, ends[0], ends[1], 32, slots=False)
        rgb = c.tone(str(s.colour))
        c.bar(*deck, 2 * half + 30, 46, rgb, 6)
        c.bar(*deck, 2 * half + 30, 28, shade(rgb, 84))
        for t in range(-half, half + 1, 29):
            rib = [(t, -23), (t, 23)]
            c.line(*deck, 1, rib, shade(rgb, 66), 2)
        x, y, a = deck
        for t in (-54, -18, 18, 54):
            for v in (-8, 8):
                ((px, py),) = c.local(x, y, a, 1, [(t + v, v)])
                c.slots.append((px, py, a + (0 if v > 0 else 180)))
        near = (x - 30, 0, x + 30, FULL) if across else (0, y - 30, FULL, y + 30)
        ImageDraw.Draw(c.wet).rectangle([int(v // 4) for v in near], 0)
        c.count("main")


def intersection(c: Canvas, s: Scene) -> None:
    """Roads that meet in the middle."""
    x, y = centre(c.box)
    width = 66 if s.size == "wide" else 32
    gap = width / 2 + 14
    ends = [(x, -6.0), (x, FULL + 6.0), (-6.0, y), (FULL + 6.0, y)]
    if s.layout == "tee":
        ends.pop(c.dice.between(0, 3))
    for ex, ey in ends:
        road(c, (x, y), (ex, ey), width)
    if s.layout == "roundabout":
        r = 46 + width / 2
        c.draw.ellipse((x - r - 4, y - r - 4, x + r + 4, y + r + 4), shade(ROAD, 140))
        c.disc(x, y, r, ROAD)
        q = r - width * 0.8
        c.draw.ellipse((x - q - 3, y - q - 3, x + q + 3, y + q + 3), LINE)
        c.disc(x, y, q, (98, 146, 70))
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


def parking(c: Canvas, s: Scene) -> None:
    """Three rows of ten bays."""
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


def station(c: Canvas, s: Scene) -> None:
    """Tracks through the frame, platform and hall."""
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
    x, y = (hall, mid) if flip else (mid, hall)
    house(c, x, y, 132, 40, 90 if flip else 0, rgb, 8)
