"""CADRE's parts for a query, rounded, and replayed under any settings.

Explained in notebook 10. The retrieval explorer holds what a query's first candidates
said and showed. From that `replay` computes with `Probe` and `VCI` what the explorer
computes in the browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from rsnb.cadre import VCI, Cadre, Probe, Stage
from rsnb.cadre.evidence import tidy
from rsnb.cadre.vci import Asked, best_first
from rsnb.embed import embed_texts
from rsnb.errors import ParameterError
from rsnb.explorers import pack, thumbs, unpack
from rsnb.phrases import LEVELS, levels

__all__ = ["LONGEST", "ask", "replay", "retrieval", "rewrite"]

LONGEST = 300  # characters of a query


def ask(cadre: Cadre, stage: Stage, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each query all that `Cadre` may need of its first `top` candidates.

    With K candidates, V views and W words: `near`, K rows; packed (K,) `sim`, `whole`
    and `text` (cosine with the description); packed (K, V) `found` and `seen`, what the
    probe weighs views by and what it sums; packed (K, W + 1) `gains` in nats.

    Raises:
        ParameterError: no probe or witness, or a text is blank or too long.
    """
    if cadre.probe is None or cadre.witness is None:
        raise ParameterError("an explorer of CADRE needs a probe and a witness.")
    if bad := [t for t in texts if not 0 < len(tidy(t)) <= LONGEST]:
        what = f"{len(bad)} texts, such as {bad[0][:40]!r}"
        raise ParameterError(f"{what}, do not have 1 to {LONGEST} characters.")
    p, txt = cadre.probe, embed_texts(cadre.backbone, texts)
    sim = txt @ stage.first.img.T
    near = best_first(sim, cadre.top)
    text = stage.texts.scores(stage.texts.space.encode(list(texts)))
    said = [tidy(t) for t in texts]
    out: list[dict[str, Any]] = []
    for k, query in enumerate(said):
        views, words = stage.views.emb[near[k]], query.split()
        at = [*(LEVELS.index(v) for v in levels(words)), len(LEVELS) - 1]
        parts = {
            "sim": sim[k, near[k]], "text": text[k, near[k]],
            "found": views @ (txt[k] + txt[k] @ p.ask),
            "seen": views @ (txt[k] + txt[k] @ p.see),
            "whole": views[:, 0] @ (txt[k] + txt[k] @ p.whole),
        }  # fmt: skip
        packed = {name: pack(x) for name, x in parts.items()}
        own = {"query": texts[k], "words": [*words, ""], "levels": at, "right": -1}
        out.append({**own, "near": near[k].tolist(), **packed, "rewrites": {}})
    heard: list[dict[int, np.ndarray]] = [{} for _ in said]
    for row in np.unique(near).tolist():  # each image is read once for all its queries
        of = np.flatnonzero((near == row).any(1)).tolist()
        found = cadre.witness.by_word(stage.pairs, row, [said[k] for k in of])
        for k, gain in zip(of, found, strict=True):
            heard[k][row] = gain
    for one, by, rows in zip(out, heard, near, strict=True):
        one["gains"] = pack([by[row] for row in rows])
    return out


def retrieval(
    cadre: Cadre, stage: Stage, fitted: Mapping[str, VCI], captions: Sequence[int]
) -> dict[str, Any]:
    """Return the data of the retrieval explorer, before any query is rewritten.

    Args:
        cadre: with witness and probe.
        stage: the split that is searched.
        fitted: constants of VCI after QGD ("both"), and of VCI alone ("vci").
        captions: rows of the captions to search with.
    """
    queries = ask(cadre, stage, [stage.pairs.captions[t] for t in captions])
    for one, t in zip(queries, captions, strict=True):
        mine = np.flatnonzero(np.array(one["near"]) == stage.pairs.gt[t])
        one["right"] = int(mine[0]) if len(mine) else -1
    probe: Any = cadre.probe
    own = {"sharp": probe.sharp, "mix": probe.mix}
    return {
        "images": thumbs(stage.pairs, range(len(stage.pairs))),
        "said": list(stage.said), "boxes": stage.views.boxes.round(4).tolist(),
        "bias": probe.bias.tolist(), "levels": [*LEVELS, "description"],
        "fitted": {k: {**asdict(v), **own} for k, v in fitted.items()},
        "queries": queries,
    }  # fmt: skip


def replay(
    data: Mapping[str, Any], one: Mapping[str, Any], *, qgd: bool = True,
    vci: bool = True, **change: Any,
) -> Asked:  # fmt: skip
    """Return what `Probe` and `VCI` make of a query's rounded numbers: (1, K) scores.

    Args:
        data: from `retrieval`.
        one: a query, from `ask`.
        qgd: let the probe look.
        vci: ask the witness.
        change: other values than the fitted ones, of `VCI` or `sharp` and `mix`.
    """
    how = {**data["fitted"]["both" if qgd else "vci"], **change}
    sharp, mix = how.pop("sharp"), how.pop("mix")
    names = ("sim", "found", "seen", "whole", "gains", "text")
    first, found, seen, whole, gains, text = (unpack(one[name]) for name in names)
    if qgd:  # three axes hold the three products that the probe would compute
        whole = np.broadcast_to(whole[:, None], found.shape)
        views, q, none = np.stack([found, seen, whole], -1), np.eye(3)[:1], np.zeros(3)
        see, all_ = (np.stack([np.eye(3)[k] - q[0], none, none]) for k in (1, 2))
        bias = np.array(data["bias"])
        first = Probe(np.zeros((3, 3)), see, all_, bias, sharp, mix)(q, views[None])[0]
    first = first.round(9)[None]
    if not vci:
        return Asked(first, np.zeros(1, np.int64))
    order = best_first(first, how["most"])
    heard = np.hstack([gains @ np.eye(len(LEVELS))[one["levels"]], text[:, None]])
    asked = VCI(**how)(first, order, heard[order], np.zeros(1, np.int64))
    return replace(asked, scores=asked.scores.round(9))


def rewrite(
    cadre: Cadre, stage: Stage, data: Mapping[str, Any],
    queries: Sequence[dict[str, Any]], best: int = 10,
) -> None:  # fmt: skip
    """Let the witness rewrite queries in view of their `best` candidates, in place."""
    for one in queries:
        at = best_first(replay(data, one).scores, best)[0]
        rows = [one["near"][k] for k in at]
        witness: Any = cadre.witness
        new = witness.rewrite(stage.pairs, rows, [one["query"]] * len(rows))
        one["rewrites"] = {str(k): text for k, text in zip(at, new, strict=True)}
