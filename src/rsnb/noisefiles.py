"""Noisy copies of a published caption CSV, byte for byte, with receipts.

Explained in `book/how_to_run.md` and in notebook 03. Noise files are inputs: named by
hash, and never replaced unasked.
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rsnb.errors import DataError, FileCorruptError, ParameterError
from rsnb.files import receipt_path, sha256_bytes, write_with_receipt
from rsnb.noise import orders

__all__ = ["corrupt_csv"]

# One field as it stands in the file, and what ends it.
_FIELD = re.compile(rb'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\n|\r|\Z)')


def corrupt_csv(
    path: Path, rates: Sequence[float], out: Path, *, force: bool = False, **how: Any
) -> list[Path]:
    """Write a noisy copy of a `filename,title` CSV for each rate, with receipts.

    `X-NC-00.csv` gives `X-NC-02.csv` for 0.2, and so on; so does `X.csv`. Only titles
    change rows: line ends, quotes, further columns and the paths stay as they are. A
    `.gz` stays one. Nothing is written before everything is known to be right.

    Args:
        path: the clean file, `.csv` or `.csv.gz`.
        rates: each in [0, 1), from one stream as in `stream`.
        out: folder; made if missing.
        force: overwrite files that hold something else.
        how: `seed` and `protocol` as in `stream`; `class` needs labels, which a CSV
            lacks.

    Returns:
        The files, in the order of `rates`.

    Raises:
        ParameterError: as in `stream`; a rate given twice.
        DataError: no such file, wrong columns, a row that does not fit them, or a file
            of that name with other content.
        FileCorruptError: the gzip stream is damaged.
    """
    base = path.name.removesuffix(".gz").removesuffix(".csv")
    end, stem = path.name[len(base) :], base.removesuffix("-NC-00")
    names = [f"{stem}-NC-{_tenths(rate)}{end}" for rate in rates]
    if len(set(names)) < len(names):
        raise ParameterError(f"rates {rates} would write one file twice.")
    clean = _content(path)
    fields, ends, images, titles = _cut(path, clean)
    captions = [_text(fields[k]) for k in titles]
    gt = np.unique([_text(fields[k]) for k in images], return_inverse=True)[1]
    draws = orders(gt, rates, **how)
    todo, off = [], []
    for name, noise in zip(names, draws, strict=True):
        new = list(fields)
        for t, source in zip(titles, noise.order, strict=True):
            new[t] = fields[titles[source]]
        data = b"".join(f + e for f, e in zip(new, ends, strict=True))
        target, want = out / name, sha256_bytes(data)
        have = _content(target) if target.exists() else data
        todo.append((target, noise, data, target.exists() and have == data))
        if have != data and not force:
            off.append(f"{target}: sha256 {sha256_bytes(have)}, not {want}")
    if off:
        raise DataError("\n  ".join([
            "other content lies there; noise files are inputs and are not replaced:",
            *off, "Name another folder (--out), or overwrite them with --force.",
        ]))  # fmt: skip
    for target, noise, data, same in todo:
        moved = int(noise.moved(captions).sum())
        false = int(noise.false(captions, gt).sum())
        if not (same and receipt_path(target).is_file()):
            packed = gzip.compress(data, mtime=0) if target.suffix == ".gz" else data
            write_with_receipt(
                target, target.read_bytes() if same else packed,
                content=sha256_bytes(data), clean=sha256_bytes(clean), rows=len(gt),
                protocol=noise.protocol, rate=noise.rate, seed=noise.seed,
                stream=list(rates), moved=moved, false=false, order=noise.sha256,
            )  # fmt: skip
        count = f"{moved:,} of {len(gt):,} captions moved, {false:,} false"
        known = f"{' (as it was)' if same else ''}: {count} for their image"
        print(f"{target.name}{known}; content {sha256_bytes(data)[:12]}…")
    return [target for target, *_ in todo]


def _tenths(rate: float) -> str:
    """Return the digits of a rate without its point: 0.2 → 02, 0.25 → 025."""
    return np.format_float_positional(rate, trim="-").replace(".", "").ljust(2, "0")


def _content(path: Path) -> bytes:
    """Return a file's bytes, unpacked if they are a gzip stream."""
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file.")
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as e:
        raise FileCorruptError(f"{path} is a damaged gzip file ({e}).") from e


def _text(field: bytes) -> str:
    if field[:1] == b'"' and field[-1:] == b'"':
        field = field[1:-1].replace(b'""', b'"')
    return field.decode("latin-1")  # only compared, and any byte has a letter there


def _cut(path: Path, data: bytes) -> tuple[list[bytes], list[bytes], range, range]:
    """Return all fields as written, what ends each, and where names and titles are."""
    found = _FIELD.findall(data)
    if len(found) > 1 and found[-1] == (b"", b"") and found[-2][1] != b",":
        found.pop()  # what follows the last line's end is no field
    fields, ends = [f for f, _ in found], [e for _, e in found]
    last = [k for k, e in enumerate(ends) if e != b","]
    wide = last[0] + 1
    head = [_text(f.removeprefix(b"\xef\xbb\xbf")).strip() for f in fields[:wide]]
    if not {"filename", "title"} <= set(head):
        what = f"{path.name}: columns are {', '.join(map(repr, head[:8]))}"
        raise DataError(f"{what}; noise needs `filename` and `title`, comma between.")
    for row, (a, b) in enumerate(pairwise(last), 2):
        if b - a != wide:
            what = f"{path.name}: row {row} has {b - a} fields, the header has {wide}"
            raise DataError(f"{what}. Quote captions with a comma; drop empty lines.")
    if len(last) == 1:
        raise DataError(f"{path.name} holds a header and no rows.")
    image, title = (range(wide + head.index(h), len(fields), wide)
                    for h in ("filename", "title"))  # fmt: skip
    return fields, ends, image, title
