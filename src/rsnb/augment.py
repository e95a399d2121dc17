"""Augmentation that keeps captions true: turn the image and its side words together.

Explained in notebook 02. An overhead scene has no up, so all eight symmetries of the
square are fair, provided that "left" becomes "top" when the image is turned.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "SYMMETRIES",
    "random_view",
    "resize",
    "turn",
    "turn_caption",
    "turn_each",
]

SYMMETRIES = 8  # 4 turns by 90 degrees, each plain or mirrored left to right

# Each ring lists its words clockwise from the top of the image.
_RINGS = (
    ("top", "right", "bottom", "left"),
    ("north", "east", "south", "west"),
    ("upper", "right", "lower", "left"),
    ("northern", "eastern", "southern", "western"),
)
_SIDES = re.compile(r"\b(" + "|".join({w for r in _RINGS for w in r}) + r")\b")


def turn(images: Tensor, k: int) -> Tensor:
    """Return (B, C, H, W) mirrored left-right if k ≥ 4, then turned k%4 times.

    Each turn is by 90 degrees counter-clockwise, as in `torch.rot90`.
    """
    if k >= 4:
        images = images.flip(3)
    return torch.rot90(images, k % 4, (2, 3)) if k % 4 else images


def turn_each(images: Tensor, which: Tensor) -> None:
    """Turn each image (B, C, H, W) by its symmetry in `which`, int (B,), in place."""
    for k in range(1, SYMMETRIES):
        sub = torch.nonzero(which == k).flatten()
        images[sub] = turn(images[sub], k)


def turn_caption(caption: str, k: int) -> str:
    """Return the caption that is true of the image after `turn(image, k)`.

    >>> turn_caption("a road on the top", 1)
    'a road on the left'
    """

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        ring = next(r for r in _RINGS if word in r)
        place = ring.index(word)
        if k >= 4:
            place = (-place) % 4
        return ring[(place - k) % 4]

    return _SIDES.sub(swap, caption) if k else caption


def random_view(
    images: Tensor, side: int, min_scale: float, full: float, jitter: float,
    rng: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return uint8 (B, 3, side, side): whole images and windows at random places.

    The first rows stay whole, the others get one of four random window sizes. Sizes
    are mixed inside a batch because batch normalisation learns the mix.

    Args:
        images: uint8 (B, 3, S, S), in random order.
        side: output side in pixels.
        min_scale: smallest window side as a share of S, in (0, 1].
        full: share of the batch that keeps the whole image.
        jitter: largest relative change of gain and offset per image and channel.
        rng: source of sizes, places and colours.
    """
    size, whole = images.shape[-1], round(full * len(images))
    views = [resize(images[:whole], side)]
    for group in images[whole:].chunk(4) if whole < len(images) else ():
        share = float(torch.rand(1, generator=rng)) * (1 - min_scale) + min_scale
        window = round(size * share)
        at = torch.randint(size - window + 1, (len(group), 2), generator=rng).tolist()
        each = zip(group, at, strict=True)
        cut = [im[:, y : y + window, x : x + window] for im, (y, x) in each]
        views.append(resize(torch.stack(cut), side))
    out = torch.cat(views)
    if jitter:
        shape = (2, len(out), 3, 1, 1)
        common = torch.rand((2, len(out), 1, 1, 1), generator=rng) * 2 - 1
        own = torch.rand(shape, generator=rng) * 2 - 1
        gain, offset = (jitter * (common + 0.5 * own)).to(out.device)
        out = (out * (1 + gain) + 255 * 0.5 * offset).clamp(0, 255).to(torch.uint8)
    return out


def resize(images: Tensor, side: int) -> Tensor:
    """Return (B, C, side, side), anti-aliased; unchanged if it is that already."""
    if images.shape[-1] == side or not len(images):
        return images[..., :side, :side]
    if images.is_cuda and not images.is_floating_point():  # bytes: on a CPU alone
        return resize(images.float(), side).round().clamp(0, 255).to(images.dtype)
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
