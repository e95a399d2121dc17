"""A checkpoint loads with its own activation, safely, or not at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from rsnb import backbones
from rsnb.errors import BackboneError, FileCorruptError
from rsnb.pixels import load_pixels
from toy import squares, tiny

pytestmark = pytest.mark.promise("P10")

# A real CLIP layout, small: what RemoteCLIP and GeoRSCLIP files hold, in few bytes.
SMALL_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2,
        "layers": 2,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RSNB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_clip(tmp_path):
    """Register the layout with open_clip and return a model of it."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "small-clip-quickgelu.json").write_text(json.dumps(SMALL_CLIP))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    return backbones.build("small-clip-quickgelu", "quickgelu")


def load_small(path: Path, activation: str = "quickgelu"):
    return backbones.load(
        str(path), config="small-clip-quickgelu", activation=activation
    )


@pytest.mark.parametrize("tower", ["rn", "vit"])
def test_saved_backbone_loads_and_embeds_alike(tmp_path, tower):
    saved = backbones.save(tmp_path / f"{tower}.safetensors", tiny(tower))
    again = backbones.load(str(tmp_path / f"{tower}.safetensors"))
    pairs = squares(4)
    images = load_pixels(pairs, 32, cache=False)
    emb = again.encode_images(images)
    np.testing.assert_array_equal(emb, saved.encode_images(images))
    np.testing.assert_allclose(np.linalg.norm(emb, axis=1), 1, atol=1e-6)
    txt = again.encode_texts(pairs.captions)
    assert txt.shape == (8, 32)
    assert txt.dtype == np.float32


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation", "quickgelu"), ("mean", [0.5] * 3), ("std", [0.5] * 3)],
)
def test_probe_rejects_wrong_activation_and_preprocessing(tmp_path, key, value):
    path = tmp_path / "vit.safetensors"
    backbones.save(path, tiny("vit"))
    receipt = Path(f"{path}.json")
    facts = json.loads(receipt.read_text())
    with pytest.raises(FileCorruptError, match="does not match its receipt"):
        receipt.write_text(
            json.dumps({**facts, "entry": {**facts["entry"], key: value}})
        )
        backbones.load(str(path))
    del facts["receipt"]  # as if it had been written so
    facts["entry"][key] = value
    receipt.write_text(json.dumps(facts))
    with pytest.raises(BackboneError, match="probe differs"):
        backbones.load(str(path))


def test_changed_weights_are_refused(tmp_path):
    path = tmp_path / "rn.safetensors"
    backbones.save(path, tiny())
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(FileCorruptError, match="sha256"):
        backbones.load(str(path))


@pytest.mark.parametrize("layout", ["plain", "state_dict", "module"])
def test_published_pt_layouts_load_and_are_kept_as_safetensors(
    tmp_path, small_clip, layout
):
    state = small_clip.state_dict()
    content = {
        "plain": state,  # RemoteCLIP, GeoRSCLIP
        "state_dict": {"epoch": 3, "state_dict": state},  # open_clip training
        "module": {f"module.{k}": v for k, v in state.items()},  # saved under DDP
    }[layout]
    path = tmp_path / "RemoteCLIP-small.pt"
    torch.save(content, path)
    loaded = load_small(path)
    image = np.zeros((1, 80, 80, 3), np.uint8)
    want = backbones.wrap("x", small_clip, loaded.entry, "").encode_images(image)
    np.testing.assert_allclose(loaded.encode_images(image), want, atol=1e-6)
    kept = list((tmp_path / "cache" / "weights").glob("*.safetensors"))
    assert len(kept) == 1
    assert load_small(path).digest == loaded.digest


def test_the_two_gelus_give_other_embeddings_from_the_same_file(tmp_path, small_clip):
    path = tmp_path / "w.pt"
    torch.save(small_clip.state_dict(), path)
    right, wrong = load_small(path), load_small(path, "gelu")
    text = ["a long road beside a lake"]
    assert np.abs(right.encode_texts(text) - wrong.encode_texts(text)).max() > 1e-4


def test_bare_checkpoint_must_name_its_activation(tmp_path, small_clip):
    path = tmp_path / "w.pt"
    torch.save(small_clip.state_dict(), path)
    with pytest.raises(BackboneError, match="activation="):
        backbones.load(str(path))


class Bomb:
    """A pickle that would write a file when loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_code_in_a_pt_is_not_run(tmp_path, small_clip):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    path.write_bytes(pickle.dumps({"a": Bomb(marker)}, protocol=2))
    torch.save({"a": Bomb(marker)}, tmp_path / "evil2.pt")
    for p in (path, tmp_path / "evil2.pt"):
        with pytest.raises(BackboneError, match="tensors"):
            load_small(p)
    assert not marker.exists()


def test_truncated_pt_and_wrong_shapes_are_named(tmp_path, small_clip):
    path = tmp_path / "w.pt"
    torch.save(small_clip.state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BackboneError, match="cut short"):
        load_small(path)
    state = small_clip.state_dict()
    state.pop("ln_final.weight")
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(BackboneError, match=r"1 tensors are missing \(ln_final"):
        load_small(tmp_path / "part.pt")
    torch.save(state | {"ln_final.weight": torch.zeros(3)}, tmp_path / "wide.pt")
    with pytest.raises(BackboneError, match=r"size mismatch for ln_final.*Name the"):
        load_small(tmp_path / "wide.pt")


def test_unknown_name_lists_what_there_is():
    with pytest.raises(BackboneError, match="RemoteCLIP-ViT-B-32"):
        backbones.load("RemoteCLIP-ViT-B-23")


def test_registry_states_the_activation_of_openai_descendants():
    for name, entry in backbones.REGISTRY.items():
        quick = "RemoteCLIP" in name or "B-32" in name
        assert entry.activation == ("quickgelu" if quick else "gelu"), name
        assert open_clip.get_model_config(str(entry.config)), name


def test_wrong_input_is_an_error():
    with pytest.raises(BackboneError, match="uint8"):
        tiny().encode_images(np.zeros((2, 32, 32, 3), np.float32))
