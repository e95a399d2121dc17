"""Every layout gives the same Pairs; every hostile image is refused."""

from __future__ import annotations

import copy
import gzip
import multiprocessing
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fixtures_data as fx
from rsnb.data import load
from rsnb.errors import DataError, DataProblems, FileCorruptError
from rsnb.images import decode_image, is_safe_name

pytestmark = pytest.mark.promise("P15")

LAYOUTS = {
    "Karpathy JSON": (fx.karpathy, fx.write_images),
    "HarMA JSON": (fx.harma, lambda r: fx.write_images(r / "images")),
    "filename,title CSV": (fx.csvs, lambda r: fx.write_images(r / "toy_images")),
    "precomp text": (fx.precomp, lambda r: fx.write_zip(r / "images.zip")),
    "captions.jsonl": (
        lambda r: fx.jsonl(r, zip="a.zip"),
        lambda r: fx.write_zip(r / "a.zip"),
    ),
    "hub parquet": (fx.parquet, lambda r: None),
}


def check(pairs, pixels=True):
    got = {
        pairs.ids[i]: (pairs.split[i], pairs.captions_of(i)) for i in range(len(pairs))
    }
    assert got == {n: (s, t) for n, (s, _, t) in fx.TOY.items()}
    assert pairs.gt.dtype == np.int64 and pairs.gt.shape == (8,)
    assert pairs.has_pixels.all() == pixels
    for i in range(len(pairs) if pixels else 0):
        image = pairs.image(i)
        assert image.mode == "RGB"
        want = fx.pixels(list(fx.TOY).index(pairs.ids[i]))
        assert np.array_equal(np.asarray(image), np.asarray(want))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(tmp_path, layout):
    captions, images = LAYOUTS[layout]
    captions(tmp_path)
    images(tmp_path)
    pairs = load(tmp_path)
    assert pairs.source["layout"] == layout
    check(pairs)
    check(copy.deepcopy(pairs))  # goes by __getstate__, as a worker's copy does
    part = pairs.where("test")
    whole = pairs.image(pairs.ids.index(part.ids[1]))
    assert part.image(1).tobytes() == whole.tobytes()


def test_nwpu_has_class_folders(tmp_path):
    fx.nwpu(tmp_path)
    names = [f"{c}/{n}" for n, (_, c, _) in fx.TOY.items()]
    fx.write_images(tmp_path / "NWPU_images", names)
    pairs = load(tmp_path)
    assert pairs.ids[2] == "farm/farm_1.png" and pairs.label[2] == "farm"
    assert pairs.has_pixels.all()


@pytest.mark.parametrize("per_caption", [(), ("test",), ("train", "val", "test")])
def test_precomp_names_by_line_count(tmp_path, per_caption):
    fx.precomp(tmp_path, per_caption)
    check(load(tmp_path), pixels=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"),
        lambda b: b"\xef\xbb\xbf" + b,
        lambda b: b.rstrip(b"\r\n"),
        lambda b: b.decode().encode("utf-16"),
    ],
    ids=["crlf", "bom", "no final newline", "utf-16"],
)
def test_csv_dress(tmp_path, change):
    fx.csvs(tmp_path)
    for path in tmp_path.glob("*.csv"):
        path.write_bytes(change(path.read_bytes()))
    check(load(tmp_path), pixels=False)


def test_tab_separated_gb18030(tmp_path):
    text = "filename\ttitle\na.png\t\u4e00\u4e2a\u6e2f\u53e3\n"
    (tmp_path / "toy_test.csv").write_bytes(text.encode("gb18030"))
    assert load(tmp_path).captions == ("\u4e00\u4e2a\u6e2f\u53e3",)


def test_gzip_and_pattern(tmp_path):
    fx.precomp(tmp_path)
    doc = fx.karpathy(tmp_path)
    doc.with_suffix(".json.gz").write_bytes(gzip.compress(doc.read_bytes()))
    doc.unlink()
    with pytest.raises(DataError, match="Karpathy JSON, precomp text"):
        load(tmp_path)
    check(load(tmp_path / "dataset_toy.json.gz"), pixels=False)
    check(load(tmp_path / "*_caps.txt"), pixels=False)


def test_csv_quotes_newline_and_nul(tmp_path):
    path = tmp_path / "toy_test.csv"
    path.write_bytes(b'filename,title\na.png,"one, ""two""\nthree"\nb.png,x\0y\n')
    assert load(path).captions == ('one, "two" three', "xy")


@pytest.mark.parametrize(
    ("body", "kind", "line"),
    [
        ("a.png\n", "short row", 2),
        ("a.png,x\n\nb.png,y\n", "short row", 3),
        ("a.png,x,y\n", "long row", 2),
        ('a.png,"open\n', "unreadable file", 2),
        ("../a.png,x\n", "unsafe path", 2),
        ("a.png, \n", "blank caption", 2),
        ("a.png,x\nb.png,caf\ufffd\n", "encoding", 3),
        ("a.png," + "x" * 2001 + "\n", "long caption", 2),
        ("a.png," + "x" * 200_000 + "\n", "unreadable file", 2),
    ],
)
def test_csv_faults_name_the_line(tmp_path, body, kind, line):
    path = tmp_path / "toy_test.csv"
    path.write_text("filename,title\n" + body, encoding="utf-8")
    with pytest.raises(DataProblems) as e:
        load(path)
    assert [(p.kind, p.line) for p in e.value.problems] == [(kind, line)]
    assert e.value.exit_code == 2 and "toy_test.csv" in str(e.value)


