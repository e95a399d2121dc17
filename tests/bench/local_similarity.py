"""Time and memory of RRSITR's local similarity, by Gram matrices and directly.

    python tests/bench/local_similarity.py [--pairs 452 2260] [--repeats 3] [--write]

Each form runs in a process of its own, all with the same number of threads, one after
the other in every round; the best round of each counts. The direct form multiplies the
tokens of all pairs and takes the norm, in the published tiles of 400 x 400 items and
in tiles that stay nearer to the processor; the quicker of the two is the rival.
Memory is the peak beyond the tokens themselves.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsnb import report
from rsnb.local import local_similarity

FORMS = {"gram": None, "direct 400 x 400": (400, 400), "direct 16 x 256": (16, 256)}


def direct(img: Tensor, txt: Tensor, tile: tuple[int, int]) -> Tensor:
    """Return (T, N) from the cosines of all tokens, a tile of pairs at a time."""
    out = img.new_empty(len(txt), len(img))
    for n in range(0, len(img), tile[0]):
        a = img[n : n + tile[0]]
        for t in range(0, len(txt), tile[1]):
            b = txt[t : t + tile[1]]
            cosines = (b.flatten(0, 1) @ a.flatten(0, 1).T).unflatten(1, a.shape[:2])
            cosines = cosines.unflatten(0, b.shape[:2])
            norm = torch.linalg.vector_norm(cosines, dim=(1, 3))
            out[t : t + tile[1], n : n + tile[0]] = norm
    return out


def peak() -> float:
    """Return the largest resident size of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def one(form: str, args: argparse.Namespace, path: Path) -> None:
    """Run one form once; leave the similarities in `path`, print time and memory."""
    torch.set_num_threads(args.threads)
    gen = torch.Generator().manual_seed(0)
    n, t = args.pairs
    p, w, d = args.tokens
    img, txt = (torch.randn(s, generator=gen) for s in ((n, p, d), (t, w, d)))
    for tokens in (img, txt):  # in place: a copy would hide what the forms need
        tokens /= torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
    (img[:2] @ img[:2].transpose(1, 2)).sum()  # threads and kernels are there
    tile, before = FORMS[form], peak()
    start = time.perf_counter()
    with torch.inference_mode():
        sim = direct(img, txt, tile) if tile else local_similarity(img, txt)
    seconds = time.perf_counter() - start
    after = peak()
    np.save(path, sim.numpy())
    print(json.dumps({"seconds": seconds, "peak_mb": after - before}))


def main() -> None:
    """Run all forms and print, or with --write also keep, what they took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--pairs", type=int, nargs=2, default=[452, 2260], metavar=("N", "T"))
    add("--tokens", type=int, nargs=3, default=[50, 77, 512], metavar=("P", "W", "D"))
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=3)
    add("--write", action="store_true", help="keep a receipt in book/results")
    add("--form", choices=FORMS, help=argparse.SUPPRESS)
    add("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.form:
        one(args.form, args, args.out)
        return
    runs: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    shape = [str(x) for x in (*args.pairs, *args.tokens)]
    same = ["--pairs", *shape[:2], "--tokens", *shape[2:]]
    same += ["--threads", str(args.threads)]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            for form in FORMS:
                out = ["--form", form, "--out", str(Path(folder, f"{form}.npy"))]
                done = subprocess.run(
                    [sys.executable, __file__, *same, *out],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                runs[form].append(json.loads(done.stdout))
        sims = [np.load(Path(folder, f"{form}.npy")).astype(float) for form in FORMS]
    error = max(float(np.abs(sims[0] / s - 1).max()) for s in sims[1:])
    best = {form: min(r["seconds"] for r in rows) for form, rows in runs.items()}
    memory = {form: max(r["peak_mb"] for r in rows) for form, rows in runs.items()}
    rival = min((f for f in FORMS if f != "gram"), key=best.__getitem__)
    figures = {
        "images, texts": args.pairs, "patches, words, dim": args.tokens,
        "threads": args.threads, "repeats": args.repeats,
        "best_seconds": best, "peak_mb": memory,
        "all_seconds": {f: [r["seconds"] for r in rows] for f, rows in runs.items()},
        "rival": rival, "speedup": best[rival] / best["gram"],
        "largest_relative_difference": error,
    }  # fmt: skip
    for form in FORMS:
        print(f"{form:18} {best[form]:7.2f} s  {memory[form]:8.0f} MB")
    print(f"{figures['speedup']:.1f} x quicker than {rival}, within {error:.1e}")
    if args.write:
        command = " ".join(["python tests/bench/local_similarity.py", *same, "--write"])
        report.record("bench/local-similarity", figures, command=command, seeds=[0])


if __name__ == "__main__":
    main()
