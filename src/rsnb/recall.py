"""`Recall`: what an evaluation found, query by query.

Explained in notebook 01; made by `rsnb.metrics`, which also exports it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from rsnb.files import read_verified, write_with_receipt
from rsnb.ties import KS, percent

__all__ = ["Recall"]


@dataclass(frozen=True, eq=False)
class Recall:
    """Recall of both directions, with every query's hits.

    Attributes:
        gt: int64 (T,), image of each t2i query (caption).
        images: int64 (Q,), the i2t queries: images that have captions, ascending.
        t2i_hits: float64 (T, 3), probability of a hit at 1, 5, 10 under random ties.
        i2t_hits: float64 (Q, 3), likewise.
        t2i_ranks: float64 (T, 3), 0-based rank of the image: with ties broken in its
            favour, in expectation, and against it.
        i2t_ranks: float64 (Q, 3), likewise for the best-ranked caption of the image.
        distractors: gallery images without captions (never queries).
    """

    gt: np.ndarray
    images: np.ndarray
    t2i_hits: np.ndarray
    i2t_hits: np.ndarray
    t2i_ranks: np.ndarray
    i2t_ranks: np.ndarray
    distractors: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the six expected recalls and mR, in percent."""
        return _table(self.i2t_hits, self.t2i_hits)

    @property
    def mR(self) -> float:
        """Mean of the six expected recalls, in percent."""
        return self.as_dict()["mR"]

    def bounds(self) -> dict[str, dict[str, float]]:
        """Return `optimistic` and `pessimistic` recall: luckiest, unluckiest order."""
        k = np.array(KS)
        return {
            name: _table(self.i2t_ranks[:, [c]] < k, self.t2i_ranks[:, [c]] < k)
            for name, c in (("optimistic", 0), ("pessimistic", 2))
        }

    @property
    def ties(self) -> float:
        """Share (0-1) of the queries of both directions with a tie across a cut.

        Above 0.001 the bounds matter, and the HTML table shows them.
        """
        ranks = np.concatenate([self.t2i_ranks, self.i2t_ranks])
        k = np.array(KS)
        return float(((ranks[:, [0]] < k) != (ranks[:, [2]] < k)).any(1).mean())

    def save(self, path: str | Path) -> Path:
        """Write hits and ranks as safetensors; the receipt beside it has the recall."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        return write_with_receipt(path, st_save(arrays), recall=self.as_dict())

    @classmethod
    def load(cls, path: str | Path) -> Recall:
        """Read what `save` wrote; a changed file raises `FileCorruptError`."""
        arrays: dict[str, Any] = st_load(read_verified(path))
        return cls(**{**arrays, "distractors": int(arrays["distractors"])})

    def __repr__(self) -> str:
        """Return mR and the six recalls in one line."""
        v = [f"{x:.2f}" for x in self.as_dict().values()]
        return f"Recall(mR {v[6]}, i2t {'/'.join(v[:3])}, t2i {'/'.join(v[3:6])})"

    def _repr_html_(self) -> str:
        import pandas as pd

        rows = {"recall (%)": self.as_dict()}
        if self.ties > 0.001:
            rows |= {f"{k} ties": v for k, v in self.bounds().items()}
        html = pd.DataFrame(rows).T.to_html(float_format="{:.2f}".format, border=0)
        t, q = len(self.gt), len(self.images)
        more = f", {self.distractors:,} distractor images" if self.distractors else ""
        return (
            f"{html}<p>{q:,} images, {t:,} captions{more}. One hit moves "
            f"i2t by {100 / q:.2f} and t2i by {100 / t:.2f} points; {self.ties:.1%} of "
            "queries have a tie at a cut.</p>"
        )


def _table(i2t: np.ndarray, t2i: np.ndarray) -> dict[str, float]:
    names = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS]
    values = [*percent(i2t.mean(0)), *percent(t2i.mean(0))]
    return dict(zip(names, values, strict=True)) | {"mR": float(np.mean(values))}
