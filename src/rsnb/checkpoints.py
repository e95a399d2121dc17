"""Weight files: find or fetch them, verify them, and read tensors, never code.

Explained in notebook 00 and `book/own_data.md`. A `.pt` becomes safetensors once, in
the cache. A checkpoint loads without a word with the wrong GELU or mean, but then its
embedding of a fixed picture and a fixed caption, the probe, differs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from safetensors import SafetensorError
from safetensors.torch import load as st_load
from safetensors.torch import save as st_save
from torch import Tensor

from rsnb import cache, files, hub
from rsnb.errors import BackboneError
from rsnb.registry import Entry

__all__ = ["check_probe", "locate", "probe", "read_weights"]

PROBE_TOLERANCE = 1e-4  # a wrong GELU or mean moves unit vectors by 1e-3 and more


def read_weights(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """Return tensors and file digest; a `.pt` is converted once to safetensors."""
    if sha256 is None and not files.receipt_path(path).is_file():
        sha256 = files.sha256_file(path)
    data, safe = files.read_verified(path, sha256), path  # else by its receipt
    digest = sha256 or files.sha256_bytes(data)
    if path.suffix != ".safetensors":
        safe = cache.cache_dir() / "weights" / f"{digest[:32]}.safetensors"
        if not files.receipt_path(safe).is_file():
            _convert(path, safe, digest)
        data = files.read_verified(safe)
    try:
        return st_load(data), digest
    except SafetensorError as e:
        raise BackboneError(f"{safe} is no safetensors file ({e}).") from e


def _convert(path: Path, safe: Path, digest: str) -> None:
    try:  # weights_only: a pickle that would run code is refused, not run
        state = open_clip.factory.load_state_dict(str(path), weights_only=True)
    except Exception as e:
        what = f"{path} is no plain state dict of tensors ({type(e).__name__})"
        fix = "It may hold code or be cut short; ask for safetensors"
        raise BackboneError(f"{what}. {fix}.") from e
    # clone: two names for one storage are legal in a .pt, not in safetensors
    tensors = {k: v.clone() for k, v in state.items() if isinstance(v, Tensor)}
    files.write_with_receipt(safe, st_save(tensors), converted_from=digest)


def locate(entry: Entry) -> Path:
    """Return the local file of an entry, fetched first if need be.

    A file of the hub is checked as `rsnb.hub.download` says.

    Raises:
        RsnbError: as `rsnb.hub.download`.
    """
    source, _, rest = entry.weights.partition(":")
    if source != "hub":
        return Path(entry.weights)
    name, _, revision = rest.partition("@")
    owner, repo, file = name.split("/", 2)
    return hub.download(f"{owner}/{repo}", file, revision, entry.sha256)


def probe(backbone: Any) -> tuple[float, ...]:
    """Return 16 numbers that pin a `Backbone`: weights, activation, resize, spread.

    The first 8 values of the embedding of a fixed 96-pixel pattern, then of a fixed
    caption.
    """
    y, x = np.mgrid[:96, :96]
    planes = [(3 * x + y) % 256, (x * y) % 256, (x // 12 + y // 8) % 2 * 200]
    image = np.stack(planes, -1).astype(np.uint8)[None]
    img = backbone.encode_images(image)[0, :8]
    txt = backbone.encode_texts(["two white planes are parked near a long road"])
    return tuple(round(float(v), 6) for v in (*img, *txt[0, :8]))


def check_probe(backbone: Any) -> None:
    """Raise `BackboneError` if the probe is not the one that the entry stores."""
    want = backbone.entry.probe
    if want is None:
        return
    gap = float(np.abs(np.subtract(probe(backbone), want)).max())
    if not gap <= PROBE_TOLERANCE:
        raise BackboneError(
            f"{backbone.name}: its probe differs by {gap:.4f} from the stored one. "
            f"Weights, activation ({backbone.entry.activation}) or normalisation are "
            "not those of the checkpoint; load it with what its entry states."
        )
