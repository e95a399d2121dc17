"""Binary codes of embeddings, and a search among them by Hamming distance.

Explained in `book/kin.md`. A code is the signs of an affine map, one map a modality.
Maps are drawn at random, rotated so that signs lose little, or learned from pairs that
may be wrong, by any method of `rsnb.methods`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from rsnb.errors import EmbeddingError, ParameterError
from rsnb.exact import Found
from rsnb.methods import InfoNCE, Method, Step
from rsnb.pacing import judge, look
from rsnb.recall import check_gt
from rsnb.vectors import as_array, check_embeddings, distinct_rows

__all__ = ["Hash", "agreement", "learn", "nearest_codes"]


@dataclass(frozen=True, eq=False)
class Hash:
    """Two affine maps, float32 (d + 1, b) with the shift last, whose signs are a code.

    Raises ParameterError unless both are finite and have as many bits, a multiple of 8.
    """

    img: np.ndarray
    txt: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and values."""
        if self.img.shape != self.txt.shape or self.img.shape[1] % 8:
            what = f"maps {self.img.shape} and {self.txt.shape}"
            raise ParameterError(f"{what}: take as many bits for both, 8, 16, …")
        if not (np.isfinite(self.img).all() and np.isfinite(self.txt).all()):
            raise ParameterError("a map holds NaN or infinity; learn with a lower lr.")

    @classmethod
    def random(cls, img: ArrayLike, txt: ArrayLike, bits: int, seed: int = 0) -> "Hash":
        """Return random directions about the mean of each modality (Charikar 2002)."""
        parts = _with_ones(img, txt)
        spin = np.random.default_rng(seed).normal(size=(parts[0].shape[1] - 1, bits))
        return cls(*(_about(x, spin) for x in parts))

    @classmethod
    def itq(cls, img: ArrayLike, txt: ArrayLike, bits: int, seed: int = 0) -> "Hash":
        """Return principal directions, rotated so that signs lose little (Gong 2013).

        Reads no pairs, so false ones cannot harm it. `bits` is at most d.
        """
        import faiss

        parts = _with_ones(img, txt)
        d, n = parts[0].shape[1] - 1, min(map(len, parts))
        if bits > d:
            raise ParameterError(f"{bits} bits of {d} dimensions; {d} is the most.")
        # As many of either modality, so that neither decides alone.
        x = np.concatenate([p[:: len(p) // n, :d] - p[:, :d].mean(0) for p in parts])
        turn = faiss.ITQTransform(d, bits, True)
        turn.itq.seed = seed
        turn.train(x)
        flat = faiss.vector_to_array(turn.pca_then_itq.A)
        return cls(*(_about(p, flat.reshape(bits, d).T) for p in parts))

    def encode_images(self, emb: ArrayLike) -> np.ndarray:
        """Return uint8 (N, b / 8) from (N, d) embeddings."""
        return _packed(emb, self.img)

    def encode_texts(self, emb: ArrayLike) -> np.ndarray:
        """Return uint8 (T, b / 8) from (T, d) embeddings."""
        return _packed(emb, self.txt)


def _with_ones(*parts: ArrayLike) -> list[np.ndarray]:
    checked = [check_embeddings(x, "emb").astype(np.float32) for x in parts]
    return [np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in checked]


def _about(x: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """Return the map that centres `x` first, scaled so that each column varies by 1."""
    spin = spin / (x[:, :-1] @ spin).std(0).clip(1e-12)
    return np.vstack([spin, -x[:, :-1].mean(0) @ spin]).astype(np.float32)


def _packed(emb: ArrayLike, grid: np.ndarray) -> np.ndarray:
    x = check_embeddings(emb, "emb", len(grid) - 1)
    return np.packbits(x @ grid[:-1] + grid[-1] > 0, axis=1)


def learn(
    img: ArrayLike, txt: ArrayLike, gt: np.ndarray, bits: int, *,
    method: Method | None = None, lr: float = 1e-2, epochs: int = 5,
    batch: int = 512, seed: int = 0,
) -> Hash:  # fmt: skip
    """Train both maps on pairs, with tanh in the place of the sign.

    Args:
        img: (N, d) embeddings of training images, which stay as they are.
        txt: (T, d), of captions.
        gt: int (T,), image of each caption, as given.
        bits: b; up to d bits start from `Hash.itq`, more from `Hash.random`.
        method: what a batch teaches, without `tokens`; InfoNCE if not given. A judge
            looks at the codes as it does in `rsnb.train.fit`.
        lr: first rate of Adam, which falls to 0 by a cosine.
        epochs: passes over the captions.
        batch: pairs a step; fewer captions are one batch.
        seed: of start and order.
    """
    method, rng = method or InfoNCE(), np.random.default_rng(seed)
    x, y = map(torch.from_numpy, _with_ones(img, txt))
    gt = check_gt(gt, len(y))
    start = (Hash.itq if bits < x.shape[1] else Hash.random)(img, txt, bits, seed)
    maps = [torch.from_numpy(m).requires_grad_() for m in (start.img, start.txt)]
    warmth, size = torch.tensor(2.0, requires_grad=True), min(batch, len(y))
    steps, looks = len(y) // size, list[np.ndarray]()
    optim = torch.optim.Adam([*maps, warmth], lr)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optim, epochs * steps)
    of = [torch.from_numpy(i) for i in (gt, distinct_rows(as_array(txt))[1])]

    def soft(part: Tensor, grid: Tensor) -> Tensor:
        return F.normalize(torch.tanh(part @ grid), dim=-1)

    for epoch in range(epochs):
        clean, p, how = np.ones((3, len(y)), np.float32), None, method.judge
        if how is not None:
            if epoch % how.every == 0:
                a, b = soft(x, maps[0]).detach(), soft(y, maps[1]).detach()
                now = float(warmth.detach().exp())
                looks.append(look(a.numpy(), b.numpy(), gt, now, how))
            clean = judge(np.stack(looks), how).clean
            if how.sample:
                p = np.maximum(clean[2], how.floor).astype(float)
                p /= p.sum()
        order = rng.choice(len(y), (steps, size), replace=p is not None, p=p)
        for at, rows in enumerate(map(torch.from_numpy, order), epoch * steps):
            same = torch.stack([i[rows, None] == i[rows] for i in of]).any(0).float()
            loss = method(Step(
                soft(x[of[0][rows]], maps[0]), soft(y[rows], maps[1]), warmth.exp(),
                same, torch.from_numpy(clean)[:, rows], at / (epochs * steps),
            ))  # fmt: skip
            optim.zero_grad()
            loss.backward()
            optim.step()
            fall.step()
    return Hash(*(m.detach().numpy() for m in maps))


def agreement(txt_codes: np.ndarray, img_codes: np.ndarray) -> np.ndarray:
    """Return float32 (T, N), b minus the Hamming distance, for `rsnb.metrics`."""
    both = (np.unpackbits(c, 1).astype(np.float32) for c in (txt_codes, img_codes))
    t, i = (2 * x - 1 for x in both)
    return np.asarray(t @ i.T + t.shape[1]) / 2


def nearest_codes(codes: np.ndarray, query_codes: np.ndarray, k: int) -> Found:
    """Return rows int64 (Q, k) and Hamming distances int32, nearest first, then by row.

    Raises:
        EmbeddingError: codes of another length, or k out of range.
    """
    import faiss

    if query_codes.shape[1:] != codes.shape[1:] or not 1 <= k <= len(codes):
        what = f"query codes {query_codes.shape}, k={k}"
        raise EmbeddingError(f"{what}, for a gallery {codes.shape}.")
    far, rows = faiss.knn_hamming(query_codes, codes, k)
    order = np.lexsort((rows, far))
    return (np.take_along_axis(rows, order, 1), np.take_along_axis(far, order, 1))
