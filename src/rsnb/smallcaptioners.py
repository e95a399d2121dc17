"""The small captioners that we train: what each learns from, and how to get it.

Explained in notebook 04. A course is data, not code, as a recipe is for a backbone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rsnb.batches import TrainConfig
from rsnb.cache import cache_dir
from rsnb.captioners import (
    PROMPTS,
    Captioner,
    EndpointCaptioner,
    FileCaptioner,
    Prompt,
    TransformersCaptioner,
    describe,
)
from rsnb.captionfile import read
from rsnb.data import load as load_data
from rsnb.errors import BackboneError, ParameterError
from rsnb.files import fingerprint
from rsnb.lessons import from_captions, teach
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.records import Record, align, quality
from rsnb.smallvlm import Shape, build, save
from rsnb.world.annotate import annotated

__all__ = [
    "COURSES", "Course", "captioner", "folder", "make", "prompt_of", "records", "run",
    "shipped",
]  # fmt: skip

MAX_BYTES = 15 << 20
WEIGHTS = Path(__file__).parent / "weights"
RECORDS = Path(__file__).parent / "rsrt"


@dataclass(frozen=True)
class Course:
    """One captioner, from scratch.

    Attributes:
        data: names for `rsnb.data.load`; all are learned from together.
        split: the split of each that is learned from.
        cfg: training settings.
        shape: size of the model.
        min_count: words seen less often are unknown to it.
        shipped: whether the weights come with the package.
        prompt: name in `PROMPTS` of what it is asked.
    """

    data: tuple[str, ...]
    split: str
    cfg: TrainConfig
    shape: Shape = field(default_factory=Shape)
    min_count: int = 1
    shipped: bool = False
    prompt: str = "world"


_CFG: Mapping[str, Any] = MappingProxyType(
    {"batch_size": 64, "lr": 1.5e-3, "warmup": 0.08, "average": 0.998}
)
COURSES: Mapping[str, Course] = MappingProxyType({
    # Scene descriptions by the world's own annotator, of images that nothing else uses.
    "world-vlm": Course(
        ("world",), "captioner", TrainConfig(epochs=36, **_CFG), shipped=True
    ),
    # The human captions and the classes of both training splits.
    "real-vlm": Course(
        ("ucm", "rsicd"), "train",
        TrainConfig(epochs=12, weight_decay=0.1, **_CFG), min_count=3,
        prompt="once",  # its turns are all alike
    ),
    "real-vlm-deep": Course(  # a GPU's minutes
        ("ucm", "rsicd"), "train",
        TrainConfig(epochs=24, weight_decay=0.1, **{**_CFG, "lr": 1e-3}), min_count=3,
        prompt="once", shape=Shape(
            channels=(64, 128, 256, 512), blocks=(2, 2, 2, 2), width=256, layers=4
        ),
    ),
})  # fmt: skip


def folder(name: str) -> Path:
    """Return where a course leaves its captioner."""
    if name not in COURSES:
        raise ParameterError(f"no course {name!r}; there are: {', '.join(COURSES)}.")
    return (WEIGHTS if COURSES[name].shipped else cache_dir() / "captioners") / name


def make(name: str, device: str = "cpu") -> Path:
    """Train a captioner, resuming a run that was stopped; return its folder."""
    place, course = folder(name), COURSES[name]
    parts = [load_data(d).where(course.split).with_pixels() for d in course.data]
    pixels = np.concatenate([load_pixels(p, course.shape.side) for p in parts])
    variants = [
        row
        for p in parts
        for row in (annotated(p.ids) if p.name == "world" else from_captions(p))
    ]
    seed, rare = course.cfg.seed, course.min_count
    model, processor = build(variants, course.shape, seed=seed, min_count=rare)
    data = [p.source.get("sha256") for p in parts]
    run = f"{name}-{fingerprint(asdict(course), data)[:16]}"
    runs = cache_dir() / "runs" / run
    how: Any = {"folder": runs, "device": device}
    log = teach(model, processor, pixels, variants, course.cfg, **how)
    save(
        place, model, processor, course=asdict(course), images=len(pixels), data=data,
        seconds=log[-1]["seconds"], log=log,
    )  # fmt: skip
    if course.shipped and (place / "model.safetensors").stat().st_size > MAX_BYTES:
        raise ParameterError(f"{place} passes 15 MB; shrink the course's shape.")
    return place


def captioner(name: str, device: str = "cpu") -> TransformersCaptioner:
    """Return one of our captioners, or any that `TransformersCaptioner.load` takes.

    `real-vlm` is trained on first use, which takes its time, once.

    Raises:
        BackboneError: no such captioner, or as `TransformersCaptioner.load`.
    """
    if name not in COURSES:
        if "/" not in name and not Path(name).is_dir():
            what = f"no captioner {name!r}: no file, folder or owner/model, and none of"
            raise BackboneError(f"{what} {', '.join(COURSES)}.")
        return TransformersCaptioner.load(name, device=device)
    place = folder(name)
    if not (place / "model.safetensors").is_file():
        make(name, device)
    return TransformersCaptioner.load(place, device=device, batch=160)


def prompt_of(name: str) -> Prompt:
    """Return what a captioner is asked: a course's own prompt, else `rsrt`."""
    return PROMPTS[COURSES[name].prompt if name in COURSES else "rsrt"]


def run(args: argparse.Namespace) -> None:
    """Run `python -m rsnb describe` with parsed arguments."""
    pairs = load_data(args.data, lenient=args.lenient)
    if args.split:
        pairs = pairs.where(args.split)
    name = str(args.captioner)
    who: Captioner
    if name.startswith(("http://", "https://")):
        who = EndpointCaptioner(name, args.model, args.key_env or None)
    elif Path(name).is_file():
        who = FileCaptioner(name, fill=True)
    else:
        who = captioner(name, args.device)
    prompt = PROMPTS[args.prompt] if args.prompt else prompt_of(name)
    if not isinstance(who, FileCaptioner):
        pairs = pairs.with_pixels()
    found = quality(describe(pairs, who, prompt, args.out, batch=args.batch))
    print(f"{args.out}: {found['usable']:,} of {found['records']:,} records usable")
    for fault, n in {**found["status"], **found["faults"]}.items():
        if fault != "ok":
            print(f"  {n:,} {fault}")


def shipped(name: str) -> Path:
    """Return the file of records that comes with the package: `world-val` or so.

    Raises:
        ParameterError: there is none of that name.
    """
    path = RECORDS / f"{name}.jsonl"
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in RECORDS.glob("*.jsonl"))) or "none"
        raise ParameterError(f"no records {name!r} in this package; there are: {have}.")
    return path


def records(pairs: Pairs, name: str, *, device: str = "cpu") -> list[Record]:
    """Return one record an image of `pairs`, a split or part of one.

    Those of the embedded world's val and test come with the package. Others are made by
    the captioner `name` once and kept in the cache; a run that was stopped goes on.
    """
    split = pairs.split[0] if len(set(pairs.split)) == 1 else "all"
    if name == "world-vlm" and (RECORDS / f"{pairs.name}-{split}.jsonl").is_file():
        return align(read(shipped(f"{pairs.name}-{split}"))[1], pairs.ids, extra=True)
    who = captioner(name, device)
    prompt = prompt_of(name)
    key = fingerprint(pairs.source.get("sha256"), name, who.revision, prompt.digest)
    path = cache_dir() / "captions" / f"{pairs.name}-{split}-{key[:16]}.jsonl"
    return describe(pairs, who, prompt, path)
