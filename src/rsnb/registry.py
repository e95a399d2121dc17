"""Published checkpoints, and what must be known to load each one rightly.

Explained in notebook 02 and `book/own_data.md`. A CLIP checkpoint does not say which
GELU it was trained with, and the wrong one loads without a word and loses recall.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["REGISTRY", "Entry"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Entry:
    """What must be known to load a checkpoint rightly.

    Attributes:
        config: open_clip model name, or a dict of its JSON config.
        activation: `"gelu"` or `"quickgelu"`, of the transformer blocks.
        weights: `hub:<repo>/<file>@<commit>`, or a path; without a commit, the newest.
        mean: per channel, after scaling to 0…1.
        std: per channel.
        words: vocabulary and context of a word tokenizer; None for open_clip's own.
        sha256: digest of the weight file, where known.
        probe: first values of two embeddings, see `probe`; None where not known yet.
        licence: as stated by the source.
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


_QUICK = "ViT-B-32-quickgelu"
_CLIP = "hub:timm/vit_base_patch32_clip_224.openai/"
_REMOTE = "hub:chendelong/RemoteCLIP/RemoteCLIP-"
_GEO = "hub:Zilun/GeoRSCLIP/ckpt/RS5M_"
# Commit and sha256 of the content are those that several public repositories noted.
#: Published checkpoints, by name. What they reach is in `rsnb.published`.
REGISTRY: Mapping[str, Entry] = MappingProxyType({
    name: Entry(
        config, "quickgelu" if config.endswith("-quickgelu") else "gelu",
        "@".join((weights, *pin[:1])), licence=licence, sha256=(*pin, None, None)[1],
    )
    for name, config, weights, licence, *pin in (
        # OpenAI's weights as safetensors: its own .pt is code, which is not run here.
        ("CLIP-ViT-B-32", _QUICK, f"{_CLIP}open_clip_model.safetensors", "MIT",
         "a6f597a30f7b82c51704746581f9a4e41421e878",
         "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31"),
        ("RemoteCLIP-RN50", "RN50-quickgelu", f"{_REMOTE}RN50.pt", "Apache-2.0"),
        ("RemoteCLIP-ViT-B-32", _QUICK, f"{_REMOTE}ViT-B-32.pt", "Apache-2.0",
         "bf1d8a3ccf2ddbf7c875705e46373bfe542bce38",
         "60014e395d930a3f2963d1d89c8522bf4ad56775571e4356e866864789af85c4"),
        ("RemoteCLIP-ViT-L-14", "ViT-L-14-quickgelu", f"{_REMOTE}ViT-L-14.pt",
         "Apache-2.0"),
        ("GeoRSCLIP-ViT-B-32", _QUICK, f"{_GEO}ViT-B-32.pt", "cc",
         "4920188e6eba4e711ef9848cfd7cb77e874ee33f",
         "129bafaa6a097b8be52e2babf27d24f0a934dae919201e538dc698611bd1ea01"),
        ("GeoRSCLIP-ViT-B-32-RET-2", _QUICK, f"{_GEO}ViT-B-32_RET-2.pt", "cc"),
        ("GeoRSCLIP-ViT-H-14", "ViT-H-14", f"{_GEO}ViT-H-14.pt", "cc"),
    )
})  # fmt: skip
