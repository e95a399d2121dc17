"""The named data sets: how large each is, where it comes from, where it is here.

Explained in `book/own_data.md`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rsnb.cache import cache_dir
from rsnb.errors import DataError, Problem
from rsnb.layouts import Row

__all__ = ["CARDS", "find", "home", "homes", "manifests", "off_card"]

MANIFEST = re.compile(r"[^.].*(\.(jsonl?|csv)(\.gz)?|_caps\.txt|\.parquet)$")
#: name → (images, captions, where its files come from)
CARDS: Mapping[str, tuple[int, int, str]] = MappingProxyType({
    "ucm": (2100, 10500, "captions: dataset.json of UCM-Captions (RSICD_optimal "
            "README); images: UC Merced Land Use, as images/<name>"),
    "rsicd": (10921, 54605, "`python -m rsnb fetch rsicd` (526 MB), or "
              "dataset_rsicd.json beside RSICD_images/<name>"),
    "rsitmd": (4743, 23715, "dataset_RSITMD.json beside images/<name> (links in the "
               "README of xiaoyuan1996/AMFMN, folder RSITMD)"),
    "sydney": (613, 3065, "dataset.json of Sydney-Captions beside imgs/<name> "
               "(RSICD_optimal README)"),
    "nwpu": (31500, 157500, "dataset_nwpu.json beside NWPU_images/<class>/<name> "
             "(HaiyanHuang98/NWPU-Captions; pixels are NWPU-RESISC45)"),
})  # fmt: skip


def homes(name: str) -> list[Path]:
    """Return the folders in which a named set may lie, the first choice first."""
    tops = os.environ.get("RSNB_DATA"), cache_dir() / "data"
    return [Path(top, name) for top in tops if top]


def home(name: str) -> Path | None:
    """Return the folder that holds a manifest of a named set, if there is one."""
    # A fetch that failed leaves folders behind, so a folder alone says nothing.
    return next((h for h in homes(name) if h.is_dir() and manifests(h)[1]), None)


def find(name: str) -> Path:
    """Return the folder of a named set.

    Raises:
        DataError: it is not here; says where it looked and what belongs there.
    """
    if folder := home(name):
        return folder
    tried = " and ".join(map(str, homes(name)))
    raise DataError(
        f"{name} is not on this machine; looked in {tried}. "
        f"RSNB_DATA is {os.environ.get('RSNB_DATA') or 'not set'}. "
        f"Set it to the folder that holds {name}/, and put there: {CARDS[name][2]}."
    )


def manifests(path: Path) -> tuple[Path, list[Path]]:
    """Return (data folder, files that may be manifests)."""
    if "*" in path.name:
        return path.parent, sorted(path.parent.glob(path.name))
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir():
        names = ", ".join(CARDS)
        raise DataError(f"{path} is no file, folder or name; names: world, {names}.")
    inside = [*path.iterdir(), *(path / "data").glob("*.parquet")]
    return path, sorted(p for p in inside if p.is_file() and MANIFEST.match(p.name))


def off_card(name: str, rows: Sequence[Row]) -> list[Problem]:
    """Return a problem if a set has not the size that its card states."""
    images, captions, where = CARDS[name]
    found = len({r.image for r in rows}), sum(len(r.captions) for r in rows)
    if found == (images, captions):
        return []
    detail = f"{found[0]} images, {found[1]} captions; {name} has {images}, {captions}"
    return [Problem(rows[0].file if rows else name, 0, "count off", detail, where)]
