"""What more processes bring, and what they cost to start: Ray workers and DDP.

Run by `make bench`; `--write` keeps `book/results/bench/scaling.json`, `--quick` takes
seconds. Before anything is timed, workers must make the embeddings of one process
(1e-5), and two training processes its losses (1e-4).

- Embedding: JPEG files of side 256 are decoded and embedded by a small ResNet, by one
  process with 1 and 2 threads and by 1 and 2 Ray workers with 1 thread each. Ray's
  speed is the slope between a small and a large job; what is left is its start.
- Training: steps of `fit` in one process with 2 threads and in 2 gloo processes with 1
  thread each, in float32; the start of each is the time of the command without them.
- Units: bytes of a shard by row, and seconds by 1,000 images, for plans on paper.

Two workers on two cores can at best be twice as fast as one with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from PIL import Image

from rsnb import backbones, ranks, recipes, report, scale, smallcaptioners
from rsnb.captioners import describe
from rsnb.data import load
from rsnb.files import read_json, receipt_path
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels
from rsnb.train import fit

BACKBONE, START, CAPTIONER = "world-rn", "source-vit-0", "world-vlm"
SIDE, DISTINCT = 256, 256  # of the files, and how many differ


@dataclass(frozen=True)
class Files:
    """Reader of a folder of JPEG files, again and again from its first."""

    folder: str

    def __call__(self, row: int) -> Image.Image:
        with Image.open(f"{self.folder}/{row % DISTINCT}.jpg") as image:
            return image.convert("RGB")


def archive(folder: Path, images: int) -> Pairs:
    """Write the files; return a data set of so many images of them."""
    folder.mkdir()
    world = load("world").where("val")
    for k in range(min(images, DISTINCT)):
        image = world.image(k).resize((SIDE, SIDE))
        image.save(folder / f"{k}.jpg", quality=90)
    ids = tuple(f"tile/{k:06d}" for k in range(images))
    none = ("",) * images
    return Pairs(
        "archive", ids, none, none, (), np.empty(0, np.int64), np.ones(images, bool),
        Files(str(folder)), np.arange(images), {"sha256": f"archive-{images}"},
    )  # fmt: skip


def alone(pairs: Pairs, threads: int) -> tuple[float, np.ndarray]:
    """Return seconds and embeddings of one process, its model being loaded."""
    torch.set_num_threads(threads)
    worker = scale._Embedder(pairs, "", len(pairs), threads, BACKBONE, "cpu")
    _ = worker.identity
    began = time.perf_counter()
    made = worker.make(pairs, 0)
    return time.perf_counter() - began, np.asarray(made["emb"])


def embedding(temp: Path, images: int, shard: int, rounds: int) -> dict[str, Any]:
    """Return images a second by arm, and Ray's start."""
    pairs = archive(temp / "tiles", images)
    small = pairs.subset(np.arange(2 * shard))
    n = 0

    def ray(some: Pairs, workers: int) -> float:
        nonlocal n
        n += 1
        began = time.perf_counter()
        scale.embed_shards(
            BACKBONE, some, temp / f"out{n}", workers=workers, shard=shard
        )
        return time.perf_counter() - began

    began = time.perf_counter()
    with scale._ray(2):
        start = time.perf_counter() - began
        made = scale.embed_shards(BACKBONE, pairs, temp / "equal", shard=shard)
        found = np.concatenate([part["emb"] for _, part in made])
        gap = float(np.abs(found - alone(pairs, 1)[1]).max())
        assert gap <= 1e-5, f"Ray's embeddings are off by {gap}"
        speed: dict[str, list[float]] = {}
        first: list[float] = []
        for _ in range(rounds):
            for threads in (1, 2):
                seconds, _ = alone(pairs, threads)
                arm = f"one_process_{threads}_threads"
                speed.setdefault(arm, []).append(images / seconds)
            for workers in (1, 2):
                short, long = ray(small, workers), ray(pairs, workers)
                slope = (images - len(small)) / max(long - short, 1e-9)
                speed.setdefault(f"ray_{workers}_workers", []).append(slope)
                first.append(short - len(small) / slope)
    files = [p.stat().st_size for p in (temp / "equal").glob("part-*.safetensors")]
    middle = {arm: statistics.median(s) for arm, s in speed.items()}
    one = middle["one_process_1_threads"]
    return {
        "images": images, "shard": shard, "largest_gap": gap,
        "images_per_second": {
            arm: {"median": round(middle[arm], 1), "rounds": [round(x, 1) for x in s]}
            for arm, s in speed.items()
        },
        "ratio_to_1_thread": {arm: round(m / one, 3) for arm, m in middle.items()},
        "start_seconds": {
            "ray": round(start, 2), "workers": round(statistics.median(first), 2)
        },
        "seconds_per_1000_images_1_thread": round(1000 / one, 3),
        "bytes_per_image": round(sum(files) / images, 1), "dim": made.dim,
    }  # fmt: skip


