"""Rich captions as a benchmark: `compare` ranks them by the retrieval they support.

`gallery` makes records searchable; `tune` chooses how, on validation. Records, their
file and their checks are here too, under one name. Explained in notebook 04.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from rsnb.captionfile import CaptionFile, export, read
from rsnb.errors import ParameterError
from rsnb.metrics import Recall, evaluate
from rsnb.pairs import Pairs
from rsnb.records import (
    FIELDS,
    VARIANTS,
    Record,
    Run,
    Variant,
    align,
    checked,
    faults,
    quality,
)
from rsnb.stats import bootstrap_ci, paired_permutation
from rsnb.t2t import TAU, TextGallery, TextSpace
from rsnb.textspace import known

__all__ = [
    "FIELDS", "VARIANTS", "CaptionFile", "Record", "Run", "Variant", "align", "compare",
    "export", "faults", "from_variants", "gallery", "quality", "read", "texts_of",
    "tune",
]  # fmt: skip


def from_variants(
    variants: Iterable[Sequence[Mapping[str, str]]], ids: Sequence[str]
) -> list[Record]:
    """Return records of plain dicts with the three fields, such as the oracle's."""
    rows = zip(ids, variants, strict=True)
    return [checked(i, [Variant(**v) for v in row]) for i, row in rows]


def texts_of(
    records: Sequence[Record], fields: Sequence[str] = FIELDS,
    variants: int = VARIANTS, *, apart: bool = False,
) -> list[tuple[str, ...]]:  # fmt: skip
    """Return the texts of each record, for a `TextGallery`; none if it is unusable.

    Args:
        records: one an image, as `align` returns them.
        fields: some of `FIELDS`.
        variants: how many of each record, the first ones.
        apart: each field is a text of its own, not joined to one text a variant.
    """
    groups = [[f] for f in fields] if apart else [fields]
    return [tuple(t for g in groups for t in r.texts(g, variants)) for r in records]


def gallery(
    space: TextSpace, records: Sequence[Record], *, fields: Sequence[str] = FIELDS,
    variants: int = VARIANTS, apart: bool = False, aggregate: str = "max",
    tau: float = TAU,
) -> TextGallery:  # fmt: skip
    """Return a searchable gallery of records, one an image, see `texts_of`."""
    texts = texts_of(records, fields, variants, apart=apart)
    return TextGallery(space, texts, aggregate=aggregate, tau=tau)


_WAYS: tuple[tuple[tuple[str, ...], bool], ...] = (
    *(((f,), False) for f in FIELDS), (("one_sentence", "caption"), True),
    (("feature", "caption"), True), (FIELDS, False), (FIELDS, True),
)  # fmt: skip
_POOLS = (("max", TAU), ("mean", TAU), ("lse", 0.02), ("lse", 0.1))


def tune(
    val: Pairs, records: Sequence[Record], space: TextSpace
) -> list[tuple[dict[str, Any], float]]:
    """Return 84 ways to use records with their validation mR in percent, best first.

    A way is a dict of the keywords of `gallery`: 7 choices of fields, 4 aggregates, and
    1, 3 or 5 variants. Of equally good ways the earlier, simpler one comes first.
    """
    queries, found = space.encode(val.captions), []
    every = [t for way in _WAYS for one in texts_of(records, way[0], apart=way[1])
             for t in one if t.strip()]  # fmt: skip
    space = known(space, every) if every else space
    for (fields, apart), (aggregate, tau), n in product(_WAYS, _POOLS, (1, 3, 5)):
        how: dict[str, Any] = {"fields": fields, "variants": n, "apart": apart}
        how |= {"aggregate": aggregate, "tau": tau}
        sim = gallery(space, records, **how).scores(queries)
        found.append((how, evaluate(sim, val.gt).mR))
    return sorted(found, key=lambda one: -one[1])


def compare(
    pairs: Pairs, galleries: Mapping[str, Sequence[Record]],
    spaces: Sequence[TextSpace], *, fields: Sequence[str] = FIELDS,
    variants: int = VARIANTS, apart: bool = False, aggregate: str = "max",
    tau: float = TAU, n: int = 10_000,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rank captioners, prompts and encoders by how well their texts find images.

    The captions of `pairs` are the queries. All images stay in gallery and
    denominator: one without a usable record ranks last, and finds captions by chance.

    Args:
        pairs: any data set, or a split of one.
        galleries: label (captioner, prompt) → records; those of other images are left
            out, unless no record is of an image in `pairs`.
        spaces: sentence encoders; each is tried with every gallery.
        fields: as for `texts_of`, like `variants` and `apart`.
        variants: likewise.
        apart: likewise.
        aggregate: as for `TextGallery`, like `tau`.
        tau: likewise.
        n: resamples for interval and p.

    Returns:
        One row a pair of gallery and space, highest mR first: `captions`, `encoder`,
        `fields` (joined by +, apart by a comma), `images`, `usable` records, `cut`
        (texts longer than the encoder reads), the six recalls and `mR` in percent,
        `mR_interval` (95 %, images resampled), and `p`, two-sided, of no difference
        from the first row. `p` is of one comparison; `rsnb.stats.holm` mends that.

    Raises:
        ParameterError: no gallery, no space, or an unknown field or aggregate.
        DataError: two records of one image, or none of an image in `pairs`.
        MetricError: an image of `pairs` has no caption.
    """
    found: list[tuple[Recall, dict[str, Any]]] = []
    ids = set(pairs.ids)
    for space in spaces:
        queries = space.encode(pairs.captions)
        for label, records in galleries.items():
            some = any(r.image in ids for r in records)
            own = align(records, pairs.ids, extra=some)
            texts = texts_of(own, fields, variants, apart=apart)
            made = TextGallery(space, texts, aggregate=aggregate, tau=tau)
            recall = evaluate(made.scores(queries), pairs.gt)
            row = {
                "captions": label, "encoder": space.name,
                "fields": (", " if apart else " + ").join(fields),
                "images": len(own), "usable": sum(r.usable for r in own),
                "cut": space.cut([t for one in texts for t in one]),
            }  # fmt: skip
            found.append((recall, row | recall.as_dict()))
    if not found:
        raise ParameterError("compare needs at least one gallery and one space.")
    found.sort(key=lambda one: -one[0].mR)
    for recall, row in found:
        interval = bootstrap_ci(recall, n=n)
        row["mR_interval"] = [interval.low, interval.high]
        row["p"] = paired_permutation(recall, found[0][0], n=n)
    return [row for _, row in found]
