"""What the explorers of the book show: quantised numbers, thumbnails, captions.

Explained in notebook 10. Everything is JSON-able. `pack` rounds numbers to 16 bits, and
whatever a page says in Python is computed from the rounded ones, as in the browser.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from rsnb import noise
from rsnb.backbones import Backbone
from rsnb.embed import embed
from rsnb.errors import ParameterError
from rsnb.pacing import Judge, look, null_posterior
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.records import FIELDS, Record
from rsnb.t2t import Fusion, TextSpace

__all__ = ["audit", "pack", "t2t", "thumbs", "unpack"]

_SIDE = 192  # that thumbnails are made from; also what views are cut from, and cached


def pack(x: Any) -> dict[str, Any]:
    """Return numbers of any shape as base64 of little-endian int16, shape and scale.

    Raises:
        ParameterError: NaN or infinity.
    """
    array = np.asarray(x, float)
    if not np.isfinite(array).all():
        raise ParameterError("an explorer cannot show NaN or infinity; leave them out.")
    scale = float(abs(array).max(initial=0)) / 32767 or 1.0
    raw = np.rint(array / scale).astype("<i2").tobytes()
    text = base64.b64encode(raw).decode()
    return {"b64": text, "shape": list(array.shape), "scale": scale}


def unpack(packed: Mapping[str, Any]) -> np.ndarray:
    """Return float64 numbers as the browser reads them.

    >>> unpack(pack([[1.0, -0.5]])).round(4).tolist()
    [[1.0, -0.5]]
    """
    raw = np.frombuffer(base64.b64decode(packed["b64"]), "<i2")
    return raw.reshape(packed["shape"]) * float(packed["scale"])


def thumbs(pairs: Pairs, rows: Sequence[int], side: int = 72) -> list[str]:
    """Return the middle squares of images as base64 of small WebP files."""
    out = []
    for pixels in load_pixels(pairs.subset(rows), _SIDE):
        file = io.BytesIO()
        small = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
        small.save(file, "webp", quality=50, method=6)
        out.append(base64.b64encode(file.getvalue()).decode())
    return out


def audit(
    pairs: Pairs, backbone: Backbone, shown: int = 200,
    rates: Sequence[float] = (0.4, 0.6, 0.8), *,
    recall: Mapping[str, Mapping[float, Sequence[float]]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the data of the audit explorer: losses of pairs whose captions moved.

    Args:
        pairs: where captions move, and what losses are measured against.
        backbone: measures the losses; it should not know these pairs.
        shown: the first images, whose pairs are shown.
        rates: noise rates to choose from, see `noise.draw`.
        recall: label → rate → (mean, low, high) of mR after training through it.
    """
    emb, how, seen = embed(backbone, pairs), Judge(), np.flatnonzero(pairs.gt < shown)
    scale = float(backbone.model.state_dict()["logit_scale"].exp().clamp(max=100))
    texts: dict[str, int] = {}
    draws = []
    for rate in rates:
        mix = noise.draw(pairs, rate)
        found = look(emb.img, emb.txt[mix.order], pairs.gt, scale, how).sum(0)
        loss, null = np.split(found, 2)
        clean, share = null_posterior(loss, null)
        some = loss[clean > 0.5], loss[clean >= 0.05]  # either may be none
        low, high = (part.max(initial=0) for part in some)
        moved = [pairs.captions[t] for t in mix.order[seen]]
        draws.append({
            "rate": rate, "estimated": share, "low": round(float(low), 1),
            "high": round(float(max(low, high)), 1), "loss": pack(loss[seen]),
            "random": pack(null[seen]),
            "wrong": mix.false(pairs.captions, pairs.gt)[seen].astype(int).tolist(),
            "text": [texts.setdefault(t, len(texts)) for t in moved],
        })  # fmt: skip
    return {
        "draws": draws, "texts": list(texts), "image": pairs.gt[seen].tolist(),
        "thumbs": thumbs(pairs, range(shown)), "labels": list(pairs.label[:shown]),
        "recall": {
            k: {str(rate): list(v) for rate, v in row.items()}
            for k, row in (recall or {}).items()
        },
    }  # fmt: skip


def t2t(
    pairs: Pairs, records: Sequence[Record], space: TextSpace, sim: Any, fusion: Fusion,
    how: Mapping[str, Any], asked: int = 40,
) -> dict[str, Any]:  # fmt: skip
    """Return the data of the text-to-text explorer: cosines with each text of a record.

    Args:
        pairs: the gallery.
        records: of its images, in order.
        space: compares queries and texts.
        sim: (T, N) scores of all captions under a backbone.
        fusion: of text scores and backbone, in that order.
        how: keywords of `captions.gallery` that the explorer opens with.
        asked: the first images, of which the first caption is a query.
    """
    first = np.unique(pairs.gt, return_index=True)[1][:asked]
    subsets = [[f for j, f in enumerate(FIELDS) if m >> j & 1] for m in range(1, 8)]
    usable = [r for r in records if r.usable]
    n = min(len(r.variants) for r in usable)
    texts = [t for r in usable for f in subsets for t in r.texts(f, n)]
    queries = [pairs.captions[t] for t in first]
    cos = space.encode(queries) @ space.encode(texts).T
    shape = (len(queries), len(usable), len(subsets), n)
    return {
        "queries": queries, "right": pairs.gt[first].tolist(), "fields": list(FIELDS),
        "has": [r.usable for r in records], "cos": pack(cos.reshape(shape)),
        "sim": pack(np.asarray(sim)[first]), "first": list(fusion.first),
        "second": list(fusion.second),
        "opening": {
            "fields": [f in how["fields"] for f in FIELDS], "weight": fusion.weight,
            "variants": min(n, how["variants"]), "apart": how["apart"],
            "how": how["aggregate"], "tau": how["tau"],
        },
        "variants": [[vars(v) for v in r.variants] for r in records],
        "thumbs": thumbs(pairs, range(len(pairs))), "labels": list(pairs.label),
    }  # fmt: skip
