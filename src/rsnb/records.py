"""Rich captions as records: five variants of three fields an image, and their checks.

Explained in notebook 04. Texts are data: cleaned when they come in, never repaired. A
record that fails a check stays, without texts, so that it is counted and ranks last.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rsnb.errors import DataError, ParameterError
from rsnb.files import fingerprint
from rsnb.readers import MAX_CAPTION
from rsnb.words import split_words

__all__ = [
    "FIELDS", "RAW_LIMIT", "STATUSES", "VARIANTS", "Record", "Run", "Variant", "align",
    "checked", "clean_text", "distinct", "faults", "quality",
]  # fmt: skip

FIELDS = ("one_sentence", "feature", "caption")
STATUSES = ("ok", "unparsed", "truncated", "invalid", "failed")
VARIANTS = 5
RAW_LIMIT = 65_536  # characters of a model's answer that are read and kept

_HIDDEN = {"Cc", "Cf", "Cs"}  # control, format (bidi, zero-width, tags), surrogate
# Common in English captions, rare in other languages: no `a`, `an`, `in`.
_ENGLISH = frozenset(
    "the of and with is are there some many at by near two this from it its on one "
    "other which that beside between we can".split()
)
_FAULTS = (
    "too few variants", "empty text", "text of one character", "text too long",
    "repeated variant", "not English",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One way to describe an image.

    Attributes:
        one_sentence: a summary.
        feature: what lies where, in directions and relations.
        caption: a detailed paragraph.
    """

    one_sentence: str
    feature: str
    caption: str


@dataclass(frozen=True)
class Record:
    """What a captioner said about one image. Explained in notebook 04.

    Attributes:
        image: id as in `Pairs.ids`.
        variants: one to five if `ok`, else none.
        status: `ok`; `unparsed` or `truncated` answer; `invalid`: a check failed;
            `failed`: no answer.
        reason: why it is not `ok`; cleaned, cut at 500 characters.
        raw: the model's answer where it is not `ok`, cut at `RAW_LIMIT`.

    Raises:
        ParameterError: unknown status, variants in a record that is not `ok`, or none
            in one that is.
    """

    image: str
    variants: tuple[Variant, ...]
    status: str = "ok"
    reason: str = ""
    raw: str = ""

    def __post_init__(self) -> None:
        """Check the status and cut what may be long."""
        if self.status not in STATUSES or self.usable != bool(self.variants):
            what = f"{self.image}: {self.status!r}, {len(self.variants)} variants"
            raise ParameterError(f"{what}. Only `ok` of {STATUSES} has, and must.")
        object.__setattr__(self, "reason", clean_text(self.reason)[:500])
        object.__setattr__(self, "raw", self.raw[:RAW_LIMIT])

    @property
    def usable(self) -> bool:
        """Return whether there are texts to search."""
        return self.status == "ok"

    def texts(
        self, fields: Sequence[str] = FIELDS, variants: int = VARIANTS
    ) -> tuple[str, ...]:
        """Return a text for each of the first variants: its fields, joined by a blank.

        Raises:
            ParameterError: no or unknown fields, or `variants` below 1.
        """
        if not fields or set(fields) - set(FIELDS) or variants < 1:
            what = f"fields {fields}, variants {variants}"
            raise ParameterError(f"{what}: name some of {FIELDS}, and 1 to {VARIANTS}.")
        some = self.variants[:variants]
        return tuple(" ".join(getattr(v, f) for f in fields) for v in some)


