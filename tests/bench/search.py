"""Search: exact against NumPy, FAISS, torch and the machine; approximate; on disk.

    python tests/bench/search.py [--rounds 5] [--write] [--quick]
    python tests/bench/search.py --size 10000000 [--write]

**Exact.** Top 10 over N x d unit vectors for batches of 1 to 1,024 queries; rows of all
engines are asserted equal (but for scores within 1e-5) before timing. The limit is
what binds of two measured in the same rounds: reading the vectors once from memory, at
the best of several ways to read 0.5 GB or more, and the plain product of the same
matrices, at the best of NumPy's and torch's in either order and in blocks or whole.
Beside it stand `read_of_these_vectors`, which caches help where they are few, and
`share_of_roofline`, with the best rate of any product of the run in place of that of
the same shape.
FAISS runs as it comes, and with larger blocks of its documented
`distance_compute_blas_database_bs`; NumPy and torch take the queries in batches that
fit in memory.

**Approximate.** Vectors are clustered: N / 1000 centres drawn evenly on the sphere; a
vector is a centre plus 0.8 times a Gaussian of expected norm 1 in 16 of the d
dimensions (one of 64 random subspaces, by cluster) plus 0.2 times one in all d,
normalised. Queries are new members of the clusters. A part is a function of (seed,
part) alone. All indexes are built from shards on disk and opened from their files.
Settings are tried on one half of the queries: the quickest whose recall@10 is at least
0.95 (with 0.01 to spare, if any has it) is reported on the other half.
With --size the whole part is one size, streamed: exact over shards, and IVF,PQ only.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("LANCE_LOG", "error")

import faiss
import numpy as np
import torch

from rsnb import report, shards
from rsnb.databases import LanceSearcher, build_table
from rsnb.errors import EmbeddingError
from rsnb.index import Searcher
from rsnb.ondisk import DiskSearcher, StreamedSearcher, build_index

K, QUERIES = 10, (1, 16, 256, 1024)
CELLS = 2**27  # scores that NumPy and torch make at once, 0.5 GB
LARGEST = 2**38  # multiplications; beyond, all engines take minutes a round
DIM, PART, INTRINSIC, SUBSPACES, WITHIN, AROUND = 128, 100_000, 16, 64, 0.8, 0.2
Found = tuple[np.ndarray, np.ndarray]
Run = Callable[[], Any]


def unit(x: np.ndarray) -> np.ndarray:
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each, one after the other in every round.

    Short ones run for some 50 ms at a time, and each waits until the threads of the
    one before have stopped spinning.
    """
    times = {}
    for name, run in runs.items():
        run()
        times[name] = max(1, int(0.05 / timed(run)))
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(0.05)
            if times[name] > 1:
                run()
            start = time.perf_counter()
            for _ in range(times[name]):
                run()
            took[name].append((time.perf_counter() - start) / times[name])
    return took


# Exact


def readers(x: np.ndarray, what: str) -> dict[str, Run]:
    """Return ways to read every vector once."""
    tensor, one = torch.from_numpy(x), np.ones(x.shape[1], np.float32)
    halves = np.array_split(x, 2)
    pool = ThreadPoolExecutor(2)
    return {
        f"{what}: torch sum": tensor.sum,
        f"{what}: NumPy max, 2 threads": lambda: list(pool.map(np.max, halves)),
        f"{what}: NumPy product": lambda: x @ one,
        f"{what}: torch product": lambda: tensor @ torch.from_numpy(one),
    }


