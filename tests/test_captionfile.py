"""A caption file survives kills, torn lines and second writers, and mixes no runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from rsnb.captionfile import CaptionFile, export, read
from rsnb.errors import DataError, FileCorruptError, ResourceError
from rsnb.records import Record, Run, Variant, align, checked
from test_records import five

RUN = Run("m", "1", "p", {"do_sample": False, "max": 5}, {"torch": "2.6"})


def record(k):
    """Return a record; every third is not usable."""
    if k % 3 == 2:
        return Record(f"i/{k}.png", (), "unparsed", "no JSON", "said\n\u2028\ud800" * 9)
    return checked(f"i/{k}.png", five(f"planes of kind {k}"))


def write(path, n, run=RUN):
    with CaptionFile(path, run) as file:
        for k in range(n):
            file.append(record(k))
    return path


def test_write_and_read(tmp_path):
    path = write(tmp_path / "deep" / "ü.jsonl", 7)
    assert read(path) == (RUN, [record(k) for k in range(7)])
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert lines[0]["rsnb"] == "captions"
    assert lines[0]["schema"] == 1
    for line in lines[1:]:
        assert (line["model"], line["revision"], line["prompt"]) == ("m", "1", "p")
        assert line["run"] == lines[0]["digest"] == RUN.digest


@pytest.mark.promise("P14")
def test_resume(tmp_path):
    path = write(tmp_path / "a", 3)
    with CaptionFile(path, RUN) as file:
        assert file.done == {record(k).image for k in range(3)}
        file.append(record(3))
        assert file.records() == [record(k) for k in range(4)]
        with pytest.raises(DataError, match=r"has a record of i/3.png already"):
            file.append(record(3))
    assert read(path)[1] == [record(k) for k in range(4)]


def test_a_file_can_hold_no_records(tmp_path):
    path = write(tmp_path / "a", 0)
    assert read(path) == (RUN, [])
    with CaptionFile(path, RUN) as file:
        assert file.done == set()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": "n"}, "model is m there, n now"),
        ({"revision": "2"}, "revision is 1 there, 2 now"),
        ({"prompt": "q"}, "prompt is p there, q now"),
        ({"decoding": {"do_sample": True, "max": 5}}, "decoding is .*False.*True"),
        ({"versions": {"torch": "2.7"}}, r"versions is .*2\.6.*2\.7"),
    ],
)
@pytest.mark.promise("P14")
def test_runs_do_not_mix(tmp_path, other, says):
    path = write(tmp_path / "a", 2)
    before = path.read_bytes()
    with pytest.raises(DataError, match=says) as found:
        CaptionFile(path, replace(RUN, **other))
    assert str(found.value).count(" there, ") == 1  # what agrees is not named
    assert path.read_bytes() == before
    CaptionFile(path, RUN).close()  # the lock is gone


def test_what_json_cannot_tell_apart_is_the_same_run(tmp_path):
    run = replace(RUN, decoding={"size": (1, 2), "dtype": int})
    path = write(tmp_path / "a", 1, run)
    CaptionFile(path, run).close()
    assert read(path)[0].digest == run.digest
    with pytest.raises(DataError, match="decoding"):
        CaptionFile(path, RUN)


@pytest.mark.promise("P12")
def test_records_of_another_run_are_noticed(tmp_path):
    path = write(tmp_path / "a", 2)
    other = write(tmp_path / "b", 1, replace(RUN, model="n"))
    lines = other.read_bytes().splitlines(keepends=True)
    for extra in lines:
        path.write_bytes(write(tmp_path / "c", 2).read_bytes() + extra)
        (tmp_path / "c").unlink()
        with pytest.raises(FileCorruptError, match=r"line 4: .*record of another run"):
            read(path)


@pytest.mark.promise("P14")
def test_a_torn_last_line_is_redone(tmp_path):
    path = write(tmp_path / "a", 3)
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in [*range(start, start + 40), *range(start, len(whole), 17)]:
        path.write_bytes(whole[:end])
        assert read(path)[1] == [record(0), record(1)]
        assert path.read_bytes() == whole[:end]  # a reader changes nothing
        with CaptionFile(path, RUN) as file:
            assert "i/2.png" not in file.done
            file.append(record(2))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"\x00" * 50, b"\xff\xfe\n", b"{\n", b"\n"])
@pytest.mark.promise("P14")
def test_garbage_at_the_end_is_cut_off(tmp_path, tail):
    path = write(tmp_path / "a", 2)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert read(path)[1] == [record(0), record(1)]
    CaptionFile(path, RUN).close()
    assert path.read_bytes() == whole


@pytest.mark.promise("P14")
def test_a_line_that_lacks_only_its_end_is_kept(tmp_path):
    path = write(tmp_path / "a", 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert len(read(path)[1]) == 3
    with CaptionFile(path, RUN) as file:
        file.append(record(3))
    assert path.read_bytes() == write(tmp_path / "b", 4).read_bytes()


@pytest.mark.promise("P14")
def test_a_torn_first_line_is_written_anew(tmp_path):
    path = write(tmp_path / "a", 0)
    whole = path.read_bytes()
    for end in range(0, len(whole), 9):
        path.write_bytes(whole[:end])
        CaptionFile(path, RUN).close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x[:30], "line 3: "),
        (lambda x: b"", "line 3: "),
        (lambda x: b"\x00" + x, "line 3: "),
        (lambda x: x.replace(b'"ok"', b'"fine"'), "line 3: ParameterError"),
        (lambda x: x.replace(b'"ok"', b'"failed"'), "line 3: ParameterError"),
        (lambda x: x.replace(b'"feature"', b'"features"'), "line 3: DataError"),
        (lambda x: x.replace(b'"image"', b'"picture"'), "line 3: KeyError"),
        (lambda x: x.replace(b'"variants": [', b'"variants": [NaN, '), "NaN is not"),
        (lambda x: x[:-1] + b', "raw": ""}', "key occurs twice"),
        (lambda x: x.replace(b"i/1.png", b"i/0.png"), "changed since it was written"),
        (lambda x: b"[]", "line 3: TypeError"),
        (lambda x: b"7", "line 3: TypeError"),
    ],
)
@pytest.mark.promise("P12")
def test_damage_before_the_end_is_refused(tmp_path, change, says):
    path = write(tmp_path / "a", 3)
    lines = path.read_bytes().split(b"\n")
    lines[2] = change(lines[2])
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    for use in (read, lambda p: CaptionFile(p, RUN)):
        with pytest.raises(FileCorruptError, match=says):
            use(path)
    assert path.read_bytes() == before


def test_an_image_has_one_record(tmp_path):
    path = write(tmp_path / "a", 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[2], lines[1]]))
    with pytest.raises(FileCorruptError, match=r"second record of i/1\.png"):
        read(path)


@pytest.mark.parametrize(
    "head",
    [
        '{"rsnb": "captions"}',
        '{"rsnb": "captions", "schema": 2, "run": %s, "digest": "%s"}',
        '{"rsnb": "captions", "schema": 1, "run": %s, "digest": "0%s"}',
        '{"rsnb": "captions", "schema": 1, "run": [%s], "digest": "%s"}',
        '{"rsnb": "captions", "schema": 1, "run": {"x": %s}, "digest": "%s"}',
    ],
)
@pytest.mark.promise("P12")
def test_a_damaged_first_line_is_refused(tmp_path, head):
    path = tmp_path / "a"
    args = (json.dumps(asdict(RUN)), RUN.digest) if "%" in head else ()
    path.write_text(head % args + "\n")
    with pytest.raises(FileCorruptError, match="line 1: "):
        read(path)


@pytest.mark.parametrize("text", ["notes\n", "notes", '{"image": "a"}\n', "[1]\n\n"])
@pytest.mark.promise("P13")
def test_a_file_of_something_else_is_not_touched(tmp_path, text):
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(FileCorruptError, match="line 1: "):
        CaptionFile(path, RUN)
    assert path.read_text() == text


# Kills and second writers

# Waits for a line of input before each record.
WRITER = """
import sys
from rsnb.captionfile import CaptionFile
from test_captionfile import RUN, big

