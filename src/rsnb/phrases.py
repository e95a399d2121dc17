"""Which words of an English query speak of scene, object, attribute or relation.

Explained in notebook 05. A word list and one rule: content words up to the first
relation name the scene, later ones name objects. Crude, but it reads any caption.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["LEVELS", "levels"]

#: Levels of evidence; `wording` holds what says nothing of the image, and the end.
LEVELS = ("scene", "object", "attribute", "relation", "wording")
_WORDING = frozenset(
    "a an the is are was were be been this that these those there it its they can we "
    "could see seen image images picture photo photograph view aerial overhead "
    "satellite shows show showing has have having of for and or to which one".split()
)
_RELATION = frozenset(
    "with on in at by near nearby next beside besides close around surrounded along "
    "surrounding between left right top bottom north south east west northern southern "
    "eastern western middle center centre side sides edge corner front behind opposite "
    "across through over under above below inside outside among adjacent far parked "
    "located lies lined planted".split()
)
_ATTRIBUTE = frozenset(
    "white gray grey red blue brown green yellow orange black dark light bright pale "
    "colourful small large big little tiny huge long short wide narrow tall round "
    "circular square rectangular oval straight curved winding dense sparse dry wet "
    "bare two three four five six seven eight nine ten several some many few couple "
    "pair rows row lines line single".split()
)


def levels(words: Sequence[str]) -> list[str]:
    """Return the level of each word of one query.

    >>> levels("there is a red church on a lawn".split())[3:]
    ['attribute', 'scene', 'relation', 'wording', 'object']
    """
    out, after = [], False
    for word in words:
        bare = re.sub(r"\W+$|^\W+", "", word.lower())
        if not bare or bare in _WORDING:
            out.append("wording")
        elif bare in _RELATION:
            out.append("relation")
            after = after or "scene" in out
        elif bare in _ATTRIBUTE or bare.isdigit():
            out.append("attribute")
        else:
            out.append("object" if after else "scene")
    return out
