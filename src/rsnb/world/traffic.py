"""Painters of traffic classes. Explained in notebook 00."""

from __future__ import annotations

from rsnb.world.canvas import FULL, LINE, RGB, ROAD, SHORE, Canvas, corners, shade
from rsnb.world.parts import boat, centre, edge, house, places, road
from rsnb.world.scene import Scene

__all__ = ["PAINTERS"]

_HALF_PLANE = (
    (-0.5, -0.03), (-0.42, -0.07), (-0.1, -0.08), (0.08, -0.5), (0.18, -0.5),
    (0.12, -0.08), (0.36, -0.07), (0.4, -0.22), (0.48, -0.22), (0.46, 0),
)  # fmt: skip
_PLANE = [*_HALF_PLANE, *((x, -y) for x, y in _HALF_PLANE[-2::-1])]


def _airport(c: Canvas, s: Scene) -> None:
    """Runway at one edge, planes on aprons."""
    x0, y0, x1, y1 = rest = c.core
    flat = c.dice.chance(0.5)
    first = c.dice.chance(0.5)
    if flat:
        y = y0 + 26 if first else y1 - 26
        a, b = (x0, y), (x1, y)
        rest = (x0, y0 + 56, x1, y1) if first else (x0, y0, x1, y1 - 56)
    else:
        x = x0 + 26 if first else x1 - 26
        a, b = (x, y0), (x, y1)
        rest = (x0 + 56, y0, x1, y1) if first else (x0, y0, x1 - 56, y1)
    road(c, a, b, 40, slots=False, rgb=(66, 68, 74))
    for k in (-14, -8, -2, 4, 10):  # threshold marks at both ends
        for u in (6, x1 - x0 - 22) if flat else (6, y1 - y0 - 22):
            mark = (x0 + u, y + k) if flat else (x + k, y0 + u)
            w, h = (16, 3) if flat else (3, 16)
            c.draw.rectangle((*mark, mark[0] + w, mark[1] + h), LINE)
    pts, cell, angle = places(c, s, rest, 84)
    rgb = c.tone(s.colour)
    for px, py in pts:  # one apron under each, so that they join
        c.bar(px, py, angle, cell * 1.16, cell * 1.16, (112, 114, 118))
    for px, py in pts:
        turn = angle + (90 if s.layout != "scattered" else c.dice.between(0, 359))
        c.solid(c.local(px, py, turn, cell, _PLANE), rgb, 5)


def _bridge(c: Canvas, s: Scene) -> None:
    """A river, and one or two decks across it."""
    x, y = centre(c.box)
    across, half, n = c.dice.chance(0.5), 58, s.count or 1
    bed = (-9, y - half, FULL + 9, y + half), (x - half, -9, x + half, FULL + 9)
    river = corners(*bed[not across])
    c.water(f"water {c.dice.pick(('blue', 'green'))}", river, SHORE)
    for k in range(n):
        off = (0 if n == 1 else (k - 0.5) * 124) + c.dice.between(-14, 14)
        px, py, turn = (x + off, y, 90) if across else (x, y + off, 0)
        side = "top" if across else "left"
        u = px if across else py
        road(c, edge(side, u, -6), edge(side, u, FULL + 6), 32, slots=False)
        rgb = c.tone(s.colour)
        c.bar(px, py, turn, 2 * half + 30, 46, rgb, 6)
        c.bar(px, py, turn, 2 * half + 30, 28, shade(rgb, 84))
        for t in range(-half, half + 1, 29):
            c.line(px, py, turn, 1, [(t, -23), (t, 23)], shade(rgb, 66))
        for t in (-54, -18, 18, 54):
            for v in (-8, 8):
                slot = c.local(px, py, turn, 1, [(t + v, v)])[0]
                c.slots.append((*slot, turn + (0 if v > 0 else 180)))
        c.claim(*edge(side, u - 30, 0), *edge(side, u + 30, FULL), 0, c.wet)
        c.ledger["main"] += 1


def _harbor(c: Canvas, s: Scene) -> None:
    """Quay, and boats at a pier or at anchor."""
    water = "water blue" if s.style == "coastal" else "water green"
    c.water(water, corners(0, 0, FULL, FULL))
    side = c.dice.pick((0, 2, 1, 3))  # its place in a box
    flat, quay, basin = side % 2 == 0, list(c.box), list(c.box)
    cut = c.box[side] + (66 if side < 2 else -66)
    quay[(side + 2) % 4] = basin[side] = cut
    x0, y0, x1, y1 = quay
    c.claim(x0, y0, x1, y1, 0)
    c.claim(x0, y0, x1, y1, 0, c.wet)
    c.draw.rectangle((x0 - 4, y0 - 4, x1 + 4, y1 + 4), (88, 84, 78))
    c.fill("pavement", corners(x0, y0, x1, y1))
    x0, y0, x1, y1 = basin
    n = s.count or 1
    if s.layout == "row":  # moored along one pier that leaves the quay
        turn, length = (0, x1 - x0) if flat else (90, y1 - y0)
        x, y = centre((x0, y0, x1, y1))
        c.bar(x, y, turn, length, 14, (176, 160, 132), 4)
        step = (length - 12) / n
        size = min(1.9, step / 18)
        berths = [(-length / 2 + 10 + (k + 0.5) * step, 12 + 14 * size)
                  for k in range(n)]  # fmt: skip
        for px, py in c.local(x, y, turn, 1, berths):
            boat(c, px, py, 90 if flat else 180, c.tone(s.colour), size)
            c.ledger["main"] += 1
        return
    inner = (x0 + 6, y0 + 6, x1 - 6, y1 - 6)
    pts, cell, _ = places(c, s, inner, 90, layout="scattered" if n > 2 else None)
    for x, y in pts:
        boat(c, x, y, c.dice.between(0, 359), c.tone(s.colour), min(2.1, cell / 32))


