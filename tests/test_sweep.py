"""The sweep on a toy plan: receipts, resume, tuning, packed hits, bad arguments."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rsnb import findings, recipes, sweep, trials
from rsnb.backbones import save
from rsnb.errors import ParameterError
from rsnb.files import read_json
from rsnb.methods import InfoNCE, Paced
from rsnb.metrics import evaluate
from rsnb.pacing import Judge
from rsnb.pairs import Pairs
from rsnb.train import fit
from toy import recipe, squares

VIT = recipe("vit")
PLAN = trials.Plan(
    data="squares",
    starts=("start",),
    methods={"infonce": 1, "paced": 1},
    cfg=replace(VIT.cfg, epochs=2, average=0.9),
    rates=(0.0, 0.5),
    draws=(0, 1),
    images=32,
    store=48,
)
TRIALS = {
    "infonce": ((InfoNCE(), {"lr": 1e-3}),),
    "paced": tuple((Paced(judge=Judge(panel=16)), {"lr": lr}) for lr in (1e-4, 1e-3)),
}


def everything() -> Pairs:
    """Return the squares with three splits."""
    return replace(squares(72), split=("train",) * 48 + ("val",) * 12 + ("test",) * 12)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Make the toy plan the only one, in a book and a cache of its own."""
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rsnb.report.root", lambda: tmp_path)
    monkeypatch.setattr(sweep, "load", lambda name: everything())
    start = save(
        tmp_path / "start.safetensors", recipes.start(VIT, squares().captions, "start")
    )
    monkeypatch.setattr("rsnb.assets.backbone", lambda name: start)
    for module in (sweep, findings):
        monkeypatch.setattr(module, "PLANS", {"toy": PLAN})
    monkeypatch.setattr(sweep, "TRIALS", TRIALS)
    return tmp_path


def arm(method="paced", rate=0.5, draw=0, trial=0):
    return sweep.Arm("toy", method, "start", rate, draw, trial)


def args(**given):
    base = {
        "plan": "toy",
        "method": [],
        "rate": [],
        "draw": [],
        "tune": False,
        "part": "0/1",
    }
    return SimpleNamespace(**{**base, **given})


def refuse(*_, **__):
    raise AssertionError("nothing is left to train")


def same(a, b):
    return {k: v for k, v in a.items() if k != "cpu_seconds"} == {
        k: v for k, v in b.items() if k != "cpu_seconds"
    }


def test_an_arm_leaves_receipt_and_weights_and_is_not_run_again(toy, monkeypatch):
    one = arm()
    facts = sweep.run(one)
    assert one.path == toy / "book/results/noise/toy/paced-start-50-d0.json"
    assert read_json(one.path) == facts == json.loads(json.dumps(facts))
    assert one.weights.is_file() and not list((toy / "cache/runs").glob("*"))
    test = everything().where("test")
    assert sweep.hits(facts["hits"], test.gt).mR == pytest.approx(
        facts["test"]["mR"], abs=0.2
    )
    assert facts["noise_true"] > 0.2 and len(facts["auroc"]) == 2
    assert facts["last_mR"] > 0 and len(facts["log"]) == 2
    monkeypatch.setattr(sweep, "fit", refuse)
    assert same(sweep.run(one), facts)
    changed = {"paced": ((Paced(margin=0.1), {"lr": 1e-4}),)}
    monkeypatch.setattr(sweep, "TRIALS", changed)
    with pytest.raises(AssertionError, match="nothing is left"):
        sweep.run(one)  # another identity is trained anew


def test_a_stopped_arm_resumes_to_the_same_bytes(toy, monkeypatch):
    one = arm()
    parts = sweep._parts(PLAN)
    whole = sweep.run(one, parts)
    weights = one.weights.read_bytes()
    one.path.unlink()
    one.weights.unlink()

    def stopped(*a, **k):
        fit(*a, **k, max_steps=3)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(one, parts)
    assert not one.path.exists() and list((toy / "cache/runs").glob("*"))
    monkeypatch.setattr(sweep, "fit", fit)
    assert same(sweep.run(one, parts), whole)
    assert one.weights.read_bytes() == weights


