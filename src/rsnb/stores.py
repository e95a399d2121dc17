"""Find each row's pixels: in the folder, in zips, or where the manifest says.

Explained in `book/own_data.md`.
"""

import os
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from rsnb.errors import FileCorruptError, Problem
from rsnb.images import MAX_BYTES, UNREADABLE, is_safe_name
from rsnb.layouts import Row

__all__ = ["list_folder", "list_zip", "locate"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
MAX_MEMBERS = 200_000
# zipfile unpacks other kinds without a bound, whatever size the member claims.
PACKED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
Shelf = dict[str, tuple[int, int]]  # name -> (bytes, CRC or mtime)
Place = tuple[str, str, tuple[int, int]]  # store, name, the same
Found = dict[str, list[Place]]


def list_folder(root: Path, depth: int = 4) -> Shelf:
    """Return relative path → (bytes, mtime ns) of image files, `depth` levels down."""
    found = {}
    for folder, dirs, names in os.walk(root):
        level = len(Path(folder).relative_to(root).parts)
        dirs[:] = sorted(d for d in dirs if level + 1 < depth and d[0] != ".")
        for name in sorted(names):
            path = Path(folder, name)
            if name.lower().endswith(SUFFIXES) and path.is_file():
                stat = path.stat()
                key = path.relative_to(root).as_posix()
                found[key] = stat.st_size, stat.st_mtime_ns
    return found


def list_zip(path: Path) -> Shelf:
    """Return member → (bytes, CRC-32) of the image files in a zip.

    Raises:
        FileCorruptError: not a zip, a name that is unsafe or occurs twice (letter case
            ignored), a packing other than none and deflate, or more than 200,000
            images.
    """
    try:
        with zipfile.ZipFile(path) as z:
            infos = [i for i in z.infolist() if i.filename.lower().endswith(SUFFIXES)]
    except UNREADABLE as e:
        raise FileCorruptError(f"{path}: not a readable zip ({e}).") from e
    if len(infos) > MAX_MEMBERS:
        raise FileCorruptError(f"{path}: {len(infos):,} images in one zip; split it.")
    for info in infos:
        if not is_safe_name(info.orig_filename):
            raise FileCorruptError(f"{path}: unsafe member {info.orig_filename!r}.")
        if info.compress_type not in PACKED:
            what = f"{path}: {info.filename} is not packed by deflate"
            raise FileCorruptError(f"{what}; repack it.")
    if len({i.filename.casefold() for i in infos}) != len(infos):
        raise FileCorruptError(f"{path}: a member name occurs twice; repack it.")
    return {i.filename: (i.file_size, i.CRC) for i in infos}


def locate(rows: Iterable[Row], root: Path, bad: list[Problem]) -> list[Row]:
    """Set `place` of every row whose pixels are here; return the rows without fault.

    Where any row states its place, a row that states none is known without pixels.
    Where none does, images are looked for under `root`; if there is not one, the whole
    set is known without pixels, otherwise each row's image must be there.
    """
    rows = list(rows)
    if all(row.place for row in rows):
        return rows
    stores = sorted({row.store for row in rows if row.member})
    loose = {} if stores else _search({row.image for row in rows}, root, bad)
    if not stores and not loose:
        return rows
    shelves = {store: _shelf(store, root, bad) for store in stores}
    kept = []
    for row in rows:
        places = loose.get(row.image, [])
        if stores and not row.member:
            kept.append(row)
            continue
        if stores:
            shelf = shelves[row.store]
            if shelf is None:  # the archive stands in the table once, not its rows
                continue
            at = os.path.normpath(root / row.store)
            if row.member in shelf:
                places = [(at, row.member, shelf[row.member])]
        if len(places) == 1 and 0 < places[0][2][0] <= MAX_BYTES:
            row.place, row.token = places[0][:2], places[0][2]
            kept.append(row)
            continue
        bad.append(Problem(row.file, row.line, *_fault(row, places)))
    return kept


def _fault(row: Row, places: list[Place]) -> tuple[str, str, str]:
    if len(places) > 1:
        at = " and ".join(f"{Path(p[0]).name}/{p[1]}" for p in places[:2])
        return "ambiguous image", f"{row.image} is {at}", "remove or rename one"
    what = f"{row.store or 'folder'}: {row.member or row.image}"
    if places:
        size = places[0][2][0]
        return "missing image", f"{what} has {size:,} bytes", "fetch it again"
    return "missing image", f"{what} is not there", "restore it, or drop the row"


def _shelf(store: str, root: Path, bad: list[Problem]) -> Shelf | None:
    """Return what a stated store holds, or None after noting that it is unreadable."""
    try:
        return list_zip(root / store) if store else list_folder(root)
    except FileCorruptError as e:
        fix = "put the archive there, unchanged"
        bad.append(Problem(store, 0, "unreadable file", str(e), fix))
        return None


def _search(wanted: Collection[str], root: Path, bad: list[Problem]) -> Found:
    """Return image → places under `root` or in its zips, at most two folders deeper.

    The longest match of a path wins, and two places for one image are a fault: a bare
    name is never matched to one of several files.
    """
    depth = max((name.count("/") for name in wanted), default=0) + 3
    shelves = {"": list_folder(root, depth)}
    for path in sorted(root.glob("*.zip")):
        shelves[path.name] = _shelf(path.name, root, bad) or {}
    found: Found = defaultdict(list)
    for store, files in shelves.items():
        for key, token in files.items():
            parts = key.split("/")
            tails = ("/".join(parts[cut:]) for cut in range(min(3, len(parts))))
            if name := next((t for t in tails if t in wanted), None):
                found[name].append((str(root / store), key, token))
    return found
