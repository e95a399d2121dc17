"""Which pairs to trust: losses against a fixed panel, remembered, turned to posteriors.

Explained in notebook 03. The known null is the idea: pair each caption with a random
image and you have as many certainly false pairs as you like. What the data shows is a
mixture of such pairs and true ones, so no Gaussian has to be assumed, and a clean data
set is seen to be clean.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression

from rsnb.errors import ParameterError, check_settings

__all__ = ["Judge", "Verdict", "draw", "gmm_posterior", "judge", "look",
           "null_posterior", "rivals"]  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """How training pairs are judged while a model learns.

    Attributes:
        every: epochs between looks; the first look comes before the first step.
        panel: images and captions that each pair's loss is measured against.
        memory: weight of earlier looks in the running mean of losses, in [0, 1).
        split: `"null"` (against random pairs) or `"gmm"` (two Gaussians, as NCR).
        sample: draw captions and images by their posterior instead of evenly.
        floor: smallest weight of a caption when `sample` is on, so that a pair that
            was misjudged early can come back.
        seed: of panel and random pairs.
    """

    every: int = 2
    panel: int = 1024
    memory: float = 0.5
    split: str = "null"
    sample: bool = True
    floor: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no run could mean."""
        check_settings(
            self, split=self.split in ("null", "gmm"), memory=0 <= self.memory < 1,
            every=self.every >= 1, panel=self.panel >= 2,
        )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What a judge says after a look.

    Attributes:
        loss: float32 (2, T), remembered panel losses i2t and t2i, log(panel + 1) at
            chance.
        null: float32 (2, T), the same of one random pair a caption.
        clean: float32 (3, T), posterior that the pair is true: by i2t, t2i, and both.
        rate: estimated share of false pairs.
    """

    loss: np.ndarray
    null: np.ndarray
    clean: np.ndarray
    rate: float

    def groups(self, high: float = 0.5, low: float = 0.05) -> np.ndarray:
        """Return int64 (T,): 0 clean, 1 ambiguous, 2 noisy; see `methods.Paced`."""
        both = self.clean[:2]
        return np.where((both > high).all(0), 0, np.where((both < low).all(0), 2, 1))


def rivals(gt: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (T,) for each caption one random image of n that is not its own, `gt`."""
    return (gt + rng.integers(1, n, len(gt))) % n


def look(
    img_emb: np.ndarray, txt_emb: np.ndarray, gt: np.ndarray, scale: float, how: Judge
) -> np.ndarray:
    """Return float32 (2, 2T): panel losses of the pairs, then of random pairs.

    Args:
        img_emb: (N, d) unit rows.
        txt_emb: (T, d) unit rows.
        gt: (T,) image of each caption, as given.
        scale: inverse temperature of the softmax.
        how: panel size and seed.
    """
    rng = np.random.default_rng((how.seed, 1))
    n, t = len(img_emb), len(txt_emb)
    wrong = rivals(gt, n, rng)
    images = np.sort(rng.permutation(n)[: how.panel])
    texts = np.sort(rng.permutation(t)[: how.panel])
    img, txt = torch.from_numpy(img_emb), torch.from_numpy(txt_emb)
    over_texts = torch.logsumexp(scale * img @ txt[texts].T, 1)
    parts = (scale * part @ img[images].T for part in txt.split(4096))
    over_images = torch.cat([torch.logsumexp(part, 1) for part in parts])
    out = []
    for row in (torch.from_numpy(gt), torch.from_numpy(wrong)):
        own = scale * (img[row] * txt).sum(1)
        # The pair itself stands among its rivals, so no loss is below 0.
        i2t = torch.logaddexp(over_texts[row], own) - own
        t2i = torch.logaddexp(over_images, own) - own
        out.append(torch.stack([i2t, t2i]))
    return torch.cat(out, 1).numpy()


def null_posterior(loss: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, float]:
    """Return (T,) posterior that a pair is true, and the estimated share of false ones.

    The share is twice the part of pairs that fit worse than the median random pair: few
    true pairs do. The posterior is 1 - share * f0 / f, where the ratio of densities of
    random and given pairs rises with the loss (isotonic regression).

    Args:
        loss: (T,) of the pairs as given.
        null: (R,) of random pairs.
    """
    rate = min(1.0, 2 * float((loss > np.median(null)).mean()))
    both = np.concatenate([loss, null])
    given = np.repeat([1.0, 0.0], [len(loss), len(null)])
    order = np.argsort(both, kind="stable")
    share = np.empty(len(both))
    share[order] = isotonic_regression(given[order], increasing=False).x
    p = np.clip(share[: len(loss)], 1e-6, 1)
    ratio = (1 - p) / p * len(loss) / len(null)
    return np.clip(1 - rate * ratio, 0, 1).astype(np.float32), rate


def gmm_posterior(loss: np.ndarray) -> tuple[np.ndarray, float]:
    """Return (T,) posterior of the lower of two Gaussians (NCR, Huang 2021, eq. 4)."""
    from sklearn.mixture import GaussianMixture

    x = (loss - loss.min()) / max(float(np.ptp(loss)), 1e-12)
    fit = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    low = fit.fit(x[:, None]).means_[:, 0].argmin()
    clean = fit.predict_proba(x[:, None])[:, low].astype(np.float32)
    return clean, 1 - float(clean.mean())


def judge(looks: np.ndarray, how: Judge) -> Verdict:
    """Return the verdict after all looks so far, (L, 2, 2T) as `look` gives them."""
    memory = looks[0]
    for now in looks[1:]:
        memory = how.memory * memory + (1 - how.memory) * now
    loss, null = np.split(memory, 2, axis=1)
    views = [(loss[0], null[0]), (loss[1], null[1]), (loss.sum(0), null.sum(0))]
    gmm = how.split == "gmm"
    found = [gmm_posterior(a) if gmm else null_posterior(a, b) for a, b in views]
    return Verdict(loss, null, np.stack([c for c, _ in found]), found[-1][1])


def draw(
    weight: np.ndarray, order: np.ndarray, first: np.ndarray, count: np.ndarray,
    images: np.ndarray, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return image rows and caption rows of one epoch, drawn by caption weights.

    An image comes as often as the chance that one of its captions is true allows
    (systematic resampling: the count is that share rounded up or down), and each time
    with a caption drawn in proportion to its weight.

    Args:
        weight: (T,) in [0, 1].
        order: caption rows sorted by image; `first` and `count` cut it by image.
        first: (N,) start of each image's captions in `order`.
        count: (N,) number of them.
        images: rows of images that have captions.
        rng: decides everything.
    """
    w = weight[order].astype(float)
    any_true = 1 - np.multiply.reduceat(1 - w, first[images])
    if any_true.sum() <= 0:
        raise ParameterError("the judge trusts no pair at all; is every caption wrong?")
    grid = np.cumsum(any_true) / any_true.sum() * len(images)
    copies = np.diff(np.floor(np.concatenate([[0], grid]) + rng.random()))
    rows = rng.permutation(np.repeat(images, copies.astype(int)))
    total = np.concatenate([[0], np.cumsum(w)])
    low, high = total[first[rows]], total[first[rows] + count[rows]]
    at = np.searchsorted(total, low + rng.random(len(rows)) * (high - low), "right") - 1
    at = np.clip(at, first[rows], first[rows] + count[rows] - 1)
    return rows, order[at]
