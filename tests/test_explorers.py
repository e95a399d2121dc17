"""Numbers and thumbnails that travel in a page."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from rsnb import noise
from rsnb.embed import embed
from rsnb.errors import ParameterError
from rsnb.explorers import audit, pack, t2t, thumbs, unpack
from rsnb.pacing import Judge, look
from rsnb.records import Record, Variant
from rsnb.t2t import Fusion, TextSpace
from toy import squares, tiny


class Hashed:
    """A sentence encoder by hash: any text has a vector, and always the same."""

    def encode(self, texts, **_):
        seeds = [int(hashlib.sha256(t.encode()).hexdigest()[:8], 16) for t in texts]
        return np.stack([np.random.default_rng(s).normal(size=8) for s in seeds])


def test_numbers_come_back_within_half_a_step():
    x = np.random.default_rng(0).normal(0, 3, (7, 5, 2))
    back = unpack(pack(x))
    assert back.shape == x.shape
    assert abs(back - x).max() <= 0.5001 * abs(x).max() / 32767
    np.testing.assert_allclose(unpack(pack(back)), back, atol=1e-12)


def test_order_is_kept_and_zero_stays_zero():
    x = np.sort(np.random.default_rng(1).normal(size=50))
    assert (np.diff(unpack(pack(x))) >= 0).all()
    assert unpack(pack(np.zeros(3))).tolist() == [0, 0, 0]
    assert unpack(pack(np.zeros((0, 4)))).shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_cannot_be_shown_is_refused(bad):
    with pytest.raises(ParameterError, match="leave them out"):
        pack([1.0, bad])


def test_thumbnails_are_small_and_in_order():
    pairs = squares(6)
    found = thumbs(pairs, [4, 1], side=40)
    for text, row in zip(found, (4, 1), strict=True):
        raw = base64.b64decode(text)
        assert len(raw) <= 2500
        image = Image.open(io.BytesIO(raw))
        assert (image.format, image.size) == ("WEBP", (40, 40))
        want = np.asarray(pairs.image(row).resize((40, 40)), float)
        assert abs(np.asarray(image.convert("RGB"), float) - want).mean() < 12


def test_the_audit_holds_losses_texts_and_the_truth():
    pairs, model = squares(24), tiny()
    data = audit(pairs, model, 10, (0.0, 0.5), recall={"a": {0.5: (1, 0, 2)}})
    json.dumps(data)
    clean, noisy = data["draws"]
    assert len(data["thumbs"]) == 10
    assert max(data["image"]) == 9
    rows = np.flatnonzero(pairs.gt < 10)
    said = [data["texts"][t] for t in clean["text"]]
    assert said == [pairs.captions[t] for t in rows]
    assert sum(clean["wrong"]) == 0
    mix = noise.draw(pairs, 0.5)
    assert noisy["wrong"] == mix.false(pairs.captions, pairs.gt)[rows].tolist()
    assert [data["texts"][t] for t in noisy["text"]] == [
        pairs.captions[t] for t in mix.order[rows]
    ]
    emb = embed(model, pairs)
    scale = float(model.model.logit_scale.detach().exp().clamp(max=100))
    found = look(emb.img, emb.txt[mix.order], pairs.gt, scale, Judge()).sum(0)
    step = noisy["loss"]["scale"]
    np.testing.assert_allclose(unpack(noisy["loss"]), found[rows], atol=step)
    assert clean["low"] <= clean["high"]
    assert data["recall"] == {"a": {"0.5": [1, 0, 2]}}


def test_text_to_text_holds_each_cosine_and_marks_who_has_no_text():
    pairs = squares(6)
    named = [
        tuple(Variant(f"s{i}{v}", f"f{i}{v}", f"c{i}{v}") for v in range(2))
        for i in range(6)
    ]
    records = [Record(i, v) for i, v in zip(pairs.ids, named, strict=True)]
    records[2] = Record(pairs.ids[2], (), "failed")
    text = TextSpace("hashed", "", Hashed())
    how = {"fields": ("feature",), "variants": 5, "apart": False}
    how |= {"aggregate": "mean", "tau": 0.1}
    sim = np.random.default_rng(0).normal(size=(len(pairs.captions), 6))
    fusion = Fusion(0.3, (0.0, 1.0), (0.0, 2.0))
    data = t2t(pairs, records, text, sim, fusion, how, asked=4)
    json.dumps(data)
    cos = unpack(data["cos"])
    assert cos.shape == (4, 5, 7, 2)
    one = [pairs.captions[np.flatnonzero(pairs.gt == 3)[0]]]
    # image 4 is the fourth with text; subset 5 joins the first and the third field
    want = text.encode(one) @ text.encode(["s41 c41"]).T
    assert abs(cos[3, 3, 4, 1] - want.item()) <= data["cos"]["scale"]
    assert data["has"] == [True, True, False, True, True, True]
    assert data["right"] == [0, 1, 2, 3]
    assert data["opening"]["variants"] == 2
    assert data["opening"]["fields"] == [False, True, False]
