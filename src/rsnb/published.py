"""Figures that others published, each with its source: what ours stand beside.

Explained in notebook 09. The table is `published.csv`, beside this module: recalls in
percent as the source states them. None of them was measured here.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rsnb.recall import METRICS

__all__ = ["Row", "rows"]


@dataclass(frozen=True)
class Row:
    """One published result.

    Attributes:
        system: as its authors name it.
        key: `BACKBONE/METHOD` as `python -m rsnb reproduce` names them; "" where that
            command cannot run it.
        data: name of the data set, as for `rsnb.data.load`.
        noise: share of training captions that were moved.
        recalls: R@1, R@5, R@10 of i2t, then of t2i; None where only mR is public.
        mR: mean recall.
        std: standard deviation of mR over the source's seeds, where stated.
        kind: `paper`, `readme` (text, figure or file name in the repository),
            `paper-note` (a reader's notes), `secondary` (quoted by others).
        source: where it stands.
        start: weights that training began with, or that were used as they are.
        train: what it was trained on beyond `start`.
        selection: split that chose the epoch, as far as code or text say.
        note: what else to know before comparing.
    """

    system: str
    key: str
    data: str
    noise: float
    recalls: tuple[float, ...] | None
    mR: float
    std: float | None
    kind: str
    source: str
    start: str
    train: str
    selection: str
    note: str


@cache
def _all() -> tuple[Row, ...]:
    path = Path(__file__).with_suffix(".csv")
    with path.open(encoding="utf-8", newline="") as f:
        return tuple(map(_row, csv.DictReader(f)))


def _row(line: dict[str, str]) -> Row:
    cells = [line.pop(c) for c in METRICS]
    noise, mR, std = (line.pop(c) for c in ("noise", "mR", "std"))
    return Row(
        **line, noise=float(noise), mR=float(mR), std=float(std) if std else None,
        recalls=tuple(map(float, cells)) if all(cells) else None,
    )  # fmt: skip


def rows(data: str = "", key: str = "", noise: float | None = None) -> list[Row]:
    """Return the published results of a data set, a key, a noise rate; "" is any."""
    return [
        r for r in _all()
        if data in ("", r.data) and key in ("", r.key) and noise in (None, r.noise)
    ]  # fmt: skip
