"""Prompts, and what becomes of a model's answers: parsed, asked again, or counted.

Explained in notebook 04. An answer is taken as it stands or asked for again, never
repaired, and no image is ever left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from rsnb.errors import BackboneError, ParameterError, ResourceError
from rsnb.files import fingerprint
from rsnb.parsing import ParseError, parse
from rsnb.records import VARIANTS, Record, Variant, checked

__all__ = ["ASKED", "HEAT", "PROMPTS", "Answer", "Prompt", "apart", "settle"]

ASKED = 3  # times at most: greedy, then sampled with seeds 1 and 2
HEAT = 0.3  # temperature of a sampled answer
FATAL = (BackboneError, ParameterError, ResourceError)  # would hit every image alike

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Prompt:
    """What a captioner is asked about each image.

    Attributes:
        turns: each is asked on its own; the variants in the answers are put together.
        max_new_tokens: longest answer; one that does not end by then is `truncated`.
        variants: how many a record must have, at least.
    """

    turns: tuple[str, ...]
    max_new_tokens: int = 1800
    variants: int = VARIANTS

    @property
    def digest(self) -> str:
        """Return the sha256 of the texts."""
        return fingerprint(list(self.turns))


# No JSON in the text: a model that repeats it must not pass for one that answers.
_RSRT = (
    "This is a satellite or aerial image; its top is north. Write five different "
    "English descriptions of it, as people would who look for it in an archive. Reply "
    "with one JSON object only. Its single key is variants, a list of five objects "
    "with three string keys each: one_sentence, the scene and its main objects in one "
    "sentence; feature, the visible features: kinds of objects, colours, shapes, how "
    "many, where, and what surrounds them; caption, both as one text of two or three "
    "sentences. Name directions north, south, east and west, and sizes in words such "
    "as small or large, never in metres. Write only what can be seen: no place names, "
    "no guesses, nothing that is absent; say several or many where you cannot count. "
    "The five agree in facts and differ in wording and in what they begin with."
)
_SMALL = tuple(f"describe variant {k}" for k in range(1, VARIANTS + 1))
PROMPTS: Mapping[str, Prompt] = MappingProxyType({
    "rsrt": Prompt((_RSRT,)), "world": Prompt(_SMALL, 256),
    "once": Prompt(_SMALL[:1], 256, 1),  # for a model whose turns are all alike
})  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A model's text for one turn; `status` is `ok`, `truncated` or `failed`."""

    text: str
    status: str = "ok"
    reason: str = ""


def apart(
    items: Sequence[T],
    call: Callable[[Sequence[T]], list[R]],
    failed: Callable[[T, str], R],
) -> list[R]:
    """Return `call(items)`; if it raises, halve until the items that raise stand alone.

    So one bad image costs its neighbours nothing but time, and a batch too large for
    the memory shrinks.

    Args:
        items: n inputs.
        call: some of them, in order → as many results.
        failed: (item, what was raised) → the result of an item that raises alone.

    Raises:
        RsnbError: of a kind that would hit every item alike (`FATAL`).
    """
    try:
        return call(items)
    except FATAL:
        raise
    except Exception as e:  # of any model, processor, decoder or server
        why = f"{type(e).__name__}: {e}"[:500]
    if len(items) <= 1:
        return [failed(item, why) for item in items]
    half = len(items) // 2
    return apart(items[:half], call, failed) + apart(items[half:], call, failed)


def settle(
    image: str, answers: Sequence[Answer], again: Callable[[int, int], Answer],
    least: int = VARIANTS,
) -> Record:  # fmt: skip
    """Return the record of an image, asking unusable answers again at most twice.

    Args:
        image: its id.
        answers: the first answer of each turn.
        again: (turn, seed) → another answer, sampled.
        least: variants that the record must have.
    """
    answers = list(answers)
    record, bad = _judge(image, answers, least)
    for seed in range(1, ASKED):
        if record.status in ("ok", "failed"):
            break
        for turn in bad:
            answers[turn] = again(turn, seed)
        record, bad = _judge(image, answers, least)
        if record.status != "invalid":  # its reason is a list of faults
            said = f"{record.reason}; " if record.reason else ""
            record = replace(record, reason=f"{said}asked {seed + 1} times")
    return record


def _judge(
    image: str, answers: Sequence[Answer], least: int
) -> tuple[Record, list[int]]:
    """Return a record, and the turns to ask again if it is not usable."""
    variants: list[Variant] = []
    bad: dict[int, Record] = {}
    for turn, answer in enumerate(answers):
        status = answer.status
        reason = answer.reason or "cut off at max_new_tokens"
        if status == "ok":
            try:
                variants += parse(answer.text)
                continue
            except ParseError as e:
                status, reason = "unparsed", str(e)
        bad[turn] = Record(image, (), status, reason, answer.text)
    if bad:
        return max(bad.values(), key=lambda r: r.status == "failed"), list(bad)
    raw = "\n".join(a.text for a in answers)
    return checked(image, variants, raw, least=least), list(range(len(answers)))
