"""Training settings, and batches that are a pure function of (seed, epoch, step).

Explained in notebook 02. So a run that stops anywhere resumes with the same data.
Caption weights (notebook 03) are a second input: they decide what is drawn how often.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsnb import ranks
from rsnb.augment import SYMMETRIES, random_view, resize, turn_caption, turn_each
from rsnb.backbones import Backbone
from rsnb.errors import check_settings
from rsnb.pacing import draw
from rsnb.pairs import Pairs

__all__ = ["Batch", "Batches", "TrainConfig"]


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
        mix: strength of mixing each image with another (mixup, Zhang 2018), whose
            caption then shares the target; 0 for none. Helps small data sets.
        symmetric: turn and mirror images, and their side words with them.
        smoothing: label smoothing of InfoNCE, where no method is given.
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
    mix: float = 0.0
    symmetric: bool = True
    smoothing: float = 0.0
    average: float = 0.0
    eval_every: int = 4
    seed: int = 0
    bf16: bool = True

    def __post_init__(self) -> None:
        """Refuse values that no run could mean."""
        check_settings(
            self, epochs=self.epochs >= 1, batch_size=self.batch_size >= 2,
            lr=0 < self.lr < 1, min_scale=0 < self.min_scale <= 1,
            full=0 <= self.full <= 1, average=0 <= self.average < 1,
            eval_every=self.eval_every >= 1,
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        images: uint8 (B, 3, S, S).
        ids: int64 (B, L), tokens of one caption an image.
        rows: int64 (B,), caption rows in the training split.
        same: float (B, B), how far image i and caption j belong together: 1 on the
            diagonal, for equal captions, and for captions of the same image.
    """

    images: Tensor
    ids: Tensor
    rows: np.ndarray
    same: Tensor


class Batches:
    """Pixels and token ids of a training split; a batch is a pure function of step."""

    def __init__(
        self, backbone: Backbone, pairs: Pairs, pixels: np.ndarray, cfg: TrainConfig
    ) -> None:
        # Channels last, as the pixels lie and as convolutions are fastest on a CPU.
        # A GPU keeps them all: 0.8 GB for 10,000 images of side 160.
        on = backbone.device if backbone.device.type == "cuda" else "cpu"
        self.pixels = torch.from_numpy(pixels).to(on).permute(0, 3, 1, 2)
        self.cfg, self.side, self.gt = cfg, backbone.image_size, pairs.gt
        ways = range(SYMMETRIES if cfg.symmetric else 1)
        turned = ([turn_caption(c, k) for c in pairs.captions] for k in ways)
        self.ids = torch.stack([backbone.tokenize(c) for c in turned])
        text_id = {c: i for i, c in enumerate(dict.fromkeys(pairs.captions))}
        self.text = np.array([text_id[c] for c in pairs.captions])
        order = np.argsort(pairs.gt, kind="stable")
        count = np.bincount(pairs.gt, minlength=len(pairs))
        self.first, self.count, self.order = np.cumsum(count) - count, count, order
        self.images = np.flatnonzero(count)  # quarantined captions may leave none
        self.small: Tensor | None = None  # whole images at the encoder's side
        self.steps = max(1, len(self.images) // cfg.batch_size)

    def embed(
        self, model: Any, normalise: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return unit rows (N, d) of the images, whole, and (T, d) of the captions.

        Of several ranks, each encodes its share.
        """
        if self.small is None:
            parts = [resize(p, self.side) for p in self.pixels.split(256)]
            self.small = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        kind = next(model.parameters()).device
        some, said = (x[ranks.share(len(x))] for x in (self.small, self.ids[0]))
        whole = (normalise(p.to(kind)) for p in some.split(256))
        images = map(model.encode_image, whole)
        texts = (model.encode_text(p.to(kind)) for p in said.split(512))
        img, txt = (torch.cat([e.float() for e in part]) for part in (images, texts))
        img, txt = F.normalize(img, dim=-1), F.normalize(txt, dim=-1)
        img, txt = ranks.gather(img, len(self.small)), ranks.gather(txt, len(self.text))
        return img.cpu(), txt.cpu()

    def epoch(
        self, epoch: int, start: int = 0, weight: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on.

        Args:
            epoch: number of the epoch.
            start: first step.
            weight: (T,) in [0, 1], how often to draw each caption; see `pacing.draw`.
        """
        cfg = self.cfg
        weight = np.ones(len(self.text)) if weight is None else weight
        rng = np.random.default_rng((cfg.seed, epoch))
        own = self.order, self.first, self.count, self.images
        images, texts = draw(weight, *own, rng)
        for step in range(start, self.steps):
            part = slice(step * cfg.batch_size, (step + 1) * cfg.batch_size)
            yield self._batch(images[part], texts[part], (cfg.seed, epoch, step))

    def _batch(self, rows: np.ndarray, caps: np.ndarray, seed: Sequence[int]) -> Batch:
        cfg, rng = self.cfg, np.random.default_rng(seed)
        gen = torch.Generator().manual_seed(int(rng.integers(2**62)))
        how = self.side, cfg.min_scale, cfg.full, cfg.jitter, gen
        images = random_view(self.pixels[torch.from_numpy(rows)], *how)
        ids = self.ids[0][caps]
        if cfg.symmetric:
            which = torch.randint(SYMMETRIES, (len(rows),), generator=gen)
            turn_each(images, which)
            ids = self.ids[which, torch.from_numpy(caps)]
        text = torch.from_numpy(self.text[caps])
        image = torch.from_numpy(rows)
        same = ((text[:, None] == text) | (image[:, None] == image)).float()
        if cfg.mix:
            share = float(rng.beta(cfg.mix, cfg.mix))
            mixed = images * share + images.roll(1, 0) * (1 - share)
            images = mixed.to(torch.uint8)
            same = share * same + (1 - share) * same.roll(1, 0)
        return Batch(images, ids, caps, same)
