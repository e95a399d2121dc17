"""Any open_clip model behind one `load(name)`, with its activation checked.

Explained in notebook 02 and `book/own_data.md`. A CLIP checkpoint does not say which
GELU it was trained with, and the wrong one loads without a word and loses recall. So
every entry states the activation, and a stored probe vector proves it after loading.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from safetensors.torch import save as st_save
from torch import Tensor, nn

from rsnb import cache, files
from rsnb.checkpoints import check_probe, locate, probe, read_weights
from rsnb.errors import BackboneError
from rsnb.registry import REGISTRY, Entry
from rsnb.words import WordTokenizer

__all__ = ["REGISTRY", "Backbone", "Entry", "build", "load", "probe", "save", "wrap"]


@dataclass(frozen=True)
class Backbone:
    """A frozen dual encoder: pixels and captions to one unit sphere.

    Attributes:
        name: registry name or file stem.
        model: the open_clip module, in eval mode.
        entry: how it was loaded.
        tokenize: captions → int64 (T, context).
        image_size: encoder input side in pixels.
        digest: sha256 of the weights, for receipts and cache keys.
    """

    name: str
    model: nn.Module
    entry: Entry
    tokenize: Callable[[Sequence[str]], Tensor]
    image_size: int
    digest: str

    @property
    def device(self) -> torch.device:
        """Return the device that the weights are on."""
        return next(self.model.parameters()).device

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float (B, 3, S, S) from uint8 (B, 3, S, S): mean 0, spread 1."""
        mean = torch.tensor(self.entry.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.entry.std, device=pixels.device).view(3, 1, 1)
        scaled = torch.div(pixels, 255).sub_(mean).div_(std)  # in place: no new pages
        return scaled.contiguous(memory_format=torch.channels_last)

    def prepare(self, images: np.ndarray) -> Tensor:
        """Return float (B, 3, S, S), encoder input, from uint8 (B, S', S', 3)."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            what = f"images are {images.dtype} {images.shape}, not uint8 (B, S, S, 3)"
            raise BackboneError(f"{what}. rsnb.pixels.load_pixels makes that.")
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        if x.shape[2:] != (side := (self.image_size,) * 2):
            # On the host for every device: a GPU resizes no bytes, and a grey level
            # more or less moves an embedding by some 1e-4.
            x = F.interpolate(x, side, mode="bicubic", antialias=True)
        return self.normalise(x.to(self.device))

    @torch.inference_mode()
    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (B, d), unit norm, from uint8 (B, S, S, 3) of any side S."""
        emb = self.model.encode_image(self.prepare(images))  # type: ignore[operator]
        return F.normalize(emb.float(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (T, d), unit norm."""
        ids = self.tokenize(list(texts)).to(self.device)
        emb = self.model.encode_text(ids)  # type: ignore[operator]
        return F.normalize(emb.float(), dim=-1).cpu().numpy()


def build(config: str | dict[str, Any], activation: str) -> nn.Module:
    """Return an open_clip model with random weights.

    Raises:
        BackboneError: unknown config, or one whose activation is another.
    """
    cfg = open_clip.get_model_config(config) if isinstance(config, str) else config
    if cfg is None:
        raise BackboneError(f"no {config!r} in open_clip; see open_clip.list_models().")
    cfg = json.loads(json.dumps(cfg))  # a copy of our own; quick_gelu is set from us
    cfg.pop("quick_gelu", None)
    custom = cfg.pop("custom_text", False)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(**cfg, quick_gelu=activation == "quickgelu")
    quick = any(isinstance(m, QuickGELU) for m in model.modules())
    found = "quickgelu" if quick else "gelu"
    if found != activation:
        what = f"{config}: blocks use {found}, the entry says {activation}"
        raise BackboneError(
            f"{what}. Name the one that the checkpoint was trained with."
        )
    return model.eval()


def wrap(name: str, model: nn.Module, entry: Entry, digest: str) -> Backbone:
    """Return a `Backbone` around a model that is loaded or being trained."""
    known = entry.config if isinstance(entry.config, str) else "ViT-B-32"
    ids: Callable[[list[str]], Any] = (
        WordTokenizer(tuple(entry.words["words"]), entry.words["context"])
        if entry.words else open_clip.get_tokenizer(known)
    )  # fmt: skip

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.as_tensor(ids(list(texts)))

    size = model.visual.image_size  # type: ignore[union-attr]
    side = int(size[0] if isinstance(size, tuple | list) else size)  # type: ignore
    return Backbone(name, model.eval(), entry, tokenize, side, digest)


def _own(path: Path, facts: dict[str, Any]) -> Entry:
    """Return the entry that `save` put in the receipt beside one of our files."""
    entry = dict(facts["entry"], weights=str(path), sha256=facts["sha256"])
    entry.pop("published", None)  # of older files
    for key in ("mean", "std", "probe"):
        entry[key] = tuple(entry[key])
    return Entry(**entry)


def resolve(name: str, config: str | None, activation: str | None) -> Entry:
    """Return the entry of a registry name, a shipped or trained name, or a path.

    Raises:
        BackboneError: unknown name, or a bare checkpoint without its activation.
    """
    if name in REGISTRY:
        entry = REGISTRY[name]
        return replace(entry, activation=activation) if activation else entry
    places = Path(__file__).parent / "weights", cache.cache_dir() / "backbones"
    for path in (*(d / f"{name}.safetensors" for d in places), Path(name)):
        if path.is_file() and path.suffix == ".safetensors":
            known = files.receipt_path(path).is_file()
            if known and "entry" in (facts := files.checked_receipt(path)):
                return _own(path, facts)
    if not Path(name).is_file():
        ours = sorted(p.stem for d in places for p in d.glob("*.safetensors"))
        names = ", ".join([*REGISTRY, *ours])
        raise BackboneError(f"no backbone {name!r}: no such file, and none of {names}.")
    if config is None or activation is None:
        raise BackboneError(
            f"{name} does not say how it was trained. Pass config=, an open_clip model "
            'name, and activation="quickgelu" (weights that go back to OpenAI\'s, such '
            'as RemoteCLIP) or "gelu" (most others). The wrong one costs recall.'
        )
    return Entry(config, activation, name)


def load(
    name: str, *, config: str | None = None, activation: str | None = None,
    device: str = "cpu",
) -> Backbone:  # fmt: skip
    """Load a backbone by registry name, shipped name, or checkpoint path.

    Args:
        name: key of `REGISTRY`, stem of a shipped or trained file, or a path to
            `.safetensors` or to a `.pt` that holds tensors alone.
        config: open_clip model name; needed for a bare checkpoint only.
        activation: `"gelu"` or `"quickgelu"`; needed for a bare checkpoint only. Of a
            registry name, another than its own is tried.
        device: where to put the weights.

    Raises:
        BackboneError: unknown name, wrong shapes, or wrong activation by the probe.
        FileCorruptError: the file differs from its recorded sha256.
    """
    entry = resolve(name, config, activation)
    model = build(entry.config, entry.activation)
    state, digest = read_weights(locate(entry), entry.sha256)
    state = {k.removeprefix("module."): v.float() for k, v in state.items()}
    for key in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(key, None)  # facts that OpenAI's files carry beside the weights
    off = f"{name} does not fit {entry.config}"
    fix = "Name the config it was trained with"
    try:
        missing, extra = model.load_state_dict(state, strict=False)
    except RuntimeError as e:  # shapes must fit, strict or not
        raise BackboneError(f"{off}: {e}. {fix}.") from e
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    if missing or extra:
        few, more = ", ".join(missing[:3]), ", ".join(extra[:3])
        what = (
            f"{len(missing)} tensors are missing ({few}), {len(extra)} unknown ({more})"
        )
        raise BackboneError(f"{off}: {what}. {fix}.")
    out = wrap(Path(name).stem, model.to(device), entry, digest)
    check_probe(out)
    return out


def save(path: str | Path, backbone: Backbone, /, **facts: Any) -> Backbone:
    """Write weights as safetensors with a receipt that `load` can read; return them.

    Matrices are kept as float16, vectors as float32, so the returned backbone (which
    holds the rounded weights) is the one to measure.
    """
    state = {
        k: v.half() if v.ndim > 1 else v
        for k, v in backbone.model.state_dict().items()
        if k != "attn_mask" and not k.endswith("num_batches_tracked")
    }
    model = build(backbone.entry.config, backbone.entry.activation)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    data = st_save({k: v.contiguous() for k, v in state.items()})
    rounded = wrap(backbone.name, model, backbone.entry, files.sha256_bytes(data))
    entry = dict(asdict(backbone.entry), probe=probe(rounded), weights="")
    files.write_with_receipt(path, data, entry=entry, **facts)
    return load(str(path))
