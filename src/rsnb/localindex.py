"""RRSITR's local similarity as a search: short codes whose inner product is its square.

Explained in notebook 03. S² of a caption t and an image i is ⟨g_t, g_i⟩, where g holds
the upper half of an item's Gram matrix, what is off the diagonal times √2. With the
training means m of both sides and S² of training captions x training images, centred
in rows and columns, = U·Σ·Vᵀ:

    S² = ⟨m_t, g_i⟩ + ⟨g_t - m_t, m_i⟩ + ⟨g_t - m_t, g_i - m_i⟩

The first two are levels, one exact number an item. The last is cut at rank r; no other
code of r values is nearer to the training matrix, because both sides shape it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as st_save
from torch import Tensor

from rsnb.cache import read_arrays
from rsnb.errors import EmbeddingError, FileCorruptError, ParameterError
from rsnb.exact import Found
from rsnb.files import write_with_receipt
from rsnb.index import Searcher
from rsnb.local import local_similarity
from rsnb.vectors import as_array, check_embeddings

__all__ = ["LocalCode", "LocalIndex", "gram_halves", "similarity_of"]

_BATCH = 64  # items whose Gram halves are there at once: 34 MB at d = 512


def gram_halves(tokens: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and float (B, d(d+1)/2) of (n, P, d) tokens, a batch at a time.

    ⟨g_t, g_i⟩ of two halves is the square of the local similarity.
    """
    d = tokens.shape[2]
    at = np.ravel_multi_index(np.triu_indices(d), (d, d))
    weight = torch.where(torch.from_numpy(at % (d + 1) == 0), 1.0, 2**0.5)
    for low in range(0, len(tokens), _BATCH):
        rows = slice(low, low + _BATCH)
        part = tokens[rows].to(torch.promote_types(tokens.dtype, torch.float32))
        gram = (part.transpose(1, 2) @ part).flatten(1)
        yield rows, gram[:, at] * weight.to(gram)


def _sums(tokens: Tensor, weights: np.ndarray) -> np.ndarray:
    """Return (d(d+1)/2, r), the Gram halves weighted by (n, r) and added."""
    w = torch.from_numpy(weights).to(tokens.device)
    parts = (g.T @ w[rows].to(g) for rows, g in gram_halves(tokens))
    return reduce(torch.add, parts).cpu().numpy()


