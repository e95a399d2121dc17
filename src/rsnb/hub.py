"""Fetch a data set from the hub: pinned revision, pinned sha256, resumable.

Explained in `book/own_data.md`. The hub's own client resumes and retries, but checks
sizes, not content (huggingface_hub issue 3643): the digests are compared here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import huggingface_hub

from rsnb.cache import cache_dir
from rsnb.errors import DataError, FileCorruptError, ParameterError
from rsnb.files import receipt_path, sha256_file, write_json

__all__ = ["PINNED", "Pinned", "fetch"]


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


def fetch(name: str, folder: Path | None = None) -> Path:
    """Fetch a pinned data set and return its folder.

    A file that is there with the right sha256 is kept; a download that was cut is
    continued. With `RSNB_OFFLINE=1` (or `HF_HUB_OFFLINE=1`) the network is never
    touched. `HF_ENDPOINT` names a mirror of the hub: the content is checked.

    The folder is `$RSNB_CACHE/data/<name>` by default.

    Raises:
        ParameterError: no such pinned set.
        DataError: offline, or the server failed for good.
        FileCorruptError: the download has the wrong content; it is not kept.
    """
    if name not in PINNED:
        what = f"no pinned download for {name!r}, only for {', '.join(PINNED)}"
        fix = f"rsnb.data.load({name!r}) says which files to put where"
        raise ParameterError(f"{what}. {fix}.")
    pin = PINNED[name]
    folder = folder or cache_dir() / "data" / name
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not host.startswith(("https://", "http://")):
        raise ParameterError(f"HF_ENDPOINT must be an http(s) address, not {host!r}.")
    for file, sha256, size in pin.files:
        path, url = folder / file, f"{host}/datasets/{pin.repo} {file}"
        if path.is_file() and sha256_file(path) == sha256:
            continue
        if "1" in (os.environ.get("RSNB_OFFLINE"), os.environ.get("HF_HUB_OFFLINE")):
            what = f"{path} is missing or damaged, and offline mode forbids a fetch"
            raise DataError(
                f"{what}. Unset RSNB_OFFLINE, or put the file there by hand."
            )
        path.unlink(missing_ok=True)
        try:
            huggingface_hub.hf_hub_download(
                pin.repo, file, repo_type="dataset", revision=pin.revision,
                local_dir=folder, endpoint=host,
            )  # fmt: skip
        except Exception as e:  # of the client, of httpx, of the disk
            why = e.__cause__ or e  # the client names the cause in a chain only
            raise DataError(f"{url}: {why}. Run it again: it goes on there.") from e
        if sha256_file(path) != sha256:
            path.unlink()
            what = f"{url}: content differs from its pinned sha256 {sha256[:12]}…"
            raise FileCorruptError(f"{what}. Not kept; try again, or another mirror.")
        receipt = {"sha256": sha256, "bytes": size, "repo": pin.repo, "file": file}
        write_json(receipt_path(path), {**receipt, "revision": pin.revision})
    return folder
