"""Tell a manifest's layout from its content, read it, and settle what it says.

Explained in `book/own_data.md`. Captions are data: no control, bidi or zero-width
character gets through, and no name leaves its folder.
"""

import csv
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rsnb.errors import Problem
from rsnb.images import UNREADABLE, is_safe_name
from rsnb.layouts import LAYOUTS, Row, read_text

__all__ = ["clean", "read_manifest"]

MAX_CAPTION = 2_000
Fault = tuple[str, str, str]  # kind, detail, fix
SPLITS = {s: s for s in ("train", "val", "test", "all")}
SPLITS |= {"valid": "val", "validation": "val", "dev": "val", "restval": "train"}
# Bidi controls, zero-width and tag characters: invisible, and they reorder a page's
# text or hide another in it.
HIDDEN = re.compile(
    "[\u061c\u200b-\u200f\u2060\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
NO_NAME = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def _sniff(path: Path) -> tuple[str, Any]:
    """Return (layout or `""`, content). Raises ValueError on a broken file."""
    with path.open("rb") as f:
        if f.read(4) == b"PAR1":
            return "hub parquet", None
    if path.name.endswith("_filename.txt"):
        return "", None  # read with its captions
    text = read_text(path)
    if path.name.endswith("_caps.txt"):
        return "precomp text", text
    first = text.split("\n", 1)[0]
    if text.lstrip()[:1] in ("{", "["):
        try:
            doc = json.loads(text)
        except ValueError:
            if ".jsonl" in path.name or '"captions"' in first:
                return "captions.jsonl", text
            raise
        match doc:
            case {"images": list()}:
                return "Karpathy JSON", doc
            case {"image": _, "captions": _}:
                return "captions.jsonl", text
            case [{"image": _, "caption": _}, *_]:
                return "HarMA JSON", doc
            case dict() if all(isinstance(v, list) for v in doc.values()):
                firsts = [v[0] for v in doc.values() if v and isinstance(v[0], dict)]
                if any({"filename", "raw"} <= e.keys() for e in firsts):
                    return "NWPU JSON", doc
        return "", None
    columns = re.split(r"[,\t]", first.strip("\r"))
    if {"filename", "title"} <= {c.strip().strip('"') for c in columns}:
        return "filename,title CSV", text
    return "", None


def read_manifest(path: Path, rel: str) -> tuple[str, list[Row], list[Problem]]:
    """Return (layout, rows, problems) of one file; layout is `""` for other files."""
    try:
        layout, doc = _sniff(path)
        if not layout:
            return "", [], []
        rows, bad = LAYOUTS[layout](path, rel, doc)
    except (*UNREADABLE, csv.Error) as e:
        detail = f"{type(e).__name__}: {e}"
        return "", [], [Problem(rel, 0, "unreadable file", detail, "fetch it again")]
    return layout, rows, bad


def clean(rows: Sequence[Row], layout: str, bad: list[Problem]) -> list[Row]:
    """Return rows with settled ids, splits and captions; faults go to `bad`."""
    names = _settle_names([str(r.image) for r in rows], layout)
    seen: dict[str, Row] = {}
    for row, name in zip(rows, names, strict=True):
        if fault := _row_fault(row, name, seen):
            bad.append(Problem(row.file, row.line, *fault))
            continue
        kept = []
        for k, text in enumerate(row.captions):
            line = row.lines[k] if k < len(row.lines) else row.line
            text, fault = _clean_text(text)
            if fault:
                detail = f"caption {k + 1} of {name}{fault[1]}"
                bad.append(Problem(row.file, line, fault[0], detail, fault[2]))
            else:
                kept.append(text)
        row.image, row.split, row.captions = name, SPLITS[row.split], kept
        row.label = _clean_text(row.label)[0]
        seen[name] = row
    return [row for row in seen.values() if row.captions]


def _row_fault(row: Row, name: str, seen: Mapping[str, Row]) -> Fault | None:
    if not (isinstance(row.image, str) and isinstance(row.captions, list)):
        kinds = [type(x).__name__ for x in (row.image, row.captions)]
        return "bad field", " and ".join(kinds), "give a name and a list of texts"
    if not is_safe_name(name) or NO_NAME.search(name) or HIDDEN.search(name):
        return "unsafe path", ascii(row.image), "use a relative path, / between"
    if row.store and not is_safe_name(row.store.removeprefix("../rsicd/")):
        return "unsafe path", ascii(row.store), "put the archive in the data's folder"
    if name in seen:
        first = f"{name} is also at {seen[name].file}:{seen[name].line}"
        return "duplicate id", first, "keep one entry, with all its captions"
    if row.split not in SPLITS:
        return "unknown split", f"{name}: {row.split!r}", "use train, val or test"
    if not row.captions:
        return "image without captions", name, "add captions or drop the image"
    return None


def _clean_text(text: object) -> tuple[str, Fault | None]:
    """Return a caption in NFC without control, bidi or zero-width characters."""
    if not isinstance(text, str):
        kind = type(text).__name__
        return "", ("bad field", f" is {kind}, not text", "give a string")
    if "\ufffd" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return "", ("encoding", " has bytes that are not UTF-8", "save as UTF-8")
    text = "".join(" " if c in "\t\n\r\u2028\u2029" else c for c in text)
    text = unicodedata.normalize("NFC", HIDDEN.sub("", text))
    text = "".join(c for c in text if unicodedata.category(c) != "Cc").strip()
    if not text:
        return "", ("blank caption", " is empty", "write it or drop the line")
    if len(text) > MAX_CAPTION:
        return "", ("long caption", f" has {len(text):,} characters", "shorten it")
    return text, None


def _settle_names(names: Sequence[str], layout: str) -> list[str]:
    """Return image paths relative to the data set.

    Names are never cut to their last part. Two layouts carry a folder that is not
    the data set's: HarMA's split folder (dropped if names stay distinct), and the
    absolute or hub folder common to all rows of a CSV or parquet.
    """
    posix = [n.replace("\\", "/") if n[1:3] == ":\\" else n for n in names]
    if layout == "HarMA JSON":
        cut = [n.split("/", 1)[-1] if n.split("/")[0] in SPLITS else n for n in posix]
        return cut if len(set(cut)) == len(set(posix)) else posix
    absolute = [n.startswith("/") or n[1:2] == ":" for n in posix]
    if posix and (all(absolute) or layout == "hub parquet"):
        paths = [PurePosixPath("/" + n.lstrip("/")) for n in posix]
        common = os.path.commonpath([str(p.parent) for p in paths])
        return [str(p.relative_to(common)) for p in paths]
    return posix
