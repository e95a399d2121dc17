import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import jupytext
import numpy as np
import pytest

from rsnb import profiles
from rsnb.errors import DataError, ParameterError
from rsnb.recipes import RECIPES
from rsnb.registry import REGISTRY
from toy import squares

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(REPO.glob("notebooks/[0-9][0-9]_*.py"))


def test_names_are_keys():
    for name, p in profiles.PROFILES.items():
        assert p.name == p.data == name and profiles.get(name) is p


def test_every_backbone_can_be_had():
    for p in profiles.PROFILES.values():
        for name in (p.backbone, p.transformer or p.backbone):
            assert name in RECIPES or name in REGISTRY


def test_a_path_makes_a_profile_with_a_folder_of_its_own(tmp_path):
    folders = [tmp_path / "a" / "My data", tmp_path / "b" / "My data"]
    for folder in folders:
        folder.mkdir(parents=True)
    one, two = (profiles.get(str(f)) for f in folders)
    assert one.data == str(folders[0])
    assert re.fullmatch(r"my-data-[0-9a-f]{8}", one.name) and one.name != two.name


def test_neither_name_nor_path():
    with pytest.raises(ParameterError, match=r"'wrold'.*world, ucm"):
        profiles.get("wrold")


def test_profiles_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        profiles.get("world").data = "x"


def test_a_sister_set_that_is_absent_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    assert profiles.get("rsicd").load_sisters() == []


def test_a_sister_set_that_is_broken_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    (tmp_path / "rsitmd").mkdir()
    (tmp_path / "rsitmd" / "captions.jsonl").write_text("{\n")
    with pytest.raises(DataError):
        profiles.get("rsicd").load_sisters()


def test_ceilings_count_repeated_captions():
    pairs = squares(24)  # 12 kinds of square, each twice, with equal captions
    [(name, row)] = profiles.get("ucm").ceilings(pairs).items()
    assert "repeated captions" in name
    assert row["t2i_r1"] == 50 and row["t2i_r5"] == 100
    recalls = [v for k, v in row.items() if k != "mR"]
    assert row["mR"] == pytest.approx(np.mean(recalls)) and len(recalls) == 6


def test_the_world_has_an_oracle_below_100():
    rows = profiles.get("world").ceilings(profiles.get("world").load().where("test"))
    assert 0 < rows["oracle that reads the scene"]["mR"] < 100


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_asks_nothing_about_its_profile_but_its_fields(path):
    code = "\n".join(
        c.source for c in jupytext.read(path).cells if c.cell_type == "code"
    )
    assert not re.search(r"\bif\b[^\n]*\b(profile|cfg\.name)\b", code)
    fields = {f.name for f in dataclasses.fields(profiles.Profile)}
    methods = {"load", "load_sisters", "ceilings"}
    assert set(re.findall(r"\bcfg\.(\w+)", code)) <= fields | methods


def test_the_readme_lists_every_profile():
    text = (REPO / "README.md").read_text("utf-8")
    for p in profiles.PROFILES.values():
        assert re.search(rf"^\| `{p.name}` \|.*{re.escape(p.download)}", text, re.M), p


def test_a_profile_is_picked_by_gpu_and_data(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_DATA", str(tmp_path))
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "rsitmd").mkdir()
    (tmp_path / "rsitmd" / "dataset_RSITMD.json").touch()
    assert profiles.pick()[0] == "world" == profiles.get("auto").name

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla T4")
    card = SimpleNamespace(total_memory=15 * 2**30)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda i: card)
    name, why = profiles.pick()
    assert name == "rsitmd" == profiles.get("auto").name
    assert "Tesla T4, 15 GiB" in why and "'cuda'" in why and "\n" not in why

    (tmp_path / "rsitmd" / "dataset_RSITMD.json").unlink()
    name, why = profiles.pick()
    assert name == "world" and "rsnb fetch rsicd" in why
