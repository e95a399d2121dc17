"""Scene graphs of the embedded world: classes, attributes, context, small objects.

A scene is sampled from its seed alone, so splits never share one. Code outside
`rsnb.world` reaches scene graphs through `rsnb.world.oracle` and nowhere else.
Explained in notebook 00 and in `book/own_data.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import numpy as np

__all__ = ["KINDS", "SIDES", "SPLITS", "Dice", "Kind", "Scene", "Small", "sample"]

T = TypeVar("T")

SPLITS: Mapping[str, int] = MappingProxyType(
    {"source": 6000, "captioner": 6000, "train": 4000, "val": 450, "test": 450}
)
SIDES = ("left", "right", "top", "bottom")
_SEED_BASE = {s: (k + 1) * 1_000_000 for k, s in enumerate(SPLITS)}


class Dice:
    """Uniform draws in batches: only PCG64 doubles are used, which stay the same."""

    def __init__(self, seed: int, stream: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64([seed, stream]))
        self._pool: list[float] = []

    def u(self) -> float:
        """Return a double in [0, 1)."""
        if not self._pool:
            self._pool = self._rng.random(64).tolist()
        return self._pool.pop()

    def chance(self, p: float) -> bool:
        """Return True with probability `p`."""
        return self.u() < p

    def between(self, lo: int, hi: int) -> int:
        """Return an int in [lo, hi], both ends included."""
        return lo + int(self.u() * (hi - lo + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`."""
        return items[int(self.u() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Return a key, in proportion to its weight."""
        x = self.u() * sum(weights.values())
        for key, w in weights.items():
            x -= w
            if x < 0:
                return key
        return next(reversed(list(weights)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return `items` in random order."""
        return [items[k] for k in np.argsort([self.u() for _ in items], kind="stable")]


@dataclass(frozen=True, slots=True)
class Small:
    """Objects of 3-8 native pixels: `count` of one `kind`, all of one `colour`."""

    kind: str
    colour: str
    count: int


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene graph. `None` marks an attribute that the class does not have.

    Attributes:
        seed: unique over all splits; decides the pixels and the captions too.
        split: `source`, `captioner`, `train`, `val` or `test`.
        cls: class name, a key of `KINDS`.
        style: temperate, arid, coastal or urban; never said, but it correlates facts.
        count: main objects (or parts) drawn.
        colour: their colour, or the colour of the land or water.
        layout: how they are arranged, or the shape.
        size: large or small; wide or narrow for rivers.
        ground: grass, soil, sand or pavement.
        context: (kind, side) bands; side `around` means all four.
        small: up to two groups of small objects.
    """

    seed: int
    split: str
    cls: str
    style: str
    count: int | None
    colour: str | None
    layout: str | None
    size: str | None
    ground: str | None
    context: tuple[tuple[str, str], ...]
    small: tuple[Small, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What scenes of a class may hold; words are separated by blanks."""

    colours: str = ""
    layouts: str = ""
    sizes: str = ""
    counts: tuple[int, ...] = ()
    small: str = "cars trees trucks sheds"
    ground: bool = True
    without: str = ""  # context kinds that would contradict or hide the class
    styles: str = "temperate arid coastal urban"


ARRANGED = "row grid ring scattered"  # needs three objects or more
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "airport": Kind("white gray blue red", "row scattered", "", (1, 2, 3, 4, 5, 6),
                        "trucks cars trees", without="sea"),
        "baseball field": Kind("", "row grid", "large small", (1, 1, 2, 3, 4),
                               "cars trees sheds"),
        "beach": Kind("blue green", "", "", (), "umbrellas boats trees", False,
                      "sea river railway fields", "coastal"),
        "bridge": Kind("gray white red", "", "", (1, 1, 2), "boats cars trucks",
                       without="river sea road railway"),
        "church": Kind("red brown gray blue", "", "large small", (),
                       "trees cars sheds"),
        "dense residential area": Kind("red brown gray blue", "rows blocks", "", (),
                                       "cars pools trees trucks", False, "houses"),
        "desert": Kind("yellow orange white", "dunes flat", "", (),
                       "trucks sheds trees", False, "fields woods sea houses", "arid"),
        "farmland": Kind("green yellow brown", "strips patches circles", "", (),
                         "sheds trucks trees", False, "fields",
                         "temperate temperate arid"),
        "forest": Kind("green yellow", "dense sparse clearing path", "", (),
                       "sheds trucks", False, "woods", "temperate coastal"),
        "golf course": Kind("", "", "", (2, 3, 4, 5, 6), "trees sheds cars", False,
                            "fields", "temperate coastal urban"),
        "harbor": Kind("white red blue brown", "row scattered", "",
                       (3, 4, 5, 6, 8, 10), "sheds trucks", False, "sea river fields",
                       "coastal urban"),
        "industrial area": Kind("blue white gray red", "row grid", "",
                                (2, 3, 4, 6), "trucks cars trees"),
        "intersection": Kind("", "cross tee roundabout", "wide narrow", (),
                             "cars trucks trees", without="road railway river"),
        "parking lot": Kind("", "empty half full", "", (), "trees sheds"),
        "pond": Kind("blue green brown", "round irregular rectangular",
                     "large small", (1, 1, 2, 3), "trees sheds boats",
                     without="river sea"),
        "railway station": Kind("red gray blue brown", "", "", (2, 3, 4, 5, 6),
                                "cars trucks trees", without="railway river"),
        "river": Kind("blue green brown", "straight winding", "wide narrow", (),
                      "boats trees sheds", without="river sea"),
        "school": Kind("red gray white brown", "row", "", (1, 2, 3, 4),
                       "trees cars pools"),
        "solar farm": Kind("blue black", "row grid", "", (1, 2, 3, 4, 6),
                           "sheds trucks trees"),
        "sparse residential area": Kind("red brown gray blue", "row scattered", "",
                                        (1, 2, 3, 4, 5), "pools cars trees sheds",
                                        without="houses"),
        "stadium": Kind("white gray red blue", "round oval rectangular",
                        "large small", (), "cars trees trucks"),
        "storage tank": Kind("white gray brown red", ARRANGED, "",
                             (1, 2, 3, 4, 5, 6, 8, 9), "trucks cars sheds trees"),
        "tennis court": Kind("blue green red", "row grid", "", (1, 2, 3, 4, 6, 8),
                             "cars trees sheds"),
        "wind farm": Kind("", "row scattered", "", (1, 2, 3, 4, 5),
                          "sheds trucks trees", without="houses woods"),
    }
)  # fmt: skip

