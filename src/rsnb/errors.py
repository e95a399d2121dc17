"""Typed errors. Each message says what was tried, what was wrong, what to do next.

Explained in `book/own_data.md`. Exit codes of `python -m rsnb`: 1 a cell failed,
2 bad input or parameters, 3 resources (memory, time, disk, network).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["BackboneError", "DataError", "DataProblems", "EmbeddingError",
           "FileCorruptError", "MetricError", "ParameterError", "Problem",
           "ResourceError", "RsnbError", "StalePageError", "TrainingError",
           "check_settings"]  # fmt: skip


class RsnbError(Exception):
    """Base of every error that `rsnb` raises on purpose.

    Attributes:
        exit_code: what the command line returns when this error reaches it.
    """

    exit_code = 2


class DataError(RsnbError):
    """A data set is missing, inconsistent, or not in any layout that we read."""


@dataclass(frozen=True, order=True)
class Problem:
    """One fault in a data set's files.

    Attributes:
        file: path relative to the data set's folder.
        line: line, or 1-based entry of a JSON list; 0 means the whole file.
        kind: short class of fault, such as `"blank caption"`.
        detail: what was found.
        fix: what to do.
    """

    file: str
    line: int
    kind: str
    detail: str
    fix: str


class DataProblems(DataError):
    """All faults of a data set at once.

    Attributes:
        problems: every `Problem`, sorted by file and line.
    """

    def __init__(
        self, name: str, problems: Iterable[Problem], shown: int = 20, *,
        fix: str = "Mend the files, or load with lenient=True (--lenient) to leave the "
        "affected rows out.",
    ) -> None:  # fmt: skip
        self.problems = tuple(sorted(problems))
        kinds = Counter(p.kind for p in self.problems).most_common()
        rows = [
            f"  {p.file}:{p.line or '-'}  {p.kind}: {p.detail}  -> {p.fix}"
            for p in self.problems[:shown]
        ]
        if len(self.problems) > shown:
            rows.append(f"  ... and {len(self.problems) - shown} more")
        count = ", ".join(f"{n} {kind}" for kind, n in kinds)
        head = f"{name}: {len(self.problems)} problems ({count})"
        super().__init__("\n".join([head, *rows, fix]))


#: Names of what Python, torch and numpy raise when memory ends; torch's need no import.
OUT_OF_MEMORY = frozenset({"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"})


class ParameterError(RsnbError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


def check_settings(settings: Any, **right: bool) -> None:
    """Raise `ParameterError` for the fields of a dataclass that are not `right`."""
    bad = [f"{k}={getattr(settings, k)!r}" for k, ok in right.items() if not ok]
    if bad:
        name = type(settings).__name__
        raise ParameterError(f"{name}: {', '.join(bad)} out of range.")


class FileCorruptError(RsnbError):
    """A file does not match the sha256 in its receipt, or cannot be decoded."""


class BackboneError(RsnbError):
    """A checkpoint does not fit its registry entry (shape, activation, probe)."""


class EmbeddingError(RsnbError):
    """An embedding is NaN, infinite, zero, or of the wrong shape or dtype."""


class MetricError(RsnbError):
    """A similarity matrix or ground truth from which no recall can be computed."""


class StalePageError(RsnbError):
    """A page was executed from other inputs than the tree now holds."""


class ResourceError(RsnbError):
    """Memory, time or disk ran out, or the network is down."""

    exit_code = 3


class TrainingError(RsnbError):
    """A loss or a weight stopped being a number; the last good state is kept."""

    exit_code = 1
