"""How likely a vision-language model is to answer with given words.

Explained in notebook 04. The image and the prompt are read once; all texts are read on
top of what the model keeps of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from PIL.Image import Image

from rsnb.errors import ParameterError

__all__ = ["likelihood"]

TEXTS = 64  # texts in one call of the model


def likelihood(
    captioner: Any, image: Image | None, turn: str, texts: Sequence[str]
) -> list[np.ndarray]:
    """Return the log-probabilities of texts as a model's answer to a turn.

    Args:
        captioner: a `rsnb.vlm.TransformersCaptioner`.
        image: what is asked about; None asks without an image.
        turn: what is asked.
        texts: n answers, each taken exactly as it stands.

    Returns:
        n float32 arrays (W + 1,): one value for each of the W words that
        `text.split()` gives, and one for the end. A token that lies in two words counts
        for the later one; a word without a token of its own gets 0.

    Raises:
        ParameterError: a text is blank.
    """
    import torch

    if blank := [k for k, text in enumerate(texts) if not text.strip()]:
        raise ParameterError(f"texts {blank[:5]} are blank. Leave them out.")
    net, words, out = captioner.net, captioner.processor.tokenizer, []
    if not texts:
        return []
    said = words(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    if hasattr(getattr(net, "model", None), "rope_deltas"):
        net.model.rope_deltas = None  # of the image before, which Qwen remembers
    with torch.inference_mode():
        inputs = captioner.inputs([(image, turn)])
        prefix = net(**inputs, use_cache=True)
        for start in range(0, len(texts), TEXTS):
            ids = said["input_ids"][start : start + TEXTS]
            rows = torch.zeros(len(ids), max(1, *map(len, ids)), dtype=torch.long)
            for row, own in zip(rows, ids, strict=True):
                row[: len(own)] = torch.tensor(own)
            past = deepcopy(prefix.past_key_values)
            past.batch_repeat_interleave(len(ids))
            # No mask: texts are padded on the right, where no token of theirs looks.
            read = net(input_ids=rows.to(net.device), past_key_values=past)
            for own, logits in zip(ids, read.logits, strict=True):
                whole = torch.cat([prefix.logits[0, -1:], logits[: len(own)]])
                log_p = whole.float().log_softmax(-1)
                values = log_p[range(len(own)), own].tolist()
                out.append([*values, float(log_p[-1, captioner.ends].logsumexp(0))])
    each = zip(texts, said["offset_mapping"], out, strict=True)
    return [_by_word(*one) for one in each]


def _by_word(
    text: str, spans: Sequence[tuple[int, int]], values: Sequence[float]
) -> np.ndarray:
    """Return sums (W + 1,) of the tokens' values; the last is that of the end."""
    stops = [word.end() for word in re.finditer(r"\S+", text)]
    at = np.searchsorted(stops, [stop - 1 for _, stop in spans], side="right")
    where = [*np.minimum(at, len(stops) - 1), len(stops)]
    return np.bincount(where, values).astype(np.float32)
