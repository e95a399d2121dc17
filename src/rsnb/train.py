"""A plain, fast training loop with exact resume, for any method.

Explained in notebooks 02 and 03. Data order and augmentation follow from (seed, epoch,
step) alone, so a run that stops anywhere and resumes ends with the same bytes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from rsnb.backbones import Backbone, build, wrap
from rsnb.batches import Batch, Batches, TrainConfig
from rsnb.embed import embed_images, embed_texts
from rsnb.errors import ParameterError, TrainingError
from rsnb.files import fingerprint, read_json, receipt_path, write_bytes
from rsnb.losses import alignment, uniformity
from rsnb.methods import InfoNCE, Method, Step
from rsnb.metrics import evaluate_embeddings
from rsnb.pacing import Verdict, judge, look
from rsnb.pairs import Pairs
from rsnb.runstate import RunState

__all__ = ["FitResult", "TrainConfig", "fit", "interpolate"]


@dataclass(frozen=True)
class FitResult:
    """What a run leaves.

    Attributes:
        backbone: with the weights of the best validation epoch.
        last: with the weights of the last epoch.
        log: one dict an evaluation: epoch, loss, val_mR, alignment, uniformity, and
            the estimated `noise` rate if pairs were judged.
        best_epoch: the epoch chosen on validation.
        verdicts: one a look of the judge, the first before training; empty without.
        seconds: training time, all sittings together, evaluation included.
    """

    backbone: Backbone
    last: Backbone
    log: tuple[dict[str, float], ...]
    best_epoch: int
    verdicts: tuple[Verdict, ...]
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


def _copy(start: Backbone, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    model = build(start.entry.config, start.entry.activation)
    model.load_state_dict(weights or start.model.state_dict())
    # Channels last makes CPU and GPU convolutions a quarter faster.
    return model.to(memory_format=torch.channels_last).to(start.device)


def _wrap(start: Backbone, weights: Mapping[str, Tensor]) -> Backbone:
    digest = fingerprint(*(v.cpu().numpy() for v in weights.values()))
    return wrap(start.name, _copy(start, weights), start.entry, digest)


def interpolate(start: Backbone, end: Backbone, share: float = 0.5) -> Backbone:
    """Return the backbone with weights (1 - share) start + share end (WiSE-FT, 2022).

    Both must have one architecture; `share` lies in [0, 1].
    """
    a, b = start.model.state_dict(), end.model.state_dict()
    mixed = {
        k: torch.lerp(a[k], v, share) if v.is_floating_point() else v
        for k, v in b.items()
    }
    return _wrap(start, mixed)


def _look(model: Backbone, val: Pairs, pixels: np.ndarray) -> dict[str, float]:
    """Return recall, alignment and uniformity on the validation split."""
    img = embed_images(model, pixels)
    txt = embed_texts(model, val.captions)
    a, b = torch.from_numpy(img), torch.from_numpy(txt)
    return {
        "val_mR": float(evaluate_embeddings(txt, img, val.gt).mR),
        "alignment": alignment(a[torch.from_numpy(val.gt)], b),
        "uniformity_img": uniformity(a),
        "uniformity_txt": uniformity(b[:: max(1, len(b) // 1000)]),
    }


class _Run:
    """One training run: model, data, method and what the judge has seen."""

    def __init__(
        self, start: Backbone, pairs: Pairs, pixels: np.ndarray, cfg: TrainConfig,
        method: Method,
    ) -> None:  # fmt: skip
        self.start, self.pairs, self.cfg, self.method = start, pairs, cfg, method
        self.model: Any = _copy(start)
        self.data = Batches(start, pairs, pixels, cfg)
        self.state = RunState(self.model, cfg)
        self.bf16 = cfg.bf16 and _fast_bf16(start.device)
        self.total = cfg.epochs * self.data.steps

    def precision(self) -> Any:
        """Return a context in which the model runs in bfloat16 where that is fast."""
        kind = self.start.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.bf16)

    def bank(self, rows: np.ndarray, k: int = 1024) -> tuple[Tensor, ...] | None:
        """Return (B, B) cosines of a batch's whole images and captions at the look."""
        if not self.state.seen:
            return None
        rng = np.random.default_rng(int(rows[:4].sum()))
        im = rng.permutation(len(self.pairs))[:k]
        tx = rng.permutation(len(self.pairs.captions))[:k]
        gt, text = self.pairs.gt, self.data.text
        mine_i = torch.from_numpy(gt[rows][:, None] == im[None])
        mine_t = torch.from_numpy((gt[rows][:, None] == gt[tx][None]) | (text[rows][:, None] == text[tx][None]))
        return (
            self.state.seen["img"][torch.from_numpy(im)].float(),
            self.state.seen["txt"][torch.from_numpy(tx)].float(),
            mine_i,
            mine_t,
        )

    def judge(self, epoch: int) -> Verdict | None:
        """Look at all training pairs if it is time to, and return the verdict."""
        how = self.method.judge
        if how is None:
            return None
        due = epoch // how.every + 1
        if len(self.state.looks) < due:
            seen = _copy(self.start, self.state.mean).eval()
            scale = float(self.state.mean["logit_scale"].exp().clamp(max=100))
            with torch.inference_mode(), self.precision():
                img, txt = self.data.embed(seen, self.start.normalise)
            self.state.seen = {"img": img.half(), "txt": txt.half()}
            found = look(img.numpy(), txt.numpy(), self.pairs.gt, scale, how)
            self.state.looks.append(torch.from_numpy(found))
        return judge(np.stack([x.numpy() for x in self.state.looks[:due]]), how)

    def step(self, batch: Batch, clean: np.ndarray | None, now: int) -> float:
        """Make one step and return its loss."""
        model, optim, device = self.model, self.state.optim, self.start.device
        for group in optim.param_groups:
            group["lr"] = lr_at(now, self.total, self.cfg)
        pixels = self.start.normalise(batch.images.to(device))
        tokens: tuple[Tensor, ...] = ()
        with self.precision():
            img = model.encode_image(pixels)
            txt = model.encode_text(batch.ids.to(device))
        trust = np.ones((3, len(img)), np.float32) if clean is None else clean
        loss = self.method(
            Step(
                F.normalize(img.float(), dim=-1),
                F.normalize(txt.float(), dim=-1),
                model.logit_scale.exp().clamp(max=100),
                batch.same.to(device),
                torch.from_numpy(trust).to(device),
                now / self.total,
                self.bank(batch.rows),
                *tokens,
            )
        )
        optim.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            first = ", ".join(map(str, batch.rows[:8]))
            raise TrainingError(
                f"loss {float(loss.detach())}, gradient norm {float(norm)} at epoch "
                f"{now // self.data.steps + 1}, step {now % self.data.steps + 1}; the "
                f"batch holds caption rows {first}, … Lower lr={self.cfg.lr}, or look "
                "at these rows. The last saved state is untouched."
            )
        optim.step()
        if self.cfg.average:
            self.state.average(self.cfg.average, now)
        return float(loss.detach())


