"""Noise protocols: what moves, what stays, and the published files byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsnb.cli import main
from rsnb.errors import DataError, FileCorruptError, ParameterError
from rsnb.files import read_json, read_verified, receipt_path
from rsnb.noise import PROTOCOLS, corrupt, draw, stream
from rsnb.noisefiles import corrupt_csv
from rsnb.pairs import Pairs, join
from toy import squares

NOISY = Path(os.environ.get("RSNB_DATA", "RSNB_DATA-is-not-set")) / "rsitmd" / "noisy"


def many(n: int = 60, split: str = "train") -> Pairs:
    """Return n images with 1 to 4 captions, all distinct, rows not in image order."""
    pairs = squares(n, split)
    gt = np.random.default_rng(0).permutation(
        np.repeat(np.arange(n), 1 + np.arange(n) % 4)
    )
    captions = tuple(f"{split} caption {t} of {i}" for t, i in enumerate(gt))
    return replace(pairs, gt=gt, captions=captions)


# Draws


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_a_permutation_of_at_most_its_share(protocol, rate, seed):
    pairs = many()
    noise = draw(pairs, rate, seed=seed, protocol=protocol)
    total = len(pairs.captions)
    assert noise.order.dtype == np.int64
    assert sorted(noise.order) == list(range(total))
    noisy = noise.apply(pairs)
    assert Counter(noisy.captions) == Counter(pairs.captions)
    assert noisy.gt is pairs.gt
    moved = noise.moved(pairs.captions)
    assert moved.tolist() == [
        a != b for a, b in zip(noisy.captions, pairs.captions, strict=True)
    ]
    if protocol != "decl":
        assert moved.sum() <= int(total * rate)
    false = noise.false(pairs.captions, pairs.gt)
    own = [set(pairs.captions_of(i)) for i in range(len(pairs))]
    assert false.tolist() == [
        c not in own[i] for c, i in zip(noisy.captions, pairs.gt, strict=True)
    ]
    if rate >= 0.2:
        assert false.any()


def test_caption_and_ncr_move_nearly_all_they_draw():
    pairs = many(400)
    for protocol in ("caption", "ncr"):
        share = draw(pairs, 0.4, protocol=protocol).moved(pairs.captions).mean()
        assert 0.39 < share <= 0.4


def test_decl_keeps_the_captions_of_an_image_together():
    pairs = many()
    noise = draw(pairs, 0.5, protocol="decl")
    came = pairs.gt[noise.order]
    count = np.bincount(pairs.gt)
    for i in range(len(pairs)):
        [origin] = set(came[pairs.gt == i])
        assert count[origin] == count[i]
    images = {i for i, j in zip(pairs.gt, came, strict=True) if i != j}
    assert 0 < len(images) <= 30


def test_class_stays_inside_the_class():
    pairs = many()
    noise = draw(pairs, 0.6, protocol="class")
    label = np.array(pairs.label)
    assert noise.moved(pairs.captions).any()
    assert (label[pairs.gt] == label[pairs.gt[noise.order]]).all()
    unlabelled = replace(pairs, label=("",) * len(pairs))
    with pytest.raises(DataError, match="needs a label"):
        corrupt(unlabelled, 0.2, protocol="class")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_the_named_split_moves(protocol):
    both = join([many(40), many(24, "val")])
    noise = draw(both, 0.5, protocol=protocol)
    inside = np.array([both.split[i] == "train" for i in both.gt])
    here = np.arange(len(noise.order))
    assert (noise.order[~inside] == here[~inside]).all()
    assert inside[noise.order[inside]].all()
    assert (noise.order != here).any()
    with pytest.raises(DataError, match="it has: train, val"):
        draw(both, 0.5, split="test")
    assert draw(many(24, "val"), 0.5).moved(many(24, "val").captions).any()


def test_equal_seeds_give_equal_draws_and_digests():
    pairs = many()
    a, b, c = (draw(pairs, 0.4, seed=s) for s in (1, 1, 2))
    assert a.sha256 == b.sha256 != c.sha256
    assert a.apply(pairs).captions == corrupt(pairs, 0.4, seed=1).captions


DRAWS = {
    "caption": "7c90c40590426f7f", "ncr": "c23f27e44879ab55",
    "decl": "96172097f3d8b2c5", "class": "b3d6a34739b18ad6",
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_draw_is_the_same_for_good(protocol):
    pairs = many()
    noise = draw(pairs, 0.4, seed=1, protocol=protocol)
    assert noise.sha256.startswith(DRAWS[protocol])
    assert (noise.protocol, noise.rate, noise.seed) == (protocol, 0.4, 1)
    for flags in (noise.moved(pairs.captions), noise.false(pairs.captions, pairs.gt)):
        assert flags.dtype == bool and flags.shape == (150,)
    assert draw(pairs, 0.4).sha256 == draw(pairs, 0.4, seed=42).sha256


def test_the_digest_of_noisy_data_holds_that_of_the_clean():
    pairs = many()
    noisy = corrupt(pairs, 0.4, seed=1)
    assert noisy.source["sha256"].startswith("1a40b47c84abc972")
    other = corrupt(replace(pairs, source={"sha256": "another"}), 0.4, seed=1)
    assert other.source["sha256"] != noisy.source["sha256"]


def test_the_stream_runs_on_and_a_rate_of_0_takes_nothing_from_it():
    pairs = many()
    first, second = stream(pairs, [0.2, 0.4])
    assert first.sha256 == draw(pairs, 0.2).sha256
    assert second.sha256 != draw(pairs, 0.4).sha256
    zero, again = stream(pairs, [0, 0.2])
    assert again.sha256 == first.sha256
    assert not zero.moved(pairs.captions).any()


def test_the_source_tells_noisy_from_clean():
    pairs = many()
    noisy = corrupt(pairs, 0.4, seed=5, protocol="ncr")
    assert noisy.source["sha256"] != pairs.source["sha256"]
    digest = draw(pairs, 0.4, seed=5, protocol="ncr").sha256
    expected = {"protocol": "ncr", "rate": 0.4, "seed": 5, "sha256": digest}
    assert noisy.source["noise"] == expected
    with pytest.raises(DataError, match="noisy already"):
        corrupt(noisy, 0.2)
    with pytest.raises(DataError, match="data has"):
        draw(pairs, 0.2).apply(many(40))


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_a_rate_outside_is_refused(rate):
    with pytest.raises(ParameterError, match=r"outside \[0, 1\)"):
        stream(many(), [0.2, rate])  # before anything is drawn


def test_other_bad_parameters_are_refused():
    with pytest.raises(ParameterError, match="use caption, ncr, decl, class"):
        draw(many(), 0.2, protocol="rows")
    with pytest.raises(ParameterError, match="seed"):
        draw(many(), 0.2, seed=-1)


# Files

HEAD = b"filename,title\r\n"
LINES = [b'/a/x_1.tif,"one, two"', b"/a/x_1.tif,three", b'/a/x_2.tif,"a ""b"""',
         b"/a/x_2.tif,four ", b"/a/x_3.tif,five", b"/a/x_3.tif,"]  # fmt: skip


