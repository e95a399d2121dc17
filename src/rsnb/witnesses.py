"""Witnesses by name: our captioners adapted to what people type, or any other model.

Explained in notebook 05. An adaptation is data, as a course is for a captioner: LoRA on
captions that the backbones have not seen. It learns two turns: what would a person type
to find this image (at times without the image, so that it knows what people type
anyway), and how does a query read once the image has been looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rsnb import adapters, smallcaptioners
from rsnb.batches import TrainConfig
from rsnb.cache import cache_dir
from rsnb.cadre.evidence import ASKING, Witness, tidy
from rsnb.data import load as load_data
from rsnb.files import fingerprint
from rsnb.lessons import from_captions
from rsnb.lora import Adapter, Draw, Lesson, adapt
from rsnb.pixels import load_pixels
from rsnb.smallcaptioners import COURSES, captioner
from rsnb.vlm import TransformersCaptioner
from rsnb.world.annotate import annotated

__all__ = ["ADAPTATIONS", "folder", "lessons", "make", "witness"]

REWRITES, BLIND = 0.25, 0.1  # shares of the lessons


_TRAIN: Mapping[str, Any] = MappingProxyType(
    {"batch_size": 64, "weight_decay": 0.01, "warmup": 0.1, "average": 0.995}
)
#: Captioner → its adaptation, on the split that the captioner learned from.
ADAPTATIONS: Mapping[str, Adapter] = MappingProxyType({
    "world-vlm": Adapter(
        rank=32, train=TrainConfig(epochs=16, lr=4e-3, **_TRAIN)
    ),
    "real-vlm": Adapter(
        rank=32, train=TrainConfig(epochs=4, lr=2e-3, **_TRAIN)
    ),
    "real-vlm-deep": Adapter(
        rank=32, train=TrainConfig(epochs=6, lr=2e-3, **_TRAIN)
    ),
})  # fmt: skip


def folder(name: str) -> Path:
    """Return where the adapter of a captioner of ours lies."""
    return smallcaptioners.folder(name).with_name(f"{name}-cadre")


def lessons(typed: list[list[str]], described: list[list[str]]) -> Draw:
    """Return what draws lessons: the captions of each image, and its descriptions."""
    ask = ASKING["world"]

    def draw(row: int, rng: np.random.Generator, _: int) -> Lesson:
        query = tidy(str(rng.choice(typed[row])))
        if rng.random() < REWRITES:
            turn = ask.rewrite.format(query=query)
            return Lesson(turn, str(rng.choice(described[row])))
        return Lesson(ask.typed, query, sees=bool(rng.random() >= BLIND))

    return draw


def make(name: str, device: str = "cpu") -> Path:
    """Train the adapter of a captioner, resuming a run that was stopped."""
    course, how = COURSES[name], ADAPTATIONS[name]
    who = captioner(name, device)
    parts = [load_data(d).where(course.split).with_pixels() for d in course.data]
    pixels = np.concatenate([load_pixels(p, course.shape.side) for p in parts])
    typed = [p.captions_of(i) for p in parts for i in range(len(p))]
    described = [
        [tidy(v["caption"]) for v in row]
        for p in parts
        for row in (annotated(p.ids) if p.name == "world" else from_captions(p))
    ]
    texts = [tidy(t) for row in typed for t in row]
    words = [
        *texts,
        *(t for row in described for t in row),
        *asdict(ASKING["world"]).values(),
    ]
    data = [p.source.get("sha256") for p in parts]
    turns = asdict(ASKING["world"]), REWRITES, BLIND
    run = f"{name}-cadre-{fingerprint(asdict(how), data, who.revision, turns)[:16]}"
    draw = lessons(typed, described)
    place = cache_dir() / "runs" / run
    log = adapt(who, pixels, draw, how, words=words, folder=place)
    adapters.save(folder(name), who, how, log, images=len(pixels), data=data)
    return folder(name)


def witness(name: str, device: str = "cpu") -> Witness:
    """Return a captioner of ours with its adapter, or any other model as it is.

    An adapter that is not shipped is trained on first use.
    """
    if name not in ADAPTATIONS:
        return Witness(captioner(name, device), ASKING["plain"])
    place = folder(name)
    if not (place / adapters.WEIGHTS).is_file():
        make(name, device)
    who = TransformersCaptioner.load(
        smallcaptioners.folder(name), device=device, batch=160, adapter=place
    )
    return Witness(who, ASKING["world"])
