"""Atomic writes, sha256 receipts and verified reads.

Explained in `book/how_to_run.md`. Every file that `rsnb` writes goes through here: a
reader sees the old file or the new one, never half, nor a receipt of other bytes.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsnb.errors import FileCorruptError, ResourceError, RsnbError

__all__ = ["checked_receipt", "fingerprint", "install", "read_json", "read_verified",
           "read_with_receipt", "receipt_path", "sha256_bytes", "sha256_file",
           "tree_digest", "write_bytes", "write_json",
           "write_with_receipt"]  # fmt: skip

_WRITE = "written", ResourceError, "What was there stands. Make room."
_READ = "read", FileCorruptError, "Restore it or rebuild it."


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of `data` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the same of a file's content, read in blocks."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """Return a sha256 over JSON-able values (dict order apart), arrays and bytes."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            h.update(f"array {part.dtype} {part.shape}".encode())
            h.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            h.update(b"bytes" + part)
        else:
            h.update(json.dumps(part, sort_keys=True, default=str).encode())
        h.update(b"\0")
    return h.hexdigest()


def tree_digest(folder: Path, *skip: str) -> str:
    """Return a sha256 over the names and content of all files below a folder."""
    out = {"__pycache__", *skip}
    found = [(p.relative_to(folder), p) for p in sorted(folder.rglob("*"))]
    return fingerprint([
        (name.as_posix(), sha256_file(p)) for name, p in found
        if p.is_file() and not set(name.parts) & out
    ])  # fmt: skip


@contextlib.contextmanager
def _typed(path: Path, done: str, kind: type[RsnbError], fix: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise kind(f"{path} cannot be {done}: {e.strerror or e}. {fix}") from e


def _draft(path: Path, data: bytes) -> Path:
    """Write `data` to a file of another name beside `path`, down to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
    tmp = Path(name)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(fd)
        os.umask(umask := os.umask(0))
        tmp.chmod(0o666 & ~umask)  # mkstemp makes 0600, which other users can't read
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    return tmp


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` atomically (same folder, fsync, rename).

    Raises:
        ResourceError: disk full, read-only or not allowed; the old file stands.
    """
    with _typed(path := Path(path), *_WRITE):
        tmp = _draft(path, data)
        try:
            tmp.replace(path)
        finally:
            tmp.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as sorted, indented JSON, atomically; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a broken one raises `FileCorruptError` with its position."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as e:  # not JSON, not UTF-8, nested too deep
        raise FileCorruptError(f"{path} is not valid JSON ({e}). Restore it.") from e


def receipt_path(path: str | Path) -> Path:
    """Return where the receipt of `path` lies: `<name>.json` beside it."""
    return Path(f"{path}.json")


def write_with_receipt(path: str | Path, data: bytes, /, **facts: Any) -> Path:
    """Write `data` and a receipt of its sha256, size and `facts`: both or neither."""
    with _typed(path := Path(path), *_WRITE):
        draft = _draft(path, data)
    own = {"sha256": sha256_bytes(data), "bytes": len(data)}
    return install(path, draft, {**facts, **own})


def install(path: Path, draft: Path, facts: Mapping[str, Any]) -> Path:
    """Move a finished file or folder to `path`, together with its receipt.

    The receipt waits beside, under a name that holds the content's digest, until the
    draft is in its place; readers look there too. So a kill leaves the old pair or the
    new one (of a folder perhaps neither), and two writers never mix.

    Args:
        path: where it belongs.
        draft: in the same folder; gone afterwards, however this ends.
        facts: the receipt, with the draft's `sha256`.

    Raises:
        ResourceError: as `write_bytes`.
    """
    waiting = _waiting(path, str(facts["sha256"]))
    try:
        with _typed(path, *_WRITE), _held(path.parent):
            with contextlib.suppress(FileNotFoundError):
                receipt_path(path).stat()  # too long a name fails before anything moves
            write_json(waiting, {**facts, "receipt": _sum(facts)})
            aside = draft.with_name(f"{draft.name}-old")
            if path.is_dir():
                path.replace(aside)
            draft.replace(path)
            waiting.replace(receipt_path(path))
            shutil.rmtree(aside, ignore_errors=True)
            for left in path.parent.glob(_waiting(path, "*").name):
                left.unlink()  # of a writer that was killed, for content now gone
    finally:
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
    return path


def _sum(facts: Mapping[str, Any]) -> str:
    """Return what tells a changed receipt; one without it is not judged."""
    return fingerprint(json.loads(json.dumps(facts)))[:16]


def _waiting(path: Path, sha256: str) -> Path:
    """Return where a receipt waits; short, whatever the name of `path`."""
    name = sha256_bytes(path.name.encode("utf-8", "surrogateescape"))
    return path.with_name(f".{name[:16]}-{sha256[:16]}.next")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Let one writer at a time rename in a folder; the lock dies with its process."""
    try:
        import fcntl
    except ImportError:  # Windows: writers there must not share a file
        yield
        return
    with contextlib.ExitStack() as stack:
        fd = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
        os.fsync(fd)


def _facts(path: Path, sha256: str) -> dict[str, Any] | None:
    """Return the receipt that states this digest; a writer may be moving it now."""
    at = receipt_path(path)
    for place in (at, _waiting(path, sha256), at):
        with contextlib.suppress(FileNotFoundError):
            facts = read_json(place)
            if isinstance(facts, dict) and facts.get("sha256") == sha256:
                if facts.pop("receipt", None) in (None, _sum(facts)):
                    return facts
    return None


def checked_receipt(
    path: str | Path, digest: Callable[[Path], str] = sha256_file
) -> dict[str, Any]:
    """Return the receipt of a file or folder that need not fit in memory.

    Raises:
        FileCorruptError: one is missing, or `digest(path)` is not its `sha256`.
    """
    path = Path(path)
    for _ in range(3):  # a writer may come between data and receipt
        with _typed(path, *_READ):
            if (facts := _facts(path, digest(path))) is not None:
                return facts
    has = receipt_path(path).is_file()
    what = "does not match its receipt (sha256)" if has else "has no receipt beside it"
    raise FileCorruptError(f"{path} {what}. Restore both or rebuild it.")


def read_with_receipt(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """Return a file's bytes with their receipt, checked as by `checked_receipt`."""
    read: list[bytes] = []

    def digest(path: Path) -> str:
        read[:] = [path.read_bytes()]
        return sha256_bytes(read[0])

    facts = checked_receipt(path, digest)
    return read[0], facts


def read_verified(path: str | Path, sha256: str | None = None) -> bytes:
    """Return a file's bytes after checking their sha256, or that in the receipt.

    Raises:
        FileCorruptError: the file or its receipt is missing, or the digests differ.
    """
    if sha256 is None:
        return read_with_receipt(path)[0]
    with _typed(Path(path), *_READ):
        data = Path(path).read_bytes()
    if (found := sha256_bytes(data)) != sha256:
        what = f"{path}: sha256 is {found[:12]}…, expected {sha256[:12]}…"
        raise FileCorruptError(f"{what}. It changed or was cut short; rebuild it.")
    return data
