"""Fuzz what reads strangers' bytes, guided by coverage. Only our own errors may come.

    pip install --no-deps --require-hashes -r tests/trust/requirements.txt
    python tests/trust/fuzz.py --minutes 10

Each target starts from its corpus in `tests/trust/corpus/` and from seeds that are made
here, and adds to the corpus what reached new code, the smallest first. An input that
brings another exception goes to `build/fuzz/`, once for each place that raised it.
"""

from __future__ import annotations

import argparse
import atexit
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS, FOUND = HERE / "corpus", HERE.parents[1] / "build" / "fuzz"
MOST, ENTRY = 75_000, 90  # bytes of a target's archive; of them, around one input
NAMES = ("captions.jsonl", "d.json", "toy_test.json", "toy_test.csv", "toy_test.csv.gz",
         "test_caps.txt", "train-0.parquet")  # fmt: skip
SCRATCH = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


def manifest(data: bytes) -> None:
    """The first byte picks the name; lines after a NUL line are the names' file."""
    from rsnb.readers import clean, read_manifest

    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    text, _, names = data[1:].partition(b"\n\0\n")
    path = SCRATCH / name
    path.write_bytes(text)
    (SCRATCH / "test_filename.txt").write_bytes(names)
    layout, rows, bad = read_manifest(path, name)
    for row in clean(rows, layout, bad):
        assert row.captions and all(0 < len(c) <= 2000 for c in row.captions)
        assert not row.image.startswith("/") and ".." not in row.image.split("/")


def image(data: bytes) -> None:
    """Pixels come back as RGB."""
    from rsnb.images import decode_image

    assert decode_image(data).mode == "RGB"


def archive(data: bytes) -> None:
    """A zip is listed, and its first members are read."""
    from rsnb.errors import RsnbError
    from rsnb.images import StoreReader
    from rsnb.stores import list_zip

    path = SCRATCH / "a.zip"
    path.write_bytes(data)
    members = list_zip(path)
    reader = StoreReader([(str(path), m) for m in list(members)[:3]])
    for row in range(len(reader.where)):
        try:
            reader(row)
        except RsnbError:
            pass
    for z in reader._handles.values():
        z.close()


def answer(data: bytes) -> None:
    """A model's answer gives variants, or a reason."""
    from rsnb.parsing import parse

    assert parse(data.decode("utf-8", "surrogateescape"))


def captions(data: bytes) -> None:
    """A caption file gives records."""
    from rsnb.captionfile import read

    path = SCRATCH / "c.jsonl"
    path.write_bytes(data)
    read(path)
    read(path, fill=True)


TARGETS = {f.__name__: f for f in (manifest, image, archive, answer, captions)}


def fault(target: str, data: bytes) -> str:
    """Run a target once; return where another error than ours came from, or nothing."""
    from rsnb.errors import RsnbError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[target](data)
    except RsnbError:
        return ""
    except Exception as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        return f"{type(e).__name__} at {Path(at.filename).name}:{at.lineno}: {e}"[:300]
    return ""


def seeds(target: str) -> list[bytes]:
    """Return inputs to start from, made of the tests' toy data."""
    sys.path.insert(0, str(HERE.parent))
    import fixtures_data as fx

    small = fx.pixels(0, 8)
    pictures = [fx.encoded(small, form) for form in ("PNG", "JPEG", "TIFF", "WEBP")]
    pictures += [fx.encoded(small.convert(m)) for m in ("1", "P", "LA", "RGBA")]
    pictures += [fx.encoded(small.convert("CMYK"), "JPEG")]
    if target == "image":
        return pictures
    if target == "archive":
        out = []
        for packed in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w", packed) as z:
                z.writestr("a.png", pictures[0])
                z.writestr("x/b.jpg", pictures[1])
            out.append(data.getvalue())
        return out
    if target == "answer":
        from test_parsing import READ, REFUSED

        texts = [raw for raw, _ in (*READ.values(), *REFUSED.values())]
        return [t.encode("utf-8", "surrogatepass") for t in texts if len(t) < 2000]
    from test_parsing import PUBLIC

    if target == "captions":
        from rsnb.captionfile import CaptionFile
        from rsnb.records import Record, Run

        path = SCRATCH / "seed.jsonl"
        path.unlink(missing_ok=True)
        variants = ()
        with CaptionFile(path, Run("m", "r", "p")) as f:
            f.append(Record("a.png", variants, "failed", "no answer"))
            f.append(Record("b.png", variants, "unparsed", "no JSON", "{"))
        return [path.read_bytes(), *(json.dumps(x).encode() for x in PUBLIC.values())]
    folder = SCRATCH / "seeds"
    for make in (fx.jsonl, fx.karpathy, fx.nwpu, fx.harma, fx.csvs, fx.precomp,
                 fx.parquet):  # fmt: skip
        folder.mkdir(exist_ok=True)
        make(folder)
    out = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.name.replace("dataset_toy", "d").replace("dataset_nwpu", "d")
        kinds = [k for k, n in enumerate(NAMES) if Path(n).suffix == path.suffix]
        names = path.with_name(name.replace("_caps", "_filename"))
        more = b"\n\0\n" + names.read_bytes() if "_caps" in name else b""
        out += [bytes([k]) + path.read_bytes() + more for k in kinds]
    out.append(bytes([4]) + gzip.compress((folder / "toy_test.csv").read_bytes()))
    return out


