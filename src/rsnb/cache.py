"""Arrays that are made once: a folder of verified files, named by their inputs.

Explained in `book/how_to_run.md`.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from rsnb.errors import FileCorruptError
from rsnb.files import fingerprint, read_verified, receipt_path, write_with_receipt

__all__ = ["cache_dir", "cached_arrays", "read_arrays"]


def cache_dir() -> Path:
    """Return the cache folder: `RSNB_CACHE`, or `~/.cache/rsnb`."""
    return Path(os.environ.get("RSNB_CACHE", Path.home() / ".cache" / "rsnb"))


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file that has a receipt.

    Raises:
        FileCorruptError: the digest differs, or it is another kind of file.
    """
    data = read_verified(path)
    try:
        return st_load(data)
    except SafetensorError as e:
        raise FileCorruptError(f"{path} holds no arrays ({e}). Make it again.") from e


def cached_arrays(
    kind: str, key: Mapping[str, Any], make: Callable[[], dict[str, np.ndarray]],
    *code: str,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return named arrays from the cache, or make and store them.

    The file is named by the content of `key` and by the source of the modules that
    decide the arrays, so that new code never finds what old code made. A corrupt entry
    is moved to `*.corrupt`, reported once and made anew; it is never returned.

    Args:
        kind: folder inside the cache, such as `"embed"`.
        key: JSON-able description of all inputs.
        make: called when there is no valid entry; returns name → array.
        *code: names of modules whose code matters, beside the one that holds `make`.
    """
    places = (import_module(name).__file__ for name in (make.__module__, *code))
    key = {**key, "code": fingerprint(*(Path(p).read_bytes() for p in places if p))}
    path = cache_dir() / kind / f"{fingerprint(dict(key))[:32]}.safetensors"
    if path.exists():
        try:
            return read_arrays(path)
        except FileCorruptError as e:
            bad = path.with_suffix(".corrupt")
            path.replace(bad)
            receipt_path(path).unlink(missing_ok=True)
            warnings.warn(f"cache entry moved to {bad}: {e}", stacklevel=2)
    arrays = {k: np.ascontiguousarray(v) for k, v in make().items()}
    write_with_receipt(path, st_save(arrays), key=dict(key))
    return arrays
