"""How each of our own backbones is made: data, architecture, training settings.

Explained in notebook 02. A recipe is data, not code: a new one needs a row here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch

from rsnb.backbones import Backbone, Entry, build, wrap
from rsnb.data import load
from rsnb.errors import ParameterError
from rsnb.pairs import Pairs
from rsnb.train import TrainConfig
from rsnb.words import WordTokenizer

__all__ = ["RECIPES", "Recipe", "get", "start"]


@dataclass(frozen=True)
class Recipe:
    """One backbone, from scratch.

    Attributes:
        data: name for `rsnb.data.load`.
        split: training split.
        vision: open_clip `vision_cfg`; a list in `layers` makes a ModifiedResNet.
        cfg: training settings, seed included.
        dim: width of the shared space.
        text: (layers, width) of the text tower.
        context: words a caption may have, plus 2.
        min_count: drop words seen less often than this in the training captions.
        store: side in pixels of the training images in memory; windows are cut there.
        val: split that selection looks at.
        shipped: whether the weights come with the package.
        extra: data sets whose training split is added; the audit found no image of one
            in the test split of the other.
        repeat: how often an epoch sees the own training split, beside `extra`.
        skip: training images to leave out, those of `rsnb.pairs.held_out`; a later page
            fine-tunes on them.
        words: data sets whose training captions add to the vocabulary, words alone.
        turns: score with the mean over the 8 symmetries (chosen on validation).
        paraphrases: add the published paraphrases of a set's training captions, where
            it has any (`rsnb.data.paraphrases`).
        drop: data set → lists that are left out of it, see `rsnb.data.load`.
        val_from: data set that gives the split `val`, where `data` has none.
    """

    data: str
    split: str
    vision: dict[str, Any]
    cfg: TrainConfig
    dim: int = 128
    text: tuple[int, int] = (2, 128)
    context: int = 32
    min_count: int = 1
    store: int = 128
    val: str = "val"
    shipped: bool = False
    extra: tuple[str, ...] = ()
    repeat: int = 1
    skip: int = 0
    words: tuple[str, ...] = ()
    turns: bool = False
    paraphrases: bool = False
    drop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    val_from: str = ""

    def load(self, name: str = "") -> Pairs:
        """Return one of its data sets, `data` by default, without what it drops."""
        name = name or self.data
        return load(name, drop=self.drop.get(name, ()))


RN: dict[str, Any] = {
    "layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "head_width": 64,
    "patch_size": None,
}  # fmt: skip
VIT: dict[str, Any] = {
    "layers": 4, "width": 128, "image_size": 64, "head_width": 32, "patch_size": 8,
}  # fmt: skip
RN_DEEP: dict[str, Any] = {
    "layers": [3, 4, 6, 3], "width": 48, "image_size": 160, "head_width": 64,
    "patch_size": None,
}  # fmt: skip
# Windows of 64 to 192 native pixels, so that crops are in distribution.
_WIDE: dict[str, Any] = {"min_scale": 0.33, "average": 0.98}
_START = TrainConfig(epochs=8, lr=2e-3, eval_every=2, **_WIDE)
_STRONG_RN = TrainConfig(epochs=72, lr=2e-3, eval_every=6, **_WIDE)
_STRONG_VIT = TrainConfig(epochs=24, lr=2e-3, **_WIDE)
_WORLD: dict[str, Any] = {"context": 24, "store": 192, "shipped": True}
# From scratch on few thousand images, what decides is how little is memorised.
_REAL = TrainConfig(
    epochs=36, lr=2e-3, weight_decay=0.2, min_scale=0.4, jitter=0.2, mix=0.2,
    average=0.99, eval_every=6,
)  # fmt: skip
_FEW: dict[str, Any] = {"min_count": 2, "turns": True}
# A GPU's minutes: 160 px, the smallest side that RSICD's training images have here.
_GPU = replace(_REAL, lr=1e-3, average=0.998, epochs=60, eval_every=5)
_DEEP: dict[str, Any] = {
    **_FEW, "dim": 256, "text": (4, 256), "store": 160, "paraphrases": True
}  # fmt: skip

RECIPES: Mapping[str, Recipe] = MappingProxyType({
    "world-rn": Recipe("world", "train", RN, _STRONG_RN, **_WORLD),
    "world-vit": Recipe("world", "train", VIT, _STRONG_VIT, **_WORLD),
    **{
        f"source-{tower}-{seed}": Recipe(
            "world", "source", vision, replace(_START, seed=seed, epochs=n), **_WORLD
        )
        for tower, vision, n in (("rn", RN, 14), ("vit", VIT, 8)) for seed in (0, 1)
    },
    "ucm-rn": Recipe("ucm", "train", RN, _REAL, extra=("rsicd",), repeat=2, **_FEW),
    "rsicd-rn": Recipe(
        "rsicd", "train", RN, replace(_REAL, epochs=40, eval_every=8),
        extra=("ucm",), **_FEW,
    ),
    "rsicd-deep": Recipe("rsicd", "train", RN_DEEP, _GPU, extra=("ucm",), **_DEEP),
    "ucm-deep": Recipe(
        "ucm", "train", RN_DEEP, replace(_GPU, epochs=50), extra=("rsicd",), repeat=2,
        **_DEEP,
    ),
    # No scene of RSITMD's test split, under whichever name, is in its training.
    "rsitmd-rn": Recipe(
        "rsitmd", "train", RN, replace(_REAL, epochs=30), extra=("rsicd", "ucm"),
        drop={"rsitmd": ("tier-c",), "rsicd": ("leak-rsitmd",)}, val_from="rsicd",
        **_FEW,
    ),
    # Knows nothing of UCM's images, nor of the 3,000 that the noise sweep uses.
    "rsicd-rest": Recipe(
        "rsicd", "train", RN, replace(_REAL, epochs=30, eval_every=10),
        skip=3000, words=("ucm",), **_FEW,
    ),
})  # fmt: skip


def get(name: str, seed: int | None = None) -> Recipe:
    """Return a recipe by name, with another seed if given.

    Raises:
        ParameterError: unknown name.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    own = recipe.cfg.seed if seed is None else seed
    return replace(recipe, cfg=replace(recipe.cfg, seed=own))


def start(recipe: Recipe, captions: Sequence[str], name: str = "start") -> Backbone:
    """Return the recipe's architecture with random weights and a fitted vocabulary.

    Args:
        recipe: see `Recipe`; its seed decides the weights.
        captions: training captions, which give the vocabulary.
        name: what to call the backbone.
    """
    fit = WordTokenizer.fit
    words = fit(captions, context=recipe.context, min_count=recipe.min_count)
    layers, width = recipe.text
    text = {"context_length": recipe.context, "vocab_size": words.vocab_size,
            "width": width, "heads": width // 64, "layers": layers}  # fmt: skip
    config = {"embed_dim": recipe.dim, "vision_cfg": recipe.vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.cfg.seed)
        model = build(config, "gelu")
    entry = Entry(
        config, "gelu", "",
        words={"words": list(words.words), "context": recipe.context},
        licence="Apache-2.0" if recipe.shipped else "not for publication",
    )  # fmt: skip
    return wrap(name, model, entry, "")
