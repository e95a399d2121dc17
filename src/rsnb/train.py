"""A plain, fast training loop with exact resume, for any method.

Explained in notebooks 02 and 03. Data order and augmentation follow from (seed, epoch,
step) alone, so a run that stops anywhere and resumes ends with the same bytes.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from rsnb import ranks
from rsnb.averaging import with_weights
from rsnb.backbones import Backbone
from rsnb.batches import TrainConfig
from rsnb.embed import embed_images, embed_texts
from rsnb.files import fingerprint, write_bytes
from rsnb.losses import alignment, uniformity
from rsnb.methods import InfoNCE, Method
from rsnb.metrics import evaluate_embeddings
from rsnb.pacing import Verdict, judge
from rsnb.pairs import Pairs
from rsnb.steps import Run

__all__ = ["FitResult", "TrainConfig", "fit"]


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


def fit(
    start: Backbone, pairs: Pairs, pixels: np.ndarray,
    val: Pairs, val_pixels: np.ndarray, cfg: TrainConfig, method: Method | None = None,
    *, folder: Path | None = None, max_steps: int | None = None,
) -> FitResult:  # fmt: skip
    """Train a copy of `start` and keep the best validation weights.

    Under `torchrun`, in `rsnb.ranks.joined`, the processes share the work of each step
    and the result is that of one process; rank 0 writes `folder`, which all must see.

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
        BackboneError: a ResNet in several processes without GPUs.
        TrainingError: loss or gradient is not finite; names the batch.
    """
    method = method or InfoNCE(cfg.smoothing)
    run = Run(start, pairs, pixels, cfg, method)
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
    if path and (saved := state.resume(path, identity)):
        epoch, step, log = saved["epoch"], saved["step"], saved["log"]
        losses, seconds = saved["losses"], saved["seconds"]
    ranks.agree(start.device, identity, epoch, step, max_steps)

    def save(epoch: int, step: int) -> None:
        if path and folder and ranks.rank() == 0:
            spent = seconds + time.monotonic() - began
            state.save(
                path, identity=identity, epoch=epoch, step=step, log=log,
                losses=losses, seconds=spent, config=asdict(cfg),
            )  # fmt: skip
            lines = "".join(json.dumps(e) + "\n" for e in log)
            write_bytes(folder / "log.jsonl", lines.encode())

    done, began = 0, time.monotonic()
    bar = tqdm(total=run.total, initial=epoch * data.steps + step, desc="train")
    for epoch in range(epoch, cfg.epochs):  # noqa: B020  resumes where it stood
        verdict = run.judge(epoch)
        run.model.train()
        how, weight = method.judge, None
        if how is not None and verdict is not None and how.sample:
            weight = np.maximum(verdict.clean[2], how.floor)
        at = step
        for batch in data.epoch(epoch, step, weight):
            clean = verdict.clean[:, batch.rows] if verdict is not None else None
            losses.append(run.step(batch, clean, epoch * data.steps + at))
            at, done = at + 1, done + 1
            bar.update()
            if done == max_steps:
                save(epoch, at)
                bar.close()
                spent = time.monotonic() - began
                return FitResult(start, start, tuple(log), -1, (), spent)
        step = 0
        if (epoch + 1) % cfg.eval_every == 0 or epoch + 1 == cfg.epochs:
            if not cfg.average:
                state.mean = {k: v.clone() for k, v in run.model.state_dict().items()}
            entry = _look(with_weights(start, state.mean), val, val_pixels)
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
        with_weights(start, state.best), with_weights(start, state.mean), tuple(log),
        int(best["epoch"]), tuple(verdicts), spent,
    )  # fmt: skip
