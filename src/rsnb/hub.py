"""Files of the hub: a pinned revision, a known sha256, kept with a receipt.

Explained in `book/own_data.md`. The hub's own client retries, but checks sizes, not
content (huggingface_hub issue 3643): the digests are compared here.
"""

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import huggingface_hub.constants  # by name: not there until something imports it
from huggingface_hub.errors import HfHubHTTPError

from rsnb.cache import cache_dir
from rsnb.errors import DataError, FileCorruptError, ParameterError, ResourceError
from rsnb.files import read_json, receipt_path, sha256_file, write_json

__all__ = ["PINNED", "Pinned", "download", "fetch", "load_once", "offline"]

_DIGEST = re.compile("[0-9a-f]{64}")


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


def offline() -> bool:
    """Return whether the environment forbids the network."""
    said = os.environ.get("RSNB_OFFLINE", ""), os.environ.get("HF_HUB_OFFLINE", "")
    true = huggingface_hub.constants.ENV_VARS_TRUE_VALUES
    return any(word.upper() in true for word in said)


def load_once(load: Callable[[bool], Any], model: str | Path) -> Any:
    """Return `load(local_only)` of what is here, else of what the hub has.

    The hub is asked for the model first: the loaders of transformers try a lost network
    for minutes.

    Raises:
        Exception: of the loader, of the hub's client, of its network.
    """
    try:
        return load(True)
    except OSError:
        if offline() or Path(model).exists():
            raise
        huggingface_hub.HfApi().model_info(str(model), timeout=10)
        return load(False)


def download(
    repo: str, file: str, revision: str, sha256: str | None = None, *,
    kind: str = "model", folder: Path | None = None,
) -> Path:  # fmt: skip
    """Return a file of the hub, fetched first if need be, with its content checked.

    Its sha256 must be the one given, else that of its receipt, else the one that the
    server stated for it. The receipt lies beside it. With `RSNB_OFFLINE=1` (or
    `HF_HUB_OFFLINE=1`) the network is never touched. `HF_ENDPOINT` names a mirror.

    Args:
        repo: owner and name.
        file: path inside it.
        revision: commit; "" for the newest.
        sha256: of the content, where known.
        kind: `"model"` or `"dataset"`.
        folder: where to put it; by default the cache of the hub's client.

    Raises:
        ParameterError: `HF_ENDPOINT` is no http address.
        DataError: offline and not here, or the server refuses it.
        ResourceError: the server cannot be reached, or the disk is full.
        FileCorruptError: wrong content; online, it is not kept.
    """
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not host.startswith(("https://", "http://")):
        raise ParameterError(f"HF_ENDPOINT must be an http(s) address, not {host!r}.")
    url = f"{host}/{'datasets/' * (kind == 'dataset')}{repo} {file}"
    kept = f"{kind}s--{repo.replace('/', '--')}"
    place = folder or Path(huggingface_hub.constants.HF_HUB_CACHE, kept)
    copy = f"copy {place} from a machine that has it"
    own: Any = {"repo_type": kind, "revision": revision or None}
    try:
        cached = huggingface_hub.try_to_load_from_cache
        if not offline() and not isinstance(cached(repo, file, **own), str):
            # Asked once: the download would try a lost network for minutes.
            asked = huggingface_hub.hf_hub_url(repo, file, endpoint=host, **own)
            with contextlib.suppress(HfHubHTTPError):  # who answers may be asked again
                huggingface_hub.get_hf_file_metadata(asked, endpoint=host)
        path = Path(huggingface_hub.hf_hub_download(
            repo, file, local_dir=folder, endpoint=host, local_files_only=offline(),
            **own,
        ))  # fmt: skip
    except Exception as e:  # of the client, of httpx, of the disk
        if offline():
            what = f"{url} is not on this machine, and offline mode forbids a fetch"
            raise DataError(f"{what}. Unset RSNB_OFFLINE, or {copy}.") from e
        why = e.__cause__ or e  # the client names the cause in a chain only
        status = getattr(getattr(why, "response", None), "status_code", 0)
        if 400 <= status < 500 and status not in (408, 429):  # those two pass
            fix = f"The server refuses it; try another HF_ENDPOINT, or {copy}"
            raise DataError(f"{url}: {why}. {fix}.") from e
        fix = "Run it again when the server can be reached: whole files are kept"
        raise ResourceError(f"{url}: {why}. {fix}. Or {copy}.") from e
    at, found = receipt_path(path), sha256_file(path)
    facts = read_json(at) if at.is_file() else None
    noted = str(facts.get("sha256", "")) if isinstance(facts, dict) else ""
    # The client names a large file by what the server stated, which is its sha256. One
    # link only: behind it the bytes may lie under a hash of another kind.
    known = sha256 or noted or (path.readlink() if path.is_symlink() else path).name
    if _DIGEST.fullmatch(known) and found != known:
        fix = "Bring a good copy"
        if not offline():
            fix = "Not kept; try again, or another mirror"
            for one in (path.resolve(), path, at):
                with contextlib.suppress(OSError):  # a cache of others
                    one.unlink(missing_ok=True)
        what = f"{url}: sha256 of the content is {found[:12]}…, not {known[:12]}…"
        raise FileCorruptError(f"{what} as known for it. {fix}.")
    if noted != found:
        facts = {"sha256": found, "bytes": path.stat().st_size, "repo": repo}
        with contextlib.suppress(ResourceError):  # a cache of others may be read-only
            write_json(at, {**facts, "file": file, "revision": revision})
    return path


def fetch(name: str, folder: Path | None = None) -> Path:
    """Fetch a pinned data set and return its folder.

    A file that is there with the right sha256 is kept. For the rest see `download`.

    The folder is `$RSNB_CACHE/data/<name>` by default.

    Raises:
        ParameterError: no such pinned set.
        RsnbError: as `download`.
    """
    if name not in PINNED:
        what = f"no pinned download for {name!r}, only for {', '.join(PINNED)}"
        fix = f"rsnb.data.load({name!r}) says which files to put where"
        raise ParameterError(f"{what}. {fix}.")
    pin = PINNED[name]
    folder = folder or cache_dir() / "data" / name
    for file, sha256, _ in pin.files:
        path = folder / file
        if path.is_file() and sha256_file(path) == sha256:
            continue
        if not offline():
            path.unlink(missing_ok=True)
        own = pin.repo, file, pin.revision, sha256
        download(*own, kind="dataset", folder=folder)
    return folder