def fit(
    start: Backbone,
    pairs: Pairs,
    pixels: np.ndarray,
    val: Pairs,
    val_pixels: np.ndarray,
    cfg: TrainConfig,
    method: Method | None = None,
    *,
    folder: Path | None = None,
    max_steps: int | None = None,
) -> FitResult:
    """Train a copy of `start` and keep the best validation weights.

    Args:
        start: architecture and first weights.
        pairs: training images and captions.
        pixels: uint8 (N, S, S, 3) of `pairs`; S above the encoder's side gives the
            windows detail that the whole image loses.
        val: validation images and captions; the only data that selection sees.
        val_pixels: uint8 (M, S', S', 3).
        cfg: see `TrainConfig`.
        method: what a batch teaches, see `rsnb.methods`; InfoNCE if not given.
        folder: keep `state.safetensors` and `log.jsonl` here, and resume from them.
        max_steps: stop (resumably) after this many steps of this sitting.

    Raises:
        ParameterError: the folder holds a run with other settings or data.
        TrainingError: loss or gradient is not finite; names the batch.
    """
    method = method or InfoNCE()
    run = _Run(start, pairs, pixels, cfg, method)
    state, data = run.state, run.data
    identity = fingerprint(
        asdict(cfg), repr(method), start.digest, list(pairs.ids), list(val.ids),
        list(pairs.captions), pairs.gt,
    )  # fmt: skip
    log: list[dict[str, float]] = []
    losses: list[float] = []  # of the epoch under way
    verdicts: list[Verdict] = []
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

    done, began = 0, time.monotonic()
    bar = tqdm(total=run.total, initial=epoch * data.steps + step, desc="train")
    for epoch in range(epoch, cfg.epochs):  # noqa: B020  resumes where it stood
        verdict = run.judge(epoch)
        run.model.train()
        sample = verdict is not None and method.judge and method.judge.sample
        weight = verdict.clean[2] if verdict is not None and sample else None
        at = step
        for batch in data.epoch(epoch, step, weight):
            clean = verdict.clean[:, batch.rows] if verdict is not None else None
            losses.append(run.step(batch, clean, epoch * data.steps + at))
            at, done = at + 1, done + 1
            bar.update()
            if done == max_steps:
                save(epoch, at)
                bar.close()
                return FitResult(
                    start, start, tuple(log), -1, (), time.monotonic() - began
                )
        step = 0
        if (epoch + 1) % cfg.eval_every == 0 or epoch + 1 == cfg.epochs:
            if not cfg.average:
                state.mean = {k: v.clone() for k, v in run.model.state_dict().items()}
            entry = _look(_wrap(start, state.mean), val, val_pixels)
            entry = {"epoch": epoch + 1, "loss": float(np.mean(losses)), **entry}
            if verdict is not None:
                entry["noise"] = verdict.rate
            entry["seconds"] = round(seconds + time.monotonic() - began, 1)
            if entry["val_mR"] > max((e["val_mR"] for e in log), default=-1.0):
                state.best = {k: v.clone() for k, v in state.mean.items()}
            log.append(entry)
            bar.set_postfix(val_mR=f"{entry['val_mR']:.1f}")
        losses = []
        save(epoch + 1, 0)
    bar.close()
    best = max(log, key=lambda e: e["val_mR"])
    if method.judge:
        run.judge(cfg.epochs * method.judge.every)
        looks = np.stack([x.numpy() for x in state.looks])
        verdicts = [judge(looks[: i + 1], method.judge) for i in range(len(looks))]
    spent = seconds + time.monotonic() - began
    return FitResult(
        _wrap(start, state.best), _wrap(start, state.mean), tuple(log),
        int(best["epoch"]), tuple(verdicts), spent,
    )  # fmt: skip