@dataclass(frozen=True)
class Run:
    """What made the records of a file.

    Attributes:
        model: name of the model.
        revision: its commit or the sha256 of its weights.
        prompt: sha256 of the prompt's texts.
        decoding: decoding parameters.
        versions: library → version.
    """

    model: str
    revision: str
    prompt: str
    decoding: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return a sha256 over all of it."""
        return fingerprint(asdict(self))


def clean_text(text: str) -> str:
    """Return NFC text in one line, without control, bidi, zero-width or tag characters.

    Nothing is cut: a text that is too long is a fault of its record.
    """
    seen = (c for c in text if c.isspace() or unicodedata.category(c) not in _HIDDEN)
    return " ".join(unicodedata.normalize("NFC", "".join(seen)).split())


def distinct(variants: Iterable[Variant]) -> list[Variant]:
    """Return variants without those that repeat an earlier one, save case and space."""
    seen: dict[tuple[str, ...], Variant] = {}
    for v in variants:
        key = tuple(" ".join(getattr(v, f).casefold().split()) for f in FIELDS)
        seen.setdefault(key, v)
    return list(seen.values())


def faults(record: Record, *, least: int = VARIANTS) -> list[str]:
    """Return which quality checks a record fails, as fixed phrases that can be counted.

    Checked are the number of variants, empty texts, texts under 2 or over 2,000
    characters, repeated variants (case and spaces ignored) and the language: at least
    90 % of the letters Latin and, from 20 words on, 5 % common English words. A record
    that was found `invalid` keeps its faults; other unusable ones have none.
    """
    if not record.usable:
        return [f for f in record.reason.split("; ") if f in _FAULTS]
    variants = record.variants
    texts = [getattr(v, f).strip() for v in variants for f in FIELDS]
    letters = [c for t in texts for c in t if c.isalpha()]
    latin = sum(c < "\u0250" for c in letters) / max(1, len(letters))
    words = split_words(" ".join(texts))
    known = sum(w in _ENGLISH for w in words) / max(1, len(words))
    checks = (
        len(variants) < least,
        not all(texts),
        any(len(t) == 1 for t in texts),
        any(len(t) > MAX_CAPTION for t in texts),
        len(distinct(variants)) < len(variants),
        any(texts) and (latin < 0.9 or (len(words) >= 20 and known < 0.05)),
    )
    return [fault for fault, found in zip(_FAULTS, checks, strict=True) if found]


def checked(
    image: str, variants: Iterable[Variant], raw: str = "", *, least: int = VARIANTS
) -> Record:
    """Return a record of the first five variants, `ok` or `invalid` with its faults."""
    first = tuple(variants)[:VARIANTS]
    found = faults(Record(image, first), least=least) if first else [_FAULTS[0]]
    if found:
        return Record(image, (), "invalid", "; ".join(found), raw)
    return Record(image, first)


def quality(records: Iterable[Record]) -> dict[str, Any]:
    """Return counts of records, `usable`, by `status` and by `faults`, and two figures.

    `words` has the 5th, 50th and 95th percentile of each field's words, `distinct` the
    share of the variants' texts that differ; both are over usable records.
    """
    every = list(records)
    variants = [v for r in every for v in r.variants]
    words = {}
    for f in FIELDS if variants else ():
        count = [len(split_words(getattr(v, f))) for v in variants]
        p5, median, p95 = np.percentile(count, [5, 50, 95]).tolist()
        words[f] = {"p5": p5, "median": median, "p95": p95}
    return {
        "records": len(every),
        "usable": sum(r.usable for r in every),
        "status": dict(Counter(r.status for r in every)),
        "faults": dict(Counter(f for r in every for f in faults(r))),
        "words": words,
        "distinct": len(distinct(variants)) / max(1, len(variants)),
    }


def align(
    records: Iterable[Record], ids: Sequence[str], *, extra: bool = False
) -> list[Record]:
    """Return one record for each id, in their order; `failed` where there is none.

    Args:
        records: in any order.
        ids: image ids, as in `Pairs.ids`; compared as they stand.
        extra: leave records of other ids out, such as those of another split.

    Raises:
        DataError: an id twice, or without `extra` a record of another id.
    """
    every = list(records)
    own = {r.image: r for r in every}
    if len(own) < len(every) or len(set(ids)) < len(ids):
        raise DataError("An image has two records, or an id is asked for twice.")
    other = sorted(own.keys() - set(ids))
    if other and not extra:
        raise DataError(
            f"{len(other)} of {len(own)} records are of images that are not in the "
            f"data set, such as {other[:3]}; its ids are like {list(ids[:3])}. Give "
            "the records its ids, or leave those of other splits out by extra=True."
        )
    return [own.get(i, Record(i, (), "failed", "no record")) for i in ids]
