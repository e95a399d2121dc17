"""Scene graph → what an annotator writes: five rich variants, and a rich query.

`variants` has the fields of an RSRT record (notebook 04) and five fixed wordings. The
small captioner learns them on its own split, the oracle shows them as an upper bound.
`query` is another writer: other templates, other words, drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence

from rsnb.errors import DataError
from rsnb.world import tables
from rsnb.world.scene import Dice, Scene, sample

__all__ = ["annotated", "query", "variants"]

_VARIANTS = 5
_EMPTY = ("nothing else around", "no other objects", "an empty surrounding",
          "plain land around", "nothing else in view")  # fmt: skip


def _option(row: str, k: int) -> str:
    options = row.split(", ")
    return options[k % len(options)]


def _counted(n: int, adjectives: str, noun: str) -> str:
    """Return "a red car" or "three red cars" from "car/cars"."""
    singular, _, plural = noun.partition("/")
    if n > 1:
        return f"{tables.DIGITS[n] if n <= 10 else 'many'} {adjectives}{plural}"
    phrase = adjectives + singular
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _subject(s: Scene, k: int) -> str:
    """Return the noun phrase of the class with all its attributes."""
    n, before, after = s.count or 1, "", ""
    if s.size:
        before = _option(tables.SIZES[s.size], k) + " "
    if s.layout:
        phrase = _option(tables.LAYOUT.get(s.layout, f"<{s.layout}"), k)
        before += f"{phrase[1:]} " if phrase[0] == "<" else ""
        after = f" {phrase[1:]}" if phrase[0] == ">" else ""
    tint = f"{s.colour} {'roofed ' * (s.cls in tables.ROOFED)}" if s.colour else ""
    nouns, _, parts = tables.NOUNS[s.cls].partition("; ")
    if parts and s.count:
        of_part = tint if s.cls in tables.COLOUR_OF_PART else ""
        tint = "" if of_part else tint
        after = f" with {_counted(n, of_part, _option(parts, k))}{after}"
    if s.cls == "beach":
        tint, after = "", f"{after} with {tint}water"
    noun = _option(nouns, k)
    if noun[0] == "=":
        return f"{before}{tint}{noun[1:]}{after}"
    return _counted(n if "/" in noun else 1, before + tint, noun) + after


def _ground(s: Scene, k: int) -> str:
    return f"on {_option(tables.GROUNDS[s.ground], k)}" if s.ground else ""


def _bands(s: Scene, k: int) -> list[str]:
    """Return one phrase a context band, with its side."""
    named = [(_option(tables.CONTEXTS[kind], k), at) for kind, at in s.context]
    return [
        f"surrounded by {noun}" if at == "around" else f"{noun} on the {at}"
        for noun, at in named
    ]


def _small(s: Scene, k: int) -> list[str]:
    """Return one phrase a group of small objects."""
    plain = ("trees", "pools")
    return [
        _counted(
            g.count, "" if g.kind in plain else f"{g.colour} ",
            _option(tables.SMALL[g.kind][2], k),
        )
        for g in s.small
    ]  # fmt: skip


def variants(s: Scene) -> list[dict[str, str]]:
    """Return five variants with `one_sentence`, `feature` and `caption`.

    `one_sentence` says class, attributes and ground; `feature` lists what is around;
    `caption` says it all. A variant is a choice of words, the facts are the same.
    """
    out = []
    for k in range(_VARIANTS):
        subject = f"{_subject(s, k)} {_ground(s, k)}".strip()
        lead = _option(tables.LEADS, k)
        bands, small = _bands(s, k), _small(s, k)
        caption = ", ".join([subject, *bands])
        if small:
            caption += f" with {' and '.join(small)}"
        feature = ", ".join([*bands, *small]) or _EMPTY[k]
        out.append({
            "one_sentence": f"{lead} {subject}", "feature": feature, "caption": caption,
        })  # fmt: skip
    return out


def annotated(ids: Sequence[str]) -> list[list[dict[str, str]]]:
    """Return the variants of images of the `captioner` split, to learn from.

    Raises:
        DataError: an image of another split, which no annotator has seen.
    """
    out = []
    for image_id in ids:
        _, split, number = image_id.split("/")
        if split != "captioner":
            raise DataError(
                f"{image_id} is not annotated: only split `captioner` is. For an upper "
                "bound, rsnb.world.oracle.records reads the scene."
            )
        out.append(variants(sample(split, int(number))))
    return out


_OPENINGS = ("This overhead photograph contains", "Seen from above is", "A view of",
             "The main subject is", "Visible in the centre:")  # fmt: skip
_OTHER = {  # words that no caption and no captioner of the world uses
    "airport": "airfield", "airplane": "aircraft", "church": "chapel",
    "farmland": "agricultural land", "forest": "wooded area", "harbor": "marina",
    "river": "watercourse", "school": "school campus", "stadium": "sports stadium",
    "road": "roadway", "railway": "rail tracks", "houses": "dwellings",
    "woods": "woodland", "fields": "arable fields", "sea": "open sea",
}  # fmt: skip


def query(s: Scene) -> str:
    """Return a long search text for a scene, by an independent writer.

    Sentences come in random order, each fact is left out with chance 0.1, and some
    nouns are words that occur nowhere else in the world.
    """
    dice = Dice(s.seed, 2)
    k = dice.between(0, 5)
    subject = f"{dice.pick(_OPENINGS)} {_subject(s, k)}"
    rest = []
    if s.ground:
        below = _option(tables.GROUNDS[s.ground], k + 1).removeprefix("a ")
        rest.append(f"the {below} below")
    for kind, at in s.context:
        where = "on every side" if at == "around" else f"at the {at} edge"
        rest.append(f"{_OTHER.get(kind, kind)} {where}")
    rest += [f"{phrase} as a detail" for phrase in _small(s, k + 1)]
    rest = [phrase for phrase in dice.shuffled(rest) if not dice.chance(0.1)]
    for old, new in _OTHER.items():
        subject = subject.replace(f" {old} ", f" {new} ")
    if not rest:
        return f"{subject}."
    return f"{subject}. Also in view: {', '.join(rest)}."
