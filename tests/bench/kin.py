"""Two relatives of other papers on the embedded world: a second look, and binary codes.

    python tests/bench/kin.py [--write] [--quick]

*Second look*: the K best by the cosine of a ViT are ordered anew by a similarity of its
tokens: RRSITR's Frobenius norm (global–local re-ranking), or the cosine of a caption
with patches pooled as the caption weighs them (our reading of fast-then-fine). K and
weight are chosen on validation, sixteen settings a direction as for all re-rankers;
test is scored once. Three of the ViTs were trained with the local term, by
`local_index.py` (over an hour each on two cores if they are not in the cache).

*Binary codes* of frozen embeddings: random directions, ITQ, and maps that are learned
on training pairs of which 60 % are false, by InfoNCE or by `Paced`; by InfoNCE on true
pairs for comparison. Rates are chosen on validation, at 64 bits, with a draw of their
own. Gallery and queries are coded; for product quantisation the gallery alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import faiss
import numpy as np
import torch
from local_index import Part, see, trained

from rsnb import backbones, noise, report
from rsnb.backbones import Backbone
from rsnb.data import load
from rsnb.embed import embed
from rsnb.hashing import Hash, agreement, learn
from rsnb.methods import InfoNCE, Paced
from rsnb.metrics import Recall, evaluate, similarity
from rsnb.pairs import Pairs
from rsnb.rerank import second_look
from rsnb.stats import bootstrap_ci, paired_permutation
from rsnb.twoway import TwoWay, Way

SHARP = 10.0  # inverse temperature of a caption's weights over patches
ALL = 10**6  # the whole gallery
KS = (10, 30, 100, ALL)
WEIGHTS = {"local": (0.003, 0.03, 0.3, 1.0), "guided": (0.1, 0.25, 0.5, 0.75)}
PUBLISHED = {"RRSITR": 0.1, "EBAKER": 0.4}  # weights of the local similarity, of all
BITS = (16, 32, 64, 128, 256, 512)
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
RATE, TUNE, TUNE_BITS = 0.6, 9, 64
LEARNED = {
    "InfoNCE, no noise": (InfoNCE(), 0.0),
    "InfoNCE": (InfoNCE(), RATE),
    "ours": (Paced(), RATE),
}


# A second look


def guided(part: Part) -> np.ndarray:
    """Return (distinct T, N), cosines of captions with patches that they weigh."""
    out, tokens = [], part.img_tokens
    gram = tokens @ tokens.transpose(1, 2)
    for txt in part.txt.split(64):
        cosine = tokens @ txt.T  # (N, P, 64)
        weight = (SHARP * cosine).softmax(1)
        norm = (weight * (gram @ weight)).sum(1).sqrt()  # of the weighted sum
        out.append((weight * cosine).sum(1) / norm)
    return torch.cat(out, 1).T.contiguous().numpy()


class Looks:
    """A split's cosines and second similarities, captions in rows."""

    def __init__(self, part: Part) -> None:
        txt, img, self.gt = part.txt.numpy()[part.of], part.img.numpy(), part.gt
        sim = similarity(txt, img).astype(float)
        self.ways = Way(txt, img, sim), Way(img, txt, sim.T)
        self.near = {"local": part.local[part.of], "guided": guided(part)[part.of]}

    def score(self, kind: str, t2i: Sequence[float], i2t: Sequence[float]) -> Recall:
        """Return the recall with (K, weight) for either direction."""
        near = self.near[kind]
        one = second_look(self.ways[0], near, *t2i)
        return TwoWay(one, second_look(self.ways[1], near.T, *i2t).T).evaluate(self.gt)

    def tune(self, kind: str, ks: Sequence[int] = KS) -> list[tuple[float, float]]:
        """Return the best (K, weight) of either direction, the first of equals."""
        grid = list(product(ks, WEIGHTS[kind]))
        found = [self.score(kind, at, at) for at in grid]
        hits = np.array([(r.t2i_hits.mean(), r.i2t_hits.mean()) for r in found])
        return [grid[i] for i in hits.argmax(0)]


