"""Train, ship, check and measure our own models: `python -m rsnb assets`.

Explained in notebooks 02 and 04 and `book/how_to_run.md`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rsnb import adapters, backbones, probes, recipes, smallcaptioners, witnesses
from rsnb.backbones import Backbone
from rsnb.cache import cache_dir
from rsnb.cadre.qgd import Probe
from rsnb.data import load as load_data
from rsnb.data import paraphrases
from rsnb.embed import embed
from rsnb.errors import BackboneError
from rsnb.files import checked_receipt, fingerprint
from rsnb.metrics import caption_ceiling, evaluate_embeddings
from rsnb.pairs import Pairs, held_out, join
from rsnb.pixels import load_pixels
from rsnb.report import record
from rsnb.stats import bootstrap_ci
from rsnb.train import fit

__all__ = ["backbone", "check", "main", "make", "measure", "score"]

SHIPPED_MAX_BYTES = 12 << 20
WEIGHTS = Path(__file__).parent / "weights"


def _path(name: str, seed: int | None) -> Path:
    recipe = recipes.get(name)
    own = seed is None or seed == recipe.cfg.seed
    folder = WEIGHTS if own and recipe.shipped else cache_dir() / "backbones"
    return folder / f"{name}{'' if own else f'-seed{seed}'}.safetensors"


def make(name: str, seed: int | None = None, device: str = "cpu") -> Backbone:
    """Train a recipe (resuming a run that was stopped) and store its weights.

    With a `seed` other than the recipe's own, they stay in the cache.
    """
    recipe = recipes.get(name, seed)
    pairs = recipe.load()
    known = recipe.load(recipe.val_from) if recipe.val_from else pairs
    val = known.where(recipe.val).with_pixels()
    train = pairs.where(recipe.split).with_pixels()
    left_out = held_out(len(train), recipe.skip)
    parts = [train.subset(np.delete(np.arange(len(train)), left_out))]
    parts += [recipe.load(name).where("train") for name in recipe.extra]
    pixels = [load_pixels(part, recipe.store) for part in parts]
    again = recipe.repeat - 1  # decoded once, however often an epoch sees it
    parts, pixels = parts[:1] * again + parts, pixels[:1] * again + pixels
    if recipe.paraphrases:
        parts = [p.adding(paraphrases(p)) for p in parts]
    train = join(parts) if len(parts) > 1 else parts[0]
    more = [c for n in recipe.words for c in load_data(n).where("train").captions]
    start = recipes.start(recipe, [*train.captions, *more], name)
    start.model.to(device)
    read = [p.source.get("sha256") for p in (pairs, known, *parts)]
    run = fingerprint(asdict(recipe), read)[:16]
    stacked = np.concatenate(pixels) if len(pixels) > 1 else pixels[0]
    seen = load_pixels(val, start.image_size)
    folder = cache_dir() / "runs" / f"{name}-{run}"
    result = fit(start, train, stacked, val, seen, recipe.cfg, folder=folder)
    path = _path(name, seed)
    out = backbones.save(
        path, result.backbone, recipe=asdict(recipe),
        data={"name": pairs.name, "sha256": read[0], "all": list(dict.fromkeys(read))},
        best_epoch=result.best_epoch, seconds=round(result.seconds, 1),
        log=list(result.log),
    )  # fmt: skip
    if recipe.shipped and path.stat().st_size > SHIPPED_MAX_BYTES:
        raise BackboneError(f"{path} passes 12 MB; shrink the recipe before shipping.")
    return out


def backbone(name: str, seed: int | None = None, device: str = "cpu") -> Backbone:
    """Return a backbone by any name that `backbones.load` knows, or train its recipe.

    Recipes on real data are trained once.
    """
    if name not in recipes.RECIPES:
        return backbones.load(name, device=device)
    path = _path(name, seed)
    if not path.is_file():
        make(name, seed, device)
    return backbones.load(str(path), device=device)


def score(model: Backbone, pairs: Pairs, *, turns: bool = False) -> dict[str, Any]:
    """Return recall on the test split with interval and ceiling, JSON-able."""
    pairs = pairs.where("test").with_pixels()
    emb = embed(model, pairs, turns=turns)
    recall = evaluate_embeddings(emb.txt, emb.img, pairs.gt)
    interval = bootstrap_ci(recall)
    return {
        **{k: round(v, 2) for k, v in recall.as_dict().items()},
        "mR_interval": [round(interval.low, 2), round(interval.high, 2)],
        "caption_ceiling": caption_ceiling(pairs.captions, pairs.gt).as_dict(),
        "images": len(pairs), "captions": len(pairs.captions),
    }  # fmt: skip


def measure(name: str, seeds: list[int], device: str = "cpu") -> dict[str, Any]:
    """Train a recipe with several seeds, score each once, and write the receipt.

    The receipt is `book/results/backbone-<name>.json` of the working tree.
    """
    runs, recipe = [], recipes.get(name)
    pairs = recipe.load()
    for seed in seeds:
        model = backbone(name, seed, device)
        receipt = checked_receipt(_path(name, seed))
        runs.append({
            "seed": seed, **score(model, pairs, turns=recipe.turns),
            "train_seconds": receipt["seconds"], "best_epoch": receipt["best_epoch"],
            "weights": model.digest,
        })  # fmt: skip
    mean = sum(r["mR"] for r in runs) / len(runs)
    figures = {"mR_mean": round(mean, 2), "runs": runs}
    listed = " ".join(map(str, seeds))
    command = f"python -m rsnb assets {name} --measure --seeds {listed}"
    inputs = {"data": pairs.source.get("sha256")}
    record(f"backbone-{name}", figures, command=command, seeds=seeds, inputs=inputs)
    return figures


def check() -> list[str]:
    """Load all that is shipped, digests and probes checked; return the names."""
    shipped = sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))
    for name in shipped:
        backbones.load(name)
    for name, (_, load, _) in _others().items():
        load()
        shipped.append(name)
    return shipped


_Other = tuple[Path, Callable[[], object], Callable[[], object]]  # file, load, make


def _others(*, all_: bool = False, device: str = "cpu") -> dict[str, _Other]:
    """Return what is no backbone, by name; without `all_` what is shipped alone."""
    found: dict[str, _Other] = {}
    for name, course in smallcaptioners.COURSES.items():
        if not (course.shipped or all_):
            continue
        place = smallcaptioners.folder(name) / "model.safetensors"
        found[name] = (
            place, partial(smallcaptioners.captioner, name),
            partial(smallcaptioners.make, name, device),
        )  # fmt: skip
        place = witnesses.folder(name) / adapters.WEIGHTS
        found[f"{name}-cadre"] = (
            place, partial(witnesses.witness, name),
            partial(witnesses.make, name, device),
        )  # fmt: skip
    for name in probes.SHIPPED:
        path = probes.path_of(name)
        found[f"{name}-probe"] = (
            path, partial(Probe.load, path), partial(_make_probe, name, path)
        )  # fmt: skip
    return found


def _make_probe(name: str, path: Path) -> None:
    probes.make(backbones.load(name), load_data("world"), path)


def main(argv: Sequence[str]) -> int:
    """Run `python -m rsnb assets`: train, check or measure; return the exit code."""
    parser = argparse.ArgumentParser("rsnb assets", description=__doc__)
    parser.add_argument("names", nargs="*", help="recipes; none: all that are shipped")
    parser.add_argument("--check", action="store_true", help="verify shipped weights")
    parser.add_argument("--force", action="store_true", help="train again")
    parser.add_argument("--measure", action="store_true", help="score on test, record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu", help="where to train: cpu or cuda")
    args = parser.parse_args(argv)
    if args.check:
        print("\n".join(f"{name}: ok" for name in check()))
        return 0
    others = _others(all_=True, device=args.device)
    shipped = [n for n, r in recipes.RECIPES.items() if r.shipped]
    names = args.names or [*shipped, *_others()]
    for name in names:  # a typo stops before the first minute of training
        if name not in others:
            recipes.get(name)
    for name in names:
        if name in others:
            path, _, build = others[name]
            if args.force or not path.is_file():
                build()
                print(f"{name}: trained, {path}")
        elif args.measure:
            figures = measure(name, args.seeds, args.device)
            print(f"{name}: mR {figures['mR_mean']} over seeds {args.seeds}")
        elif args.force or not _path(name, None).is_file():
            make(name, device=args.device)
            print(f"{name}: trained, {_path(name, None)}")
    return 0
