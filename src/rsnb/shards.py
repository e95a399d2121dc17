"""Arrays longer than memory: a folder of verified parts and a manifest.

Explained in notebook 08. A part is one safetensors file, written atomically with a
receipt, by any process. The manifest comes last, so a folder that has one is whole.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from rsnb import files
from rsnb.errors import DataError, FileCorruptError

__all__ = ["Shards", "finish", "has_part", "write", "write_part"]

Columns = Mapping[str, np.ndarray | Sequence[str]]
_DAMAGED = (SafetensorError, ArithmeticError, LookupError, TypeError, ValueError,
            AttributeError, OSError)  # fmt: skip


def _part(folder: str | Path, i: int) -> Path:
    return Path(folder, f"part-{i:05d}.safetensors")


def _claim(folder: str | Path, identity: Mapping[str, Any]) -> str:
    """Return the digest of `identity`, which the folder holds from now on."""
    path, digest = Path(folder, "identity.json"), files.fingerprint(dict(identity))
    if not path.exists():
        files.write_json(path, dict(identity))
    if (other := files.read_json(path)) != json.loads(json.dumps(dict(identity))):
        off = [f"{k} is {other.get(k)!r} there, {identity.get(k)!r} now"
               for k in sorted({*other, *identity})
               if other.get(k) != identity.get(k)]  # fmt: skip
        what = f"{folder} holds something else: {'; '.join(off)}"
        raise DataError(f"{what}. Name another folder, or delete this one.")
    return digest


def write_part(
    folder: str | Path, i: int, columns: Columns, identity: Mapping[str, Any]
) -> Path:
    """Write part `i` with its receipt, atomically; processes may write side by side.

    Args:
        folder: made if missing.
        i: place of the part in the whole, from 0.
        columns: name → array (n, ...) or n strings; vectors are named `"emb"`.
        identity: JSON-able description of what makes the parts, the same for all.

    Raises:
        DataError: no rows, columns of unequal length, or a folder of another identity.
    """
    count = {len(v) for v in columns.values()}
    if len(count) != 1 or 0 in count:
        raise DataError(f"part {i}: columns of {sorted(count)} rows; want one length.")
    digest = _claim(folder, identity)
    arrays: dict[str, np.ndarray] = {}
    kinds: dict[str, list[Any]] = {}
    for name, value in columns.items():
        if isinstance(value, np.ndarray):
            arrays[name] = np.ascontiguousarray(value)
            kinds[name] = [str(value.dtype), *value.shape[1:]]
        else:  # UTF-8, and where each string ends
            coded = [text.encode("utf-8", "surrogatepass") for text in value]
            arrays[name] = np.frombuffer(b"".join(coded), np.uint8)
            arrays[f"{name}.ends"] = np.cumsum([len(c) for c in coded])
            kinds[name] = ["str"]
    facts = {"part": i, "rows": count.pop(), "columns": kinds, "identity": digest}
    return files.write_with_receipt(_part(folder, i), st_save(arrays), **facts)


def _receipt(folder: str | Path, i: int, digest: str) -> dict[str, Any]:
    """Return a part's receipt after checking the file against it."""
    facts = files.checked_receipt(_part(folder, i))
    if (facts.get("part"), facts.get("identity")) != (i, digest):
        raise FileCorruptError(f"{_part(folder, i)} is another part. Make it again.")
    return facts


def has_part(folder: str | Path, i: int, identity: Mapping[str, Any]) -> bool:
    """Return whether part `i` is there and whole; a damaged one counts as missing.

    Raises:
        DataError: a folder of another identity.
    """
    digest = _claim(folder, identity)
    try:
        return bool(_receipt(folder, i, digest))
    except FileCorruptError:
        return False


def finish(folder: str | Path, parts: int, identity: Mapping[str, Any]) -> "Shards":
    """Check parts 0 to `parts` - 1, write the manifest and return the whole.

    Raises:
        FileCorruptError: a part is missing or damaged.
        DataError: parts of unequal columns, or another identity.
    """
    digest = _claim(folder, identity)
    facts = [_receipt(folder, i, digest) for i in range(parts)]
    if len({files.fingerprint(f["columns"]) for f in facts}) != 1:
        raise DataError(f"{folder}: {parts} parts, not all of the same columns.")
    value = {
        "rows": sum(f["rows"] for f in facts), "columns": facts[0]["columns"],
        "identity": dict(identity),
        "parts": [{k: f[k] for k in ("rows", "bytes", "sha256")} for f in facts],
    }  # fmt: skip
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    files.write_with_receipt(Path(folder, "manifest.json"), text.encode())
    return Shards(folder)


