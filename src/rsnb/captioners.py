"""Captioners behind one call: images and a prompt go in, one record an image comes out.

Explained in notebook 04. A captioner is a transformers model (`rsnb.vlm`), a server
(`rsnb.endpoint`), a file of captions made elsewhere, or an object of your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from PIL.Image import Image
from tqdm.auto import tqdm

from rsnb.captionfile import CaptionFile, read
from rsnb.endpoint import EndpointCaptioner
from rsnb.errors import DataError, ParameterError
from rsnb.files import sha256_file
from rsnb.pairs import Pairs
from rsnb.prompts import PROMPTS, Prompt, apart
from rsnb.records import Record, Run, align
from rsnb.vlm import TransformersCaptioner

__all__ = [
    "GIVE_UP", "PROMPTS", "Captioner", "EndpointCaptioner", "FileCaptioner", "Prompt",
    "TransformersCaptioner", "describe", "run_of",
]  # fmt: skip

GIVE_UP = 10  # failures in a row after which the captioner is at fault, not the images


class Captioner(Protocol):
    """What `describe` needs; the attributes go into the `Run` of its records."""

    model: str
    revision: str
    decoding: dict[str, Any]

    def describe(
        self, images: Sequence[Image], prompt: Prompt, ids: Sequence[str]
    ) -> list[Record]:
        """Return one record for each image, in order, usable or not."""
        ...


class FileCaptioner:
    """Captions made elsewhere, looked up by id; pixels and prompt are not used.

    Args:
        path: our JSONL or the public layout, see `rsnb.captionfile.read`.
        fill: also take plain rows `{"image": id, "caption": text}`, such as GeoChat's:
            a caption stands for all fields of a variant, and one variant is enough.

    Raises:
        DataError: the file is in no such layout.
    """

    def __init__(self, path: str | Path, *, fill: bool = False) -> None:
        """Read the file."""
        run, records = read(path, fill=fill)
        self.model = run.model if run else Path(path).stem
        self.revision = sha256_file(path)
        self.decoding = {**(run.decoding if run else {}), "fill": fill}
        note = "read with fill=True" if fill else ""
        self._of = {r.image: replace(r, reason=r.reason or note) for r in records}

    def describe(
        self, images: Sequence[Any], prompt: Prompt, ids: Sequence[str]
    ) -> list[Record]:
        """Return one record for each id; `failed` where the file has none."""
        return [self._of.get(i, Record(i, (), "failed", "no record")) for i in ids]


def run_of(captioner: Captioner, prompt: Prompt) -> Run:
    """Return what a captioner's records are filed under."""
    decoding = {**captioner.decoding, "max_new_tokens": prompt.max_new_tokens}
    versions, who = getattr(captioner, "versions", {}), captioner
    return Run(who.model, who.revision, prompt.digest, decoding, versions)


def describe(
    pairs: Pairs, captioner: Captioner, prompt: Prompt, path: str | Path,
    *, batch: int = 32,
) -> list[Record]:  # fmt: skip
    """Caption a data set into a file that can be resumed; return a record an image.

    Records are appended and synced one by one after their batch is done, so a kill
    loses the batch in flight: with `batch=1` the image in flight. Run it again to go
    on. An image that cannot be read, or at which the captioner raises, is a `failed`
    record. After 10 of the latter in a row it stops and leaves these 10 to be redone.

    Args:
        pairs: the images.
        captioner: any `Captioner`.
        prompt: what to ask, such as `PROMPTS["rsrt"]`.
        path: of the `CaptionFile`.
        batch: images handed over at once.

    Raises:
        DataError: the file holds another run, or 10 failures in a row.
    """
    run, blind = run_of(captioner, prompt), isinstance(captioner, FileCaptioner)

    def caption(some: Sequence[tuple[str, Any]]) -> list[Record]:
        names = [name for name, _ in some]
        records = captioner.describe([image for _, image in some], prompt, names)
        if [r.image for r in records] != names:
            raise ParameterError(
                f"{captioner.model}: describe() must return one record an id, in order."
            )
        return records

    with CaptionFile(path, run) as file:
        todo = [i for i, name in enumerate(pairs.ids) if name not in file.done]
        held: list[Record] = []
        for k in tqdm(range(0, len(todo), batch), "caption", leave=False, delay=2):
            some = []
            for i in todo[k : k + batch]:
                try:
                    some.append((pairs.ids[i], None if blind else pairs.image(i)))
                except Exception as e:  # readers of one's own raise what they like
                    file.append(Record(pairs.ids[i], (), "failed", f"no image: {e}"))
            for record in apart(some, caption, _failed):
                held.append(record)
                stuck = record.status == "failed" and not blind
                if stuck and len(held) == GIVE_UP:
                    raise DataError(
                        f"{captioner.model} failed at {GIVE_UP} images in a row, at "
                        f"last: {record.reason}. They were not written to {path}; "
                        "mend the cause and run it again."
                    )
                while held and not stuck:
                    file.append(held.pop(0))
        for record in held:
            file.append(record)
        return align(file.records(), pairs.ids, extra=True)


def _failed(item: tuple[str, Any], why: str) -> Record:
    return Record(item[0], (), "failed", why)
