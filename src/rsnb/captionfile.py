"""Caption records on disk: one line an image, appended, synced, resumable.

Explained in notebook 04. The first line says what made the records, and a file never
holds those of two runs. Writing needs `fcntl`, so Linux or macOS; reading does not.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rsnb.errors import DataError, FileCorruptError, ResourceError, RsnbError
from rsnb.files import fingerprint, write_bytes
from rsnb.parsing import from_public, strict_loads, variants_of
from rsnb.records import Record, Run
from rsnb.shards import Shards

__all__ = ["CaptionFile", "export", "read"]

SCHEMA = 1
_OURS = re.compile(rb'\s*\{\s*"rsnb"\s*:\s*"captions"')


class CaptionFile:
    """An append-only JSONL of one run, held by one writer; a context manager.

    Once `append` returns, its record is on disk and survives kill -9. A last line that
    was cut off is dropped on opening, and its image is not in `done`.

    Args:
        path: the file; made if missing.
        run: what makes the records.

    Attributes:
        done: ids of the images that have a record, usable or not.

    Raises:
        DataError: the file is of another run; the message names what differs.
        FileCorruptError: a line before the last is damaged, or an image occurs twice.
        ResourceError: another writer has the file, or a write failed.
    """

    def __init__(self, path: str | Path, run: Run) -> None:
        """Make the file, or resume it."""
        import fcntl

        self.path, self.run = Path(path), run
        self._records: list[Record] = []
        self._end = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as e:
            raise ResourceError(f"{path} cannot be written: {e}.") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._resume()
        except BaseException as e:
            self._file.close()
            if isinstance(e, BlockingIOError):
                what = f"{path} is being written by another process"
                raise ResourceError(f"{what}. Wait, or name another file.") from e
            raise
        self.done = {r.image for r in self._records}

    def _resume(self) -> None:
        head = {"rsnb": "captions", "schema": SCHEMA, "run": asdict(self.run)}
        line = _line({**head, "digest": self.run.digest})
        self._file.seek(0)
        data = self._file.read()
        if line.startswith(data):  # new, or killed within its first line
            self._file.truncate(0)
            self._write(line)
            return
        found, self._records, self._end = _scan(self.path, data)
        if found.digest != self.run.digest:
            new = strict_loads(line.decode())["run"]
            off = [f"{k} is {v} there, {new[k]} now"
                   for k, v in asdict(found).items() if v != new[k]]  # fmt: skip
            what = f"{self.path} holds another run: {'; '.join(off)}"
            raise DataError(f"{what}. Name another file, or delete this one.")
        self._file.truncate(self._end)
        if data[self._end - 1 : self._end] != b"\n":
            self._write(b"\n")

    def append(self, record: Record) -> None:
        """Write one record and sync it to disk.

        Raises:
            DataError: the image has a record already.
            ResourceError: the write failed; the file is as it was before.
        """
        if record.image in self.done:
            raise DataError(f"{self.path} has a record of {record.image} already.")
        made = {k: getattr(self.run, k) for k in ("model", "revision", "prompt")}
        row = {**asdict(record), **made, "run": self.run.digest}
        self._write(_line({**row, "sum": _sum(row)}))
        self._records.append(record)
        self.done.add(record.image)

    def _write(self, line: bytes) -> None:
        try:
            if self._file.write(line) < len(line):
                raise OSError("disk full")
            os.fsync(self._file.fileno())
        except BaseException as e:
            self._file.truncate(self._end)  # no later line may follow half a line
            if isinstance(e, OSError):
                raise ResourceError(f"{self.path} cannot be written: {e}.") from e
            raise
        self._end += len(line)

    def records(self) -> list[Record]:
        """Return all records so far, in the order of the file."""
        return list(self._records)

    def close(self) -> None:
        """Close the file, which lets other writers in."""
        self._file.close()

    def __enter__(self) -> CaptionFile:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _line(value: dict[str, Any]) -> bytes:
    """Return a line of ASCII JSON, so that no character in it can end the line."""
    return (json.dumps(value, allow_nan=False, default=str) + "\n").encode()


def _sum(row: dict[str, Any]) -> str:
    """Return what tells a changed record: JSON alone shows few flipped bits."""
    return fingerprint(row)[:16]


def _parsed(path: Path, n: int, line: bytes) -> Any:
    try:
        return strict_loads(line.decode("utf-8-sig"))
    except ValueError as e:
        raise _damaged(path, n, str(e)) from e


def _damaged(path: Path, n: int, why: str) -> FileCorruptError:
    what = f"{path}, line {n}: {why}"
    return FileCorruptError(f"{what}. Restore the file, or delete the line.")


def _scan(path: Path, data: bytes) -> tuple[Run, list[Record], int]:
    """Return run, records and where the last whole line ends."""
    run, end = Run("", "", ""), 0
    records: dict[str, Record] = {}
    lines = data.splitlines(keepends=True)
    for n, line in enumerate(lines, 1):
        try:
            row = _parsed(path, n, line)
            if n == 1:
                run = Run(**row["run"])
                if (row["schema"], row["digest"]) != (SCHEMA, run.digest):
                    raise DataError("other schema, or the run was edited")
            else:
                record = _record(row, run.digest)
                if records.setdefault(record.image, record) is not record:
                    raise DataError(f"second record of {record.image}")
        except FileCorruptError:
            if n == len(lines) > 1:
                break  # cut off while it was written
            raise
        except (KeyError, TypeError, RecursionError, RsnbError) as e:
            raise _damaged(path, n, repr(e)) from e
        end += len(line)
    return run, list(records.values()), end


def _record(row: dict[str, Any], digest: str) -> Record:
    if row["run"] != digest:
        raise DataError("a record of another run")
    total = row.pop("sum", None)  # older files have none
    variants = variants_of(row["variants"]) if row["variants"] else []
    texts = (str(row[k]) for k in ("status", "reason", "raw"))
    record = Record(str(row["image"]), tuple(variants), *texts)
    if total not in (None, _sum(row)):
        raise DataError("changed since it was written")
    return record


def read(path: str | Path, *, fill: bool = False) -> tuple[Run | None, list[Record]]:
    """Return run and records of our JSONL, or None and those of the public layout.

    Args:
        path: `.jsonl` or `.json`; the content tells what it is. Or a folder of
            `rsnb.scale.caption_shards`.
        fill: for captions made elsewhere, as in `rsnb.parsing.from_public`.

    Raises:
        DataError: no such file, or an entry without image.
        FileCorruptError: empty, broken or changed, with its line.
    """
    path = Path(path)
    if path.is_dir():
        return _shards(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file.")
    data = path.read_bytes()
    if not data.strip():
        raise FileCorruptError(f"{path} is empty. Restore it.")
    if _OURS.match(data):
        return _scan(path, data)[:2]
    try:
        doc = strict_loads(data.decode("utf-8-sig"))
    except ValueError:  # not one document: a row a line
        lines = enumerate(data.splitlines(), 1)
        doc = [_parsed(path, n, line) for n, line in lines if line.strip()]
    try:
        return None, from_public(doc, fill=fill)
    except (DataError, RecursionError) as e:
        raise DataError(f"{path}: {e}") from e


def _shards(folder: Path) -> tuple[Run, list[Record]]:
    """Return run and records of a folder of lines in shards."""
    parts = Shards(folder)
    run = Run(**parts.identity["run"])
    lines = (text for _, part in parts for text in part["line"])
    every = enumerate(lines, 1)
    return run, [_record(_parsed(folder, n, t.encode()), run.digest) for n, t in every]


def export(path: str | Path, out: str | Path) -> Path:
    """Write a caption file in the public layout: JSONL of `image`, `variants`, `model`.

    Unusable records keep their place, with no variants.
    """
    run, records = read(path)
    model = {"model": run.model} if run else {}
    lines = [_line({k: asdict(r)[k] for k in ("image", "variants")} | model)
             for r in records]  # fmt: skip
    return write_bytes(out, b"".join(lines))
