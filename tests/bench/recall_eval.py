"""Recall from embeddings: `evaluate_embeddings`, CLIP_benchmark, torchmetrics.

    pip install --no-deps --require-hashes -r tests/bench/requirements.txt
    python tests/bench/recall_eval.py [--write] [--quick]

Sizes are RSICD's test split and ten times that, on unit vectors without ties. Each form
gets the same embeddings and gives the same six recalls, which is asserted first.
CLIP_benchmark runs as released, on a model that hands out the vectors, with the
batch that is quickest here (tried first) and with its command line's default of 64.
torchmetrics is a `MetricCollection` of `RetrievalHitRate`, which flattens all scores;
at ten times the size that would take some 20 GB, so it gets a share of the queries,
stated, against the whole gallery. Times are interleaved, medians of the rounds; at ten
times the size each run has its own process. Memory is the peak beyond the embeddings,
each form in a process of its own.

`product` is the matrix of scores alone: no form that makes every score can be quicker.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from clip_benchmark.metrics import zeroshot_retrieval as theirs
from timing import interleave
from torchmetrics import MetricCollection
from torchmetrics.retrieval import RetrievalHitRate

from rsnb import report
from rsnb.metrics import KS, evaluate, evaluate_embeddings

FULL = {"rsicd": 1093, "rsicd x 10": 10_930}
QUICK = {"rsicd": 20, "rsicd x 10": 200}
BAR = {"speedup": 100, "memory": 0.1}
DEFAULT = 64  # CLIP_benchmark's --batch_size


class Ready:
    """What CLIP_benchmark takes for a model: its inputs are the embeddings."""

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        return x

    encode_text = encode_image


def made(images: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return captions, images (unit rows) and ground truth, five captions an image."""
    rng = np.random.default_rng(0)
    gt = np.repeat(np.arange(images), 5)
    img = rng.standard_normal((images, dim), dtype=np.float32)
    txt = img[gt] + 6 * rng.standard_normal((len(gt), dim), dtype=np.float32)
    for x in (img, txt):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return txt, img, gt


def ours(txt: np.ndarray, img: np.ndarray, gt: np.ndarray) -> dict[str, float]:
    out = evaluate_embeddings(txt, img, gt).as_dict()
    return {name: out[name] for name in out if name != "mR"}


def clip_benchmark(
    txt: np.ndarray, img: np.ndarray, gt: np.ndarray, batch: int
) -> dict[str, float]:
    """Return what CLIP_benchmark's `evaluate` finds, under our names, in percent."""
    t, i = torch.from_numpy(txt), torch.from_numpy(img)
    cuts = range(0, len(i), batch)
    rows = [list(range(5 * j, 5 * j + 5)) for j in range(len(i))]
    data = [(i[lo : lo + batch], rows[lo : lo + batch]) for lo in cuts]
    out = theirs.evaluate(
        Ready(), data, lambda rows: t[torch.tensor(rows)], "cpu",
        amp=False, recall_k_list=list(KS),
    )  # fmt: skip
    names = {"i2t": "text", "t2i": "image"}
    return {
        f"{way}_r{k}": 100 * out[f"{name}_retrieval_recall@{k}"]
        for way, name in names.items()
        for k in KS
    }


def torchmetrics(
    txt: np.ndarray, img: np.ndarray, gt: np.ndarray, share: int = 1
) -> dict[str, float]:
    """Return torchmetrics' hit rates in percent; of each `share`-th query alone."""
    t, i, own = torch.from_numpy(txt), torch.from_numpy(img), torch.from_numpy(gt)
    few, some = torch.arange(0, len(t), share), torch.arange(0, len(i), share)
    ways = {
        "i2t": (i[some] @ t.T, some[:, None] == own),
        "t2i": (t[few] @ i.T, own[few, None] == torch.arange(len(i))),
    }
    out = {}
    for way, (scores, right) in ways.items():
        rates = {f"{way}_r{k}": RetrievalHitRate(top_k=k) for k in KS}
        metrics = MetricCollection(rates)
        query = torch.arange(len(scores))[:, None].expand_as(scores)
        metrics.update(scores, right, indexes=query)
        out |= {name: 100 * float(x) for name, x in metrics.compute().items()}
    return out


