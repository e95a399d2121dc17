"""Published checkpoints, and what must be known to load each one rightly.

Explained in notebook 02 and `book/own_data.md`. A CLIP checkpoint does not say which
GELU it was trained with, and the wrong one loads without a word and loses recall.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


_SETS, _QUICK = ("rsitmd", "rsicd", "ucm"), "ViT-B-32-quickgelu"
_REMOTE = "hub:chendelong/RemoteCLIP/RemoteCLIP-"
_GEO = "hub:Zilun/GeoRSCLIP/ckpt/RS5M_"
#: Published checkpoints, by name. mR as the sources report it (methods of each differ).
REGISTRY: Mapping[str, Entry] = MappingProxyType({
    name: Entry(
        config, "quickgelu" if config.endswith("-quickgelu") else "gelu", weights,
        licence=licence, published=dict(zip(_SETS, mR, strict=False)),
    )
    for name, config, weights, licence, *mR in (
        ("CLIP-ViT-B-32", _QUICK, "open_clip:openai", "MIT", 23.89, 15.04, 33.08),
        ("RemoteCLIP-RN50", "RN50-quickgelu", f"{_REMOTE}RN50.pt", "Apache-2.0",
         46.21, 30.58, 49.25),
        ("RemoteCLIP-ViT-B-32", _QUICK, f"{_REMOTE}ViT-B-32.pt", "Apache-2.0",
         49.38, 35.26, 56.36),
        ("RemoteCLIP-ViT-L-14", "ViT-L-14-quickgelu", f"{_REMOTE}ViT-L-14.pt",
         "Apache-2.0", 50.52, 36.35, 54.68),
        ("GeoRSCLIP-ViT-B-32", _QUICK, f"{_GEO}ViT-B-32.pt", "cc", 35.33, 26.06),
        ("GeoRSCLIP-ViT-B-32-RET-2", _QUICK, f"{_GEO}ViT-B-32_RET-2.pt", "cc",
         51.81, 38.87),
        ("GeoRSCLIP-ViT-H-14", "ViT-H-14", f"{_GEO}ViT-H-14.pt", "cc", 40.38, 28.48),
    )
})  # fmt: skip
