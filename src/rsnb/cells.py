"""The cells of the published table that one command runs again, and what each needs.

Explained in `book/how_to_run.md`. `rsnb.reproduce` runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

from rsnb.errors import ParameterError, check_settings
from rsnb.profiles import Profile
from rsnb.registry import REGISTRY

__all__ = ["BACKBONES", "EPOCHS", "METHODS", "TEST", "Cell", "cells"]

#: Images and captions of the published test split, by data set.
TEST: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"rsitmd": (452, 2260), "rsicd": (1093, 5465), "ucm": (210, 1050)}
)
#: Names on the command line → names in `rsnb.registry`.
BACKBONES: Mapping[str, str] = MappingProxyType({
    "clip-b32": "CLIP-ViT-B-32", "remoteclip-b32": "RemoteCLIP-ViT-B-32",
    "georsclip-b32": "GeoRSCLIP-ViT-B-32",
})  # fmt: skip
METHODS = ("zero-shot", "rrsitr", "t2t", "cadre")
EPOCHS = 50  # of RRSITR, as published


@dataclass(frozen=True)
class Cell:
    """One cell of the published table, to be run again.

    Attributes:
        data: key of `TEST`.
        backbone: key of `BACKBONES`; `t2t` uses none.
        method: one of `METHODS`.
        noise: share of training captions that `rrsitr` finds moved.
        activation: another GELU than the entry's; "" for its own.
        captioner: who describes images for `t2t` and `cadre`; for `t2t` also a file.
        epochs: of `rrsitr`, over all captions; fewer than published are a trial.
        limit: training images of `rrsitr`, a trial; 0 for all.
        device: where models run.

    Raises:
        ParameterError: unknown name, or a number out of range.
    """

    data: str
    backbone: str = "clip-b32"
    method: str = "zero-shot"
    noise: float = 0.0
    activation: str = ""
    captioner: str = Profile.captioner
    epochs: int = EPOCHS
    limit: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what no cell could mean."""
        names = (self.data, TEST), (self.backbone, BACKBONES), (self.method, METHODS)
        for name, known in names:
            if name not in known:
                have = ", ".join(known)
                raise ParameterError(f"nothing to reproduce named {name!r}: {have}.")
        trains = self.method == "rrsitr"
        check_settings(
            self, noise=0 <= self.noise < 1 and (trains or not self.noise),
            epochs=self.epochs >= 1, limit=self.limit >= 0,
            captioner=self.method != "cadre" or not Path(self.captioner).is_file(),
        )  # fmt: skip

    @property
    def key(self) -> str:
        """Return what `rsnb.published` calls it."""
        return "t2t" if self.method == "t2t" else f"{self.backbone}/{self.method}"

    @property
    def name(self) -> str:
        """Return the name of its receipt."""
        own = [f"noise{100 * self.noise:g}"] * bool(self.noise)
        own += [self.activation] * bool(self.activation)
        own += [Path(self.captioner).name] * (self.captioner != Profile.captioner)
        own += ["trial"] * self.trial
        return "-".join([self.data, self.key.replace("/", "-"), *own])

    @property
    def command(self) -> str:
        """Return the command line that runs it."""
        out = f"python -m rsnb reproduce {self.data} --method {self.method}"
        for f in fields(self)[1:]:
            value = getattr(self, f.name)
            other = value != f.default and f.name != "method"
            if other or (f.name == "backbone" and self.method != "t2t"):
                out += f" --{f.name} {value}"
        return out

    @property
    def trial(self) -> bool:
        """Return whether it trains less than published."""
        less = self.limit > 0 or self.epochs < EPOCHS
        return less and self.method == "rrsitr"

    @property
    def needs(self) -> tuple[str, ...]:
        """Return what is fetched or must be here: weights, captioner, data."""
        weights = REGISTRY[BACKBONES[self.backbone]].weights.removeprefix("hub:")
        who, file = self.captioner, weights.partition("@")[0]
        own = {"t2t": (who,), "cadre": (file, who)}.get(self.method, (file,))
        return *own, self.data


def cells() -> list[Cell]:
    """Return all cells, `t2t` once a data set."""
    first = next(iter(BACKBONES))
    return [
        Cell(d, b, m) for d in TEST for m in METHODS for b in BACKBONES
        if m != "t2t" or b == first
    ]  # fmt: skip
