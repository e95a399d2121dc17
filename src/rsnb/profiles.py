"""What a page runs on: data set, backbone, a query, and what to compare with.

Explained in `book/how_to_run.md`. Every page takes its parameter `profile` to `get` and
asks nothing else about it, so one notebook serves the embedded world and real data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rsnb.cards import home
from rsnb.data import load as load_data
from rsnb.errors import ParameterError
from rsnb.files import fingerprint
from rsnb.metrics import KS, caption_ceiling, evaluate
from rsnb.pairs import Pairs

__all__ = ["PROFILES", "Profile", "get", "pick"]

_CLIP, _HERE = "605 MB of CLIP weights; needs", " in RSNB_DATA"


@dataclass(frozen=True)
class Profile:
    """One choice of data and model for all pages.

    Attributes:
        name: short name, used for the folder of results.
        data: name or path for `rsnb.data.load`.
        backbone: name for `rsnb.assets.backbone`.
        transformer: a backbone whose towers are both transformers; "" for none.
        start: a backbone that does not know the training captions, to fine-tune under
            noise; "" for `backbone` itself.
        start_vit: likewise with patch tokens; "" for none.
        captioner: name for `rsnb.smallcaptioners.captioner`, or of a model on the hub.
        sweep: plan of the noise sweep whose receipts belong to this data; "" for none.
        query: a sentence to search with on the first page.
        sisters: other data sets that may share images or captions with it.
        oracle: whether the facts of each scene are known, so that an oracle can search.
        receipts: names of receipts in `book/results/` with results over seeds.
        download: what the first run fetches or needs, in words.
    """

    name: str
    data: str
    backbone: str = "CLIP-ViT-B-32"
    transformer: str = ""
    start: str = ""
    start_vit: str = ""
    captioner: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    sweep: str = ""
    query: str = "aircraft waiting beside a terminal"
    sisters: tuple[str, ...] = ()
    oracle: bool = False
    receipts: tuple[str, ...] = ()
    download: str = "605 MB of CLIP weights; your files stay where they are"

    def load(self) -> Pairs:
        """Return the data set, all splits, with one to tune on."""
        return load_data(self.data).with_val()

    def load_sisters(self) -> list[Pairs]:
        """Return the sets to look for leaks in, as far as this machine holds them.

        A set that is here but broken raises.
        """
        return [load_data(name) for name in self.sisters if home(name)]

    def ceilings(self, pairs: Pairs) -> dict[str, dict[str, float]]:
        """Return limits of recall on a whole split, in percent: name → recalls and mR.

        Repeated captions limit every set. The embedded world has an oracle as well,
        which reads the scene descriptions that no model sees.
        """
        limit = caption_ceiling(pairs.captions, pairs.gt)
        row = {f"i2t_r{k}": v for k, v in zip(KS, limit.i2t_random, strict=True)}
        row |= {f"t2i_r{k}": v for k, v in zip(KS, limit.t2i_random, strict=True)}
        out = {"limit by repeated captions": row | {"mR": sum(row.values()) / len(row)}}
        if self.oracle:
            from rsnb.world import oracle

            # An image prefers the more specific of the captions that are true of it.
            true = oracle.truth(pairs.split[0])
            found = evaluate(true / true.sum(1, keepdims=True), pairs.gt)
            out["oracle that reads the scene"] = found.as_dict()
        return out


#: The named profiles; any path to a data set makes another.
PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (
    Profile(
        "world", "world", "world-rn", oracle=True, download="nothing",
        query="an airport with four white planes in a row", transformer="world-vit",
        start="source-rn-0", start_vit="source-vit-0", sweep="world-rn",
        captioner="world-vlm",
        receipts=("backbone-world-rn", "backbone-world-vit"),
    ),
    Profile(
        "ucm", "ucm", "ucm-rn", query="several planes on the tarmac",
        start="rsicd-rest", sweep="ucm", receipts=("backbone-ucm-rn",),
        captioner="real-vlm",
        download="needs UCM in RSNB_DATA",
    ),
    Profile(
        "rsicd", "rsicd", "rsicd-rn", sisters=("rsitmd",), start="rsicd-rest",
        sweep="rsicd", receipts=("backbone-rsicd-rn",), captioner="real-vlm",
        download="526 MB (`python -m rsnb fetch rsicd`), or RSICD in RSNB_DATA",
    ),
    Profile("rsitmd", "rsitmd", sisters=("rsicd",), download=f"{_CLIP} RSITMD{_HERE}"),
    Profile("nwpu", "nwpu", download=f"{_CLIP} NWPU-Captions{_HERE}"),
)})  # fmt: skip


def pick() -> tuple[str, str]:
    """Return the name of the profile that fits this machine, and why in one line.

    Real data want a GPU. Without one, or without their files, it is `world`.
    """
    from torch import cuda

    if not cuda.is_available():
        return "world", "No GPU: profile 'world', which needs none, and no data."
    size = cuda.get_device_properties(0).total_memory / 2**30
    card = f"GPU: {cuda.get_device_name()}, {size:.0f} GiB. Set device = 'cuda'."
    if here := [n for n in PROFILES if home(n)]:
        return here[0], f"{card} Real data are here for profile {' or '.join(here)}."
    how = f"'rsicd' would fit: {PROFILES['rsicd'].download}"
    return "world", f"{card} No real data here: profile 'world'; {how}."


def get(name_or_path: str) -> Profile:
    """Return the profile of that name, or one for the data set at that path.

    `auto` is what `pick` chooses. A path gets the same folder name for its results as
    `python -m rsnb run` gives it.

    Raises:
        ParameterError: neither a known name nor an existing path.
    """
    if name_or_path == "auto":
        name_or_path = pick()[0]
    if name_or_path in PROFILES:
        return PROFILES[name_or_path]
    path = Path(name_or_path).expanduser()
    if not path.exists():
        what = f"profile {name_or_path!r} is neither one of {', '.join(PROFILES)}"
        raise ParameterError(f"{what} nor an existing path.")
    path = path.resolve()
    stem = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-").lower()
    return Profile(f"{stem}-{fingerprint(str(path))[:8]}", str(path))
