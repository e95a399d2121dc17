"""The driver: one record an image, resumed after any stop; captions from files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsnb import captioners
from rsnb.captioners import FileCaptioner, describe
from rsnb.captionfile import read
from rsnb.errors import BackboneError, DataError, ParameterError
from rsnb.pairs import Pairs
from rsnb.prompts import PROMPTS, Answer, Prompt, settle
from rsnb.records import Record, quality
from test_prompts import five, variant

ASK = Prompt(("Describe it.",))


class Fake:
    """Answers well, but raises at some images; notes what it is asked."""

    def __init__(
        self, *bad: int, model: str = "fake", error: type = ValueError
    ) -> None:
        self.model, self.revision, self.decoding = model, "1", {"do_sample": False}
        self.bad, self.error, self.seen = bad, error, []

    def describe(self, images, prompt, ids):
        if any(image.getpixel((0, 0))[0] in self.bad for image in images):
            raise self.error("odd image")
        self.seen += ids
        return [settle(i, [Answer(five())], lambda *_: Answer("")) for i in ids]


def shade(row: int) -> Image.Image:
    if row == 999:
        raise OSError("disk gone")
    return Image.new("RGB", (8, 8), (row % 200, 0, 0))


def pairs(n: int = 12, **kw) -> Pairs:
    ids = tuple(f"set/{k}.jpg" for k in range(n))
    one = Pairs(
        "p", ids, ("test",) * n, ("",) * n, ids, np.arange(n), np.ones(n, bool), shade,
        np.arange(n),
    )  # fmt: skip
    return replace(one, **kw)


def states(records: list[Record]) -> str:
    return "".join(r.status[0] for r in records)


def test_one_record_an_image_in_order(tmp_path):
    data, path = pairs(), tmp_path / "c.jsonl"
    fake = Fake()
    records = describe(data, fake, ASK, path, batch=5)
    assert [r.image for r in records] == list(data.ids) and states(records) == "o" * 12
    run, kept = read(path)
    assert kept == records
    assert (run.model, run.revision, run.prompt) == ("fake", "1", ASK.digest)
    assert run.decoding == {"do_sample": False, "max_new_tokens": 1800}
    assert describe(data, fake, ASK, path) == records
    assert len(fake.seen) == 12  # nothing twice


def test_a_part_and_then_the_whole(tmp_path):
    fake, data = Fake(), pairs()
    part = data.subset([7, 2])
    assert [r.image for r in describe(part, fake, ASK, tmp_path / "c")] == list(
        part.ids
    )
    describe(data, fake, ASK, tmp_path / "c")
    assert len(fake.seen) == 12
    assert len(describe(part, fake, ASK, tmp_path / "c")) == 2


def test_what_fails_is_a_record_and_harms_no_other(tmp_path):
    rows = np.array([*range(8), 999, 9, 10, 11])
    has = np.arange(12) != 5
    data = pairs(rows=rows, has_pixels=has)
    path = tmp_path / "c.jsonl"
    records = describe(data, Fake(2, 3), ASK, path)
    assert states(records) == "ooffofoofooo"
    assert records[2].reason == "ValueError: odd image"
    assert "disk gone" in records[8].reason and "without pixels" in records[5].reason
    assert len(read(path)[1]) == 12
    assert quality(records)["status"] == {"ok": 8, "failed": 4}


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_a_captioner_that_always_fails_is_stopped(tmp_path, batch):
    data, path = pairs(25), tmp_path / "c.jsonl"
    with pytest.raises(DataError, match=r"10 images in a row.*odd image"):
        describe(data, Fake(*range(4, 30)), ASK, path, batch=batch)
    assert states(read(path)[1]) == "oooo"
    assert states(describe(data, Fake(4), ASK, path)) == "oooof" + "o" * 20


def test_a_run_that_ends_in_failures_keeps_them(tmp_path):
    records = describe(pairs(), Fake(9, 10, 11), ASK, tmp_path / "c.jsonl")
    assert states(records) == "o" * 9 + "fff"
    assert states(read(tmp_path / "c.jsonl")[1]) == "o" * 9 + "fff"


def test_an_error_of_the_set_up_is_raised(tmp_path):
    with pytest.raises(BackboneError):
        describe(pairs(), Fake(3, error=BackboneError), ASK, tmp_path / "c")
    swapped = Fake()
    swapped.describe = lambda images, prompt, ids: [
        Record(i, (), "failed", "x") for i in reversed(ids)
    ]
    with pytest.raises(ParameterError, match="in order"):
        describe(pairs(), swapped, ASK, tmp_path / "d")


def test_ctrl_c_leaves_a_file_that_goes_on(tmp_path):
    data, path = pairs(), tmp_path / "c.jsonl"
    with pytest.raises(KeyboardInterrupt):
        describe(data, Fake(7, error=KeyboardInterrupt), ASK, path, batch=2)
    assert states(read(path)[1]) == "o" * 6
    again = Fake()
    assert states(describe(data, again, ASK, path)) == "o" * 12
    assert again.seen == list(data.ids[6:])


@pytest.mark.parametrize(
    ("captioner", "prompt", "says"),
    [
        (Fake(model="other"), ASK, "model"),
        (Fake(), Prompt(("Other.",)), "prompt"),
        (Fake(), replace(ASK, max_new_tokens=9), "decoding"),
    ],
)
def test_runs_are_never_mixed(tmp_path, captioner, prompt, says):
    describe(pairs(4), Fake(), ASK, tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(DataError, match=f"another run.*{says}"):
        describe(pairs(6), captioner, prompt, tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == before and not captioner.seen


# Killed in the middle


def slow_run(path: str, batch: str) -> None:
    """Caption slowly, noting in `<path>.seen` what was begun."""

    class Slow(Fake):
        def describe(self, images, prompt, ids):
            with Path(f"{path}.seen").open("a") as f:
                print(*ids, sep="\n", file=f)
            time.sleep(0.02)
            return super().describe(images, prompt, ids)

    describe(pairs(400), Slow(), ASK, path, batch=int(batch))


@pytest.mark.parametrize("batch", [1, 4])
def test_kill_9_loses_at_most_the_batch_in_flight(tmp_path, batch):
    path = tmp_path / "c.jsonl"
    code = f"import test_captioners as t; t.slow_run({str(path)!r}, '{batch}')"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    job = subprocess.Popen([sys.executable, "-c", code], env=env)
    end = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < 20:
        assert job.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    begun = Path(f"{path}.seen").read_text().split()
    kept = [json.loads(x)["image"] for x in path.read_text().splitlines(True)[1:]
            if x.endswith("\n")]  # fmt: skip
    assert 19 <= len(kept) < 400
    assert kept == begun[: len(kept)] and len(begun) - len(kept) <= batch
    fake = Fake()
    records = describe(pairs(400), fake, ASK, path)
    assert states(records) == "o" * 400
    assert fake.seen == [i for i in pairs(400).ids if i not in kept]


# Captions made elsewhere


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_file_of_plain_captions(tmp_path):
    """Rows as GeoChat's scripts write them: image and caption, nothing else."""
    rows = [{"image": f"set/{k}.jpg", "caption": variant(k)["caption"]} for k in (0, 2)]
    rows += [{"image": "set/2.jpg", "caption": "A long runway and the green field."}]
    rows += [{"image": "set/3.jpg", "caption": " "}]
    path = lines(tmp_path / "geochat.jsonl", *rows)
    captioner = FileCaptioner(path, fill=True)
    assert captioner.model == "geochat" and len(captioner.revision) == 64
    records = describe(pairs(5), captioner, ASK, tmp_path / "c.jsonl")
    assert states(records) == "ofoif"
    assert [len(r.variants) for r in records] == [1, 0, 2, 0, 0]
    one = records[0].variants[0]
    assert one.one_sentence == one.feature == one.caption == rows[0]["caption"]
    assert "fill" in records[0].reason and "no record" in records[1].reason
    assert records[3].reason == "empty text"
    with pytest.raises(DataError, match="another run"):  # the file changed
        lines(path, rows[0])
        describe(pairs(5), FileCaptioner(path, fill=True), ASK, tmp_path / "c.jsonl")