with CaptionFile(sys.argv[1], RUN) as file:
    print("open", flush=True)
    for k in range(int(sys.argv[2])):
        if big(k).image not in file.done:
            input()
            print(k, flush=True)
            file.append(big(k))
            print("done", flush=True)
"""


def big(k):
    return Record(f"i/{k}", (), "unparsed", "long", f"{k} " * 20_000)


def start(path, n):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout.readline() == "open\n"
    return process


@pytest.mark.promise("P14")
def test_kill_loses_at_most_the_record_in_flight(tmp_path):
    path, there, n = tmp_path / "a", set(), 120
    rng = np.random.default_rng(4)
    for go in rng.integers(1, 12, 8):
        with start(path, n) as process:
            process.stdin.write("\n" * go)
            process.stdin.flush()
            said = [process.stdout.readline().strip() for _ in range(2 * go - 1)]
            time.sleep(rng.uniform(0, 0.002))  # the last append is under way
            os.kill(process.pid, signal.SIGKILL)
        assert said[1::2] == ["done"] * (go - 1)
        told = there | {f"i/{k}" for k in said[:-1:2]}
        there = {r.image for r in read(path)[1]}
        assert told <= there <= told | {f"i/{said[-1]}"}
    with start(path, n) as process:
        process.communicate("\n" * n)
    assert read(path) == (RUN, [big(k) for k in range(n)])


@pytest.mark.promise("P13")
def test_one_writer_at_a_time(tmp_path):
    path = write(tmp_path / "a", 1)
    with CaptionFile(path, RUN) as file:
        with pytest.raises(ResourceError, match="written by another process"):
            CaptionFile(path, RUN)
        file.append(record(1))
        assert len(read(path)[1]) == 2  # readers need not wait
    with start(path, 9) as process:
        with pytest.raises(ResourceError, match="written by another process"):
            CaptionFile(path, RUN)
        process.kill()
    CaptionFile(path, RUN).close()  # a killed writer leaves no lock


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.promise("P13")
def test_a_write_that_fails_leaves_no_half_line(tmp_path, monkeypatch, error):
    path = write(tmp_path / "a", 1)
    with CaptionFile(path, RUN) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(error))
            with pytest.raises((ResourceError, KeyboardInterrupt)):
                file.append(record(1))
        assert read(path)[1] == file.records() == [record(0)]
        file.append(record(1))
    assert read(path)[1] == [record(0), record(1)]


@pytest.mark.promise("P13")
def test_a_short_write_is_taken_back(tmp_path):
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            return self.file.write(line[:9])

        def __getattr__(self, name):
            return getattr(self.file, name)

    path = write(tmp_path / "a", 1)
    with CaptionFile(path, RUN) as file:
        whole, file._file = file._file, Full(file._file)
        with pytest.raises(ResourceError, match="disk full"):
            file.append(record(1))
        file._file = whole
        file.append(record(1))
    assert path.read_bytes() == write(tmp_path / "b", 2).read_bytes()


# The public layout


def test_export_and_read_again(tmp_path):
    path = write(tmp_path / "a", 6)
    run, again = read(export(path, tmp_path / "out" / "b.jsonl"))
    assert run is None
    assert [r.image for r in again] == [record(k).image for k in range(6)]
    for k, r in enumerate(again):
        assert r.variants == record(k).variants
        assert r.usable == record(k).usable
    lines = (tmp_path / "out" / "b.jsonl").read_text().splitlines()
    assert list(json.loads(lines[0])) == ["image", "variants", "model"]
    once = export(tmp_path / "out" / "b.jsonl", tmp_path / "c.jsonl")
    assert read(once) == (None, again)


def public(k):
    return {"image": f"i/{k}", "variants": [asdict(v) for v in five()]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([public(0), public(1)], indent=2),
        "\ufeff" + json.dumps({"i/0": public(0), "i/1": public(1)["variants"]}),
        f"{json.dumps(public(0))}\r\n\n{json.dumps(public(1))}",
        "\ufeff" + f"{json.dumps(public(0))}\n{json.dumps(public(1))}\n",
        "\n".join(json.dumps({"image": f"i/{k}", **asdict(v)})
                  for k in (0, 1) for v in five()),
    ],
    ids=["list", "dict", "lines, CRLF", "lines with a mark", "flat"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_public_files_are_told_by_content(tmp_path, text, name):
    path = tmp_path / name
    path.write_bytes(text.encode())
    run, records = read(path)
    assert run is None
    assert records == [Record(f"i/{k}", tuple(five())) for k in (0, 1)]


def test_one_line_is_one_record(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(public(0)) + "\n")
    assert [r.image for r in read(tmp_path / "a.jsonl")[1]] == ["i/0"]


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", FileCorruptError, "is empty"),
        (b"[]", DataError, None),
        (b"{}\n{", FileCorruptError, "line 2: "),
        (b'{"image": "a"}\n{"image": NaN}\n', FileCorruptError, "line 2: NaN"),
        (b'{"image": "a"}\nb\xff\n', FileCorruptError, "line 2: 'utf-8'"),
        (b"[" * 99_999, FileCorruptError, "line 1: nested too deep"),
        (b'[{"variants": []}]', DataError, "a.json: entry 1 names no image"),
    ],
)
def test_a_broken_public_file_says_where(tmp_path, data, error, says):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    if says is None:
        assert read(path) == (None, [])
    else:
        with pytest.raises(error, match=says):
            read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none")


def test_captions_made_elsewhere(tmp_path):
    path = tmp_path / "geochat.jsonl"
    path.write_text('{"image": "a", "caption": "a lake"}\n{"image": "b"}\n')
    a, b = read(path, fill=True)[1]
    assert (a.texts(("feature",)), b.status) == (("a lake",), "invalid")


def test_hostile_text_through_the_file(tmp_path):
    """Texts that would end a line, a page or a prompt come back as they went in."""
    ends = "".join(map(chr, [10, 13, 11, 12, 28, 29, 30, 0x85, 0x2028, 0x2029]))
    raw = f"{ends}<script>\x00\u202e\ud800" + "x" * 2**20
    bad = Record(f"../{ends}\u202e<b>", (), "unparsed", "</td><script>", raw)
    good = checked("good", [
        Variant("<script>alert(1)</script>", f"the {k}{{{{ x }}}}", "](javascript:x)")
        for k in range(5)
    ])  # fmt: skip
    assert good.usable
    with CaptionFile(tmp_path / "a", RUN) as file:
        file.append(bad)
        file.append(good)
    assert len((tmp_path / "a").read_bytes().splitlines()) == 3
    assert read(tmp_path / "a")[1] == [bad, good]
    assert align(read(tmp_path / "a")[1], ["good", bad.image]) == [good, bad]


def test_unclean_texts_are_cleaned_on_reading(tmp_path):
    unclean = replace(five()[0], caption="the\u202e  end \x00")
    with CaptionFile(tmp_path / "a", RUN) as file:
        file.append(Record("a", (unclean,)))
    assert read(tmp_path / "a")[1][0].variants[0].caption == "the end"
