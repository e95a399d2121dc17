"""Low-rank adapters (LoRA, Hu 2022) for any vision-language model that we load.

Explained in notebook 05. The base stays as it is: an adapter is a small file that names
it, and is merged into its weights when both are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from rsnb.adapters import grow, learn
from rsnb.augment import SYMMETRIES, turn_caption, turn_each
from rsnb.batches import TrainConfig
from rsnb.errors import ParameterError, check_settings
from rsnb.files import fingerprint
from rsnb.lessons import walk
from rsnb.runstate import RunState
from rsnb.steps import fast_bf16

__all__ = ["Adapter", "Draw", "Lesson", "adapt"]


@dataclass(frozen=True)
class Adapter:
    """Size and training of an adapter.

    Attributes:
        rank: of each layer's change.
        alpha: the change is scaled by alpha / rank; None is twice the rank.
        targets: regular expression for whole names of linear layers, or `"auto"`: all
            but those of the vision tower and the head.
        train: epochs, batch_size, lr, weight_decay, warmup, symmetric, average, seed
            and bf16 are heeded.
    """

    rank: int = 16
    alpha: float | None = None
    targets: str = "auto"
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Refuse values that no adapter could have."""
        check_settings(
            self, rank=self.rank >= 1, alpha=self.alpha is None or self.alpha > 0
        )


@dataclass(frozen=True)
class Lesson:
    """A turn and its answer; `sees`: asked with the image, or without any."""

    turn: str
    answer: str
    sees: bool = True


Draw = Callable[[int, np.random.Generator, int], Lesson]


