"""The only door to scene graphs: what is true in a scene, and of which images.

Everything else in `rsnb` sees pictures and sentences. Use this module to ask whether a
caption is true of another image (`consistent`) or of which (`truth`), what a perfect
captioner would write (`records`), or what an independent person would ask (`queries`);
never to train. Explained in notebooks 00 and 04.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from rsnb.world import annotate
from rsnb.world.describe import Caption, Fact, describe
from rsnb.world.scene import SPLITS, Scene, known, sample
from rsnb.world.tables import (
    CONTEXTS,
    DIGITS,
    GROUNDS,
    GROUPS,
    INF,
    LAYOUT,
    NOUNS,
    OPPOSITE,
    SIZES,
    SMALL,
)  # fmt: skip

__all__ = [
    "Scene", "agreement", "consistent", "facts", "queries", "records",
    "scene", "swapped", "truth",
]  # fmt: skip

# a class that is itself what a context band or a small object would be
_IS_CONTEXT = {
    "river": "river", "bridge": "river", "forest": "woods", "farmland": "fields",
    "sparse residential area": "houses", "dense residential area": "houses",
    "intersection": "road", "railway station": "railway", "harbor": "sea",
}  # fmt: skip


def scene(image_id: str) -> Scene:
    """Return the scene graph behind an id such as `"world/test/000123"`."""
    _, split, number = image_id.split("/")
    return sample(split, int(number))


@cache
def _split(split: str) -> tuple[tuple[Scene, tuple[Caption, ...]], ...]:
    (name,) = known(split)
    scenes = [sample(name, k) for k in range(SPLITS[name])]
    return tuple((s, describe(s)) for s in scenes)


def facts(image_id: str) -> list[tuple[Fact, ...]]:
    """Return the facts of an image's five captions, in caption order."""
    return [c.facts for c in describe(scene(image_id))]


def records(ids: Sequence[str]) -> list[list[dict[str, str]]]:
    """Return the five variants that a perfect captioner would write of each image."""
    return [annotate.variants(scene(i)) for i in ids]


def queries(ids: Sequence[str]) -> list[str]:
    """Return one rich query for each image, by a writer who sees the scene."""
    return [annotate.query(scene(i)) for i in ids]


def swapped(
    said: Sequence[Sequence[Mapping[str, str]]], ids: Sequence[str]
) -> dict[str, list[list[str]]]:
    """Return texts (one sentence, features) of which the oracle wrote no part to all.

    The subject is `one_sentence`, the surroundings are `feature`; `said` are the
    variants of a captioner.
    """
    true = records(ids)
    writers = {
        "all by the captioner": (said, said), "subject by the oracle": (true, said),
        "surroundings by the oracle": (said, true), "all by the oracle": (true, true),
    }  # fmt: skip
    return {
        label: [
            [f"{x['one_sentence']}, {y['feature']}" for x, y in zip(p, q, strict=False)]
            for p, q in zip(a, b, strict=True)
        ]
        for label, (a, b) in writers.items()
    }


def agreement(
    said: Sequence[Sequence[Mapping[str, str]]], ids: Sequence[str]
) -> dict[str, float]:
    """Return how often a captioner is right, by kind of fact, in percent of the images.

    An image counts as right if the words of that kind in its first variant are those of
    the true one, each as often; one without variants is wrong.
    """
    right = dict.fromkeys(_WORDS, 0)
    for own, true in zip(said, records(ids), strict=True):
        for kind, (field, pattern) in _WORDS.items():
            texts = [v[0][field] if v else "" for v in (own, true)]
            seen, real = (sorted(pattern.findall(t)) for t in texts)
            right[kind] += bool(own) and seen == real
    return {kind: 100 * n / max(1, len(ids)) for kind, n in right.items()}


def _pattern(*words: str) -> re.Pattern[str]:
    longest = sorted({w for w in words if w}, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b")


def _first(rows: Iterable[str], before: str = "") -> re.Pattern[str]:
    """Return the pattern of each row's first option, as the first variant has it."""
    options = (row.split("; ")[0].split(", ")[0].strip("=<>") for row in rows)
    return _pattern(*(before + form for o in options for form in o.split("/")))


_MAIN, _AROUND = "one_sentence", "feature"
_COLOURS = _pattern(*"white gray red blue brown green yellow orange black".split())
# kind of fact → its field, and the words that the first variant has for it
_WORDS = {
    "class": (_MAIN, _first(NOUNS.values())),
    "its count": (_MAIN, _pattern(*DIGITS)),
    "its colour": (_MAIN, _COLOURS),
    "its arrangement": (_MAIN, _first(LAYOUT.values())),
    "its size": (_MAIN, _pattern(*SIZES)),
    "ground": (_MAIN, _first(GROUNDS.values(), "on ")),
    "surroundings": (_AROUND, _first(CONTEXTS.values())),
    "their sides": (
        _AROUND,
        _pattern(*(f"on the {s}" for s in OPPOSITE), "surrounded"),
    ),
    "small objects": (_AROUND, _first(nouns for _, _, nouns in SMALL.values())),
    "their count": (_AROUND, _pattern(*DIGITS)),
    "their colour": (_AROUND, _COLOURS),
}


def _small(s: Scene, kind: str, colour: str, lo: int, hi: int) -> bool:
    seen = [g.count for g in s.small if g.kind == kind and colour in ("any", g.colour)]
    if any(lo <= n <= hi for n in seen):
        return True
    if colour == "any" and hi == INF and kind == "trees":
        return s.cls == "forest" or any(k == "woods" for k, _ in s.context)
    own = {"parking lot": "cars", "harbor": "boats"}.get(s.cls)
    return own == kind and colour in ("any", s.colour) and lo <= (s.count or 0) <= hi


def _context(s: Scene, kind: str, side: str) -> bool:
    if side == "any" and _IS_CONTEXT.get(s.cls) == kind:
        return True
    return any(k == kind and (side in ("any", at) or at == "around")
               for k, at in s.context)  # fmt: skip


def _between(s: Scene, a: str, b: str) -> bool:
    at = dict(s.context)
    return OPPOSITE.get(at.get(a, "")) == at.get(b, "?")


_HOLDS: dict[str, Callable[..., bool]] = {
    "class": lambda s, cls: s.cls == cls,
    "group": lambda s, group: s.cls in GROUPS[group][1].split(", "),
    "count": lambda s, lo, hi: s.count is not None and lo <= s.count <= hi,
    "small": _small,
    "context": _context,
    "between": _between,
}


def _holds(fact: Fact, s: Scene) -> bool:
    name, *args = fact
    if holds := _HOLDS.get(str(name)):
        return holds(s, *args)
    return getattr(s, str(name)) == args[0]  # colour, layout, size, ground


def consistent(caption_facts: Iterable[Fact], s: Scene) -> bool:
    """Return whether every fact holds in the scene.

    >>> consistent([("class", scene("world/test/000000").cls)],
    ...            scene("world/test/000000"))
    True
    """
    return all(_holds(f, s) for f in caption_facts)


def truth(split: str) -> np.ndarray:
    """Return bool (5 N, N): caption t of the split is true of image i."""
    rows = _split(split)
    columns: dict[Fact, np.ndarray] = {}
    out = np.ones((5 * len(rows), len(rows)), bool)
    for t, caption in enumerate(c for _, captions in rows for c in captions):
        for fact in caption.facts:
            if fact not in columns:
                columns[fact] = np.array([_holds(fact, s) for s, _ in rows])
            out[t] &= columns[fact]
    return out