def quickest(txt: np.ndarray, img: np.ndarray, gt: np.ndarray) -> int:
    """Return the batch at which CLIP_benchmark's own loop is quickest."""
    few = slice(0, min(512, len(txt)))
    scores = torch.from_numpy(txt[few] @ img.T)
    right = torch.from_numpy(gt[few, None] == np.arange(len(img)))

    def seconds(batch: int) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            theirs.batchify(theirs.recall_at_k, scores, right, batch, "cpu", k=10)
            times.append(time.perf_counter() - began)
        return min(times)

    return min((2, 4, 8, 16, 32, 64, 128), key=seconds)


def peak() -> float:
    """Return the largest resident size in MB: since `restart`, where Linux has it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(x.split(":", 1) for x in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def restart() -> float:
    """Begin a new count of the peak and return where it begins."""
    if Path("/proc/self/clear_refs").is_file():
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def apart(
    form: str, images: int, dim: int, batch: int, threads: int, share: int = 1
) -> dict[str, Any]:
    """Return seconds, peak in MB beyond its inputs, and recalls, of a new process."""
    what = [form, images, dim, batch, threads, share]
    done = subprocess.run(
        [sys.executable, __file__, "--one", *map(str, what)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def one(form: str, images: int, dim: int, batch: int, threads: int, share: int) -> None:
    """Run a form once and print its time, its peak and what it found."""
    torch.set_num_threads(threads)
    theirs.tqdm = lambda x: x  # their bar costs time
    data = made(images, dim)
    small = made(200, dim)  # kernels and the buffers of both BLAS are there
    ours(*small), clip_benchmark(*small, batch), torchmetrics(*small)
    if sys.platform == "linux":  # what lies free here would hide what a form needs
        ctypes.CDLL(None).malloc_trim(0)
    before, began = restart(), time.perf_counter()
    found = {
        "rsnb": lambda: ours(*data),
        "product": lambda: data[0] @ data[1].T,
        "clip_benchmark": lambda: clip_benchmark(*data, batch),
        "torchmetrics": lambda: torchmetrics(*data, share),
    }[form]()
    seconds, mb = time.perf_counter() - began, peak() - before
    recalls = found if isinstance(found, dict) else {}
    print(json.dumps({"seconds": seconds, "peak_mb": mb, "recalls": recalls}))


def expected(data: tuple[np.ndarray, ...], share: int) -> dict[str, dict[str, float]]:
    """Return the recalls that each form must give; torchmetrics gets some queries."""
    recall = evaluate_embeddings(*data)
    want = {k: v for k, v in recall.as_dict().items() if k != "mR"}
    ways = (("i2t", recall.i2t_hits), ("t2i", recall.t2i_hits))
    some = {f"{way}_r{k}": 100 * float(hits[::share, c].mean())
            for way, hits in ways for c, k in enumerate(KS)}  # fmt: skip
    return {"rsnb": want, "clip_benchmark": want, "torchmetrics": some}


def agree(got: dict[str, float], right: dict[str, float]) -> None:
    """Assert that two forms found the same."""
    assert got.keys() == right.keys()
    for name in right:
        assert abs(got[name] - right[name]) < 1e-4, (name, got[name], right[name])


def at_once(
    data: tuple[np.ndarray, ...], batch: int, rounds: int, want: dict[str, Any]
) -> dict[str, list[float]]:
    """Return times of all forms, which agree first, interleaved in this process."""
    agree(clip_benchmark(*data, batch), want["clip_benchmark"])
    agree(torchmetrics(*data), want["torchmetrics"])
    sim = data[0] @ data[1].T
    arms = {
        "rsnb": lambda: ours(*data),
        "product": lambda: data[0] @ data[1].T,
        f"clip_benchmark, batch {batch}": lambda: clip_benchmark(*data, batch),
        "torchmetrics": lambda: torchmetrics(*data),
        "rsnb from scores": lambda: evaluate(sim, data[2]),
        "clip_benchmark, batch 64": lambda: clip_benchmark(*data, DEFAULT),
    }
    return interleave(arms, rounds)


def measure(
    images: int, dim: int, rounds: int, threads: int, share: int
) -> dict[str, Any]:
    """Return times and peaks of all forms at one size.

    At the large size (`share` above 1) each run has a process of its own, in turn:
    what one form leaves behind would not fit beside the next.
    """
    data = made(images, dim)
    batch = quickest(*data)
    want, label = expected(data, share), f"clip_benchmark, batch {batch}"
    how = images, dim, batch, threads, share
    times: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    if share == 1:
        times = at_once(data, batch, rounds, want)
    del data
    forms = ("rsnb", "clip_benchmark", "torchmetrics", "product")
    for _ in range(1 if share == 1 else rounds):
        for form in forms[: 3 if share == 1 else 4]:
            run = apart(form, *how)
            if form != "product":
                agree(run["recalls"], want[form])
                peaks[form] = run["peak_mb"]
            if share > 1:
                arm = label if form == "clip_benchmark" else form
                times.setdefault(arm, []).append(run["seconds"])
    if share > 1:
        del peaks["torchmetrics"]  # of a share of the queries: says nothing
    seconds = {arm: statistics.median(t) for arm, t in times.items()}
    if share > 1:
        seconds["torchmetrics"] *= share
    rival = min((a for a in times if a.startswith("clip")), key=seconds.__getitem__)
    found = {
        "images": images, "captions": 5 * images, "dim": dim, "rounds": rounds,
        "seconds": seconds, "all_seconds": times, "rival": rival,
        "torchmetrics_share": 1 / share, "extra_mb": peaks,
        "speedup": {a: t / seconds["rsnb"] for a, t in seconds.items()},
        "most_possible": seconds[rival] / seconds["product"],
        "memory": {f: peaks["rsnb"] / mb for f, mb in peaks.items()},
    }  # fmt: skip
    if share == 1:  # theirs from scores is what it takes beyond the product
        left = seconds[rival] - seconds["product"]
        found["speedup_from_scores"] = left / seconds["rsnb from scores"]
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run all sizes and print, or with --write also keep, what they took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--dims", type=int, nargs="+", default=[512, 128])
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5)
    add("--large-rounds", type=int, default=3, help="at ten times the size")
    add("--share", type=int, default=50, help="torchmetrics' queries there: 1 in ...")
    add("--sizes", nargs="+", choices=FULL, default=[*FULL])
    add("--quick", action="store_true", help="tiny sizes")
    add("--write", action="store_true", help="keep a receipt in book/results")
    add("--one", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        one(args.one[0], *map(int, args.one[1:]))
        return {}
    if args.quick and args.write:
        parser.error("a receipt needs the full sizes")
    torch.set_num_threads(args.threads)
    theirs.tqdm = lambda x: x  # their bar costs time
    found: dict[str, Any] = {"threads": args.threads, "bar": BAR}
    for size, images in (QUICK if args.quick else FULL).items():
        if size not in args.sizes:
            continue
        large = size != "rsicd"
        for dim in args.dims[:1] if large or args.quick else args.dims:
            rounds = args.large_rounds if large else args.rounds
            share = args.share if large else 1
            row = measure(images, dim, rounds, args.threads, share)
            found[f"{size}, {dim}"] = row
            for arm, t in row["seconds"].items():
                ratio = f"{row['speedup'][arm]:8.1f} x rsnb's"
                print(f"{size:10} {dim:4} {arm:26} {1e3 * t:10.1f} ms {ratio}")
            for form, mb in row["extra_mb"].items():
                print(f"{size:10} {dim:4} {form:26} {mb:10.1f} MB extra")
            print(
                f"at most {row['most_possible']:.1f} x: the product alone", flush=True
            )
    if args.write:
        some = "" if len(args.sizes) > 1 else f" --sizes {args.sizes[0]}"
        command = f"python tests/bench/recall_eval.py{some} --write"
        print(report.record("bench/recall", found, command=command, seeds=[0]))
    return found


if __name__ == "__main__":
    main()