def work(target: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target in this process; it ends here."""
    import atheris

    with atheris.instrument_imports(include=["rsnb", "zipfile", "PIL", "csv"]):
        import PIL.JpegImagePlugin
        import PIL.PngImagePlugin
        import PIL.TiffImagePlugin
        import PIL.WebPImagePlugin  # noqa: F401

        import rsnb.captionfile
        import rsnb.data  # noqa: F401
    kept: set[str] = set()

    def one(data: bytes) -> None:
        what = fault(target, data)
        place = what.split(": ")[0]
        if what and place not in kept:
            kept.add(place)
            name = hashlib.sha256(data).hexdigest()[:16]
            (FOUND / f"{target}-{name}").write_bytes(data)
            print("UNCAUGHT", what, flush=True)

    flags = [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=20",
             "-rss_limit_mb=4096", "-max_len=8192", f"-artifact_prefix={FOUND}/",
             "-seed=1"]  # fmt: skip
    folders = [str(corpus / "new"), str(corpus / "start")]
    atheris.Setup([sys.argv[0], *flags, *folders], one)
    atheris.Fuzz()


def child(*more: str) -> str:
    command = [sys.executable, str(Path(__file__).resolve()), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)  # fmt: skip
    text = done.stdout.decode("utf-8", "replace")
    return text if done.returncode == 0 else f"{text}\nUNCAUGHT exit {done.returncode}"


def kept(target: str) -> list[bytes]:
    """Return the corpus of a target, which is one archive."""
    path = CORPUS / f"{target}.zip"
    if not path.is_file():
        return []
    with zipfile.ZipFile(path) as z:
        return [z.read(name) for name in z.namelist()]


def shrink(target: str, covering: list[bytes]) -> tuple[int, int]:
    """Keep the smallest inputs within `MOST` bytes; return how many, and bytes."""
    size, some = 0, []
    for data in sorted(set(covering), key=lambda x: (len(x), x)):
        if size + len(data) + ENTRY * (len(some) + 1) > MOST:
            break
        size += len(data)
        some.append(data)
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for k, data in enumerate(some):  # no dates: equal inputs, equal bytes
            z.writestr(zipfile.ZipInfo(f"{k:04d}"), data)
    return len(some), size


def fuzz(minutes: float = 10, keep: bool = True) -> dict[str, dict[str, float]]:
    """Fuzz every target for its share of the time; return figures by target."""
    FOUND.mkdir(parents=True, exist_ok=True)
    out = {}
    for target in TARGETS:
        seconds = max(2, round(60 * minutes / len(TARGETS)))
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder)
            have = kept(target)
            (corpus / "new").mkdir()
            (corpus / "start").mkdir()
            for k, data in enumerate([*have, *seeds(target)]):
                (corpus / "start" / f"{k:04d}").write_bytes(data)
            text = child("--one", target, str(seconds), str(corpus))
            cover = [int(n) for n in re.findall(r"\bcov: (\d+)", text)] or [0]
            runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
            start = re.search(r"INITED cov: (\d+)", text)
            first = int(start[1]) if start else 0
            found = [line for line in text.splitlines() if "UNCAUGHT" in line]
            print("\n".join(found) if found else f"{target}: nothing uncaught")
            if not runs:
                print(text[-3000:])
            count = size = 0
            if keep:
                new = [p.read_bytes() for p in (corpus / "new").iterdir()]
                count, size = shrink(target, have + new)
            out[target] = {
                "seconds": seconds, "executions": int(runs[1]) if runs else 0,
                "edges": max(cover), "new edges": max(cover) - first,
                "uncaught": len(found), "corpus files": count, "corpus bytes": size,
            }  # fmt: skip
    return out


def figures(minutes: float = 10) -> dict[str, Any]:
    """Fuzz for so long; return what `fuzz` does, as a stage of the battery."""
    return {"minutes": minutes, "targets": fuzz(minutes)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--no-keep", action="store_true", help="leave the corpus alone")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        target, seconds, corpus = args.one
        work(target, int(seconds), Path(corpus))
        return 0
    found = fuzz(args.minutes, keep=not args.no_keep)
    print(json.dumps(found, indent=1))
    return int(any(f["uncaught"] for f in found.values()))


if __name__ == "__main__":
    sys.exit(main())
