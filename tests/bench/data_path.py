"""Loading and embedding, against torchvision's DataLoader and a plain open_clip loop.

    python tests/bench/data_path.py [--write] [--quick]
    RSNB_DATA=... python tests/bench/data_path.py --write    # real JPEG files as well

Loading: JPEG files, zip or parquet to pixels, `load_pixels` without its cache against a
DataLoader with CLIP's preprocessing (Pillow; 0 and 2 workers) as open_clip does it, to
normalised float, and stopped at the uint8 that `load_pixels` makes. Equal bytes are
asserted first. The second pass is ours from the cache, checksum verified.

Embedding: `embed_images` and `embed_texts` against open_clip's preprocessing, tokeniser
and `encode_*` over a DataLoader, and against the same loop on tensors that lie ready.
Equal vectors (to 1e-5) are asserted first. `forward_share` is the part of our time that
is spent in the model. All arms are interleaved; medians of the rounds.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform
from PIL import Image
from timing import interleave
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from rsnb import backbones, report
from rsnb.data import load
from rsnb.embed import BATCH, embed_images, embed_texts
from rsnb.files import fingerprint
from rsnb.images import StoreReader
from rsnb.pairs import Pairs
from rsnb.pixels import load_pixels

BACKBONES = ("world-rn", "world-vit")
SIDES = (64, 224)  # of the embedded backbones, and of most published ones
WORKERS = (0, 2)
BAR = {"loading": 1.5, "embedding": 1.0, "forward_share": 0.9}


# Loading


class Bytes(Dataset):
    """Images at their places, opened by Pillow, as most loaders do."""

    def __init__(self, places: list[tuple[str, str]], transform: Any) -> None:
        self.places, self.transform = places, transform
        self.open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.places)

    def file(self, store: str, key: str) -> Any:
        if store.endswith(".parquet"):
            if store not in self.open:
                self.open[store] = pq.read_table(store)["image"]
            return io.BytesIO(self.open[store][int(key)]["bytes"].as_py())
        if store.endswith(".zip"):
            mine = f"{os.getpid()} {store}"  # a worker opens its own
            if mine not in self.open:
                self.open[mine] = zipfile.ZipFile(store)
            return self.open[mine].open(key)
        return Path(store, key).open("rb")

    def __getitem__(self, i: int) -> Tensor:
        with self.file(*self.places[i]) as f:
            return self.transform(Image.open(f))


def transforms(side: int) -> dict[str, Any]:
    """Return open_clip's preprocessing, and its part that gives uint8."""
    whole = image_transform(side, is_train=False)
    first = [t for t in whole.transforms if not isinstance(t, T.ToTensor | T.Normalize)]
    return {"uint8": T.Compose([*first, T.PILToTensor()]), "float": whole}


def batches(places: list, transform: Any, workers: int) -> DataLoader:
    return DataLoader(Bytes(places, transform), BATCH, num_workers=workers)


def stores(folder: Path, side: int, images: int) -> dict[str, Pairs]:
    """Return embedded images as JPEG in files, in a zip and in a parquet file."""
    pairs = load("world").where("test")
    pairs = pairs.subset(np.arange(min(images, len(pairs))))
    data = []
    for picture in pairs.reader.many(pairs.rows, side):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        data.append(file.getvalue())
    names = [f"{i}.jpg" for i in range(len(data))]
    with zipfile.ZipFile(folder / "images.zip", "w") as z:
        for name, one in zip(names, data, strict=True):
            (folder / name).write_bytes(one)
            z.writestr(name, one)
    column = pa.array([{"bytes": one} for one in data])
    pq.write_table(pa.table({"image": column}), folder / "images.parquet")
    keys = {"": names, "images.zip": names, "images.parquet": range(len(data))}
    out = {}
    for store, many in keys.items():
        where: list = [None] * (max(pairs.rows) + 1)
        for row, key in zip(pairs.rows, many, strict=True):
            where[row] = (str(folder / store), str(key))
        own = {"sha256": fingerprint(*data, store)}
        name = store.rpartition(".")[2] or "files"
        out[f"world {side} px, {name}"] = replace(
            pairs, reader=StoreReader(where), source=own
        )
    return out


