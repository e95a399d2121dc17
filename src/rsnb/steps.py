"""One training run's moving parts: the step, and the judge's look between epochs.

Explained in notebook 03; `rsnb.train.fit` is the loop around them.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsnb import local, ranks
from rsnb.averaging import move_mean, rebuild
from rsnb.backbones import Backbone
from rsnb.batches import Batch, Batches, TrainConfig
from rsnb.errors import TrainingError
from rsnb.methods import Method, Step
from rsnb.pacing import Verdict, judge, look
from rsnb.pairs import Pairs
from rsnb.runstate import RunState

__all__ = ["Run", "descend", "fast_bf16", "lr_at"]


def fast_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 pays on this processor."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def lr_at(step: int, total: int, cfg: TrainConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to 0."""
    rise = max(1, round(cfg.warmup * total))
    if step < rise:
        return cfg.lr * (step + 1) / rise
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def descend(
    state: RunState, loss: Tensor, now: int, total: int, cfg: TrainConfig, clip: float,
    where: str,
) -> float:  # fmt: skip
    """Make step `now` of `total` down the gradient of a loss, and return its value.

    Of several ranks, each goes down the mean of their gradients.

    Raises:
        TrainingError: loss or gradient is not finite; names `where`; no weight changed.
    """
    for group in state.optim.param_groups:
        group["lr"] = lr_at(now, total, cfg)
    state.optim.zero_grad(set_to_none=True)
    loss.backward()
    ranks.average(state.model)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), clip)
    value = float(loss.detach())
    if not math.isfinite(value) or not math.isfinite(float(norm)):
        raise TrainingError(
            f"loss {value}, gradient norm {float(norm)} at {where}. Look at the batch, "
            f"or lower lr={cfg.lr} in a new folder. The last saved state is untouched."
        )
    state.optim.step()
    if cfg.average:
        move_mean(state.mean, state.model, cfg.average, now)
    return value


class Run:
    """Model, data, method and state of one training run."""

    def __init__(
        self, start: Backbone, pairs: Pairs, pixels: np.ndarray, cfg: TrainConfig,
        method: Method,
    ) -> None:  # fmt: skip
        self.start, self.pairs, self.cfg, self.method = start, pairs, cfg, method
        self.model: Any = ranks.synced(rebuild(start), start.device)
        self.data = Batches(start, pairs, pixels, cfg)
        self.state = RunState(self.model, cfg)
        self.bf16 = cfg.bf16 and fast_bf16(start.device)
        self.total = cfg.epochs * self.data.steps

    def precision(self) -> Any:
        """Return a context in which the model runs in bfloat16 where that is fast."""
        kind = self.start.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.bf16)

    def judge(self, epoch: int) -> Verdict | None:
        """Look at all training pairs if it is time to, and return the verdict."""
        how = self.method.judge
        if how is None:
            return None
        due = epoch // how.every + 1
        if len(self.state.looks) < due:
            now = self.state.mean if self.cfg.average else self.model.state_dict()
            seen = rebuild(self.start, now).eval()
            scale = float(now["logit_scale"].exp().clamp(max=100))
            with torch.inference_mode(), self.precision():
                img, txt = self.data.embed(seen, self.start.normalise)
            found = look(img.numpy(), txt.numpy(), self.pairs.gt, scale, how)
            self.state.looks.append(torch.from_numpy(found))
        return judge(np.stack([x.numpy() for x in self.state.looks[:due]]), how)

    def encode(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        """Return unit embeddings of images and captions, and tokens if wanted."""
        tokens: tuple[Tensor, ...] = ()
        with self.precision():
            if self.method.tokens:
                img, patches = local.image_tokens(self.model, pixels)
                txt, words = local.text_tokens(self.model, ids)
                tokens = patches, words
            else:
                img, txt = self.model.encode_image(pixels), self.model.encode_text(ids)
        img, txt = F.normalize(img.float(), dim=-1), F.normalize(txt.float(), dim=-1)
        return img, txt, *tokens

    def step(self, batch: Batch, clean: np.ndarray | None, now: int) -> float:
        """Make one step and return its loss.

        Raises:
            TrainingError: loss or gradient is not finite; no weight was changed.
        """
        device, scale = self.start.device, self.model.logit_scale.exp().clamp(max=100)
        total = len(batch.rows)
        own = ranks.share(total)
        pixels = self.start.normalise(batch.images[own].to(device))
        parts = self.encode(pixels, batch.ids[own].to(device))
        img, txt, *tokens = (ranks.gather(part, total) for part in parts)
        trust = np.ones((3, len(img)), np.float32) if clean is None else clean
        loss = self.method(Step(
            img, txt, scale, batch.same.to(device),
            torch.from_numpy(trust).to(device), now / self.total, *tokens,
        ))  # fmt: skip
        epoch, at = divmod(now, self.data.steps)
        first = ", ".join(map(str, batch.rows[:8]))
        where = f"epoch {epoch + 1}, step {at + 1}; it holds caption rows {first}, …"
        return descend(self.state, loss, now, self.total, self.cfg, 5.0, where)
