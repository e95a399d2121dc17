"""Small things that several tests build: a data set of coloured squares, models."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rsnb import recipes
from rsnb.backbones import Backbone
from rsnb.pairs import Pairs
from rsnb.recipes import Recipe
from rsnb.train import TrainConfig
from rsnb.world.describe import describe
from rsnb.world.render import render
from rsnb.world.scene import sample

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 220)}
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Squares:
    """Reader: a square of some colour at some side of a gray field."""

    side: int = 48

    def __call__(self, row: int) -> Image.Image:
        rng = np.random.default_rng(row)
        image = rng.integers(90, 110, (self.side, self.side, 3)).astype(np.uint8)
        colour = list(COLOURS.values())[row % 3]
        third = self.side // 3
        y, x = {"left": (1, 0), "right": (1, 2), "top": (0, 1), "bottom": (2, 1)}[
            SIDES[row % 4]
        ]
        image[y * third : (y + 1) * third, x * third : (x + 1) * third] = colour
        return Image.fromarray(image)


def scenes(
    images: Path, table: Path, n: int, split: str = "train", each: int | None = None
) -> None:
    """Draw n scenes of the world, and list `each` (else all) captions in a CSV."""
    with table.open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["filename", "title"])
        for i in range(n):
            name, scene = f"{split}_{i:03}.png", sample(split, i)
            render(scene).save(images / name)
            rows.writerows([name, c.text] for c in describe(scene)[:each])


def squares(n: int = 48, split: str = "train") -> Pairs:
    """Return n images with two captions each."""
    names = list(COLOURS)
    captions = []
    for i in range(n):
        captions.append(f"a {names[i % 3]} square on the {SIDES[i % 4]}")
        captions.append(f"{names[i % 3]} block at the {SIDES[i % 4]}")
    return Pairs(
        name="squares",
        ids=tuple(f"squares/{split}/{i}" for i in range(n)),
        split=(split,) * n,
        label=tuple(names[i % 3] for i in range(n)),
        captions=tuple(captions),
        gt=np.repeat(np.arange(n), 2),
        has_pixels=np.ones(n, bool),
        reader=Squares(),
        rows=np.arange(n),
        source={"sha256": f"squares-{split}-{n}"},
    )


def recipe(tower: str = "rn", **cfg: object) -> Recipe:
    """Return a recipe that trains in about a second."""
    vision = (
        {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 64,
         "patch_size": None}
        if tower == "rn"
        else {"layers": 1, "width": 32, "patch_size": 8, "image_size": 32,
              "head_width": 32}
    )  # fmt: skip
    base: dict[str, object] = {
        "epochs": 2, "batch_size": 16, "eval_every": 1, "bf16": False,
    }  # fmt: skip
    settings = TrainConfig(**{**base, **cfg})  # type: ignore[arg-type]
    return Recipe("squares", "train", vision, settings, dim=32, text=(1, 64), store=48)


def tiny(tower: str = "rn") -> Backbone:
    """Return an untrained backbone for the squares."""
    return recipes.start(recipe(tower), squares().captions, "tiny")
