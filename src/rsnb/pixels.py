"""Decode the images of a `Pairs` once into one square uint8 array, and cache it.

Explained in notebook 02. An array of N images of side S takes 3·N·S² bytes.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from rsnb.cache import cached_arrays
from rsnb.errors import DataError, ResourceError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs

__all__ = ["load_pixels", "square"]

# Above this, decoding into memory is the wrong tool; sharded files are the right one.
MAX_BYTES = 3 << 30
_SOME = 16  # images a thread takes at once


def square(image: Image.Image, side: int) -> np.ndarray:
    """Return uint8 (side, side, 3): shorter side resized (bicubic), centre crop.

    This is CLIP's published preprocessing before normalisation.
    """
    w, h = image.size
    scale = side / min(w, h)
    size = (max(side, round(w * scale)), max(side, round(h * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if size != (side, side):
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image)


def load_pixels(pairs: Pairs, side: int, *, cache: bool = True) -> np.ndarray:
    """Return the images of `pairs` as uint8 (N, side, side, 3), in row order.

    Args:
        pairs: every image must have pixels (`pairs.with_pixels()`).
        side: height and width in pixels.
        cache: keep the array under `RSNB_CACHE`, keyed by data and side.

    Raises:
        DataError: an image is known without pixels.
        ResourceError: the array would pass 3 GiB.
    """
    missing = np.flatnonzero(~pairs.has_pixels)
    if len(missing):
        first = f"the first is {pairs.ids[missing[0]]}. Use pairs.with_pixels()"
        what = f"{len(missing)} of {len(pairs)} images have no pixels here"
        raise DataError(f"{pairs.name}: {what}, {first}.")
    size = 3 * len(pairs) * side * side
    if size > MAX_BYTES:
        need = f"{len(pairs):,} images of side {side} need {size / 2**30:.1f} GiB"
        raise ResourceError(f"{need}; take a subset or a smaller side.")

    def decode() -> dict[str, np.ndarray]:
        many = getattr(pairs.reader, "many", None)
        if many is not None:  # the renderer makes all images in parallel processes
            return {"pixels": many(pairs.rows, side)}
        out = np.empty((len(pairs), side, side, 3), np.uint8)

        def some(start: int) -> None:
            for i in range(start, min(start + _SOME, len(pairs))):
                out[i] = square(pairs.image(i), side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            starts = range(0, len(pairs), _SOME)
            done = pool.map(some, starts)
            list(tqdm(done, f"decode {pairs.name}", len(starts), leave=False))
        return {"pixels": out}

    if not cache or not pairs.source.get("sha256"):
        return decode()["pixels"]
    ids = fingerprint(list(pairs.ids))
    key = {"data": pairs.source["sha256"], "ids": ids, "side": side}
    return cached_arrays("pixels", key, decode, "rsnb.images")["pixels"]
