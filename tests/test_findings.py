"""What receipts say, on receipts whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from rsnb import findings
from rsnb.errors import ParameterError
from rsnb.files import read_json, write_json
from rsnb.findings import Band
from rsnb.metrics import Recall
from rsnb.pairs import held_out
from rsnb.sweep import _pack

GT = np.repeat(np.arange(100), 2)


def recall(share, seed):
    """Return a recall whose queries hit at 1, 5 and 10 alike with a given chance."""
    rng = np.random.default_rng(seed)
    t2i, i2t = (np.repeat(rng.random((n, 1)) < share, 3, 1) * 1.0 for n in (200, 100))
    none = np.full((200, 3), np.nan)
    return Recall(GT, t2i, i2t, none, none[:100])


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Write receipts of two methods, and a tuning trial that does not count."""
    monkeypatch.setattr("rsnb.report.root", lambda: tmp_path)
    folder = tmp_path / "book/results/noise/toy"
    share = {("paced", 0.0): 0.8, ("paced", 0.6): 0.72,
             ("infonce", 0.0): 0.8, ("infonce", 0.6): 0.4}  # fmt: skip
    for (method, rate), chance in share.items():
        for draw in range(3 if method == "paced" else 2):
            found = recall(chance, draw)  # at rate 0 both hit the same queries
            facts = {
                "method": method, "start": "s", "start_sha256": "a",
                "rate": rate, "draw": draw,
                "test": found.as_dict(), "hits": _pack(found), "val_mR": 50.0,
                "last_mR": found.mR - 1,
            }  # fmt: skip
            if method == "infonce":
                wise = recall(0.6, 7)
                facts["wise"] = {**wise.as_dict(), "hits": _pack(wise), "val_mR": 1.0}
            write_json(folder / f"{method}-{rate:.0f}{rate}-{draw}.json", facts)
    write_json(folder / "paced-tuning.json", {"method": "paced", "val_mR": 99.0})
    return folder


def test_bands_are_mean_and_ends_over_arms(book):
    rows = findings.read("toy")
    assert len(rows) == 6 + 4 + 4  # ours, InfoNCE, and its averaged twin
    table = findings.bands(rows)
    assert table.keys() == {"paced", "infonce", "wise"}
    mRs = [recall(0.72, d).mR for d in range(3)]
    band = table["paced"][0.6]
    assert (band.n, band.low, band.high) == (3, min(mRs), max(mRs))
    assert band.mean == pytest.approx(np.mean(mRs))
    last = findings.bands(rows, "last_mR")
    assert last["paced"][0.6].mean == pytest.approx(band.mean - 1)
    assert "wise" not in last


def test_retention_by_hand():
    kept = findings.retention({0.0: Band(80, 0, 0, 1), 0.6: Band(60, 0, 0, 1)})
    assert kept == {0.6: 75.0}
    for without in ({0.6: Band(60, 0, 0, 1)}, {0.0: Band(0, 0, 0, 1)}):
        with pytest.raises(ParameterError, match="clean captions"):
            findings.retention(without)


def test_a_gap_has_a_sign_an_interval_and_a_p(book):
    rows = findings.read("toy")
    one = findings.gap(rows, "paced", "infonce", 0.6, GT)
    want = np.mean([recall(0.72, d).mR - recall(0.4, d).mR for d in (0, 1)])
    assert one.n == 2  # the arms that both have
    assert one.mR == pytest.approx(want)
    assert 0 < one.low < one.mR < one.high and one.p < 0.001
    other = findings.gap(rows, "infonce", "paced", 0.6, GT)
    assert other.mR == pytest.approx(-one.mR) and other.high < 0


def test_equals_have_no_gap(book):
    none = findings.gap(findings.read("toy"), "paced", "infonce", 0.0, GT)
    assert none.mR == 0 and none.p == 1


def test_arms_in_common_or_an_error(book):
    rows = findings.read("toy")
    for pair, rate in ((("paced", "absent"), 0.6), (("paced", "infonce"), 0.2)):
        with pytest.raises(ParameterError, match="no arm in common"):
            findings.gap(rows, *pair, rate, GT)
    assert findings.read("other") == []


def test_overview_and_gaps_are_rows_of_tables(book):
    ours, rival, wise = findings.overview("toy", "other")
    assert list(ours) == ["plan", "method", "0%", "60%", "kept 60%", "starts", "arms"]
    assert (ours["method"], ours["arms"], rival["arms"]) == ("ours", 6, 4)
    assert wise["method"] == "InfoNCE + WiSE-FT"
    clean, noisy = (np.mean([recall(s, d).mR for d in range(3)]) for s in (0.8, 0.72))
    assert ours["kept 60%"] == f"{100 * noisy / clean:.0f} %"
    clean, noisy = findings.gaps("toy", GT, ["infonce"])
    assert (clean["ours minus"], clean["noise"], clean["points"]) == (
        "InfoNCE",
        "0%",
        0,
    )
    assert noisy["points"] > 20 and noisy["arms"] == 2
    assert "no receipts" in str(findings.overview("other"))
    assert "no receipts" in str(findings.gaps("other", GT))


def test_a_method_with_a_score_of_its_own_is_also_shown_by_cosine(book):
    for path in book.glob("paced-[01]*.json"):
        facts = read_json(path)
        write_json(path, {**facts, "method": "rrsitr", "global_mR": 30 + facts["draw"]})
    own, cosine = findings.overview("toy")[-2:]
    assert (own["method"], cosine["method"]) == ("RRSITR", "RRSITR, by cosine")
    assert cosine["60%"] == 31 != own["60%"]
    assert cosine["kept 60%"] == "100 %" and cosine["arms"] == own["arms"] == 6


def test_another_start_of_the_same_name_keeps_nothing(book):
    for path in book.glob("paced-*0.6-2.json"):  # one arm of three
        write_json(path, {**read_json(path), "start_sha256": "b"})
    ours, rival, _ = findings.overview("toy")
    assert ours["starts"] == 2 and "kept 60%" not in ours
    assert rival["starts"] == 1 and "kept 60%" in rival
    said = findings.summary("toy", GT)
    assert said["paced"]["kept"] == {} and set(said["infonce"]["kept"]) == {0.6}


def test_lines_and_bars_of_one_rate(book):
    band = findings.bands(findings.read("toy"))["paced"][0.6]
    assert findings.lines("toy")["ours"][60.0] == (band.mean, band.low, band.high)
    assert findings.at("toy", 0.6)["paced"] == {"mR": band.mean}
    assert findings.at("toy", 0.2) == {}


def test_summary_is_plain_and_whole(book):
    said = findings.summary("toy", GT)
    assert said.keys() == {"gaps", "paced", "infonce", "wise"}
    assert said["paced"]["60%"]["n"] == 3 and "last" not in said["wise"]["60%"]
    assert len(said["gaps"]) == 4  # two rivals at two rates
    write_json(book / "said.json", said)  # nothing in it that JSON does not know


def test_only_what_was_run_is_shipped(book):
    with pytest.raises(ParameterError, match="no paced arm at 40%"):
        findings.ship("toy", rate=0.4)


def test_held_out_rows_are_distinct_sorted_and_fixed():
    rows = held_out(50, 20)
    assert len(set(rows.tolist())) == 20 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, held_out(50, 20))
    assert not len(held_out(50, 0))
