"""QGD's probes by name: shipped with the world, learned on first use elsewhere.

Explained in notebook 06. A probe belongs to the weights of one backbone. It learns from
pairs that the backbone has not seen (`captioner`, in the world); a set without such a
split lends its training split.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rsnb.backbones import Backbone
from rsnb.cache import cache_dir
from rsnb.cadre.qgd import Lesson, Probe, learn
from rsnb.cadre.views import GRID, Grid, look
from rsnb.embed import embed_texts
from rsnb.files import fingerprint, read_json, receipt_path
from rsnb.pairs import Pairs

__all__ = ["SHIPPED", "learned", "make", "path_of", "probe"]

#: Backbones of the world whose probes come with the package.
SHIPPED = ("world-rn", "world-vit", "world-rn-robust", "source-rn-0")


def learned(
    backbone: Backbone, pairs: Pairs, how: Lesson | None = None, *,
    rule: str = "guided", grid: Grid = GRID,
) -> Probe:  # fmt: skip
    """Return a probe that learned from pairs; see `rsnb.cadre.qgd.learn`.

    Without `how`, a set smaller than a batch is one batch.
    """
    how = how or Lesson(batch=min(Lesson.batch, len(pairs)))
    views, txt = look(backbone, pairs, grid), embed_texts(backbone, pairs.captions)
    plain = Probe.plain(txt.shape[1], views.emb.shape[1], rule)
    return learn(plain, txt, views.emb, pairs.gt, how)


def path_of(name: str) -> Path:
    """Return where the shipped probe of a backbone lies."""
    return Path(__file__).parent / "weights" / "probes" / f"{name}.safetensors"


def make(backbone: Backbone, pairs: Pairs, path: Path) -> Probe:
    """Let a probe learn from a data set, all splits given, and save it."""
    split = "captioner" if "captioner" in pairs.split else "train"
    own = pairs.where(split).with_pixels()
    facts = {"images": len(own), "split": split, "data": own.source.get("sha256")}
    learned(backbone, own).save(path, weights=backbone.digest, **facts)
    return Probe.load(path)


def probe(backbone: Backbone, pairs: Pairs) -> Probe:
    """Return the probe of a backbone for a data set, all splits given.

    It learns on first use, and is kept in the cache,
    unless one for these weights comes with the package.
    """
    shipped = path_of(backbone.name)
    if shipped.is_file() and pairs.name == "world":
        if read_json(receipt_path(shipped))["weights"] == backbone.digest:
            return Probe.load(shipped)
    how = [list(map(list, GRID)), asdict(Lesson())]
    data = pairs.source.get("sha256"), list(pairs.ids)
    key = fingerprint(backbone.digest, *data, how)
    path = cache_dir() / "probes" / f"{key[:32]}.safetensors"
    if receipt_path(path).is_file():
        return Probe.load(path)
    return make(backbone, pairs, path)
