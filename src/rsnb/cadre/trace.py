"""One query's way through CADRE, step by step, for pages and explorers.

Explained in notebook 07.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from rsnb.cadre.refine import Cadre, Stage
from rsnb.cadre.vci import best_first
from rsnb.embed import embed_texts
from rsnb.errors import ParameterError
from rsnb.phrases import LEVELS

__all__ = ["Trace", "trace"]


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened to a query.

    Attributes:
        query: the caption or free text.
        rows: int64 (K,), candidate images, in the order of asking.
        first: float (K,), their scores before.
        scores: float (K,), their scores after.
        before: int64 (K,), their ranks from 1 before.
        after: int64 (K,), after, among the `top` that were looked at.
        calls: how many of them were asked.
        words: (word, level, gain in nats) of each that was asked.
        said: the description of each that was asked.
        rewritten: the query in view of the best of all; "" if none was asked.
        weights: float (K, V), of the views; empty without QGD.
        boxes: float (V, 4), of the views.
    """

    query: str
    rows: np.ndarray
    first: np.ndarray
    scores: np.ndarray
    before: np.ndarray
    after: np.ndarray
    calls: int
    words: list[list[tuple[str, str, float]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    rewritten: str = ""
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


def trace(cadre: Cadre, stage: Stage, query: str, *, block: int = 5) -> Trace:
    """Search with one text, asking `block` candidates at a time; keep every step.

    After the first stage all work is on `cadre.top` candidates, however large the
    gallery is.

    Raises:
        ParameterError: `fit` was not called, or there is no witness.
    """
    if cadre.witness is None or cadre.t2i is None:
        raise ParameterError("trace needs a witness, and fit(val) before it.")
    txt = embed_texts(cadre.backbone, [query])
    # By torch: its threads and those of NumPy's product would wait for each other.
    img = torch.from_numpy(stage.first.img)
    every: np.ndarray = (torch.from_numpy(txt) @ img.T).numpy()
    near = best_first(every, cadre.top)[0]
    sim = first = every[:, near]
    if cadre.probe is not None:
        first = cadre.probe(txt, stage.views.emb[near])
    lead = first if cadre.order[0] == "qgd" else sim
    ask = best_first(lead, min(cadre.t2i.most, len(near)))
    at, rows = ask[0], near[ask[0]]
    weights = np.zeros((0, 0))
    if cadre.probe is not None:
        weights = cadre.probe.weights(txt, stage.views.emb[rows])[0]
    text = stage.texts.scores(stage.texts.space.encode([query]), rows)[0]
    choice = np.zeros(1, np.int64)  # the backbone's, first of `near`
    heard = np.zeros((1, len(rows), len(cadre.t2i.weights) - 1))
    words: list[list[tuple[str, str, float]]] = []
    found = cadre.t2i(first, ask, heard, choice)
    # Without a call no evidence was looked at: the query is plain as it stands.
    while found.calls[0] and len(words) < len(rows):
        for k, row in enumerate(rows[len(words) : len(words) + block], len(words)):
            words.append(cadre.witness.words(stage.pairs, int(row), query))
            for _, level, gain in words[k]:
                heard[0, k, LEVELS.index(level)] += gain
            heard[0, k, -1] = text[k]
        n = len(words)
        found = cadre.t2i(first, ask[:, :n], heard[:, :n], choice)
        if found.calls[0] < n:
            break
    calls = int(found.calls[0])
    after = np.argsort(np.argsort(-found.scores[0], kind="stable")) + 1
    best = near[found.scores[0].argmax()]
    new = cadre.witness.rewrite(stage.pairs, [best], [query])[0] if calls else ""
    return Trace(
        query, rows, sim[0, at], found.scores[0, at], at + 1, after[at], calls,
        words[:calls], [stage.said[r] for r in rows[:calls]], new, weights,
        stage.views.boxes,
    )  # fmt: skip
