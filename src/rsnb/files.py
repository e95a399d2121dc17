"""Atomic writes, sha256 receipts, verified reads and a content-keyed cache.

Explained in `book/how_to_run.md`. Every file that `rsnb` writes goes through
`write_bytes` or `write_json`: a reader sees the old file or the new one, never half.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from rsnb.errors import FileCorruptError

__all__ = ["cache_dir", "cached_arrays", "checked_receipt", "fingerprint", "read_json",
           "read_verified", "receipt_path", "sha256_bytes", "sha256_file",
           "tree_digest", "write_bytes", "write_json",
           "write_with_receipt"]  # fmt: skip


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of `data` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file's content as 64 hex digits."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """Return a sha256 over JSON-able values, arrays and bytes, in order.

    Equal content gives an equal digest in every process; dict order is ignored.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            h.update(f"array {part.dtype} {part.shape}".encode())
            h.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            h.update(b"bytes")
            h.update(part)
        else:
            h.update(json.dumps(part, sort_keys=True, default=str).encode())
        h.update(b"\0")
    return h.hexdigest()


def tree_digest(folder: Path, *skip: str) -> str:
    """Return a sha256 over the names and content of all files below a folder."""
    out = {"__pycache__", *skip}
    found = [(p.relative_to(folder), p) for p in sorted(folder.rglob("*"))]
    kept = [(name, p) for name, p in found if p.is_file() and not set(name.parts) & out]
    return fingerprint([(name.as_posix(), sha256_file(p)) for name, p in kept])


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` atomically (same folder, fsync, rename)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    tmp = Path(name)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        tmp.chmod(0o666 & ~umask)  # mkstemp makes 0600, which other users can't read
        tmp.replace(path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as sorted, indented JSON, atomically; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a broken one raises `FileCorruptError` with its position."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise FileCorruptError(f"{path} is not valid JSON ({e}). Restore it.") from e


def receipt_path(path: str | Path) -> Path:
    """Return where the receipt of `path` lies: `<name>.json` beside it."""
    return Path(f"{path}.json")


def write_with_receipt(path: str | Path, data: bytes, /, **facts: Any) -> Path:
    """Write `data`, then a receipt that holds its sha256, size and `facts`."""
    out = write_bytes(path, data)
    own = {"sha256": sha256_bytes(data), "bytes": len(data)}
    write_json(receipt_path(path), {**own, **facts})
    return out


def checked_receipt(
    path: str | Path, digest: Callable[[Path], str] = sha256_file
) -> dict[str, Any]:
    """Return the receipt of a file or folder that need not fit in memory.

    Raises:
        FileCorruptError: either is missing, or `digest(path)` is not its `sha256`.
    """
    try:
        facts = dict(read_json(receipt_path(path)))
        right = facts["sha256"] == digest(Path(path))
    except (KeyError, TypeError, ValueError, OSError) as e:
        raise FileCorruptError(f"{path}: missing or damaged ({e}). Make it.") from e
    if not right:
        raise FileCorruptError(f"{path} does not match its receipt. Make it again.")
    return facts


def read_verified(path: str | Path, sha256: str | None = None) -> bytes:
    """Return a file's bytes after checking their sha256.

    Args:
        path: the file.
        sha256: expected digest; without it, the one in the receipt beside the file.

    Raises:
        FileCorruptError: the file or its receipt is missing, or the digests differ.
    """
    path = Path(path)
    if not path.is_file():
        raise FileCorruptError(f"{path} does not exist. Restore it or rebuild it.")
    if sha256 is None:
        receipt = receipt_path(path)
        if not receipt.is_file():
            what = f"{path} has no receipt ({receipt.name}) to check it by"
            raise FileCorruptError(f"{what}. Restore the receipt or rebuild the file.")
        sha256 = str(read_json(receipt)["sha256"])
    data = path.read_bytes()
    if (found := sha256_bytes(data)) != sha256:
        what = f"{path}: sha256 is {found[:12]}…, expected {sha256[:12]}…"
        raise FileCorruptError(f"{what}. It changed or was cut short; rebuild it.")
    return data


def cache_dir() -> Path:
    """Return the cache folder: `RSNB_CACHE`, or `~/.cache/rsnb`."""
    return Path(os.environ.get("RSNB_CACHE", Path.home() / ".cache" / "rsnb"))


def cached_arrays(
    kind: str, key: Mapping[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return named arrays from the cache, or make and store them.

    The file is named by the content of `key`; put every input and the digest of the
    code that makes the arrays in it. A corrupt entry is moved to `*.corrupt`, reported
    once and made anew; it is never returned.

    Args:
        kind: folder inside the cache, such as `"embed"`.
        key: JSON-able description of all inputs.
        make: called when there is no valid entry; returns name → array.
    """
    path = cache_dir() / kind / f"{fingerprint(dict(key))[:32]}.safetensors"
    if path.exists():
        try:
            return st_load(read_verified(path))
        except (FileCorruptError, SafetensorError) as e:
            bad = path.with_suffix(".corrupt")
            path.replace(bad)
            receipt_path(path).unlink(missing_ok=True)
            warnings.warn(f"cache entry moved to {bad}: {e}", stacklevel=2)
    arrays = {k: np.ascontiguousarray(v) for k, v in make().items()}
    write_with_receipt(path, st_save(arrays), key=dict(key))
    return arrays
