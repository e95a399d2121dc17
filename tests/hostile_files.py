"""What strangers send: hostile archives and images, malformed manifests. Made here."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from functools import partial
from pathlib import Path

from PIL import Image

import fixtures_data as fx
from test_readers import HOSTILE

GOOD, FIRST = fx.encoded(fx.pixels(0)), next(iter(fx.TOY))


# Archives and images. A maker fills a folder; one of its four images is bad.


def folder(data: bytes, root: Path) -> None:
    fx.karpathy(root)
    fx.write_images(root / "imgs")
    (root / "imgs" / FIRST).write_bytes(data)


def in_place_of_a_file(make, root: Path) -> None:
    folder(b"", root)
    (root / "imgs" / FIRST).unlink()
    make(root / "imgs" / FIRST)


def zipped(root: Path, *more, change=bytes, **first) -> None:
    """Write the toy set with a zip; `first` tells how its first image is packed."""
    fx.jsonl(root, zip="a.zip")
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as z:
        warnings.simplefilter("ignore")
        for name in fx.TOY:
            own = first if name == FIRST else {}
            info = zipfile.ZipInfo(own.get("name", name))
            info.external_attr = own.get("mode", 0o644) << 16
            z.writestr(info, own.get("data", GOOD), own.get("packed"))
        for name in more:
            z.writestr(name, GOOD)
    (root / "a.zip").write_bytes(change(out.getvalue()))


def lying(data: bytes, size: int) -> bytes:
    """Let a member of `size` bytes claim to have a thousand."""
    return data.replace(struct.pack("<I", size), struct.pack("<I", 1000))


def patched(offset: int, new: bytes, data: bytes, central: bool = True) -> bytes:
    """Put `new` into the first local header, and into the first central one."""
    data = bytearray(data)
    data[offset : offset + len(new)] = new
    if central:
        at = data.index(b"PK\x01\x02") + offset + 2
        data[at : at + len(new)] = new
    return bytes(data)


def bomb(packed: int, size: int, root: Path) -> None:
    zipped(root, data=bytes(size), packed=packed, change=partial(lying, size=size))


def tar(root: Path) -> None:
    fx.jsonl(root, zip="a.zip")
    with tarfile.open(root / "a.zip", "w") as t:
        info = tarfile.TarInfo("../" + FIRST)
        t.addfile(info, io.BytesIO())


def elsewhere(name: str, root: Path) -> None:
    """Name a good archive that lies outside the data's folder."""
    fx.write_zip(root.parent / "a.zip")
    fx.jsonl(root, zip=name.format(root.parent))


def parquet(column, root: Path, **change) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = {"filename": ["a.png"], "captions": [["x"]], "image": [{"bytes": column}]}
    pq.write_table(pa.table(cells | change), root / "train-0.parquet")


def two_names(root: Path) -> None:
    two = {"captions": [["x"]] * 2, "image": [{"bytes": GOOD}] * 2}
    parquet(GOOD, root, filename=["../a.png", "b.png"], **two)


def cut(root: Path) -> None:
    fx.parquet(root)
    path = next((root / "data").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-40])


def big_png(side: int, depth: str = "1") -> bytes:
    """Return a true PNG of side x side in few bytes."""
    return fx.encoded(Image.new(depth, (side, side)), compress_level=1)


