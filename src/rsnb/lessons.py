"""Teach a small vision-language model to describe images.

Explained in notebook 04. Batches are a pure function of (seed, step), so a run that
stops anywhere goes on to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from rsnb.augment import SYMMETRIES, turn_caption, turn_each
from rsnb.batches import TrainConfig
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.prompts import PROMPTS
from rsnb.records import VARIANTS
from rsnb.runstate import RunState
from rsnb.smallvlm import ANSWER, END, IMAGE, Texts, answer
from rsnb.steps import descend, fast_bf16

__all__ = ["Lessons", "from_captions", "teach", "walk"]

SHIFT = 6  # pixels that a training image may move


def from_captions(pairs: Pairs) -> Texts:
    """Return five variants an image, made from its human captions and its class.

    `one_sentence` is one caption; `feature` the class; `caption` up to three different
    captions, another first in each variant.
    """
    out = []
    for i in range(len(pairs)):
        own = [c.lower().strip(" .") for c in dict.fromkeys(pairs.captions_of(i))]
        label = pairs.label[i].lower() or "no class"
        turns = [own[k % len(own) :] + own[: k % len(own)] for k in range(VARIANTS)]
        out.append([
            {"one_sentence": t[0], "feature": label, "caption": ". ".join(t[:3])}
            for t in turns
        ])  # fmt: skip
    return out


class Lessons:
    """Batches as a pure function of (seed, step): image, symmetry, variant."""

    def __init__(
        self, pixels: np.ndarray, variants: Texts, processor: Any, cfg: TrainConfig
    ) -> None:  # fmt: skip
        around = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
        self.pixels = torch.from_numpy(np.pad(pixels, around, mode="edge"))
        self.side, self.variants, self.cfg = pixels.shape[1], variants, cfg
        self.tokenizer, images = processor.tokenizer, processor.image_processor
        places = (pixels.shape[1] // processor.patch_size) ** 2
        self.turns = [
            self.tokenizer(f"{IMAGE * places}{turn}{ANSWER}")["input_ids"]
            for turn in PROMPTS["world"].turns
        ]
        self.mean = torch.tensor(images.image_mean).view(3, 1, 1)
        self.std = torch.tensor(images.image_std).view(3, 1, 1)
        self.steps = len(pixels) // cfg.batch_size

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Return what the model takes at a step: ids, mask, labels and pixels."""
        cfg, (epoch, at) = self.cfg, divmod(step, self.steps)
        order = np.random.default_rng((cfg.seed, epoch)).permutation(len(self.pixels))
        rows = order[at * cfg.batch_size : (at + 1) * cfg.batch_size]
        rng = np.random.default_rng((cfg.seed, epoch, at))
        y, x = rng.integers(2 * SHIFT + 1, size=(2, len(rows)))
        cut = [
            self.pixels[i, a : a + self.side, b : b + self.side]
            for i, a, b in zip(rows, y, x, strict=True)
        ]
        images = torch.stack(cut).permute(0, 3, 1, 2)
        which = rng.integers(SYMMETRIES if cfg.symmetric else 1, size=len(rows))
        turn_each(images, torch.from_numpy(which))
        said = rng.integers(len(self.turns), size=len(rows))
        texts = [
            turn_caption(answer(self.variants[i][v]), int(k)) + END
            for i, v, k in zip(rows, said, which, strict=True)
        ]
        answers = self.tokenizer(texts)["input_ids"]
        ids = [self.turns[v] + a for v, a in zip(said, answers, strict=True)]
        most = max(map(len, ids))
        out = torch.full((2, len(ids), most), self.tokenizer.pad_token_id)
        labels = torch.full((len(ids), most), -100)
        for i, (row, a) in enumerate(zip(ids, answers, strict=True)):
            out[0, i, : len(row)] = torch.tensor(row)
            labels[i, len(row) - len(a) : len(row)] = torch.tensor(a)
            out[1, i] = torch.arange(most) < len(row)
        pixels = (images / 255 - self.mean) / self.std
        return {
            "input_ids": out[0], "attention_mask": out[1], "labels": labels,
            "pixel_values": pixels.contiguous(memory_format=torch.channels_last),
        }  # fmt: skip


