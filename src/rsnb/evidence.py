"""Evidence that a caption is wrong for its image, and the same of random pairs.

Explained in notebook 01. The images are cut in two halves, and each half judges the
other, so that no pair judges itself. `from_…` return name → (2, F, T): F losses of each
caption beside its image, then of each beside a random image.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from rsnb.backbones import Backbone
from rsnb.embed import embed_images, embed_texts
from rsnb.methods import Paced
from rsnb.pacing import Judge, look, rivals
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.train import TrainConfig, fit
from rsnb.words import split_words

__all__ = ["AuditConfig", "from_captions", "from_images", "halves"]

SHARP = 10.0  # inverse temperature of the likeness of two captions
Evidence = dict[str, np.ndarray]  # name -> (2, F, T)
Halves = list[tuple[np.ndarray, np.ndarray]]  # image rows, caption rows


@dataclass(frozen=True)
class AuditConfig:
    """How pairs are audited.

    Attributes:
        epochs: training of each half; 0 takes the backbone as it is.
        lr: peak learning rate; 1e-3 suits the small backbones, 1e-5 a published CLIP.
        side: pixels of the images in memory, from which windows are cut; the encoder's
            own side if that is larger.
        panel: images and captions that a pair is measured against.
        seed: of halves, random pairs and training.
    """

    epochs: int = 6
    lr: float = 1e-3
    side: int = 192
    panel: int = 1024
    seed: int = 0


def halves(pairs: Pairs, how: AuditConfig) -> Halves:
    """Return (image rows, caption rows) of each half, in the order of `subset`."""
    half = np.random.default_rng((how.seed, 2)).permutation(len(pairs)) % 2
    rows = np.argsort(pairs.gt, kind="stable")
    own = half[pairs.gt[rows]]
    return [(np.flatnonzero(half == k), rows[own == k]) for k in (0, 1)]


def from_images(pairs: Pairs, start: Backbone, how: AuditConfig) -> Evidence:
    """Return panel losses i2t and t2i, see `pacing.look`; all images need pixels.

    A half's own training gives `learned`, the mean over its looks; the other half's
    model gives `unseen`. Training is robust (`Paced`), or it would learn the wrong
    pairs by heart.
    """
    judge = Judge(every=2, panel=how.panel, seed=how.seed)
    side = max(how.side, start.image_size)
    pixels = load_pixels(pairs, side)
    out = {"unseen": np.zeros((2, 2, len(pairs.captions)), np.float32)}
    if how.epochs:
        out["learned"] = np.zeros_like(out["unseen"])
    two = halves(pairs, how)
    for (images, rows), (others, other_rows) in (two, two[::-1]):
        part, model = pairs.subset(images), start
        if how.epochs:
            cfg = TrainConfig(
                epochs=how.epochs, lr=how.lr, eval_every=how.epochs, average=0.98,
                min_scale=start.image_size / side, seed=how.seed,
                batch_size=min(128, len(others)),
            )  # fmt: skip
            run = fit(
                start, pairs.subset(others), pixels[others], part.subset(range(4)),
                pixels[images[:4]], cfg, Paced(judge=judge),
            )  # fmt: skip
            looks = [np.stack([v.loss, v.null]) for v in run.verdicts]
            model, out["learned"][:, :, other_rows] = run.last, np.mean(looks, 0)
        img = embed_images(model, pixels[images])
        txt = embed_texts(model, part.captions)
        scale = float(model.model.state_dict()["logit_scale"].exp().clamp(max=100))
        found = look(img, txt, part.gt, scale, judge)
        out["unseen"][:, :, rows] = np.stack(np.split(found, 2, 1))
    return out


def from_captions(pairs: Pairs, how: AuditConfig) -> Evidence:
    """Return what words alone say.

    `captions`: how unlike the image's other captions (latent semantic analysis), each
    text once, compared with captions at large; `class`: how improbable the image's
    class is for a classifier of captions that was fitted on the other half.
    """
    two, out = halves(pairs, how), {}
    random = np.zeros_like(pairs.gt)
    for images, rows in two:
        own = np.searchsorted(images, pairs.gt[rows])
        rng = np.random.default_rng((how.seed, 1))  # as `look` draws them
        random[rows] = images[rivals(own, len(images), rng)]
    places = np.stack([pairs.gt, random])
    texts = [" ".join(split_words(c)) for c in pairs.captions]
    emb = _lsa(texts)
    if emb is not None and np.bincount(pairs.gt).max() > 1:
        out["captions"] = _unlike(emb, texts, places, how)
    kinds, label = np.unique(pairs.label, return_inverse=True)
    if emb is not None and len(kinds) > 1 and "" not in kinds:
        found = np.zeros((2, 1, len(texts)), np.float32)
        for (_, rows), (_, other) in (two, two[::-1]):
            if len(np.unique(label[pairs.gt[other]])) > 1:
                model = LogisticRegression(C=10.0, max_iter=200)
                model.fit(emb[other], label[pairs.gt[other]])
                table = np.full((len(rows), len(kinds)), -10.0)
                table[:, model.classes_] = model.predict_log_proba(emb[rows])
                at = label[places[:, rows]]
                found[:, 0, rows] = -np.maximum(table[np.arange(len(rows)), at], -10)
        out["class"] = found
    return out


def _lsa(texts: list[str]) -> np.ndarray | None:
    """Return float32 (T, up to 128), unit rows; None if no word is seen twice."""
    tfidf = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        bags = tfidf.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        return None
    if bags.shape[1] < 3:
        return None
    emb = TruncatedSVD(min(128, bags.shape[1] - 1), random_state=0).fit_transform(bags)
    norm = np.linalg.norm(emb, axis=1, keepdims=True)
    return (emb / np.maximum(norm, 1e-9)).astype(np.float32)


def _unlike(
    emb: np.ndarray, texts: list[str], places: np.ndarray, how: AuditConfig
) -> np.ndarray:
    """Return float32 (2, 1, T), minus log of the mean likelihood ratio."""
    rng = np.random.default_rng((how.seed, 3))
    ids = np.unique(texts, return_inverse=True)[1]
    # Distinct texts of each image, as a table: copies of one text are one witness.
    keys = np.stack([places[0], ids], 1)
    order = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    order = order[np.argsort(places[0][order], kind="stable")]
    owner = places[0][order]
    count = np.bincount(owner, minlength=places.max() + 1)
    table = np.full((len(count), count.max()), -1)
    table[owner, np.arange(len(owner)) - (np.cumsum(count) - count)[owner]] = order
    panel = emb[rng.permutation(len(ids))[: how.panel]]
    out = np.zeros((2, 1, len(ids)), np.float32)
    for rows in np.array_split(np.arange(len(ids)), max(1, len(ids) // 4096)):
        at_large = np.exp(SHARP * emb[rows] @ panel.T).mean(1)
        for k, place in enumerate(places[:, rows]):
            near = table[place]
            if k:  # as many remain as where the caption itself is left out
                lost = (rng.random(len(rows)) * count[place]).astype(int)
                near[np.arange(len(rows)), lost] = -1
            use = (near >= 0) & (ids[near] != ids[rows][:, None])
            like = np.exp(SHARP * np.einsum("td,tkd->tk", emb[rows], emb[near]))
            # Half a witness who says nothing keeps the ratio away from 0.
            ratio = ((use * like).sum(1) / at_large + 0.5) / (use.sum(1) + 0.5)
            out[k, 0, rows] = -np.log(ratio)
    return out
