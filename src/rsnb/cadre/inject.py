"""Where evidence may enter: the score, the query's embedding, or a new query.

Explained in notebook 05. `score` is `rsnb.cadre.vci`. The other two take the query as
the model rewrote it in view of a candidate, and add it to the query in one of two
spaces: `embedding` in the backbone's, before images are searched again; `requery` in
the sentence encoder's, before descriptions are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsnb.backbones import Backbone
from rsnb.cadre.refine import Stage
from rsnb.embed import embed_texts
from rsnb.errors import ParameterError
from rsnb.vectors import similarity

__all__ = ["FUSIONS", "inject"]

FUSIONS = ("score", "embedding", "requery")


def inject(
    kind: str, stage: Stage, backbone: Backbone, rewritten: Sequence[str], weight: float
) -> np.ndarray:
    """Return float32 (T, N), scores of queries with their rewritten form added.

    Args:
        kind: `"embedding"` or `"requery"`.
        stage: a split.
        backbone: whose text tower reads the rewritten queries.
        rewritten: T texts; an empty one leaves its query as it is.
        weight: 0 leaves all queries as they are, 1 takes the rewritten ones alone.

    Raises:
        ParameterError: another kind, number of texts, or weight.
    """
    captions = stage.pairs.captions
    if kind not in FUSIONS[1:] or len(rewritten) != len(captions):
        what = f"{kind!r} with {len(rewritten)} texts for {len(captions)} queries"
        raise ParameterError(f"{what}: choose of {FUSIONS[1:]}, one text a query.")
    if not 0 <= weight <= 1:
        raise ParameterError(f"weight {weight} must lie between 0 and 1.")
    texts = [new or old for new, old in zip(rewritten, captions, strict=True)]
    if kind == "embedding":
        q = _between(stage.first.txt, embed_texts(backbone, texts), weight)
        return similarity(q, stage.first.img)
    encode = stage.texts.space.encode
    return stage.texts.scores(_between(encode(captions), encode(texts), weight))


def _between(a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    mix = (1 - weight) * a + weight * b
    return mix / np.linalg.norm(mix, axis=1, keepdims=True).clip(1e-12)
