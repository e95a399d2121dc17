"""Fetch a data set from the hub: pinned revision, pinned sha256, resumable.

Explained in `book/own_data.md`. The hub's own client checks sizes, not content
(huggingface_hub issue 3643), so this small fetch stands in its place.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rsnb.errors import DataError, FileCorruptError, ParameterError, RsnbError
from rsnb.files import cache_dir, receipt_path, sha256_file, write_json

__all__ = ["PINNED", "Pinned", "fetch"]

TRIES = 3
PERMANENT = (400, 401, 403, 404, 410, 451)


@dataclass(frozen=True)
class Pinned:
    """A hub data set at one commit; `files` are (path, sha256, bytes)."""

    repo: str
    revision: str
    files: tuple[tuple[str, str, int], ...]
    licence: str


# Digests and sizes are those of the repository's own LFS pointers at this revision.
PINNED: Mapping[str, Pinned] = MappingProxyType({"rsicd": Pinned(
    "arampacha/rsicd", "820466c8716e3ccdacde5cb2eb15a2f0f11ccdfe", (
        ("data/train-00000-of-00001.parquet",
         "637ce48273746c9a9bc7ea65f84bdcc0173257243f5ab6ae3258e013b58f8310", 419352658),
        ("data/valid-00000-of-00001.parquet",
         "06ef6d6a455a0c80667e93e490a0e9603ded172c45106c67bcaa4997fa865b91", 51570764),
        ("data/test-00000-of-00001.parquet",
         "e707fd90b59fe22a9a222d48b969226715f3eccf78e2b0f382f0a5565a98acda", 55076866),
    ), "none stated",
)})  # fmt: skip


def fetch(name: str, folder: Path | None = None, *, wait: float = 2.0) -> Path:
    """Fetch a pinned data set and return its folder.

    A file that is there with the right sha256 is kept; a `*.part` is continued. With
    `RSNB_OFFLINE=1` (or `HF_HUB_OFFLINE=1`) the network is never touched.
    `HF_ENDPOINT` names a mirror: the content is checked, so any will do.

    The folder is `$RSNB_CACHE/data/<name>` by default. There are 3 tries, `wait`
    seconds before the second, twice as many before the third.

    Raises:
        ParameterError: no such pinned set.
        DataError: offline, or the server failed 3 times.
        FileCorruptError: 3 downloads with the wrong content; nothing is kept.
    """
    if name not in PINNED:
        raise ParameterError(
            f"no pinned download for {name!r}, only for {', '.join(PINNED)}. "
            f"rsnb.data.load({name!r}) says which files to put where."
        )
    pin = PINNED[name]
    folder = folder or cache_dir() / "data" / name
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not host.startswith(("https://", "http://")):
        raise ParameterError(f"HF_ENDPOINT must be an http(s) address, not {host!r}.")
    for file, sha256, size in pin.files:
        path = folder / file
        if path.is_file() and sha256_file(path) == sha256:
            continue
        url = f"{host}/datasets/{pin.repo}/resolve/{pin.revision}/{file}"
        if "1" in (os.environ.get("RSNB_OFFLINE"), os.environ.get("HF_HUB_OFFLINE")):
            raise DataError(
                f"{path} is missing or damaged, and offline mode forbids fetching "
                f"{url}. Unset RSNB_OFFLINE, or put the file there by hand."
            )
        _download(url, path, sha256, size, wait)
        receipt = {"sha256": sha256, "bytes": size, "repo": pin.repo, "file": file}
        write_json(receipt_path(path), {**receipt, "revision": pin.revision})
    return folder


def _download(url: str, path: Path, sha256: str, size: int, wait: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    error: RsnbError = DataError("not tried")
    for attempt in range(TRIES):
        time.sleep(wait * 2 ** (attempt - 1) if attempt else 0)
        try:
            _append(url, part, size)
        except urllib.error.HTTPError as e:
            error = DataError(f"{url}: the server answered {e.code} {e.reason}.")
            if e.code in PERMANENT:
                break
        except (OSError, http.client.HTTPException) as e:
            error = DataError(f"{url}: {e}. Run it again: {part.name} is continued.")
        else:
            if sha256_file(part) == sha256:
                part.replace(path)
                return
            error = DataError(f"{url}: cut short; {part.name} is continued next time.")
            if part.stat().st_size >= size:  # wrong content can't be continued
                part.unlink()
                what = f"{url}: content differs from its pinned sha256 {sha256[:12]}…."
                what += " Nothing was kept; try another mirror."
                error = FileCorruptError(what)
    raise error


def _append(url: str, part: Path, size: int) -> None:
    """Add what is missing to `part`; a server that ignores ranges starts it anew."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (http(s) only)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        start = f"bytes {have}-"
        goes_on = answer.headers.get("Content-Range", "").startswith(start)
        with part.open("ab" if goes_on else "wb") as f:
            while chunk := answer.read(min(1 << 20, size + 1 - f.tell())):
                f.write(chunk)
