"""CADRE: a frozen backbone's ranking, refined by its own candidates.

Explained in notebook 07. Only the abstract of the paper is public, so this is a
reconstruction: QGD looks at the best candidates again, view by view (`rsnb.cadre.qgd`);
VCI asks the best of those whether they show what the query says (`rsnb.cadre.vci`).
Nothing is taken from other test queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsnb.backbones import Backbone
from rsnb.cadre.evidence import Witness
from rsnb.cadre.qgd import Probe
from rsnb.cadre.vci import VCI, best_first, calibrate
from rsnb.cadre.views import Views, look
from rsnb.captions import gallery
from rsnb.embed import embed
from rsnb.errors import ParameterError
from rsnb.pairs import Pairs
from rsnb.records import Record
from rsnb.t2t import Fusion, TextGallery, TextSpace, fit_fusion
from rsnb.twoway import First, TwoWay

Way = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
__all__ = ["Cadre", "Refined", "Stage", "prepare", "put"]


@dataclass(frozen=True, eq=False)
class Stage:
    """What is known of a data set before the first query; all of it is cached.

    Attributes:
        pairs: images and captions.
        first: embeddings of both under the backbone.
        views: views of the images.
        texts: descriptions of the images, to be met by queries.
        said: one description of each image in words, "" where there is none.
        text: float32 (T, N), captions against descriptions.
    """

    pairs: Pairs
    first: First
    views: Views
    texts: TextGallery
    said: tuple[str, ...]
    text: np.ndarray


def prepare(
    backbone: Backbone, pairs: Pairs, records: Sequence[Record], space: TextSpace,
    **how: Any,
) -> Stage:  # fmt: skip
    """Embed images, views, captions and descriptions of a split.

    Args:
        backbone: frozen.
        pairs: the split, with pixels.
        records: what a captioner wrote, one an image.
        space: sentence encoder.
        how: which texts of a record are used, see `rsnb.captions.gallery`.
    """
    emb, texts = embed(backbone, pairs), gallery(space, records, **how)
    text = texts.scores(space.encode(pairs.captions))
    said = tuple(r.variants[0].caption if r.usable else "" for r in records)
    first = First(emb.txt, emb.img)
    return Stage(pairs, first, look(backbone, pairs), texts, said, text)


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined split.

    Attributes:
        scores: both directions, after all modules.
        base: both directions, as VCI met them: after QGD if that came first.
        calls: int64 (T,), images asked for each caption.
        order: int64 (T, K), candidates in the order of asking.
    """

    scores: TwoWay
    base: TwoWay
    calls: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, eq=False)