_GROUND = {
    "temperate": {"grass": 6, "soil": 3, "pavement": 1},
    "arid": {"sand": 5, "soil": 4, "pavement": 1},
    "coastal": {"grass": 4, "sand": 4, "pavement": 2},
    "urban": {"pavement": 5, "grass": 4, "soil": 1},
}
_CONTEXT = {
    "temperate": {"woods": 3, "fields": 3, "river": 2, "road": 2, "railway": 1},
    "arid": {"road": 3, "railway": 2, "fields": 2, "river": 1, "houses": 2},
    "coastal": {"sea": 4, "road": 2, "houses": 2, "woods": 2},
    "urban": {"road": 3, "houses": 4, "railway": 2, "river": 2, "woods": 1},
}
_TASTE = {
    "temperate": "red brown green",
    "arid": "white brown yellow",
    "coastal": "white blue",
    "urban": "gray blue black",
}
_HIDES = {"grass": "green", "soil": "brown", "pavement": "gray"}  # no contrast
_SMALL = {  # kind: (most, colours)
    "cars": (6, "red white black blue"),
    "trucks": (4, "white red yellow"),
    "trees": (9, "green"),
    "pools": (3, "blue"),
    "sheds": (4, "white red brown"),
    "boats": (4, "white red"),
    "umbrellas": (8, "red white blue"),
}
_AROUND = ("woods", "fields", "houses")


def _layout(kind: Kind, count: int | None, dice: Dice) -> str | None:
    options = kind.layouts.split()
    if count is None or not options or "round" in options:
        return dice.pick(options) if options else None
    fits = {
        "row": 3 <= count <= 6,
        "grid": count in (4, 6, 8, 9),
        "ring": count >= 5,
        "scattered": 3 <= count <= 10,
    }
    able = [o for o in options if fits[o]]
    return dice.pick(able) if able else None


def _context(kind: Kind, style: str, dice: Dice) -> tuple[tuple[str, str], ...]:
    weights = {
        k: w for k, w in _CONTEXT[style].items() if k not in kind.without.split()
    }
    number = dice.weighted({0: 0.22, 1: 0.40, 2: 0.30, 4: 0.08})
    around = [k for k in _AROUND if k in weights]
    if number == 4 and around:
        return ((dice.pick(around), "around"),)
    out: list[tuple[str, str]] = []
    for side in dice.shuffled(SIDES)[: min(number, 2)]:
        if weights:
            chosen = dice.weighted(weights)
            weights.pop(chosen)
            out.append((chosen, side))
    return tuple(out)


def _small(
    kind: Kind, size: str | None, context: tuple[tuple[str, str], ...], dice: Dice
) -> tuple[Small, ...]:
    kinds = [
        k
        for k in kind.small.split()
        if not (k == "boats" and size in ("narrow", "small", None) and kind.sizes)
        # single trees beside woods could not be told from them
        and not (k == "trees" and any(c == "woods" for c, _ in context))
    ]
    number = dice.weighted({0: 0.30, 1: 0.48, 2: 0.22})
    out = []
    for k in dice.shuffled(kinds)[:number]:
        most, colours = _SMALL[k]
        out.append(Small(k, dice.pick(colours.split()), dice.between(1, most)))
    return tuple(out)


def sample(split: str, index: int) -> Scene:
    """Return scene `index` of `split`; equal arguments give an equal scene."""
    if not 0 <= index < SPLITS[split]:
        raise IndexError(f"split {split!r} has scenes 0..{SPLITS[split] - 1}")
    seed = _SEED_BASE[split] + index
    dice = Dice(seed, 0)
    cls = dice.pick(list(KINDS))
    kind = KINDS[cls]
    style = dice.pick(kind.styles.split())
    ground = dice.weighted(_GROUND[style]) if kind.ground else None
    taste = _TASTE[style].split()
    colours = {
        c: 3.0 if c in taste else 1.0
        for c in kind.colours.split()
        if c != _HIDES.get(str(ground))
    }
    count = dice.pick(kind.counts) if kind.counts else None
    layout = _layout(kind, count, dice)
    size = None
    if kind.sizes and count in (None, 1):
        size = dice.pick(kind.sizes.split())
    context = _context(kind, style, dice)
    if cls == "beach":  # the sea is on one side, anything else on the far one
        sea = dice.pick(SIDES)
        far = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[sea]
        land = tuple((k, far) for k, s in context[:1] if s != "around")
        context = (("sea", sea), *land)
    scene_colour = dice.weighted(colours) if colours else None
    if cls == "parking lot":
        lo, hi = {"empty": (2, 4), "half": (12, 16), "full": (26, 30)}[str(layout)]
        count = dice.between(lo, hi)
    return Scene(
        seed, split, cls, style, count, scene_colour, layout, size, ground, context,
        _small(kind, size, context, dice),
    )  # fmt: skip
