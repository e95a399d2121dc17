"""Evidence: does a candidate show what the query says? A vision-language model answers.

Explained in notebook 05. The model is asked what a person would type to find the image.
The gain of a query is log p(query | image) - log p(query), in nats and word by word: a
word gains where the image makes it more likely than no image does. Gains are summed by
level of the hierarchy (`rsnb.phrases.LEVELS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from tqdm.auto import tqdm

from rsnb.cache import cached_arrays
from rsnb.errors import ParameterError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.phrases import LEVELS, levels
from rsnb.vlm import TransformersCaptioner

__all__ = ["ASKING", "Asking", "Witness", "tidy"]


@dataclass(frozen=True)
class Asking:
    """The two turns that a witness is asked.

    Attributes:
        typed: what would a person type to find this image?
        rewrite: holds `{query}`: the query, with what the image shows.
    """

    typed: str
    rewrite: str


#: `world` for our small captioner, `plain` for instruction-tuned models.
ASKING: Mapping[str, Asking] = MappingProxyType({
    "world": Asking("someone types", "rewrite {query}"),
    "plain": Asking(
        "Which short text would a person type to find this overhead image in an "
        "archive? Answer with the text alone.",
        "A person searches for: {query}. Rewrite the search as one sentence. Keep what "
        "it asks for, and add only details that this overhead image clearly shows.",
    ),
})  # fmt: skip


def tidy(query: str) -> str:
    """Return a query as a witness reads it: one line, no blank or full stop around.

    >>> tidy(" A lake. ")
    'A lake'
    """
    return " ".join(query.split()).strip(" .")


class Witness:
    """A captioner that says what an image makes likely.

    Args:
        captioner: any transformers image-text-to-text model, adapted or not.
        asking: its turns, see `ASKING`.
    """

    def __init__(self, captioner: TransformersCaptioner, asking: Asking) -> None:
        """Keep both, and what the model expects without an image."""
        self.captioner, self.asking = captioner, asking
        self._blind: dict[str, np.ndarray] = {}

    def words(self, pairs: Pairs, row: int, query: str) -> list[tuple[str, str, float]]:
        """Return (word, level, gain in nats) of a query, one image at a time.

        The last row is the end of the text.
        """
        text = tidy(query)
        (gain,) = self.by_word(pairs, row, [text])
        names = text.split()
        rows = zip([*names, ""], [*levels(names), "wording"], gain, strict=True)
        return [(word, level, float(g)) for word, level, g in rows]

    def by_word(self, pairs: Pairs, row: int, texts: Sequence[str]) -> list[np.ndarray]:
        """Return for each text its words' gains in nats, and the end's, for an image.

        Texts are read as they are, see `tidy`.
        """
        ask, turn = self.captioner.likelihood, self.asking.typed
        new = [t for t in dict.fromkeys(texts) if t not in self._blind]
        self._blind.update(zip(new, ask(None, turn, new), strict=True))
        seen = ask(pairs.image(row), turn, texts)
        return [s - self._blind[t] for s, t in zip(seen, texts, strict=True)]

    def gains(
        self, pairs: Pairs, rows: np.ndarray, queries: Sequence[str], *,
        cache: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Return float32 (n, 5), gains of n pairs of an image and a query, by level.

        Each image is read once for all its queries. A query without a word, as three
        captions of RSICD are, gains nothing.

        Args:
            pairs: the images.
            rows: int (n,), image of each pair.
            queries: n texts.
            cache: keep the result under `RSNB_CACHE`.

        Raises:
            ParameterError: another number of rows than queries.
        """
        if len(rows) != len(queries):
            what = f"{len(rows)} images and {len(queries)} queries"
            raise ParameterError(f"{what} do not make pairs; give one image a query.")
        texts = [tidy(q) for q in queries]

        def make() -> dict[str, np.ndarray]:
            out = np.zeros((len(texts), len(LEVELS)), np.float32)
            order = np.argsort(rows, kind="stable")
            cuts = np.flatnonzero(np.diff(np.asarray(rows)[order], prepend=-1))
            groups = np.split(order, cuts[1:]) if len(order) else []
            for some in tqdm(groups, "evidence", leave=False, delay=2):
                own = list(dict.fromkeys(texts[k] for k in some if texts[k]))
                found = self.by_word(pairs, int(rows[some[0]]), own) if own else []
                by = {t: self._by_level(t, g) for t, g in zip(own, found, strict=True)}
                out[some] = [by.get(texts[k], np.zeros(len(LEVELS))) for k in some]
            return {"gains": out}

        data, who = pairs.source.get("sha256"), self.captioner.revision
        if not (cache and data and who):
            return make()["gains"]
        what = fingerprint(list(pairs.ids), np.asarray(rows, np.int64), texts)
        key = {"data": data, "model": who, "turn": self.asking.typed, "pairs": what}
        code = "rsnb.vlm", "rsnb.captioners", "rsnb.phrases", "rsnb.images"
        return cached_arrays("evidence", key, make, *code)["gains"]

    def rewrite(
        self, pairs: Pairs, rows: Sequence[int], queries: Sequence[str]
    ) -> list[str]:
        """Return each query as the model rewrites it in view of an image."""
        turns = [self.asking.rewrite.format(query=tidy(q)) for q in queries]
        return self.captioner.ask([pairs.image(int(i)) for i in rows], turns)

    def _by_level(self, text: str, gain: np.ndarray) -> np.ndarray:
        at = [LEVELS.index(level) for level in levels(text.split())]
        return np.bincount([*at, len(LEVELS) - 1], gain, len(LEVELS))