def test_infonce_is_also_averaged_with_its_start(toy):
    facts = sweep.run(arm("infonce", rate=0.0))
    assert facts["wise"]["share"] in sweep.MIX
    assert {"mR", "val_mR", "hits"} <= facts["wise"].keys()
    rows = findings.read("toy")
    assert [r["method"] for r in rows] == ["infonce", "wise"]
    assert rows[1]["test"]["mR"] == facts["wise"]["mR"]


def test_tuning_never_sees_the_test_split_and_picks_by_validation(toy, capsys):
    with pytest.raises(ParameterError, match=r"paced-start-60-d9-t0.*--tune"):
        sweep.tuned("toy", "paced")
    assert sweep.main(args(tune=True, method=["paced"])) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    facts = [read_json(a.path) for a in sweep.tuning("toy", "paced")]
    assert all(not {"test", "hits", "last_mR"} & f.keys() for f in facts)
    assert all(f["rate"] == 0.6 and f["draw"] == 9 for f in facts)
    scores = [f["val_mR"] for f in facts]
    assert sweep.tuned("toy", "paced") == scores.index(max(scores))
    assert findings.read("toy") == []
    todo = sweep.arms("toy")
    assert len(todo) == len({a.path for a in todo}) == 2 * 2 * 2
    assert {a.trial for a in todo if a.method == "paced"} == {
        sweep.tuned("toy", "paced")
    }


def test_parts_cover_the_plan_once(toy, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(
        sweep, "run", lambda a, parts: seen.append(a) or {"val_mR": 1.0}
    )
    monkeypatch.setattr(sweep, "tuned", lambda plan, method: 1)
    monkeypatch.setattr(sweep, "_parts", lambda p: None)
    for i in range(3):
        assert sweep.main(args(part=f"{i}/3")) == 0
    assert sorted(seen, key=str) == sorted(sweep.arms("toy"), key=str)
    seen.clear()
    assert sweep.main(args(rate=[0.5], method=["infonce"])) == 0
    assert [(a.method, a.rate, a.draw) for a in seen] == [
        ("infonce", 0.5, 0), ("infonce", 0.5, 1),
    ]  # fmt: skip
    assert "2/2 infonce-start-50-d1: mR 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"plan": "nosuchplan"}, "nosuchplan.*toy"),
        ({"method": ["magic"]}, "magic.*infonce, paced"),
        ({"rate": [0.3]}, r"0\.3.*0\.0, 0\.5"),
        ({"draw": [7]}, "7.*0, 1"),
        *(({"part": p}, p) for p in ("3/2", "2/2", "-1/2", "0/0", "a/b", "1", "0/1/2")),
    ],
)
def test_bad_arguments_are_named(toy, given, says):
    with pytest.raises(ParameterError, match=says):
        sweep.main(args(**given))


def test_hits_round_trip():
    rng = np.random.default_rng(0)
    gt = np.repeat(np.arange(20), 3)
    sim = rng.normal(size=(60, 20)) + 2 * (gt[:, None] == np.arange(20))
    recall = evaluate(sim, gt)
    again = sweep.hits(sweep._pack(recall), gt)
    np.testing.assert_array_equal(again.t2i_hits, recall.t2i_hits)  # no ties: 0 or 1
    np.testing.assert_array_equal(again.i2t_hits, recall.i2t_hits)
    assert again.as_dict() == recall.as_dict()
    tied = evaluate(np.round(sim), gt)
    found = sweep.hits(sweep._pack(tied), gt)
    np.testing.assert_allclose(found.t2i_hits, tied.t2i_hits, atol=1 / 500)
    assert found.mR == pytest.approx(tied.mR, abs=0.1)


def test_the_real_plans_are_whole():
    for name, plan in trials.PLANS.items():
        assert trials.TUNE_RATE in plan.rates or plan.rates == (0.8,)
        assert trials.TUNE_DRAW not in plan.draws and len(plan.draws) >= 3
        assert all(0 < n <= len(plan.starts) for n in plan.methods.values()), name
        for method in plan.methods:
            some = trials.TRIALS[method]
            assert 1 <= len(some) <= 6
            for how, given in some:
                cfg = replace(plan.cfg, seed=0, **given)
                if hasattr(how, "check_batch"):
                    how.check_batch(cfg.batch_size)
                assert not how.tokens or "vit" in plan.starts[0]
        assert set(plan.starts) <= recipes.RECIPES.keys()