def against(a: Recall, b: Recall) -> dict[str, Any]:
    """Return mR of A, and what it has more than B."""
    span = bootstrap_ci(a, minus=b, n=2000)
    return {"mR": a.mR, "gain": a.mR - b.mR, "low": span.low, "high": span.high,
            "p": paired_permutation(a, b, n=5000)}  # fmt: skip


def looked(model: Backbone, most: int) -> dict[str, Any]:
    """Return what a second look gives on test, settings from validation."""
    val, test = (Looks(see(model, split, most)) for split in ("val", "test"))
    plain = TwoWay(test.ways[0].sim, test.ways[0].sim).evaluate(test.gt)
    out: dict[str, Any] = {"weights": model.digest, "global": plain.mR}
    for kind in WEIGHTS:
        best = val.tune(kind)
        row = against(test.score(kind, *best), plain)
        row |= {"t2i": best[0], "i2t": best[1]}
        out[kind] = row
    for name, weight in PUBLISHED.items():
        at = (ALL, weight)
        out[name] = against(test.score("local", at, at), plain)
    return out


# Binary codes


def coded(code: Hash, emb: Any, gt: np.ndarray) -> Recall:
    """Return the recall of Hamming distances."""
    codes = code.encode_texts(emb.txt), code.encode_images(emb.img)
    return evaluate(agreement(*codes), gt)


