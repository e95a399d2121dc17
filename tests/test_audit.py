"""The audit finds planted mismatches and says why; its table comes back by `load`."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from rsnb import audit, cli, data, evidence, review
from rsnb.errors import DataError, DataProblems, ParameterError
from rsnb.evidence import AuditConfig
from toy import squares, tiny

QUICK = AuditConfig(epochs=1, side=48, panel=64)


def noisy(n=120, rate=0.4):
    """Return squares with captions moved among a share of rows, and which are false."""
    clean, rng = squares(n), np.random.default_rng(0)
    texts = np.array(clean.captions, object)
    rows = rng.choice(len(texts), int(rate * len(texts)), replace=False)
    texts[rows] = texts[rng.permutation(rows)]
    true = [{clean.captions[2 * i], clean.captions[2 * i + 1]} for i in range(n)]
    false = [t not in true[i] for t, i in zip(texts, clean.gt, strict=True)]
    return replace(clean, captions=tuple(texts)), np.array(false)


def separation(score, false):
    """Return the share of (false, true) pairs that the score puts in order."""
    above = score[false][:, None] - score[~false]
    return float((above > 0).mean() + (above == 0).mean() / 2)


@pytest.fixture(scope="module")
def found():
    pairs, false = noisy()
    return audit.mismatches(pairs, tiny(), QUICK), false


def test_planted_mismatches_are_found(found):
    seen, false = found
    assert separation(seen.score, false) > 0.85
    assert abs(seen.rate - false.mean()) < 0.15
    assert set(seen.evidence) == set(audit.WORDING)
    for share in seen.evidence.values():
        assert share.shape == false.shape and 0 <= share.min() <= share.max() <= 1
    first = seen.ranking()[0]
    assert seen.score[first] == seen.score.max() and seen.reasons(first)


def test_without_pixels_or_backbone_words_remain():
    pairs, false = noisy()
    blind = replace(pairs, has_pixels=np.zeros(len(pairs), bool))
    seen = audit.mismatches(blind, tiny(), QUICK)
    assert set(seen.evidence) == {"captions", "class"}
    assert separation(seen.score, false) > 0.85
    assert np.array_equal(seen.score, audit.mismatches(pairs, how=QUICK).score)


def test_images_without_pixels_are_judged_by_words():
    pairs, _ = noisy()
    some = replace(pairs, has_pixels=np.arange(120) % 3 > 0)
    seen = audit.mismatches(some, tiny(), replace(QUICK, epochs=0))
    assert set(seen.evidence) == {"unseen", "captions", "class"}
    assert np.array_equal(np.isnan(seen.evidence["unseen"]), pairs.gt % 3 == 0)
    assert np.isfinite(seen.score).all() and len(seen.ranking()) == 240


def test_captions_may_stand_in_any_order():
    pairs, false = noisy()
    turn = np.random.default_rng(1).permutation(len(pairs.gt))
    texts = tuple(pairs.captions[t] for t in turn)
    other = replace(pairs, captions=texts, gt=pairs.gt[turn])
    both = zip(
        evidence.halves(pairs, QUICK), evidence.halves(other, QUICK), strict=True
    )
    for (images, rows), (others, moved) in both:
        assert np.array_equal(images, others) and set(turn[moved]) == set(rows)
    seen = audit.mismatches(other, tiny(), replace(QUICK, epochs=0))
    assert separation(seen.score, false[turn]) > 0.85


def test_a_clean_set_is_seen_to_be_clean():
    assert audit.mismatches(squares(240), how=QUICK).rate < 0.1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (".", "no words"),
        ("", "no words"),
        ("a pond pond_382(1 .", "pond_382"),
        ("on the road square_1 jpg", "square_1"),
        ("a wood.jpg", "jpg"),
        ("caf\ufffd", "\ufffd"),
        ("4 tanks in a row", ""),
    ],
)
def test_broken_text_is_seen(text, says):
    pairs = squares(24)
    seen = audit.mismatches(replace(pairs, captions=(text, *pairs.captions[1:])))
    assert says in seen.broken[0] and bool(seen.broken[0]) == bool(says)
    assert not any(seen.broken[1:])
    if says:
        assert seen.score[0] == 1 and seen.rate >= 1 / 48
        assert "the text" in seen.reasons(0)


def test_named_classes_are_a_reason():
    pairs = squares(120)  # row 0 is a red square
    texts = ("a green square on the left", *pairs.captions[1:])
    seen = audit.mismatches(replace(pairs, captions=texts))
    assert seen.names[0] == "green" and seen.names[1] == ""
    assert "names green" in seen.reasons(0) and seen.ranking()[0] == 0


def test_copies_of_a_caption_are_no_witnesses():
    pairs = squares(40)
    same = tuple(pairs.captions[2 * i] for i in pairs.gt)
    found = evidence.from_captions(replace(pairs, captions=same), QUICK)
    assert not found["captions"][0].any()  # nobody else speaks


def test_nothing_to_judge_by():
    with pytest.raises(ParameterError, match="too few"):
        audit.mismatches(squares(6))
    pairs = squares(12)
    lone = replace(
        pairs, captions=pairs.captions[::2], gt=np.arange(12), label=("",) * 12
    )
    with pytest.raises(ParameterError, match="Name a backbone"):
        audit.mismatches(lone)


@pytest.fixture
def folder(tmp_path):
    """Return a data set on disk: noisy squares, some text hostile."""
    pairs, _ = noisy(24)
    evil = '<script>alert("x")</script> & a red square'
    texts = (evil, "=1+1 squares", "'quoted', with comma", *pairs.captions[3:])
    root = tmp_path / "mine"
    root.mkdir()
    with (root / "pairs.csv").open("w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["filename", "title"])
        out.writerows([f"{i}.png", t] for i, t in zip(pairs.gt, texts, strict=True))
    for i in range(24):
        pairs.image(i).save(root / f"{i}.png")
    return root


def marked(path, texts):
    """Mark rows of a review by caption; return the rows."""
    rows = list(csv.DictReader(path.open(newline="")))
    for row in rows:
        row["drop"] = "y" if row["caption"] in texts else ""
    return rows


def write(path, rows):
    with path.open("w", newline="") as f:
        out = csv.DictWriter(f, rows[0])
        out.writeheader()
        out.writerows(rows)


def test_report_and_review(folder, capsys, tmp_path):
    out = tmp_path / "review"
    argv = ["audit", str(folder), "--mismatch", "--split", "all", "--epochs", "1"]
    assert cli.main([*argv, "--out", str(out)]) == 0
    assert "estimated share" in capsys.readouterr().out
    page = (out / "mismatch.html").read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "&amp;" in page
    assert page.count("data:image/jpeg;base64,") == 48
    assert not re.search(r'(src|href)="(?!data:)', page)
    pairs = data.load(folder)
    rows = marked(out / "mismatch.csv", ["'=1+1 squares", "''quoted', with comma"])
    assert len(rows) == 48 and [r["rank"] for r in rows[:2]] == ["1", "2"]
    write(out / "mismatch.csv", rows)
    kept = data.load(folder, drop=out / "mismatch.csv")
    assert set(pairs.captions) - set(kept.captions) == {
        "=1+1 squares", "'quoted', with comma"
    }  # fmt: skip
    assert len(kept) == 24 and kept.source["dropped"] == 2
    assert kept.source["sha256"] != pairs.source["sha256"]


def test_an_image_goes_with_its_last_caption(folder, tmp_path):
    path = tmp_path / "r.csv"
    own = data.load(folder).captions_of(0)
    write(path, [{"id": "0.png", "caption": f"'{t}", "drop": "Y"} for t in own])
    kept = data.load(folder, drop=path)
    assert "0.png" not in kept.ids and len(kept.captions) == 46
    assert kept.gt.max() == len(kept) - 1 == 22


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "0.png", "caption": "nobody wrote this", "drop": "y"}, "nobody wrote"),
        ({"id": "99.png", "caption": "x", "drop": ""}, "99.png"),
        ({"id": "0.png", "caption": "x", "drop": "maybe"}, "maybe"),
        ({"id": "0.png", "drop": "y"}, "lacks the column.* caption"),
    ],
)
def test_a_review_that_does_not_fit_is_refused(folder, tmp_path, row, says):
    write(tmp_path / "r.csv", [row])
    with pytest.raises((DataProblems, DataError), match=says):
        data.load(folder, drop=tmp_path / "r.csv")


def test_a_missing_review_and_an_empty_rest(folder, tmp_path):
    with pytest.raises(DataError, match="is no file"):
        data.load(folder, drop=tmp_path / "none.csv")
    pairs = data.load(folder)
    rows = [
        {"id": pairs.ids[i], "caption": f"'{t}", "drop": "y"}
        for i, t in zip(pairs.gt, pairs.captions, strict=True)
    ]
    write(tmp_path / "r.csv", rows)
    with pytest.raises(DataError, match="every caption"):
        data.load(folder, drop=tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--epochs", "-1"], "epochs=-1"),
        (["--epochs", "0"], "--backbone"),
        (["ucm"], "one data set"),
        (["--backbone", "nothing-such"], "no backbone"),
    ],
)
def test_the_command_refuses(folder, capsys, argv, says):
    given = ["audit", str(folder), "--mismatch", "--split", "all", *argv]
    if argv == ["ucm"]:
        given = ["audit", str(folder), "ucm", "--mismatch"]
    assert cli.main(given) == 2
    assert says in capsys.readouterr().err


def test_no_pixels_in_the_report(tmp_path):
    pairs = replace(squares(12), has_pixels=np.zeros(12, bool))
    page = review.write_html(tmp_path / "m.html", audit.mismatches(pairs), worst=5)
    text = page.read_text("utf-8")
    assert text.count("no pixels") == 5 and "base64" not in text
