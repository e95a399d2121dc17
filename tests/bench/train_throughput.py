"""Training throughput of `rsnb.train.fit` against open_clip's own loop.

Run by `make bench`; `--write` keeps `book/results/bench/train.json`. Their side is the
released `open_clip_train.train.train_one_epoch`, with their `ClipLoss`, schedule and
optimiser groups, on the same weights, images, batch size, gradient clip, threads and
precision. Their data module needs packages that the lock does not hold, so its
`CsvDataset` is repeated here over images in memory, which spares it opening files.

Arms, interleaved, so that a busy machine slows all of them:

- `rsnb`: `fit`, its augmentation included.
- `rsnb_average`: the same with a running mean of the weights, which theirs has not.
- `open_clip_workers_0`, `open_clip_workers_2`: their transforms on PIL images and
  captions tokenised one by one, in a DataLoader without and with worker processes.
- `open_clip_our_batches`: their loop fed with our augmented batches, made on the fly as
  `fit` makes them. What is left to differ is the step.
- `open_clip_our_batches_channels_last`: the same with our memory layout of the model.
- `open_clip_ready`: their loop fed with batches that lie ready, so it pays nothing for
  data while `fit` pays in full.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from open_clip.loss import ClipLoss
from open_clip.transform import image_transform
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsnb import backbones, recipes, report
from rsnb.backbones import Backbone
from rsnb.batches import Batches, TrainConfig
from rsnb.data import load
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.train import fit

BACKBONES = ("source-rn-0", "source-vit-0")
BAR = {  # what `rsnb` is held against
    "own_data_path": ("open_clip_workers_0", "open_clip_workers_2"),
    "same_batches": ("open_clip_our_batches",),
    "same_batches_same_layout": ("open_clip_our_batches_channels_last",),
    "their_data_free": ("open_clip_ready",),
}


class Rows(Dataset):
    """As open_clip's `CsvDataset`: one caption a row, transformed one by one."""

    def __init__(self, start: Backbone, pairs: Pairs, pixels: np.ndarray) -> None:
        self.pairs, self.pixels, self.start = pairs, pixels, start
        mean, std = start.entry.mean, start.entry.std
        self.transform = image_transform(start.image_size, True, mean, std)

    def __len__(self) -> int:
        return len(self.pairs.captions)

    def __getitem__(self, t: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.pixels[self.pairs.gt[t]])
        return self.transform(image), self.start.tokenize([self.pairs.captions[t]])[0]


