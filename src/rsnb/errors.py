"""Typed errors. Each message says what was tried, what was wrong, what to do next.

Explained in `book/own_data.md`. Exit codes of `python -m rsnb`: 1 a cell failed,
2 bad input or parameters, 3 resources (memory, time, disk).
"""

from __future__ import annotations

__all__ = [
    "BackboneError",
    "DataError",
    "EmbeddingError",
    "FileCorruptError",
    "MetricError",
    "ParameterError",
    "ResourceError",
    "RsnbError",
    "StalePageError",
]


class RsnbError(Exception):
    """Base of every error that `rsnb` raises on purpose.

    Attributes:
        exit_code: what the command line returns when this error reaches it.
    """

    exit_code = 2


class DataError(RsnbError):
    """A data set is missing, inconsistent, or not in any layout that we read."""


class ParameterError(RsnbError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


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
    """Memory, time or disk ran out."""

    exit_code = 3
