"""Painters of land and water classes. Explained in notebook 00."""

from __future__ import annotations

import math

from PIL import Image

from rsnb.world.canvas import FULL, Canvas
from rsnb.world.parts import (
    SHORE,
    boat,
    centre,
    course,
    oval,
    places,
    shore,
    tree,
)
from rsnb.world.scene import Scene
from rsnb.world.textures import shade

__all__ = ["beach", "desert", "farmland", "forest", "golf", "harbor", "pond", "river"]


def beach(c: Canvas, s: Scene) -> None:
    """Sea on one side, sand on the rest."""
    side = next(side for kind, side in s.context if kind == "sea")
    c.fill("sand", None)
    depth = 150 + c.dice.between(0, 30)
    for extra, rgb in ((16, (202, 178, 128)), (7, (236, 240, 238))):
        c.draw.polygon(shore(c, side, depth + extra, 11, fixed=True), rgb)
    line = shore(c, side, depth, 11, fixed=True)
    c.water(f"water {s.colour}", c.mask(lambda d: d.polygon(line, 255)), None)
    for less in (40, 90):
        deep = shore(c, side, depth - less, 11, fixed=True)
        c.draw.polygon(deep, (8, 24, 60, 38))
    c.count("sea")


def desert(c: Canvas, s: Scene) -> None:
    """Dunes, or flat ground with rocks."""
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


def farmland(c: Canvas, s: Scene) -> None:
    """Strips, patches or watered circles."""
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
                c.fill(crop, _disc(c, disc))
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
                (-length / 2, v), (length / 2, v),
                (length / 2, v + cut), (-length / 2, v + cut),
            ]  # fmt: skip
            tint = c.dice.pick(((255, 255, 230, 46), (20, 24, 0, 54), (0, 0, 0, 10)))
            c.poly(mid, mid, angle, 1, strip, tint)
            seam = c.local(mid, mid, angle, 1, strip[:2])
            c.draw.line(seam, (92, 84, 60, 190), 3)
            v += cut
        return
    size = 86
    for i in range(-4, 4):
        for j in range(-4, 4):
            x, y = i * size + c.dice.between(0, 0), j * size + (i % 2) * 40
            patch = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
            pts = c.local(mid, mid, angle, 1, patch)
            inside = all(-10 < v < FULL + 10 for p in pts for v in p)
            if inside and c.dice.chance(0.4):
                c.fill(crop, pts)
            tint = c.dice.pick(((255, 255, 230, 60), (20, 24, 0, 66), (0, 0, 0, 14)))
            c.draw.polygon(pts, tint)
            c.draw.line([*pts, pts[0]], (92, 84, 60, 220), 4)


def forest(c: Canvas, s: Scene) -> None:
    """Canopy, whole, thinned, cleared or crossed."""
    canopy = f"trees {s.colour}"
    if s.layout == "sparse":
        c.fill("grass" if s.style == "temperate" else "drygrass", None)
        rgb = (58, 104, 50) if s.colour == "green" else (190, 146, 52)
        for i in range(8):
            for j in range(8):
                if c.dice.chance(0.22):
                    continue
                u = 24 + i * 48 + c.dice.between(-13, 13)
                v = 24 + j * 48 + c.dice.between(-13, 13)
                size = c.dice.between(11, 16)
                tree(c, u, v, size, shade(rgb, c.dice.between(84, 116)))
                c.claim(u - 14, v - 14, u + 14, v + 14)
        return
    c.fill(canopy, None)
    x, y = centre(c.box)
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
        line = course(c, winding=True)
        c.draw.line(line, (120, 96, 66), 24, joint="curve")
        c.draw.line(line, (214, 190, 146), 17, joint="curve")
        for px, py in line:
            c.claim(px - 20, py - 20, px + 20, py + 20)


def golf(c: Canvas, s: Scene) -> None:
    """Fairways and bunkers."""
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
                c.disc(px, py, width // 2, rgb)
    n = s.count or 0
    pts, cell, _ = places(c, n, "scattered" if n > 2 else None, c.core, most=78)
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
                c.disc(x + dx, y + dy, q, rgb)
        c.claim(x - 1.3 * r, y - 1.1 * r, x + 1.3 * r, y + 1.1 * r)
        c.count("main")


def harbor(c: Canvas, s: Scene) -> None:
    """Quay, and boats at a pier or at anchor."""
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
    bx, by = centre(basin)
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
            boat(c, x, y, (90 if flat else 180), c.tone(rgb), size)
            c.count("main")
        return
    inner = (basin[0] + 6, basin[1] + 6, basin[2] - 6, basin[3] - 6)
    pts, cell, _ = places(c, n, "scattered" if n > 2 else None, inner, most=90)
    for x, y in pts:
        boat(c, x, y, c.dice.between(0, 359), c.tone(rgb), min(2.1, cell / 32))
        c.count("main")


def pond(c: Canvas, s: Scene) -> None:
    """One to three ponds."""
    n = s.count or 0
    most = {"large": 200, "small": 80}.get(str(s.size), 116)
    pts, cell, angle = places(c, n, None, c.core, most=most)
    for x, y in pts:
        r = cell * 0.47
        if s.layout == "round":
            shape = oval(c, x, y, r, r, 0)
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
        c.water(f"water {s.colour}", c.region(shape), SHORE)
        c.count("main")


def river(c: Canvas, s: Scene) -> None:
    """Water across the frame."""
    line = course(c, s.layout == "winding")
    width = 96 if s.size == "wide" else 38
    mask = c.mask(lambda d: d.line(line, 255, width, joint="curve"))
    c.water(f"water {s.colour}", mask, SHORE)


def _disc(c: Canvas, box: tuple[float, float, float, float]) -> Image.Image:
    return c.mask(lambda d: d.ellipse(box, 255))