def quantised(kind: str, train: Any, test: Any, gt: np.ndarray) -> Recall:
    """Return the recall with the gallery of either direction product-quantised."""
    out = []
    for learnt, gallery, query in (
        (train.img, test.img, test.txt), (train.txt, test.txt, test.img),
    ):  # fmt: skip
        index = faiss.index_factory(gallery.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.min_points_per_centroid = 1  # 4,000 images are what there is
        index.train(learnt[: 256 * 64])
        back = index.sa_decode(index.sa_encode(gallery))
        out.append(similarity(query, back).astype(float))
    return TwoWay(out[0], out[1].T).evaluate(gt)


def halves(emb: Any, gt: np.ndarray) -> Recall:
    """Return the recall of embeddings in two bytes a number."""
    low = (x.astype(np.float16).astype(np.float32) for x in (emb.txt, emb.img))
    return evaluate(similarity(*low), gt)


def mean(recalls: Sequence[Recall]) -> Recall:
    """Return one recall whose hits are means over seeds, query by query."""
    t2i, i2t = (np.mean([getattr(r, f"{w}_hits") for r in recalls], 0)
                for w in ("t2i", "i2t"))  # fmt: skip
    return replace(recalls[0], t2i_hits=t2i, i2t_hits=i2t)


def band(recalls: Sequence[Recall]) -> dict[str, Any]:
    """Return the mR of each seed, their mean, and R@1 both ways."""
    each = [r.mR for r in recalls]
    both = mean(recalls).as_dict()
    return {"mR": both["mR"], "low": min(each), "high": max(each), "each": each,
            "t2i_r1": both["t2i_r1"], "i2t_r1": both["i2t_r1"]}  # fmt: skip


def hashes(
    name: str, data: Pairs, seeds: Sequence[int], bits: Sequence[int],
    rates: Sequence[float], epochs: int,
) -> dict[str, Any]:  # fmt: skip
    """Return curves of one backbone: form → bytes → recall on test."""
    model = backbones.load(name)
    train, val, test = (data.where(s) for s in ("train", "val", "test"))
    seen, seen_val, seen_test = (embed(model, p) for p in (train, val, test))
    row = {c: i for i, c in enumerate(train.captions)}

    def trial(how: tuple[Any, float], size: int, seed: int, lr: float) -> Hash:
        moved = noise.draw(train, how[1], seed=42 + seed).apply(train)
        txt = seen.txt[[row[c] for c in moved.captions]]
        return learn(seen.img, txt, moved.gt, size, method=how[0], lr=lr,
                     epochs=epochs, seed=seed)  # fmt: skip

    tuned = {
        form: [coded(trial(how, TUNE_BITS, TUNE, lr), seen_val, val.gt).mR
               for lr in rates]
        for form, how in LEARNED.items()
    }  # fmt: skip
    rate = {form: rates[int(np.argmax(mRs))] for form, mRs in tuned.items()}
    curves: dict[str, dict[int, list[Recall]]] = {}

    def put(form: str, size: int, *recalls: Recall) -> None:
        curves.setdefault(form, {})[size] = list(recalls)

    d = seen.img.shape[1]
    for b in bits:
        put("random directions", b // 8, *(
            coded(Hash.random(seen.img, seen.txt, b, s), seen_test, test.gt)
            for s in seeds))  # fmt: skip
        if b <= d:
            put("ITQ", b // 8, *(
                coded(Hash.itq(seen.img, seen.txt, b, s), seen_test, test.gt)
                for s in seeds))  # fmt: skip
        for form, how in LEARNED.items():
            put(form, b // 8, *(
                coded(trial(how, b, s, rate[form]), seen_test, test.gt)
                for s in seeds))  # fmt: skip
        if len(train) >= 256:  # as many as a part has centres
            put("PQ", b // 8, quantised(f"PQ{b // 8}", seen, seen_test, test.gt))
        at = {f: round(mean(c[b // 8]).mR, 2) for f, c in curves.items() if b // 8 in c}
        print(name, b, at, flush=True)
    plain = evaluate(similarity(seen_test.txt, seen_test.img), test.gt)
    gaps = {
        f"{one} > {two}": {
            b // 8: against(mean(curves[one][b // 8]), mean(curves[two][b // 8]))
            for b in bits if b // 8 in curves[two]
        }
        for one, two in (("ours", "InfoNCE"), ("ours", "ITQ"), ("InfoNCE", "ITQ"))
    }  # fmt: skip
    return {
        "weights": model.digest, "dim": d, "float32": plain.mR, "bytes": 4 * d,
        "float16": halves(seen_test, test.gt).mR,
        "validation": {f: dict(zip(map(str, rates), mRs, strict=True))
                       for f, mRs in tuned.items()},
        "rate": rate, "gaps": gaps,
        "curves": {f: {n: band(r) for n, r in c.items()} for f, c in curves.items()},
    }  # fmt: skip


def measure(quick: bool = False) -> dict[str, Any]:
    """Return all figures."""
    seeds, data = [0, 1, 2], load("world")
    if quick:
        val, test = (np.flatnonzero(np.array(data.split) == s) for s in ("val", "test"))
        data = data.subset(np.concatenate([val[:100], test[:60]]))  # the small splits
        few = ("train",) * 100 + ("val",) * 30 + ("test",) * 30
        data = replace(data, split=few)
        models = {"world-vit": backbones.load("world-vit")}
        how: dict[str, Any] = {"bits": (16, 64), "rates": (1e-2, 3e-2), "epochs": 1}
        seeds, names = [0], ("source-rn-0",)
    else:
        models = {n: backbones.load(n) for n in ("world-vit", "source-vit-0")}
        models |= {f"RRSITR, seed {s}": trained(s) for s in seeds}
        how = {"bits": BITS, "rates": RATES, "epochs": 5}
        names = ("world-rn-robust", "source-rn-0")
    looks = {n: looked(m, 30 if quick else ALL) for n, m in models.items()}
    for name, row in looks.items():
        print(name, row, flush=True)
    settings = len(KS) * len(WEIGHTS["local"])
    return {
        "looks": looks, "settings": settings, "noise": RATE, "seeds": len(seeds),
        "rates_tried": len(how["rates"]), "tuned_at_bits": TUNE_BITS,
        "epochs": how["epochs"],
        "hashes": {n: hashes(n, data, seeds, **how) for n in names},
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run, and with --write keep a receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="keep a receipt")
    args = parser.parse_args(argv)
    if args.write and args.quick:
        parser.error("no receipt of a quick run")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    figures = measure(args.quick)
    for name, found in figures["hashes"].items():
        print(name, found["float32"], found["rate"], found["validation"])
        for pair, rows in found["gaps"].items():
            print(pair, {n: (round(r["gain"], 2), r["p"]) for n, r in rows.items()})
    if args.write:
        report.record(
            "kin-world", figures, command="python tests/bench/kin.py --write",
            inputs={"data": load("world").source.get("sha256")}, seeds=[0, 1, 2, TUNE],
        )  # fmt: skip


if __name__ == "__main__":
    main()
