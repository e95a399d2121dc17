"""Documented re-rankers, similarity in and similarity out, tuned with one budget.

Each is a function of a `Way`: the queries of one direction, its gallery, their cosines.
A *transductive* one reads the other test queries; the rest read the query, the gallery
and at most a bank of training items. All cuts and ranks let ties in together, so that
equal queries get equal rows, and equal gallery items equal columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.stats import rankdata

from rsnb.errors import ParameterError
from rsnb.twoway import Bank, First, TwoWay, Way
from rsnb.vectors import similarity

__all__ = ["RERANKERS", "Bank", "First", "Reranker", "Tuned", "Way", "second_look",
           "tune"]  # fmt: skip

_ROUND = 1e-6  # copies of a query, scored in another product, differ by this at most
_LEAST = dict.fromkeys(("K", "k", "k1", "k2", "n"), 1) | {"tau": 5e-3, "beta": 0.1}
_LEAST |= {"lam": 0.1}  # at 0, candidates without a common neighbour would tie
_MOST = {"lam": 1}


def _galr(way: Way, K: float, W1: float, W2: float, bank: bool = False) -> np.ndarray:
    """Sum the share of similarity, the rank, and the rank by reverse rank."""
    pool = way.bank_sim if bank else way.sim
    pairs = zip(np.sort(pool.T, 1), way.sim.T + _ROUND, strict=True)
    above = len(pool) - np.stack([np.searchsorted(x, s, "right") for x, s in pairs], 1)
    candidate = way.rank <= K
    key = np.where(candidate, above * (way.sim.shape[1] + 1.0) + way.rank, np.inf)
    own = way.sim.clip(0)  # without negatives no sum is near 0
    share = own / (pool.clip(0).sum(0, dtype=float) + bank * own).clip(1e-12)
    near = np.exp(-0.05 * way.rank) + W2 * np.exp(-0.05 * rankdata(key, "min", axis=1))
    return _on_top(W1 * share + near, candidate, way.sim)


def _on_top(score: np.ndarray, candidate: np.ndarray, sim: np.ndarray) -> np.ndarray:
    """Put candidates above every cosine; the others keep theirs."""
    low = np.where(candidate, score, np.inf).min(1, keepdims=True)
    return np.where(candidate, 2 + score - low, sim)


def second_look(way: Way, near: np.ndarray, K: float, weight: float) -> np.ndarray:
    """Return scores (Q, G) in which a costlier similarity orders each query's K best.

    (1 - weight)·cosine + weight·near, where `near` (Q, G) is read at those K and who
    ties with them; the others follow as they were. Explained in `book/kin.md`.

    Raises:
        ParameterError: another shape, K below 1, or a weight that is not 0 to 1.
    """
    if near.shape != way.sim.shape or K < 1 or not 0 <= weight <= 1:
        what = f"near {near.shape} of {way.sim.shape}, K={K}, weight={weight}"
        raise ParameterError(f"{what}: K is 1 or more, the weight 0 to 1.")
    candidate = way.rank <= K
    score = (1 - weight) * way.sim + weight * np.where(candidate, near, 0)
    return _on_top(score, candidate, way.sim)


def _qb_norm(way: Way, beta: float, k: float) -> np.ndarray:
    """Return log(exp(β·s) / Σ exp(β·s_bank)) / β where the best item is a bank hit."""
    hub, out = _top(way.bank_sim, k).any(0), way.sim.copy()
    out[(hub & (way.rank == 1)).any(1)] -= _log_sum(way.bank_sim, beta) / beta
    return out


def _log_sum(sim: np.ndarray, beta: float) -> np.ndarray:
    top = sim.max(0)
    return beta * top + np.log(np.exp(beta * (sim - top)).sum(0, dtype=float))


def _dual(way: Way, tau: float, bank: bool = False) -> np.ndarray:
    own, total = way.sim / tau, _log_sum(way.bank_sim if bank else way.sim, 1 / tau)
    p = np.exp(own - (np.logaddexp(own, total) if bank else total))
    return np.where(way.sim > 0, way.sim * p, way.sim)  # p would turn negatives round


def _alpha_qe(way: Way, n: float, alpha: float) -> np.ndarray:
    return _rocchio(way, n, min(int(n), len(way.gallery)), 0, alpha)  # a sum


def _rocchio(
    way: Way, n: float, beta: float, gamma: float, alpha: float = 0
) -> np.ndarray:
    near = np.argsort(-way.sim, 1, kind="stable")[:, : int(n)]
    weight = np.take_along_axis(way.sim, near, 1).clip(0) ** alpha
    rest = way.gallery.sum(0, dtype=float) - way.gallery[near].sum(1, dtype=float)
    q = way.query - gamma / max(len(way.gallery) - near.shape[1], 1) * rest
    q += beta / near.shape[1] * np.einsum("qn,qnd->qd", weight, way.gallery[near])
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return similarity(q, way.gallery.astype(float))


def _k_reciprocal(way: Way, K: float, k1: float, k2: float, lam: float) -> np.ndarray:
    """Weigh the first distance (as 0-1) and the Jaccard distance of neighbour sets.

    Across the modality gap no query is among an item's neighbours: a query's set is its
    k1 nearest items, not tested for reciprocity. An item is its own nearest.
    """
    inside = similarity(way.gallery, way.gallery)
    tops = _top(inside, 1 + k1), _top(inside, 1 + round(k1 / 2))
    mutual, half = (csr_array((x & x.T) * 1.0) for x in tops)
    item = _sets(mutual, half, inside)
    query = _sets(csr_array(_top(way.sim, k1) * 1.0), half, way.sim)
    query = _shares(query + csr_array(_top(way.sim, k2 - 1) * 1.0) @ item)
    item = _shares(csr_array(_top(inside, k2) * 1.0) @ item).toarray()
    candidate, score = way.rank <= K, np.zeros(way.sim.shape)
    for q, row in enumerate(candidate):
        at, part = np.flatnonzero(row), slice(*query.indptr[q : q + 2])
        items = item[np.ix_(at, query.indices[part])]
        both = np.minimum(items, query.data[part]).sum(1)  # of two sums of 1
        far = way.sim[q, at].max() - way.sim[q, at]
        far /= max(far.max(), _ROUND)
        score[q, at] = (1 - lam) * both / (2 - both) - lam * far
    return _on_top(score, candidate, way.sim)


def _top(sim: np.ndarray, k: float) -> np.ndarray:
    """Return bool (Q, G), whether an item is among the k best of a row."""
    if k < 1:
        return np.zeros(sim.shape, bool)
    at = sim.shape[1] - min(int(k), sim.shape[1])
    return sim >= np.partition(sim, at, axis=1)[:, at, None]


def _sets(first: csr_array, half: csr_array, sim: np.ndarray) -> csr_array:
    """Return weights over neighbours; half sets that share 2/3 with a set join it."""
    join = first.multiply(first @ half.T).tocsr()
    join.data = (3 * join.data > 2 * half.sum(1)[join.indices]) * 1.0
    join.eliminate_zeros()
    out = (first + join @ half).tocsr()
    rows = np.repeat(np.arange(len(sim)), np.diff(out.indptr))
    out.data = np.exp(sim[rows, out.indices])
    return _shares(out)


def _shares(x: csr_array) -> csr_array:
    return x.multiply(1 / x.sum(1)[:, None]).tocsr()


@dataclass(frozen=True)
class Reranker:
    """A method, the same number of settings to try as for any other, and its source.

    `transductive`: a query's result depends on the other test queries. `scores` makes
    (Q, G) from a `Way` and a setting. Call it to use one setting for both directions.
    """

    name: str
    transductive: bool
    grid: tuple[Mapping[str, float], ...]
    paper: str
    scores: Callable[..., np.ndarray]

    def __call__(self, first: First, bank: Bank | None = None, **at: float) -> TwoWay:
        """Return both directions; errors as in `both`."""
        return self.both(first.ways(bank), at, at)

    def both(
        self, ways: tuple[Way, Way], t2i: Mapping[str, float], i2t: Mapping[str, float]
    ) -> TwoWay:
        """Return both directions, each under its own setting.

        Raises:
            ParameterError: a bad setting, or no bank where the method needs one.
            EmbeddingError: the bank is from another backbone.
        """
        for at in (t2i, i2t):
            right = all(
                _LEAST.get(k, 0) <= v <= _MOST.get(k, 1e6) for k, v in at.items()
            )
            if not right or at.keys() != self.grid[0].keys():
                what = f"{self.name} takes settings like {dict(self.grid[0])}"
                raise ParameterError(f"{what}, got {dict(at)}.")
        return TwoWay(self.scores(ways[0], **t2i), self.scores(ways[1], **i2t).T)


def _grid(**axes: tuple[float, ...]) -> tuple[Mapping[str, float], ...]:
    return tuple(dict(zip(axes, v, strict=True)) for v in product(*axes.values()))


_GALR = _grid(K=(30, 60), W1=(0.3, 1.0), W2=(0.35, 0.7, 1.1, 2.0))
_QB = _grid(beta=(5, 10, 20, 30, 40, 60, 80, 120), k=(1, 10))
_DUAL = _grid(tau=tuple(round(0.005 * 10 ** (i / 7.5), 4) for i in range(16)))
_QE = _grid(n=(1, 2, 4, 8), alpha=(0.5, 1, 2, 3))
_ROC = _grid(n=(2, 5), beta=(0.1, 0.2, 0.4, 0.75), gamma=(0.15, 0.5))
_REC = _grid(K=(50,), k1=(10, 20), k2=(2, 6), lam=(0.3, 0.6, 0.8, 0.95))
_galr_bank, _dual_bank = partial(_galr, bank=True), partial(_dual, bank=True)
_ALL = (
    Reranker("multivariate", True, _GALR, "Yuan 2022, GaLR", _galr),
    Reranker("multivariate-bank", False, _GALR, "after Yuan 2022", _galr_bank),
    Reranker("qb-norm", False, _QB, "Bogolin 2022", _qb_norm),
    Reranker("dual-softmax", True, _DUAL, "Cheng 2021, CAMoE", _dual),
    Reranker("dual-softmax-bank", False, _DUAL, "after Cheng 2021", _dual_bank),
    Reranker("alpha-qe", False, _QE, "Radenović 2019", _alpha_qe),
    Reranker("rocchio", False, _ROC, "Rocchio 1971", _rocchio),
    Reranker("k-reciprocal", False, _REC, "Zhong 2017", _k_reciprocal),
)
RERANKERS: Mapping[str, Reranker] = {r.name: r for r in _ALL}


@dataclass(frozen=True)
class Tuned:
    """Best settings on validation, their mR in percent, and how many were tried.

    `row.reranker.both(test.ways(bank), row.t2i, row.i2t)` applies it to test.
    """

    reranker: Reranker
    t2i: Mapping[str, float]
    i2t: Mapping[str, float]
    mR: float
    trials: int


def tune(
    first: First, gt: ArrayLike, bank: Bank | None,
    rerankers: Mapping[str, Reranker] = RERANKERS,
) -> list[Tuned]:  # fmt: skip
    """Try every setting of every re-ranker on a validation split; one row for each.

    Both directions try the same grid, and each takes the setting with the highest mean
    of its own three recalls; of equally good ones, the first.

    Raises:
        ParameterError: grids of different sizes, or no bank where one is needed.
        MetricError: `gt`, int (T,), caption → image, does not fit.
    """
    sizes = {r.name: len(r.grid) for r in rerankers.values()}
    if len(set(sizes.values())) > 1:
        raise ParameterError(f"one budget for all: grids must be equal, got {sizes}.")
    ways, out = first.ways(bank), []
    for r in rerankers.values():
        recalls = (r.both(ways, s, s).evaluate(gt) for s in r.grid)
        means = np.array([(x.t2i_hits.mean(), x.i2t_hits.mean()) for x in recalls])
        (t, i), mR = means.argmax(0), 100 * float(means.max(0).mean())
        out.append(Tuned(r, r.grid[t], r.grid[i], mR, len(r.grid)))
    return out
