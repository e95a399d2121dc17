"""RRSITR's local similarity searched in an index: recall and ranks by bytes, and time.

    python tests/bench/local_index.py [--seeds 0 1 2] [--rounds 5] [--write] [--quick]

A small ViT is trained with the published RRSITR loss on the world, once for each seed
(90 s on one H200, over an hour here; kept under `RSNB_CACHE`). Maps and quantisers are
learned from its tokens of training images and captions; form, rank and quantiser are
chosen on validation. The test split is scored with that choice, and with the longest
code, which needs no choosing. A query is never compressed. For image to text the
captions are the gallery, and are compressed likewise; mR counts both directions.
Compared with the exact local similarity alone, with the global one, their published
sum, a ViT that InfoNCE trained, and an untrained one.

`--quick` does all of it with few items and a shipped ViT, as the tests do.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau
from timing import interleave
from torch import Tensor

from rsnb import backbones, recipes, report
from rsnb.backbones import Backbone
from rsnb.cache import cache_dir
from rsnb.data import load
from rsnb.files import read_json, receipt_path
from rsnb.index import Searcher
from rsnb.local import image_tokens, local_similarity, text_tokens
from rsnb.localindex import LocalCode, LocalIndex, gram_halves, similarity_of
from rsnb.metrics import Recall, evaluate
from rsnb.pixels import load_pixels
from rsnb.rrsitr import RRSITR
from rsnb.train import fit
from rsnb.trials import PLANS

RANKS = (15, 31, 63, 127)
FORMS = ("both sides", "PCA of Gram", "random", "PCA of tokens")
KINDS = ("float32", "float16", "int8", "int4")
FACTORY = {"float16": "SQfp16", "int8": "SQ8", "int4": "SQ4"}
RATIO, AGREE, BYTES = 0.99, 0.9, 2048  # what the choice must keep, on each seed


@dataclass(frozen=True)
class Part:
    """One split as a backbone sees it; captions are distinct, `of` names each row's."""

    img: Tensor
    txt: Tensor
    img_tokens: Tensor
    txt_tokens: Tensor
    gt: np.ndarray
    of: np.ndarray

    @property
    def local(self) -> np.ndarray:
        """Return (distinct T, N), the exact local similarity."""
        return local_similarity(self.img_tokens, self.txt_tokens).numpy()

    def recall(self, t2i: np.ndarray, i2t: np.ndarray) -> Recall:
        """Return the recall of two matrices (distinct T, N), one a direction."""
        one, two = (evaluate(np.ascontiguousarray(s[self.of]), self.gt)
                    for s in (t2i, i2t))  # fmt: skip
        return replace(one, i2t_hits=two.i2t_hits, i2t_ranks=two.i2t_ranks)


def trained(seed: int, device: str = "cpu") -> Backbone:
    """Return the ViT that RRSITR's published loss trained, from the cache if there."""
    name, data = f"source-vit-{seed % 2}", load("world")
    cfg = replace(PLANS["world-vit"].cfg, lr=1e-3, batch_size=100, seed=seed,
                  epochs=60, eval_every=15)  # fmt: skip
    path = cache_dir() / "local-index" / f"rrsitr-{seed}.safetensors"
    facts = {"start": name, "config": repr(cfg)}
    receipt = receipt_path(path)
    known = read_json(receipt) if receipt.is_file() else {}
    if any(known.get(k) != v for k, v in facts.items()):
        start = backbones.load(name, device=device)
        train, val = data.where("train"), data.where("val")
        seen = load_pixels(train, 192), load_pixels(val, start.image_size)
        done = fit(start, train, seen[0], val, seen[1], cfg, RRSITR())
        log = [e["val_mR"] for e in done.log]
        backbones.save(path, done.backbone, **facts, val_mR=log)
    return backbones.load(str(path))


