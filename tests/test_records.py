"""Records hold clean texts or none at all, and say why."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsnb import world
from rsnb.errors import DataError, ParameterError
from rsnb.records import (
    FIELDS,
    RAW_LIMIT,
    Record,
    Run,
    Variant,
    align,
    checked,
    clean_text,
    distinct,
    faults,
    quality,
)

KINDS = ("first", "second", "third", "fourth", "fifth")
FOREIGN = {
    "German": "Ein Flughafen mit vier weißen Flugzeugen in einer Reihe, und im Norden "
    "steht ein großes Gebäude an der Straße neben vielen Bäumen und einem Parkplatz.",
    "French": "Un aéroport avec quatre avions blancs alignés. Un grand bâtiment se "
    "trouve en haut à gauche, et la piste va du nord au sud à côté de la route.",
    "Spanish": "Un aeropuerto con cuatro aviones blancos en fila. Hay un edificio "
    "grande en la parte superior izquierda, y la pista va de norte a sur.",
    "Chinese": "机场停着四架白色飞机。左上角有一座大楼，跑道由北向南。",
    "Russian": "Аэропорт с четырьмя белыми самолётами.",
}


def variant(k=0, scene="planes"):
    return Variant(
        f"the {KINDS[k]} view of {scene}",
        f"the {scene} stand in a row near the {KINDS[k]} road",
        f"there are many {scene} and some trees at the {KINDS[k]} edge of the image",
    )


def five(scene="planes"):
    return [variant(k, scene) for k in range(5)]


def test_texts_are_the_named_fields_of_the_first_variants():
    record = checked("a", five())
    assert record.usable
    assert record.texts(("caption",), 2) == tuple(v.caption for v in five()[:2])
    both = record.texts(("feature", "one_sentence"))
    assert both[4] == f"{variant(4).feature} {variant(4).one_sentence}"
    assert len(record.texts()) == 5
    assert Record("a", (), "failed").texts() == ()


@pytest.mark.parametrize(
    ("fields", "variants"), [((), 5), (("caption", "title"), 5), (FIELDS, 0)]
)
def test_texts_refuse_what_a_record_lacks(fields, variants):
    with pytest.raises(ParameterError, match="name some of"):
        checked("a", five()).texts(fields, variants)


@pytest.mark.parametrize(
    ("variants", "status"),
    [((), "ok"), ((variant(),), "failed"), ((), "broken"), ((variant(),), "")],
)
def test_a_record_without_its_texts_is_not_ok(variants, status):
    with pytest.raises(ParameterError, match="Only `ok`"):
        Record("a", variants, status)


def test_what_a_model_said_is_cut_and_reasons_are_clean():
    record = Record("a", (), "unparsed", "no\nend \u202e" + "x" * 900, "y" * 99_999)
    assert record.reason.startswith("no end x")
    assert len(record.reason) == 500
    assert len(record.raw) == RAW_LIMIT


HOSTILE = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "{{ config }} ${x} %s": "{{ config }} ${x} %s",
    "abc\u202egnp.exe\u202c": "abcgnp.exe",
    "pl\u200ban\u2060e\ufeffs": "planes",
    "nul\x00 esc\x1b[31m bell\x07": "nul esc[31m bell",
    "line\r\n\u2028tab\tend ": "line tab end",
    "tag\U000e0041\U000e007f": "tag",
    "half\ud83d pair": "half pair",
    "e\u0301tang": "étang",
    "e\u200b\u0301tang": "étang",
    " \u00a0 \n": "",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_clean_text(text):
    assert clean_text(text) == HOSTILE[text]


@settings(deadline=None)
@given(st.text(st.characters()))
def test_clean_text_is_clean_and_stays_so(text):
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert clean == unicodedata.normalize("NFC", clean)
    assert not {unicodedata.category(c) for c in clean} & {"Cc", "Cf", "Cs"}


def changed(k, **fields):
    out = five()
    out[k] = replace(out[k], **fields)
    return out


@pytest.mark.parametrize(
    ("variants", "found"),
    [
        ([], ["too few variants", "empty text"][:1]),
        (five()[:4], ["too few variants"]),
        (changed(2, feature=""), ["empty text"]),
        (changed(0, caption=" \t"), ["empty text"]),
        (changed(4, one_sentence="x"), ["text of one character"]),
        (changed(1, caption="the sea " * 251), ["text too long"]),
        (changed(1, caption="the sea " * 249), []),
        ([*five()[:4], variant(0)], ["repeated variant"]),
        (
            [
                *five()[:4],
                Variant(
                    *(
                        f" {getattr(variant(1), f).upper()} ".replace(" ", "\n  ")
                        for f in FIELDS
                    )
                ),
            ],
            ["repeated variant"],
        ),
        (five()[:3] + five()[:1], ["too few variants", "repeated variant"]),
        (changed(3, caption=variant(2).caption), []),
        ([*five(), Variant("", "", "")], []),
    ],
)
def test_faults(variants, found):
    record = checked("a", variants, "said")
    assert faults(record) == found
    if found:
        assert record == Record("a", (), "invalid", "; ".join(found), "said")
    else:
        assert record == Record("a", tuple(variants[:5]))


def test_fewer_variants_may_do():
    assert checked("a", five()[:1], least=1).usable
    assert not checked("a", [], least=0).usable
    assert faults(Record("a", (variant(),))) == ["too few variants"]
    assert faults(Record("a", (variant(),)), least=1) == []


def test_faults_outlive_what_a_captioner_adds_to_the_reason():
    record = checked("a", five()[:2])
    assert faults(replace(record, reason=f"{record.reason}; asked 3 times")) == [
        "too few variants"
    ]
    assert faults(Record("a", (), "unparsed", "no JSON object or list in it")) == []


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_are_refused(language):
    text = FOREIGN[language]
    variants = [Variant(f"{k}. {text}", text, text) for k in range(5)]
    assert checked("a", variants).reason == "not English"


@pytest.mark.parametrize(
    "captions",
    [
        # terse, and in the manner of the published sets
        ["a thick pine wood .", "Pale sand dark water.", "many houses", "dunes"],
        ["Foam along a bright sandy shore .", "Surf rolls onto the pale sands ."],
        ["a tiny car yard parked vans .", "every sort of van ."],
        ["a bare car yard is beside four car yards ."],
        ["Café façades and a naïve piñata near the São Paulo road with trees."],
    ],
)
def test_plain_captions_pass_for_english(captions):
    assert checked("a", [Variant(c, c, c) for c in captions], least=1).usable


def test_the_captions_of_the_world_pass_for_english():
    val = world.load("val")
    for i in range(0, len(val), 3):
        texts = dict.fromkeys(val.captions_of(i))
        record = checked(val.ids[i], [Variant(t, t, t) for t in texts], least=1)
        assert record.usable, (record.reason, *texts)


def test_distinct_keeps_the_first():
    a, b = variant(0), variant(1)
    shout = Variant(*(getattr(a, f).upper() for f in FIELDS))
    assert distinct([a, b, shout, b]) == [a, b]


def test_quality_counts_every_record():
    records = [
        checked("a", five()),
        checked("b", five()),
        checked("c", five()[:2]),
        Record("d", (), "failed", "no record"),
        Record("e", (), "unparsed", "nested too deep"),
    ]
    found = quality(iter(records))
    assert (found["records"], found["usable"]) == (5, 2)
    assert found["status"] == {"ok": 2, "invalid": 1, "failed": 1, "unparsed": 1}
    assert found["faults"] == {"too few variants": 1}
    assert found["words"]["one_sentence"] == {"p5": 5.0, "median": 5.0, "p95": 5.0}
    assert list(found["words"]) == list(FIELDS)
    assert found["distinct"] == 0.5
    assert quality([])["words"] == {}
    assert quality([])["distinct"] == 0


def test_align_gives_every_id_a_record():
    a, b = checked("x/a.png", five()), checked("x/b.png", five())
    ids = ["x/b.png", "a.png", "x/a.png"]
    missing = Record("a.png", (), "failed", "no record")  # the base name is no match
    assert align([a, b], ids) == [b, missing, a]
    assert align(iter([a, b]), ids[:1], extra=True) == [b]
    assert align([], ids[:1])[0].status == "failed"


@pytest.mark.parametrize(
    ("images", "ids", "says"),
    [
        ("aa", "a", "two records"),
        ("a", "aa", "asked for twice"),
        ("ab", "ac", "1 of 2 records .* such as .'b'.*ids are like .'a', 'c'"),
    ],
)
def test_align_refuses_what_does_not_fit(images, ids, says):
    with pytest.raises(DataError, match=says):
        align([checked(i, five()) for i in images], list(ids))


def test_a_run_is_known_by_all_that_it_says():
    run = Run("m", "r", "p", {"do_sample": False, "size": (1, 2)}, {"torch": "2"})
    assert (
        run.digest == replace(run, decoding=dict(reversed(run.decoding.items()))).digest
    )
    others = [
        replace(run, model="n"),
        replace(run, revision="s"),
        replace(run, prompt="q"),
        replace(run, decoding={"do_sample": True}),
        replace(run, versions={"torch": "3"}),
    ]
    assert len({run.digest, *(o.digest for o in others)}) == 6
