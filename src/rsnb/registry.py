"""Published checkpoints, and what must be known to load each one rightly.

Explained in notebook 02 and `book/own_data.md`. A CLIP checkpoint does not say which
GELU it was trained with, and the wrong one loads without a word and loses recall.
"""

from __future__ import annotations

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
