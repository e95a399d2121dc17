"""Two Ray workers make what one process makes, and a killed one loses nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from rsnb import backbones, captions, data, scale, smallcaptioners
from rsnb.captioners import describe
from rsnb.embed import embed_images
from rsnb.errors import DataError, FileCorruptError, ParameterError
from rsnb.pixels import load_pixels
from rsnb.scale import caption_shards, embed_shards
from rsnb.shards import Shards
from toy import Squares, squares, tiny

ray = pytest.importorskip("ray", reason='needs pip install "rsnb[scale]"')
LATE = 150  # the row at which a reader stops its process; the third shard of 64 has it


@dataclass(frozen=True)
class Deadly(Squares):
    """A reader that kills its process, with -9, where no `mark` was left before."""

    mark: str = ""

    def __call__(self, row):
        if row == LATE and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Start Ray once for all; its processes find `Deadly` by this file's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("RAY_worker_niceness", "0")  # 15, which starves on a busy machine
        with scale._ray(2):
            yield


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "tiny.safetensors"
    backbones.save(path, tiny())
    return str(path)


def whole(shards, column):
    return [x for _, part in shards for x in part[column]]


def test_a_killed_worker_loses_nothing_and_all_is_as_in_one_process(name, tmp_path):
    plain, mark = squares(300), tmp_path / "mark"
    pairs = replace(plain, reader=Deadly(mark=str(mark)))
    made = embed_shards(name, pairs, tmp_path / "emb", shard=64)
    assert mark.exists()  # it was killed
    made.verify()
    assert whole(made, "image") == list(plain.ids)
    assert [len(part["image"]) for _, part in made] == [64, 64, 64, 64, 44]
    pixels = load_pixels(plain, 32, cache=False)
    alone = embed_images(backbones.load(name), pixels)
    np.testing.assert_allclose(whole(made, "emb"), alone, rtol=0, atol=1e-5)

    # What is there and whole stays; what is damaged or missing is made again.
    parts = [tmp_path / "emb" / f"part-{i:05d}.safetensors" for i in range(5)]
    parts[1].unlink()
    parts[2].write_bytes(b"short")
    before = [p.stat().st_mtime_ns if p.exists() else 0 for p in parts]
    again = embed_shards(name, pairs, tmp_path / "emb", shard=64)
    after = [p.stat().st_mtime_ns for p in parts]
    changed = [a != b for a, b in zip(after, before, strict=True)]
    assert changed == [False, True, True, False, False]
    np.testing.assert_array_equal(whole(again, "emb"), whole(made, "emb"))

    # A worker's error comes out as ours.
    blind = replace(pairs, has_pixels=np.arange(300) != 7)
    with pytest.raises(DataError, match=r"squares/train/7 is .* 1 of 5 shards"):
        embed_shards(name, blind, tmp_path / "blind", shard=64, workers=1)
    with pytest.raises(FileCorruptError):
        Shards(tmp_path / "blind")
    assert len(list((tmp_path / "blind").glob("part-*.safetensors"))) == 4


def test_captions_are_those_of_one_process_word_for_word(tmp_path):
    pairs = data.load("world").where("test").subset(np.arange(40))
    who = smallcaptioners.captioner("world-vlm")
    prompt = smallcaptioners.prompt_of("world-vlm")
    path = tmp_path / "alone.jsonl"
    alone = describe(pairs, who, prompt, path)
    made = caption_shards("world-vlm", pairs, tmp_path / "shards", shard=32)
    assert len(made) == 40
    run, records = captions.read(tmp_path / "shards")
    assert records == alone
    assert sum(r.usable for r in records) > 35
    assert run == captions.read(path)[0]
    assert not list((tmp_path / "shards").glob("*.jsonl"))


def test_nothing_to_do_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="0 workers"):
        embed_shards("world-rn", squares(4), tmp_path, workers=0)
