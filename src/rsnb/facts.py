"""What is in a data set: repeats, ceilings, leakage, conflicts, caption lengths.

Explained in notebook 01. Nothing is trained. Two captions are the same if they agree
after strip and lower-casing. Which pairs are wrong is the question of `rsnb.audit`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from rsnb.metrics import caption_ceiling
from rsnb.pairs import Pairs
from rsnb.words import split_words

__all__ = ["CaptionFacts", "FactReport", "Leak", "caption_facts", "conflicts", "flat",
           "leakage", "named_classes", "report"]  # fmt: skip

AGREE = 4  # this many captions of an image must name one and the same other class


@dataclass(frozen=True)
class CaptionFacts:
    """Captions of one split, its `images` and `captions` counted.

    Attributes:
        distinct: number of distinct captions.
        recurring: captions that belong, word for word, to more than one image.
        few_distinct: images with fewer than 5 distinct captions.
        conflicts: images whose captions name another class, see `conflicts`.
        words_mean: mean length of a caption in words; likewise median and max.
        ceiling: best recall in percent that repeats leave, see `Ceiling.as_dict`.
    """

    name: str
    split: str
    images: int
    captions: int
    distinct: int
    recurring: int
    few_distinct: int
    conflicts: int
    words_mean: float
    words_median: float
    words_max: int
    ceiling: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the facts, JSON-able."""
        flat = asdict(self)
        return flat | flat.pop("ceiling")


@dataclass(frozen=True)
class Leak:
    """Captions of one split (`name/split`) that stand, word for word, in another.

    Of the `of_captions` captions of `split`, so many `captions` stand in `found_in`,
    and so many of its `images` have one of them.
    """

    split: str
    found_in: str
    captions: int
    images: int
    of_captions: int


@dataclass(frozen=True)
class FactReport:
    """Facts of each split, and what leaks between splits and data sets."""

    splits: tuple[CaptionFacts, ...]
    leaks: tuple[Leak, ...]

    def __str__(self) -> str:
        """Return both tables as text, one column a split."""
        table = self.table().round(2).T.to_string(header=False)
        return f"{table}\n\n{self.leak_table().to_string(index=False)}"

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        leaks = [asdict(leak) for leak in self.leaks]
        return {"splits": [s.as_dict() for s in self.splits], "leaks": leaks}

    def table(self) -> pd.DataFrame:
        """Return one row a split."""
        return pd.DataFrame([s.as_dict() for s in self.splits])

    def leak_table(self) -> pd.DataFrame:
        """Return one row for each pair of splits that was compared."""
        return pd.DataFrame([asdict(leak) for leak in self.leaks])


def _key(text: str) -> str:
    return text.strip().lower()


def caption_facts(pairs: Pairs) -> CaptionFacts:
    """Return the facts of the captions of `pairs`, as one gallery.

    >>> from rsnb.pairs import Pairs
    >>> p = Pairs("toy", ("a", "b"), ("test",) * 2, ("",) * 2, ("A road", "a road "),
    ...           np.array([0, 1]), np.zeros(2, bool), None, np.arange(2))
    >>> caption_facts(p).distinct, caption_facts(p).recurring
    (1, 2)
    """
    mine: dict[int, set[str]] = defaultdict(set)
    for text, i in zip(pairs.captions, pairs.gt.tolist(), strict=True):
        mine[i].add(_key(text))
    words = [len(split_words(c)) for c in pairs.captions]
    ceiling = caption_ceiling(pairs.captions, pairs.gt)
    return CaptionFacts(
        pairs.name, "+".join(dict.fromkeys(pairs.split)), len(pairs), len(words),
        distinct=ceiling.distinct, recurring=ceiling.recurring,
        few_distinct=sum(len(texts) < 5 for texts in mine.values()),
        conflicts=len(conflicts(pairs)), words_mean=float(np.mean(words)),
        words_median=float(np.median(words)), words_max=max(words),
        ceiling=ceiling.as_dict(),
    )  # fmt: skip


def leakage(a: Pairs, b: Pairs) -> Leak:
    """Return how many captions of `a` stand, word for word, in `b`."""
    there = {_key(c) for c in b.captions}
    hit = np.array([_key(c) in there for c in a.captions], bool)
    name_a, name_b = (f"{p.name}/{'+'.join(dict.fromkeys(p.split))}" for p in (a, b))
    images = len(np.unique(a.gt[hit]))
    return Leak(name_a, name_b, int(hit.sum()), images, len(a.captions))


def named_classes(pairs: Pairs) -> tuple[np.ndarray, list[set[str]]]:
    """Return the class of each image as a stem (N,), and those each caption names.

    Names match over spaces and a final s (`storagetanks` = "storage tank").
    """

    def stem(word: str) -> str:
        return word.lower().replace(" ", "").replace("_", "").removesuffix("s")

    own = np.array([stem(c) for c in pairs.label], object)
    classes = set(own) - {""}
    named = []
    for w in map(split_words, pairs.captions):
        runs = {stem("".join(w[k : k + n])) for n in (1, 2, 3) for k in range(len(w))}
        named.append(runs & classes)
    return own, named


def conflicts(pairs: Pairs) -> np.ndarray:
    """Return rows of images whose captions speak of another class.

    A heuristic that over-reports near-synonyms (playfield, playground): no caption of
    the image names its class, and at least 4 name one and the same other class. Sets
    without classes have none.
    """
    own, named = named_classes(pairs)
    count: list[Counter[str]] = [Counter() for _ in own]
    for names, i in zip(named, pairs.gt.tolist(), strict=True):
        count[i].update(names)

    def off(own: str, count: Counter[str]) -> bool:
        return bool(own) and not count[own] and max(count.values(), default=0) >= AGREE

    return np.flatnonzero([*map(off, own, count)])


def report(pairs: Pairs, others: Sequence[Pairs] = ()) -> FactReport:
    """Return the facts of every split of `pairs`: captions, ceilings, and leakage.

    `others` are data sets that might be trained on before testing on `pairs`. Pixels
    are not used; see `rsnb.duplicates` for images.
    """
    parts = [pairs.where(s) for s in dict.fromkeys(pairs.split)]
    pools = [p.where(s) for p in others for s in dict.fromkeys(p.split)]
    held_out = [p for p in parts if p.split[0] in ("test", "val")]
    leaks = [leakage(a, b) for a, b in product(held_out, parts + pools) if a is not b]
    return FactReport(tuple(map(caption_facts, parts)), tuple(leaks))


def flat(sets: Mapping[str, Pairs]) -> dict[str, Any]:
    """Return facts and leaks (to the `rest` of every set) of test splits, flat."""
    out: dict[str, Any] = {}
    test = {n: p.where("test") for n, p in sets.items()}
    rest = {n: p.subset([s != "test" for s in p.split]) for n, p in sets.items()}
    for n, part in test.items():
        row = caption_facts(part).as_dict().items()
        out |= {f"{n}_test_{k}": v for k, v in row if k != "name"}
        for m, pool in rest.items():
            leak = leakage(part, pool)
            out[f"{n}_test_in_{m}_rest_captions"] = leak.captions
            out[f"{n}_test_in_{m}_rest_images"] = leak.images
    return out
