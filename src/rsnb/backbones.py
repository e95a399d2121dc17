"""Any open_clip model behind one `load(name)`, with its activation checked.

Explained in notebook 02 and `book/own_data.md`. A CLIP checkpoint does not say which
GELU it was trained with, and the wrong one loads without a word and loses recall. So
every entry states the activation, and a stored probe vector proves it after loading.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from safetensors import SafetensorError
from safetensors.torch import load as st_load
from safetensors.torch import save as st_save
from torch import Tensor, nn

from rsnb.errors import BackboneError
from rsnb.files import (
    cache_dir,
    read_json,
    read_verified,
    receipt_path,
    sha256_bytes,
    sha256_file,
    write_with_receipt,
)
from rsnb.words import WordTokenizer

__all__ = ["REGISTRY", "Backbone", "Entry", "build", "load", "probe", "save", "wrap"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PROBE_TOLERANCE = 1e-4  # a wrong GELU or mean moves unit vectors by 1e-3 and more


@dataclass(frozen=True)
class Entry:
    """What must be known to load a checkpoint rightly.

    Attributes:
        config: open_clip model name, or a dict of `embed_dim`, `vision_cfg`, `text_cfg`.
        activation: `"gelu"` or `"quickgelu"`, of the transformer blocks.
        weights: `hub:<repo>/<file>`, `open_clip:<tag>`, or a path.
        mean: per channel, after scaling to 0…1.
        std: per channel.
        words: vocabulary and context of a word tokenizer; None for open_clip's own.
        sha256: digest of the weight file, where known.
        probe: first values of two embeddings, see `probe`; None where not known yet.
        licence: as stated by the source.
        published: recalls that the source reports, by data set.
    """

    config: str | dict[str, Any]
    activation: str
    weights: str
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    words: dict[str, Any] | None = None
    sha256: str | None = None
    probe: tuple[float, ...] | None = None
    licence: str = "not stated"
    published: Mapping[str, float] = field(default_factory=dict)


def _hub(config: str, file: str, licence: str, **published: float) -> Entry:
    quick = config.endswith("-quickgelu")
    return Entry(
        config, "quickgelu" if quick else "gelu", f"hub:{file}", licence=licence,
        published=published,
    )  # fmt: skip


_GEO = "Zilun/GeoRSCLIP/ckpt/RS5M_ViT"
#: Published checkpoints, by name. mR as the sources report it (methods of each differ).
REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        "CLIP-ViT-B-32": Entry(
            "ViT-B-32-quickgelu", "quickgelu", "open_clip:openai", licence="MIT",
            published={"rsitmd": 23.89, "rsicd": 15.04, "ucm": 33.08},
        ),
        "RemoteCLIP-RN50": _hub(
            "RN50-quickgelu", "chendelong/RemoteCLIP/RemoteCLIP-RN50.pt",
            "Apache-2.0", rsitmd=46.21, rsicd=30.58, ucm=49.25,
        ),
        "RemoteCLIP-ViT-B-32": _hub(
            "ViT-B-32-quickgelu", "chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt",
            "Apache-2.0", rsitmd=49.38, rsicd=35.26, ucm=56.36,
        ),
        "RemoteCLIP-ViT-L-14": _hub(
            "ViT-L-14-quickgelu", "chendelong/RemoteCLIP/RemoteCLIP-ViT-L-14.pt",
            "Apache-2.0", rsitmd=50.52, rsicd=36.35, ucm=54.68,
        ),
        "GeoRSCLIP-ViT-B-32": _hub(
            "ViT-B-32-quickgelu", f"{_GEO}-B-32.pt", "cc", rsitmd=35.33, rsicd=26.06,
        ),
        "GeoRSCLIP-ViT-B-32-RET-2": _hub(
            "ViT-B-32-quickgelu", f"{_GEO}-B-32_RET-2.pt", "cc",
            rsitmd=51.81, rsicd=38.87,
        ),
        "GeoRSCLIP-ViT-H-14": _hub(
            "ViT-H-14", f"{_GEO}-H-14.pt", "cc", rsitmd=40.38, rsicd=28.48,
        ),
    }
)  # fmt: skip


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
        scaled = (pixels.float() / 255 - mean) / std
        return scaled.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (B, d), unit norm, from uint8 (B, S, S, 3) of any side S."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise BackboneError(
                f"images are {images.dtype} {images.shape}; uint8 (B, S, S, 3) is "
                "needed. rsnb.pixels.load_pixels makes that."
            )
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        if x.shape[-1] != self.image_size:
            side = (self.image_size, self.image_size)
            x = F.interpolate(x, side, mode="bicubic", antialias=True)
        emb = self.model.encode_image(self.normalise(x))  # type: ignore[operator]
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
    if isinstance(config, str):
        cfg = open_clip.get_model_config(config)
        if cfg is None:
            raise BackboneError(
                f"open_clip has no model {config!r}; see open_clip.list_models()."
            )
    else:
        cfg = config
    cfg = json.loads(json.dumps(cfg))  # a copy of our own; quick_gelu is set from us
    cfg.pop("quick_gelu", None)
    custom = cfg.pop("custom_text", False)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(**cfg, quick_gelu=activation == "quickgelu")
    found = _activation(model)
    if found != activation:
        raise BackboneError(
            f"{config}: blocks use {found}, the entry says {activation}. "
            "Name the activation that the checkpoint was trained with."
        )
    return model.eval()


def _activation(model: nn.Module) -> str:
    quick = any(isinstance(m, QuickGELU) for m in model.modules())
    return "quickgelu" if quick else "gelu"


def wrap(name: str, model: nn.Module, entry: Entry, digest: str) -> Backbone:
    """Return a `Backbone` around a model that is loaded or being trained."""
    if entry.words is not None:
        words = WordTokenizer(tuple(entry.words["words"]), entry.words["context"])

        def tokenize(texts: Sequence[str]) -> Tensor:
            return torch.from_numpy(words(texts))
    else:
        tokenizer = open_clip.get_tokenizer(
            entry.config if isinstance(entry.config, str) else "ViT-B-32"
        )

        def tokenize(texts: Sequence[str]) -> Tensor:
            return tokenizer(list(texts))

    size = model.visual.image_size  # type: ignore[union-attr]
    side = int(size[0] if isinstance(size, tuple | list) else size)  # type: ignore
    return Backbone(name, model.eval(), entry, tokenize, side, digest)


def probe(backbone: Backbone) -> tuple[float, ...]:
    """Return 16 numbers that pin weights, activation, resize and normalisation.

    The first 8 values of the embedding of a fixed 96-pixel pattern, then of a fixed
    caption.
    """
    y, x = np.mgrid[:96, :96]
    planes = [(3 * x + y) % 256, (x * y) % 256, (x // 12 + y // 8) % 2 * 200]
    image = np.stack(planes, -1).astype(np.uint8)[None]
    img = backbone.encode_images(image)[0, :8]
    txt = backbone.encode_texts(["two white planes are parked near a long road"])
    return tuple(round(float(v), 6) for v in (*img, *txt[0, :8]))


def _check_probe(backbone: Backbone) -> None:
    want = backbone.entry.probe
    if want is None:
        return
    gap = float(np.abs(np.subtract(probe(backbone), want)).max())
    if not gap <= PROBE_TOLERANCE:
        raise BackboneError(
            f"{backbone.name}: its probe differs by {gap:.4f} from the stored one "
            f"(allowed {PROBE_TOLERANCE}). Weights, activation "
            f"({backbone.entry.activation}) or normalisation are not those of the "
            "checkpoint; load it with the values that its entry states."
        )


def _read_weights(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """Return tensors and file digest; a `.pt` is converted once to safetensors."""
    digest = sha256_file(path)
    if sha256 is None and receipt_path(path).is_file():
        sha256 = read_json(receipt_path(path))["sha256"]
    read_verified(path, sha256 or digest)
    safe = path
    if path.suffix != ".safetensors":
        safe = cache_dir() / "weights" / f"{digest[:32]}.safetensors"
        if not receipt_path(safe).is_file():
            _convert(path, safe, digest)
    try:
        return st_load(read_verified(safe, digest if safe == path else None)), digest
    except SafetensorError as e:
        raise BackboneError(f"{safe} is no safetensors file ({e}).") from e


def _convert(path: Path, safe: Path, digest: str) -> None:
    try:  # weights_only: a pickle that would run code is refused, not run
        state = open_clip.factory.load_state_dict(str(path), weights_only=True)
    except Exception as e:
        raise BackboneError(
            f"{path} is not a plain state dict of tensors ({type(e).__name__}). It "
            "may hold code or be cut short; ask for the weights as safetensors."
        ) from e
    # clone: two names for one storage are legal in a .pt, not in safetensors
    tensors = {k: v.clone() for k, v in state.items() if isinstance(v, Tensor)}
    write_with_receipt(safe, st_save(tensors), converted_from=digest)


def _locate(entry: Entry) -> Path:
    source, _, rest = entry.weights.partition(":")
    if source == "hub":
        owner, repo, file = rest.split("/", 2)
        try:
            return Path(huggingface_hub.hf_hub_download(f"{owner}/{repo}", file))
        except Exception as e:
            raise BackboneError(
                f"{owner}/{repo}: {file} could not be fetched ({type(e).__name__}). "
                "Go online once, or download the file and pass its path to load()."
            ) from e
    if source == "open_clip":
        cfg = open_clip.get_pretrained_cfg(str(entry.config), rest)
        try:
            return Path(open_clip.download_pretrained(cfg))
        except Exception as e:
            raise BackboneError(
                f"open_clip weights {rest!r} for {entry.config} could not be fetched "
                f"({type(e).__name__}). Go online once, or pass a local path."
            ) from e
    return Path(entry.weights)


def _own(path: Path) -> Entry:
    """Return the entry that `save` put in the receipt beside one of our files."""
    facts = read_json(receipt_path(path))
    entry = dict(facts["entry"], weights=str(path), sha256=facts["sha256"])
    for key in ("mean", "std", "probe"):
        entry[key] = tuple(entry[key])
    return Entry(**entry)


def resolve(name: str, config: str | None = None, activation: str | None = None) -> Entry:
    """Return the entry of a registry name, a shipped or trained name, or a path.

    Raises:
        BackboneError: unknown name, or a bare checkpoint without its activation.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    places = (Path(str(package_files("rsnb"))) / "weights", cache_dir() / "backbones")
    for path in (*(d / f"{name}.safetensors" for d in places), Path(name)):
        if path.is_file() and path.suffix == ".safetensors":
            receipt = receipt_path(path)
            if receipt.is_file() and "entry" in read_json(receipt):
                return _own(path)
    if not Path(name).is_file():
        shipped = sorted(p.stem for d in places for p in d.glob("*.safetensors"))
        raise BackboneError(
            f"no backbone {name!r}: not in the registry ({', '.join(REGISTRY)}), not "
            f"shipped or trained ({', '.join(shipped) or 'none'}), and no such file."
        )
    if config is None or activation is None:
        raise BackboneError(
            f"{name} does not say how it was trained. Pass config=, an open_clip model "
            'name, and activation="quickgelu" (weights that go back to OpenAI\'s, such '
            'as RemoteCLIP) or "gelu" (most others). The wrong one costs recall.'
        )
    return Entry(config, activation, name)


