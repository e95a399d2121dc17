"""Embeddings as arrays: checks, distinct rows, inner products that keep ties.

Explained in notebook 00.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike

from rsnb.errors import EmbeddingError

__all__ = ["as_array", "check_embeddings", "distinct_rows", "group_max", "product",
           "similarity"]  # fmt: skip


def check_embeddings(emb: ArrayLike, name: str, dim: int | None = None) -> np.ndarray:
    """Return `emb` as a float32 or float64 array after checking that it can be ranked.

    Raises:
        EmbeddingError: not float (n, d) with n, d ≥ 1, not `dim` columns, or rows with
            NaN, infinity or norm 0; the message names the first rows.
    """
    x = as_array(emb)
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind != "f":
        want = "float (n, d) with at least one row"
        raise EmbeddingError(f"{name} must be {want}, got {x.dtype} {x.shape}.")
    if dim is not None and x.shape[1] != dim:
        what = f"{name} has {x.shape[1]} columns where {dim} are needed"
        raise EmbeddingError(f"{what}. Embed both with the same backbone.")
    if x.dtype.itemsize < 4:
        x = x.astype(np.float32)
    square = np.einsum("ij,ij->i", x, x)
    for bad, what in ((~np.isfinite(square), "NaN or infinity"), (square == 0, "zero")):
        if bad.any():
            first = f"{what}, first rows {np.flatnonzero(bad)[:5].tolist()}"
            count = f"{name}: {bad.sum()} of {len(x)} rows are {first}"
            raise EmbeddingError(f"{count}. Embed these items again.")
    return x


def distinct_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that differ bitwise, in order of first sight, and `of`.

    `of` is int64 (n,): `distinct[of]` equals `x`. `x` itself returns if none repeats.
    """
    first = np.arange(len(x))
    # Rows that share their first value with no other are distinct: no need to hash.
    _, group, size = np.unique(x[:, 0], return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for i in np.flatnonzero(size[group] > 1).tolist():
        digest = hashlib.blake2b(x[i].tobytes(), digest_size=16).digest()
        first[i] = seen.setdefault(digest, i)
    rows, of = np.unique(first, return_inverse=True)
    return x if len(rows) == len(x) else x[rows], of


def similarity(txt_emb: ArrayLike, img_emb: ArrayLike) -> np.ndarray:
    """Return inner products (n_text, n_image) in which equal embeddings tie exactly."""
    txt, t_of = distinct_rows(check_embeddings(txt_emb, "txt_emb"))
    img, i_of = distinct_rows(check_embeddings(img_emb, "img_emb", dim=txt.shape[1]))
    return product(txt, img)[t_of][:, i_of]


def as_array(x: ArrayLike) -> np.ndarray:
    """Return an array; a tensor may be on a GPU, have a gradient or be bfloat16."""
    detach = getattr(x, "detach", None)
    if detach is None:
        return np.asarray(x)
    y = detach().cpu()
    return np.asarray(y.float() if str(y.dtype) == "torch.bfloat16" else y)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return `a @ b.T`."""
    return np.asarray(a @ b.T)


def group_max(x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return (groups, n), the largest of each group of rows; a group begins at `start`.

    Groups of one size, the usual case, take a tenth of the time.
    """
    size = np.diff(start, append=len(x))
    if (size == size[0]).all():
        return np.asarray(x.reshape(len(start), size[0], -1).max(1))
    return np.maximum.reduceat(x, start)
