"""The caption layouts of this field, each read into plain rows.

Explained in `book/own_data.md`. A reader keeps what it finds, for `rsnb.data` to
judge; an entry that it cannot take apart becomes a `Problem`.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rsnb.errors import Problem

__all__ = ["LAYOUTS", "Row", "read_text", "split_of"]

MAX_TEXT = 1_000_000_000  # bytes of one manifest once unpacked
MAX_RATIO, SMALL = 200, 1_000_000  # unpacked bytes a packed byte, beyond a first MB
SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|valid|validation|dev|test)(?![a-z])")


@dataclass
class Row:
    """One image as its manifest states it.

    Attributes:
        captions: texts as written; anything but a string is a fault judged later.
        split: as written, or told by the file's name; `"all"` where nothing tells.
        file: manifest, relative to the data folder.
        line: line (text) or 1-based entry (JSON, parquet).
        lines: line of each caption, where it differs.
        store: archive with the pixels, relative to the data folder; `""` = the folder.
        member: name inside `store`; `""` where the manifest does not say.
        place: (store, key) for `StoreReader`, once the pixels are found.
        token: content mark of the pixels: size and CRC, or size and mtime.
    """

    image: str
    captions: list[Any]
    split: str
    label: str = ""
    file: str = ""
    line: int = 0
    lines: list[int] = field(default_factory=list)
    store: str = ""
    member: str = ""
    place: tuple[str, str] | None = None
    token: tuple[int, int] = (0, 0)


Read = tuple[list[Row], list[Problem]]


def split_of(path: Path) -> str:
    """Return the split that a file's name states, or `"all"`.

    >>> split_of(Path("rsitmd_val.csv.gz")), split_of(Path("captions.csv"))
    ('val', 'all')
    """
    found = SPLIT_WORD.findall(path.name.split(".")[0].lower())
    return found[-1] if found else "all"


def read_text(path: Path) -> str:
    """Return a file's text; bytes that are not UTF-8 become U+FFFD, judged later."""
    with path.open("rb") as f:
        packed = f.read(2) == b"\x1f\x8b"
    most = min(MAX_TEXT, SMALL + MAX_RATIO * path.stat().st_size)
    with gzip.open(path) if packed else path.open("rb") as f:
        data = f.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes of text")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    text = data.decode("utf-8-sig", "replace")
    if "\ufffd" in text and b"\t" in data.split(b"\n", 1)[0]:
        return data.decode("gb18030", "replace")  # RS5M's tab-separated files
    return text


