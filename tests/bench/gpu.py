"""What a GPU gives: embedding, RRSITR's training step, QGD's views, exact search.

    python tests/bench/gpu.py [--write] [--quick]

Needs torch, open_clip and this package's source, no data and no weights. Everything is
held against two ceilings that the same run measures on the same card: a large bf16
matrix product, and a large copy. Times are medians of device events after a warm-up;
inputs are random. `--write` keeps `book/results/bench/gpu.json`; `--quick` runs tiny
sizes on any device, as the tests do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rsnb import local, recipes, report
from rsnb.backbones import Entry, build, wrap
from rsnb.cadre.qgd import Probe
from rsnb.losses import info_nce
from rsnb.rrsitr import RRSITR, rrsitr

MODELS = ("ViT-B-32", "ViT-L-14")


def made(name: str, device: torch.device, quick: bool, precision: str = "fp32") -> Any:
    """Return open_clip's model with random weights; a tiny ViT if `quick`."""
    if not quick:
        return open_clip.create_model(name, precision=precision, device=device)
    text = {
        "context_length": 16,
        "vocab_size": 99,
        "width": 64,
        "heads": 1,
        "layers": 1,
    }
    config = {"embed_dim": 64, "vision_cfg": recipes.VIT, "text_cfg": text}
    half = {"bf16": torch.bfloat16}.get(precision, torch.float32)
    return build(config, "gelu").to(device, half)