def teach(
    model: Any, processor: Any, pixels: np.ndarray, variants: Texts, cfg: TrainConfig,
    *, folder: Path | None = None, max_steps: int | None = None, device: str = "cpu",
) -> list[dict[str, float]]:  # fmt: skip
    """Train in place; the model ends with the running mean of its weights.

    Args:
        model: from `build`.
        processor: likewise.
        pixels: uint8 (N, side, side, 3).
        variants: five dicts an image, fields as in `rsnb.records`.
        cfg: epochs, batch size, rates, seed; see `TrainConfig`.
        folder: state and log; a run that was stopped goes on from there to the same
            weights.
        max_steps: stop (resumably) after this many steps of this sitting.
        device: where to train.

    Returns:
        One dict an epoch: epoch, loss (nats a token), seconds.

    Raises:
        ParameterError: the folder holds a run with other settings or data.
        TrainingError: loss or gradient is not finite.
    """
    lessons = Lessons(pixels, variants, processor, cfg)
    model.to(device, memory_format=torch.channels_last).train()  # a quarter faster
    texts = [[answer(v) for v in row] for row in variants]
    identity = fingerprint(asdict(cfg), fingerprint(pixels), texts)
    on = torch.device(device)

    def loss(step: int) -> Tensor:
        batch = {k: v.to(on) for k, v in lessons(step).items()}
        with torch.autocast(on.type, torch.bfloat16, enabled=fast_bf16(on)):
            return model(**batch).loss

    state = RunState(model, cfg)
    how: Any = {"identity": identity, "folder": folder, "max_steps": max_steps}
    log = walk(state, loss, lessons.steps, cfg, **how, name="teach")
    model.eval()
    return log


def walk(
    state: RunState, loss: Callable[[int], Tensor], steps: int, cfg: TrainConfig,
    *, identity: str, folder: Path | None, max_steps: int | None, name: str,
) -> list[dict[str, float]]:  # fmt: skip
    """Go down a loss for `cfg.epochs`; the model ends with the mean of its weights.

    Args:
        state: the model and its optimiser.
        loss: step → loss; a pure function of the step and the weights.
        steps: steps of an epoch.
        cfg: as in `teach`, as are `folder` and `max_steps`.
        identity: digest of all that decides the run.
        folder: state and log.
        max_steps: of this sitting.
        name: of the progress bar.

    Returns:
        One dict an epoch, and raises errors, as `teach`.
    """
    total, path = cfg.epochs * steps, folder / "state.safetensors" if folder else None
    log: list[dict[str, float]] = []
    step, spent = 0, 0.0
    losses: list[float] = []
    if path and (saved := state.resume(path, identity)):
        step, log, losses = saved["step"], saved["log"], saved["losses"]
        spent = saved["seconds"]
    began, last = time.monotonic() - spent, total
    if max_steps is not None:
        last = min(total, step + max_steps)
    bar = tqdm(total=total, initial=step, desc=name)
    while step < last:
        where = f"step {step + 1}"
        losses.append(descend(state, loss(step), step, total, cfg, 1.0, where))
        step += 1
        bar.update()
        end = step % steps == 0
        if end:
            seconds = round(time.monotonic() - began, 1)
            mean = round(float(np.mean(losses)), 4)
            log.append({"epoch": step // steps, "loss": mean, "seconds": seconds})
            bar.set_postfix(loss=f"{mean:.3f}")
            losses = []
        if path and (end or step == last):
            facts = {"identity": identity, "step": step, "log": log, "losses": losses}
            facts |= {"seconds": time.monotonic() - began, "config": asdict(cfg)}
            state.save(path, **facts)
    bar.close()
    if step == total and cfg.average:
        state.put(state.mean)
    return log
