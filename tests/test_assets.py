"""Train once, store with a receipt, score on test, record."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from rsnb import assets, backbones, probes, recipes, smallcaptioners
from rsnb.errors import ParameterError
from rsnb.pairs import Pairs
from toy import recipe, squares


def three_splits() -> Pairs:
    pairs = squares(48)
    split = ("train",) * 24 + ("val",) * 12 + ("test",) * 12
    return replace(pairs, split=split)


@pytest.fixture
def toy_world(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(recipes, "load", lambda name, drop=(): three_splits())
    monkeypatch.setattr(
        recipes, "RECIPES", MappingProxyType({"toy-rn": recipe(epochs=1)})
    )
    monkeypatch.setattr("rsnb.report.root", lambda: tmp_path)
    return tmp_path


def test_a_recipe_is_trained_once_then_loaded(toy_world, monkeypatch):
    made = assets.backbone("toy-rn")
    path = toy_world / "cache" / "backbones" / "toy-rn.safetensors"
    receipt = json.loads((path.parent / f"{path.name}.json").read_text())
    assert receipt["best_epoch"] == 1
    assert receipt["recipe"]["data"] == "squares"
    assert receipt["log"][0]["val_mR"] > 0
    monkeypatch.setattr(assets, "fit", None)  # a second training would fail
    assert assets.backbone("toy-rn").digest == made.digest


def test_measure_scores_each_seed_once_and_records(toy_world, capsys):
    assert assets.main(["toy-rn", "--measure", "--seeds", "0", "1"]) == 0
    out = json.loads((toy_world / "book/results/backbone-toy-rn.json").read_text())
    runs = out["figures"]["runs"]
    assert [r["seed"] for r in runs] == [0, 1]
    assert runs[0]["weights"] != runs[1]["weights"]
    for run in runs:
        low, high = run["mR_interval"]
        assert low <= run["mR"] <= high
    assert out["command"] == "python -m rsnb assets toy-rn --measure --seeds 0 1"
    assert "mR" in capsys.readouterr().out


def test_a_typo_stops_before_training(toy_world, monkeypatch):
    monkeypatch.setattr(assets, "fit", None)
    with pytest.raises(ParameterError, match="toy-rn"):
        assets.main(["toy-rm"])


def test_shipped_weights_load_with_their_probes_and_fit_the_budget():
    names = assets.check()
    small = {n for n, c in smallcaptioners.COURSES.items() if c.shipped}
    assert small <= set(names)
    plain = {p.stem for p in assets.WEIGHTS.glob("*.safetensors")}
    adapters = {f"{name}-cadre" for name in small}
    assert set(names) - small - plain - adapters == {
        f"{n}-probe" for n in probes.SHIPPED
    }
    for name in plain:
        model = backbones.load(name)
        assert model.entry.probe is not None
    for name in small:
        weights = smallcaptioners.folder(name) / "model.safetensors"
        assert weights.stat().st_size <= smallcaptioners.MAX_BYTES
    folder = assets.WEIGHTS
    sizes = [p.stat().st_size for p in folder.rglob("*.safetensors")]
    assert max(sizes) <= assets.SHIPPED_MAX_BYTES
    assert sum(sizes) <= 60 << 20
