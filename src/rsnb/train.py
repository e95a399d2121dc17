"""A plain, fast training loop with exact resume.

Explained in notebook 02. Data order and augmentation follow from (seed, epoch, step)
alone, so a run that stops anywhere and resumes ends with the same bytes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load as st_load
from safetensors.torch import save as st_save
from torch import Tensor, nn
from tqdm.auto import tqdm

from rsnb.augment import SYMMETRIES, random_view, turn, turned_captions
from rsnb.backbones import Backbone, build, wrap
from rsnb.embed import embed_images, embed_texts
from rsnb.errors import ParameterError
from rsnb.files import (
    fingerprint,
    read_json,
    read_verified,
    receipt_path,
    write_bytes,
    write_with_receipt,
)
from rsnb.losses import alignment, info_nce, uniformity
from rsnb.metrics import evaluate
from rsnb.pairs import Pairs

__all__ = ["FitResult", "TrainConfig", "fit"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, beside data and start weights.

    Attributes:
        epochs: passes over the images; each pass draws one caption an image.
        batch_size: images a step.
        lr: peak learning rate of AdamW.
        weight_decay: on matrices; vectors (biases, norms) get none.
        warmup: share of the steps with a linear rise before the cosine fall.
        min_scale: smallest training window, as a share of the image's side.
        full: share of a batch that is seen whole instead of through a window.
        jitter: relative change of brightness and colour, 0 for none.
        symmetric: turn and mirror images, and their side words with them.
        captions: captions drawn an image and step; 2 halves the cost of a caption.
        smoothing: label smoothing of the loss.
        average: decay of the running mean of the weights; 0 for none.
        eval_every: epochs between looks at the validation split.
        seed: of order, views and captions.
        bf16: run the model in bfloat16 where the processor is built for it.
    """

    epochs: int = 16
    batch_size: int = 128
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    min_scale: float = 0.5
    full: float = 0.5
    jitter: float = 0.0
    symmetric: bool = True
    captions: int = 1
    smoothing: float = 0.0
    average: float = 0.0
    eval_every: int = 4
    seed: int = 0
    bf16: bool = True

    def __post_init__(self) -> None:
        """Refuse values that no run could mean."""
        checks = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 2,
            "lr": 0 < self.lr < 1,
            "min_scale": 0 < self.min_scale <= 1,
            "full": 0 <= self.full <= 1,
            "average": 0 <= self.average < 1,
            "captions": self.captions >= 1,
            "eval_every": self.eval_every >= 1,
        }
        bad = [f"{k}={getattr(self, k)}" for k, ok in checks.items() if not ok]
        if bad:
            raise ParameterError(f"TrainConfig: {', '.join(bad)} out of range.")