def real(images: int) -> dict[str, Pairs]:
    """Return the real sets under RSNB_DATA, in their zips."""
    if not os.environ.get("RSNB_DATA"):
        return {}
    found = {}
    for name in ("ucm", "rsicd"):
        pairs = load(name).where("test")
        found[f"{name}, zip"] = pairs.subset(np.arange(min(images, len(pairs))))
    return found


def loading(pairs: Pairs, side: int, rounds: int) -> dict[str, Any]:
    """Return times of one set at one side."""
    places = [pairs.reader.where[row] for row in pairs.rows]
    mine = load_pixels(pairs, side, cache=False)
    how = transforms(side)
    got = torch.cat(list(batches(places, how["uint8"], 0))).permute(0, 2, 3, 1).numpy()
    odd = (got != mine).any((1, 2, 3))
    # torchvision cuts the longer side down where we round it: one pixel's difference
    square = [len({*Image.open(Bytes([], None).file(*p)).size}) == 1 for p in places]
    assert not odd[square].any(), f"{odd[square].sum()} square images differ"

    def read(what: str, workers: int) -> None:
        for _ in batches(places, how[what], workers):
            pass

    arms: dict[str, Callable[[], Any]] = {
        "rsnb": lambda: load_pixels(pairs, side, cache=False)
    }
    for what in how:
        for n in WORKERS:
            arms[f"{what}, {n} workers"] = lambda what=what, n=n: read(what, n)
    with cache():
        load_pixels(pairs, side)
        arms["rsnb, second pass"] = lambda: load_pixels(pairs, side)
        times = interleave(arms, rounds)
    seconds = {arm: statistics.median(t) for arm, t in times.items()}
    best = {w: min(t for a, t in seconds.items() if a.startswith(w)) for w in how}
    return {
        "images": len(pairs), "side": side, "seconds": seconds, "all_seconds": times,
        "not_square_and_unequal": int(odd.sum()),
        "speedup": {w: t / seconds["rsnb"] for w, t in best.items()},
        "speedup_second": {w: t / seconds["rsnb, second pass"]
                           for w, t in best.items()},
    }  # fmt: skip