def test_latin1_line_among_utf8_is_a_fault(tmp_path):
    path = tmp_path / "toy_test.csv"
    path.write_bytes("filename,title\na.png,café\nb.png,".encode() + b"caf\xe9\n")
    with pytest.raises(DataProblems, match=r"test\.csv:3  encoding"):
        load(path)
    assert load(path, lenient=True).captions == ("café",)


# --- images


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size it does not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


IMAGE = fx.pixels(0)
JPEG = fx.encoded(IMAGE, "JPEG")
HOSTILE = {
    "empty": b"",
    "text": b"<script>alert(1)</script>",
    "bomb 10k": png_header(10_000, 10_000),
    "bomb 20k": png_header(20_000, 20_000),
    "bomb 2^31": png_header(2**31 - 1, 2**31 - 1),
    "short png": png_header(100, 100),
    "truncated jpeg": JPEG[: len(JPEG) // 2],
    "jpeg header only": JPEG[:20],
    "truncated png": fx.encoded(IMAGE)[:-200],
    "flipped png": fx.encoded(IMAGE).replace(b"IDAT", b"IDAU"),
    "gif": fx.encoded(IMAGE, "GIF"),
    "bmp": fx.encoded(IMAGE, "BMP"),
    "ppm": fx.encoded(IMAGE, "PPM"),
    "pdf": fx.encoded(IMAGE, "PDF"),
    "ico": fx.encoded(IMAGE, "ICO"),
    "tga": fx.encoded(IMAGE, "TGA"),
    "16-bit tiff": fx.encoded(Image.new("I;16", (8, 8), 9000), "TIFF"),
    "float tiff": fx.encoded(Image.new("F", (8, 8), 0.5), "TIFF"),
    "truncated tiff": fx.encoded(IMAGE, "TIFF")[:100],
    "truncated webp": fx.encoded(IMAGE, "WEBP")[:60],
    "41 MB": b"\xff\xd8" + b"\0" * 41_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_image_is_refused(name):
    with pytest.raises(FileCorruptError, match="hostile"):
        decode_image(HOSTILE[name], "hostile")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_any_mode_becomes_rgb(mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
    image = decode_image(fx.encoded(IMAGE.convert(mode), form))
    assert image.mode == "RGB" and image.size == IMAGE.size


def test_animation_gives_its_first_frame():
    data = fx.encoded(
        IMAGE, "WEBP", save_all=True, append_images=[fx.pixels(1)], lossless=True
    )
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(IMAGE))


def test_names_that_leave_the_folder():
    bad = [
        "",
        "/a.png",
        "../a.png",
        "a/../../b.png",
        "C:\\a.png",
        "c:/a",
        "a\\b",
        "a\0",
    ]
    assert not any(map(is_safe_name, bad)) and is_safe_name("a b/c..d.png")


def _zip(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(name, data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "why"),
    [
        (["../port_1.png", *fx.TOY], "unsafe member"),
        (["/port_1.png", *fx.TOY], "unsafe member"),
        (["port_1.png", *fx.TOY], "occurs twice"),
        (["PORT_1.png", *fx.TOY], "occurs twice"),
    ],
)
def test_hostile_zip_is_one_problem(tmp_path, members, why):
    fx.jsonl(tmp_path, zip="a.zip")
    _zip(tmp_path / "a.zip", [(m, fx.encoded(IMAGE)) for m in members])
    with pytest.raises(DataProblems, match=why) as e:
        load(tmp_path)
    assert len(e.value.problems) == 1


@pytest.mark.parametrize("cut", [0, 100, -30])
def test_broken_zip_is_one_problem(tmp_path, cut):
    fx.jsonl(tmp_path, zip="a.zip")
    fx.write_zip(tmp_path / "a.zip")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[:cut])
    with pytest.raises(DataProblems, match="not a readable zip"):
        load(tmp_path)


def test_bit_flip_in_a_zip_is_seen_on_reading(tmp_path):
    fx.jsonl(tmp_path, zip="a.zip")
    fx.write_zip(tmp_path / "a.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[200] ^= 1
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(FileCorruptError, match=r"a\.zip:port_1\.png"):
        load(tmp_path).image(0)


def test_zip_bomb_member_is_refused(tmp_path):
    fx.jsonl(tmp_path, zip="a.zip")
    members = [(n, b"\0" * 50_000_000 if n == "port_1.png" else b"x") for n in fx.TOY]
    _zip(tmp_path / "a.zip", members)
    with pytest.raises(DataProblems, match="50,000,000 bytes"):
        load(tmp_path)


@pytest.mark.parametrize("layout", ["captions.jsonl", "hub parquet", "Karpathy JSON"])
def test_threads_read_the_same_bytes(tmp_path, layout):
    captions, images = LAYOUTS[layout]
    captions(tmp_path)
    images(tmp_path)
    pairs = load(tmp_path)
    want = [pairs.image(i).tobytes() for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: pairs.image(i % 4).tobytes(), range(80)))
    assert got == want * 20


def _digest(reader_and_row):
    reader, row = reader_and_row
    return reader(row).tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_processes_do_not_share_a_file_offset(tmp_path):
    fx.jsonl(tmp_path, zip="a.zip")
    fx.write_zip(tmp_path / "a.zip")
    pairs = load(tmp_path)
    want = [pairs.image(i).tobytes() for i in range(4)]  # the zip is now open here
    with multiprocessing.get_context("fork").Pool(2) as pool:
        got = pool.map(_digest, [(pairs.reader, i % 4) for i in range(80)], 1)
    assert got == want * 20


def test_format_is_told_by_content():
    assert decode_image(fx.encoded(IMAGE, "TIFF"), "really.jpg").size == IMAGE.size
