"""Painters of land and water classes. Explained in notebook 00."""

from __future__ import annotations

import math
from functools import partial

from PIL import ImageDraw

from rsnb.world.canvas import FULL, SHORE, Canvas, corners, shade
from rsnb.world.parts import centre, course, oval, places, shore, tree
from rsnb.world.scene import Scene

__all__ = ["PAINTERS"]


def _beach(c: Canvas, s: Scene) -> None:
    """Sea on one side, sand on the rest."""
    side = s.context[0][1]
    c.fill("sand")
    depth = 150 + c.dice.between(0, 30)
    for extra, rgb in ((16, (202, 178, 128)), (7, (236, 240, 238))):
        c.draw.polygon(shore(c, side, depth + extra, 11, fixed=True), rgb)
    c.water(f"water {s.colour}", shore(c, side, depth, 11, fixed=True))
    for less in (40, 90):
        deep = shore(c, side, depth - less, 11, fixed=True)
        c.draw.polygon(deep, (8, 24, 60, 38))
    c.ledger[f"sea {side}"] += 1


def _desert(c: Canvas, s: Scene) -> None:
    """Dunes, or flat ground with rocks."""
    c.fill(f"{s.layout} {s.colour}")
    if s.layout == "dunes":  # a few great crests over the fine ripples
        lit = c.dice.u() * 6.28
        for k in range(3):
            v = 50 + k * 120 + c.dice.between(-20, 20)
            crest = [(u * 16, v + 24 * math.sin(lit + k + u * 0.35))
                     for u in range(-1, 26)]  # fmt: skip
            low = [(x, y + 34) for x, y in reversed(crest)]
            c.draw.polygon(crest + low, (70, 40, 20, 46))
            c.draw.line(crest, (255, 246, 224, 150), 4)


def _farmland(c: Canvas, s: Scene) -> None:
    """Strips, patches or watered circles."""
    crop, dice = f"crop {s.colour}", c.dice
    if s.layout == "circles":
        _circles(c, s, crop)
        return
    c.fill(crop)
    angle = dice.between(-14, 14) + (90 if dice.chance(0.5) else 0)
    turned = (FULL / 2, FULL / 2, angle, 1)
    if s.layout == "strips":
        v, length = -FULL * 0.7, FULL * 1.6
        for cut in [dice.between(24, 50) for _ in range(20)]:
            strip = corners(-length / 2, v, length / 2, v + cut)
            tint = dice.pick(((255, 255, 230, 46), (20, 24, 0, 54), (0, 0, 0, 10)))
            c.poly(*turned, strip, tint)
            c.line(*turned, strip[:2], (92, 84, 60, 190), 3)
            v += cut
        return
    size = 86
    for i in range(-4, 4):
        for j in range(-4, 4):
            dice.u()  # unused, but it belongs to the frozen order of draws
            x, y = i * size, j * size + (i % 2) * 40
            pts = c.local(*turned, corners(x, y, x + size, y + size))
            inside = all(-10 < v < FULL + 10 for p in pts for v in p)
            if inside and dice.chance(0.4):
                c.fill(crop, pts)
            tint = dice.pick(((255, 255, 230, 60), (20, 24, 0, 66), (0, 0, 0, 14)))
            c.draw.polygon(pts, tint)
            c.draw.line([*pts, pts[0]], (92, 84, 60, 220), 4)


def _circles(c: Canvas, s: Scene, crop: str) -> None:
    c.fill("drygrass" if s.colour != "yellow" else "soil")
    x0, y0, x1, y1 = c.box
    n = 3 if c.dice.chance(0.5) else 2
    w, h = (x1 - x0) / n, (y1 - y0) / n
    r = min(w, h) / 2 - 5
    for x in (x0 + (i + 0.5) * w for i in range(n)):
        for y in (y0 + (j + 0.5) * h for j in range(n)):
            disc = (x - r, y - r, x + r, y + r)
            mask = c.mask(partial(ImageDraw.ImageDraw.ellipse, xy=disc, fill=255))
            c.fill(crop, mask)
            c.draw.ellipse(disc, (0, 0, 0, c.dice.between(0, 40)))
            arm = c.dice.u() * 6.28
            tip = (x + r * math.cos(arm), y + r * math.sin(arm))
            c.draw.line([(x, y), tip], (230, 226, 210), 2)


