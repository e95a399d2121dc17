"""Text-to-text retrieval on the embedded world: choose on validation, score test once.

    python -m rsnb describe world --split val --out src/rsnb/rsrt/world-val.jsonl
    python -m rsnb describe world --split test --out src/rsnb/rsrt/world-test.jsonl
    python tests/bench/text_to_text.py            # validation only, prints the grid
    python tests/bench/text_to_text.py --test     # and test, written to book/results
    RSNB_DATA=... python tests/bench/text_to_text.py --real ucm   # real pixels, both

The receipt counts how often test was scored (`test_runs`), so that a second look shows.
Everything but the rows named "oracle" sees pixels and captions alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rsnb import assets, report, smallcaptioners
from rsnb.captions import (
    Record,
    align,
    from_variants,
    gallery,
    quality,
    read,
    tune,
)
from rsnb.data import load
from rsnb.embed import embed
from rsnb.errors import ParameterError
from rsnb.files import sha256_file
from rsnb.metrics import Recall, evaluate
from rsnb.pairs import Pairs
from rsnb.smallcaptioners import shipped
from rsnb.stats import bootstrap_ci, holm, paired_permutation
from rsnb.t2t import Fusion, TextGallery, fit_fusion, space
from rsnb.world import oracle

DUALS = ("world-rn", "world-vit", "world-rn-robust", "source-rn-0", "source-vit-0")
MINILM = space()


def scores(
    captions: Sequence[str], texts: Sequence[Sequence[str]], how: dict[str, Any]
) -> np.ndarray:
    """Return (T, N) of queries against the texts of each image."""
    more = {"aggregate": how["aggregate"], "tau": how["tau"]}
    return TextGallery(MINILM, texts, **more).scores(MINILM.encode(captions))


def t2t(
    captions: Sequence[str], records: Sequence[Record], how: dict[str, Any]
) -> np.ndarray:
    """Return (T, N) of queries against records."""
    return gallery(MINILM, records, **how).scores(MINILM.encode(captions))


def row(recall: Recall) -> dict[str, Any]:
    """Return recalls and interval, rounded."""
    ci = bootstrap_ci(recall)
    out: dict[str, Any] = {k: round(v, 2) for k, v in recall.as_dict().items()}
    return out | {"mR_interval": [round(ci.low, 2), round(ci.high, 2)]}


def real(data: str) -> None:
    """Describe val and test of a real set by `real-vlm`, choose on val, score test."""
    pairs = load(data).with_pixels()
    val, test = pairs.where("val"), pairs.where("test")
    own, of_test = (smallcaptioners.records(p, "real-vlm") for p in (val, test))
    how, on_val = tune(val, own, MINILM)[0]
    text = evaluate(t2t(test.captions, of_test, how), test.gt)
    names = [[label or "no class"] for label in test.label]
    kind = evaluate(scores(test.captions, names, how), test.gt)
    gap = bootstrap_ci(text, kind)
    figures = {
        "chosen": how, "validation_mR": round(on_val, 2), "text to text": row(text),
        "class name only": row(kind), "quality": quality(of_test),
        "difference": [round(text.mR - kind.mR, 2), gap.low, gap.high],
        "p": paired_permutation(text, kind),
    }  # fmt: skip
    print(figures)
    report.record(
        f"t2t-{data}", figures, seeds=[0],
        command=f"python tests/bench/text_to_text.py --real {data}",
        inputs={"data": pairs.source["sha256"], "encoder": MINILM.digest,
                "captioner": smallcaptioners.captioner("real-vlm").revision},
    )  # fmt: skip


def main() -> None:
    """Choose on validation; with --test also score test and write the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--test", action="store_true", help="score test, once")
    parser.add_argument("--real", metavar="DATA", help="ucm or rsicd instead")
    args = parser.parse_args()
    if args.real:
        real(args.real)
        return
    began, world = time.monotonic(), load("world")
    val, test = world.where("val"), world.where("test")
    run, found = read(shipped("world-val"))
    own = align(found, val.ids)
    tried = [{**way, "val_mR": round(mR, 2)} for way, mR in tune(val, own, MINILM)]
    how = {k: v for k, v in tried[0].items() if k != "val_mR"}
    for way in tried[:12]:
        print(way)
    a = t2t(val.captions, own, how)
    duals = {name: assets.backbone(name) for name in DUALS}
    sims = {name: embed(model, val).sim for name, model in duals.items()}
    on_val = {name: evaluate(sim, val.gt).mR for name, sim in sims.items()}
    best = max(on_val, key=on_val.__getitem__)
    fusions = {name: fit_fusion(a, sim, val.gt) for name, sim in sims.items()}
    for name, fusion in fusions.items():
        print(f"{name}: {on_val[name]:.1f}, fused {max(m for _, m in fusion.grid):.1f} "
              f"at weight {fusion.weight}")  # fmt: skip
    true = from_variants(oracle.records(val.ids), val.ids)
    print("oracle record", evaluate(t2t(val.captions, true, how), val.gt))
    asked = t2t(oracle.queries(val.ids), own, how)
    print("oracle query ", evaluate(asked, np.arange(len(val))))
    said = [[vars(v) for v in r.variants] for r in own]
    print(oracle.agreement(said, val.ids))
    if not args.test:
        return
    figures = score_test(test, how, duals, best, fusions)
    figures |= {
        "chosen": how, "validation": tried,
        "validation_duals": {k: round(v, 2) for k, v in on_val.items()},
        "fusion": {n: {"weight": f.weight, "edge": f.edge} for n, f in fusions.items()},
        "best_dual": best, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    try:
        figures["test_runs"] = report.receipt("t2t-world")["figures"]["test_runs"] + 1
    except ParameterError:
        figures["test_runs"] = 1
    assert run is not None
    inputs = {"data": world.source["sha256"], "captioner": run.revision,
              "encoder": MINILM.digest,
              "records": [sha256_file(shipped(f"world-{s}")) for s in ("val", "test")],
    }  # fmt: skip
    report.record(
        "t2t-world", figures, command="python tests/bench/text_to_text.py --test",
        inputs=inputs, seeds=[0],
    )  # fmt: skip


def score_test(
    test: Pairs, how: dict[str, Any], duals: dict[str, Any], best: str,
    fusions: dict[str, Fusion],
) -> dict[str, Any]:  # fmt: skip
    """Return the rows of the test split, and the tests between them."""
    own = align(read(shipped("world-test"))[1], test.ids)
    true = from_variants(oracle.records(test.ids), test.ids)
    kinds = [[label] for label in test.label]
    a = t2t(test.captions, own, how)
    sims = {name: embed(model, test).sim for name, model in duals.items()}
    fused = {name: evaluate(fusions[name](a, s), test.gt) for name, s in sims.items()}
    alone = {name: evaluate(sim, test.gt) for name, sim in sims.items()}
    text = evaluate(a, test.gt)
    rows = {
        "class name only": evaluate(scores(test.captions, kinds, how), test.gt),
        "text to text": text,
        "oracle record": evaluate(t2t(test.captions, true, how), test.gt),
        **{f"{name} alone": r for name, r in alone.items()},
        **{f"text + {name}": r for name, r in fused.items()},
    }
    one = np.arange(len(test))
    rich = oracle.queries(test.ids)
    rows["oracle query, text to text"] = evaluate(t2t(rich, own, how), one)
    emb = duals[best].encode_texts(rich) @ embed(duals[best], test).img.T
    rows[f"oracle query, {best}"] = evaluate(emb, one)
    said, mean = [[vars(v) for v in r.variants] for r in own], dict(how)
    mean["aggregate"] = "mean"
    for name, part in oracle.swapped(said, test.ids).items():
        rows[name] = evaluate(scores(test.captions, part, mean), test.gt)
    better = max((text, alone[best]), key=lambda r: r.mR)
    pairs = {
        "text to text against class name only": (text, rows["class name only"]),
        "text to text against zero-shot source-rn-0": (text, alone["source-rn-0"]),
        "text to text against zero-shot source-vit-0": (text, alone["source-vit-0"]),
        f"fusion with {best} against the better of the two": (fused[best], better),
    }
    tests = {}
    for name, (x, y) in pairs.items():
        ci = bootstrap_ci(x, y)
        tests[name] = {
            "difference": round(x.mR - y.mR, 2), "interval": [ci.low, ci.high],
            "p": paired_permutation(x, y),
        }  # fmt: skip
    adjusted = holm([t["p"] for t in tests.values()])
    for t, p in zip(tests.values(), adjusted, strict=True):
        t["p_holm"] = float(p)
    for name, r in rows.items():
        print(f"{name:42} {r}")
    print(tests)
    return {
        "rows": {name: row(r) for name, r in rows.items()}, "tests": tests,
        "agreement": oracle.agreement(said, test.ids), "quality": quality(own),
    }  # fmt: skip


if __name__ == "__main__":
    main()