@contextmanager
def cache():
    """Give `load_pixels` an empty cache."""
    before = os.environ.get("RSNB_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RSNB_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("RSNB_CACHE")
            if before is not None:
                os.environ["RSNB_CACHE"] = before


# Embedding


class Pictures(Dataset):
    """Images in memory, preprocessed one by one."""

    def __init__(self, pixels: np.ndarray, transform: Any) -> None:
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> Tensor:
        return self.transform(Image.fromarray(self.pixels[i]))


@torch.inference_mode()
def plain(encode: Callable[[Tensor], Tensor], loader: Any) -> np.ndarray:
    """Return unit vectors as a plain open_clip loop makes them."""
    return torch.cat([F.normalize(encode(x), dim=-1) for x in loader]).numpy()


def shares(model: Any, arms: dict[str, Callable[[], Any]], rounds: int) -> dict:
    """Return the part of each arm's time that the model's forward pass takes."""
    inside = [0.0]

    def timed(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            began = time.perf_counter()
            out = forward(x)
            inside[0] += time.perf_counter() - began
            return out

        return call

    names = ("encode_image", "encode_text")
    for name in names:
        setattr(model, name, timed(getattr(model, name)))
    out: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, run in arms.items():
            inside[0], began = 0.0, time.perf_counter()
            run()
            out[arm].append(inside[0] / (time.perf_counter() - began))
    for name in names:
        delattr(model, name)  # the class has its own
    return {arm: statistics.median(s) for arm, s in out.items()}


def embedding(name: str, images: int, rounds: int) -> dict[str, Any]:
    """Return times of one embedded backbone on the test images and captions."""
    backbone = backbones.load(name)
    pairs = load("world").where("test")
    pairs = pairs.subset(np.arange(min(images, len(pairs))))
    pixels = load_pixels(pairs, backbone.image_size)
    entry, model = backbone.entry, backbone.model
    how = image_transform(backbone.image_size, False, entry.mean, entry.std)
    rows = Pictures(pixels, how)
    ready = list(DataLoader(rows, BATCH))
    texts = list(dict.fromkeys(pairs.captions))  # ours would encode repeats once
    cuts = range(0, len(texts), 4 * BATCH)
    ids = [backbone.tokenize(texts[i : i + 4 * BATCH]) for i in cuts]

    def tokens() -> Any:
        return (backbone.tokenize(texts[i : i + 4 * BATCH]) for i in cuts)

    loaders = {n: DataLoader(rows, BATCH, num_workers=n) for n in WORKERS}
    image, text = model.encode_image, model.encode_text
    ways: dict[str, dict[str, Callable[[], np.ndarray]]] = {
        "images": {
            "rsnb": lambda: embed_images(backbone, pixels),
            "plain, 0 workers": lambda: plain(image, loaders[0]),
            "plain, 2 workers": lambda: plain(image, loaders[2]),
            "plain, ready": lambda: plain(image, ready),
        },
        "texts": {
            "rsnb": lambda: embed_texts(backbone, texts),
            "plain": lambda: plain(text, tokens()),
            "plain, ready": lambda: plain(text, ids),
        },
    }
    found: dict[str, Any] = {"images": len(pixels), "texts": len(texts)}
    for what, arms in ways.items():
        want = arms["rsnb"]()
        for arm, run in arms.items():
            np.testing.assert_allclose(run(), want, atol=1e-5, err_msg=arm)
        times = interleave(arms, rounds)
        seconds = {arm: statistics.median(t) for arm, t in times.items()}
        loops = [t for a, t in seconds.items() if a not in ("rsnb", "plain, ready")]
        found[f"embed {what}"] = {
            "seconds": seconds, "all_seconds": times,
            "speedup": min(loops) / seconds["rsnb"],
            "speedup_ready": seconds["plain, ready"] / seconds["rsnb"],
            "forward_share": shares(model, {"rsnb": arms["rsnb"]}, rounds)["rsnb"],
        }  # fmt: skip
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run both and print, or with --write also keep, what they took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--what", choices=("loading", "embedding"), nargs="+",
        default=["loading", "embedding"])  # fmt: skip
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5)
    add("--images", type=int, default=2000, help="of each set, at most")
    add("--pixels", type=int, default=500, help="side of the JPEGs made here")
    add("--quick", action="store_true", help="few images, two rounds")
    add("--write", action="store_true", help="keep receipts in book/results")
    args = parser.parse_args(argv)
    if args.quick and args.write:
        parser.error("a receipt needs the full sizes")
    if args.quick:
        args.images, args.rounds, args.pixels = 8, 2, 80
    torch.set_num_threads(args.threads)
    head = {"threads": args.threads, "rounds": args.rounds, "bar": BAR}
    found: dict[str, Any] = {what: dict(head) for what in args.what}
    if "loading" in args.what:
        with tempfile.TemporaryDirectory() as folder:
            made = stores(Path(folder), args.pixels, args.images)
            for name, pairs in (made | real(args.images)).items():
                for side in SIDES:
                    row = loading(pairs, side, args.rounds)
                    found["loading"][f"{name} to {side}"] = row
                    ratio = {k: round(v, 2) for k, v in row["speedup"].items()}
                    second = {k: round(v) for k, v in row["speedup_second"].items()}
                    print(f"{name} to {side}: x {ratio}, second pass x {second}")
    if "embedding" in args.what:
        for name in BACKBONES:
            row = embedding(name, args.images, args.rounds)
            found["embedding"][name] = row
            for what in ("embed images", "embed texts"):
                x = row[what]
                part = f"{x['forward_share']:.1%} of it in the model"
                ratio = (
                    f"x {x['speedup']:.2f}, on ready tensors {x['speedup_ready']:.2f}"
                )
                print(f"{name} {what}: {ratio}, {part}")
    if args.write:
        command = "python tests/bench/data_path.py --write"
        for what in args.what:
            print(report.record(f"bench/{what}", found[what], command=command))
    return found


if __name__ == "__main__":
    main()
