"""How long images take to become searchable text, and decoding against its floor.

    python tests/bench/captioner_speed.py --what pipeline [--write]
    python tests/bench/captioner_speed.py --what gpu [--write]

`pipeline` runs on the processor, from a cold start and with an empty cache: `load`
imports the libraries and loads captioner and encoder; `caption` draws the world's test
images, describes them and syncs each record to a `CaptionFile`; `index` encodes the
texts, builds the index and answers a first query. Captioning is timed once with the
usual batch, and once more image by image, where a kill loses the image in flight alone.
Queries are captions of the same split, encoded and searched one at a time.

`gpu` times the embedded captioner on its whole path (the images are drawn before; the
processor, parsing and second tries count) and a LLaVA-1.5-7B of random weights on
random prompts. Both decode through `generate`, as `rsnb.vlm` does. The clock stops when
a token is there: prefill lasts until the first, decoding from there to the last. The
floor of decoding is what each step cannot but read, the weights of decoder and head and
the keys and values of all rows so far, over the bandwidth of a large copy in the same
run. `--small` shrinks it all and may run anywhere; it shows that the code works.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from rsnb import report

SCRIPT = "python tests/bench/captioner_speed.py"
BAR_SECONDS, BAR_MS = 60, 5  # captioning and indexing; a query after encoding
TOP = 10

# llava-hf/llava-1.5-7b-hf: CLIP ViT-L/14 at 336 pixels, Vicuna (Llama) 7B
FULL: dict[str, Any] = {
    "vision": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
        "projection_dim": 768,
    },
    "text": {
        "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32_064,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    },
    "image_token": 32_000, "prompt": 192, "new": 128,  # a long prompt, such as "rsrt"
    "batches": (1, 8, 32), "copy": 4 << 30, "captioner_batches": (1, 32, 160),
}  # fmt: skip
SMALL: dict[str, Any] = {
    "vision": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
        "projection_dim": 32,
    },
    "text": {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    },
    "image_token": 100, "prompt": 8, "new": 6,
    "batches": (1, 2), "copy": 16 << 20, "captioner_batches": (1, 4),
}  # fmt: skip


# From pixels to a ranking, on the processor


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile in milliseconds."""
    ms = 1000 * np.array(seconds)
    return {"median": float(np.median(ms)), "p99": float(np.percentile(ms, 99))}


def ask(gallery: Any, space: Any, queries: Sequence[str]) -> dict[str, dict]:
    """Return milliseconds of encoding, of searching and of both, query by query."""
    at = []
    for text in [*queries[:5], *queries]:  # the first five warm up
        start = time.perf_counter()
        emb = space.encode([text])
        encoded = time.perf_counter()
        gallery.search(emb, min(TOP, len(gallery)))
        at.append((start, encoded, time.perf_counter()))
    start, encoded, end = np.array(at[5:]).T
    spans = {"encode": encoded - start, "search": end - encoded, "both": end - start}
    return {name: spread(span) for name, span in spans.items()}


