"""Visual-context injection (VCI): candidates testify, and the query's scores change.

Explained in notebook 05. Candidates are asked in the order of the first stage. With s
the first stage's score and e the evidence of a candidate,

    x = w0 s + w·e  of one that was asked,    x = w0 s + prior  of any other.

The backbone's own first choice has `stay` nats more: it goes only for good evidence.
Asking stops when those not yet asked hold less than `slack` of the softmax of x: a
query whose answer is plain asks little, or nothing. w maximises the likelihood of the
right candidate on validation (a conditional logit); the other three are tried there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from rsnb.errors import ParameterError
from rsnb.recall import KS

__all__ = [
    "PRIORS",
    "SLACKS",
    "STAYS",
    "VCI",
    "Asked",
    "best_first",
    "calibrate",
    "fit",
    "harm",
]

PRIORS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SLACKS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
STAYS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
HARM = 0.07  # of what the backbone had right; what `stay` must reach on validation
ENOUGH = 0.25  # points of recall that saved questions may cost on validation
_RIDGE = 1e-3  # on weights of features with spread 1: decides only where data do not


@dataclass(frozen=True, eq=False)
class Asked:
    """What a round of VCI found.

    Attributes:
        scores: float64 (Q, G), higher is better; compared within a query.
        calls: int64 (Q,), candidates that were asked.
    """

    scores: np.ndarray
    calls: np.ndarray


@dataclass(frozen=True)
class VCI:
    """How evidence is weighed, and when to stop asking.

    Attributes:
        weights: w0 of the first stage's score, then one for each column of evidence.
        prior: what a candidate that was not asked has in place of evidence.
        stay: nats more for the backbone's first choice.
        slack: share of the softmax at which asking stops, 0 to 1; 0 asks `most`.
        most: candidates that may be asked, at most.
    """

    weights: tuple[float, ...]
    prior: float = 0.0
    stay: float = 0.0
    slack: float = 0.0
    most: int = 20

    def __call__(
        self, first: np.ndarray, order: np.ndarray, evidence: np.ndarray,
        choice: np.ndarray | None = None,
    ) -> Asked:  # fmt: skip
        """Ask the candidates of each query, until it is plain who is right.

        Args:
            first: float (Q, G), the first stage's scores.
            order: int (Q, K), candidates, in the order in which they are asked.
            evidence: float (Q, K, E), of each candidate; what comes after the stop is
                not looked at.
            choice: int (Q,), the backbone's first choice; by default that of `first`.

        Raises:
            ParameterError: shapes that do not fit, NaN or infinity.
        """
        _check(first, order, evidence, len(self.weights))
        choice = first.argmax(1) if choice is None else choice
        first = self.weights[0] * first.astype(float)
        first[np.arange(len(first)), choice] += self.stay
        order, evidence = order[:, : self.most], evidence[:, : self.most]
        known = np.take_along_axis(first, order, 1)
        x = known + evidence @ np.array(self.weights[1:])
        out = first + self.prior
        k = order.shape[1]
        # log-sums of those asked after 0, 1, … k candidates, and of all others
        rows = np.full((len(x), 1), -np.inf)
        asked = np.hstack([rows, np.logaddexp.accumulate(x, 1)])
        beyond = out.copy()
        np.put_along_axis(beyond, order, -np.inf, 1)
        beyond = logsumexp(np.hstack([rows, beyond]), axis=1, keepdims=True)
        left = np.hstack([beyond, (known + self.prior)[:, ::-1]])
        left = np.logaddexp.accumulate(left, 1)[:, ::-1]
        # Before the first question, a share of 1 - slack on one candidate is plain.
        sure = out.max(1) - left[:, 0] > np.log1p(-self.slack) if self.slack else False
        limit = np.log(self.slack) if self.slack else -np.inf
        plain = left - np.logaddexp(left, asked) < limit
        plain[:, 0] = sure
        calls = np.where(plain.any(1), plain.argmax(1), k)
        heard = np.arange(k) < calls[:, None]
        np.put_along_axis(out, order, np.where(heard, x, known + self.prior), 1)
        return Asked(out, calls)


def _check(first: np.ndarray, order: np.ndarray, evidence: np.ndarray, w: int) -> None:
    want = (*order.shape, w - 1)
    if first.ndim != 2 or len(first) != len(order) or evidence.shape != want:
        what = f"first {first.shape}, order {order.shape}, evidence {evidence.shape}"
        raise ParameterError(f"{what}: evidence must be {want}, a row a query.")
    if not (np.isfinite(first).all() and np.isfinite(evidence).all()):
        raise ParameterError("first or evidence holds NaN or infinity.")


def best_first(scores: np.ndarray, k: int) -> np.ndarray:
    """Return int64 (Q, k), the k best of each row, best first, equal ones by number."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def fit(
    first: np.ndarray, order: np.ndarray, evidence: np.ndarray, right: np.ndarray
) -> VCI:
    """Return the weights under which the right candidate is most likely.

    Args:
        first: float (Q, G), the first stage's scores on validation.
        order: int (Q, K), candidates.
        evidence: float (Q, K, E).
        right: bool (Q, G); a query none of whose candidates is right is left out.

    Raises:
        ParameterError: no query has a right candidate, or shapes do not fit.
    """
    _check(first, order, evidence, evidence.shape[-1] + 1)
    good = np.take_along_axis(right, order, 1)
    kept = good.any(1) & ~good.all(1)
    if not kept.any():
        raise ParameterError("no right candidate among those to ask; raise K.")
    s = np.take_along_axis(first, order, 1)[kept]
    x = np.concatenate([s[..., None], evidence[kept]], -1)
    spread = x.std((0, 1))
    spread[spread < 1e-6] = np.inf  # what never changes has no weight
    x, good = x / spread, good[kept]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ w
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        q = p * good
        both = p.sum(1, keepdims=True), q.sum(1, keepdims=True).clip(1e-300)
        value = np.log(both[0] / both[1]).mean() + _RIDGE * w @ w
        slope = ((p / both[0] - q / both[1])[..., None] * x).sum((0, 1)) / len(x)
        return value, slope + 2 * _RIDGE * w

    found = minimize(loss, np.zeros(x.shape[-1]), jac=True, method="L-BFGS-B")
    return VCI(tuple((found.x / spread).tolist()), most=order.shape[1])


