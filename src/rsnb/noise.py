"""Mismatched captions by rule, with the truth beside them.

Explained in notebook 03. Four protocols say which captions change places; `order` says
where each row's caption came from, so that every later claim can be scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsnb.errors import DataError, ParameterError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs

__all__ = ["PROTOCOLS", "Noise", "corrupt", "draw", "orders", "stream"]

PROTOCOLS = ("caption", "ncr", "decl", "class")


@dataclass(frozen=True)
class Noise:
    """One draw of mismatched captions.

    Attributes:
        order: int64 (T,), a permutation; row t now holds `captions[order[t]]`.
        protocol: one of `PROTOCOLS`.
        rate: share of rows (decl: of images) drawn, in [0, 1).
        seed: of the stream that this draw is from.
    """

    order: np.ndarray
    protocol: str
    rate: float
    seed: int

    @property
    def sha256(self) -> str:
        """Digest of `order` alone: equal digests mean equal assignments."""
        return fingerprint(self.order)

    def apply(self, pairs: Pairs) -> Pairs:
        """Return `pairs` with its captions moved; `source` states the noise.

        Raises:
            DataError: another number of captions, or `pairs` is noisy already.
        """
        self._fits(len(pairs.captions))
        if "noise" in pairs.source:
            raise DataError(f"{pairs.name} is noisy already. Start from the clean set.")
        facts = {"protocol": self.protocol, "rate": self.rate, "seed": self.seed}
        digest = fingerprint(pairs.source.get("sha256"), self.order)
        noise = {**facts, "sha256": self.sha256}
        captions = tuple(pairs.captions[t] for t in self.order)
        source = {**pairs.source, "noise": noise, "sha256": digest}
        return replace(pairs, captions=captions, source=source)

    def moved(self, captions: Sequence[str]) -> np.ndarray:
        """Return bool (T,): the row's text differs from its own among clean `captions`.

        Rows drawn may keep their text: by chance, or because two captions are equal.
        """
        self._fits(len(captions))
        new = zip(self.order, captions, strict=True)
        return np.array([captions[t] != old for t, old in new], bool)

    def false(self, captions: Sequence[str], gt: np.ndarray) -> np.ndarray:
        """Return bool (T,): the row's text is none of its image's clean captions.

        This is the truth to score an audit against: a caption that moved inside its
        image is still right. `gt` is `Pairs.gt`.
        """
        self._fits(len(captions))
        true = set(zip(gt.tolist(), captions, strict=True))
        new = zip(gt.tolist(), self.order, strict=True)
        return np.array([(i, captions[t]) not in true for i, t in new], bool)

    def _fits(self, rows: int) -> None:
        if rows != len(self.order):
            raise DataError(f"noise over {len(self.order)} captions, data has {rows}.")


def corrupt(pairs: Pairs, rate: float, **how: Any) -> Pairs:
    """Return a copy of `pairs` with mismatched captions; `how` as in `stream`."""
    return draw(pairs, rate, **how).apply(pairs)


def draw(pairs: Pairs, rate: float, **how: Any) -> Noise:
    """Return the first draw of a stream; `how` as in `stream`."""
    return next(stream(pairs, [rate], **how))


def stream(
    pairs: Pairs, rates: Sequence[float], *, split: str = "train", **how: Any,
) -> Iterator[Noise]:  # fmt: skip
    """Yield a draw for each rate, all from one random stream seeded once.

    Each draw starts from the clean set. Rate 0 takes nothing from the stream.

    - `caption`: int(T·r) rows without replacement, their captions permuted (RRSITR,
      Song 2026, `precomp/noise_correspondence.py`; its files follow byte for byte).
    - `ncr`: the caption → image index permuted over that share of captions (NCR, Huang
      2021). The same law as `caption`, another draw.
    - `decl`: all captions of int(N·r) images move together (DECL, Qin 2022), so that
      no right caption is left beside a wrong one. An image goes to one with as many.
    - `class`: as `caption`, but permuted inside each class (ours): wrong captions are
      of the right class, which is what people mistake.

    Args:
        pairs: the clean set.
        rates: each in [0, 1).
        split: only its rows move; a set with one split needs no name for it.
        how: `seed` (42) of NumPy's legacy generator, in [0, 2³²), and `protocol`
            (`"caption"`), one of `PROTOCOLS`.

    Raises:
        ParameterError: a rate, the seed or the protocol is out of range.
        DataError: no such split, or `class` without a label for every image.
    """
    only = len(set(pairs.split)) == 1
    if not only and split not in pairs.split:
        pairs.where(split)  # says which there are
    mine = np.array([only or s == split for s in pairs.split], bool)
    rows = np.flatnonzero(mine[pairs.gt])
    gt = pairs.gt[rows]
    label = [pairs.label[i] for i in gt]

    def whole(part: Noise) -> Noise:
        order = np.arange(len(pairs.captions))
        order[rows] = rows[part.order]
        return replace(part, order=order)

    return map(whole, orders(gt, rates, label=label, **how))


def orders(
    gt: np.ndarray, rates: Sequence[float], *,
    seed: int = 42, protocol: str = "caption", label: Sequence[str] = (),
) -> Iterator[Noise]:  # fmt: skip
    """Yield a draw for each rate over rows alone; see `stream`, which calls this.

    Args:
        gt: int64 (T,), each caption's image.
        rates: as in `stream`.
        seed: as in `stream`.
        protocol: as in `stream`.
        label: T class names, for `class`.

    Raises:
        ParameterError: as in `stream`.
        DataError: `class` without a label for every row.
    """
    bad = [str(r) for r in rates if not 0 <= r < 1]
    if bad:
        raise ParameterError(f"noise rate {', '.join(bad)} lies outside [0, 1).")
    if not 0 <= seed < 2**32:
        raise ParameterError(f"noise seed {seed} lies outside [0, 2**32).")
    if protocol not in PROTOCOLS:
        raise ParameterError(f"no protocol {protocol!r}; use {', '.join(PROTOCOLS)}.")
    if protocol == "class" and (len(label) != len(gt) or "" in label):
        raise DataError("noise by class needs a label for every image.")
    rng = np.random.RandomState(seed)  # legacy: its stream is frozen for good
    names = np.array(label)

    def one(rate: float) -> Noise:
        order = _order(rng, gt, names, rate, protocol) if rate else np.arange(len(gt))
        return Noise(order, protocol, float(rate), seed)

    return map(one, rates)


def _order(
    rng: np.random.RandomState,
    gt: np.ndarray, labels: np.ndarray, rate: float, protocol: str,
) -> np.ndarray:  # fmt: skip
    """Return int64 (n,): the row whose caption each row gets."""
    order = np.arange(len(gt))
    if protocol in ("caption", "class"):
        pick = rng.choice(len(gt), int(len(gt) * rate), replace=False)
        groups = [pick]
        if protocol == "class":
            groups = [pick[labels[pick] == c] for c in np.unique(labels[pick])]
        for group in groups:
            order[group] = rng.permutation(group)
        return order
    # The others permute an index to images: what is picked goes to where `to` says.
    units = np.unique(gt) if protocol == "decl" else order.copy()
    some = np.arange(len(units))
    rng.shuffle(some)
    pick = units[some[: int(len(units) * rate)]]
    if protocol == "ncr":
        to = pick.copy()
        rng.shuffle(to)
        order[to] = pick
        return order
    count, by_image = np.bincount(gt), np.argsort(gt, kind="stable")
    first = np.cumsum(count) - count
    for size in np.unique(count[pick]):
        group = pick[count[pick] == size]
        to = group.copy()
        rng.shuffle(to)
        at = np.arange(size)
        order[by_image[first[to][:, None] + at]] = by_image[first[group][:, None] + at]
    return order