def test_plain_captions_do_not_pass_for_five_variants(tmp_path):
    row = {"image": "set/0.jpg", "caption": "An airport."}
    (record,) = FileCaptioner(lines(tmp_path / "a.jsonl", row)).describe(
        [], ASK, ["set/0.jpg"]
    )
    assert record.status == "invalid"


def test_a_file_in_the_public_layout_needs_no_pixels(tmp_path):
    row = {"image": "set/1.jpg", "variants": [variant(k) for k in range(5)]}
    row["model"] = "gpt-x"
    captioner = FileCaptioner(lines(tmp_path / "rsrt.jsonl", row))
    data = pairs(15, has_pixels=np.zeros(15, bool))
    records = describe(data, captioner, ASK, tmp_path / "c.jsonl")
    assert states(records) == "fo" + "f" * 13 and len(records[1].variants) == 5


def test_a_file_of_ours_keeps_the_name_of_its_model(tmp_path):
    made = describe(pairs(3), Fake(1), ASK, tmp_path / "c.jsonl")
    captioner = FileCaptioner(tmp_path / "c.jsonl")
    assert captioner.model == "fake"
    assert captioner.describe([], ASK, pairs(3).ids) == made


def test_all_that_a_page_needs_comes_from_one_module():
    assert set(captioners.__all__) >= {"EndpointCaptioner", "TransformersCaptioner"}
    assert captioners.PROMPTS is PROMPTS
