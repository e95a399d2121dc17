"""Intervals and tests for recall, clustered by image.

The captions of one image succeed and fail together, so images are resampled, not
captions: an image brings its captions (t2i) and itself (i2t). Explained in notebook 01.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from rsnb.errors import MetricError, ParameterError
from rsnb.recall import KS, METRICS, Recall

__all__ = ["Interval", "bootstrap_ci", "holm", "paired_permutation"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval in percent, from `n` resamples."""

    low: float
    high: float
    level: float
    n: int


def bootstrap_ci(
    recall: Recall, minus: Recall | None = None, *,
    metric: str = "mR", n: int = 10_000, level: float = 0.95, seed: int = 0,
) -> Interval:  # fmt: skip
    """Return the BCa bootstrap interval of one figure of `recall.as_dict()`.

    Images are drawn with replacement, with all their captions (Efron 1987, bias
    corrected and accelerated).

    Args:
        recall: what `evaluate` returned.
        minus: with it, the interval is that of the difference in points, the same
            images drawn for both.
        metric: a key of `as_dict()`.
        n: number of resamples.
        level: coverage, between 0 and 1.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        ParameterError: unknown metric, or `n` or `level` out of range.
        MetricError: both recalls were not measured on the same queries.
    """
    if not 0 < level < 1:
        raise ParameterError(f"level must lie between 0 and 1, got {level}.")
    x, y, size = _clusters(recall, metric)
    if minus is not None:
        x, y, size = _difference(recall, minus, metric)
    c = len(x)
    rng = np.random.default_rng(seed)
    draws = []
    for count in _chunks(n, c):
        pick = rng.integers(0, c, (count, c)) + c * np.arange(count)[:, None]
        w = np.bincount(pick.ravel(), minlength=count * c).reshape(count, c)
        total = w.astype(float) @ np.stack([x, y, size], 1)
        draws.append(total[:, 0] / c + total[:, 1] / total[:, 2])
    boot = np.concatenate(draws)
    value = x.mean() + y.sum() / size.sum()
    below = ((boot < value - 1e-9).mean() + (boot < value + 1e-9).mean()) / 2
    z0 = ndtri(np.clip(below, 0.5 / n, 1 - 0.5 / n))
    skew = 0.0
    if c > 1:
        left = (x.sum() - x) / (c - 1) + (y.sum() - y) / (size.sum() - size)
        d = left.mean() - left
        skew = (d**3).sum() / max(6 * (d**2).sum() ** 1.5, 1e-30)
    z = z0 + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(boot, ndtr(z0 + z / (1 - skew * z)))
    return Interval(float(low), float(high), level, n)


def paired_permutation(
    a: Recall, b: Recall, *, metric: str = "mR", n: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p value of "A and B are exchangeable on every image".

    Swaps A and B image by image at random, with all captions of the image, and counts
    how often the difference is at least as large; (count + 1) / (n + 1).

    Raises:
        MetricError: A and B were not measured on the same queries.
        ParameterError: unknown metric, or `n` below 1.
    """
    x, y, size = _difference(a, b, metric)
    d = x / len(x) + y / size.sum()
    d = d[d != 0]  # swapping equals changes nothing
    limit = abs(d.sum()) * (1 - 1e-9)  # sums in another order round differently
    rng = np.random.default_rng(seed)
    hits = 0
    for count in _chunks(n, len(d)):
        sign = rng.integers(0, 2, (count, len(d)), np.int8) * np.int8(2) - np.int8(1)
        hits += int((np.abs(sign @ d) >= limit).sum())
    return (hits + 1) / (n + 1)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p values, in the given order.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Raises:
        ParameterError: a value is NaN or outside 0-1.
    """
    x = np.asarray(p, float)
    if x.ndim != 1 or not ((x >= 0) & (x <= 1)).all():
        raise ParameterError(f"p values must be a list of numbers in 0-1, got {p}.")
    order = np.argsort(x, kind="stable")
    out = np.empty_like(x)
    out[order] = np.maximum.accumulate(x[order] * np.arange(len(x), 0, -1))
    return out.clip(max=1)


_Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def _clusters(recall: Recall, metric: str) -> _Table:
    """Return per image: i2t part x, t2i part y (summed), number of captions.

    The figure is mean(x) + sum(y) / sum(captions), in percent.
    """
    names = (*METRICS, "mR")
    if metric not in names:
        raise ParameterError(f"unknown metric {metric!r}; one of {', '.join(names)}.")
    weight = np.array([100.0 if m == metric else 0.0 for m in METRICS])
    if metric == "mR":
        weight[:] = 100 / len(METRICS)
    images = len(recall.i2t_hits)
    y = np.bincount(recall.gt, recall.t2i_hits @ weight[len(KS) :], images)
    size = np.bincount(recall.gt, minlength=images)
    return recall.i2t_hits @ weight[: len(KS)], y, size


def _difference(a: Recall, b: Recall, metric: str) -> _Table:
    if not np.array_equal(a.gt, b.gt):
        what = f"A has {len(a.gt)} captions and B {len(b.gt)}, or other images"
        raise MetricError(f"{what}. Evaluate both on one split with the same gt.")
    (xa, ya, size), (xb, yb, _) = _clusters(a, metric), _clusters(b, metric)
    return xa - xb, ya - yb, size


def _chunks(n: int, width: int) -> Iterator[int]:
    """Split n draws so that a chunk of them x width stays near 16 MB."""
    if n < 1:
        raise ParameterError(f"n must be at least 1, got {n}.")
    step = max(1, 2**21 // max(width, 1))
    for lo in range(0, n, step):
        yield min(step, n - lo)