def _lines(text: str) -> list[str]:
    """Split at newlines only: `splitlines` also cuts at U+2028 and its like."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _each(rel: str, entries: Iterable[Any], read: Callable[[Any, int], Any]) -> Read:
    """Return `read(entry, number)` of each entry; what it cannot take is a problem."""
    rows, bad = [], []
    for i, entry in enumerate(entries, 1):
        try:
            rows.append(read(entry, i))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            detail, fix = f"{type(e).__name__}: {e}", "compare with the layout's page"
            bad.append(Problem(rel, i, "bad field", detail, fix))
    return [row for row in rows if row is not None], bad


def _karpathy(path: Path, rel: str, doc: Any) -> Read:
    def read(e: Any, i: int) -> Row:
        texts = [s["raw"] for s in e["sentences"]]
        image = "/".join(filter(None, (e.get("filepath"), e["filename"])))
        return Row(image, texts, str(e["split"]), str(e.get("class", "")), rel, i)

    return _each(rel, doc["images"], read)


def _nwpu(path: Path, rel: str, doc: Any) -> Read:
    def read(item: Any, i: int) -> Row:
        label, e = item
        texts = [v for k, v in e.items() if k.startswith("raw")]
        image = "/".join((label, e["filename"]))
        return Row(image, texts, str(e["split"]), label, rel, i)

    return _each(rel, ((c, e) for c, entries in doc.items() for e in entries), read)


def _harma(path: Path, rel: str, doc: Any) -> Read:
    seen: dict[str, Row] = {}

    def read(e: Any, i: int) -> Row | None:
        image, texts, label = e["image"], e["caption"], str(e.get("label_name", ""))
        if isinstance(texts, str) and image in seen:
            seen[image].captions.append(texts)
            seen[image].lines.append(i)
            return None
        many = list(texts) if isinstance(texts, list) else [texts]
        row = Row(image, many, split_of(path), label, rel, i, [i] * len(many))
        if isinstance(texts, str):
            seen[image] = row
        return row

    return _each(rel, doc, read)


def _jsonl(path: Path, rel: str, doc: Any) -> Read:
    def read(line: str, i: int) -> Row:
        e = json.loads(line)
        row = Row(e["image"], e["captions"], e["split"], e.get("class", ""), rel, i)
        if "rsicd_zip" in e:  # RSITMD: its pixels lie in RSICD's archives
            row.store, row.member = f"../rsicd/{e['rsicd_zip']}", e["rsicd_image"]
        elif "zip" in e:
            row.store, row.member = e["zip"], e["image"]
        elif "image_here" in e:
            row.member = e["image_here"]
        "".join((row.image, row.split, row.store, row.member))  # TypeError: no text
        return row

    return _each(rel, _lines(doc), read)


def _csv(path: Path, rel: str, doc: Any) -> Read:
    delimiter = "\t" if "\t" in doc.split("\n", 1)[0] else ","
    reader = csv.reader(io.StringIO(doc, newline=""), delimiter=delimiter, strict=True)
    head = [h.strip() for h in next(reader)]
    at_file, at_title = head.index("filename"), head.index("title")
    seen: dict[str, Row] = {}
    bad = []
    before = reader.line_num
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if len(cells) != len(head):
                kind = "short row" if len(cells) < len(head) else "long row"
                detail = f"{len(cells)} fields, the header has {len(head)}"
                fix = "quote captions that hold the delimiter; drop empty lines"
                bad.append(Problem(rel, line, kind, detail, fix))
                continue
            image = cells[at_file].strip()
            row = seen.setdefault(image, Row(image, [], split_of(path), "", rel, line))
            row.captions.append(cells[at_title])
            row.lines.append(line)
    except csv.Error as e:  # the rest of the file cannot be cut into rows
        fix = "close the quote or double the quotes inside the caption"
        bad.append(Problem(rel, before + 1, "unreadable file", str(e), fix))
    return list(seen.values()), bad


def _precomp(path: Path, rel: str, doc: Any) -> Read:
    """One caption a line; names one a line for each image, or for each caption."""
    names_path = path.with_name(path.name.replace("_caps.txt", "_filename.txt"))
    captions = _lines(doc)
    try:
        names = [n.strip() for n in _lines(read_text(names_path))]
    except (OSError, ValueError, EOFError, zlib.error) as e:
        fix = f"put {names_path.name} beside it"
        return [], [Problem(rel, 0, "captions without images", str(e), fix)]
    per_image = len(captions) // len(names) if names else 0
    if not per_image or per_image * len(names) != len(captions):
        detail = f"{len(captions)} captions, {len(names)} names"
        fix = "restore both files: a lost line shifts every pair after it"
        return [], [Problem(rel, 0, "count off", detail, fix)]
    rows: list[Row] = []
    for i, text in enumerate(captions):
        name = names[i // per_image]
        new = i % per_image == 0 if per_image > 1 else not i or name != names[i - 1]
        if new:
            rows.append(Row(name, [], split_of(path), "", rel, i + 1))
        rows[-1].captions.append(text)
        rows[-1].lines.append(i + 1)
    return rows, []


def _parquet(path: Path, rel: str, doc: Any) -> Read:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    names = "filename", "captions"
    try:
        table = pq.read_table(path, columns=list(names))
    except ArrowException as e:
        raise ValueError(str(e)) from e
    columns = [table.column(name).to_pylist() for name in names]
    split, rows = split_of(path), []
    for i, (name, texts) in enumerate(zip(*columns, strict=True)):
        place = str(path), str(i)
        rows.append(Row(name, texts or [], split, "", rel, i + 1, place=place))
    return rows, []


LAYOUTS: Mapping[str, Callable[[Path, str, Any], Read]] = MappingProxyType({
    "captions.jsonl": _jsonl, "hub parquet": _parquet, "Karpathy JSON": _karpathy,
    "NWPU JSON": _nwpu, "HarMA JSON": _harma, "precomp text": _precomp,
    "filename,title CSV": _csv,
})  # fmt: skip
