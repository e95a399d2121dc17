"""One command from published weights and data to the published row.

Explained in `book/how_to_run.md`. What is fetched is pinned and checked; the functions
of the pages evaluate it, and the recalls are set beside the published ones.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rsnb import (
    backbones,
    captionfile,
    captions,
    hub,
    local,
    noise,
    probes,
    published,
    report,
    smallcaptioners,
)  # fmt: skip
from rsnb.backbones import Backbone
from rsnb.batches import TrainConfig
from rsnb.cache import cache_dir
from rsnb.cadre import Cadre, prepare
from rsnb.cards import CARDS, home
from rsnb.cells import BACKBONES, EPOCHS, TEST, Cell
from rsnb.comparison import compare, table
from rsnb.data import load as load_data
from rsnb.embed import embed
from rsnb.errors import BackboneError, DataError, ParameterError
from rsnb.files import fingerprint, write_json
from rsnb.metrics import Recall, evaluate, evaluate_embeddings
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.recall import METRICS
from rsnb.records import Record, align
from rsnb.rrsitr import RRSITR
from rsnb.stats import bootstrap_ci
from rsnb.t2t import space
from rsnb.train import fit
from rsnb.witnesses import witness

__all__ = ["RECIPE", "main", "run"]

SAID: Mapping[str, str] = MappingProxyType({
    "inside": "inside the tolerance of a published row",
    "outside": "outside the tolerance of every published row",
    "trial": "a trial, trained less than published, so not judged",
    "unpublished": "no published row to compare with",
})  # fmt: skip
#: RRSITR's published training. Its epoch takes every caption, ours one an image; its
#: 200 warm-up steps are 2 % of all. It states no augmentation, so images are whole.
RECIPE = TrainConfig(
    epochs=EPOCHS, batch_size=100, lr=7e-6, weight_decay=0.7, warmup=0.02, full=1.0,
    symmetric=False, seed=3,
)  # fmt: skip


def _pairs(name: str) -> Pairs:
    """Return a data set with the published test split; fetched where it is pinned."""
    held, own = home(name), cache_dir() / "data" / name
    begun = held == own and any(own.glob("data/*.parquet"))  # a fetch that was cut
    if name in hub.PINNED and (held is None or begun):
        hub.fetch(name)
    pairs = load_data(name)
    test = pairs.where("test")
    if (found := (len(test), len(test.captions))) != TEST[name]:
        what = "{} images and {} captions in its test split, not {} and {} as published"
        fix = f"Put the published split there: {CARDS[name][2]}"
        raise DataError(f"{name}: {what.format(*found, *TEST[name])}. {fix}.")
    return pairs


def _records(pairs: Pairs, cell: Cell) -> list[Record]:
    """Return one record an image, from a file or written now (resumable, cached)."""
    if Path(cell.captioner).is_file():
        made = captionfile.read(cell.captioner, fill=True)[1]
        out = align(made, pairs.ids, extra=True)
    else:
        out = smallcaptioners.records(pairs, cell.captioner, device=cell.device)
    if not any(r.usable for r in out):
        what = f"none of its {len(out)} records is usable, such as {out[0].reason!r}"
        raise DataError(f"{cell.captioner}: {what}. Take another captioner.")
    return out


def _zero_shot(cell: Cell, model: Backbone, pairs: Pairs) -> Recall:
    test = pairs.where("test")
    emb = embed(model, test)
    return evaluate_embeddings(emb.txt, emb.img, test.gt)


def _rrsitr(cell: Cell, model: Backbone, pairs: Pairs) -> Recall:
    pairs = pairs.with_val()
    train, val, test = (pairs.where(s) for s in ("train", "val", "test"))
    train = noise.draw(train, cell.noise).apply(train)
    train = train.subset(range(min(cell.limit or len(train), len(train))))
    side, each = model.image_size, round(len(train.captions) / len(train))
    cfg = replace(RECIPE, epochs=cell.epochs * each, eval_every=each)
    run = fingerprint(asdict(cell), model.digest, pairs.source.get("sha256"))[:16]
    found = fit(
        model, train, load_pixels(train, side), val, load_pixels(val, side), cfg,
        RRSITR(), folder=cache_dir() / "runs" / f"reproduce-{run}",
    )  # fmt: skip
    seen = load_pixels(test, side)
    return evaluate(local.score(found.backbone, seen, test.captions), test.gt)


def _t2t(cell: Cell, model: None, pairs: Pairs) -> Recall:
    test, text = pairs.where("test"), space(device=cell.device)
    gallery = captions.gallery(text, _records(test, cell))
    return evaluate(gallery.scores(text.encode(test.captions)), test.gt)


def _cadre(cell: Cell, model: Backbone, pairs: Pairs) -> Recall:
    pairs = pairs.with_val()
    val, test = pairs.where("val"), pairs.where("test")
    known, stage = (
        prepare(
            model, part, _records(part, cell), space(device=cell.device), variants=1
        )
        for part in (val, test)
    )
    who, probe = witness(cell.captioner, cell.device), probes.probe(model, pairs)
    refined = Cadre(model, who, probe).fit(known).refine(stage)
    return refined.scores.evaluate(test.gt)


RUN: Mapping[str, Callable[[Cell, Any, Pairs], Recall]] = MappingProxyType(
    {"zero-shot": _zero_shot, "rrsitr": _rrsitr, "t2t": _t2t, "cadre": _cadre}
)


def run(cell: Cell, tolerance: float | None = None) -> dict[str, Any]:
    """Run a cell and return its figures, JSON-able.

    Args:
        cell: which.
        tolerance: see `rsnb.comparison.compare`.

    Returns:
        `recalls` in percent, `intervals` (95 %, images resampled), `published` (one
        comparison a source), `verdict`: inside or outside the tolerance of every
        source, trial, or unpublished; `probe` and digests of data and weights.

    Raises:
        ParameterError: a tolerance that is negative or no number.
        RsnbError: data or weights are not here, not whole or not those published, or
            the published recalls are those of the other GELU.
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ParameterError(f"--tolerance {tolerance}: give points of mR, 0 or more.")
    pairs, name = _pairs(cell.data), BACKBONES[cell.backbone]
    rows = published.rows(cell.data, cell.key, cell.noise)

    def score(gelu: str) -> tuple[Any, Recall, list[dict[str, Any]], bool]:
        model = None
        if cell.method != "t2t":
            model = backbones.load(name, activation=gelu or None, device=cell.device)
        recall = RUN[cell.method](cell, model, pairs)
        beside = [compare(recall.as_dict(), row, tolerance) for row in rows]
        return model, recall, beside, any(b["inside"] for b in beside)

    model, recall, beside, inside = score(cell.activation)
    verdict = "inside" if inside else "outside" if rows else "unpublished"
    verdict = "trial" if cell.trial else verdict
    if verdict == "outside" and cell.method == "zero-shot" and not model.entry.probe:
        own = model.entry.activation  # no probe proved it: the recalls may
        other = "gelu" if own == "quickgelu" else "quickgelu"
        if score(other)[3]:
            what = f"{name} on {cell.data} reaches the published recalls with {other}"
            fix = f"Give --activation {other}, or mend the entry in rsnb.registry"
            raise BackboneError(f"{what}, not with {own}: wrong activation. {fix}.")
    spans = {k: bootstrap_ci(recall, metric=k) for k in (*METRICS, "mR")}
    return {
        "cell": asdict(cell), "recalls": recall.as_dict(), "published": beside,
        "intervals": {k: [s.low, s.high] for k, s in spans.items()}, "verdict": verdict,
        "probe": model and backbones.probe(model), "data": pairs.source.get("sha256"),
        "weights": model and model.digest,
    }  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Run `python -m rsnb reproduce`; return 1 if no published row was reached."""
    given = {f.name: getattr(args, f.name) for f in fields(Cell)}
    cell = Cell(**{k: v for k, v in given.items() if v is not None})
    print(f"{cell.name} needs {', '.join(cell.needs)}", flush=True)
    facts = run(cell, args.tolerance)
    print(table(*(facts[k] for k in ("recalls", "intervals", "published"))))
    inputs = {k: facts.pop(k) for k in ("data", "weights")}
    place = cache_dir() / "reproduce" / f"{cell.name}.json"
    if args.record:
        own = {"seeds": [RECIPE.seed]} if cell.method == "rrsitr" else {}
        name = f"reproduce/{cell.name}"
        place = report.record(name, facts, command=cell.command, inputs=inputs, **own)
    else:
        write_json(place, {"command": cell.command, "figures": facts, "inputs": inputs})
    print(f"receipt: {place}\n{SAID[facts['verdict']]}")
    return int(facts["verdict"] == "outside")
