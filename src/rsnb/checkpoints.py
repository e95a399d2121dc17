"""Weight files: find or fetch them, verify them, and read tensors, never code.

Explained in `book/own_data.md`. A `.pt` becomes safetensors once, in the cache.
"""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import open_clip
from safetensors import SafetensorError
from safetensors.torch import load as st_load
from safetensors.torch import save as st_save
from torch import Tensor

from rsnb.errors import BackboneError
from rsnb.files import (
    cache_dir,
    read_json,
    read_verified,
    receipt_path,
    sha256_file,
    write_with_receipt,
)
from rsnb.registry import Entry

__all__ = ["locate", "read_weights"]


def read_weights(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """Return tensors and file digest; a `.pt` is converted once to safetensors."""
    digest = sha256_file(path)
    if sha256 is None and receipt_path(path).is_file():
        sha256 = read_json(receipt_path(path))["sha256"]
    read_verified(path, sha256 or digest)
    safe = path
    if path.suffix != ".safetensors":
        safe = cache_dir() / "weights" / f"{digest[:32]}.safetensors"
        if not receipt_path(safe).is_file():
            _convert(path, safe, digest)
    try:
        return st_load(read_verified(safe, digest if safe == path else None)), digest
    except SafetensorError as e:
        raise BackboneError(f"{safe} is no safetensors file ({e}).") from e


def _convert(path: Path, safe: Path, digest: str) -> None:
    try:  # weights_only: a pickle that would run code is refused, not run
        state = open_clip.factory.load_state_dict(str(path), weights_only=True)
    except Exception as e:
        raise BackboneError(
            f"{path} is not a plain state dict of tensors ({type(e).__name__}). It "
            "may hold code or be cut short; ask for the weights as safetensors."
        ) from e
    # clone: two names for one storage are legal in a .pt, not in safetensors
    tensors = {k: v.clone() for k, v in state.items() if isinstance(v, Tensor)}
    write_with_receipt(safe, st_save(tensors), converted_from=digest)


def locate(entry: Entry) -> Path:
    """Return the local file of an entry, fetched first if need be."""
    source, _, rest = entry.weights.partition(":")
    if source == "hub":
        owner, repo, file = rest.split("/", 2)
        try:
            return Path(huggingface_hub.hf_hub_download(f"{owner}/{repo}", file))
        except Exception as e:
            raise BackboneError(
                f"{owner}/{repo}: {file} could not be fetched ({type(e).__name__}). "
                "Go online once, or download the file and pass its path to load()."
            ) from e
    if source == "open_clip":
        cfg = open_clip.get_pretrained_cfg(str(entry.config), rest)
        try:
            return Path(open_clip.download_pretrained(cfg))
        except Exception as e:
            raise BackboneError(
                f"open_clip weights {rest!r} for {entry.config} could not be fetched "
                f"({type(e).__name__}). Go online once, or pass a local path."
            ) from e
    return Path(entry.weights)
