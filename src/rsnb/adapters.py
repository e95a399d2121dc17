"""Adapters as files, and words that they add to a word-level tokenizer.

Explained in notebook 05; `rsnb.lora` trains them. The format is peft's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rsnb.errors import BackboneError
from rsnb.files import (
    fingerprint,
    read_verified,
    read_with_receipt,
    receipt_path,
    sha256_file,
    tree_digest,
    write_with_receipt,
)

__all__ = ["grow", "learn", "merged", "save"]

WEIGHTS = "adapter_model.safetensors"  # peft's name


def learn(words: Any, texts: Sequence[str]) -> None:
    """Add the words of texts that a word-level tokenizer lacks; others lack none.

    They join its model: as added tokens they would be cut out before the text is split
    into words, and not be found.
    """
    from tokenizers import models

    raw = words.backend_tokenizer
    if not isinstance(raw.model, models.WordLevel):
        return
    vocab = raw.get_vocab(with_added_tokens=True)
    marks = sorted(map(re.escape, words.get_added_vocab()), key=len, reverse=True)
    found = set()
    for part in {p for text in texts for p in re.split("|".join(marks), text)}:
        plain = raw.normalizer.normalize_str(part) if raw.normalizer else part
        found |= {piece for piece, _ in raw.pre_tokenizer.pre_tokenize_str(plain)}
    new = sorted(found - vocab.keys())
    rows = {word: row for row, word in enumerate(new, len(words))}
    raw.model = models.WordLevel(vocab | rows, words.unk_token)


def grow(net: Any, words: Any) -> None:
    """Give the model a row for each word, and eight at a time."""
    if len(words) > net.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            how = {"pad_to_multiple_of": 8, "mean_resizing": False}
            net.resize_token_embeddings(len(words), **how)


def save(
    folder: Path, captioner: Any, settings: Any, log: Sequence[Any], /, **facts: Any
) -> None:
    """Write an adapter in peft's format, its words if it has any, and a receipt.

    `TransformersCaptioner.load(base, adapter=folder)` reads it.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save as st_save

    model = captioner.adapter
    config = model.peft_config["default"]
    config.save_pretrained(folder)
    if config.trainable_token_indices:
        captioner.processor.save_pretrained(folder)
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    data = st_save({k: v.cpu().contiguous().clone() for k, v in tensors.items()})
    path = folder / WEIGHTS
    rest = sorted(set(folder.iterdir()) - {path, receipt_path(path)})
    write_with_receipt(
        path, data, base=config.base_model_name_or_path, base_revision=config.revision,
        files={p.name: sha256_file(p) for p in rest}, settings=asdict(settings),
        log=list(log), seconds=max((e["seconds"] for e in log), default=0), **facts,
    )  # fmt: skip


def merged(captioner: Any, folder: Path) -> Any:
    """Return a captioner whose weights are those of the base and an adapter's, merged.

    Raises:
        FileCorruptError: a file differs from the receipt, or is missing.
        BackboneError: the adapter is of another base, or no adapter.
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoProcessor

    facts = read_with_receipt(folder / WEIGHTS)[1]
    for name, sha256 in facts["files"].items():
        read_verified(folder / name, sha256)
    config, net = PeftConfig.from_pretrained(str(folder)), captioner.net
    if config.revision != captioner.revision:
        what = f"{folder} adapts {config.base_model_name_or_path} at {config.revision}"
        mine = f"{captioner.model} at {captioner.revision}"
        raise BackboneError(f"{what}, not {mine}. Load it with the base that it names.")
    processor = captioner.processor
    if "tokenizer.json" in facts["files"]:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    grow(net, processor.tokenizer)
    try:
        net = PeftModel.from_pretrained(net, folder, config=config).merge_and_unload()
    except Exception as e:  # of peft, torch or safetensors
        what = f"{folder} is no adapter of {captioner.model} ({type(e).__name__}: {e})"
        raise BackboneError(f"{what}. Train it again.") from e
    both = fingerprint(captioner.revision, tree_digest(folder))
    kind = type(captioner)
    return kind(captioner.model, both, net.eval(), processor, captioner.batch)