@dataclass(frozen=True)
class FitResult:
    """What a run leaves.

    Attributes:
        backbone: with the weights of the best validation epoch.
        log: one dict an evaluation: epoch, loss, val_mR, alignment, uniformity.
        best_epoch: the epoch chosen on validation.
        seconds: training time, all sittings together, evaluation included.
    """

    backbone: Backbone
    log: tuple[dict[str, float], ...]
    best_epoch: int
    seconds: float


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def lr_at(step: int, total: int, cfg: TrainConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to 0."""
    rise = max(1, round(cfg.warmup * total))
    if step < rise:
        return cfg.lr * (step + 1) / rise
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


class _Batches:
    """Pixels and token ids of a training split; a batch is a pure function of step."""

    def __init__(
        self, backbone: Backbone, pairs: Pairs, pixels: np.ndarray, cfg: TrainConfig
    ) -> None:
        # Channels last, as the pixels lie and as convolutions are fastest on a CPU.
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        self.cfg, self.side = cfg, backbone.image_size
        turned = (
            turned_captions(pairs.captions) if cfg.symmetric else [list(pairs.captions)]
        )
        self.ids = torch.stack([backbone.tokenize(c) for c in turned])
        text_id = {c: i for i, c in enumerate(dict.fromkeys(pairs.captions))}
        self.text = np.array([text_id[c] for c in pairs.captions])
        order = np.argsort(pairs.gt, kind="stable")
        count = np.bincount(pairs.gt, minlength=len(pairs))
        self.first, self.count, self.order = np.cumsum(count) - count, count, order
        self.images = np.flatnonzero(count)  # quarantined captions may leave none
        self.steps = max(1, len(self.images) // cfg.batch_size)

    def epoch(
        self, epoch: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images (B, 3, S, S), ids (B, c, L) and text numbers (B, c)."""
        cfg = self.cfg
        rows = np.random.default_rng((cfg.seed, epoch)).permutation(self.images)
        for step in range(start, self.steps):
            rng = np.random.default_rng((cfg.seed, epoch, step))
            gen = torch.Generator().manual_seed(int(rng.integers(2**62)))
            part = rows[step * cfg.batch_size : (step + 1) * cfg.batch_size]
            pick = rng.integers(0, self.count[part][:, None], (len(part), cfg.captions))
            caps = self.order[self.first[part][:, None] + pick]
            images = random_view(
                self.pixels[torch.from_numpy(part)],
                self.side, cfg.min_scale, cfg.full, cfg.jitter, gen,
            )  # fmt: skip
            ids = self.ids[0][caps]
            if cfg.symmetric:
                which = torch.randint(SYMMETRIES, (len(part),), generator=gen)
                for k in range(1, SYMMETRIES):
                    sub = torch.nonzero(which == k).flatten()
                    images[sub] = turn(images[sub], k)
                    ids[sub] = self.ids[k][caps[sub.numpy()]]
            yield images, ids, torch.from_numpy(self.text[caps])


class _State:
    """Model, running mean and optimiser, saved and restored as one safetensors file."""

    def __init__(self, model: nn.Module, cfg: TrainConfig) -> None:
        self.model = model
        self.mean = {k: v.clone() for k, v in model.state_dict().items()}
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {
                "params": [p for p in model.parameters() if p.ndim <= 1],
                "weight_decay": 0.0,
            },
        ]
        self.optim = torch.optim.AdamW(
            groups, lr=cfg.lr, weight_decay=cfg.weight_decay, betas=(0.9, 0.98)
        )
        self.best = dict(self.mean)

    def average(self, decay: float, step: int) -> None:
        decay = min(decay, (1 + step) / (10 + step))  # forget the random start soon
        for k, v in self.model.state_dict().items():
            if v.is_floating_point():
                self.mean[k].lerp_(v, 1 - decay)
            else:
                self.mean[k].copy_(v)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        out = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        out |= {f"mean/{k}": v for k, v in self.mean.items()}
        out |= {f"best/{k}": v for k, v in self.best.items()}
        for i, slots in self.optim.state_dict()["state"].items():
            out |= {f"optim/{i}/{k}": v for k, v in slots.items()}
        data = st_save({k: v.detach().cpu().contiguous().clone() for k, v in out.items()})
        write_with_receipt(path, data, **facts)

    def restore(self, path: Path) -> None:
        tensors = st_load(read_verified(path))

        def part(name: str) -> dict[str, Tensor]:
            cut = len(name) + 1
            return {k[cut:]: v for k, v in tensors.items() if k.startswith(name + "/")}

        self.model.load_state_dict(part("model"))
        self.mean, self.best = part("mean"), part("best")
        state = self.optim.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for key, v in part("optim").items():
            i, name = key.split("/")
            slots.setdefault(int(i), {})[name] = v
        self.optim.load_state_dict({**state, "state": slots})


def _copy(start: Backbone) -> nn.Module:
    model = build(start.entry.config, start.entry.activation)
    model.load_state_dict(start.model.state_dict())
    # Channels last makes CPU and GPU convolutions a quarter faster.
    return model.to(start.device, memory_format=torch.channels_last)


