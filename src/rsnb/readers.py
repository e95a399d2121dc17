"""Tell a manifest's layout from its content, and read it.

Explained in `book/own_data.md`. Only `*_caps.txt`, which has no marker inside, is known
by its name.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rsnb.errors import Problem
from rsnb.layouts import LAYOUTS, Row, read_text

__all__ = ["read_manifest"]


def _all(items: Iterable[Any], *keys: str) -> bool:
    """Tell whether the first item is a dict with all `keys`."""
    first = next(iter(items), None)
    return isinstance(first, dict) and all(k in first for k in keys)


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
    head = text.lstrip()[:1]
    first = text.split("\n", 1)[0]
    if head in ("{", "["):
        try:
            doc = json.loads(text)
        except ValueError:
            if ".jsonl" in path.name or '"captions"' in first:
                return "captions.jsonl", text
            raise
        if isinstance(doc, dict):
            if isinstance(doc.get("images"), list):
                return "Karpathy JSON", doc
            if "image" in doc and "captions" in doc:
                return "captions.jsonl", text
            nwpu = doc and all(isinstance(v, list) for v in doc.values())
            if nwpu and any(_all(v, "filename", "raw") for v in doc.values()):
                return "NWPU JSON", doc
        elif isinstance(doc, list) and _all(doc, "image", "caption"):
            return "HarMA JSON", doc
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
    except (OSError, ValueError, EOFError, RecursionError, zlib.error, KeyError) as e:
        detail = f"{type(e).__name__}: {e}"
        return "", [], [Problem(rel, 0, "unreadable file", detail, "fetch it again")]
    return layout, rows, bad
