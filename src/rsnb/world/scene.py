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

from rsnb.errors import DataError
from rsnb.world import tables
from rsnb.world.tables import KINDS, OPPOSITE, SIDES, Kind

__all__ = ["KINDS", "SPLITS", "Dice", "Scene", "Small", "known", "sample"]

T = TypeVar("T")

SPLITS: Mapping[str, int] = MappingProxyType(
    {"source": 6000, "captioner": 6000, "train": 4000, "val": 450, "test": 450}
)
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

    def word(self, row: str) -> str:
        """Return one of the options of a row of a table."""
        return self.pick(row.split(", "))

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Return a key, in proportion to its weight."""
        x = self.u() * sum(weights.values())
        for key in weights:
            x -= weights[key]
            if x < 0:
                break
        return key

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


def known(split: str | None) -> tuple[str, ...]:
    """Return the named split, or all of them; raise DataError if there is none."""
    if split is None:
        return tuple(SPLITS)
    if split not in SPLITS:
        raise DataError(f"world has no split {split!r}; it has: {', '.join(SPLITS)}.")
    return (split,)


def _layout(kind: Kind, count: int | None, dice: Dice) -> str | None:
    able = kind.layouts.split()
    if count is not None and "round" not in able:
        fits = {"row": 3 <= count <= 6, "grid": count in (4, 6, 8, 9),
                "ring": count >= 5, "scattered": 3 <= count <= 10}  # fmt: skip
        able = [o for o in able if fits[o]]
    return dice.pick(able) if able else None


def _context(
    kind: Kind, bands: Mapping[str, int], dice: Dice
) -> tuple[tuple[str, str], ...]:
    weights = {k: w for k, w in bands.items() if k not in kind.without.split()}
    number = dice.weighted({0: 0.22, 1: 0.40, 2: 0.30, 4: 0.08})
    around = [k for k in tables.AROUND if k in weights]
    if number == 4 and around:
        return ((dice.pick(around), "around"),)
    out: list[tuple[str, str]] = []
    for side in dice.shuffled(SIDES)[: min(number, 2)]:
        if weights:
            out.append((dice.weighted(weights), side))
            weights.pop(out[-1][0])
    return tuple(out)


def _small(
    kind: Kind, size: str | None, context: tuple[tuple[str, str], ...], dice: Dice
) -> tuple[Small, ...]:
    no = set()
    if kind.sizes and size in ("narrow", "small", None):
        no.add("boats")
    if any(c == "woods" for c, _ in context):  # single trees could not be told apart
        no.add("trees")
    kinds = [k for k in kind.small.split() if k not in no]
    number = dice.weighted({0: 0.30, 1: 0.48, 2: 0.22})
    out = []
    for k in dice.shuffled(kinds)[:number]:
        most, colours, _ = tables.SMALL[k]
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
    grounds, bands, taste = tables.STYLES[style]
    ground = dice.weighted(grounds) if kind.ground else None
    hidden = tables.HIDES.get(ground or "")
    options = [c for c in kind.colours.split() if c != hidden]
    colours = {c: 3.0 if c in taste.split() else 1.0 for c in options}
    count = dice.pick(kind.counts) if kind.counts else None
    layout = _layout(kind, count, dice)
    one = kind.sizes and count in (None, 1)
    size = dice.pick(kind.sizes.split()) if one else None
    context = _context(kind, bands, dice)
    if cls == "beach":  # the sea is on one side, anything else on the far one
        sea = dice.pick(SIDES)
        land = tuple((k, OPPOSITE[sea]) for k, s in context[:1] if s != "around")
        context = (("sea", sea), *land)
    scene_colour = dice.weighted(colours) if colours else None
    if cls == "parking lot":
        full = {"empty": (2, 4), "half": (12, 16), "full": (26, 30)}
        count = dice.between(*full[str(layout)])
    return Scene(
        seed, split, cls, style, count, scene_colour, layout, size, ground, context,
        _small(kind, size, context, dice),
    )  # fmt: skip
