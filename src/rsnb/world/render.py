"""Scene graph → native 192x192 RGB picture, everything in the graph visible.

`render` compares what it drew with the graph and raises if an object is missing.
Explained in notebook 00.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image

from rsnb.errors import DataError
from rsnb.world import built, energy, nature, traffic
from rsnb.world.canvas import FULL, Canvas, develop
from rsnb.world.context import band, small, wear
from rsnb.world.parts import Box
from rsnb.world.scene import SIDES, Dice, Scene

__all__ = ["render"]

_PAINTERS: Mapping[str, Callable[[Canvas, Scene], None]] = MappingProxyType(
    {
        "airport": traffic.airport,
        "baseball field": built.baseball,
        "beach": nature.beach,
        "bridge": traffic.bridge,
        "church": built.church,
        "dense residential area": built.dense,
        "desert": nature.desert,
        "farmland": nature.farmland,
        "forest": nature.forest,
        "golf course": nature.golf,
        "harbor": nature.harbor,
        "industrial area": built.industrial,
        "intersection": traffic.intersection,
        "parking lot": traffic.parking,
        "pond": nature.pond,
        "railway station": traffic.station,
        "river": nature.river,
        "school": built.school,
        "solar farm": energy.solar,
        "sparse residential area": built.sparse,
        "stadium": built.stadium,
        "storage tank": energy.tanks,
        "tennis court": built.tennis,
        "wind farm": energy.wind,
    }
)
_AREA = ("beach", "dense residential area", "desert", "farmland", "forest", "harbor")
_NO_SPARE = (*_AREA, "bridge", "golf course", "intersection", "river")


def _expected(s: Scene) -> dict[str, int]:
    want: dict[str, int] = {}
    if s.count is not None:
        want["main"] = s.count
    for kind, side in s.context:
        sides = SIDES if side == "around" else (side,)
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
            bands += [(kind, one) for one in (SIDES if side == "around" else (side,))]
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
        wear(c)
    _PAINTERS[s.cls](c, s)
    own = len(c.slots)
    for kind, side in bands:
        band(c, s, kind, side, t[side])
    c.slots = [  # a vehicle where two bands cross would be hidden
        p
        for k, p in enumerate(c.slots)
        if 16 < p[0] < FULL - 16 and 16 < p[1] < FULL - 16
        and sum(_inside(c.box, p)) >= (2 if k < own else 1)
    ]  # fmt: skip
    for group in sorted(s.small, key=lambda g: g.kind not in ("cars", "trucks")):
        small(c, group)  # lots first: they need the most room
    return c


def _inside(box: Box, p: tuple[float, float, float]) -> tuple[bool, bool]:
    x0, y0, x1, y1 = box
    return x0 + 12 < p[0] < x1 - 12, y0 + 12 < p[1] < y1 - 12