class Cadre:
    """Both modules around a frozen backbone.

    Attributes:
        backbone: any entry of `rsnb.backbones`.
        witness: the vision-language model that is asked; None leaves VCI out.
        probe: of QGD; None leaves it out.
        order: which module comes first. QGD first: it decides who is asked. VCI first:
            the backbone does, and QGD replaces its scores afterwards.
        top: candidates that QGD looks at.
        captions: captions that an image's witness is asked about.
        t2i: set by `fit`, as are the next two.
        i2t: likewise.
        pick: chooses those captions by text and first stage.
    """

    backbone: Backbone
    witness: Witness | None = None
    probe: Probe | None = None
    order: tuple[str, str] = ("qgd", "vci")
    top: int = 100
    captions: int = 50
    t2i: VCI | None = None
    i2t: VCI | None = None
    pick: Fusion | None = None

    def __post_init__(self) -> None:
        """Check the order."""
        if sorted(self.order) != ["qgd", "vci"]:
            raise ParameterError(f"order {self.order} must name qgd and vci.")

    def probed(self, stage: Stage) -> TwoWay:
        """Return the scores of both directions after QGD (without a probe: before)."""
        sim = stage.first.sim
        if self.probe is None:
            return TwoWay(sim, sim)
        new = self.probe(stage.first.txt, stage.views.emb)
        return TwoWay(_atop(sim, new, self.top), _atop(sim.T, new.T, self.top).T)

    def evidence(
        self, stage: Stage, images: np.ndarray, texts: np.ndarray,
        other: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Return float (Q, K, 6): gains by level, and the cosine with the description.

        Args:
            stage: the split.
            images: int (Q, K) of pairs.
            texts: int (Q, K), their captions.
            other: int (N,), image whose evidence stands for each image; a control.
        """
        if self.witness is None:
            raise ParameterError("there is no witness to ask; give Cadre one.")
        seen = images if other is None else other[images]
        said = [stage.pairs.captions[t] for t in texts.ravel()]
        gains = self.witness.gains(stage.pairs, seen.ravel(), said)
        text = stage.text[texts, seen][..., None]
        return np.concatenate([gains.reshape(*images.shape, -1), text], -1)

    def ways(
        self, stage: Stage, pick: Fusion, other: np.ndarray | None = None
    ) -> tuple[TwoWay, tuple[Way, Way]]:
        """Return the scores before VCI, and what VCI takes, of t2i and of i2t.

        What it takes is (scores, order, evidence, choice), see `VCI.__call__`.

        Args:
            stage: the split.
            pick: chooses the captions that an image is asked about.
            other: as for `evidence`.
        """
        base, sim = self.probed(stage), stage.first.sim
        lead = base if self.order[0] == "qgd" else TwoWay(sim, sim)
        most = min(self.t2i.most if self.t2i else 20, len(stage.pairs))
        ask = best_first(lead.t2i, most)
        rows = np.broadcast_to(np.arange(len(ask))[:, None], ask.shape)
        t2i = base.t2i, ask, self.evidence(stage, ask, rows, other), sim.argmax(1)
        # An image is described once; its description then meets every caption.
        text = stage.text if other is None else stage.text[:, other]
        ask = best_first(pick(text, lead.i2t).T, min(self.captions, len(base.i2t)))
        rows = np.broadcast_to(np.arange(len(ask))[:, None], ask.shape)
        i2t = base.i2t.T, ask, self.evidence(stage, rows, ask, other), sim.argmax(0)
        return base, (t2i, i2t)

    def fit(self, val: Stage, other: np.ndarray | None = None) -> Cadre:
        """Return a Cadre with its constants from validation.

        An image's witness is always asked: one call.

        Args:
            val: a split that is not tested on.
            other: as for `evidence`.
        """
        if self.witness is None:
            return self
        gt = val.pairs.gt
        lead = self.probed(val).i2t if self.order[0] == "qgd" else val.first.sim
        pick = fit_fusion(val.text, lead, gt)
        right = gt[:, None] == np.arange(len(val.pairs))
        _, (t, i) = self.ways(val, pick, other)
        t2i, i2t = calibrate(t, right), replace(calibrate(i, right.T), slack=0.0)
        return replace(self, t2i=t2i, i2t=i2t, pick=pick)

    def refine(self, stage: Stage, other: np.ndarray | None = None) -> Refined:
        """Refine every query of a split, in both directions.

        Raises:
            ParameterError: `fit` was not called, and there is a witness.
        """
        if self.witness is None:
            base = self.probed(stage)
            none = np.zeros((len(base.t2i), 0), np.int64)
            return Refined(base, base, np.zeros(len(none), np.int64), none)
        if self.t2i is None or self.i2t is None or self.pick is None:
            raise ParameterError("call fit(val) first: it sets the constants of VCI.")
        base, (t, i) = self.ways(stage, self.pick, other)
        asked = self.t2i(*t)
        scores = TwoWay(asked.scores, self.i2t(*i).scores.T)
        return Refined(scores, base, asked.calls, t[1])


def put(old: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return `old` (Q, G) with `new` (Q, K) at `rows`, all others in order below."""
    out = old.copy()
    np.put_along_axis(out, rows, -np.inf, 1)
    drop = new.min(1, keepdims=True) - out.max(1, keepdims=True) - 1e-6  # no ties
    out += np.where(np.isfinite(drop), np.minimum(drop, 0), 0).astype(out.dtype)
    np.put_along_axis(out, rows, new.astype(out.dtype), 1)
    return out


def _atop(sim: np.ndarray, new: np.ndarray, top: int) -> np.ndarray:
    """Return `sim` with the `top` best of each row scored by `new` instead."""
    rows = best_first(sim, top)
    return put(sim, rows, np.take_along_axis(new, rows, 1))