def write(
    folder: str | Path, parts: int, make: Callable[[int], Columns],
    identity: Mapping[str, Any],
) -> "Shards":  # fmt: skip
    """Make the parts that are missing or damaged, `make(i)` each, and finish.

    Raises:
        DataError, FileCorruptError: as `write_part` and `finish`.
    """
    for i in range(parts):
        if not has_part(folder, i, identity):
            write_part(folder, i, make(i), identity)
    return finish(folder, parts, identity)


class Shards:
    """A finished folder, read a part at a time.

    A part's bytes are checked against the manifest when it is first read, and again
    whenever its size or time stamp has changed since.

    Args:
        folder: as `finish` left it.

    Attributes:
        identity: what made it.
        columns: name → [dtype, trailing shape...]; `["str"]` for strings.
        starts: first row of each part, and the number of rows at the end.
        digest: sha256 of the manifest, which names the content.

    Raises:
        FileCorruptError: no manifest, or one that does not match its receipt.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the manifest."""
        self.folder = Path(folder)
        path = self.folder / "manifest.json"
        data = files.read_verified(path)
        self.digest = files.sha256_bytes(data)
        try:
            value = json.loads(data)
            self.identity = dict(value["identity"])
            self.columns = {str(k): list(v) for k, v in value["columns"].items()}
            self._parts = [(int(p["rows"]), str(p["sha256"])) for p in value["parts"]]
            self.starts = [0, *accumulate(rows for rows, _ in self._parts)]
            if self.starts[-1] != value["rows"] or not self._parts:
                raise ValueError("the rows of the parts do not add up")
        except _DAMAGED as e:
            raise FileCorruptError(f"{path} is no manifest ({e}). Make it.") from e
        self._seen: dict[int, tuple[int, int]] = {}
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.starts[-1]

    @property
    def dim(self) -> int:
        """Return the length of the vectors in `"emb"`."""
        return int(self.columns["emb"][1])

    def _checked(self, i: int) -> Path:
        path = _part(self.folder, i)
        try:
            stat = path.stat()
            state = stat.st_size, stat.st_mtime_ns
            if self._seen.get(i) == state:
                return path
            if files.sha256_file(path) != self._parts[i][1]:
                raise ValueError("not the part that the manifest names")
        except (OSError, ValueError) as e:
            raise FileCorruptError(f"{path}: {e}. Restore it or make it again.") from e
        self._seen[i] = state
        self._maps.pop(i, None)
        return path

    def verify(self) -> None:
        """Check the bytes of every part; `FileCorruptError` names the first bad one."""
        self._seen.clear()
        for i in range(len(self._parts)):
            self._checked(i)

    def part(self, i: int) -> dict[str, Any]:
        """Return part `i`: column → array, or strings; `FileCorruptError` as above."""
        path = self._checked(i)
        try:
            arrays = st_load(path.read_bytes())
            out: dict[str, Any] = {}
            for name, (kind, *_) in self.columns.items():
                out[name] = arrays[name]
                if kind == "str":
                    data, ends = arrays[name].tobytes(), arrays[f"{name}.ends"].tolist()
                    cuts = zip([0, *ends[:-1]], ends, strict=True)
                    out[name] = [data[a:b].decode("utf-8", "surrogatepass")
                                 for a, b in cuts]  # fmt: skip
        except _DAMAGED as e:
            raise FileCorruptError(f"{path} cannot be decoded ({e}).") from e
        return out

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the first row and the columns of each part, one part in memory."""
        for i, start in enumerate(self.starts[:-1]):
            yield start, self.part(i)

    def vectors(self, i: int) -> np.ndarray:
        """Return `"emb"` of part `i`, mapped from disk and read as it is used.

        Raises:
            FileCorruptError: missing or changed.
        """
        path = self._checked(i)
        try:
            if i not in self._maps:
                with path.open("rb") as f:
                    size = int.from_bytes(f.read(8), "little")
                    at = 8 + size + json.loads(f.read(size))["emb"]["data_offsets"][0]
                shape, kind = (self._parts[i][0], self.dim), self.columns["emb"][0]
                self._maps[i] = np.memmap(path, kind, "r", at, shape)
        except _DAMAGED as e:
            raise FileCorruptError(f"{path} cannot be mapped ({e}).") from e
        return self._maps[i]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors (n, dim) of ascending int64 rows (n,)."""
        cut = np.searchsorted(rows, self.starts)
        return np.concatenate([
            self.vectors(i)[rows[a:b] - self.starts[i]]
            for i, (a, b) in enumerate(pairwise(cut.tolist())) if a < b
        ])  # fmt: skip
