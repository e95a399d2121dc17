"""Weights as tables of tensors: copied, put in a model, averaged.

Explained in notebook 03.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rsnb.backbones import Backbone, build, wrap
from rsnb.errors import BackboneError
from rsnb.files import fingerprint

__all__ = ["interpolate", "move_mean", "rebuild", "with_weights"]


Weights = Mapping[str, Tensor]


def rebuild(start: Backbone, weights: Weights | None = None) -> nn.Module:
    """Return a new module of `start`'s architecture with `weights`, or its own."""
    model = build(start.entry.config, start.entry.activation)
    model.load_state_dict(weights or start.model.state_dict())
    # Channels last makes CPU and GPU convolutions a quarter faster.
    return model.to(memory_format=torch.channels_last).to(start.device)


def with_weights(start: Backbone, weights: Weights) -> Backbone:
    """Return a backbone like `start`, with other weights."""
    digest = fingerprint(*(v.cpu().numpy() for _, v in sorted(weights.items())))
    return wrap(start.name, rebuild(start, weights), start.entry, digest)


def interpolate(start: Backbone, end: Backbone, share: float = 0.5) -> Backbone:
    """Return (1 - share)·start + share·end, weight by weight (WiSE-FT, Wortsman 2022).

    Raises:
        BackboneError: the two have not the same architecture or vocabulary.
    """
    a, b = start.model.state_dict(), end.model.state_dict()
    shapes = [{k: v.shape for k, v in state.items()} for state in (a, b)]
    if shapes[0] != shapes[1] or start.entry.words != end.entry.words:
        what = f"{start.name} and {end.name} differ in architecture or vocabulary"
        raise BackboneError(f"{what}; only a fine-tuned copy can be averaged.")
    smooth = {k for k, v in b.items() if v.is_floating_point()}
    mixed = {k: torch.lerp(a[k], v, share) if k in smooth else v for k, v in b.items()}
    return with_weights(start, mixed)


def move_mean(mean: Weights, model: nn.Module, decay: float, step: int) -> None:
    """Move a running mean of weights, all or some, in place, towards the model."""
    decay = min(decay, (1 + step) / (10 + step))  # forget the random start soon
    now = model.state_dict()
    for k, v in mean.items():
        if v.is_floating_point():
            v.lerp_(now[k], 1 - decay)
        else:
            v.copy_(now[k])
