"""A plain, fast training loop with exact resume.

Explained in notebook 02. Data order and augmentation follow from (seed, epoch, step)
alone, so a run that stops anywhere and resumes ends with the same bytes.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from rsnb.backbones import Backbone, build, wrap
from rsnb.batches import Batches, TrainConfig
from rsnb.embed import embed_images, embed_texts
from rsnb.errors import ParameterError
from rsnb.files import fingerprint, read_json, receipt_path, write_bytes
from rsnb.losses import alignment, info_nce, uniformity
from rsnb.metrics import evaluate_embeddings
from rsnb.pairs import Pairs
from rsnb.runstate import RunState

__all__ = ["FitResult", "TrainConfig", "fit"]


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


def _copy(start: Backbone) -> nn.Module:
    model = build(start.entry.config, start.entry.activation)
    model.load_state_dict(start.model.state_dict())
    # Channels last makes CPU and GPU convolutions a quarter faster.
    return model.to(memory_format=torch.channels_last).to(start.device)


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
        "val_mR": float(evaluate_embeddings(txt, img, val.gt).mR),
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

    Raises:
        ParameterError: the folder holds a run with other settings or data.
    """
    model: Any = _copy(start)
    device = start.device
    data = Batches(start, pairs, pixels, cfg)
    state = RunState(model, cfg)
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
    bar = tqdm(total=total, initial=epoch * data.steps + step, desc="train")
    for epoch in range(epoch, cfg.epochs):  # noqa: B020  resumes where it stood
        model.train()
        at = step
        for images, ids, text, share in data.epoch(epoch, step):
            now = epoch * data.steps + at
            for group in state.optim.param_groups:
                group["lr"] = lr_at(now, total, cfg)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                img = model.encode_image(start.normalise(images.to(device)))
                txt = model.encode_text(ids.flatten(0, 1).to(device))
            img = F.normalize(img.float(), dim=-1)
            txt = F.normalize(txt.float(), dim=-1).unflatten(0, ids.shape[:2])
            scale = model.logit_scale.exp().clamp(max=100)
            same = (text[:, None] == text).float()
            same = share * same + (1 - share) * same.roll(1, 0)
            each = [
                info_nce(img, txt[:, j], scale, same[..., j], cfg.smoothing)
                for j in range(cfg.captions)
            ]
            loss = torch.stack(each).mean()
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
        losses = []
        save(epoch + 1, 0)
    bar.close()
    model.load_state_dict(state.best)
    best = max(log, key=lambda e: e["val_mR"])
    digest = fingerprint(*(v.cpu().numpy() for v in state.best.values()))
    out = wrap(start.name, model, start.entry, digest)
    spent = seconds + time.monotonic() - began
    return FitResult(out, tuple(log), int(best["epoch"]), spent)
