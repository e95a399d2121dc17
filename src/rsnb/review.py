"""What `python -m rsnb audit` runs: the facts of data sets, or their wrong captions.

Explained in notebook 01 and `book/own_data.md`. Wrong captions come as a page to read
and a table to mark, which `rsnb.data.load(..., drop=...)` takes back.
"""

import base64
import html
import io
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from rsnb import backbones
from rsnb.audit import AuditConfig, Mismatches, mismatches
from rsnb.data import load
from rsnb.duplicates import caption_matches, near_duplicates
from rsnb.errors import ParameterError
from rsnb.facts import flat, report
from rsnb.files import write_bytes
from rsnb.recipes import RECIPES, start
from rsnb.report import record

__all__ = ["run", "survey", "write_csv", "write_html"]

FORMULA = ("=", "+", "-", "@", "'")  # how a cell begins that a spreadsheet computes
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .5em; vertical-align: top;
text-align: left; border-top: 1px solid #ccc }} small {{ color: #555 }}
</style></head><body><h1>{title}</h1><p>{summary}</p>
<table><tr><th>Rank</th><th>Image</th><th>Caption</th><th>Score</th></tr>
{rows}</table></body></html>
"""


def write_csv(path: str | Path, found: Mismatches) -> Path:
    """Write one row a caption, the most suspicious first, and return the path.

    The column `drop` is empty, for a reader to mark with y. A text that a spreadsheet
    would take for a formula gets an apostrophe in front, which `load` takes away.
    """
    pairs, order = found.pairs, found.ranking()
    texts = [pairs.captions[t] for t in order]
    table = pd.DataFrame({
        "rank": range(1, len(order) + 1), "drop": "",
        "id": [pairs.ids[i] for i in pairs.gt[order]],
        "caption": [f"'{c}" if c[:1] in FORMULA else c for c in texts],
        "score": found.score[order], "reasons": [*map(found.reasons, order)],
        **{name: share[order] for name, share in found.evidence.items()}, "row": order,
    })  # fmt: skip
    text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    return write_bytes(path, text.encode())


def write_html(path: str | Path, found: Mismatches, *, worst: int = 200) -> Path:
    """Write a page of the `worst` captions beside their images; return the path.

    It needs no script and no other file: all text is escaped, images stand inside.
    """
    pairs, rows = found.pairs, []
    for rank, t in enumerate(found.ranking()[:worst].tolist(), 1):
        i = int(pairs.gt[t])
        label = f" ({pairs.label[i]})" if pairs.label[i] else ""
        image = _thumb(pairs.image(i)) if pairs.has_pixels[i] else "no pixels"
        known, why = html.escape(pairs.ids[i] + label), html.escape(found.reasons(t))
        text = html.escape(pairs.captions[t])
        cells = [f"{rank}", f"{image}<br><small>{known}</small>"]
        cells += [f"{text}<br><small>{why}</small>", f"{found.score[t]:.2f}"]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    summary = (
        f"{len(found.score):,} captions; about {found.rate:.1%} are estimated to be "
        f"wrong for their image. The {len(rows)} most suspicious, the worst first. "
        "Percentages say how many random images would suit the caption better."
    )
    title = html.escape(f"Suspicious captions of {pairs.name}")
    text = _PAGE.format(title=title, summary=summary, rows="\n".join(rows))
    return write_bytes(path, text.encode())


def _thumb(image: Image.Image) -> str:
    small, out = image.copy(), io.BytesIO()
    small.thumbnail((160, 160))
    small.save(out, "JPEG", quality=80)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def run(
    names: Sequence[str], *, split: str = "train", backbone: str = "",
    epochs: int | None = None, folder: Path | None = None, lenient: bool = False,
) -> Mismatches:  # fmt: skip
    """Audit one split, write `mismatch.csv` and `mismatch.html`, print the rate.

    Args:
        names: one name or path, as for `rsnb.data.load`.
        split: the part to audit.
        backbone: where training starts; by default `source-rn-0` for the world, and
            random weights for other sets (24 epochs), which know no caption beforehand.
        epochs: 6 by default, 0 for published checkpoints, which are taken as they are.
        folder: where to write; `mismatch-<name>` here by default.
        lenient: as for `rsnb.data.load`.
    """
    if len(names) != 1:
        raise ParameterError(f"--mismatch takes one data set at a time, got {names}.")
    pairs = load(names[0], lenient=lenient).where(split)
    known = backbone or ("source-rn-0" if pairs.name == "world" else "")
    model, default = None, 0 if known in backbones.REGISTRY else 6
    how = AuditConfig()
    if known:
        model = backbones.load(known)
    elif pairs.has_pixels.any():
        if epochs == 0:
            raise ParameterError("--epochs 0 needs --backbone: nothing is learned.")
        model, default = start(RECIPES["ucm-rn"], pairs.captions), 24
        how = AuditConfig(lr=2e-3, side=128)
    how = AuditConfig(default if epochs is None else epochs, how.lr, how.side)
    found = mismatches(pairs, model, how)
    folder = folder or Path(f"mismatch-{pairs.name}")
    print(f"{pairs}\nestimated share of wrong captions: {found.rate:.1%}")
    print(write_csv(folder / "mismatch.csv", found))
    print(write_html(folder / "mismatch.html", found))
    return found


def survey(
    names: Sequence[str], *, lenient: bool = False, record_as: str | None = None
) -> dict[str, Any]:
    """Print the audit of each set against all the others; return the figures.

    They are caption facts, caption leakage, near-duplicate images inside each set, and
    how many images of one set are matched to another by their captions. `record_as`
    names a receipt in `book/results/`.
    """
    keys = ["-".join(Path(n).parts[-3:-1]) if "/" in n else n for n in names]
    sets = {k: load(n, lenient=lenient) for k, n in zip(keys, names, strict=True)}
    for pairs in sets.values():
        print(report(pairs, [p for p in sets.values() if p is not pairs]), "\n")
    figures: dict[str, Any] = {}
    if all("test" in p.split for p in sets.values()):
        figures |= flat(sets)
    for name, pairs in sets.items():
        figures[f"{name}_quarantined"] = dict(pairs.source.get("problems") or {})
        if pairs.has_pixels.any():
            found = near_duplicates(pairs.with_pixels())
            figures[f"{name}_near_duplicate_images"] = found.as_dict()
            print(f"{name}: {len(found.a)} pairs of near-duplicate images")
    for (a, one), (b, two) in combinations(sets.items(), 2):
        matched = caption_matches(one, two)
        own, other = (dict(zip(p.ids, p.split, strict=True)) for p in (one, two))
        leak = sum(own[i] == "test" != other[j] for i, j in matched.items())
        figures[f"{a}_matched_in_{b}"] = len(matched)
        figures[f"{a}_test_matched_in_{b}_rest"] = leak
        print(f"{a} in {b}: {len(matched)} images by captions, {leak} of them test")
    if record_as:
        flag = " --lenient" if lenient else ""
        command = f"python -m rsnb audit {' '.join(names)}{flag} --record {record_as}"
        if root := os.environ.get("RSNB_DATA"):
            command = command.replace(root, "$RSNB_DATA")
        inputs = {n: p.source.get("sha256") for n, p in sets.items()}
        print(record(record_as, figures, command=command, inputs=inputs))
    return figures