def ms(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Return the median time of a call in milliseconds, by events on a GPU."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def ceilings(device: torch.device, repeats: int, quick: bool) -> dict[str, float]:
    """Return TFLOP/s of a bf16 product and GB/s of a copy, reads and writes counted."""
    n = 256 if quick else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * n**3 / ms(lambda: a @ b, device, repeats) / 1e9
    x = torch.randn(n * n * (1 if quick else 8), device=device)
    y = torch.empty_like(x)
    copy = 2 * 4 * x.numel() / ms(lambda: y.copy_(x), device, repeats) / 1e6
    return {"matmul_tflops": product, "copy_gb_s": copy}


def flops_of(model: Any, pixels: Tensor) -> float:
    """Return the floating-point operations of the image tower for a batch."""
    with FlopCounterMode(display=False) as count, torch.inference_mode():
        model.encode_image(pixels)
    return float(count.get_total_flops())


def compiled(model: Any, pixels: Tensor) -> Callable[[], Tensor]:
    """Return the image tower's forward pass, its small operations fused."""
    tower = torch.compile(model.visual, dynamic=False)

    def look() -> Tensor:
        with torch.inference_mode():
            return tower(pixels)

    with torch.inference_mode():
        torch.testing.assert_close(look(), model.visual(pixels), rtol=0.1, atol=0.1)
    return look


def embedding(
    name: str, device: torch.device, repeats: int, quick: bool, top: float
) -> list[dict[str, Any]]:
    """Return images a second of the image tower, by batch, and of the whole path."""
    model = made(name, device, quick, "bf16").eval()
    side = model.visual.image_size[0]
    out = []
    for batch in (2,) if quick else (64, 256, 1024):
        shape = batch, 3, side, side
        pixels = torch.randn(shape, device=device, dtype=torch.bfloat16)
        flops = flops_of(model, pixels)

        def tower(pixels: Tensor = pixels) -> None:
            with torch.inference_mode():
                model.encode_image(pixels)

        # From bytes in the host's memory to unit float32 rows there, as `rsnb.embed`.
        entry = Entry(name, "gelu", "")
        backbone = wrap(name, model, entry, "")
        images = np.random.default_rng(0).integers(
            256, size=(batch, side, side, 3), dtype=np.uint8
        )

        def whole(
            images: np.ndarray = images, backbone: Any = backbone, shape: Any = shape
        ) -> None:
            with torch.inference_mode():
                x = backbone.prepare(images).to(torch.bfloat16)
                emb = F.normalize(model.encode_image(x).float(), dim=-1)
                emb.cpu().numpy()

        fast = None if quick else compiled(model, pixels)
        t, all_ = ms(tower, device, repeats), ms(whole, device, repeats)
        fused = ms(fast, device, repeats) if fast else t
        out.append(
            {
                "model": name,
                "batch": batch,
                "tower_images_s": 1000 * batch / t,
                "path_images_s": 1000 * batch / all_,
                "tower_tflops": flops / t / 1e9,
                "share_of_matmul": flops / t / 1e9 / top,
                "compiled_images_s": 1000 * batch / fused,
                "compiled_share_of_matmul": flops / fused / 1e9 / top,
                "inside_tower": t / all_,
            }
        )
    return out


@dataclass
class Step:
    """One training step of a ViT-B/32 on a batch, by loss."""

    model: Any
    pixels: Tensor
    ids: Tensor

    def loss(self, name: str) -> Tensor:
        tokens: tuple[Tensor, ...] = ()
        with torch.autocast(self.pixels.device.type, torch.bfloat16):
            if name == "InfoNCE":
                img = self.model.encode_image(self.pixels)
                txt = self.model.encode_text(self.ids)
            else:
                img, patches = local.image_tokens(self.model, self.pixels)
                txt, words = local.text_tokens(self.model, self.ids)
                tokens = patches, words
        img, txt = (F.normalize(x.float(), dim=-1) for x in (img, txt))
        if not tokens:
            return info_nce(img, txt, 20.0)
        if name == "RRSITR, Gram":
            near = local.local_similarity(*tokens).T
        else:  # the cosines of all tokens of all pairs at once
            cosines = torch.einsum("ipd,twd->itpw", *tokens)
            near = torch.linalg.vector_norm(cosines, dim=(2, 3))
        return rrsitr(img @ txt.T, near, RRSITR()).loss


def training(device: torch.device, repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Return milliseconds and peak memory of a step, by loss and batch (ViT-B/32)."""
    out = []
    for batch in (30,) if quick else (100, 512):
        model = made("ViT-B-32", device, quick).train()
        optim = torch.optim.AdamW(model.parameters(), lr=1e-6)
        side, words = model.visual.image_size[0], model.context_length
        ids = torch.randint(1, model.vocab_size - 1, (batch, words), device=device)
        ids[:, words // 4] = model.vocab_size - 1  # the end, which open_clip pools at
        step = Step(model, torch.randn(batch, 3, side, side, device=device), ids)

        def down(name: str, step: Step = step, optim: Any = optim) -> None:
            optim.zero_grad(set_to_none=True)
            step.loss(name).backward()
            optim.step()

        for name in ("InfoNCE", "RRSITR, Gram", "RRSITR, direct"):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            t = ms(partial(down, name), device, repeats)
            peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
            out.append({
                "loss": name, "batch": batch, "ms": t, "pairs_s": 1000 * batch / t,
                "peak_gb": peak / 2**30,
            })  # fmt: skip
    return out


def views(device: torch.device, repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Return the cost of QGD: embedding the views of images, and probing them."""
    model = made("ViT-B-32", device, quick, "bf16").eval()
    n = 2 if quick else 256
    to = model.visual.image_size
    full = torch.randint(256, (n, 3, 448, 448), device=device, dtype=torch.uint8)
    out = []
    for v in (5, 14):
        side = int(448 * (0.71 if v == 5 else 0.5))

        def look(v: int = v, side: int = side) -> None:
            with torch.inference_mode():
                for k in range(v):
                    part = full if not k else full[..., k : k + side, k : k + side]
                    x = F.interpolate(part.float(), to, mode="bicubic", antialias=True)
                    model.encode_image((x / 127 - 1).to(torch.bfloat16))

        t = ms(look, device, max(3, repeats // 2))
        g = torch.Generator(device=device).manual_seed(0)
        rows = F.normalize(torch.randn(100, v, 512, device=device, generator=g), dim=-1)
        query = F.normalize(torch.randn(1, 512, device=device, generator=g), dim=-1)
        plain, probe = Probe.plain(512, v), torch.randn(512, 512, device=device)

        def ask(rows: Tensor = rows, query: Tensor = query, probe: Any = probe) -> None:
            weights = (rows @ (query @ probe).T)[..., 0].softmax(1)
            seen = F.normalize((weights[..., None] * rows).sum(1), dim=-1)
            (seen @ query.T).cpu()

        cpu_rows, cpu_query = rows.cpu().numpy(), query.cpu().numpy()
        start = time.perf_counter()
        for _ in range(5):
            plain(cpu_query, cpu_rows)
        out.append(
            {
                "views": v,
                "images_s": 1000 * n / t,
                "probe_ms_device": ms(ask, device, repeats),
                "probe_ms_host": 200 * (time.perf_counter() - start),
            }
        )
    return out


def best_of(sim: Tensor, k: int, size: int = 64) -> Tensor:
    """Return the k best scores of each row, (Q, k), in any order.

    They lie in the k groups of columns with the highest maxima, and a maximum reads
    the scores once where `topk` reads them several times.
    """
    if sim.shape[1] < 2 * k * size:
        return sim.topk(k, dim=1).values
    cut = sim.shape[1] // size * size
    groups = sim[:, :cut].unflatten(1, (size, -1))  # a group is a column: read in rows
    at = groups.amax(1).topk(k, dim=1).indices
    near = groups.gather(2, at[:, None].expand(-1, size, -1)).flatten(1)
    return torch.cat([near, sim[:, cut:]], 1).topk(k, dim=1).values


def search(
    device: torch.device, repeats: int, quick: bool, top: dict[str, float]
) -> list[dict[str, Any]]:
    """Return exact top-10 search over random unit rows, against the binding ceiling."""
    n, d = (2000, 64) if quick else (4_000_000, 512)
    rows = torch.empty(n, d, device=device, dtype=torch.bfloat16)
    for part in rows.split(500_000):
        part.copy_(F.normalize(torch.randn(len(part), d, device=device), dim=-1))
    out = []
    for q in (1, 16, 256, 1024):
        query = F.normalize(torch.randn(q, d, device=device), dim=-1).bfloat16()
        block = max(1000, min(n, (1 << 30) // q))  # similarities of 2 GB at once

        def plain(query: Tensor = query, block: int = block) -> Tensor:
            best = [(query @ part.T).topk(10, dim=1) for part in rows.split(block)]
            return torch.cat([b.values for b in best], 1).topk(10, dim=1).values

        def find(query: Tensor = query, block: int = block) -> Tensor:
            best = [best_of(query @ part.T, 10) for part in rows.split(block)]
            return torch.cat(best, 1).topk(10, dim=1).values

        torch.testing.assert_close(find(), plain(), rtol=0, atol=0)

        def product(query: Tensor = query, block: int = block) -> None:
            for part in rows.split(block):
                query @ part.T

        t, alone = ms(find, device, repeats), ms(product, device, repeats)
        whole = ms(plain, device, repeats)
        read, work = 2 * n * d / 1e6 / top["copy_gb_s"], 2 * n * d * q
        limit = max(read, work / top["matmul_tflops"] / 1e9)
        out.append(
            {
                "images": n,
                "dim": d,
                "queries": q,
                "ms": t,
                "product_ms": alone,
                "topk_ms": whole,  # with torch's topk over all scores
                "limit_ms": limit,
                "binds": "bytes" if read == limit else "product",
                "share_of_limit": limit / t,
                "product_share_of_limit": limit / alone,
                "queries_s": 1000 * q / t,
            }
        )
    return out


def measure(device: torch.device, quick: bool = False) -> dict[str, Any]:
    """Return all figures of a device."""
    repeats = 1 if quick else 20
    torch.manual_seed(0)
    top = ceilings(device, repeats, quick)
    print("ceilings", top, flush=True)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "embedding": lambda: [
            row
            for name in MODELS[: 1 if quick else 2]
            for row in embedding(name, device, repeats, quick, top["matmul_tflops"])
        ],
        "training": lambda: training(device, repeats, quick),
        "views": lambda: views(device, repeats, quick),
        "search": lambda: search(device, repeats, quick, top),
    }
    out: dict[str, Any] = {"ceilings": top}
    for part, work in parts.items():
        out[part] = work()
        print(*(f"{part} {row}" for row in out[part]), sep="\n", flush=True)
    out["device"] = "none"
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        out["device"] = facts.name
        out["memory_gb"] = round(facts.total_memory / 2**30, 1)
        out["torch"] = torch.__version__
    return out


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--write", action="store_true")
    ask.add_argument("--quick", action="store_true")
    args = ask.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.quick:
        raise SystemExit("no GPU here; --quick runs tiny sizes on the CPU")
    start = time.time()
    figures = measure(device, args.quick)
    figures["seconds"] = round(time.time() - start, 1)
    if args.write:
        command = "python tests/bench/gpu.py --write"
        print(report.record("bench/gpu", figures, command=command, seeds=[0]))


if __name__ == "__main__":
    main()
