"""Two directions: what each starts from, and a score matrix for each.

`rsnb.metrics.evaluate` reads both directions from one matrix. Whoever refines a query
(a caption's, or an image's) has two: each direction has queries of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from rsnb.errors import EmbeddingError, MetricError, ParameterError
from rsnb.metrics import Recall, evaluate
from rsnb.vectors import check_embeddings, similarity

__all__ = ["Bank", "First", "TwoWay", "Way"]


@dataclass(frozen=True, eq=False)
class TwoWay:
    """Scores of both directions, each with a row a caption and a column an image.

    Scores are compared within a query only: along rows of `t2i`, columns of `i2t`.

    Attributes:
        t2i: float (T, N), ranks the images of each caption.
        i2t: float (T, N), ranks the captions of each image.

    Raises:
        MetricError: the shapes differ.
    """

    t2i: np.ndarray
    i2t: np.ndarray

    def __post_init__(self) -> None:
        """Check that the two are about the same captions and images."""
        if self.t2i.shape != self.i2t.shape:
            what = f"t2i has shape {self.t2i.shape}, i2t {self.i2t.shape}"
            raise MetricError(
                f"{what}; both must be (captions, images). Transpose i2t?"
            )

    def evaluate(self, gt: ArrayLike) -> Recall:
        """Return the recall: t2i of the one matrix, i2t of the other.

        Args:
            gt: int (T,), caption → image.

        Raises:
            MetricError: as in `rsnb.metrics.evaluate`.
        """
        t, i = evaluate(self.t2i, gt), evaluate(self.i2t, gt)
        return Recall(t.gt, t.t2i_hits, i.i2t_hits, t.t2i_ranks, i.i2t_ranks)


@dataclass(frozen=True, eq=False)
class Bank:
    """Embeddings of *training* captions and images, under the backbone of the test.

    Attributes:
        txt: float32 (B, d), unit rows.
        img: float32 (M, d), unit rows.

    Raises:
        EmbeddingError: wrong shape, no rows, NaN, or rows that are not unit.
    """

    txt: np.ndarray
    img: np.ndarray

    def __post_init__(self) -> None:
        """Check both; a tensor becomes an array."""
        for name in ("txt", "img"):
            dim = None if name == "txt" else self.txt.shape[1]
            x = check_embeddings(getattr(self, name), name, dim)
            if not np.allclose(np.linalg.norm(x, axis=1), 1, atol=0.01):
                what = f"{name} has rows that are not unit vectors"
                raise EmbeddingError(f"{what}. Divide each row by its norm.")
            object.__setattr__(self, name, x)


class First(Bank):
    """What the first stage has: unit embeddings `txt` (T, d) and `img` (N, d)."""

    @cached_property
    def sim(self) -> np.ndarray:
        """Cosines (T, N)."""
        return similarity(self.txt, self.img)

    def ways(self, bank: Bank | None = None) -> tuple[Way, Way]:
        """Return text → image and image → text.

        Raises:
            EmbeddingError: the bank has another number of columns.
        """
        txt, img = (bank.txt, bank.img) if bank else (None, None)
        if txt is not None:
            check_embeddings(txt, "bank.txt", self.txt.shape[1])
        sim = self.sim.astype(float)
        t2i = Way(self.txt, self.img, sim, txt, img)
        return t2i, Way(self.img, self.txt, sim.T, img, txt)


@dataclass(frozen=True, eq=False)
class Way:
    """One direction. What is derived from it is computed once.

    Attributes:
        query: float (Q, d).
        gallery: float (G, d).
        sim: float64 (Q, G), their cosines.
        bank: float (B, d), training items of the queries' kind.
        bank_gallery: float (M, d), training items of the gallery's kind.
    """

    query: np.ndarray
    gallery: np.ndarray
    sim: np.ndarray
    bank: np.ndarray | None = None
    bank_gallery: np.ndarray | None = None

    @cached_property
    def bank_sim(self) -> np.ndarray:
        """Cosines (B, G) of the bank with the gallery."""
        if self.bank is None:
            what = "this method reads training queries, and there is no bank"
            raise ParameterError(f"{what}. Embed training captions and images.")
        return similarity(self.bank, self.gallery)

    @cached_property
    def rank(self) -> np.ndarray:
        """Rank (Q, G) of each gallery item for a query, from 1; ties share the best."""
        return rankdata(-self.sim, "min", axis=1)