@torch.inference_mode()
def see(model: Backbone, split: str, most: int, texts: int = 0) -> Part:
    """Return a split's first `most` images and their captions, or `texts` of them."""
    pairs = load("world").where(split)
    pairs = pairs.subset(np.arange(min(most, len(pairs))))
    captions = list(dict.fromkeys(pairs.captions))
    row = {c: i for i, c in enumerate(captions)}
    of = np.array([row[c] for c in pairs.captions])
    if texts:
        captions = [captions[i] for i in np.random.default_rng(0).permutation(
            len(captions))[:texts]]  # fmt: skip
    pixels = load_pixels(pairs, model.image_size)
    images = [image_tokens(model.model, model.prepare(pixels[i : i + 64]))
              for i in range(0, len(pixels), 64)]  # fmt: skip
    words = [text_tokens(model.model, model.tokenize(captions[i : i + 256]))
             for i in range(0, len(captions), 256)]  # fmt: skip
    (img, patches), (txt, tokens) = (
        [torch.cat(x) for x in zip(*parts, strict=True)] for parts in (images, words)
    )
    img, txt = (F.normalize(x.float(), dim=-1) for x in (img, txt))
    return Part(img, txt, patches, tokens, pairs.gt, of)


def agree(a: np.ndarray, b: np.ndarray, k: int = 10) -> float:
    """Return the share of the k best columns that two matrices have in common."""
    best = [np.argsort(-x, 1, kind="stable")[:, :k] for x in (a, b)]
    return float((best[0][:, :, None] == best[1][:, None]).any(2).mean())


def against(part: Part, exact: np.ndarray, t2i: np.ndarray, i2t: np.ndarray) -> dict:
    """Return mR, its ratio to the exact, and what the ten best have in common."""
    mR, whole = part.recall(t2i, i2t).mR, part.recall(exact, exact).mR
    return {"mR": mR, "ratio": mR / whole, "top10_t2i": agree(t2i, exact),
            "top10_i2t": agree(i2t.T, exact.T)}  # fmt: skip


def gram(tokens: Tensor) -> Tensor:
    """Return all Gram halves at once, which `LocalCode` never does."""
    return torch.cat([g for _, g in gram_halves(tokens)])


def cut(code: LocalCode, rank: int) -> LocalCode:
    """Return the code with its first `rank` directions and the level."""
    keep = [*range(rank), -1]
    a, b, c, d = (x[..., keep] for x in (
        code.img_map, code.img_shift, code.txt_map, code.txt_shift))  # fmt: skip
    return LocalCode(a, b, c, d)


