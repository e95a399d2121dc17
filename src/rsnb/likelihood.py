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
    net, words = captioner.net, captioner.processor.tokenizer
    out: list[list[float]] = [[] for _ in texts]
    if not texts:
        return []
    said = words(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    if hasattr(getattr(net, "model", None), "rope_deltas"):
        net.model.rope_deltas = None  # of the image before, which Qwen remembers
    with torch.inference_mode():
        inputs = captioner.inputs([(image, turn)])
        prefix = net(**inputs, use_cache=True)
        first = prefix.logits[:, -1:]
        order = sorted(range(len(texts)), key=lambda k: len(said["input_ids"][k]))
        for start in range(0, len(order), captioner.batch):
            some = order[start : start + captioner.batch]
            ids = [said["input_ids"][k] for k in some]
            rows = torch.zeros(len(ids), max(1, *map(len, ids)), dtype=torch.long)
            for row, own in zip(rows, ids, strict=True):
                row[: len(own)] = torch.tensor(own)
            rows = rows.to(net.device)
            past = deepcopy(prefix.past_key_values)
            past.batch_repeat_interleave(len(ids))
            # No mask: texts are padded on the right, where no token of theirs looks.
            logits = net(input_ids=rows, past_key_values=past).logits
            whole = torch.cat([first.expand(len(ids), -1, -1), logits], 1).float()
            log_p = whole.log_softmax(-1)
            value = log_p[:, :-1].gather(2, rows[..., None])[..., 0].tolist()
            ends = log_p[..., captioner.ends].logsumexp(-1).tolist()
            for k, own, v, e in zip(some, ids, value, ends, strict=True):
                out[k] = [*v[: len(own)], e[len(own)]]
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
