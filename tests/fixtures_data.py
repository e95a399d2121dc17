"""Build small data sets in the layouts that rsnb reads. Nothing here is stored."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

# image -> (split, class, captions); two images share a caption on purpose
TOY = {
    "port_1.png": ("train", "port", ["a red boat", "two piers"]),
    "port_2.png": ("val", "port", ["a red boat", "a grey quay"]),
    "farm_1.png": ("test", "farm", ["a green field", "one barn"]),
    "farm_2.png": ("test", "farm", ["a brown field", "no barn"]),
}


def pixels(seed: int, side: int = 48) -> Image.Image:
    """Return a smooth random RGB image, so that re-encoding keeps its look."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def write_images(folder: Path, names: list[str] | None = None) -> None:
    for i, name in enumerate(TOY if names is None else names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(i)))


def write_zip(path: Path, names: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for i, name in enumerate(TOY if names is None else names):
            z.writestr(name, encoded(pixels(i)))


def karpathy(root: Path) -> Path:
    entries = [
        {"filename": n, "split": s, "sentences": [{"raw": t} for t in texts]}
        for n, (s, _, texts) in TOY.items()
    ]
    return _json(root / "dataset_toy.json", {"images": entries})


def nwpu(root: Path) -> Path:
    doc: dict[str, list[dict[str, str]]] = {}
    for name, (split, label, texts) in TOY.items():
        entry = {"filename": name, "split": split, "raw": texts[0], "raw_1": texts[1]}
        doc.setdefault(label, []).append(entry)
    return _json(root / "dataset_nwpu.json", doc)


def harma(root: Path) -> Path:
    for split in ("train", "val", "test"):
        rows: list[dict[str, object]] = []
        for k, (name, (s, label, texts)) in enumerate(TOY.items()):
            image = f"{split}/{name}"
            if s == split == "train":
                rows += [
                    {"caption": t, "image": image, "image_id": k, "label_name": label}
                    for t in texts
                ]
            elif s == split:
                rows.append({"image": image, "caption": texts})
        _json(root / f"toy_{split}.json", rows)
    return root


def csvs(root: Path, prefix: str = "/else/where/images/", sep: str = ",") -> Path:
    for split in ("train", "val", "test"):
        with (root / f"toy_{split}.csv").open("w", newline="", encoding="utf-8") as f:
            w = csv.writer(f, delimiter=sep)
            w.writerow(["filename", "title"])
            for name, (s, _, texts) in TOY.items():
                if s == split:
                    w.writerows([prefix + name, t] for t in texts)
    return root


def precomp(root: Path, per_caption: tuple[str, ...] = ("test",)) -> Path:
    for split in ("train", "val", "test"):
        part = [(n, t) for n, (s, _, t) in TOY.items() if s == split]
        times = 2 if split in per_caption else 1
        names = [n for n, _ in part for _ in range(times)]
        (root / f"{split}_filename.txt").write_text("\n".join(names) + "\n")
        lines = [c for _, texts in part for c in texts]
        (root / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
    return root


def jsonl(root: Path, **extra: str) -> Path:
    lines = [
        json.dumps({"image": n, "class": c, "split": s, "captions": t, **extra})
        for n, (s, c, t) in TOY.items()
    ]
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "data").mkdir(parents=True, exist_ok=True)
    for split, stem in (("train", "train"), ("val", "valid"), ("test", "test")):
        part = [(i, n, v[2]) for i, (n, v) in enumerate(TOY.items()) if v[0] == split]
        images = [{"bytes": encoded(pixels(i)), "path": n} for i, n, _ in part]
        table = pa.table(
            {
                "filename": [f"toy_images/{n}" for _, n, _ in part],
                "captions": [t for _, _, t in part],
                "image": images,
            }
        )
        path = root / "data" / f"{stem}-00000-of-00001.parquet"
        pq.write_table(table, path, row_group_size=1)
    return root


def _json(path: Path, doc: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(doc), encoding="utf-8")
    return path
