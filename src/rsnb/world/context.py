"""Context bands, small objects, distractors. Explained in notebook 00."""

from __future__ import annotations

from PIL import ImageDraw

from rsnb.world.canvas import FULL, Canvas, Point
from rsnb.world.parts import (
    SHORE,
    boat,
    car,
    edge,
    house,
    oval,
    road,
    shore,
    tree,
)
from rsnb.world.scene import Scene, Small
from rsnb.world.textures import COLOURS, shade

__all__ = ["band", "small", "wear"]


def wear(c: Canvas) -> None:
    """Distractors that no caption names: worn patches and a faint trail."""
    for _ in range(c.dice.between(2, 5)):
        x, y = c.dice.between(0, FULL), c.dice.between(0, FULL)
        tint = c.dice.pick(((60, 44, 20), (255, 246, 210), (20, 34, 14)))
        for r in (c.dice.between(26, 70), c.dice.between(14, 40)):
            blob = oval(c, x, y, r, r * (0.5 + c.dice.u() / 2), c.dice.between(0, 179))
            c.draw.polygon(blob, (*tint, 20))
    if c.dice.chance(0.5):
        a, b = (
            edge("left", c.dice.between(0, FULL), 0),
            edge("top", c.dice.between(0, FULL), FULL),
        )
        bend = (c.dice.between(60, 320), c.dice.between(60, 320))
        c.draw.line([a, bend, b], (70, 54, 30, 44), 6, joint="curve")


def band(c: Canvas, s: Scene, kind: str, side: str, t: int) -> None:
    """Draw one context band of thickness `t` along a side."""
    strip = [
        edge(side, u, v) for u, v in ((-9, -9), (FULL + 9, -9), (FULL + 9, t), (-9, t))
    ]
    a, b = edge(side, -6, t / 2), edge(side, FULL + 6, t / 2)
    angle = 0 if side in ("top", "bottom") else 90
    if kind == "road":
        verge = "drygrass" if s.style == "arid" else "grass"
        c.fill(verge, strip)
        road(c, a, b, 34)
    elif kind == "railway":
        c.fill("soil", strip)
        c.bar(*edge(side, FULL / 2, t / 2), angle, FULL + 12, 34, (120, 110, 100))
        for off in (-9, 9):
            x, y = edge(side, FULL / 2, t / 2 + off)
            for u in range(0, FULL, 9):
                c.bar(*edge(side, u, t / 2 + off), angle, 3, 14, (66, 54, 48))
            for rail in (-4, 4):
                px, py = edge(side, FULL / 2, t / 2 + off + rail)
                c.bar(px, py, angle, FULL + 12, 2, (222, 220, 216))
    elif kind in ("river", "sea"):
        # a river has a far bank inside the frame, the sea has none and a beach line
        shape = shore(c, side, t - 7, 5)
        c.draw.polygon(
            shore(c, side, t, 3), SHORE if kind == "river" else (232, 220, 184)
        )
        mask = c.mask(lambda d: d.polygon(shape, 255))
        c.water("water green" if kind == "river" else "water blue", mask, None)
        if kind == "river":
            far = shore(c, side, 15, 4)
            c.draw.polygon(far, SHORE)
            c.fill("grass", c.mask(lambda d: d.polygon(_inset(far, side), 255)))
        else:
            c.draw.line(shape[1:-1], (240, 246, 246), 3)
            c.draw.polygon(shore(c, side, t // 2, 4), (8, 24, 60, 50))
    elif kind == "woods":
        rim = [*strip[:2]]
        for u in range(FULL + 10, -20, -14):
            rim.append(edge(side, u, t - 5 + c.dice.between(-5, 5)))
        sx, sy = c.sun
        c.draw.polygon([(x + 5 * sx, y + 5 * sy) for x, y in rim], (8, 16, 22, 90))
        c.fill("trees green", rim)
        for u in range(0, FULL + 10, 17):
            x, y = edge(side, u, t - 9 + c.dice.between(-3, 3))
            rgb = shade((58, 100, 52), c.dice.between(84, 118))
            tree(c, x, y, c.dice.between(8, 11), rgb)
    elif kind == "fields":
        u = -20
        while u < FULL + 20:
            step = c.dice.between(44, 92)
            crop = c.dice.pick(
                ("crop green", "crop yellow", "crop brown", "crop green")
            )
            patch = [
                edge(side, p, q)
                for p, q in ((u, -9), (u + step, -9), (u + step, t), (u, t))
            ]
            c.fill(crop, patch)
            c.draw.line([*patch, patch[0]], (98, 88, 62), 4)
            u += step
    elif kind == "houses":
        c.fill("drygrass" if s.style == "arid" else "grass", strip)
        c.draw.line([edge(side, 0, t - 2), edge(side, FULL, t - 2)], (150, 146, 140), 5)
        roof = c.dice.pick(("red", "brown", "gray"))
        for u in range(20, FULL, 40):
            x, y = edge(side, u + c.dice.between(-3, 3), t / 2 - 4)
            tint = shade(COLOURS[roof], c.dice.between(86, 112))
            house(c, x, y, 30, 25, angle, tint, 5)
    c.count(f"{kind} {side}")


def _inset(polygon: list[Point], side: str) -> list[Point]:
    dx, dy = {"left": (-4, 0), "right": (4, 0), "top": (0, -4), "bottom": (0, 4)}[side]
    return [(x + dx, y + dy) for x, y in polygon]


def small(c: Canvas, group: Small) -> None:
    """Draw one group of small objects, as far as there is room."""
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
            tree(c, x, y, 8, shade((52, 98, 46), c.dice.between(88, 112)))
        elif kind == "umbrellas":
            tint = c.tone(rgb)
            c.draw.ellipse((x - 3, y - 3, x + 11, y + 11), (60, 40, 20, 110))
            c.disc(x, y, 7, tint)
            c.draw.pieslice((x - 7, y - 7, x + 7, y + 7), 0, 60, shade(tint, 78))
            c.draw.pieslice((x - 7, y - 7, x + 7, y + 7), 180, 240, shade(tint, 78))
        elif kind == "pools":
            c.bar(x, y, 0, 22, 16, (226, 222, 210))
            c.bar(x, y, 0, 17, 11, (58, 176, 222))
        elif kind == "sheds":
            house(c, x, y, 16, 13, c.dice.pick((0, 90)), c.tone(rgb), 4)
        else:
            boat(c, x, y, c.dice.between(0, 359), c.tone(rgb), 0.8)
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
    for px, py, turn in order[:n]:
        car(c, px, py, turn, c.tone(group.colour), truck)
        c.count(group.kind)
    c.slots = order[n:]
