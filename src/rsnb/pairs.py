"""`Pairs`: images, captions, ground truth, splits and ids.

Explained in notebook 01 and in `book/own_data.md`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from rsnb.errors import DataError, ParameterError
from rsnb.files import fingerprint

__all__ = ["ImageReader", "Pairs", "held_out", "join"]

ImageReader = Callable[[int], Image.Image]


@dataclass(frozen=True)
class Pairs:
    """An image-text data set, or a part of one. Immutable; a subset is again a `Pairs`.

    Attributes:
        name: data set name, such as `"ucm"`.
        ids: N stable, unique image ids (relative posix path, or scene id).
        split: N split names (`train`, `val`, `test`, or a set's own).
        label: N class names, `""` where the set states none.
        captions: T captions.
        gt: int64 (T,), row in `ids` of each caption's image.
        has_pixels: bool (N,), False where this copy knows an image without its pixels.
        reader: row → RGB `PIL.Image`; rows refer to the set as loaded, see `rows`.
        rows: int64 (N,), each image's row for `reader` (a subset keeps the original's).
        source: facts on origin: `path`, `layout`, `sha256`, `problems` and the like.
    """

    name: str
    ids: tuple[str, ...]
    split: tuple[str, ...]
    label: tuple[str, ...]
    captions: tuple[str, ...]
    gt: np.ndarray
    has_pixels: np.ndarray
    reader: ImageReader
    rows: np.ndarray
    source: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Return name, sizes and splits in one line."""
        splits = {s: self.split.count(s) for s in dict.fromkeys(self.split)}
        pixels = "" if self.has_pixels.all() else f", {self.has_pixels.sum()} pixels"
        count = f"{len(self.ids):,} images, {len(self.captions):,} captions"
        return f"Pairs({self.name}: {count}, {splits}{pixels})"

    def image(self, i: int) -> Image.Image:
        """Return image `i` as RGB.

        Raises:
            DataError: this copy has no pixels for it.
        """
        if not self.has_pixels[i]:
            what = f"{self.name}: {self.ids[i]} is known without pixels here."
            raise DataError(f"{what} Use pairs.with_pixels() where images are needed.")
        return self.reader(int(self.rows[i]))

    def captions_of(self, i: int) -> list[str]:
        """Return the captions of image `i`, in source order."""
        return [self.captions[t] for t in np.flatnonzero(self.gt == i)]

    def subset(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Return the images `rows` (ints or a bool mask), with their captions."""
        idx = np.asarray(rows)
        idx = (np.flatnonzero(idx) if idx.dtype == bool else idx).astype(np.int64)
        if len(np.unique(idx)) != len(idx):
            raise DataError(f"{self.name}: a subset may hold each image once.")
        new = np.full(len(self.ids), -1, np.int64)
        new[idx] = np.arange(len(idx))
        order = np.argsort(new[self.gt], kind="stable")
        keep = order[new[self.gt][order] >= 0]
        own = self.ids, self.split, self.label
        ids, split, label = (tuple(v[i] for i in idx) for v in own)
        texts = tuple(self.captions[t] for t in keep)
        return replace(
            self, ids=ids, split=split, label=label, captions=texts,
            gt=new[self.gt[keep]], has_pixels=self.has_pixels[idx], rows=self.rows[idx],
        )  # fmt: skip

    def where(self, split: str) -> Self:
        """Return the images of one split.

        Raises:
            DataError: the set has no such split; the message lists those it has.
        """
        mask = np.array([s == split for s in self.split], bool)
        if not mask.any():
            have = ", ".join(dict.fromkeys(self.split))
            raise DataError(f"{self.name} has no split {split!r}; it has: {have}.")
        return self.subset(mask)

    def with_val(self) -> Self:
        """Return a set with a split `val`: its own, or a tenth of train, as RRSITR.

        The same set gives the same rows. Without `train` it stays as it is.
        """
        train = np.flatnonzero([s == "train" for s in self.split])
        if "val" in self.split or not len(train):
            return self
        held = {*train[held_out(len(train), math.ceil(len(train) / 10))].tolist()}
        split = tuple("val" if i in held else s for i, s in enumerate(self.split))
        sha256 = fingerprint(self.source.get("sha256"), sorted(held))
        return replace(self, split=split, source={**self.source, "sha256": sha256})

    def adding(self, more: Mapping[str, Sequence[str]]) -> Self:
        """Return the set with further captions of some of its images, by id."""
        row = {i: k for k, i in enumerate(self.ids)}
        new = [(row[i], c) for i, own in more.items() if i in row for c in own]
        if not new:
            return self
        gt = np.concatenate([self.gt, np.array([k for k, _ in new], np.int64)])
        source = dict(self.source, added=len(new))
        texts = (*self.captions, *(c for _, c in new))
        return replace(self, captions=texts, gt=gt, source=source)

    def with_pixels(self) -> Self:
        """Return the images whose pixels this copy holds."""
        return self if self.has_pixels.all() else self.subset(self.has_pixels)


def held_out(images: int, count: int) -> np.ndarray:
    """Return `count` rows of `images`, sorted; equal numbers give equal rows.

    Raises:
        ParameterError: more than there are.
    """
    if count > images:
        raise ParameterError(f"{count} of {images} images cannot be held out.")
    return np.sort(np.random.default_rng(0).permutation(images)[:count])


def join(parts: Sequence[Pairs]) -> Pairs:
    """Return several sets as one, such as two training splits.

    Ids get number and name of their set in front, so that they stay unique.
    """
    start = np.cumsum([0, *map(len, parts)])

    def read(row: int) -> Image.Image:
        k = int(np.searchsorted(start, row, "right")) - 1
        return parts[k].image(row - start[k])

    return Pairs(
        "+".join(p.name for p in parts),
        tuple(f"{k}:{p.name}:{i}" for k, p in enumerate(parts) for i in p.ids),
        tuple(s for p in parts for s in p.split),
        tuple(c for p in parts for c in p.label),
        tuple(c for p in parts for c in p.captions),
        np.concatenate([p.gt + n for p, n in zip(parts, start, strict=False)]),
        np.concatenate([p.has_pixels for p in parts]), read, np.arange(start[-1]),
        {"sha256": ",".join(str(p.source.get("sha256")) for p in parts)},
    )  # fmt: skip
