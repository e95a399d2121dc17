"""What a query costs in CADRE: with all that can be cached cached, and of a cold image.

    python tests/bench/cadre_cost.py --write     # on an idle machine

The gallery is the world's test split; larger ones repeat its vectors with a little
noise, and their images are read from the split's. Time of the witness is apart: the
query is timed with one that answers at once, and the real one is timed by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rsnb import assets, probes, report, smallcaptioners, witnesses
from rsnb.cadre import GRID, Cadre, Probe, Stage, Views, look, prepare, trace
from rsnb.cadre.vci import VCI
from rsnb.data import load
from rsnb.embed import embed_images, embed_texts
from rsnb.pixels import load_pixels
from rsnb.t2t import TextGallery, space
from rsnb.twoway import First

HOW = VCI((10.0, 0.5, 0.5, 0.5, 0.5, 0.5, 5.0))  # asks all: nothing is saved


class Silent:
    """A witness that answers at once."""

    def words(self, *_: Any) -> list[tuple[str, str, float]]:
        return [("word", "scene", 0.0)]

    def rewrite(self, *_: Any) -> list[str]:
        return [""]


def median(call: Callable[[int], Any], n: int = 40) -> dict[str, float]:
    """Return the median and the 95th percentile of n calls, in milliseconds."""
    call(0)
    spent = []
    for k in range(n):
        start = time.perf_counter()
        call(k)
        spent.append(1000 * (time.perf_counter() - start))
    return {"median": float(np.median(spent)), "p95": float(np.quantile(spent, 0.95))}


def larger(stage: Stage, texts: list[tuple[str, ...]], times: int) -> Stage:
    """Return a stage with `times` as many images."""
    rng = np.random.default_rng(0)

    def more(x: np.ndarray) -> np.ndarray:
        out = np.repeat(x, times, 0)
        out = out + rng.normal(0, 0.02, out.shape).astype(np.float32)
        return (out / np.linalg.norm(out, axis=-1, keepdims=True)).astype(np.float32)

    first = First(stage.first.txt, more(stage.first.img))
    views = Views(more(stage.views.emb), stage.views.boxes)
    said = [t for t in texts for _ in range(times)]
    old = stage.texts
    gallery = TextGallery(old.space, said, aggregate=old.aggregate, tau=old.tau)
    n = len(first.img)
    pairs = replace(
        stage.pairs, ids=tuple(str(i) for i in range(n)),
        split=("test",) * n, label=("",) * n, has_pixels=np.ones(n, bool),
        rows=np.repeat(stage.pairs.rows, times),
    )  # fmt: skip
    return replace(
        stage, pairs=pairs, first=first, views=views, texts=gallery,
        said=tuple(s for s in stage.said for _ in range(times)),
    )  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--write", action="store_true")
    args = ask.parse_args()
    test = load("world").where("test")
    backbone = assets.backbone("world-rn")
    how = report.receipt("t2t-world")["figures"]["chosen"]
    records = smallcaptioners.records(test, "world-vlm")
    minilm = space()
    stage = prepare(backbone, test, records, minilm, **how)
    probe = probes.probe(backbone, load("world"))
    witness = witnesses.witness("world-vlm")
    queries = list(test.captions[::7])
    silent: Any = Silent()

    def cadre(most: int = 20, **more: Any) -> Cadre:
        made = {"probe": probe, **more}
        return Cadre(backbone, silent, t2i=replace(HOW, most=most), **made)

    def timed(who: Cadre, where: Stage) -> dict[str, float]:
        return median(lambda k: trace(who, where, queries[k]))

    out: dict[str, Any] = {"candidates": {}, "views": {}, "gallery": {}, "parts": {}}
    for most in (5, 10, 20, 50):
        out["candidates"][most] = timed(cadre(most), stage)
    for grid in (GRID[:1], GRID, (*GRID, (0.5, 3)), (*GRID, (0.5, 3), (0.36, 4))):
        views = look(backbone, test, grid)
        plain = Probe.plain(views.emb.shape[2], views.emb.shape[1])
        who = cadre(probe=plain)
        out["views"][views.emb.shape[1]] = timed(who, replace(stage, views=views))
    texts = [r.texts(how["fields"], how["variants"]) for r in records]
    for times in (1, 10, 40):
        where = larger(stage, texts, times)
        img = where.first.img
        sims = median(lambda k, img=img: stage.first.txt[k : k + 1] @ img.T)
        out["gallery"][len(img)] = {
            **timed(cadre(), where),
            "first_stage": sims["median"],
        }
    encode = minilm.encode
    out["parts"] = {
        "query, backbone's text tower": median(
            lambda k: embed_texts(backbone, [queries[k]])
        ),
        "query, sentence encoder": median(lambda k: encode([queries[k]])),
        "probe, 100 candidates": median(
            lambda k: probe(stage.first.txt[k : k + 1], stage.views.emb[:100])
        ),
    }
    pixels = load_pixels(test, 192)
    cut = pixels[:1, :136, :136]
    one = test.subset([0])
    captioner = smallcaptioners.captioner("world-vlm")
    prompt = smallcaptioners.prompt_of("world-vlm")
    out["witness"] = {
        "one candidate, a query not heard before": median(
            lambda k: witness.words(test, k, queries[k])
        ),
        "rewriting a query": median(
            lambda k: witness.rewrite(test, [k], [queries[k]]), 20
        ),
    }
    out["cold image"] = {
        "its views": median(
            lambda k: [embed_images(backbone, cut) for _ in stage.views.boxes]
        ),
        "description, 5 variants": median(
            lambda k: captioner.describe([one.image(0)], prompt, ["x"]), 10
        ),
    }
    for name, rows in out.items():
        print(
            name, {k: {a: round(b, 2) for a, b in v.items()} for k, v in rows.items()}
        )
    command = "python " + " ".join(["tests/bench/cadre_cost.py", *sys.argv[1:]])
    if args.write:
        print(report.record("bench/cadre", out, command=command))


if __name__ == "__main__":
    main()
