"""Which captions are wrong for their image: evidence, one calibrated score, reasons.

Explained in notebook 01. All evidence is taken twice: of the pairs as given, and of
each caption beside a random image, which is wrong almost surely. What is given is a
mixture of such pairs and true ones; how much of either decides the score.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from sklearn.linear_model import LogisticRegression

from rsnb import evidence as ev
from rsnb.backbones import Backbone
from rsnb.errors import ParameterError
from rsnb.evidence import AuditConfig, Evidence, Halves
from rsnb.facts import named_classes
from rsnb.pacing import null_posterior
from rsnb.pairs import Pairs
from rsnb.words import split_words

__all__ = ["WORDING", "AuditConfig", "Mismatches", "combine", "mismatches"]

#: evidence → what it says against a pair.
WORDING: Mapping[str, str] = MappingProxyType({
    "unseen": "does not fit, to a model that never saw the pair",
    "learned": "not taken up by a model that was trained on it",
    "captions": "unlike the image's other captions",
    "class": "reads like another class",
})  # fmt: skip
SUSPECT = 0.1  # few true pairs are beaten by this share of random pairs
SMALLEST = 8  # images; below it there is no null to speak of
ROUNDS = 5
# Bytes that were lost, or a file's name inside the sentence.
_BROKEN = re.compile(r"\ufffd|\b(jpe?g|tiff?|png)\b|\b[a-z]+_\d+", re.I)


@dataclass(frozen=True)
class Mismatches:
    """The audit of a data set, a row a caption.

    Attributes:
        pairs: what was audited.
        score: float32 (T,), probability that the caption is wrong for its image.
        rate: estimated share of wrong captions.
        evidence: name (see `WORDING`) → float32 (T,), share of random pairs that fit
            better than this one: near 0 for a true pair, evenly in [0, 1] for a wrong
            one, NaN where there is no such evidence.
        broken: what is wrong with the text itself, `""` for nothing; its score is 1.
        names: classes that a caption names if it does not name its image's.
    """

    pairs: Pairs
    score: np.ndarray
    rate: float
    evidence: Mapping[str, np.ndarray]
    broken: tuple[str, ...]
    names: tuple[str, ...]

    def ranking(self) -> np.ndarray:
        """Return caption rows, the most suspicious first; ties by mean evidence."""
        table = np.stack([*self.evidence.values(), np.zeros_like(self.score)])
        return np.lexsort((-np.nanmean(table, 0), -self.score))

    def reasons(self, t: int) -> str:
        """Return what speaks against caption `t`, the strongest first, in words."""
        found = [f"the text {self.broken[t]}"] if self.broken[t] else []
        for name, share in sorted(self.evidence.items(), key=lambda e: -e[1][t]):
            if share[t] >= SUSPECT:
                named = self.names[t] if name == "class" else ""
                more = f", names {named}" if named else ""
                found.append(f"{WORDING[name]} ({share[t]:.0%}{more})")
        return "; ".join(found)


def mismatches(
    pairs: Pairs, backbone: Backbone | None = None, how: AuditConfig | None = None
) -> Mismatches:
    """Audit the pairs: how probable is it that each caption is wrong for its image?

    Near-duplicate images should be few, or one half has seen what it judges.

    Args:
        pairs: at least 8 images, best one split. Images without pixels are judged by
            captions and classes alone.
        backbone: where training starts or, with `epochs=0`, the judge itself. It should
            not know these pairs. Without it no pixel is used.
        how: see `AuditConfig`.

    Raises:
        ParameterError: too few images, or no evidence at all: no backbone, no classes
            and no image with two captions.
    """
    how = how or AuditConfig()
    seen = pairs.has_pixels
    score, rate, evidence = _judged(pairs, backbone if seen.all() else None, how)
    if backbone and SMALLEST <= seen.sum() < len(seen):
        rows = np.flatnonzero(seen[pairs.gt])
        rows = rows[np.argsort(pairs.gt[rows], kind="stable")]
        share, rest = len(rows) / len(score), rate
        score[rows], rate, better = _judged(pairs.subset(seen), backbone, how)
        rate = share * rate + (1 - share) * rest
        for name, values in better.items():
            whole = np.full(len(score), np.nan, np.float32)
            evidence.setdefault(name, whole)[rows] = values
    own, named = named_classes(pairs)
    label = dict(zip(own, pairs.label, strict=True))
    names = tuple(
        "" if own[i] in found else " and ".join(sorted(label[c] for c in found))
        for found, i in zip(named, pairs.gt.tolist(), strict=True)
    )
    broken = tuple(map(_fault, pairs.captions))
    return Mismatches(pairs, score, rate, evidence, broken, names)


def _fault(text: str) -> str:
    if hit := _BROKEN.search(text):
        return f"holds {hit.group()!r}"
    return "" if split_words(text) else "has no words"


def _judged(
    pairs: Pairs, backbone: Backbone | None, how: AuditConfig,
) -> tuple[np.ndarray, float, Evidence]:  # fmt: skip
    """Return score, rate and evidence as in `Mismatches`."""
    if len(pairs) < SMALLEST:
        few = f"{pairs.name}: {len(pairs)} images are too few to audit"
        raise ParameterError(f"{few}; {SMALLEST} are needed.")
    found = ev.from_images(pairs, backbone, how) if backbone else {}
    found |= ev.from_captions(pairs, how)
    if not found:
        lack = "no backbone with pixels, no classes, no image with two captions"
        raise ParameterError(f"{pairs.name}: {lack}. Name a backbone.")
    good = np.array([not _fault(c) for c in pairs.captions])
    loss, null = combine(found, ev.halves(pairs, how))
    clean, rate = null_posterior(loss[good], null[good])
    score = np.ones(len(good), np.float32)
    score[good] = 1 - clean
    rate = float((rate * good.sum() + (~good).sum()) / len(good))
    return score, rate, {k: _beaten(*v.sum(1)) for k, v in found.items()}


def combine(found: Evidence, two: Halves) -> tuple[np.ndarray, np.ndarray]:
    """Return one loss of the given pairs (T,) and of the random ones (T,).

    Logistic regression of true against wrong pairs, where random pairs are wrong and a
    given pair counts as true to the degree that the last round believed it (EM; the
    problem of Elkan and Noto 2008, with the class prior from `null_posterior`). Each
    half is weighed by coefficients from the other.

    Args:
        found: name → (2, F, T), see `rsnb.evidence`; the first starts the rounds.
        two: see `evidence.halves`.
    """
    first = next(iter(found.values())).sum(1)
    clean, _ = null_posterior(*first)
    x = np.concatenate(list(found.values()), 1).transpose(0, 2, 1)
    x = (x - x[1].mean(0)) / np.maximum(x[1].std(0), 1e-9)
    loss = np.zeros(x.shape[:2])
    for _ in range(ROUNDS):
        for (_, rows), (_, other) in (two, two[::-1]):
            n, believed = len(other), clean[other]
            weight = np.concatenate([believed, 1 - believed, np.ones(n)]) + 1e-9
            seen, wrong = x[[0, 0, 1]][:, other].reshape(3 * n, -1), [0, 1, 1]
            model = LogisticRegression().fit(seen, np.repeat(wrong, n), weight)
            for k in (0, 1):
                loss[k, rows] = model.decision_function(x[k, rows])
        clean, _ = null_posterior(*loss)
    return loss[0], loss[1]


def _beaten(loss: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the share of random pairs with a smaller loss; ties count half."""
    null = np.sort(null)
    below, level = (np.searchsorted(null, loss, side) for side in ("left", "right"))
    return ((below + level) / (2 * len(null))).astype(np.float32)