def _look(
    start: Backbone, weights: dict[str, Tensor], val: Pairs, pixels: np.ndarray
) -> dict[str, float]:
    """Return recall, alignment and uniformity on the validation split."""
    model = _copy(start)
    model.load_state_dict(weights)
    looked = wrap(start.name, model, start.entry, "")
    img = embed_images(looked, pixels)
    txt = embed_texts(looked, val.captions)
    a, b = torch.from_numpy(img), torch.from_numpy(txt)
    return {
        "val_mR": float(evaluate(txt @ img.T, val.gt).as_dict()["mR"]),
        "alignment": alignment(a[torch.from_numpy(val.gt)], b),
        "uniformity_img": uniformity(a),
        "uniformity_txt": uniformity(b[:: max(1, len(b) // 1000)]),
    }


def fit(
    start: Backbone,
    pairs: Pairs,
    pixels: np.ndarray,
    val: Pairs,
    val_pixels: np.ndarray,
    cfg: TrainConfig,
    *,
    folder: Path | None = None,
    max_steps: int | None = None,
    on_eval: Callable[[dict[str, float]], None] | None = None,
) -> FitResult:
    """Train a copy of `start` with InfoNCE and keep the best validation weights.

    Args:
        start: architecture and first weights.
        pairs: training images and captions.
        pixels: uint8 (N, S, S, 3) of `pairs`; S above the encoder's side gives the
            windows detail that the whole image loses.
        val: validation images and captions; the only data that selection sees.
        val_pixels: uint8 (M, S', S', 3).
        cfg: see `TrainConfig`.
        folder: keep `state.safetensors` and `log.jsonl` here, and resume from them.
        max_steps: stop (resumably) after this many steps of this sitting.
        on_eval: called with each log entry, for pages that draw as it trains.

    Raises:
        ParameterError: the folder holds a run with other settings or data.
    """
    model = _copy(start)
    device = start.device
    data = _Batches(start, pairs, pixels, cfg)
    state = _State(model, cfg)
    identity = fingerprint(asdict(cfg), start.digest, list(pairs.ids), list(val.ids))
    log: list[dict[str, float]] = []
    losses: list[float] = []  # of the epoch under way
    epoch = step = 0
    seconds = 0.0
    path = folder / "state.safetensors" if folder else None
    if path and receipt_path(path).is_file():
        saved = read_json(receipt_path(path))
        if saved["identity"] != identity:
            raise ParameterError(
                f"{folder} holds a run with other settings, data or start weights. "
                "Give this run a folder of its own, or delete that one."
            )
        state.restore(path)
        epoch, step, log = saved["epoch"], saved["step"], saved["log"]
        losses, seconds = saved["losses"], saved["seconds"]

    def save(epoch: int, step: int) -> None:
        if path and folder:
            spent = seconds + time.monotonic() - began
            state.save(
                path,
                {
                    "identity": identity, "epoch": epoch, "step": step, "log": log,
                    "losses": losses, "seconds": spent, "config": asdict(cfg),
                },
            )  # fmt: skip
            lines = "".join(json.dumps(e) + "\n" for e in log)
            write_bytes(folder / "log.jsonl", lines.encode())

    total, done = cfg.epochs * data.steps, 0
    began = time.monotonic()
    bf16 = cfg.bf16 and _fast_bf16(device)
    bar = tqdm(total=total, initial=epoch * data.steps + step, desc="train", disable=None)
    for epoch in range(epoch, cfg.epochs):  # noqa: B020  resumes where it stood
        model.train()
        at = step
        for images, ids, text in data.epoch(epoch, step):
            now = epoch * data.steps + at
            for group in state.optim.param_groups:
                group["lr"] = lr_at(now, total, cfg)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                img = model.encode_image(start.normalise(images.to(device)))
                txt = model.encode_text(ids.flatten(0, 1).to(device))
            img = F.normalize(img.float(), dim=-1)
            txt = F.normalize(txt.float(), dim=-1).unflatten(0, ids.shape[:2])
            scale = model.logit_scale.exp().clamp(max=100)
            loss = torch.stack(
                [
                    info_nce(
                        img, txt[:, j], scale, text[:, j, None] == text[:, j],
                        cfg.smoothing,
                    )
                    for j in range(cfg.captions)
                ]
            ).mean()  # fmt: skip
            state.optim.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            state.optim.step()
            if cfg.average:
                state.average(cfg.average, now)
            losses.append(float(loss.detach()))
            at, done = at + 1, done + 1
            bar.update()
            if done == max_steps:
                save(epoch, at)
                bar.close()
                return FitResult(start, tuple(log), -1, time.monotonic() - began)
        step = 0
        if (epoch + 1) % cfg.eval_every == 0 or epoch + 1 == cfg.epochs:
            if not cfg.average:
                state.mean = {k: v.clone() for k, v in model.state_dict().items()}
            entry = _look(start, state.mean, val, val_pixels)
            entry = {"epoch": epoch + 1, "loss": float(np.mean(losses)), **entry}
            entry["seconds"] = round(seconds + time.monotonic() - began, 1)
            if entry["val_mR"] > max((e["val_mR"] for e in log), default=-1.0):
                state.best = {k: v.clone() for k, v in state.mean.items()}
            log.append(entry)
            bar.set_postfix(val_mR=f"{entry['val_mR']:.1f}")
            if on_eval:
                on_eval(entry)
        losses = []
        save(epoch + 1, 0)
    bar.close()
    model.load_state_dict(state.best)
    best = max(log, key=lambda e: e["val_mR"])
    digest = fingerprint(*(v.numpy() for v in state.best.values()))
    out = wrap(start.name, model, start.entry, digest)
    spent = seconds + time.monotonic() - began
    return FitResult(out, tuple(log), int(best["epoch"]), spent)
