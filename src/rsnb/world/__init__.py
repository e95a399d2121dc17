"""The embedded world: procedural overhead scenes with sparse human-style captions.

First used in notebook 00. Native images are 192x192, three times the encoders' 64, and
about a third of the captions mention objects of 3-8 native pixels. The splits share no
scene. `source` is drawn through a shifted sensor and described more sparsely. Scene
graphs are reachable only through `rsnb.world.oracle`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from rsnb.errors import DataError
from rsnb.files import fingerprint, sha256_bytes
from rsnb.pairs import Pairs
from rsnb.world.canvas import NATIVE
from rsnb.world.describe import CAPTIONS, describe
from rsnb.world.render import render
from rsnb.world.scene import SPLITS, known, sample

__all__ = [
    "FROZEN", "NATIVE", "SPLITS", "VERSION", "digests", "load", "render_split",
]  # fmt: skip

VERSION = "1.1"  # 1.1 mixes the channels of the source sensor less than 1.0
# Frozen before the first training. If a digest changes, every receipt must be re-run.
FROZEN_TEXT = "e888ceb6d49495016e1b175e5d69d95ad36caa3d45c03e026f11772c1cdea244"
FROZEN_PIXELS = "8b7448f4cba9224aad7d6f7fceefe4f30b7e8e5f1260392805920968b738c08a"
FROZEN = sha256_bytes((FROZEN_TEXT + FROZEN_PIXELS).encode())


@lru_cache(maxsize=8)
def _texts(split: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (class names, captions) of a split."""
    scenes = [sample(split, k) for k in range(SPLITS[split])]
    captions = tuple(c.text for s in scenes for c in describe(s))
    return tuple(s.cls for s in scenes), captions


@dataclass(frozen=True)
class Scenes:
    """Reader of a world's images: draws one, or many at once in parallel.

    Attributes:
        where: (split, number) of each row.
    """

    where: tuple[tuple[str, int], ...]

    def __call__(self, row: int) -> Image.Image:
        """Return the 192x192 RGB image of a row."""
        return render(sample(*self.where[row]))

    def many(self, rows: np.ndarray, side: int) -> np.ndarray:
        """Return uint8 (len(rows), side, side, 3), from whole splits drawn at once."""
        want = [self.where[row] for row in rows]
        drawn = {s: render_split(s, side) for s in dict.fromkeys(s for s, _ in want)}
        return np.stack([drawn[s][k] for s, k in want])


def load(split: str | None = None) -> Pairs:
    """Return the world, or one split of it; images are drawn when they are asked for.

    Args:
        split: `source`, `captioner`, `train`, `val` or `test`; None for all of them.

    Returns:
        Pairs with ids like `world/test/000123`, five captions an image and the class
        as label.

    Raises:
        DataError: there is no such split.
    """
    names = known(split)
    where = [(name, k) for name in names for k in range(SPLITS[name])]
    return Pairs(
        name="world",
        ids=tuple(f"world/{name}/{k:06d}" for name, k in where),
        split=tuple(name for name, _ in where),
        label=tuple(c for name in names for c in _texts(name)[0]),
        captions=tuple(t for name in names for t in _texts(name)[1]),
        gt=np.repeat(np.arange(len(where), dtype=np.int64), CAPTIONS),
        has_pixels=np.ones(len(where), bool),
        reader=Scenes(tuple(where)),
        rows=np.arange(len(where), dtype=np.int64),
        source={
            "layout": "world",
            "version": VERSION,
            "sha256": FROZEN,
            "problems": [],
        },
    )


def render_split(
    split: str, side: int = NATIVE, workers: int | None = None
) -> np.ndarray:
    """Draw a whole split in parallel processes.

    Args:
        split: name of the split.
        side: pixels to which the 192x192 images are reduced (bicubic).
        workers: processes; by default one a CPU core.

    Returns:
        uint8 (N, side, side, 3), in the order of `load(split)`.

    Raises:
        DataError: there is no such split, or a worker failed.
    """
    (name,) = known(split)
    n = SPLITS[name]
    parts = max(1, min(workers or os.cpu_count() or 1, n // 200))
    cuts = [n * k // parts for k in range(parts + 1)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    out = np.empty((n, side, side, 3), np.uint8)

    # plain processes: fork is unsafe beside torch threads, spawn re-runs user scripts
    def draw(a: int, b: int) -> None:
        job = [sys.executable, "-m", "rsnb.world", name, str(a), str(b), str(side)]
        raw = subprocess.run(job, stdout=subprocess.PIPE, env=env, check=True).stdout
        out[a:b] = np.frombuffer(raw, np.uint8).reshape(b - a, side, side, 3)

    try:
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(draw, cuts[:-1], cuts[1:]))
    except subprocess.CalledProcessError as error:
        raise DataError(
            f"drawing split {name!r} failed: a worker stopped (see its message above). "
            "Try workers=1."
        ) from error
    return out


def digests() -> tuple[str, str]:
    """Return digests of (all texts and graphs of val and test, 16 test images).

    The first is exact on every platform; the second holds for one Pillow and libm.
    """
    text = fingerprint(
        [
            [repr(s), [c.text for c in describe(s)]]
            for name, n in SPLITS.items()
            for s in (sample(name, k) for k in range(min(n, 450)))
        ]
    )
    pixels = [np.asarray(render(sample("test", k))) for k in range(0, 450, 29)]
    return text, fingerprint(*pixels)
