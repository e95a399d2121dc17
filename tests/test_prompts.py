"""What becomes of answers: parsed, asked again, counted; one bad item stands alone."""

from __future__ import annotations

import json

import pytest

from rsnb.errors import BackboneError, ParameterError
from rsnb.parsing import ParseError, parse
from rsnb.prompts import PROMPTS, Answer, Prompt, apart, settle


def variant(k: int) -> dict[str, str]:
    words = "one two three four five".split()[k % 5]
    return {
        "one_sentence": f"There are {words} planes at the airport.",
        "feature": f"{words} white planes stand in the north of the field",
        "caption": f"An airport with {words} planes that stand near the terminal.",
    }


def five() -> str:
    return json.dumps({"variants": [variant(k) for k in range(5)]})


class Again:
    """Gives the answers of a list in turn, and remembers what it was asked."""

    def __init__(self, *texts: str | Answer) -> None:
        self.texts, self.asked = list(texts), []

    def __call__(self, turn: int, seed: int) -> Answer:
        self.asked.append((turn, seed))
        got = self.texts.pop(0)
        return got if isinstance(got, Answer) else Answer(got)


def test_a_usable_answer_is_not_asked_again():
    again = Again()
    record = settle("a", [Answer(five())], again)
    assert record.usable and len(record.variants) == 5 and not record.reason
    assert record.image == "a" and not record.raw and not again.asked


@pytest.mark.parametrize("text", ["", "  \n", "no JSON", '{"variants": [', five()[:-9]])
def test_an_unusable_answer_is_asked_again_twice_and_counted(text):
    again = Again("nor this", text)
    record = settle("a", [Answer(text)], again)
    assert (record.status, record.variants, record.raw) == ("unparsed", (), text)
    assert again.asked == [(0, 1), (0, 2)]
    assert record.reason.endswith("asked 3 times")


def test_what_is_mended_by_asking_again_is_usable_and_counted():
    again = Again(five())
    record = settle("a", [Answer("oh")], again)
    assert record.usable and record.reason == "asked 2 times"
    assert again.asked == [(0, 1)]


def test_a_truncated_answer_is_not_used_even_if_it_parses():
    cut = Answer(five(), "truncated")
    record = settle("a", [cut], Again(cut, cut))
    assert (record.status, record.raw) == ("truncated", five())
    assert "max_new_tokens" in record.reason


def test_only_the_turn_that_was_unusable_is_asked_again():
    answers = [Answer(json.dumps(variant(k))) for k in range(5)]
    answers[3] = Answer("hm")
    again = Again("hm", json.dumps(variant(3)))
    record = settle("a", answers, again)
    assert again.asked == [(3, 1), (3, 2)]
    assert [v.one_sentence for v in record.variants] == [
        variant(k)["one_sentence"] for k in range(5)
    ]


def test_variants_that_repeat_make_all_turns_be_asked_again():
    same = json.dumps(variant(0))
    again = Again(*[same] * 5, *[json.dumps(variant(k)) for k in range(5)])
    record = settle("a", [Answer(same)] * 5, again)
    assert again.asked == [(t, s) for s in (1, 2) for t in range(5)]
    assert record.usable
    record = settle("a", [Answer(same)] * 5, Again(*[same] * 10))
    assert (record.status, record.reason) == ("invalid", "repeated variant")
    assert record.raw.count("planes") == 15


def test_a_failure_is_final():
    lost = Answer("", "failed", "OSError: gone")
    again = Again(lost)
    record = settle("a", [Answer("hm"), lost], again)
    assert (record.status, record.reason) == ("failed", "OSError: gone")
    assert not again.asked
    record = settle("a", [Answer("hm")], again)
    assert record.status == "failed" and again.asked == [(0, 1)]


def test_a_bad_item_stands_alone():
    calls = []

    def call(some):
        calls.append(len(some))
        if {3, 6} & set(some):
            raise ValueError(f"bad in {some}")
        return [x * 10 for x in some]

    got = apart(list(range(8)), call, lambda x, why: (x, why))
    assert got[:3] + got[4:6] + got[7:] == [0, 10, 20, 40, 50, 70]
    assert got[3] == (3, "ValueError: bad in [3]") and got[6][0] == 6
    assert max(calls) == 8 and len(calls) < 16
    assert apart([], call, lambda x, why: x) == []


def test_a_batch_that_is_too_large_shrinks():
    def call(some):
        if len(some) > 3:
            raise MemoryError
        return list(some)

    assert apart(list(range(10)), call, lambda x, why: why) == list(range(10))


@pytest.mark.parametrize("error", [BackboneError, ParameterError])
def test_what_would_hit_every_item_is_raised(error):
    def call(some):
        raise error("no")

    with pytest.raises(error):
        apart([1, 2], call, lambda x, why: x)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_that_is_repeated_is_no_answer(name):
    for turn in PROMPTS[name].turns:
        with pytest.raises(ParseError):
            parse(turn)


def test_a_prompt_is_known_by_its_texts():
    digests = {p.digest for p in PROMPTS.values()} | {Prompt(("a", "b")).digest}
    assert len(digests | {Prompt(("ab",)).digest}) == len(PROMPTS) + 2
    assert Prompt(("a",), 5).digest == Prompt(("a",), 6).digest


def test_a_prompt_may_ask_for_one_variant():
    text = '{"one_sentence": "a pond", "feature": "water", "caption": "a pond here"}'
    never = [Answer(text)]
    record = settle("i", never, lambda turn, seed: Answer(text), 1)
    assert record.usable
    assert len(record.variants) == 1
    assert settle("i", never, lambda turn, seed: Answer(text)).status == "invalid"
    assert PROMPTS["once"].variants == 1
