"""Numbers leave a page through here: receipts, glue and escaped tables.

Explained in `book/how_to_run.md`. A receipt in `book/results/` states figures, command,
digests, seeds, hardware and date, and is written by a command. A page writes its own
figures to `build/results/`, without time or machine: equal runs give equal bytes.
"""

import contextlib
import datetime
import html
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rsnb.errors import ParameterError
from rsnb.files import read_json, tree_digest, write_json

__all__ = ["glue", "page", "receipt", "record", "root", "seed_table",
           "shelf", "table"]  # fmt: skip

_PACKAGES = ("numpy", "torch", "open_clip_torch", "faiss-cpu", "pillow")


def root() -> Path:
    """Return the working tree around this package, or else the current folder."""
    tree = Path(__file__).resolve().parents[2]
    return tree if (tree / "notebooks").is_dir() else Path.cwd()


def shelf() -> Path:
    """Return the folder of receipts: the tree's, or that of an installed package."""
    packed = Path(__file__).parent / "results"
    return packed if packed.is_dir() else root() / "book" / "results"


def _plain(value: Any) -> Any:
    """Return JSON values for NumPy scalars, arrays and tuples, at any depth."""
    return json.loads(json.dumps(value, default=lambda v: v.tolist()))


def _hardware() -> str:
    name, info = platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text("utf-8", "replace"))
        name = found.group(1) if found else name
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        name += f", {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} x {name}"


def record(
    name: str, figures: Mapping[str, Any], *, command: str,
    inputs: Mapping[str, Any] | None = None, seeds: Sequence[int] = (),
) -> Path:  # fmt: skip
    """Write a receipt to `book/results/<name>.json` and return its path.

    Args:
        name: file stem.
        figures: JSON-able; NumPy scalars and arrays are turned into numbers.
        command: what makes it again.
        inputs: digests of data and weights.
        seeds: all that were used.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = {}
    for package in _PACKAGES:  # a GPU benchmark runs where few of them are
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    versions["python"] = platform.python_version()
    made = {"date": today, "hardware": _hardware(), "versions": versions}
    code = tree_digest(Path(__file__).parent, "weights")
    facts = {
        "name": name, "command": command, "figures": _plain(figures),
        "inputs": {**_plain(inputs or {}), "code": code}, "seeds": list(seeds),
        "made": made,
    }  # fmt: skip
    return write_json(root() / "book" / "results" / f"{name}.json", facts)


def receipt(name: str) -> dict[str, Any]:
    """Return the receipt `book/results/<name>.json`.

    Raises:
        ParameterError: there is none; lists those that exist.
    """
    folder = shelf()
    path = folder / f"{name}.json"
    if not path.is_file():
        found = (p.relative_to(folder) for p in folder.rglob("*.json"))
        have = ", ".join(sorted(p.with_suffix("").as_posix() for p in found)) or "none"
        raise ParameterError(f"no receipt {name!r} in {folder}; there are: {have}.")
    return dict(read_json(path))


def seed_table(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for each seed of the named receipts, in percent.

    A receipt that this copy of the book lacks gives one row that says so.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            runs = receipt(name)["figures"]["runs"]
        except ParameterError:
            rows.append({"backbone": name, "seed": "no receipt in this copy"})
            continue
        for run in runs:
            low, high = run["mR_interval"]
            rows.append({
                "backbone": name.removeprefix("backbone-"), "seed": run["seed"],
                "mR": run["mR"], "95 %": f"{low:.1f}–{high:.1f}",
                **{f"{way} {k}": f"{run[f'{way}_r{k}']:.1f}"
                   for way in ("i2t", "t2i") for k in (1, 5, 10)},
                "min": round(run["train_seconds"] / 60),
            })  # fmt: skip
    return rows or [{"backbone": "none of this profile's own", "seed": "-"}]


def page(folder: str, name: str, numbers: Mapping[str, Any], **more: Any) -> None:
    """Glue a page's numbers, and write them to `build/results/<folder>/<name>.json`.

    `folder` is the profile's name; `more` are JSON-able figures for the file alone. A
    number that is NaN was not measured for this profile: the file leaves it out.
    """
    path = root() / "build" / "results" / folder / f"{name}.json"
    measured = {k: v for k, v in numbers.items() if v == v}
    write_json(path, _plain({**measured, **more}))
    glue(**numbers)


def glue(**values: Any) -> None:
    """Keep numbers (as float or int) or text under their names, for the prose to show.

    Does nothing where myst-nb is not installed, as on Colab.
    """
    try:
        from myst_nb import glue as put
    except ImportError:
        return
    for name, value in values.items():
        plain = _plain(value)
        if isinstance(plain, bool) or not isinstance(plain, int | float | str):
            kind = type(plain).__name__
            raise ParameterError(f"glue {name}: {kind} is neither a number nor text.")
        put(name, plain, display=False)


def table(data: Any, caption: str = "", *, digits: int = 2, index: bool = True) -> Any:
    """Return a table as HTML, with every text escaped and floats rounded.

    `data` maps rows to (column → value), or is a list of such rows or a `DataFrame`.
    """
    import pandas as pd
    from IPython.display import HTML

    by_row = isinstance(data, Mapping)
    frame = pd.DataFrame.from_dict(data, "index") if by_row else pd.DataFrame(data)
    body = frame.to_html(
        index=index, escape=True, border=0, na_rep="–", justify="left",
        float_format=lambda v: f"{round(v, digits) + 0.0:,.{digits}f}",  # no "-0.00"
    )  # fmt: skip
    if caption:
        body = body.replace(">", f"><caption>{html.escape(caption)}</caption>", 1)
    # a focus, so that the keyboard can scroll a wide one
    return HTML(f'<div style="overflow-x:auto" tabindex="0">{body}</div>')