def _intersection(c: Canvas, s: Scene) -> None:
    """Roads that meet in the middle."""
    x, y = centre(c.box)
    width = 66 if s.size == "wide" else 32
    k, gap = width / 2, width / 2 + 14
    legs = [(0, -1), (0, 1), (-1, 0), (1, 0)]
    if s.layout == "tee":
        legs.pop(c.dice.between(0, 3))
    half = FULL / 2
    for dx, dy in legs:
        end = (half + dx * (half + 6), y) if dx else (x, half + dy * (half + 6))
        road(c, (x, y), end, width)
    if s.layout == "roundabout":
        r = 46 + k
        q = r - width * 0.8
        for size, rgb in ((r + 4, shade(ROAD, 140)), (r, ROAD), (q + 3, LINE),
                          (q, (98, 146, 70)), (q / 2, (70, 116, 54))):  # fmt: skip
            c.disc(x, y, size, rgb)
        gap = r + 12
        c.claim(x - r, y - r, x + r, y + r)
    else:
        c.draw.rectangle((x - k, y - k, x + k, y + k), ROAD)
        for dx, dy in legs:
            a, b = (5, 2) if dx else (2, 5)
            for t in range(-int(k) + 4, int(k) - 3, 8):
                p, q = x + dx * (k + 7) + dy * t, y + dy * (k + 7) + dx * t
                c.draw.rectangle((p - a, q - b, p + a, q + b), LINE)
    x0, y0, x1, y1 = c.box
    c.slots = [(p, q, a) for p, q, a in c.slots if max(abs(p - x), abs(q - y)) > gap
               and x0 + 18 < p < x1 - 18 and y0 + 18 < q < y1 - 18]  # fmt: skip


def _parking(c: Canvas, s: Scene) -> None:
    """Three rows of ten bays."""
    x0, y0, x1, y1 = c.core
    x0, y0, x1, y1 = x0 + 14, y0 + 14, x1 - 14, y1 - 14
    rim = corners(x0, y0, x1, y1)
    c.fill("asphalt", rim)
    c.claim(x0 - 6, y0 - 6, x1 + 6, y1 + 6)
    c.draw.line([*rim, rim[0]], (206, 204, 198), 4)
    step, row = (x1 - x0 - 10) / 10, (y1 - y0) / 3
    spots = []
    for y in (y0 + (j + 0.5) * row for j in range(3)):
        for x in (x0 + 5 + k * step for k in range(11)):
            c.draw.line([(x, y - 17), (x, y + 17)], LINE, 2)
            spots.append((x + step / 2, y))
        spots.pop()  # eleven lines, ten bays
        c.draw.line([(x0 + 5, y + 17), (x1 - 5, y + 17)], LINE, 2)
    w = min(step * 0.66, 15)
    for x, y in c.dice.shuffled(spots)[: s.count]:
        rgb = c.dice.pick(("white", "red", "blue", "black", "gray"))
        c.bar(x, y, 0, w, 27, c.tone(rgb), 2)
        c.draw.rectangle((x - w / 3, y - 8, x + w / 3, y - 4), (40, 46, 58))
        c.ledger["main"] += 1


def _station(c: Canvas, s: Scene) -> None:
    """Tracks through the frame, platform and hall."""
    x0, y0, x1, y1 = c.core
    flip = c.dice.chance(0.5)
    (lo, hi), mid = ((x0, x1), (y0 + y1) / 2) if flip else ((y0, y1), (x0 + x1) / 2)
    n = s.count or 1
    pitch = min(24.0, (hi - lo - 80) / n)
    first = c.dice.chance(0.5)
    span = n * pitch
    start = lo + (74 if first else 0) + (hi - lo - 76 - span) / 2
    hall, platform = (lo + 26, start - 8) if first else (hi - 26, start + span + 8)
    turn, side = (90, "left") if flip else (0, "top")

    def bar(v: float, u: float, length: float, w: float, rgb: RGB, z: int = 0) -> None:
        c.bar(*edge(side, u, v), turn, length, w, rgb, z)

    for v in (start + (k + 0.5) * pitch for k in range(n)):
        bar(v, FULL / 2, FULL + 10, pitch * 0.72, (88, 76, 68))
        for u in range(2, FULL, 9):  # sleepers
            sleeper = (*edge(side, u - 1, v - 7), *edge(side, u + 1, v + 7))
            c.draw.rectangle(sleeper, (62, 52, 46))
        for rail in (-4, 4):
            bar(v + rail, FULL / 2, FULL + 10, 2, (214, 212, 210))
        c.ledger["main"] += 1
    bar(platform, mid, 150, 12, (206, 202, 192), 2)
    house(c, *edge(side, mid, hall), 132, 40, turn, c.tone(s.colour), 8)


PAINTERS = {
    "airport": _airport, "bridge": _bridge, "harbor": _harbor,
    "intersection": _intersection, "parking lot": _parking, "railway station": _station,
}  # fmt: skip
