"""Query-guided disambiguation (QGD): a query looks at several views of a candidate.

Explained in notebook 06. With unit vectors q of the query and v of the views (view 0
the whole image), the score is

    s = (1 - m) q·(I + G) v_0 + m sum_v w_v q·(I + S) v
    w = softmax(t q·(I + A) v + b)

A (what to look at), S (how to read a window), G (how to read the whole) and the numbers
t, b, m are the probe. It is learned once for a frozen backbone, on pairs that the
backbone has not seen; A = S = G = 0 is a probe that only needs t, b and m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save as st_save
from tqdm.auto import trange

from rsnb.cache import read_arrays
from rsnb.errors import EmbeddingError, ParameterError
from rsnb.files import checked_receipt, write_with_receipt
from rsnb.vectors import check_embeddings

__all__ = ["RULES", "Lesson", "Probe", "learn"]

#: How the weights of the views come about; all but the first are controls.
RULES: Mapping[str, str] = MappingProxyType({
    "guided": "softmax of what the query finds in each view",
    "uniform": "the same for every query: softmax of b",
    "max": "all on the best view",
    "anti": "softmax of the opposite",
    "global": "the whole image alone",
})  # fmt: skip
_STEP = 64  # queries scored at once
_PARTS = ("ask", "see", "whole", "bias")


@dataclass(frozen=True, eq=False)
class Probe:
    """Parameters of the score above.

    Attributes:
        ask: float32 (d, d), A.
        see: float32 (d, d), S.
        whole: float32 (d, d), G.
        bias: float32 (V,), b.
        sharp: t, at least 0.
        mix: m, share of the windows' part.
        rule: one of `RULES`.
    """

    ask: np.ndarray
    see: np.ndarray
    whole: np.ndarray
    bias: np.ndarray
    sharp: float = 20.0
    mix: float = 0.5
    rule: str = "guided"

    @classmethod
    def plain(cls, d: int, views: int, rule: str = "guided") -> Probe:
        """Return the probe that has learned nothing.

        Raises:
            ParameterError: unknown rule.
        """
        if rule not in RULES:
            raise ParameterError(f"no rule {rule!r}; one of {', '.join(RULES)}.")
        zero = np.zeros((d, d), np.float32)
        return cls(zero, zero, zero, np.zeros(views, np.float32), rule=rule)

    def weights(self, txt: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return float32 (Q, K, V), the weight of each view for each query.

        Args:
            txt: float32 (Q, d), unit rows.
            views: float32 (Q, K, V, d), of K candidates of each query, or (K, V, d) of
                candidates that all queries share.
        """
        with torch.inference_mode():
            return _weights(self.rule, *self._torch(txt, views)).numpy()

    def __call__(self, txt: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return float32 (Q, K) scores; arguments as for `weights`.

        Raises:
            EmbeddingError: shapes that do not fit the probe, NaN or infinity.
        """
        check_embeddings(txt, "txt", self.ask.shape[0])
        shared, out, own = views.ndim == 3, [], (len(self.bias), len(self.ask))
        queries = () if shared else (len(txt),)
        if views.shape[-2:] != own or views.shape[:-3] != queries or views.ndim < 3:
            want = f"(K, {own[0]}, {own[1]}), or {len(txt)} times that"
            raise EmbeddingError(f"views have shape {views.shape}; give {want}.")
        with torch.inference_mode():
            for k in range(0, len(txt), _STEP):
                some = views if shared else views[k : k + _STEP]
                parts = self._torch(txt[k : k + _STEP], some)
                out.append(_score(self.rule, *parts).numpy())
        scores = np.concatenate(out)
        if not np.isfinite(scores).all():
            raise EmbeddingError("views hold NaN or infinity. Embed the images again.")
        return scores

    def _torch(self, txt: np.ndarray, views: np.ndarray) -> tuple[Any, ...]:
        v = torch.from_numpy(views)
        tensors = [torch.from_numpy(getattr(self, name)) for name in _PARTS]
        numbers = torch.tensor(self.sharp), torch.tensor(self.mix)
        return torch.from_numpy(txt), v, *tensors, *numbers

    def save(self, path: str | Path, **facts: Any) -> Path:
        """Write a safetensors file (half precision) with a receipt that has `facts`."""
        parts = {name: getattr(self, name).astype(np.float16) for name in _PARTS}
        more = {"sharp": self.sharp, "mix": self.mix, "rule": self.rule}
        return write_with_receipt(path, st_save(parts), **facts, **more)

    @classmethod
    def load(cls, path: str | Path) -> Probe:
        """Read what `save` wrote.

        Raises:
            FileCorruptError: the file is not the one that its receipt describes.
        """
        found, facts = read_arrays(path), checked_receipt(path)
        ask, see, whole, bias = (found[name].astype(np.float32) for name in _PARTS)
        more = facts["sharp"], facts["mix"], facts["rule"]
        return cls(ask, see, whole, bias, *more)


def _dots(txt: Any, views: Any) -> Any:
    """Return (Q, K, V) inner products with own or shared candidates."""
    return torch.einsum(f"qd,{'q' * (views.ndim == 4)}kvd->qkv", txt, views)


def _weights(
    rule: str, txt: Any, views: Any, ask: Any, see: Any, whole: Any, bias: Any,
    sharp: Any, mix: Any,
) -> Any:  # fmt: skip
    found = _dots(txt + txt @ ask, views)
    if rule == "uniform":
        return bias.softmax(-1).expand_as(found)
    if rule == "global":
        return F.one_hot(torch.zeros_like(found[..., 0]).long(), len(bias)).float()
    if rule == "max":
        return F.one_hot(found.argmax(-1), len(bias)).to(found)
    return (sharp * (-found if rule == "anti" else found) + bias).softmax(-1)


def _score(
    rule: str, txt: Any, views: Any, ask: Any, see: Any, whole: Any, bias: Any,
    sharp: Any, mix: Any,
) -> Any:  # fmt: skip
    first = _dots(txt + txt @ whole, views[..., :1, :])[..., 0]
    if rule == "global":
        return first
    w = _weights(rule, txt, views, ask, see, whole, bias, sharp, mix)
    return (1 - mix) * first + mix * (w * _dots(txt + txt @ see, views)).sum(-1)


@dataclass(frozen=True)
class Lesson:
    """How a probe learns: symmetric InfoNCE over images and one caption of each.

    Attributes:
        epochs: passes over the images; 0 leaves the probe plain.
        lr: peak rate of Adam.
        batch: images a step.
        seed: of order and captions.
    """

    epochs: int = 20
    lr: float = 2e-3
    batch: int = 256
    seed: int = 0


def learn(
    probe: Probe, txt: np.ndarray, views: np.ndarray, gt: np.ndarray,
    how: Lesson | None = None,
) -> Probe:  # fmt: skip
    """Return a probe that has learned from pairs; the backbone is not touched.

    Args:
        probe: where to start; its rule stays, so controls learn alike.
        txt: float32 (T, d), captions.
        views: float32 (N, V, d), their images' views.
        gt: int (T,), caption → image; every image needs one.
        how: settings.

    Raises:
        ParameterError: fewer images than a batch holds.
    """
    how = how or Lesson()
    steps = len(views) // how.batch
    if not steps:
        raise ParameterError(f"{len(views)} images do not fill a batch of {how.batch}.")
    torch_parts = probe._torch(txt, views)
    t, v = torch_parts[:2]
    parts = [p.clone().requires_grad_() for p in torch_parts[2:]]
    scale = torch.tensor(40.0).log().requires_grad_()
    total = max(1, how.epochs * steps)
    optim = torch.optim.Adam([*parts, scale], lr=how.lr, betas=(0.9, 0.98))
    plan = torch.optim.lr_scheduler.OneCycleLR(optim, how.lr, total, pct_start=0.1)
    own = [np.flatnonzero(gt == i) for i in range(len(views))]
    target = torch.arange(how.batch)
    for epoch in trange(how.epochs, desc="probe", leave=False, delay=2):
        rng = np.random.default_rng((how.seed, epoch))
        order = rng.permutation(len(views))
        for k in range(steps):
            rows = order[k * how.batch : (k + 1) * how.batch]
            said = t[[rng.choice(own[i]) for i in rows]]
            s = _score(probe.rule, said, v[rows], *parts) * scale.exp()
            loss = F.cross_entropy(s, target) + F.cross_entropy(s.T, target)
            optim.zero_grad()
            loss.backward()
            optim.step()
            plan.step()
    *arrays, sharp, mix = [p.detach().numpy().astype(np.float32) for p in parts]
    named = dict(zip(_PARTS, arrays, strict=True))
    return replace(probe, **named, sharp=float(sharp), mix=float(mix))
