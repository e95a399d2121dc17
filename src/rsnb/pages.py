"""Pages: the notebooks, their parameters, and what each executed copy was made from.

Explained in `book/how_to_run.md`. A page is a pair `notebooks/NN_x.{py,ipynb}` without
outputs. Its executed copy in `build/run/<profile>/` stands as long as every input has
the digest that its manifest states. Parameters are checked before a kernel starts:
papermill only warns about an unknown name, and reads `007` as 7.
"""

import ast
import difflib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rsnb.cards import find, homes
from rsnb.errors import ParameterError, RsnbError
from rsnb.files import fingerprint, read_json, sha256_file, tree_digest
from rsnb.profiles import PROFILES, Profile

__all__ = ["bind", "check_pair", "defaults", "executed", "find_pages", "inputs",
           "parse_settings", "stale", "typed"]  # fmt: skip

PACKAGE = Path(__file__).parent
Scalar = bool | int | float | str
Bound = dict[Path, dict[str, Scalar]]  # parameters of each notebook


def find_pages(root: Path, only: Sequence[str] = ()) -> list[Path]:
    """Return the notebooks to run, in order; `only` holds numbers or names.

    Raises:
        ParameterError: no notebooks, or nothing matches an entry of `only`.
    """
    found = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ParameterError(f"{root} has no notebooks/NN_*.ipynb. Give --root.")
    chosen = []
    for want in only:
        hits = [p for p in found if want in (p.stem, p.stem.split("_")[0])]
        if not hits:
            raise _unknown(f"--only {want}: no page", want, [p.stem for p in found])
        chosen += hits
    return [p for p in found if p in chosen] if only else found


def check_pair(notebook: Path) -> None:
    """Check that a notebook equals its `.py` twin and holds no outputs.

    Raises:
        ParameterError: no twin, a difference, or stored outputs; says what to do.
    """
    import jupytext
    from jupytext.compare import NotebookDifference, compare_notebooks

    twin = notebook.with_suffix(".py")
    if not twin.is_file():
        raise ParameterError(f"{notebook.name} has no {twin.name} beside it.")
    nb, py = jupytext.read(notebook), jupytext.read(twin)
    try:
        compare_notebooks(nb, py, fmt="py:percent")
    except NotebookDifference as e:
        what = f"{notebook.name} and {twin.name} differ. The .py is the source"
        fix = "move your edit there if you made it in the .ipynb, then `make sync`"
        raise ParameterError(f"{what}: {fix}.\n{e}") from e
    for i, cell in enumerate(nb.cells):
        if cell.get("outputs") or cell.get("execution_count"):
            what = f"{notebook.name}: cell {i} holds outputs"
            raise ParameterError(f"{what}. `make sync` removes them.")


def _unknown(what: str, name: str, known: Sequence[str]) -> ParameterError:
    """Return an error that names the nearest of those known, and all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ParameterError(f"{what}.{hint} Known: {', '.join(known) or 'none'}.")


def defaults(notebook: Path) -> dict[str, Scalar]:
    """Return the parameters of a notebook, name → default.

    Raises:
        ParameterError: no cell tagged `parameters`, a default that is no flat scalar,
            or no parameter `profile`.
    """
    import papermill

    out: dict[str, Scalar] = {}
    for name, p in papermill.inspect_notebook(str(notebook)).items():
        value = None
        with suppress(SyntaxError, ValueError):
            value = ast.literal_eval(p["default"])
        if not isinstance(value, bool | int | float | str):
            what = f"{notebook.name}: parameter {name} = {p['default']}"
            raise ParameterError(f"{what} is no int, float, bool or str.")
        out[name] = value
    if not isinstance(out.get("profile"), str):
        need = "one cell tagged `parameters` that sets `profile`"
        raise ParameterError(f"{notebook.name} needs {need}.")
    return out


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Return `name=value` strings as a dict.

    Raises:
        ParameterError: no `=`, no name, a repeated name, or `profile`.
    """
    out: dict[str, str] = {}
    for pair in pairs:
        name, eq, value = pair.partition("=")
        bad = not eq or not name.isidentifier()
        fault = "write name=value" if bad else "given twice" if name in out else ""
        if fault or name == "profile":
            raise ParameterError(f"--set {pair}: {fault or 'use --profile'}.")
        out[name] = value
    return out


def typed(name: str, text: str, default: Scalar) -> Scalar:
    """Return `text` in the type of `default`.

    Numbers are decimal and finite, without leading zeros; booleans `true` or `false`.

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


def bind(notebooks: Sequence[Path], profile: str, settings: Mapping[str, str]) -> Bound:
    """Return, for each notebook, the parameters that differ from its defaults.

    Raises:
        ParameterError: a setting that no notebook knows, or of the wrong type.
    """
    known = {nb: defaults(nb) for nb in notebooks}
    names = sorted({n for d in known.values() for n in d} - {"profile"})
    for name in settings:
        if name not in names:
            raise _unknown(f"--set {name}: no such parameter", name, names)
    out = {}
    for nb, has in known.items():
        want: dict[str, Scalar] = {"profile": profile}
        want |= {n: typed(n, v, has[n]) for n, v in settings.items() if n in has}
        out[nb] = {n: v for n, v in want.items() if v != has[n]}
    return out


def _data(which: Profile) -> str:
    """Return a digest of the data files: text by content, the rest by size and time."""
    if which.name == "world":
        return "embedded"
    if which.data in PROFILES:  # a page may look at the other named sets, too
        find(which.data)  # says what belongs where, if it is not here
        tops = [home for name in PROFILES for home in homes(name)]
    else:
        tops = [Path(which.data)]
    facts: list[tuple[str, Any]] = []
    for p in sorted(p for t in tops for p in ([t] if t.is_file() else t.rglob("*"))):
        if p.is_file():
            text, stat = p.suffix in {".csv", ".json", ".jsonl", ".txt"}, p.stat()
            mark = sha256_file(p) if text else (stat.st_size, stat.st_mtime)
            facts.append((str(p), mark))
    return fingerprint(facts)


def inputs(root: Path, which: Profile, changed: Bound) -> dict[Path, dict[str, Any]]:
    """Return, for each notebook, digests of all that its run depends on."""
    lock = root / "requirements.lock"
    shared = {
        "code": tree_digest(PACKAGE, "weights"),
        "weights": tree_digest(PACKAGE / "weights"),
        "receipts": tree_digest(root / "book" / "results"),
        "lock": sha256_file(lock) if lock.is_file() else "none",
        "python": "{}.{}".format(*sys.version_info), "data": _data(which),
    }  # fmt: skip
    code = {nb: sha256_file(nb.with_suffix(".py")) for nb in changed}
    own = {nb: {"source": code[nb], "parameters": changed[nb]} for nb in changed}
    return {nb: {**shared, **facts} for nb, facts in own.items()}


def executed(root: Path, which: Profile, notebook: Path) -> Path:
    """Return where the executed copy of a notebook lies."""
    return root / "build" / "run" / which.name / notebook.name


def stale(done: Path, now: Mapping[str, Any]) -> str:
    """Return why an executed page no longer stands, or `""` if it does."""
    manifest = done.with_suffix(".json")
    if not done.is_file() or not manifest.is_file():
        return "never run"
    try:
        facts = read_json(manifest)
        was, output = facts["inputs"], facts["output"]
    except (RsnbError, KeyError):
        return "manifest unreadable"
    changed = [k for k in now if was.get(k) != now[k]]
    if sha256_file(done) != output:
        changed.append("the executed copy itself")
    return f"changed: {', '.join(changed)}" if changed else ""