def calibrate(
    way: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], right: np.ndarray
) -> VCI:
    """Return a VCI with all its constants from validation.

    Weights by `fit`; then the prior with the highest recall; then the smallest `stay`
    that harms at most 7 % of the queries which the backbone had right (or the largest
    of `STAYS`); then the largest slack that costs at most 0.25 points of recall.

    Args:
        way: what a `VCI` is called with: scores, order, evidence, first choice.
        right: bool (Q, G).
    """
    how = fit(*way[:3], right)

    def score(one: VCI) -> float:
        return _recall(one(*way).scores, right)

    how = max((replace(how, prior=p) for p in PRIORS), key=score)
    for stay in STAYS:
        how = replace(how, stay=stay)
        if harm(how(*way).scores, way[3], right) <= HARM:
            break
    best = score(how) - ENOUGH
    return [h for s in SLACKS if score(h := replace(how, slack=s)) >= best][-1]


def harm(scores: np.ndarray, choice: np.ndarray, right: np.ndarray) -> float:
    """Return the share (0-1) of rightly answered queries that become wrong.

    Args:
        scores: float (Q, G), refined.
        choice: int (Q,), the first choice before.
        right: bool (Q, G).
    """
    rows = np.arange(len(choice))
    had = right[rows, choice]
    lost = had & ~right[rows, scores.argmax(1)]
    return float(lost.sum() / max(1, had.sum()))


def _recall(scores: np.ndarray, right: np.ndarray) -> float:
    """Return the mean recall at 1, 5 and 10 in percent; a tie counts half a place."""
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    level = ((scores == best) & ~right).sum(1)
    rank = (scores > best).sum(1) + level / 2
    return 100 * float((rank[:, None] < np.array(KS)).mean())
