"""Text-to-text retrieval of a whole test set, against the published per-query loop.

    python tests/bench/grouped_search.py [--write] [--quick]

An image scores by the best cosine of its five texts. `TextGallery.scores` takes all
queries at once. The loop, written anew in the published evaluator's form, is NumPy too:
per query a product with all texts, `np.maximum.at` by image, a full sort, hits at 1, 5
and 10. It is linear in the queries, so a share of them is timed and scaled. Vectors are
random and unit. Equal scores (to 1e-6), equal order up to such ties and equal recall
are asserted first. `ranking` adds the sorted order of all images, `recall` both
directions' recall with ties, which the loop does not give. `product` is the cosines
alone: no form that makes them all can be quicker.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import interleave

from rsnb import report
from rsnb.metrics import KS, evaluate
from rsnb.t2t import TextGallery
from rsnb.textspace import Known, TextSpace

FULL = {"queries": 2260, "images": 10_000, "variants": 5, "dim": 384, "share": 10}
QUICK = {"queries": 60, "images": 50, "variants": 5, "dim": 16, "share": 3}
BAR = 50


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape, dtype=np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def loop(
    queries: np.ndarray, texts: np.ndarray, image: np.ndarray, gt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, order and hits of each query, one query at a time."""
    size = int(image.max()) + 1
    scores = np.empty((len(queries), size), np.float32)
    order = np.empty((len(queries), size), np.int64)
    hits = np.zeros((len(queries), len(KS)))
    for i, query in enumerate(queries):
        cosines = query @ texts.T
        score = np.full(size, -1e9, np.float32)
        np.maximum.at(score, image, cosines)
        ranked = np.argsort(score)[::-1]
        for c, k in enumerate(KS):
            hits[i, c] = gt[i] in ranked[:k]
        scores[i], order[i] = score, ranked
    return scores, order, hits


def ranking(scores: np.ndarray) -> np.ndarray:
    """Return int (Q, N), images of each query, best first."""
    return np.argsort(-scores, axis=1)


def check(scores: np.ndarray, gt: np.ndarray, want: tuple[np.ndarray, ...]) -> None:
    """Assert equal scores, order and hits; what lies within 1e-6 may change places."""
    np.testing.assert_allclose(scores, want[0], atol=1e-6)
    mine = np.take_along_axis(scores, ranking(scores), 1)
    theirs = np.take_along_axis(scores, want[1], 1)
    np.testing.assert_allclose(mine, theirs, atol=2e-6)
    own = np.take_along_axis(scores, gt[:, None], 1)
    hits = ((scores > own).sum(1)[:, None] < np.array(KS)).astype(float)
    near = (np.abs(scores - own) < 2e-6).sum(1) > 1  # a tie, to rounding
    assert (hits == want[2])[~near].all()
    assert near.mean() < 0.2, "too many ties to compare"


def measure(size: dict[str, int], rounds: int) -> dict[str, Any]:
    """Return times of all forms."""
    rng = np.random.default_rng(0)
    images, variants, dim = size["images"], size["variants"], size["dim"]
    texts = unit(rng, images * variants, dim)
    image = np.repeat(np.arange(images), variants)
    # each image is asked for at least once where there are queries enough
    gt = np.resize(np.arange(images), size["queries"])
    queries = texts[gt * variants] + unit(rng, len(gt), dim)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    names = [str(i) for i in range(len(texts))]
    began = time.perf_counter()
    gallery = TextGallery(
        TextSpace("random", "", Known(names, texts)),
        [names[i : i + variants] for i in range(0, len(names), variants)],
    )
    build = time.perf_counter() - began
    few = slice(0, max(1, len(gt) // size["share"]))
    scores = gallery.scores(queries)
    check(scores[few], gt[few], loop(queries[few], texts, image, gt))
    k = min(10, images)
    rows, best = gallery.search(queries[:8], k)
    at = np.take_along_axis(scores[:8], rows, 1)
    np.testing.assert_allclose(at, best, atol=2e-6)
    first = np.sort(scores[:8], axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(best, first, atol=2e-6)
    arms: dict[str, Callable[[], Any]] = {
        "rsnb": lambda: gallery.scores(queries),
        "rsnb, ranking": lambda: ranking(gallery.scores(queries)),
        "loop": lambda: loop(queries[few], texts, image, gt),
        "product": lambda: queries @ texts.T,
    }
    if len(np.unique(gt)) == images:
        arms["rsnb, recall"] = lambda: evaluate(gallery.scores(queries), gt)
    else:  # recall of both directions needs a caption for each image
        asked = np.unique(gt)
        arms["rsnb, recall"] = lambda: evaluate(gallery.scores(queries)[:, asked], gt)
    times = interleave(arms, rounds)
    seconds = {arm: statistics.median(t) for arm, t in times.items()}
    seconds["loop"] *= len(gt) / few.stop
    return {
        **size, "share": few.stop / len(gt), "rounds": rounds, "build_seconds": build,
        "seconds": seconds, "all_seconds": times, "bar": BAR,
        "speedup": {a: seconds["loop"] / t for a, t in seconds.items()},
        "most_possible": seconds["loop"] / seconds["product"],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run all forms and print, or with --write also keep, what they took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--quick", action="store_true", help="tiny sizes")
    add("--write", action="store_true", help="keep a receipt in book/results")
    args = parser.parse_args(argv)
    if args.quick and args.write:
        parser.error("a receipt needs the full sizes")
    found = measure(QUICK if args.quick else FULL, args.rounds)
    for arm, t in found["seconds"].items():
        print(f"{arm:16} {t:9.3f} s  the loop takes {found['speedup'][arm]:.1f} x")
    print(f"at most {found['most_possible']:.1f} x: the product alone")
    if args.write:
        command = "python tests/bench/grouped_search.py --write"
        print(report.record("bench/t2t-search", found, command=command, seeds=[0]))
    return found


if __name__ == "__main__":
    main()