def pipeline(
    name: str, *, images: int | None, batches: Sequence[int], queries: int, threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return figures and digests of captioning, indexing and searching the test split.

    Args:
        name: of a course, or a captioner's folder.
        images: the first so many; None for all.
        batches: images handed over at once; each captions all of them.
        queries: how many.
        threads: of torch.
    """
    load = os.getloadavg()[0]
    start = time.perf_counter()
    import torch

    from rsnb import smallcaptioners, world
    from rsnb.captioners import PROMPTS, describe
    from rsnb.captions import quality, texts_of
    from rsnb.t2t import AGGREGATES, TextGallery, space

    torch.set_num_threads(threads)
    who, minilm = smallcaptioners.captioner(name), space()
    test = world.load("test")
    test = test.subset(np.arange(images or len(test)))
    seconds = {"load": time.perf_counter() - start}
    by_batch = {}
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ):
        os.environ["RSNB_CACHE"] = cache
        for batch in batches:
            start = time.perf_counter()
            path = Path(cache, f"{batch}.jsonl")
            records = describe(test, who, PROMPTS["world"], path, batch=batch)
            by_batch[batch] = time.perf_counter() - start
        seconds["caption"] = by_batch[batches[0]]
        start = time.perf_counter()
        texts = texts_of(records)
        first = TextGallery(minilm, texts)
        first.search(minilm.encode(test.captions[:1]), min(TOP, len(first)))
        seconds["index"] = time.perf_counter() - start
        rows = np.random.default_rng(0).integers(len(test.captions), size=queries)
        asked = [test.captions[t] for t in rows]
        ms = {
            how: ask(TextGallery(minilm, texts, aggregate=how), minilm, asked)
            for how in AGGREGATES
        }
    found = quality(records)
    figures = {
        "images": len(test), "usable": found["usable"],
        "texts": sum(map(len, texts)), "threads": threads,
        "seconds": seconds, "total_seconds": sum(seconds.values()),
        "caption_seconds_by_batch": by_batch, "bar_seconds": BAR_SECONDS,
        "queries": queries, "k": TOP, "query_ms": ms, "bar_search_ms": BAR_MS,
        "load_average_before": load, "transformers": version("transformers"),
    }  # fmt: skip
    inputs = {"captioner": who.revision, "encoder": minilm.digest,
              "data": test.source["sha256"]}  # fmt: skip
    return figures, inputs


# Decoding against its floor


def now(device: Any) -> float:
    """Return seconds on a clock, once all that was asked of the device is done."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bandwidth(device: str, size: int) -> float:
    """Return bytes a second, read and written, of the best of ten copies of `size`."""
    import torch

    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, best = torch.ones_like(source), math.inf
    for _ in range(10):
        start = now(device)
        target.copy_(source)
        best = min(best, now(device) - start)
    return 2 * size / best


def weight_bytes(net: Any) -> int:
    """Return the bytes of the weights that one step of decoding reads.

    Of the table of embeddings that is a row a token, which is left out; a head that
    shares the table reads all of it.
    """
    table, head = net.get_input_embeddings(), net.get_output_embeddings()
    decoder = net.model.language_model.parameters()
    return sum(p.nbytes for p in decoder) - table.weight.nbytes + head.weight.nbytes


def token_bytes(net: Any) -> int:
    """Return the bytes of the keys and values of one token in all layers."""
    text = net.config.text_config
    head = getattr(text, "head_dim", None)
    head = head or text.hidden_size // text.num_attention_heads
    values = 2 * text.num_hidden_layers * text.num_key_value_heads * head
    return values * net.dtype.itemsize


class Meter:
    """Stands in for a model's `generate`: the same, timed and counted.

    Attributes:
        prefill: seconds until the first token is there, over all calls.
        decode: seconds from there to the last token.
        steps: of decoding, one a token after the first, whatever the batch.
        tokens: generated, up to and with the end of each answer.
        read: bytes that the steps of decoding cannot but read.
    """

    def __init__(self, net: Any) -> None:
        self.generate = net.generate
        self.weights, self.token = weight_bytes(net), token_bytes(net)
        self.clear()

    def clear(self) -> None:
        """Begin anew, after a warm-up."""
        self.prefill = self.decode = 0.0
        self.steps = self.tokens = self.read = 0

    def __call__(self, **inputs: Any) -> Any:
        import torch
        from transformers import StoppingCriteriaList

        rows, length = inputs["input_ids"].shape
        at = [now(inputs["input_ids"].device)]

        def tick(ids: Any, scores: Any, **_: Any) -> Any:
            at.append(now(ids.device))
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        out = self.generate(**inputs, stopping_criteria=StoppingCriteriaList([tick]))
        ends = torch.tensor(inputs.get("eos_token_id", []), device=out.device)
        ended = torch.isin(out[:, length:], ends).int()
        self.tokens += int((ended.cumsum(1) - ended == 0).sum())
        self.prefill += at[1] - at[0]
        self.decode += at[-1] - at[1]
        steps = len(at) - 2
        self.steps += steps
        seen = steps * length + steps * (steps + 1) // 2  # tokens, over all steps
        self.read += steps * self.weights + rows * seen * self.token
        return out

    def against(self, speed: float) -> dict[str, float]:
        """Return a step's milliseconds and floor, given bytes a second, and ratio."""
        step, floor = 1e3 * self.decode / self.steps, 1e3 * self.read / self.steps
        floor /= speed
        return {"step_ms": step, "floor_ms": floor, "ratio": step / floor}


def embedded(
    who: Any, prompt: Any, batches: Sequence[int], speed: float, images: int = 0
) -> list[dict[str, Any]]:
    """Return a row a batch size (prompts in one call) for a captioner of ours.

    Args:
        who: a `TransformersCaptioner`.
        prompt: of five turns, so an image takes five prompts.
        batches: sizes.
        speed: bytes a second.
        images: how many; 0 for twice the batch and 16 at least.
    """
    from rsnb import world

    test, rows = world.load("test"), []
    drawn = [test.image(i) for i in range(images or max(16, 2 * max(batches)))]
    who.net.generate = meter = Meter(who.net)
    for batch in batches:
        who.batch = batch
        some = drawn[: images or max(16, 2 * batch)]
        once = -(-batch // len(prompt.turns))  # images that fill a batch: a warm-up
        who.describe(some[:once], prompt, test.ids[: len(some[:once])])
        meter.clear()
        start = now(who.net.device)
        found = who.describe(some, prompt, test.ids[: len(some)])
        seconds = now(who.net.device) - start
        spent = meter.prefill + meter.decode
        rows.append({
            "batch": batch, "images": len(some), "usable": sum(r.usable for r in found),
            "images_per_second": len(some) / seconds,
            "tokens_per_second": meter.tokens / spent, "tokens": meter.tokens,
            "seconds": seconds, "prefill_seconds": meter.prefill,
            "decode_seconds": meter.decode, **meter.against(speed),
        })  # fmt: skip
    who.net.generate = meter.generate
    return rows


def llava(size: dict[str, Any], device: str) -> Any:
    """Return a LLaVA of random bfloat16 weights, made where it will run."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    vision = size["vision"]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=LlamaConfig(**size["text"], eos_token_id=None),
        image_token_index=size["image_token"],
        image_seq_length=(vision["image_size"] // vision["patch_size"]) ** 2,
    )
    torch.manual_seed(0)
    with torch.device(device):
        net: Any = LlavaForConditionalGeneration._from_config(
            config, dtype=torch.bfloat16
        )
    net.generation_config.eos_token_id = None  # no answer ends before its last token
    return net.eval()


def prompts(net: Any, size: dict[str, Any], batch: int) -> dict[str, Any]:
    """Return random images and prompts: a token, the image's, and random others."""
    import torch

    vision, image = net.config.vision_config, net.config.image_token_index
    ids = torch.randint(3, image, (batch, size["prompt"] + net.config.image_seq_length))
    ids[:, 1 : 1 + net.config.image_seq_length] = image
    side = (3, vision.image_size, vision.image_size)
    pixels = torch.randn(batch, *side, dtype=net.dtype, device=net.device)
    ids = ids.to(net.device)
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


def published(
    size: dict[str, Any], device: str, speed: float, repeats: int
) -> dict[str, Any]:
    """Return the size of a LLaVA and a row a batch size: the quickest of its runs."""
    net = llava(size, device)
    meter, rows = Meter(net), []
    for batch in size["batches"]:
        inputs, runs = prompts(net, size, batch), []
        how = {"max_new_tokens": size["new"], "do_sample": False}
        for _ in range(1 + repeats):  # the first warms up
            meter.clear()
            meter(**inputs, **how)
            seconds = meter.prefill + meter.decode
            runs.append({
                "batch": batch, "images_per_second": batch / seconds,
                "tokens_per_second": meter.tokens / seconds, "tokens": meter.tokens,
                "decode_tokens_per_second": batch * meter.steps / meter.decode,
                "prefill_seconds": meter.prefill, "decode_seconds": meter.decode,
                **meter.against(speed),
            })  # fmt: skip
        rows.append(min(runs[1:], key=lambda run: run["decode_seconds"]))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "weight_bytes": meter.weights, "token_bytes": meter.token,
        "image_tokens": net.config.image_seq_length, "prompt_tokens": size["prompt"],
        "new_tokens": size["new"], "dtype": "bfloat16", "rows": rows,
    }  # fmt: skip


def gpu(
    name: str, *, small: bool, device: str, repeats: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return figures and digests of both captioners on a device."""
    from rsnb import smallcaptioners, smallvlm
    from rsnb.prompts import PROMPTS
    from rsnb.records import FIELDS

    size, prompt, images = SMALL if small else FULL, PROMPTS["world"], 0
    speed = bandwidth(device, size["copy"])
    with tempfile.TemporaryDirectory() as folder:
        if small:
            prompt, images = replace(prompt, max_new_tokens=8), 2
            name = str(Path(folder, "small"))
            shape = smallvlm.Shape(32, (8, 8, 16, 16), width=64, layers=1)
            text = dict.fromkeys(FIELDS, "a red square on the left")
            smallvlm.save(Path(name), *smallvlm.build([[text]], shape))
        who = smallcaptioners.captioner(name, device)
        batches = size["captioner_batches"]
        ours = embedded(who, prompt, batches, speed, images)
    figures = {
        "bytes_per_second": speed, "copied_bytes": size["copy"],
        "embedded": {"dtype": str(who.net.dtype), "rows": ours},
        "llava": published(size, device, speed, repeats), "repeats": repeats,
        "transformers": version("transformers"),
    }  # fmt: skip
    return figures, {"captioner": who.revision}


def show(what: str, figures: dict[str, Any]) -> None:
    """Print figures in a few lines."""
    if what == "pipeline":
        stages = ", ".join(f"{k} {s:.1f}" for k, s in figures["seconds"].items())
        print(f"{figures['images']} images, {figures['usable']} usable records, "
              f"{figures['total_seconds']:.1f} s ({stages})")  # fmt: skip
        for batch, seconds in figures["caption_seconds_by_batch"].items():
            print(f"caption, {batch} images at once: {seconds:.1f} s")
        for how, ms in figures["query_ms"].items():
            for step, at in ms.items():
                print(f"{how:4} {step:6} {at['median']:6.2f} ms, p99 {at['p99']:.2f}")
        return
    print(f"copy: {figures['bytes_per_second'] / 1e9:,.0f} GB/s")
    for name in ("embedded", "llava"):
        for row in figures[name]["rows"]:
            print(f"{name:8} batch {row['batch']:3}: {row['images_per_second']:8.2f} "
                  f"images/s {row['tokens_per_second']:8.0f} tokens/s, a step "
                  f"{row['step_ms']:.2f} ms, floor {row['floor_ms']:.3f}, "
                  f"ratio {row['ratio']:.1f}")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print, and with --write keep the receipt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--what", choices=("pipeline", "gpu"), required=True)
    add("--captioner", default="world-vlm", help="a course's name, or a folder")
    add("--write", action="store_true", help="keep a receipt in book/results")
    add("--images", type=int, help="pipeline: the first so many only")
    add("--batch", type=int, nargs="+", default=[32, 1], help="pipeline: images")
    add("--queries", type=int, default=200)
    add("--threads", type=int, default=2, help="pipeline: threads and cores")
    add("--device", default="cuda", help="gpu: another one with --small alone")
    add("--repeats", type=int, default=3, help="gpu: runs of the large model")
    add("--small", action="store_true", help="gpu: shrink everything")
    args = parser.parse_args(argv)
    if args.write and (args.small or args.images or Path(args.captioner).is_dir()):
        parser.error("a receipt is of the whole split and of a captioner with a name")
    if args.what == "pipeline":
        if hasattr(os, "sched_setaffinity"):  # tokenizers and FAISS take all they see
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[: args.threads])
        figures, inputs = pipeline(
            args.captioner, images=args.images, batches=args.batch,
            queries=args.queries, threads=args.threads,
        )  # fmt: skip
    else:
        import torch

        if not args.small and args.device != "cuda":
            parser.error("--device is for --small")
        if args.device.startswith("cuda") and not torch.cuda.is_available():
            print("No CUDA device here: nothing measured. --small --device cpu tries "
                  "the code.")  # fmt: skip
            return
        figures, inputs = gpu(
            args.captioner, small=args.small, device=args.device, repeats=args.repeats
        )
    show(args.what, figures)
    if args.write:
        name = "bench/captioner" + "-gpu" * (args.what == "gpu")
        command = f"{SCRIPT} --what {args.what} --write"
        print(report.record(name, figures, command=command, inputs=inputs, seeds=[0]))


if __name__ == "__main__":
    main()