def forms(train: Part, val: Part, code: LocalCode, ranks: list[int]) -> dict[str, Any]:
    """Return form → numbers an item → how near it comes on validation, in float32.

    All have the two levels, except token PCA, whose Gram halves stay as they are.
    """
    exact, out = val.local, {f: {} for f in FORMS}
    g_img, g_txt = gram(train.img_tokens), gram(train.txt_tokens)
    v_img, v_txt = gram(val.img_tokens), gram(val.txt_tokens)
    m_img, m_txt = g_img.mean(0), g_txt.mean(0)
    level = (v_txt @ m_img)[:, None] + (v_img - m_img) @ m_txt
    # Right singular vectors of the Gram halves of training images: small side first.
    kernel = ((g_img - m_img) @ (g_img - m_img).T).double()
    values, vectors = (x.flip(-1) for x in torch.linalg.eigh(kernel))
    tok = train.img_tokens.flatten(0, 1)
    axes = torch.linalg.eigh((tok.T @ tok).double())[1].flip(1).float()
    gen = torch.Generator().manual_seed(0)
    for r in ranks:
        pca = (g_img - m_img).T @ (vectors[:, :r] / values[:r].sqrt()).float()
        mixed = torch.randn(len(m_img), r, generator=gen) / r**0.5
        for form, basis in (("PCA of Gram", pca), ("random", mixed)):
            square = ((v_txt - m_txt) @ basis) @ ((v_img - m_img) @ basis).T + level
            est = square.clamp(min=0).sqrt().numpy()
            out[form][r + 1] = against(val, exact, est, est)
        few = int((2 * (r + 1) + 0.25) ** 0.5 - 0.5)  # few·(few + 1)/2 numbers
        est = local_similarity(val.img_tokens @ axes[:, :few],
                               val.txt_tokens @ axes[:, :few]).numpy()  # fmt: skip
        out["PCA of tokens"][few * (few + 1) // 2] = against(val, exact, est, est)
        small = cut(code, r)
        est = similarity_of(small.encode_texts(val.txt_tokens),
                            small.encode_images(val.img_tokens))  # fmt: skip
        out["both sides"][r + 1] = against(val, exact, est, est)
    return out


def packed(kind: str, learn: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return codes after a quantiser learned from training codes, and bytes an item."""
    d = codes.shape[1]
    if kind == "float32":
        return codes, 4 * d
    weight = np.sqrt(np.square(learn).mean(0))  # as `LocalIndex` does
    weight[-1], mean = 1, np.append(np.zeros(d - 1, np.float32), learn[:, -1].mean())
    ready, x = ((c - mean) * weight for c in (learn, codes))
    quantiser = faiss.index_factory(d, FACTORY.get(kind, f"RR{d},{kind}"))
    if kind not in FACTORY:  # few points a centroid: all there are
        inner = faiss.downcast_index(quantiser.index)
        inner.pq.cp.min_points_per_centroid = 1
    faiss.omp_set_num_threads(1)  # two that meet in small products stall each other
    quantiser.train(np.ascontiguousarray(ready, np.float32))
    data = quantiser.sa_encode(np.ascontiguousarray(x, np.float32))
    back = quantiser.sa_decode(data) / weight + mean
    return back.astype(np.float32), data.shape[1]


def quantised(
    train: Part, val: Part, code: LocalCode, ranks: list[int], kinds: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return a row for each rank and quantiser, on validation."""
    exact, rows = val.local, []
    learn = code.encode_images(train.img_tokens), code.encode_texts(train.txt_tokens)
    plain = code.encode_images(val.img_tokens), code.encode_texts(val.txt_tokens)
    for r in ranks:
        keep = [*range(r), -1]
        img, txt = (x[:, keep] for x in plain)
        for kind in kinds:
            if kind.startswith("PQ") and (r + 1) % int(kind[2:]):
                continue
            low, size = packed(kind, learn[0][:, keep], img)
            low_txt, _ = packed(kind, learn[1][:, keep], txt)
            t2i, i2t = similarity_of(txt, low), similarity_of(low_txt, img)
            row = {"rank": r, "kind": kind, "bytes": size}
            rows.append({**row, **against(val, exact, t2i, i2t)})
    return rows


def chosen(seeds: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the smallest setting that keeps enough on the validation of every seed."""
    at = sorted(zip(*seeds, strict=True), key=lambda rows: rows[0]["bytes"])
    for rows in at:
        fine = all(
            r["ratio"] >= RATIO and min(r["top10_t2i"], r["top10_i2t"]) >= AGREE
            for r in rows
        )
        if fine and rows[0]["bytes"] <= BYTES:
            return {k: rows[0][k] for k in ("rank", "kind", "bytes")}
    return {k: at[-1][0][k] for k in ("rank", "kind", "bytes")}


def whole(index: LocalIndex, queries: np.ndarray, size: int) -> np.ndarray:
    """Return (Q, N) from a search for everything."""
    rows, found = index.search(queries, size)
    out = np.empty_like(found)
    np.put_along_axis(out, rows, found, 1)
    return out


def tested(
    model: Backbone, train: Part, test: Part, code: LocalCode, choice: dict[str, Any]
) -> dict[str, Any]:
    """Return the scores of the test split with the choice."""
    exact, near = test.local, (test.txt @ test.img.T).numpy()
    img, txt = code.encode_images(test.img_tokens), code.encode_texts(test.txt_tokens)
    learn = code.encode_images(train.img_tokens), code.encode_texts(train.txt_tokens)
    low, _ = packed(choice["kind"], learn[0], img)
    low_txt, _ = packed(choice["kind"], learn[1], txt)
    # The index is over what those bytes say, so it must rank by it.
    t2i = whole(LocalIndex(low, "Flat"), txt, len(img))
    i2t = whole(LocalIndex(low_txt, "Flat"), img, len(txt)).T
    for a, b in ((t2i, similarity_of(txt, low)), (i2t, similarity_of(low_txt, img))):
        np.testing.assert_allclose(a, b, atol=2e-3)
    own = LocalIndex(img, "SQ8"), LocalIndex(txt, "SQ8")  # as one calls it
    sq8 = whole(own[0], txt, len(img)), whole(own[1], img, len(txt)).T
    tau = [np.mean([kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)])
           for x, y in ((t2i, exact), (i2t.T, exact.T))]  # fmt: skip
    fused = [test.recall(*(0.9 * near + 0.1 * s for s in pair)).mR
             for pair in ((exact, exact), (t2i, i2t))]  # fmt: skip
    return {
        "weights": model.digest, "exact_mR": test.recall(exact, exact).mR,
        "index": {**against(test, exact, t2i, i2t), "tau_t2i": tau[0],
                  "tau_i2t": tau[1]},
        "index_sq8": against(test, exact, *sq8),
        "global_mR": test.recall(near, near).mR,
        "fused_exact_mR": fused[0], "fused_index_mR": fused[1],
    }  # fmt: skip


def alone(model: Backbone, part: Part) -> dict[str, float]:
    """Return the test scores of a backbone that the loss has not trained."""
    local, near = part.local, (part.txt @ part.img.T).numpy()
    both = 0.9 * near + 0.1 * local
    return {"local_mR": part.recall(local, local).mR, "weights": model.digest,
            "global_mR": part.recall(near, near).mR,
            "fused_mR": part.recall(both, both).mR}  # fmt: skip


def speed(gallery: Part, test: Part, code: LocalCode, rounds: int) -> dict[str, Any]:
    """Return milliseconds a query and bytes an image over the training images."""
    n, queries = len(gallery.img), min(32, len(test.txt))
    codes = code.encode_images(gallery.img_tokens)
    halves, k = gram(gallery.img_tokens), min(10, n)
    wide, first = min(100, n), Searcher(gallery.img.numpy())
    indexes = {kind: LocalIndex(codes, kind) for kind in ("Flat", "SQ8")}

    def exact(t: int) -> np.ndarray:
        tokens = test.txt_tokens[t : t + 1]
        return local_similarity(gallery.img_tokens, tokens)[0].topk(k)[1].numpy()

    def grams(t: int) -> np.ndarray:
        return (halves @ gram(test.txt_tokens[t : t + 1])[0]).topk(k)[1].numpy()

    def rerank(t: int) -> np.ndarray:
        rows = first.search(test.txt[t : t + 1].numpy(), wide)[0][0]
        tokens = test.txt_tokens[t : t + 1]
        near = local_similarity(gallery.img_tokens[rows], tokens)[0]
        return rows[near.topk(k)[1].numpy()]

    def searched(kind: str) -> Callable[[int], np.ndarray]:
        def run(t: int) -> np.ndarray:
            query = code.encode_texts(test.txt_tokens[t : t + 1])
            return indexes[kind].search(query, k)[0][0]

        return run

    arms = {"exact from tokens": exact, "exact from Gram halves": grams,
            "global, 100 re-ranked": rerank, "index, float32": searched("Flat"),
            "index, int8": searched("SQ8")}  # fmt: skip
    best = {arm: [set(run(t).tolist()) for t in range(queries)]
            for arm, run in arms.items()}  # fmt: skip
    share = {arm: float(np.mean([len(a & b) / k for a, b in zip(
        found, best["exact from tokens"], strict=True)]))
        for arm, found in best.items()}  # fmt: skip
    assert share["exact from Gram halves"] > 0.99  # equal but for rounding at the cut
    est = similarity_of(code.encode_texts(test.txt_tokens[:queries]), codes)
    rows, found = indexes["Flat"].search(
        code.encode_texts(test.txt_tokens[:queries]), k
    )
    np.testing.assert_allclose(found, np.take_along_axis(est, rows, 1), atol=2e-3)
    np.testing.assert_allclose(found, -np.sort(-est, 1)[:, :k], atol=2e-3)
    runs = {
        arm: lambda run=run: [run(t) for t in range(queries)]
        for arm, run in arms.items()
    }
    spent = {
        arm: [1000 * t / queries for t in seconds]
        for arm, seconds in interleave(runs, rounds).items()
    }
    ms = {arm: statistics.median(x) for arm, x in spent.items()}
    size = {
        "tokens": 4 * gallery.img_tokens[0].numel(), "Gram half": 4 * halves.shape[1],
        "index, float32": 4 * (codes.shape[1] + 1), "index, int8": codes.shape[1] + 1,
    }  # fmt: skip
    return {
        "gallery": n, "queries": queries, "rounds": rounds, "ms": ms,
        "all_ms": spent, "top10_of_exact": share, "bytes_an_image": size,
        "map_bytes": sum(x.nbytes for x in (code.img_map, code.txt_map)),
        "mb_at_100000_images": {a: b / 10 for a, b in size.items()},
        "speedup_over_tokens": ms["exact from tokens"] / ms["index, int8"],
        "speedup_over_gram": ms["exact from Gram halves"] / ms["index, int8"],
    }  # fmt: skip


def measure(
    seeds: list[int], rounds: int, quick: bool = False, device: str = "cpu"
) -> dict[str, Any]:
    """Return all figures; validation of every seed comes before any test."""
    few, texts = (80, 120) if quick else (2000, 2000)
    ranks = [r for r in RANKS if r < few - 1]
    kinds = KINDS
    models = [
        backbones.load("source-vit-0") if quick else trained(s, device) for s in seeds
    ]
    kept, tried, compared = [], [], {}
    for i, model in enumerate(models):
        train = see(model, "train", few, texts)
        val = see(model, "val", few)
        code = LocalCode.fit(train.img_tokens, train.txt_tokens, ranks[-1])
        if i == 0:
            compared = forms(train, val, code, ranks)
        tried.append(quantised(train, val, code, ranks, kinds))
        kept.append((train, code))
    choice = chosen(tried)
    longest = {"rank": ranks[-1], "kind": "float32", "bytes": 4 * (ranks[-1] + 1)}
    small = [cut(code, choice["rank"]) for _, code in kept]
    test = [see(model, "test", few) for model in models]
    runs = [
        {"seed": s, **tested(m, tr, te, c, choice),
         "longest": tested(m, tr, te, code, longest)["index"]}
        for s, m, (tr, code), te, c in zip(
            seeds, models, kept, test, small, strict=True)
    ]  # fmt: skip
    rivals = {"InfoNCE": "world-vit", "start": "source-vit-0"}
    others = {k: backbones.load(v) for k, v in rivals.items()}
    words = load("world").where("train").captions
    others["untrained"] = recipes.start(recipes.get("world-vit"), words)
    return {
        "patches, words, dim": [*test[0].img_tokens.shape[1:2],
                                *test[0].txt_tokens.shape[1:]],
        "training images, captions": [len(kept[0][0].img), len(kept[0][0].txt)],
        "rule": {"ratio": RATIO, "top10": AGREE, "bytes": BYTES},
        "forms_on_validation": compared, "validation": dict(zip(
            map(str, seeds), tried, strict=True)),
        "choice": choice, "longest": longest, "test": runs, "test_looks": 2,
        "worst_ratio_longest": min(r["longest"]["ratio"] for r in runs),
        "worst_ratio": min(r["index"]["ratio"] for r in runs),
        "mean_ratio": statistics.mean(r["index"]["ratio"] for r in runs),
        "others": {k: alone(m, see(m, "test", few)) for k, m in others.items()},
        "speed": speed(kept[0][0], test[0], small[0], rounds),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run, print, and with --write keep a receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--rounds", type=int, default=5)
    add("--device", default="cpu", help="where the ViTs are trained, if they are not")
    add("--quick", action="store_true")
    add("--write", action="store_true", help="keep a receipt in book/results/bench")
    args = parser.parse_args(argv)
    if args.write and args.quick:
        parser.error("no receipt of a quick run")
    figures = measure(args.seeds, args.rounds, args.quick, args.device)
    for form, rows in figures["forms_on_validation"].items():
        for n, r in rows.items():
            both = f"{r['top10_t2i']:.3f} {r['top10_i2t']:.3f}"
            print(f"{form:14} {n:4} numbers  ratio {r['ratio']:.4f}  top 10 {both}")
    for seed, rows in figures["validation"].items():
        for r in rows:
            both = f"{r['top10_t2i']:.3f} {r['top10_i2t']:.3f}"
            what = f"seed {seed} rank {r['rank']:3} {r['kind']:8} {r['bytes']:5} B"
            print(f"{what}  mR {r['mR']:.2f} ratio {r['ratio']:.4f}  top 10 {both}")
    print("choice", figures["choice"])
    for run in figures["test"]:
        print({k: v for k, v in run.items() if k != "weights"})
    print(figures["others"])
    print({k: v for k, v in figures["speed"].items() if k != "all_ms"})
    if args.write:
        said = " ".join(map(str, args.seeds))
        command = f"python tests/bench/local_index.py --seeds {said} --write"
        inputs = {"data": load("world").source.get("sha256")}
        report.record(
            "bench/local-index", figures, command=command, inputs=inputs,
            seeds=args.seeds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
