"""Scene graph → native 192x192 RGB picture, everything in the graph visible.

`render` compares what it drew with the graph and raises if an object is missing.
Explained in notebook 00.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from PIL import Image

from rsnb.errors import DataError
from rsnb.world import built, land, traffic
from rsnb.world.canvas import COLOURS, FULL, NATIVE, SHORE, Canvas, corners, shade
from rsnb.world.parts import boat, edge, house, oval, road, shore, tree
from rsnb.world.scene import Dice, Scene, Small
from rsnb.world.tables import SIDES

__all__ = ["render"]

_PAINTERS = land.PAINTERS | built.PAINTERS | traffic.PAINTERS
_NO_SPARE = ("beach", "bridge", "dense residential area", "desert", "farmland",
             "forest", "golf course", "harbor", "intersection", "river")  # fmt: skip
_CAST = {  # percent of red, green and blue
    "temperate": (98, 101, 99), "arid": (104, 100, 94), "coastal": (100, 101, 103),
    "urban": (98, 98, 101),
}  # fmt: skip


def render(s: Scene) -> Image.Image:
    """Return the scene as a 192x192 RGB image; equal scenes give equal pixels.

    Raises:
        DataError: an object of the graph found no room, so a fact would be false.
    """
    bands = [
        (kind, one)
        for kind, side in s.context
        for one in (SIDES if side == "around" else (side,))
    ]
    want = Counter({f"{kind} {side}": 1 for kind, side in bands})
    want |= Counter(main=s.count or 0) | Counter({g.kind: g.count for g in s.small})
    if s.cls == "beach":  # the class itself is the first band
        bands = bands[1:]
    for attempt in range(6):  # each with thinner bands, so with more room
        c = _compose(s, bands, attempt)
        if c.ledger == want:
            return _develop(c, s)
    raise DataError(
        f"scene {s.seed} ({s.cls}): drew {c.ledger}, the graph says {want}. "
        "This is a defect of the renderer; report the seed."
    )


def _compose(s: Scene, bands: list[tuple[str, str]], attempt: int) -> Canvas:
    c = Canvas(Dice(s.seed, 2 + 8 * attempt))
    t = {side: c.dice.between(60, 68) - 4 * attempt for _, side in bands}
    x0, y0 = t.get("left", 0), t.get("top", 0)
    x1, y1 = FULL - t.get("right", 0), FULL - t.get("bottom", 0)
    c.box = (x0, y0, x1, y1)
    margin = dict.fromkeys(SIDES, 8)
    if s.small and s.cls not in _NO_SPARE:  # a margin where small objects find room
        margin[c.dice.pick(SIDES)] += 46
    left, right, top, bottom = margin.values()
    c.core = (x0 + left, y0 + top, x1 - right, y1 - bottom)
    if s.ground:
        dry = s.ground == "grass" and s.style == "arid"
        c.fill("drygrass" if dry else s.ground)
        _wear(c)
    _PAINTERS[s.cls](c, s)
    own = len(c.slots)
    for kind, side in bands:
        _band(c, s, kind, side, t[side])
    c.slots = [  # a vehicle where two bands cross would be hidden
        (x, y, turn)
        for k, (x, y, turn) in enumerate(c.slots)
        if 16 < x < FULL - 16 and 16 < y < FULL - 16
        and (x0 + 12 < x < x1 - 12) + (y0 + 12 < y < y1 - 12) >= (2 if k < own else 1)
    ]  # fmt: skip
    for group in sorted(s.small, key=lambda g: g.kind not in ("cars", "trucks")):
        _small(c, group)  # lots first: they need the most room
    return c


def _develop(c: Canvas, s: Scene) -> Image.Image:
    """Reduce to native size, then light, haze and sensor noise."""
    dice, image, shifted = c.dice, c.image.reduce(2), s.split == "source"
    if shifted:  # the source's sensor: about a third of the detail, mixed channels
        side = NATIVE * 44 // 128
        image = image.resize((side, side), Image.Resampling.BOX)
        image = image.resize((NATIVE, NATIVE), Image.Resampling.BICUBIC)
    px = np.asarray(image).astype(np.int32)
    px = px * (np.array(_CAST[s.style], np.int32) * dice.between(84, 112)) // 10_000
    gx, gy = dice.between(-14, 14), dice.between(-14, 14)
    ramp = np.arange(NATIVE, dtype=np.int32) - NATIVE // 2
    px += (ramp[None, :] * gx // NATIVE + ramp[:, None] * gy // NATIVE)[:, :, None]
    px += (np.array((206, 214, 224), np.int32) - px) * dice.between(0, 16) // 100
    if shifted:
        mix = np.array(((72, 20, 8), (16, 66, 18), (10, 20, 70)), np.int32)
        px = px @ mix.T // 100
    rng = np.random.Generator(np.random.PCG64([s.seed, 3]))
    raw = np.frombuffer(rng.bytes(px.size), np.uint8).reshape(px.shape)
    px += (raw.astype(np.int32) - 128) * dice.between(2, 7) // 100
    return Image.fromarray(np.clip(px, 0, 255).astype(np.uint8))


def _wear(c: Canvas) -> None:
    """Draw what no caption names: worn patches and a faint trail."""
    between = c.dice.between
    for _ in range(between(2, 5)):
        x, y = between(0, FULL), between(0, FULL)
        tint = c.dice.pick(((60, 44, 20), (255, 246, 210), (20, 34, 14)))
        for r in (between(26, 70), between(14, 40)):
            blob = oval(c, x, y, r, r * (0.5 + c.dice.u() / 2), between(0, 179))
            c.draw.polygon(blob, (*tint, 20))
    if c.dice.chance(0.5):
        a, b = (0, between(0, FULL)), (between(0, FULL), FULL)
        bend = (between(60, 320), between(60, 320))
        c.draw.line([a, bend, b], (70, 54, 30, 44), 6, joint="curve")


def _band(c: Canvas, s: Scene, kind: str, side: str, t: int) -> None:
    """Draw one context band of thickness `t` along a side."""
    at, between = partial(edge, side), c.dice.between
    grass = "drygrass" if s.style == "arid" else "grass"
    strip = [at(u, v) for u, v in corners(-9, -9, FULL + 9, t)]
    angle = 0 if side in ("top", "bottom") else 90
    if kind == "road":
        c.fill(grass, strip)
        road(c, at(-6, t / 2), at(FULL + 6, t / 2), 34)
    elif kind == "railway":
        c.fill("soil", strip)
        c.bar(*at(FULL / 2, t / 2), angle, FULL + 12, 34, (120, 110, 100))
        for v in (t / 2 - 9, t / 2 + 9):
            for u in range(0, FULL, 9):
                c.bar(*at(u, v), angle, 3, 14, (66, 54, 48))
            for rail in (-4, 4):
                c.bar(*at(FULL / 2, v + rail), angle, FULL + 12, 2, (222, 220, 216))
    elif kind == "river":  # it has a far bank inside the frame
        water = shore(c, side, t - 7, 5)
        c.draw.polygon(shore(c, side, t, 3), SHORE)
        c.water("water green", water)
        bank = shore(c, side, 15, 4)
        c.draw.polygon(bank, SHORE)
        (x0, y0), (x1, y1) = at(0, 0), at(0, -4)
        c.fill("grass", [(x + (x1 - x0), y + (y1 - y0)) for x, y in bank])
    elif kind == "sea":  # it has a beach line
        water = shore(c, side, t - 7, 5)
        c.draw.polygon(shore(c, side, t, 3), (232, 220, 184))
        c.water("water blue", water)
        c.draw.line(water[1:-1], (240, 246, 246), 3)
        c.draw.polygon(shore(c, side, t // 2, 4), (8, 24, 60, 50))
    elif kind == "woods":
        rim = strip[:2]
        rim += [at(u, t - 5 + between(-5, 5)) for u in range(FULL + 10, -20, -14)]
        sx, sy = c.sun
        c.draw.polygon([(x + 5 * sx, y + 5 * sy) for x, y in rim], (8, 16, 22, 90))
        c.fill("trees green", rim)
        for u in range(0, FULL + 10, 17):
            x, y = at(u, t - 9 + between(-3, 3))
            rgb = shade((58, 100, 52), between(84, 118))
            tree(c, x, y, between(8, 11), rgb)
    elif kind == "fields":
        u = -20
        while u < FULL + 20:
            step = between(44, 92)
            crop = c.dice.pick(("green", "yellow", "brown", "green"))
            patch = [at(p, q) for p, q in corners(u, -9, u + step, t)]
            c.fill(f"crop {crop}", patch)
            c.draw.line([*patch, patch[0]], (98, 88, 62), 4)
            u += step
    else:  # houses
        c.fill(grass, strip)
        c.draw.line([at(0, t - 2), at(FULL, t - 2)], (150, 146, 140), 5)
        roof = COLOURS[c.dice.pick(("red", "brown", "gray"))]
        for u in range(20, FULL, 40):
            x, y = at(u + between(-3, 3), t / 2 - 4)
            house(c, x, y, 30, 25, angle, shade(roof, between(86, 112)), 5)
    c.ledger[f"{kind} {side}"] += 1


def _small(c: Canvas, group: Small) -> None:
    """Draw one group of small objects, as far as there is room."""
    kind, between = group.kind, c.dice.between
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
            tree(c, x, y, 8, shade((52, 98, 46), between(88, 112)))
        elif kind == "umbrellas":
            tint = c.tone(group.colour)
            c.disc(x + 4, y + 4, 7, (60, 40, 20, 110))
            c.disc(x, y, 7, tint)
            for turn in (0, 180):
                box = (x - 7, y - 7, x + 7, y + 7)
                c.draw.pieslice(box, turn, turn + 60, shade(tint, 78))
        elif kind == "pools":
            c.bar(x, y, 0, 22, 16, (226, 222, 210))
            c.bar(x, y, 0, 17, 11, (58, 176, 222))
        elif kind == "sheds":
            house(c, x, y, 16, 13, c.dice.pick((0, 90)), c.tone(group.colour), 4)
        else:
            boat(c, x, y, between(0, 359), c.tone(group.colour), 0.8)
            c.claim(x - 15, y - 15, x + 15, y + 15, 0, c.wet)
        c.claim(x - w / 2, y - w / 2, x + w / 2, y + w / 2)
        c.ledger[kind] += 1


def _vehicles(c: Canvas, group: Small) -> None:
    """Put cars or trucks on road slots, or on a lot of their own."""
    truck, n = group.kind == "trucks", group.count
    if len(c.slots) < n:
        step = 18 if truck else 16
        w, h, angle = n * step + 8, 38 if truck else 28, 90
        spot = c.find(w + 4, h + 4)
        if spot is None:
            spot, angle = c.find(h + 4, w + 4), 0
        if spot is None:
            return
        c.bar(*spot, angle - 90, w, h, (112, 112, 114))
        bays = [(4 + (k + 0.5) * step - w / 2, 0) for k in range(n)]
        c.slots = [(*p, angle) for p in c.local(*spot, angle - 90, 1, bays)]
    order = c.dice.shuffled(c.slots)
    w, h, dx = (27, 12, 13) if truck else (17, 10, 5)
    for slot in order[:n]:
        c.bar(*slot, w, h, c.tone(group.colour), 3)
        glass = corners(dx - 5, 1 - h / 2, dx - 2, h / 2 - 1)
        c.poly(*slot, 1, glass, (40, 46, 58))
        c.ledger[group.kind] += 1
    c.slots = order[n:]
