"""Read variants from a model's answer or from published JSON, never repairing it.

Explained in notebook 04. An answer is an untrusted string: NaN, keys that occur twice,
deep nesting and more than 64 kB are refused, and where two answers could be meant none
is taken.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rsnb.errors import DataError, RsnbError
from rsnb.records import RAW_LIMIT, Record, Variant, checked, clean_text, distinct

__all__ = ["ParseError", "from_public", "parse", "strict_loads", "variants_of"]

# Field → its key in earlier files.
_KEYS = {"one_sentence": "one_sentence_caption", "feature": "feature_analysis",
         "caption": "caption"}  # fmt: skip
_MARK = re.compile(r'\\.|["{}\[\]]|</?think>', re.DOTALL)


class ParseError(RsnbError):
    """A model's answer holds no variants; the message is the reason.

    Attributes:
        raw: the answer, at most `RAW_LIMIT` characters of it.
    """

    def __init__(self, reason: str, raw: str) -> None:
        super().__init__(reason)
        self.raw = raw[:RAW_LIMIT]


def parse(raw: str) -> list[Variant]:
    """Return the variants in a model's answer.

    Tried in order: the whole answer as JSON, the content of one code fence around it,
    and the one stretch in balanced braces, after any thinking, that has the shape of
    `variants_of`.

    >>> parse('Here: {"one_sentence": "a", "feature": "b", "caption": "c"}')
    [Variant(one_sentence='a', feature='b', caption='c')]

    Raises:
        ParseError: with the reason, and the answer in `raw`.
    """
    try:
        return _answer(raw.strip("\ufeff \t\r\n"))
    except DataError as e:
        raise ParseError(str(e), raw) from e


def _answer(text: str) -> list[Variant]:
    if not text or len(text) > RAW_LIMIT:
        raise DataError(f"over {RAW_LIMIT:,} characters" if text else "empty answer")
    head, _, rest = text.partition("\n")
    fenced = head.startswith("```") and rest.endswith("```")
    try:
        whole = strict_loads(rest[:-3] if fenced else text)
    except ValueError:
        pass
    else:
        return variants_of(whole)
    found, why = [], "no JSON object or list in it"
    for block in _blocks(text):
        try:
            found.append(variants_of(strict_loads(block)))
        except (DataError, ValueError) as e:
            why = str(e)
    if len(found) != 1:
        raise DataError(f"{len(found)} answers" if found else why)
    return found[0]


def _blocks(text: str) -> list[str]:
    """Return the outermost stretches in balanced braces that follow any thinking."""
    blocks: list[str] = []
    depth = start = 0
    quoted = thinking = False
    for hit in _MARK.finditer(text):
        mark = hit[0]
        if thinking or (not depth and "think" in mark):
            thinking = mark != "</think>"
            blocks.clear()
        elif mark == '"':
            quoted = depth > 0 and not quoted
        elif mark in "{[" and not quoted:
            start, depth = start if depth else hit.start(), depth + 1
        elif mark in "}]" and depth and not quoted:
            depth -= 1
            if not depth:
                blocks.append(text[start : hit.end()])
    if depth or thinking:
        raise DataError("cut off: a brace, string or thought is left open")
    return blocks


def strict_loads(text: str) -> Any:
    """Return parsed JSON; ValueError also for NaN, repeated keys and deep nesting."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def variants_of(obj: object, *, fill: bool = False) -> list[Variant]:
    """Return the variants in parsed JSON, cleaned.

    Args:
        obj: an object with a list `variants`, such a list, or one variant; the keys
            `one_sentence_caption` and `feature_analysis` are understood.
        fill: for captions made elsewhere: a plain string, or the caption of an object
            that lacks other fields, fills these; repeated variants are left out.

    Raises:
        DataError: not of this shape; the message is the reason.
    """
    if isinstance(obj, dict) and "variants" in obj:
        obj = obj["variants"]
    rows = obj if isinstance(obj, list) else [obj]
    if not rows:
        raise DataError("no variants")
    found = [_variant(row, k, fill) for k, row in enumerate(rows, 1)]
    return distinct(found) if fill else found


def _variant(row: object, k: int, fill: bool) -> Variant:
    if fill and isinstance(row, str):
        row = {"caption": row}
    if not isinstance(row, dict):
        raise DataError(f"variant {k} is {type(row).__name__}, not an object")
    texts = {}
    for name, earlier in _KEYS.items():
        text = row.get(name, row.get(earlier, row.get("caption") if fill else None))
        if not isinstance(text, str):
            raise DataError(f"{name} of variant {k} is missing, or is not text")
        texts[name] = clean_text(text)
    return Variant(**texts)


def from_public(obj: object, *, fill: bool = False) -> list[Record]:
    """Return records from the parsed JSON of the public TRSLLaVA layout.

    Args:
        obj: a list of records (`image` or `image_path`, `variants`), one record, or
            image → record; or the flat form, a row a variant, with its fields in
            `text` or beside `image`. Images are ids, compared as they stand; of an
            image that comes again, the first five variants are kept.
        fill: as in `variants_of`; also reads a list `captions`, and one variant is
            enough.

    Raises:
        DataError: an entry without image. One that cannot be used otherwise becomes
            an `invalid` record.
    """
    if isinstance(obj, dict) and not {"image", "image_path"} & obj.keys():
        obj = [{"image": k, "variants": v} for k, v in obj.items()]
    bodies: dict[str, list[Any]] = {}
    for n, row in enumerate(obj if isinstance(obj, list) else [obj], 1):
        entry = row if isinstance(row, dict) else {}
        image = entry.get("image", entry.get("image_path"))
        if not isinstance(image, str) or not image:
            raise DataError(f"entry {n} names no image. Give each one `image`.")
        body = entry.get("variants", entry.get("captions", entry.get("text", entry)))
        body = body.get("variants", body) if isinstance(body, dict) else body
        bodies.setdefault(image, []).extend(body if isinstance(body, list) else [body])
    return [_public(image, body, fill) for image, body in bodies.items()]


def _public(image: str, body: list[Any], fill: bool) -> Record:
    raw = json.dumps(body)
    try:
        found = variants_of(body, fill=fill)
    except DataError as e:
        return Record(image, (), "invalid", str(e), raw)
    return checked(image, found, raw, least=1) if fill else checked(image, found, raw)
