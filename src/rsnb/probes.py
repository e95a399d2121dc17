"""Sixteen numbers that pin a checkpoint: weights, activation, resize, normalisation.

Explained in notebook 00. A checkpoint loads without a word with the wrong GELU or the
wrong mean; its embedding of a fixed picture and a fixed caption then differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rsnb.errors import BackboneError
from rsnb.registry import Entry

__all__ = ["check_probe", "probe"]

PROBE_TOLERANCE = 1e-4  # a wrong GELU or mean moves unit vectors by 1e-3 and more


class Encoder(Protocol):
    """What a probe needs of a backbone."""

    @property
    def name(self) -> str:
        """Return the name for messages."""

    @property
    def entry(self) -> Entry:
        """Return what the checkpoint should be."""

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """Return (B, d) from uint8 (B, S, S, 3)."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (T, d)."""


def probe(backbone: Encoder) -> tuple[float, ...]:
    """Return 16 numbers that pin weights, activation, resize and normalisation.

    The first 8 values of the embedding of a fixed 96-pixel pattern, then of a fixed
    caption.
    """
    y, x = np.mgrid[:96, :96]
    planes = [(3 * x + y) % 256, (x * y) % 256, (x // 12 + y // 8) % 2 * 200]
    image = np.stack(planes, -1).astype(np.uint8)[None]
    img = backbone.encode_images(image)[0, :8]
    txt = backbone.encode_texts(["two white planes are parked near a long road"])
    return tuple(round(float(v), 6) for v in (*img, *txt[0, :8]))


def check_probe(backbone: Encoder) -> None:
    """Raise `BackboneError` if the probe is not the one that the entry stores."""
    want = backbone.entry.probe
    if want is None:
        return
    gap = float(np.abs(np.subtract(probe(backbone), want)).max())
    if not gap <= PROBE_TOLERANCE:
        raise BackboneError(
            f"{backbone.name}: its probe differs by {gap:.4f} from the stored one "
            f"(allowed {PROBE_TOLERANCE}). Weights, activation "
            f"({backbone.entry.activation}) or normalisation are not those of the "
            "checkpoint; load it with the values that its entry states."
        )