@dataclass(frozen=True, eq=False)
class LocalCode:
    """Two linear maps from Gram halves to codes of r + 1 numbers, the level last.

    Attributes:
        img_map: float (d(d+1)/2, r + 1).
        img_shift: (r + 1,), subtracted.
        txt_map: as `img_map`.
        txt_shift: as `img_shift`.
    """

    img_map: np.ndarray
    img_shift: np.ndarray
    txt_map: np.ndarray
    txt_shift: np.ndarray

    @classmethod
    def fit(cls, img_tokens: Tensor, txt_tokens: Tensor, rank: int) -> "LocalCode":
        """Learn the maps from training images and captions, which need not be pairs.

        Holds the (T, N) matrix and the two maps; a few thousand of each are enough.

        Args:
            img_tokens: (N, P, d), unit norm, from `rsnb.local.image_tokens`.
            txt_tokens: (T, W, d), unit norm, from `rsnb.local.text_tokens`.
            rank: r; the code has r + 1 numbers.

        Raises:
            EmbeddingError: the shapes are not those.
            ParameterError: the training matrix has no such rank.
        """
        from sklearn.utils.extmath import randomized_svd

        square = local_similarity(img_tokens, txt_tokens).square().double().cpu()
        txt_level, img_level = square.mean(1, keepdim=True), square.mean(0)
        middle = square.mean()
        inner = (square - txt_level - img_level + middle).numpy()
        t, n = inner.shape
        most = min(t, n, img_tokens.shape[2] * (img_tokens.shape[2] + 1) // 2)
        if not 1 <= rank <= most:
            raise ParameterError(f"rank {rank} is not 1 to {most}, what these allow.")
        u, s, vh = randomized_svd(inner, rank, n_iter=7, random_state=0)
        noise = 10 * torch.finfo(img_tokens.dtype).eps * max(s[0], float(middle))
        if s[-1] <= noise:
            real = int((s > noise).sum())
            fix = f"Take rank {real} or less, or more training items"
            raise ParameterError(f"the training matrix has rank {real}. {fix}.")
        # Scaled so that code k has the same spread on both sides.
        root, ratio = np.sqrt(s), (n / t) ** 0.25
        img_w = np.hstack([u / root * ratio, np.full((t, 1), 1 / t)])
        txt_w = np.hstack([vh.T / root / ratio, np.full((n, 1), 1 / n)])
        img_map, txt_map = _sums(txt_tokens, img_w), _sums(img_tokens, txt_w)
        # The last column of either map is the mean of the other side.
        img_shift, txt_shift = txt_map[:, -1] @ img_map, img_map[:, -1] @ txt_map
        img_shift[-1] = 0
        return cls(img_map, img_shift, txt_map, txt_shift)

    def encode_images(self, tokens: Tensor) -> np.ndarray:
        """Return float32 (N, r + 1) from (N, P, d) unit patch tokens, streamed.

        Raises:
            EmbeddingError: not (N, P, d) with the d of the training tokens.
        """
        return _encode(tokens, self.img_map, self.img_shift)

    def encode_texts(self, tokens: Tensor) -> np.ndarray:
        """Return float32 (T, r + 1) from (T, W, d) unit word tokens, streamed.

        Raises:
            EmbeddingError: not (T, W, d) with the d of the training tokens.
        """
        return _encode(tokens, self.txt_map, self.txt_shift)

    def save(self, path: str | Path, /, **facts: Any) -> Path:
        """Write the maps as safetensors, with a receipt that holds `facts` too."""
        arrays = {k: np.ascontiguousarray(v) for k, v in asdict(self).items()}
        return write_with_receipt(path, st_save(arrays), **facts)

    @classmethod
    def load(cls, path: str | Path) -> "LocalCode":
        """Read what `save` wrote.

        Raises:
            FileCorruptError: changed, cut short, missing, or not a local code.
        """
        arrays = read_arrays(path)
        if set(arrays) != {f.name for f in fields(cls)}:
            raise FileCorruptError(f"{path} is no LocalCode. Name one, or fit again.")
        return cls(**arrays)


def _encode(tokens: Tensor, grid: np.ndarray, shift: np.ndarray) -> np.ndarray:
    shape = tuple(tokens.shape)
    if len(shape) != 3 or shape[2] * (shape[2] + 1) // 2 != len(grid):
        want = "(n, tokens, d) of the backbone that the code was fitted on"
        raise EmbeddingError(f"tokens are {shape}; {want} are needed.")
    out = np.empty((len(tokens), len(shift)), np.float32)
    to = torch.from_numpy(grid).to(tokens.device)
    for rows, g in gram_halves(tokens):
        out[rows] = (g @ to.to(g)).cpu().numpy() - shift
    return out


def similarity_of(txt_codes: np.ndarray, img_codes: np.ndarray) -> np.ndarray:
    """Return (T, N) estimates of the local similarity, captions in rows."""
    square = txt_codes[:, :-1] @ img_codes[:, :-1].T + txt_codes[:, -1:]
    return np.sqrt(np.maximum(square + img_codes[:, -1], 0))


class LocalIndex:
    """A gallery of images (or captions) that answers captions (or images).

    Args:
        codes: float (N, r + 1) of one side, from `LocalCode`.
        kind: as for `rsnb.index.Searcher`: `"Flat"` keeps 4 bytes a number, `"SQfp16"`
            2, `"SQ8"` 1, `"OPQ32,PQ32"` 32 bytes an item. An item has r + 2 numbers.
        params: as for `Searcher`.

    Raises:
        EmbeddingError: codes that are empty, or not finite.
        ParameterError: FAISS refuses `kind` or `params`.
    """

    def __init__(self, codes: np.ndarray, kind: str = "SQ8", params: str = "") -> None:
        """Build the index."""
        codes = check_embeddings(codes, "codes").astype(float)
        # What a query multiplies weakly may be kept coarsely. Both sides have the same
        # spread, so the gallery knows how strongly that is; a level counts in full.
        self._weight = np.sqrt(np.square(codes[:, :-1]).mean(0)).clip(1e-12)
        self._level = codes[:, -1].mean()
        x = np.hstack([codes[:, :-1] * self._weight, codes[:, -1:] - self._level])
        # One more number makes a row unit, as the searcher needs it, and meets a 0.
        # Far from the largest row it hardly varies, and costs a quantiser little.
        self._most = 16 * np.linalg.norm(x, axis=1).max().clip(1e-12)
        x /= self._most
        rest = np.sqrt(1 - np.square(x).sum(1, keepdims=True))
        self.searcher = Searcher(np.hstack([x, rest]), kind, params=params)

    def search(self, query_codes: np.ndarray, k: int) -> Found:
        """Return the k best gallery items of each query of the other side.

        Args:
            query_codes: float (Q, r + 1), not compressed.
            k: 1 to the size of the gallery.

        Returns:
            rows int64 (Q, k) and estimated local similarities float32 (Q, k), best
            first.

        Raises:
            EmbeddingError: other codes, or as `Searcher.search`.
        """
        dim = len(self._weight) + 1
        own = check_embeddings(as_array(query_codes), "query_codes", dim).astype(float)
        q = np.pad(own, ((0, 0), (0, 1)))
        q[:, :-2] /= self._weight
        q[:, -2] = 1
        norm = np.linalg.norm(q, axis=1, keepdims=True)
        rows, cosine = self.searcher.search(q / norm, k)
        square = cosine * norm * self._most + own[:, -1:] + self._level
        return rows, np.sqrt(square.clip(0)).astype(np.float32)