def adapt(
    captioner: Any, images: np.ndarray, draw: Draw, settings: Adapter,
    *, words: Iterable[str] = (), folder: Path | None = None,
    max_steps: int | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Put an adapter on a captioner and train it; the base's own weights stay.

    A batch is a pure function of (seed, step). The vision tower is not adapted.

    Args:
        captioner: a `TransformersCaptioner`, adapted in place; `rsnb.adapters.save` it.
        images: uint8 (N, S, S, 3).
        draw: (row, random numbers, symmetry) → lesson about the image as it lies in
            `images`; where `train.symmetric`, image, turn and answer are then turned by
            that symmetry.
        settings: see `Adapter`.
        words: texts. Where the tokenizer is word-level, words that it lacks get rows
            of their own, which are trained; other tokenizers know all words.
        folder: state and log; a run that was stopped goes on from there to the same
            weights.
        max_steps: stop (resumably) after this many steps of this sitting.

    Returns:
        One dict an epoch: epoch, loss (nats a token), seconds.

    Raises:
        ParameterError: the captioner has an adapter, there are fewer images than a
            batch takes, or the folder holds another run.
        TrainingError: loss or gradient is not finite.
    """
    cfg, texts = settings.train, list(words)
    steps = len(images) // cfg.batch_size
    if captioner.adapter is not None or not steps:
        what = f"{captioner.model} has an adapter, or {len(images)} images are too few"
        raise ParameterError(f"{what}. Load it anew, or take a smaller batch_size.")
    model = _attach(captioner, settings, texts)
    epoch = [_lessons(k, len(images), draw, cfg)[2] for k in range(steps)]
    identity = fingerprint(
        asdict(settings), captioner.revision, fingerprint(images), texts,
        [astuple(lesson) for said in epoch for lesson in said],
    )  # fmt: skip
    captioner.revision = identity
    on = captioner.net.device
    fast = cfg.bf16 and fast_bf16(on)

    def loss(step: int) -> Tensor:
        asks = _asks(step, images, draw, cfg)
        groups = [[x for x in asks if (x[0] is None) == blind] for blind in (0, 1)]
        with torch.autocast(on.type, torch.bfloat16, enabled=fast):
            parts = [_loss(captioner, group) for group in groups if group]
        return torch.stack([p[0] for p in parts]).sum() / sum(p[1] for p in parts)

    how: Any = {"identity": identity, "folder": folder, "max_steps": max_steps}
    return walk(RunState(model, cfg), loss, steps, cfg, **how, name="adapt")


def _attach(captioner: Any, settings: Adapter, texts: Sequence[str]) -> nn.Module:
    """Put untrained matrices, and rows for new words, on a captioner."""
    from peft import LoraConfig, get_peft_model

    net, words = captioner.net, captioner.processor.tokenizer
    alpha: Any = settings.alpha or 2 * settings.rank  # peft's type is too narrow
    ways = range(SYMMETRIES if settings.train.symmetric else 1)
    known = len(words)
    learn(words, [turn_caption(text, k) for text in texts for k in ways])
    grow(net, words)
    ends, new = (net.get_input_embeddings(), net.get_output_embeddings()), []
    if len(words) > known:  # rows of no word are trained too: they must be unlikely
        new = list(range(known, len(ends[0].weight)))
        for layer in ends:
            layer.weight.data[new] = layer.weight.data[words.unk_token_id].clone()
    tower = net.get_encoder(modality="image")
    skip = {ends[1], *(tower.modules() if tower is not net else ())}
    names = {module: name for name, module in net.named_modules()}
    linear = [n for m, n in names.items() if isinstance(m, nn.Linear) and m not in skip]
    auto = settings.targets == "auto"
    config = LoraConfig(
        r=settings.rank, lora_alpha=alpha,
        target_modules="|".join(map(re.escape, linear)) if auto else settings.targets,
        trainable_token_indices={names[m]: new for m in ends} if new else None,
    )  # fmt: skip
    if net.device.type == "cpu":  # half the time: other gradients, other convolutions
        net.set_attn_implementation({"text_config": "eager"})
        for weight in (p for p in net.parameters() if p.ndim == 4):
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(settings.train.seed)
        captioner.adapter = get_peft_model(net, config)
    config.base_model_name_or_path = captioner.model  # not the folder it lay in
    config.revision = captioner.revision
    return captioner.adapter


def _lessons(
    step: int, n: int, draw: Draw, cfg: TrainConfig
) -> tuple[np.ndarray, np.ndarray, list[Lesson]]:
    """Return rows, symmetries and turned lessons of a step, a pure function of it."""
    epoch, at = divmod(step, n // cfg.batch_size)
    order = np.random.default_rng((cfg.seed, epoch)).permutation(n)
    rows = order[at * cfg.batch_size : (at + 1) * cfg.batch_size]
    rng = np.random.default_rng((cfg.seed, epoch, at))
    which = rng.integers(SYMMETRIES if cfg.symmetric else 1, size=len(rows))
    said = []
    for row, k in zip(rows.tolist(), which.tolist(), strict=True):
        one = draw(row, rng, k)
        turn, answer = turn_caption(one.turn, k), turn_caption(one.answer, k)
        said.append(Lesson(turn, answer, one.sees))
    return rows, which, said


def _asks(
    step: int, images: np.ndarray, draw: Draw, cfg: TrainConfig
) -> list[tuple[Image.Image | None, str, str]]:
    """Return (image or None, turn, answer) of each lesson of a step."""
    rows, which, said = _lessons(step, len(images), draw, cfg)
    seen = torch.from_numpy(images[rows]).permute(0, 3, 1, 2)
    turn_each(seen, torch.from_numpy(which))
    pixels = seen.permute(0, 2, 3, 1).numpy()
    return [
        (Image.fromarray(x) if s.sees else None, s.turn, s.answer)
        for x, s in zip(pixels, said, strict=True)
    ]


def _loss(captioner: Any, asks: Sequence[tuple[Any, str, str]]) -> tuple[Tensor, int]:
    """Return the summed loss of the answers' tokens, and how many there are."""
    words, net = captioner.processor.tokenizer, captioner.net
    inputs = captioner.inputs([ask[:2] for ask in asks])
    texts, end = [ask[2] for ask in asks], words.eos_token_id or captioner.ends[0]
    said = [[*x, end] for x in words(texts, add_special_tokens=False)["input_ids"]]
    most, prompts = max(map(len, said)), inputs["input_ids"]
    labels = torch.full((len(said), most), -100)
    for row, ids in zip(labels, said, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    labels = labels.to(net.device)
    tails = {
        "input_ids": labels.where(labels >= 0, words.pad_token_id),
        "attention_mask": labels >= 0,
    }
    for key, value in inputs.items():
        if value.shape == prompts.shape:  # else of the images; new kinds of mark are 0
            tail = tails.get(key, torch.zeros_like(labels))
            inputs[key] = torch.cat([value, tail.to(value.dtype)], 1)
    logits = net(**inputs, use_cache=False, logits_to_keep=most + 1).logits
    logits = logits[:, -most - 1 : -1].transpose(1, 2).float()
    return F.cross_entropy(logits, labels, reduction="sum"), sum(map(len, said))
