"""`load`: one call for every data set, by name or by path.

Explained in notebook 01 and in `book/own_data.md`. Faults are collected, never
guessed away: one table of `Problem` rows, or (lenient) quarantine with counts.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rsnb import lists
from rsnb.cards import CARDS, find, manifests, off_card
from rsnb.errors import DataError, DataProblems, Problem
from rsnb.files import fingerprint, read_json, receipt_path, sha256_file
from rsnb.images import UNREADABLE, StoreReader
from rsnb.layouts import LAYOUTS, Row, read_text
from rsnb.pairs import Pairs
from rsnb.readers import clean, read_manifest
from rsnb.stores import locate

__all__ = ["Pairs", "load", "paraphrases"]

# What a reader may write into `drop`.
MARKS = dict.fromkeys(("y", "yes", "x", "1"), True)
MARKS |= dict.fromkeys(("", "n", "no", "0"), False)


def load(
    name_or_path: str | Path, *, lenient: bool = False,
    drop: str | Path | Sequence[str | Path] = (),
) -> Pairs:  # fmt: skip
    """Load a data set.

    Args:
        name_or_path: `world`, `ucm`, `rsicd`, `rsitmd`, `sydney`, `nwpu`; or a folder,
            a manifest, or a pattern such as `raw/*_caps.txt`. A name is looked up in
            `$RSNB_DATA/<name>`, then in `$RSNB_CACHE/data/<name>`.
        lenient: leave faulty rows out and count them in `source["problems"]`. A blank
            or damaged caption goes; an image goes with its last caption, or when it is
            a duplicate, has an unknown split, or lacks pixels that were promised.
        drop: what to leave out, one or several: the name of a list that comes with
            the package, such as `"leak-rsicd"` (`rsnb.lists.names`), or the path of a
            reviewed `mismatch.csv` (`python -m rsnb audit DATA --mismatch`). Images
            with no caption left go as well.

    Returns:
        All splits. Images that the manifest lists without promising pixels, or whose
        folder holds no image at all, are known without pixels (`has_pixels`).

    Raises:
        DataProblems: the faults, one table (strict only); or rows of `drop` that are
            not in the data.
        DataError: not found (says where it looked), no known layout, or nothing left.
    """
    name = str(name_or_path)
    if parts := [drop] if isinstance(drop, str | Path) else list(drop):
        pairs = load(name, lenient=lenient, drop=parts[:-1])
        return _without(pairs, parts[-1])
    if name == "world":
        from rsnb import world

        return world.load()
    path = find(name) if name in CARDS else Path(name)
    root, files = manifests(path)
    layouts: dict[str, list[Row]] = {}
    bad: list[Problem] = []
    shas = {}
    for file in files:
        rel = file.relative_to(root).as_posix()
        layout, rows, problems = read_manifest(file, rel)
        bad += problems
        if layout:
            layouts.setdefault(layout, []).extend(rows)
            shas[rel] = sha256_file(file)
            bad += _off_receipt(file, rel, shas[rel])
    if "captions.jsonl" in layouts:  # our own format, made from the others
        layouts = {"captions.jsonl": layouts["captions.jsonl"]}
    if len(layouts) != 1:
        if bad:
            raise DataProblems(name, bad)
        found = ", ".join(layouts) or f"none of: {', '.join(LAYOUTS)}"
        fix = "Name one file, or one *.pattern; simplest is a CSV filename,title"
        raise DataError(f"{path} holds {found}. {fix}. See book/own_data.md.")
    [(layout, rows)] = layouts.items()
    if name in CARDS and not bad:
        bad += off_card(name, rows)
    rows = locate(clean(rows, layout, bad), root, bad)
    if bad and not lenient:
        raise DataProblems(name, bad)
    if not rows:
        raise DataProblems(name, bad) if bad else DataError(f"{path}: no image rows.")
    source = {
        "path": name, "layout": layout, "files": shas,
        "sha256": fingerprint(shas, [(r.image, r.token) for r in rows]),
        "problems": dict(Counter(p.kind for p in bad)),
    }  # fmt: skip
    ids, split, label = zip(*((r.image, r.split, r.label) for r in rows), strict=True)
    number = np.arange(len(rows))
    return Pairs(
        name if name in CARDS else (root if "*" in path.name else path).stem,
        ids, split, label, tuple(c for r in rows for c in r.captions),
        gt=np.repeat(number, [len(r.captions) for r in rows]),
        has_pixels=np.array([r.place is not None for r in rows], bool),
        reader=StoreReader([r.place for r in rows]), rows=number, source=source,
    )  # fmt: skip


def paraphrases(pairs: Pairs) -> dict[str, list[str]]:
    """Return image id → published paraphrases, new texts alone; RSICD has them.

    They are `raw/textaug_*_rsicd.jsonl.gz` beside the data: back-translations by
    arampacha/CLIP-rsicd, 2021. A set without such files has none.
    """
    out: dict[str, list[str]] = {}
    if pairs.name not in CARDS:
        return out
    for file in sorted(find(pairs.name).glob(f"raw/textaug_*_{pairs.name}.jsonl*")):
        try:
            for row in map(json.loads, read_text(file).splitlines()):
                own = out.setdefault(row["filename"].split("/")[-1], [])
                own += map(str, row["captions"])
        except (*UNREADABLE, KeyError, TypeError, AttributeError) as e:
            raise DataError(f"{file} cannot be read ({e!r}). Fetch it again.") from e
    known = {i: {c.lower().strip(" .") for c in pairs.captions_of(k)}
             for k, i in enumerate(pairs.ids) if i in out}  # fmt: skip
    return {
        i: [c for c in out[i] if c.lower().strip(" .") not in own]
        for i, own in known.items()
    }


def _without(pairs: Pairs, drop: str | Path) -> Pairs:
    """Return `pairs` without what a list or a reviewed CSV names."""
    if isinstance(drop, Path) or Path(drop).suffix:
        keep = _reviewed(pairs, Path(drop))
    else:
        keep = lists.keep(pairs, lists.read(pairs.name, drop))
        if keep.all() and not pairs.source.get("dropped"):  # one list may hold another
            what = f"list {drop!r} names nothing in {pairs.name} as it is here"
            fix = "Its ids are not those of the list, see rsnb.lists.read"
            raise DataError(f"{what}; ids here are like {pairs.ids[0]!r}. {fix}.")
    rows = np.flatnonzero(~keep)
    gone = pairs.source.get("dropped", 0) + len(rows)
    source = {**pairs.source, "dropped": gone}
    source["sha256"] = fingerprint(source.get("sha256"), rows)
    left = np.bincount(pairs.gt[keep], minlength=len(pairs)) > 0
    if not left.any():
        raise DataError(f"{drop} drops every caption of {pairs.name}.")
    texts = tuple(pairs.captions[t] for t in np.flatnonzero(keep))
    kept = replace(pairs, captions=texts, gt=pairs.gt[keep], source=source)
    return kept.subset(left)


def _reviewed(pairs: Pairs, path: Path) -> np.ndarray:
    """Return bool (T,), the captions that a reviewed CSV does not mark in `drop`."""
    if not path.is_file():
        raise DataError(f"drop={path} is no file; `audit --mismatch` writes one.")
    try:
        table = csv.DictReader(io.StringIO(read_text(path), newline=""))
        lines = [(table.line_num, row) for row in table]
    except (*UNREADABLE, csv.Error) as e:
        raise DataError(f"drop={path} cannot be read ({e}). Save it as CSV.") from e
    if missing := {"id", "caption", "drop"} - set(table.fieldnames or ()):
        raise DataError(f"{path} lacks the column(s) {', '.join(sorted(missing))}.")
    places: dict[tuple[str, str], list[int]] = {}
    for t, (i, text) in enumerate(zip(pairs.gt, pairs.captions, strict=True)):
        places.setdefault((pairs.ids[i], text), []).append(t)
    bad, keep = [], np.ones(len(pairs.captions), bool)
    for line, row in lines:
        key = row["id"] or "", (row["caption"] or "").removeprefix("'")
        mark = (row["drop"] or "").strip().lower()
        fault = None if places.get(key) else ("unknown caption", f"{key}")
        if mark not in MARKS:
            fault = "bad field", f"drop is {mark!r}"
        if fault:
            fix = "mark y or nothing; audit the data again if it changed"
            bad.append(Problem(path.name, line, *fault, fix))
        else:
            keep[places[key].pop()] = not MARKS[mark]
    if bad:
        raise DataProblems(f"{pairs.name}, drop={path.name}", bad, fix="Mend it.")
    return keep


def _off_receipt(file: Path, rel: str, found: str) -> list[Problem]:
    """Return a problem if a fetched file is no longer what its receipt says."""
    receipt = receipt_path(file)
    facts = read_json(receipt) if receipt.is_file() else {}
    if isinstance(facts, dict) and facts.get("sha256", found) == found:
        return []
    what = f"sha256 is {found[:12]}…, not that of its receipt"
    return [Problem(rel, 0, "unreadable file", what, "fetch it again")]