def jpeg_of_size(size: int) -> bytes:
    data = fx.encoded(fx.pixels(0), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", size, size) + data[at + 4 :]


def text_bomb() -> bytes:
    body = b"zTXtk\0\0" + zlib.compress(bytes(100_000_000))
    chunk = (
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    )
    return GOOD[:33] + chunk + GOOD[33:]


CASES = {f"image: {name}": partial(folder, data) for name, data in HOSTILE.items()}
CASES |= {
    "image: 8,001 x 8,001 pixels": lambda r: folder(big_png(8001), r),
    "image: 16-bit PNG": lambda r: folder(
        fx.encoded(Image.new("I;16", (8, 8), 9000)), r),
    "image: JPEG that claims 65,500 pixels": lambda r: folder(jpeg_of_size(65_500), r),
    "image: bomb in a PNG's text": lambda r: folder(text_bomb(), r),
    "image: a zip under its name": lambda r: folder(b"PK\x03\x04" + GOOD, r),
    "image: a link to nowhere": partial(
        in_place_of_a_file, lambda p: p.symlink_to("/nowhere/at/all")),
    "image: a link to itself": partial(in_place_of_a_file, lambda p: p.symlink_to(p)),
    "image: a pipe": partial(in_place_of_a_file, lambda p: os.mkfifo(p)),
    "image: a folder": partial(in_place_of_a_file, lambda p: p.mkdir()),
    "zip: ../": lambda r: zipped(r, f"../{FIRST}"),
    "zip: ../ inside": lambda r: zipped(r, f"a/../../{FIRST}"),
    "zip: absolute": lambda r: zipped(r, f"/{FIRST}"),
    "zip: backslashes": lambda r: zipped(r, f"..\\{FIRST}"),
    "zip: a drive": lambda r: zipped(r, f"C:{FIRST}"),
    "zip: NUL in a name": lambda r: zipped(
        r, "x.pngZ.txt", change=lambda d: d.replace(b"x.pngZ", b"x.png\0")),
    "zip: a name twice": lambda r: zipped(r, FIRST),
    "zip: a name twice but for case": lambda r: zipped(r, FIRST.upper()),
    "zip: symlink member": lambda r: zipped(r, data=b"/etc/hostname", mode=0o120777),
    "zip: zip in a zip": lambda r: zipped(r, data=b"PK\x05\x06" + bytes(18)),
    "zip: 50 MB member": lambda r: zipped(r, data=bytes(50_000_000), packed=8),
    "zip: deflate bomb": partial(bomb, zipfile.ZIP_DEFLATED, 100_000_000),
    "zip: bzip2 bomb": partial(bomb, zipfile.ZIP_BZIP2, 60_000_000),
    "zip: lzma bomb": partial(bomb, zipfile.ZIP_LZMA, 60_000_000),
    "zip: encrypted": lambda r: zipped(r, change=partial(patched, 6, b"\1\0")),
    "zip: of the future": lambda r: zipped(r, change=partial(patched, 4, b"\xff")),
    "zip: unknown packing": lambda r: zipped(r, change=partial(patched, 8, b"\x63")),
    "zip: other name within": lambda r: zipped(
        r, change=partial(patched, 30, b"q", central=False)),
    "zip: flipped bit": lambda r: zipped(
        r, change=partial(patched, 90, b"\xa5\x5a", central=False)),
    "zip: cut": lambda r: zipped(r, change=lambda d: d[:-40]),
    "zip: header alone": lambda r: zipped(r, change=lambda d: d[:30]),
    "zip: empty file": lambda r: zipped(r, change=lambda d: b""),
    "zip: a folder": lambda r: (fx.jsonl(r, zip="a.zip"), (r / "a.zip").mkdir()),
    "zip: a tar": tar,
    "zip: beside the data's folder": partial(elsewhere, "../a.zip"),
    "zip: beside it, by way of RSICD": partial(elsewhere, "../rsicd/../a.zip"),
    "zip: anywhere": partial(elsewhere, "{}/a.zip"),
    "parquet: numbers for bytes": partial(parquet, 10**10),
    "parquet: text for bytes": partial(parquet, "x"),
    "parquet: nothing for bytes": partial(parquet, None),
    "parquet: a text for captions": partial(parquet, GOOD, captions=["a lake"]),
    "parquet: a number for a name": partial(parquet, GOOD, filename=[7]),
    "parquet: ../": two_names,
    "parquet: cut": cut,
}  # fmt: skip


# Malformed manifests: file name and bytes


def line(**change) -> bytes:
    row = {"image": "a.png", "split": "test", "captions": ["a lake"], "class": "x"}
    return (json.dumps(row | change) + "\n").encode()


def entries(*bad, key="images") -> bytes:
    good = {"filename": "a.png", "split": "test", "sentences": [{"raw": "a lake"}]}
    return json.dumps({key: [good, *(good | {"filename": "b.png"} | b for b in bad)]},
                      ).encode()  # fmt: skip


def csv(body: bytes, head: bytes = b"filename,title\n") -> bytes:
    return head + b"a.png,a lake\n" + body


DEEP = b"[" * 100_000 + b"]" * 100_000
J, D, C = "captions.jsonl", "d.json", "toy_test.csv"
MALFORMED = {
    "captions are a text": (J, line(captions="a lake")),
    "captions are a number": (J, line(captions=7)),
    "captions are an object": (J, line(captions={"a lake": 1})),
    "captions are null": (J, line(captions=None)),
    "a caption is a number": (J, line(captions=["a lake", 7])),
    "a caption is NaN": (J, line(captions=["a lake", float("nan")])),
    "a caption is a list": (J, line(captions=[["a lake"]])),
    "a caption is half a surrogate": (J, line(captions=["a \ud800 lake"])),
    "image is null": (J, line(image=None)),
    "image is a number": (J, line(image=1e999)),
    "image is a list": (J, line(image=["a.png"])),
    "image has half a surrogate": (J, line(image="\udc80.png")),
    "image turns round": (J, line(image="a\u202egnp.exe")),
    "image has a line in it": (J, line(image="a\n.png")),
    "split is a list": (J, line(split=["test"])),
    "split is null": (J, line(split=None)),
    "zip is a number": (J, line(zip=3)),
    "zip is absolute": (J, line(zip="/etc/a.zip")),
    "member is a list": (J, line(image_here=["a.png"])),
    "member of an archive is null": (J, line(rsicd_zip="a.zip", rsicd_image=None)),
    "a line is a number": (J, line() + b"7\n"),
    "a line is cut": (J, line() + line(image="b.png")[:-9]),
    "an empty line": (J, line() + b"\n"),
    "a line nests deep": (J, line() + DEEP + b"\n"),
    "a huge number": (J, line() + b'{"image": ' + b"9" * 9999 + b"}\n"),
    "one image twice": (J, line() * 2),
    "Karpathy: a number for a text": (D, entries({"sentences": [{"raw": 7}]})),
    "Karpathy: infinity for a text": (D, entries({"sentences": [{"raw": 1e999}]})),
    "Karpathy: texts are a text": (D, entries({"sentences": "a lake"})),
    "Karpathy: no split": (D, entries({"split": None})),
    "Karpathy: name is null": (D, entries({"filename": None})),
    "Karpathy: an entry is a list": (D, b'{"images": [[]]}'),
    "NWPU: name is null": (D, b'{"x": [{"filename": "a", "raw": "b", "split": "test"}, '
                              b'{"filename": null, "raw": "b", "split": "test"}]}'),
    "HarMA: image is null": ("toy_test.json", b'[{"image": "a", "caption": ["b"]}, '
                             b'{"image": null, "caption": ["b"]}]'),
    "HarMA: caption is a number": ("toy_test.json", b'[{"image": "a", "caption": 7}]'),
    "trailing comma": (D, entries()[:-2] + b",]}"),
    "two documents": (D, entries() * 2),
    "nests deep": (D, DEEP),
    "header's quote is open": (C, b'filename,title,"x\na.png,a lake\n'),
    "a header of 200 kB": (C, csv(b"", b"filename,title," + b"x" * 200_000 + b"\n")),
    "short row": (C, csv(b"b.png\n")),
    "long row": (C, csv(b"b.png,a,b\n")),
    "open quote": (C, csv(b'b.png,"a\n')),
    "quote in a field": (C, csv(b'b.png,"a" b\n')),
    "carriage return in a field": (C, csv(b"b.png,b\rb\n")),
    "latin-1": (C, csv(b"b.png,caf\xe9\n")),
    "half a UTF-16 letter": (C, csv(b"b.png,b\n").decode().encode("utf-16") + b"\x20"),
    "NULs alone": (C, csv(b"b.png,\0\0\n")),
    "nothing to see": (C, csv("b.png,\u200b\u202e\U000e0041\n".encode())),
    "2,001 letters": (C, csv(b"b.png," + b"x" * 2001 + b"\n")),
    "1 MB of a caption": (C, csv(b"b.png," + b"x" * 2**20 + b"\n")),
    "name is a slash": (C, csv(b"/,a\n")),
    "gzip, cut": (f"{C}.gz", gzip.compress(csv(b""), mtime=0)[:-9]),
    "gzip, flipped bit": (f"{C}.gz", gzip.compress(csv(b""), mtime=0)[:-8] + b"\0" * 8),
    "gzip bomb": (f"{C}.gz", lambda: gzip.compress(csv(bytes(200_000_000)), mtime=0)),
    "precomp: no names": ("test_caps.txt", b"a lake\n"),
    "parquet in name alone": ("test.parquet", b"PAR1" + bytes(99) + b"PAR1"),
    "receipt is a list": (J, line(), b"[]"),
    "receipt nests deep": (J, line(), DEEP),
    "receipt is of another file": (J, line(), b'{"sha256": "0"}'),
}  # fmt: skip