def made(tmp_path: Path, name: str = "A-NC-00.csv", data: bytes = b"") -> Path:
    path = tmp_path / name
    path.write_bytes(data or HEAD + b"".join(line + b"\r\n" for line in LINES))
    return path


def test_only_titles_move_and_all_other_bytes_stay(tmp_path, capsys):
    path = made(tmp_path)
    out = tmp_path / "out"
    command = ["noise", str(path), "--rates", "0.5", "0.75", "--out", str(out)]
    assert main(command) == 0
    assert "of 6 captions moved" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == [
        "A-NC-05.csv", "A-NC-05.csv.json", "A-NC-075.csv", "A-NC-075.csv.json"
    ]  # fmt: skip
    data = read_verified(out / "A-NC-075.csv")
    assert data.startswith(HEAD)
    lines = data[len(HEAD) :].split(b"\r\n")[:-1]
    assert [x.split(b",", 1)[0] for x in lines] == [x.split(b",", 1)[0] for x in LINES]
    assert Counter(x.split(b",", 1)[1] for x in lines) == Counter(
        x.split(b",", 1)[1] for x in LINES
    )
    assert lines != LINES
    facts = read_json(out / "A-NC-075.csv.json")
    changed = sum(a != b for a, b in zip(lines, LINES, strict=True))
    assert (facts["moved"], facts["rows"], facts["stream"]) == (changed, 6, [0.5, 0.75])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_columns_and_quotes_as_they_were(tmp_path, end, last):
    rows = [b'\xef\xbb\xbf"title",id,"filename"'] + [
        b'"t%d",%d,%d' % (k, k, k // 2) for k in range(8)
    ]
    data = end.join(rows) + (end if last else b"")
    [path] = corrupt_csv(made(tmp_path, "b.csv", data), [0.9], tmp_path / "o")
    assert path.name == "b-NC-09.csv"
    new = path.read_bytes()
    assert new != data
    assert sorted(new) == sorted(data)
    assert new.endswith(end) == last
    cells = [r.split(b",", 1)[1] for r in new.removesuffix(end).split(end)]
    assert cells == [r.split(b",", 1)[1] for r in rows]
    read = list(csv.reader(io.StringIO(new.decode("utf-8-sig"), newline="")))
    assert sorted(r[0] for r in read[1:]) == [f"t{k}" for k in range(8)]


def test_gzip_in_gzip_out_with_the_same_content(tmp_path):
    plain = made(tmp_path)
    packed = made(tmp_path, "A-NC-00.csv.gz", gzip.compress(plain.read_bytes()))
    [a] = corrupt_csv(plain, [0.5], tmp_path / "a")
    [b] = corrupt_csv(packed, [0.5], tmp_path / "b")
    [c] = corrupt_csv(packed, [0.5], tmp_path / "c")
    assert b.name == "A-NC-05.csv.gz"
    assert gzip.decompress(b.read_bytes()) == a.read_bytes()
    assert b.read_bytes() == c.read_bytes()
    assert (
        read_json(receipt_path(a))["content"] == read_json(receipt_path(b))["content"]
    )
    bad = made(tmp_path, "bad.csv.gz", packed.read_bytes()[:-9])
    with pytest.raises(FileCorruptError, match="damaged gzip"):
        corrupt_csv(bad, [0.5], tmp_path / "d")


def test_noise_files_are_never_replaced_unasked(tmp_path, capsys):
    path, out = made(tmp_path), tmp_path / "out"
    [first] = corrupt_csv(path, [0.5], out)
    before = first.stat().st_mtime_ns
    receipt_path(first).unlink()  # as after a kill between the two writes
    corrupt_csv(path, [0.5], out)
    assert receipt_path(first).is_file()
    before = first.stat().st_mtime_ns
    corrupt_csv(path, [0.5], out)
    assert first.stat().st_mtime_ns == before
    assert "(as it was)" in capsys.readouterr().out
    good = first.read_bytes()
    with pytest.raises(DataError, match=r"sha256 [0-9a-f]{64}, not [0-9a-f]{64}") as e:
        corrupt_csv(path, [0.25, 0.5], out)  # another stream, so another 0.5
    assert "--force" in str(e.value)
    assert first.read_bytes() == good
    assert not (out / "A-NC-025.csv").exists()
    corrupt_csv(path, [0.25, 0.5], out, force=True)
    assert first.read_bytes() != good
    read_verified(first)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"image,caption\r\na,b\r\n", "columns are 'image', 'caption'"),
        (b"filename\ttitle\na\tb\n", "columns are 'filename"),
        (b"filename,title\na,b\na,b,c\n", "row 3 has 3 fields"),
        (b"filename,title\na,b\n\na,b\n", "row 3 has 1 fields"),
        (b"filename,title\n", "no rows"),
        (b"\n", "columns are ''"),
    ],
)
def test_a_csv_that_does_not_fit_is_named(tmp_path, capsys, data, message):
    path, out = made(tmp_path, "x.csv", data), tmp_path / "out"
    assert main(["noise", str(path), "--rates", "0.2", "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_bad_rates_write_nothing(tmp_path, capsys):
    path, out = made(tmp_path), tmp_path / "out"
    for rates in (["0.2", "1.0"], ["-0.1"], ["nan"], ["0.2", "0.20"]):
        assert main(["noise", str(path), "--out", str(out), "--rates", *rates]) == 2
        assert "rate" in capsys.readouterr().err
    for more in (["--protocol", "class"], ["--protocol", "x"], ["--seed", "-3"]):
        assert (
            main(["noise", str(path), "--out", str(out), "--rates", "0.2", *more]) == 2
        )
    assert (
        main(["noise", str(tmp_path / "no.csv"), "--out", str(out), "--rates", "0"])
        == 2
    )
    assert not out.exists()


@pytest.mark.skipif(
    not (NOISY / "RSITMD-NC-00.csv.gz").is_file(),
    reason=f"{NOISY}: no RSITMD-NC-00.csv.gz. Set RSNB_DATA to a folder with rsitmd/.",
)
def test_the_published_files_follow_byte_for_byte(tmp_path):
    rates = [0.2, 0.4, 0.6, 0.8]
    made = corrupt_csv(NOISY / "RSITMD-NC-00.csv.gz", rates, tmp_path)
    for path in made[:2]:
        published = gzip.decompress((NOISY / path.name).read_bytes())
        assert gzip.decompress(path.read_bytes()) == published
    facts = [read_json(receipt_path(p)) for p in made]
    assert [f["moved"] for f in facts] == [3859, 7719, 11583, 15443]
    assert [f["false"] for f in facts] == [3859, 7719, 11580, 15441]