def sitting(steps: int, threads: int, out: Path) -> None:
    """Train so many steps and write losses and seconds; a process of `launch`."""
    torch.set_num_threads(threads)
    start, recipe = backbones.load(START), recipes.get(START)
    pairs = load("world").where("source")
    pixels = load_pixels(pairs, recipe.store)
    cfg = replace(recipe.cfg, average=0.0, epochs=100, bf16=False)
    few = pairs.subset(np.arange(8))  # the stop comes before anything is validated
    with ranks.joined():
        fit(start, pairs, pixels, few, pixels[:8], cfg, folder=out, max_steps=3)
        done = fit(
            start, pairs, pixels, few, pixels[:8], cfg, folder=out, max_steps=steps
        )
        if ranks.rank() == 0:
            state = read_json(receipt_path(out / "state.safetensors"))
            facts = {"losses": state["losses"], "seconds": done.seconds}
            (out / "done.json").write_text(json.dumps(facts))


def launch(processes: int, threads: int, steps: int) -> dict[str, Any]:
    """Return what `sitting` wrote, and the seconds of the whole command as `wall`."""
    with tempfile.TemporaryDirectory() as out:
        own = [__file__, "--sitting", str(steps), str(threads), out]
        torchrun = [
            "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
            "--standalone", "--local-addr", "127.0.0.1",
        ]  # fmt: skip
        job = [sys.executable, *(torchrun if processes > 1 else []), *own]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        env |= {"GLOO_SOCKET_IFNAME": "lo"}
        began = time.perf_counter()
        subprocess.run(job, env=env, check=True, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - began
        return {**json.loads(Path(out, "done.json").read_text()), "wall": wall}


def training(steps: int, rounds: int) -> dict[str, Any]:
    """Return steps a second by arm, and the start of each."""
    arms = {"1_process_2_threads": (1, 2), "2_processes_1_thread": (2, 1)}
    first = {arm: launch(*how, min(steps, 10)) for arm, how in arms.items()}
    a, b = (np.array(one["losses"]) for one in first.values())
    gap = float(np.abs(a - b).max())
    assert gap <= 1e-4, f"the losses of two processes are off by {gap}"
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, how in arms.items():
            found[arm].append(launch(*how, steps))
    speed = {arm: [steps / r["seconds"] for r in runs] for arm, runs in found.items()}
    middle = {arm: statistics.median(s) for arm, s in speed.items()}
    one, two = middle.values()
    return {
        "backbone": START, "batch": recipes.get(START).cfg.batch_size, "steps": steps,
        "largest_gap": gap,
        "steps_per_second": {
            arm: {"median": round(middle[arm], 3), "rounds": [round(x, 3) for x in s]}
            for arm, s in speed.items()
        },
        "ratio_2_processes": round(two / one, 3),
        "start_seconds": {
            arm: round(statistics.median(r["wall"] - r["seconds"] for r in runs), 2)
            for arm, runs in found.items()
        },
    }  # fmt: skip


def captioning(temp: Path, images: int, rounds: int) -> dict[str, Any]:
    """Return seconds by 1,000 images and bytes of a record, 1 thread."""
    torch.set_num_threads(1)
    who = smallcaptioners.captioner(CAPTIONER)
    prompt = smallcaptioners.prompt_of(CAPTIONER)
    pairs = load("world").where("val").subset(np.arange(images))
    seconds, size = [], 0
    for k in range(rounds):
        path = temp / f"captions{k}.jsonl"
        began = time.perf_counter()
        describe(pairs, who, prompt, path)
        seconds.append(time.perf_counter() - began)
        size = path.stat().st_size
    middle = statistics.median(seconds)
    return {
        "captioner": CAPTIONER, "images": images, "variants": prompt.variants,
        "seconds_per_1000_images_1_thread": round(1000 * middle / images, 1),
        "rounds": [round(s, 2) for s in seconds],
        "bytes_per_image": round(size / images, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--shard", type=int, default=512)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--write", action="store_true", help="write the receipt")
    parser.add_argument("--sitting", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sitting:
        steps, threads, out = args.sitting
        return sitting(int(steps), int(threads), Path(out))
    if args.quick:
        args.images, args.shard, args.steps, args.captions = 512, 64, 3, 2
        args.rounds = 1
    found: dict[str, Any] = {"rounds": args.rounds, "cores": os.cpu_count()}
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "embedding": lambda t: embedding(t, args.images, args.shard, args.rounds),
        "training": lambda t: training(args.steps, args.rounds),
        "captioning": lambda t: captioning(t, args.captions, args.rounds),
    }
    for name, part in parts.items():
        with tempfile.TemporaryDirectory() as temp:
            found[name] = part(Path(temp))
        print(name, json.dumps(found[name], indent=1), flush=True)
    if args.write:
        digests = {name: backbones.load(name).digest for name in (BACKBONE, START)}
        command = "python tests/bench/scaling.py --write"
        print(report.record("bench/scaling", found, command=command, inputs=digests))


if __name__ == "__main__":
    main()