def products(x: np.ndarray, q: np.ndarray) -> dict[str, Run]:
    """Return ways to make all inner products, which are overwritten by blocks."""
    n, c = len(x), len(q)
    runs: dict[str, Run] = {}
    for name, step in (("blocks", max(1024, 2**20 // c)), ("large", CELLS // c)):
        step = min(step, n)
        out = np.empty(step * c, np.float32)
        for way, engine in (("NumPy", np), ("torch", torch)):
            wrap = torch.from_numpy if way == "torch" else np.asarray
            a, b, o = wrap(x), wrap(q), wrap(out)

            def rows(a=a, b=b, o=o, step=step, engine=engine) -> None:
                for i in range(0, n, step):
                    m = min(step, n - i)
                    engine.matmul(a[i : i + m], b.T, out=o[: m * c].reshape(m, c))

            def columns(a=a, b=b, o=o, step=step, engine=engine) -> None:
                for i in range(0, n, step):
                    m = min(step, n - i)
                    engine.matmul(b, a[i : i + m].T, out=o[: m * c].reshape(c, m))

            runs[f"product: {way}, {name}"] = rows
            runs[f"product: {way}, {name}, transposed"] = columns
    return runs


def by_numpy(x: np.ndarray, q: np.ndarray) -> Found:
    found = []
    for i in range(0, len(q), max(1, CELLS // len(x))):
        s = q[i : i + max(1, CELLS // len(x))] @ x.T
        top = np.argpartition(s, -K, axis=1)[:, -K:]
        best = np.take_along_axis(s, top, 1)
        order = np.argsort(-best, axis=1, kind="stable")
        found.append([np.take_along_axis(a, order, 1) for a in (top, best)])
    rows, scores = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(scores)


def by_torch(x: torch.Tensor, q: torch.Tensor) -> Found:
    step = max(1, CELLS // len(x))
    top = [(q[i : i + step] @ x.T).topk(K) for i in range(0, len(q), step)]
    return (torch.cat([t.indices for t in top]).numpy(),
            torch.cat([t.values for t in top]).numpy())  # fmt: skip


def by_faiss(index: Any, q: np.ndarray, block: int) -> Found:
    faiss.cvar.distance_compute_blas_database_bs = block
    scores, rows = index.search(q, K)
    return rows, scores


def same(found: dict[str, Found]) -> None:
    """Assert that all engines name the same rows, but for level scores."""
    rows, scores = found["rsnb"]
    for name, (other, level) in found.items():
        off = other != rows
        assert np.allclose(scores, level, atol=1e-5), name
        assert off.mean() < 0.01, f"{name}: {off.mean():.1%} of the rows differ"


def exact(n: int, dim: int, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((n, dim), dtype=np.float32))
    searcher, tensor, index = Searcher(x), torch.from_numpy(x), faiss.IndexFlatIP(dim)
    index.add(x)
    big = x if x.nbytes > 2**29 else np.ones((2**21, 128), np.float32)
    usual = int(faiss.cvar.distance_compute_blas_database_bs)
    out: dict[str, Any] = {}
    rate = 0.0
    for c in QUERIES:
        if c * n * dim > LARGEST:
            continue
        q = unit(rng.standard_normal((c, dim), dtype=np.float32))
        engines = {
            "rsnb": lambda q=q: searcher.search(q, K),
            "NumPy": lambda q=q: by_numpy(x, q),
            "torch": lambda q=q: by_torch(tensor, torch.from_numpy(q)),
            "FAISS": lambda q=q: by_faiss(index, q, usual),
            "FAISS, tuned": lambda q=q: by_faiss(index, q, 65_536),
        }
        same({name: run() for name, run in engines.items()})
        limits = readers(x, "own") | readers(big, "read") | products(x, q)
        took = interleaved(engines | limits, rounds)
        second = {name: statistics.median(t) for name, t in took.items()}
        own, read, mul = (
            min((w for w in second if w.startswith(way)), key=second.__getitem__)
            for way in ("own", "read", "product")
        )
        speed = big.nbytes / second[read]
        reading = x.nbytes / speed
        rate = max(rate, 2 * c * n * dim / second[mul] / 1e9)
        # a single query is read, not multiplied: its product is one way to read
        limit = reading if c == 1 else max(reading, second[mul])
        peer = min(list(engines)[1:], key=second.__getitem__)
        out[str(c)] = {
            "seconds": {name: second[name] for name in engines},
            "rounds": {name: took[name] for name in engines},
            "read": {"by": read, "seconds": reading, "GB/s": speed / 1e9},
            "read_of_these_vectors": {
                "by": own, "GB/s": x.nbytes / second[own] / 1e9,
                "share": second[own] / second["rsnb"]},
            "product": {"by": mul, "seconds": second[mul],
                        "GFLOP/s": 2 * c * n * dim / second[mul] / 1e9},
            "binds": "read" if limit == reading else "product",
            "share_of_limit": limit / second["rsnb"],
            "best_peer": peer, "ratio_to_best_peer": second[peer] / second["rsnb"],
        }  # fmt: skip
    for c, row in out.items():
        roof = max(2 * int(c) * n * dim / rate / 1e9, row["read"]["seconds"])
        row["share_of_roofline"] = roof / row["seconds"]["rsnb"]
        print(f"exact {n:,} x {dim}, {c:>4} queries: rsnb "
              f"{row['seconds']['rsnb'] * 1e3:8.1f} ms, {row['share_of_limit']:.2f} of "
              f"{row['binds']}, {row['share_of_roofline']:.2f} of roofline; "
              + ", ".join(f"{p} {s * 1e3:.1f}" for p, s in row["seconds"].items()
                          if p != "rsnb"), flush=True)  # fmt: skip
    return out


# Approximate


def clustered(part: int, n: int, total: int, dim: int = DIM) -> np.ndarray:
    """Return vectors of one part, float32 (n, dim); negative parts are queries."""
    world = np.random.default_rng(0)  # centres and subspaces, the same for all parts
    centres = unit(world.standard_normal((max(total // 1000, 1), dim), np.float32))
    spans = world.standard_normal((SUBSPACES, dim, INTRINSIC))
    spans = np.linalg.qr(spans)[0].astype(np.float32)
    rng = np.random.default_rng([1, part + 1000])
    of = np.sort(rng.integers(0, len(centres), n) * SUBSPACES) // SUBSPACES
    rng.shuffle(of)
    x = centres[of]
    x += AROUND / dim**0.5 * rng.standard_normal((n, dim), np.float32)
    z = WITHIN / INTRINSIC**0.5 * rng.standard_normal((n, INTRINSIC), np.float32)
    for s in range(SUBSPACES):
        mine = np.flatnonzero(of % SUBSPACES == s)
        x[mine] += z[mine] @ spans[s].T
    return unit(x)


def resident() -> dict[str, float]:
    """Return this process's own memory and mapped files, in MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    found = re.findall(r"Rss(Anon|File):\s+(\d+) kB", status)
    return {kind: int(kb) / 1024 for kind, kb in found}


def settings(n: int, large: bool) -> Iterator[tuple[str, str, int]]:
    """Yield FAISS kind, parameters and candidates to rank again."""
    lists = min(2 ** round(np.log2(4 * n**0.5)), 8192)
    pq = "PQ32" if n >= 100_000 else "PQ16x4"  # a quick run trains a quick quantiser
    if not large:
        for ef in (16, 32, 64, 128, 256):
            yield "HNSW32", f"efSearch={ef}", 0
        for probe in (1, 2, 4, 8, 16, 32, 64):
            yield f"IVF{lists},Flat", f"nprobe={probe}", 0
    for fetch in (50, 100, 200, 400):
        for probe in (2, 4, 8, 16, 32, 64):
            yield f"IVF{lists},{pq}", f"nprobe={probe}", fetch
    yield f"IVF{lists},{pq}", "nprobe=64", 0


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found[:, :, None] == truth[:, None]).any(2).mean())


def approximate(
    n: int, folder: Path, rounds: int, *, part: int, large: bool, batch: int
) -> dict[str, Any]:
    parts = -(-n // part)
    identity = {"clustered": n, "dim": DIM, "part": part, "seed": [0, 1]}

    def make(i: int) -> dict[str, np.ndarray]:
        return {"emb": clustered(i, min(part, n - i * part), n)}

    start = time.perf_counter()
    made = shards.write(folder / f"{n}", parts, make, identity)
    out: dict[str, Any] = {"write_shards_seconds": time.perf_counter() - start}
    q = clustered(-1, 2 * batch, n)
    tune, test = q[:batch], q[batch:]
    before = resident()
    streamed = StreamedSearcher(made)
    start = time.perf_counter()
    truth = streamed.search(q, K)[0]
    out["first_pass_seconds"] = time.perf_counter() - start
    gc.collect()
    after = resident()
    out["streamed_mb"] = {m: after[m] - before[m] for m in after}
    engines: dict[str, Any] = {"streamed": streamed}
    if not large:
        whole = np.concatenate([block["emb"] for _, block in made])
        engines = {"exact": Searcher(whole), **engines}
        del whole
        assert (engines["exact"].search(q, K)[0] == truth).mean() > 0.999
    tried, built = [], {}
    for kind, params, fetch in settings(n, large):
        path = folder / f"{n}-{kind}.faiss"
        if kind not in built:
            start = time.perf_counter()
            build_index(made, path, kind)
            built[kind] = {"build_seconds": time.perf_counter() - start,
                           "bytes_per_vector": path.stat().st_size / n}  # fmt: skip
        again = {"shards": made, "fetch": fetch} if fetch else {}
        index = DiskSearcher(path, params=params, **again)
        try:
            index.search(tune, K)
        except EmbeddingError:
            continue  # so few lists hold fewer than k
        second = min(timed(lambda e=index: e.search(tune, K)) for _ in range(2))
        hit = recall(index.search(tune, K)[0], truth[:batch])
        tried.append({"kind": kind, "params": params, "fetch": fetch,
                      "recall": hit, "queries_per_second": batch / second})  # fmt: skip
        print(f"  {n:,} {kind:14} {params:13} fetch {fetch:3}: recall {hit:.3f}, "
              f"{batch / second:8.0f} queries/s", flush=True)  # fmt: skip
    chosen = {}
    for kind in built:
        mine = [t for t in tried if t["kind"] == kind]
        sure = [t for t in mine if t["recall"] >= 0.96]
        sure = sure or [t for t in mine if t["recall"] >= 0.95]
        key = "queries_per_second" if sure else "recall"
        best = max(sure or mine, key=lambda t: t[key])
        chosen[kind] = best
        again = {"shards": made, "fetch": best["fetch"]} if best["fetch"] else {}
        before = resident()
        path = folder / f"{n}-{kind}.faiss"
        engines[kind] = DiskSearcher(path, params=best["params"], **again)
        engines[kind].search(test, K)
        built[kind]["mb"] = {m: v - before[m] for m, v in resident().items()}
    if not large:
        pq = {"num_partitions": 2 ** round(np.log2(n**0.5)), "num_sub_vectors": 32}
        # beyond, its exact batch and its build take minutes
        tables = {"LanceDB IVF-PQ": pq, "LanceDB": {}} if n <= 100_000 else {}
        for name, index in tables.items():
            table = folder / f"{n}-{name.replace(' ', '-')}"
            start = time.perf_counter()
            build_table(made, table, **index)
            size = sum(f.stat().st_size for f in table.rglob("*") if f.is_file())
            built[name] = {"build_seconds": time.perf_counter() - start,
                           "bytes_per_vector": size / n}  # fmt: skip
            engines[name] = LanceSearcher(table)
    few = 4 if large else 16
    runs: dict[str, Run] = {}
    for name, engine in engines.items():
        runs[f"{name}/1"] = lambda e=engine: [
            e.search(test[i : i + 1], K) for i in range(few)
        ]
        runs[f"{name}/{batch}"] = lambda e=engine: e.search(test, K)
    took = interleaved(runs, rounds)
    base = next(iter(engines))
    for name, engine in engines.items():
        one = statistics.median(took[f"{name}/1"]) / few
        many = statistics.median(took[f"{name}/{batch}"])
        once, often = (statistics.median(took[f"{base}/{c}"]) for c in (1, batch))
        times = {"one": once / few / one, "batch": often / many}
        out[name] = {
            **built.get(name, {}), **chosen.get(name, {}),
            "recall": recall(engine.search(test, K)[0], truth[batch:]),
            "one_query_ms": one * 1e3, f"batch_{batch}_ms": many * 1e3,
            f"times_quicker_than_{base}": times,
        }  # fmt: skip
        print(f"{n:,} {name:18} recall {out[name]['recall']:.3f}, one "
              f"{one * 1e3:.2f} ms ({times['one']:.1f} x), {batch}: "
              f"{many * 1e3:.1f} ms ({times['batch']:.1f} x)", flush=True)  # fmt: skip
    out["tried"] = tried
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, help="approximate search at this size alone, IVF,PQ")
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=2)
    add("--only", choices=["exact", "approximate"])
    add("--folder", type=Path, default=report.root() / "build" / "bench/search")
    add("--quick", action="store_true", help="small sizes, to see that it runs")
    add("--write", action="store_true", help="keep a receipt")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    shapes = [(100_000, 128), (1_000_000, 128), (100_000, 512), (1_000_000, 512)]
    sizes, how = [100_000, 1_000_000], {"part": PART, "batch": 256}
    if args.quick:
        shapes, sizes, args.rounds = [(3000, 32)], [4000], 1
        how = {"part": 1500, "batch": 32}
    figures: dict[str, Any] = {"threads": args.threads, "rounds": args.rounds, "k": K}
    name = "bench/search"
    shutil.rmtree(args.folder, ignore_errors=True)
    try:
        if args.size:
            name += f"-{args.size}"
            figures["approximate"] = {args.size: approximate(
                args.size, args.folder, args.rounds, large=True, **how)}  # fmt: skip
        else:
            if args.only != "approximate":
                figures["exact"] = {f"{n} x {d}": exact(n, d, args.rounds)
                                    for n, d in shapes}  # fmt: skip
            if args.only != "exact":
                figures["approximate"] = {
                    n: approximate(n, args.folder, args.rounds, large=False, **how)
                    for n in sizes}  # fmt: skip
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)
    if args.write:
        size = f" --size {args.size}" if args.size else ""
        command = f"python tests/bench/search.py{size} --write"
        print(report.record(name, figures, command=command, seeds=[0, 1]))


if __name__ == "__main__":
    main()
