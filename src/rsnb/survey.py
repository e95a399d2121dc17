"""Audit one data set or several together: `python -m rsnb audit`.

Explained in notebook 01. Prints tables; with a name, writes a receipt too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rsnb.audit import audit, facts
from rsnb.data import load
from rsnb.duplicates import caption_matches, near_duplicates
from rsnb.report import record

__all__ = ["survey"]


def survey(
    names: Sequence[str], *, lenient: bool = False, record_as: str | None = None
) -> dict[str, Any]:
    """Print the audit of each set against all the others; return the figures.

    They are caption facts, caption leakage, near-duplicate images inside each set, and
    how many images of one set are matched to another by their captions. `record_as`
    names a receipt in `book/results/`.
    """
    sets = {}
    for n in names:
        key = "-".join(Path(n).parts[-3:-1]) if "/" in n else n
        sets[key] = load(n, lenient=lenient)
    for pairs in sets.values():
        print(audit(pairs, [p for p in sets.values() if p is not pairs]), "\n")
    figures: dict[str, Any] = {}
    if all("test" in p.split for p in sets.values()):
        figures |= facts(sets)
    for name, pairs in sets.items():
        figures[f"{name}_quarantined"] = dict(pairs.source.get("problems") or {})
        if pairs.has_pixels.any():
            found = near_duplicates(pairs.with_pixels())
            figures[f"{name}_near_duplicate_images"] = found.as_dict()
            print(f"{name}: {len(found.a)} pairs of near-duplicate images")
    for (a, one), (b, two) in combinations(sets.items(), 2):
        matched = caption_matches(one, two)
        split = dict(zip(two.ids, two.split, strict=True))
        own = dict(zip(one.ids, one.split, strict=True))
        leak = sum(own[i] == "test" != split[j] for i, j in matched.items())
        figures[f"{a}_matched_in_{b}"] = len(matched)
        figures[f"{a}_test_matched_in_{b}_rest"] = leak
        print(f"{a} in {b}: {len(matched)} images by captions, {leak} of them test")
    if record_as:
        flag = " --lenient" if lenient else ""
        command = f"python -m rsnb audit {' '.join(names)}{flag} --record {record_as}"
        if root := os.environ.get("RSNB_DATA"):
            command = command.replace(root, "$RSNB_DATA")
        inputs = {n: p.source.get("sha256") for n, p in sets.items()}
        print(record(record_as, figures, command=command, inputs=inputs))
    return figures
