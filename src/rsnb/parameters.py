"""Parameters of a page: found, typed and checked before a kernel starts.

Explained in `book/how_to_run.md`. papermill only warns about a name that a notebook
does not know, then runs on with the defaults, and reads `007` as 7; here both stop.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rsnb.errors import ParameterError

__all__ = ["Scalar", "bind", "defaults", "nearest", "parse_settings", "typed"]

Scalar = bool | int | float | str


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of a message: the nearest known name, then all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'none'}."


def defaults(notebook: Path) -> dict[str, Scalar]:
    """Return the parameters of a notebook, name → default.

    Raises:
        ParameterError: no cell tagged `parameters`, a default that is no flat scalar,
            or no parameter `profile`.
    """
    import papermill

    out: dict[str, Scalar] = {}
    for name, p in papermill.inspect_notebook(str(notebook)).items():
        try:
            value = ast.literal_eval(p["default"])
        except (SyntaxError, ValueError):
            value = None
        if not isinstance(value, bool | int | float | str):
            raise ParameterError(
                f"{notebook.name}: parameter {name} = {p['default']} is no int, float, "
                "bool or str."
            )
        out[name] = value
    if not isinstance(out.get("profile"), str):
        raise ParameterError(
            f"{notebook.name} needs one cell tagged `parameters` that sets `profile`."
        )
    return out


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Return `name=value` strings as a dict.

    Raises:
        ParameterError: no `=`, an empty name, a repeated name, or `profile`.
    """
    out: dict[str, str] = {}
    for pair in pairs:
        name, eq, value = pair.partition("=")
        if not eq or not name.isidentifier():
            raise ParameterError(f"--set {pair!r}: write name=value.")
        if name in out:
            raise ParameterError(f"--set {name}: given twice.")
        if name == "profile":
            raise ParameterError("--set profile: use --profile.")
        out[name] = value
    return out


def typed(name: str, text: str, default: Scalar) -> Scalar:
    """Return `text` in the type of `default`.

    Numbers are decimal and finite, without leading zeros, so that nothing is guessed:
    `007` is refused rather than read as 7. Booleans are `true` and `false`.

    >>> typed("seed", "7", 0), typed("lr", "1e-3", 0.1), typed("quick", "true", False)
    (7, 0.001, True)

    Raises:
        ParameterError: the text is no such value.
    """
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif isinstance(default, int):
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
            return int(text)
    elif re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?", text):
        if math.isfinite(float(text)):
            return float(text)
    kind = type(default).__name__
    raise ParameterError(f"--set {name}={text}: expected {kind}, such as {default!r}.")


def bind(
    notebooks: Sequence[Path], profile: str, settings: Mapping[str, str]
) -> dict[Path, dict[str, Scalar]]:
    """Return, for each notebook, the parameters that differ from its defaults.

    Raises:
        ParameterError: a setting that no notebook knows, or of the wrong type.
    """
    known = {nb: defaults(nb) for nb in notebooks}
    names = sorted({n for d in known.values() for n in d} - {"profile"})
    for name in settings:
        if name not in names:
            raise ParameterError(
                f"--set {name}: no such parameter." + nearest(name, names)
            )
    out = {}
    for nb, has in known.items():
        want: dict[str, Scalar] = {"profile": profile}
        want |= {n: typed(n, v, has[n]) for n, v in settings.items() if n in has}
        out[nb] = {n: v for n, v in want.items() if v != has[n]}
    return out
