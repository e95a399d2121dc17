"""Pixels from strangers: safe decoding, random access in folders, zips and parquet.

Explained in `book/own_data.md`. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from rsnb.errors import DataError, FileCorruptError

__all__ = ["MAX_BYTES", "StoreReader", "decode_image", "is_safe_name"]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000
MAX_BYTES = 40_000_000
# What files, zips (encrypted: RuntimeError) and pyarrow raise.
UNREADABLE = (OSError, EOFError, LookupError, RuntimeError, ValueError,
              zipfile.BadZipFile, zlib.error)  # fmt: skip


def is_safe_name(name: str) -> bool:
    r"""Tell whether a name from a manifest or archive stays inside its folder.

    >>> is_safe_name("a/b.jpg"), is_safe_name("../b.jpg"), is_safe_name("C:\\b.jpg")
    (True, False, False)
    """
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or ".." in parts or "\\" in name
    return not (bad or "\0" in name or (len(name) > 1 and name[1] == ":"))


def decode_image(data: bytes, what: str = "image") -> Image.Image:
    """Decode one image to RGB.

    Only JPEG, PNG, TIFF and WebP are tried: other decoders of Pillow have had holes,
    and no data set here needs them. EXIF orientation is left alone (overhead scenes
    have no upright); the first frame of an animation is taken. Integer samples deeper
    than 8 bits are refused, because Pillow's conversion would clip them to white.

    Args:
        data: the file's bytes, at most 40 MB.
        what: the image's name, for messages.

    Raises:
        FileCorruptError: empty, truncated, too large, or not an allowed format.
    """
    if not 0 < len(data) <= MAX_BYTES:
        limit = f"an image here has 1 to {MAX_BYTES:,}"
        raise FileCorruptError(f"{what}: {len(data):,} bytes; {limit}.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # before any pixel is decoded
                size = f"{image.width} x {image.height} pixels"
                fault = f"{size} are more than {MAX_PIXELS:,}. Tile it first"
            elif image.mode.startswith(("I", "F")):
                fault = f"mode {image.mode} has more than 8 bits a sample. Scale it"
                fault += " to 8 bits first; how is a choice that is yours"
            else:
                image.load()  # before the bytes go; a copy would double the time
                return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as e:  # Pillow's decoders raise many kinds on hostile bytes
        known = ", ".join(FORMATS)
        fault = f"cannot be decoded as {known} ({e}). Fetch it again"
    raise FileCorruptError(f"{what}: {fault}.")


class StoreReader:
    """Row → RGB image, from files, zip members or rows of parquet files.

    Handles are kept per process and thread, so a reader can be used from threads,
    after a fork, and pickled to workers.

    Args:
        where: for each row (store, key), or None for a row without pixels. The store
            is a folder, a `.zip` or a `.parquet`; the key a relative path, a member
            name, or a row number.
    """

    def __init__(self, where: Sequence[tuple[str, str] | None]) -> None:
        self.where = tuple(where)
        self._handles: dict[tuple[int, int, str], Any] = {}
        self._lock = threading.Lock()
        self._group: tuple[str, int] = ("", -1)
        self._column: Any = None

    def __reduce__(self) -> tuple[type[StoreReader], tuple[Any, ...]]:
        """Leave open handles behind when pickled."""
        return StoreReader, (self.where,)

    def __call__(self, row: int) -> Image.Image:
        """Return the image of `row` as RGB."""
        place = self.where[row]
        if place is None:
            raise DataError(f"row {row} is known without pixels.")
        store, key = place
        try:
            if store.endswith(".parquet"):
                data = self._parquet_row(store, int(key))
            elif store.endswith(".zip"):
                with self._handle(store, zipfile.ZipFile).open(key) as f:
                    data = f.read(MAX_BYTES + 1)
            else:
                with Path(store, key).open("rb") as f:
                    data = f.read(MAX_BYTES + 1)
        except UNREADABLE as e:
            raise FileCorruptError(f"{store}:{key}: cannot be read ({e}).") from e
        return decode_image(data, f"{store}:{key}")

    def _handle(self, store: str, opener: Any) -> Any:
        mine = os.getpid(), threading.get_ident(), store
        if mine not in self._handles:
            self._handles[mine] = opener(store)
        return self._handles[mine]

    def _parquet_row(self, store: str, row: int) -> bytes:
        """Return the bytes in one row; the last row group stays decoded.

        One lock for all threads, because a row group may hold hundreds of megabytes.
        """
        import pyarrow.parquet as pq

        file = self._handle(store, pq.ParquetFile)
        for group in range(file.num_row_groups):
            n = file.metadata.row_group(group).num_rows
            if row < n:
                break
            row -= n
        with self._lock:
            if self._group != (store, group):
                table = file.read_row_group(group, columns=["image.bytes"])
                self._column = table["image"].combine_chunks().field("bytes")
                self._group = (store, group)
            found = self._column[row].as_py()
        if not isinstance(found, bytes):  # bytes(n) of a number would be n zeros
            raise ValueError("no bytes in this row")
        return found
