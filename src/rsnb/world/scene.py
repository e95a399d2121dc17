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

from rsnb.world.kinds import AROUND, CONTEXT, GROUND, HIDES, KINDS, SMALL, TASTE, Kind

__all__ = ["SIDES", "SPLITS", "Dice", "Scene", "Small", "sample"]

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
    weights = {k: w for k, w in CONTEXT[style].items() if k not in kind.without.split()}
    number = dice.weighted({0: 0.22, 1: 0.40, 2: 0.30, 4: 0.08})
    around = [k for k in AROUND if k in weights]
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
        most, colours = SMALL[k]
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
    ground = dice.weighted(GROUND[style]) if kind.ground else None
    taste = TASTE[style].split()
    colours = {
        c: 3.0 if c in taste else 1.0
        for c in kind.colours.split()
        if c != HIDES.get(str(ground))
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