@dataclass
class Loader:
    """A loader of as many batches as are to be timed."""

    batches: Iterator[tuple[Tensor, Tensor]]
    steps: int
    batch_size: int

    @property
    def num_batches(self) -> int:
        return self.steps

    @property
    def num_samples(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _, batch in zip(range(self.steps), self.batches, strict=False):
            yield batch


def theirs(
    start: Backbone, cfg: TrainConfig, batches: Callable[[], Iterator],
    precision: str, layout: torch.memory_format, steps: int,
) -> float:  # fmt: skip
    """Return the seconds that open_clip's loop takes for `steps` steps."""
    model: Any = backbones.build(start.entry.config, start.entry.activation)
    model.load_state_dict(start.model.state_dict())
    model.output_dict = True
    model = model.to(memory_format=layout)
    named = list(model.named_parameters())

    def bare(name: str, p: Tensor) -> bool:  # as in open_clip_train.main
        return p.ndim < 2 or any(w in name for w in ("bn", "ln", "bias", "logit_scale"))

    optim = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if bare(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not bare(n, p)],
             "weight_decay": cfg.weight_decay},
        ],
        lr=cfg.lr, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    args = SimpleNamespace(
        device="cpu", precision=precision, distill=False, accum_freq=1, rank=0,
        skip_scheduler=False, horovod=False, grad_clip_norm=5.0, world_size=1,
        log_every_n_steps=100, batch_size=cfg.batch_size, wandb=False, local_rank=0,
    )  # fmt: skip
    data = SimpleNamespace(
        # Begun here, so that workers clear what the last round left in their queues.
        dataloader=Loader(batches(), steps, cfg.batch_size),
        set_epoch=lambda epoch: None,
    )
    schedule = cosine_lr(optim, cfg.lr, max(1, steps // 10), steps)
    began = time.perf_counter()
    train_one_epoch(
        model, {"train": data}, ClipLoss(), 0, optim, None, schedule, None, args
    )
    return time.perf_counter() - began


def arms(
    start: Backbone, pairs: Pairs, pixels: np.ndarray, cfg: TrainConfig, precision: str
) -> dict[str, Callable[[int], float]]:
    """Return name → function from a number of steps to seconds."""
    data = Batches(start, pairs, pixels, cfg)

    def fly() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in data.epoch(0):
            yield start.normalise(batch.images), batch.ids

    def plain() -> Iterator[tuple[Tensor, Tensor]]:
        for images, ids in fly():
            yield images.contiguous(), ids  # as their transforms leave them

    ready = list(plain())
    rows = Rows(start, pairs, pixels)
    loaders = {
        n: DataLoader(
            rows, cfg.batch_size, shuffle=True, drop_last=True, num_workers=n,
            persistent_workers=n > 0,
        )
        for n in (0, 2)
    }  # fmt: skip
    few = pairs.subset(np.arange(8))  # the stop comes before anything is validated

    def ours(cfg: TrainConfig, steps: int) -> float:
        done = fit(start, pairs, pixels, few, pixels[:8], cfg, max_steps=steps)
        return done.seconds  # without the set-up that comes once

    how = partial(partial, theirs, start, cfg)
    usual, last = torch.contiguous_format, torch.channels_last
    return {
        "rsnb": partial(ours, cfg),
        "rsnb_average": partial(ours, replace(cfg, average=0.98)),
        **{
            f"open_clip_workers_{n}": how(loader.__iter__, precision, usual)
            for n, loader in loaders.items()
        },
        "open_clip_our_batches": how(plain, precision, usual),
        "open_clip_our_batches_channels_last": how(fly, precision, last),
        "open_clip_ready": how(lambda: iter(ready), precision, usual),
    }


def measure(name: str, steps: int, rounds: int) -> dict[str, Any]:
    """Return images a second by arm, and how `rsnb` compares."""
    recipe = recipes.get(name)
    start = backbones.load(name)
    pairs = load("world").where("train")
    pixels = load_pixels(pairs, recipe.store)
    cfg = replace(recipe.cfg, average=0.0, epochs=100)
    steps = min(steps, len(pairs) // cfg.batch_size)
    fast = bool(torch.cpu._is_avx512_bf16_supported())  # as `fit` decides
    precision = "amp_bf16" if cfg.bf16 and fast else "fp32"
    runs = arms(start, pairs, pixels, cfg, precision)
    for run in runs.values():
        run(3)
    speed: dict[str, list[float]] = {arm: [] for arm in runs}
    for _ in range(rounds):
        for arm, run in runs.items():
            speed[arm].append(steps * cfg.batch_size / run(steps))
    median = {arm: statistics.median(s) for arm, s in speed.items()}
    best = {arm: max(s) for arm, s in speed.items()}
    return {
        "precision": precision,
        "batch": cfg.batch_size,
        "steps": steps,
        "images_per_second": {
            arm: {"median": round(median[arm], 1), "best": round(best[arm], 1),
                  "rounds": [round(x, 1) for x in s]}
            for arm, s in speed.items()
        },
        # Against the fastest of the named arms; best of all rounds, and medians.
        "ratio": {
            what: {
                "best": round(best["rsnb"] / max(best[a] for a in names), 3),
                "median": round(median["rsnb"] / max(median[a] for a in names), 3),
            }
            for what, names in BAR.items()
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24, help="steps timed in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the receipt")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {}
    for name in BACKBONES:
        found[name] = measure(name, args.steps, args.rounds)
        for arm, speed in found[name]["images_per_second"].items():
            print(f"{name:13} {arm:36} {speed['best']:8.0f} images/s", flush=True)
        for what, ratio in found[name]["ratio"].items():
            print(f"{name:13} rsnb / {what:29} {ratio['best']:8.2f} x", flush=True)
    if not args.write:
        return
    path = report.record(
        "bench/train",
        {"threads": args.threads, "rounds": args.rounds, **found},
        command="python tests/bench/train_throughput.py --write",
        inputs={name: backbones.load(name).digest for name in BACKBONES},
        seeds=[0],
    )
    print(path)


if __name__ == "__main__":
    main()
