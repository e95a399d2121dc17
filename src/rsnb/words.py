"""A word-level tokenizer for the small models: a vocabulary that a reader can print.

Explained in notebook 02. The published checkpoints keep open_clip's own tokenizer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["WordTokenizer", "split_words"]

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
PAD, UNK = 0, 1


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a caption; punctuation separates and vanishes.

    >>> split_words("Two white planes, parked .")
    ['two', 'white', 'planes', 'parked']
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class WordTokenizer:
    """Map captions to ids: 0 pad, 1 unknown, 2… words, then start, and end the largest.

    open_clip pools the text at the largest id of a row, so the end mark must be it.

    Attributes:
        words: the vocabulary, in id order from 2 on.
        context: row length, start and end marks included; longer captions are cut.
    """

    words: tuple[str, ...]
    context: int = 32

    @classmethod
    def fit(
        cls, captions: Iterable[str], *, context: int = 32, min_count: int = 1
    ) -> WordTokenizer:
        """Build the vocabulary from words seen at least `min_count` times."""
        count = Counter(w for c in captions for w in split_words(c))
        words = sorted(w for w, n in count.items() if n >= min_count)
        return cls(tuple(words), context)

    @property
    def vocab_size(self) -> int:
        """Return the number of ids: pad, unknown, words, start, end."""
        return len(self.words) + 4

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return int64 (len(texts), context), padded with 0."""
        index = {w: i + 2 for i, w in enumerate(self.words)}
        start, end = self.vocab_size - 2, self.vocab_size - 1
        out = np.full((len(texts), self.context), PAD, np.int64)
        for row, text in zip(out, texts, strict=True):
            ids = [index.get(w, UNK) for w in split_words(text)][: self.context - 2]
            row[: len(ids) + 2] = [start, *ids, end]
        return out