def _forest(c: Canvas, s: Scene) -> None:
    """Canopy, whole, thinned, cleared or crossed."""
    between = c.dice.between
    if s.layout == "sparse":
        c.fill("grass" if s.style == "temperate" else "drygrass")
        rgb = (58, 104, 50) if s.colour == "green" else (190, 146, 52)
        for k in range(64):
            if not c.dice.chance(0.22):
                u = 24 + k // 8 * 48 + between(-13, 13)
                v = 24 + k % 8 * 48 + between(-13, 13)
                tree(c, u, v, between(11, 16), shade(rgb, between(84, 116)))
                c.claim(u - 14, v - 14, u + 14, v + 14)
        return
    c.fill(f"trees {s.colour}")
    x, y = centre(c.box)
    if s.layout == "clearing":
        r = 62 + between(0, 12)
        blob = [
            (
                x + (r + 9 * math.sin(3 * k + x)) * math.cos(k * math.pi / 12),
                y + (r + 9 * math.sin(2 * k)) * math.sin(k * math.pi / 12),
            )
            for k in range(24)
        ]
        c.fill("soil" if c.dice.chance(0.4) else "drygrass", blob)
    elif s.layout == "path":
        line = course(c, winding=True)
        c.draw.line(line, (120, 96, 66), 24, joint="curve")
        c.draw.line(line, (214, 190, 146), 17, joint="curve")
        for x, y in line:
            c.claim(x - 20, y - 20, x + 20, y + 20)


def _golf(c: Canvas, s: Scene) -> None:
    """Fairways and bunkers."""
    c.fill("grass")
    c.draw.rectangle((0, 0, FULL, FULL), (20, 60, 10, 60))
    x0, y0, x1, y1 = c.box
    for _ in range(3):
        spans = ((x0, x1), (y0, y1)) * 2
        ax, ay, bx, by = (c.dice.between(lo + 20, hi - 20) for lo, hi in spans)
        line = [(ax, ay), ((ax + bx) // 2 + 30, (ay + by) // 2 - 24), (bx, by)]
        for width, rgb in ((62, (98, 158, 70)), (48, (122, 184, 86))):
            c.draw.line(line, rgb, width, joint="curve")
            for px, py in line:
                c.disc(px, py, width // 2, rgb)
    many = "scattered" if (s.count or 0) > 2 else None
    pts, cell, _ = places(c, s, c.core, 78, layout=many)
    r = min(cell * 0.36, 25)
    parts = ((0, 0, r), (r * 0.6, r * 0.3, r * 0.6), (-r * 0.5, r * 0.4, r * 0.6))
    for k, (x, y) in enumerate(pts):
        if k == 0:
            c.disc(x, y, r + 15, (150, 212, 108))
        for grow, rgb in ((3, (84, 128, 58)), (0, (240, 224, 182))):
            for dx, dy, q in parts:
                c.disc(x + dx, y + dy, q + grow, rgb)
        c.claim(x - 1.3 * r, y - 1.1 * r, x + 1.3 * r, y + 1.1 * r)


def _pond(c: Canvas, s: Scene) -> None:
    """One to three ponds."""
    most = {"large": 200, "small": 80}.get(s.size or "", 116)
    pts, cell, angle = places(c, s, c.core, most)
    r = cell * 0.47
    for x, y in pts:
        if s.layout == "round":
            shape = oval(c, x, y, r, r)
        elif s.layout == "rectangular":
            shape = c.local(x, y, angle, 1, corners(-r, -r * 0.72, r, r * 0.72))
        else:
            a, b = c.dice.u() * 6, c.dice.u() * 6
            shape = []
            for t in (k * math.pi / 18 for k in range(36)):
                q = r * (0.74 + 0.17 * math.sin(2 * t + a) + 0.11 * math.sin(3 * t + b))
                shape.append((x + q * math.cos(t), y + q * math.sin(t)))
        c.water(f"water {s.colour}", shape, SHORE)


def _river(c: Canvas, s: Scene) -> None:
    """Water across the frame."""
    line = course(c, s.layout == "winding")
    width = 96 if s.size == "wide" else 38
    mask = c.mask(lambda d: d.line(line, 255, width, joint="curve"))
    c.water(f"water {s.colour}", mask, SHORE)


PAINTERS = {
    "beach": _beach, "desert": _desert, "farmland": _farmland, "forest": _forest,
    "golf course": _golf, "pond": _pond, "river": _river,
}  # fmt: skip
