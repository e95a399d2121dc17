"""Findings about public data sets, as lists that others can cite and leave out.

Explained in notebook 09. A list is a CSV in `lists/`: `DATA-NAME.csv`, a row an image
or a caption, by id, number and digest. No text of any caption is in it.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rsnb.errors import DataError, DataProblems, Problem
from rsnb.pairs import Pairs
from rsnb.words import split_words

__all__ = ["COLUMNS", "digest", "keep", "names", "read"]

FOLDER = Path(__file__).parent / "lists"
#: image id; its split; number of the caption among the image's, from 0, empty for the
#: whole image; `digest` of that caption; score in [0, 1]; what it was matched with, and
#: the split of that; what speaks for it.
COLUMNS = ("image", "split", "caption", "digest", "score", "other", "other_split", "by")


def digest(caption: str) -> str:
    """Return 16 hex digits of a caption's words, without case and punctuation."""
    words = " ".join(split_words(caption))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def names(data: str) -> list[str]:
    """Return the lists that come with the package for a data set."""
    return sorted(p.stem.partition("-")[2] for p in FOLDER.glob(f"{data}-*.csv"))


def read(data: str, name: str) -> list[dict[str, str]]:
    """Return the rows of a list, see `COLUMNS`.

    Raises:
        DataError: no such list; says which there are.
    """
    path = FOLDER / f"{data}-{name}.csv"
    if name not in names(data):
        have = ", ".join(names(data)) or "none"
        fix = "A table of your own is named by its path, ending in .csv"
        raise DataError(f"no list {name!r} for {data}; there are: {have}. {fix}.")
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def keep(pairs: Pairs, rows: Iterable[Mapping[str, str]]) -> np.ndarray:
    """Return bool (T,), the captions that a list leaves in.

    Images that `pairs` does not hold are passed over, so a list may be used on a part.
    A caption is known by its digest, so its place may differ between releases.

    Raises:
        DataProblems: an image is here, but not the caption that the list means.
    """
    own: dict[str, list[int]] = defaultdict(list)
    for t, i in enumerate(pairs.gt.tolist()):
        own[pairs.ids[i]].append(t)
    left, bad = np.ones(len(pairs.captions), bool), []
    for line, row in enumerate(rows, 2):
        here = own.get(row["image"], [])
        if not row["caption"]:
            left[here] = False
            continue
        same = [t for t in here if digest(pairs.captions[t]) == row["digest"]]
        place = int(row["caption"])
        if place < len(here) and here[place] in same:
            left[here[place]] = False
        elif same:
            left[same] = False
        elif here:
            what = f"caption {place} of {row['image']}"
            fix = "this release has other captions; audit it anew"
            bad.append(Problem("list", line, "other caption", what, fix))
    if bad:
        raise DataProblems(pairs.name, bad, fix="Leave this list out, or make it anew.")
    return left
