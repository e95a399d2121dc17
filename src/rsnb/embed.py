"""Images and captions to arrays, cached by the content of weights and data.

Explained in notebook 00.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from rsnb.backbones import Backbone
from rsnb.cache import cached_arrays
from rsnb.errors import EmbeddingError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.vectors import similarity

__all__ = ["Embeddings", "embed", "embed_images", "embed_texts"]

BATCH = 64  # fixed, and part of the cache key: batch size moves the last float bits


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of a data set under one backbone.

    Attributes:
        img: float32 (N, d), row i for `pairs.ids[i]`.
        txt: float32 (T, d), row t for `pairs.captions[t]`.
        receipt: backbone name, weight digest, data digest, batch size.
    """

    img: np.ndarray
    txt: np.ndarray
    receipt: dict[str, Any] = field(default_factory=dict)

    @property
    def sim(self) -> np.ndarray:
        """Return float32 (T, N), the cosine of each caption with each image.

        Equal captions get equal rows, which a plain matrix product does not promise.
        """
        return similarity(self.txt, self.img)


def _batches(
    encode: Callable[[Any], np.ndarray], items: Any, label: str, batch: int
) -> np.ndarray:
    starts = range(0, len(items), batch)
    bar = tqdm(starts, desc=label, leave=False, delay=2)
    out = np.concatenate([encode(items[i : i + batch]) for i in bar])
    bad = np.flatnonzero(~np.isfinite(out).all(1))
    if len(bad):
        what = f"{len(bad)} of {len(out)} rows are not finite, first row {bad[0]}"
        raise EmbeddingError(f"{label}: {what}. The weights or the input are broken.")
    return out


def embed_images(
    backbone: Backbone, images: np.ndarray, batch: int = BATCH, *, turns: bool = False
) -> np.ndarray:
    """Return float32 (N, d) unit vectors from uint8 (N, S, S, 3).

    With `turns`, each is the mean over the 8 symmetries of the square, made unit again:
    8 times the work, and fair only where captions name no sides.
    """
    if not turns:
        return _batches(backbone.encode_images, images, "embed images", batch)
    total = np.zeros((), np.float32)
    for k in range(8):
        view = np.rot90(images[:, :, ::-1] if k >= 4 else images, k % 4, (1, 2))
        total = total + embed_images(backbone, np.ascontiguousarray(view), batch)
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def embed_texts(
    backbone: Backbone, texts: Sequence[str], batch: int = 4 * BATCH
) -> np.ndarray:
    """Return float32 (T, d) unit vectors; equal captions get equal rows, bit for bit.

    Each distinct caption is encoded once, so repeated captions tie exactly.
    """
    distinct = list(dict.fromkeys(texts))
    row = {t: i for i, t in enumerate(distinct)}
    emb = _batches(backbone.encode_texts, distinct, "embed captions", batch)
    return emb[[row[t] for t in texts]]


def embed(
    backbone: Backbone, pairs: Pairs, *, turns: bool = False, cache: bool = True
) -> Embeddings:
    """Embed all images and captions of `pairs`.

    Args:
        backbone: from `rsnb.backbones.load`.
        pairs: every image needs pixels.
        turns: average each image over its 8 symmetries, see `embed_images`.
        cache: keep the arrays under `RSNB_CACHE`.

    Raises:
        EmbeddingError: an embedding is not finite.
        DataError: an image has no pixels here.
    """
    receipt = {
        "backbone": backbone.name, "weights": backbone.digest,
        "activation": backbone.entry.activation, "batch": BATCH, "turns": turns,
        "data": pairs.source.get("sha256", ""),
    }  # fmt: skip

    def make() -> dict[str, np.ndarray]:
        images = load_pixels(pairs, backbone.image_size)
        img = embed_images(backbone, images, turns=turns)
        return {"img": img, "txt": embed_texts(backbone, pairs.captions)}

    known = receipt["data"] and backbone.digest
    rows = fingerprint(list(pairs.ids), list(pairs.captions), pairs.gt)
    key = {**receipt, "rows": rows}
    code = "rsnb.backbones", "rsnb.pixels", "rsnb.images"
    got = cached_arrays("embed", key, make, *code) if cache and known else make()
    return Embeddings(got["img"], got["txt"], receipt)