def load(
    name: str,
    *,
    config: str | None = None,
    activation: str | None = None,
    device: str = "cpu",
) -> Backbone:
    """Load a backbone by registry name, shipped name, or checkpoint path.

    Args:
        name: key of `REGISTRY`, stem of a shipped or trained file, or a path to
            `.safetensors` or to a `.pt` that holds tensors alone.
        config: open_clip model name; needed for a bare checkpoint only.
        activation: `"gelu"` or `"quickgelu"`; needed for a bare checkpoint only.
        device: where to put the weights.

    Raises:
        BackboneError: unknown name, wrong shapes, or wrong activation by the probe.
        FileCorruptError: the file differs from its recorded sha256.
    """
    entry = resolve(name, config, activation)
    model = build(entry.config, entry.activation)
    state, digest = _read_weights(_locate(entry), entry.sha256)
    state = {k.removeprefix("module."): v.float() for k, v in state.items()}
    for key in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(key, None)  # facts that OpenAI's files carry beside the weights
    missing, extra = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    if missing or extra:
        raise BackboneError(
            f"{name} does not fit {entry.config}: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(extra)} unknown "
            f"({', '.join(extra[:3])}). Name the config it was trained with."
        )
    out = wrap(Path(name).stem, model.to(device), entry, digest)
    _check_probe(out)
    return out


def save(path: str | Path, backbone: Backbone, **facts: Any) -> Backbone:
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
    rounded = wrap(backbone.name, model, backbone.entry, sha256_bytes(data))
    entry = dict(asdict(backbone.entry), probe=probe(rounded), weights="")
    write_with_receipt(path, data, entry=entry, **facts)
    return load(str(path))
