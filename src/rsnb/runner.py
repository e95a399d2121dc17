"""Run the notebooks through papermill.

Explained in `book/how_to_run.md`. Kernels start in the repository root with this
interpreter. On profile `world` they do not see `RSNB_DATA`, so that the published pages
depend on the repository alone.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsnb.errors import OUT_OF_MEMORY, ParameterError, ResourceError, RsnbError
from rsnb.files import sha256_file, write_bytes, write_json
from rsnb.pages import bind, check_pair, executed, find_pages, inputs, stale
from rsnb.profiles import Profile

__all__ = ["CellError", "run"]

NO_BARS = ("TQDM_DISABLE", "SPYDER_NO_BARS")


class CellError(RsnbError):
    """A cell of a page raised."""

    exit_code = 1


@contextmanager
def _kernel_environment(which: Profile) -> Iterator[None]:
    # The kernel inherits our environment: there is no other way in through papermill.
    # This interpreter's kernel, no bars (a kernel's tqdm heeds TQDM_DISABLE only where
    # it takes itself for a console, as under Spyder), no warning at the start.
    before = dict(os.environ)
    switches = ["JUPYTER_PREFER_ENV_PATH", "PYDEVD_DISABLE_FILE_VALIDATION", *NO_BARS]
    os.environ.update(dict.fromkeys(switches, "1"))
    if which.name == "world":
        os.environ.pop("RSNB_DATA", None)
        os.environ["RSNB_STATIC"] = "1"  # explorers that need no kernel, for the book
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _execute(
    root: Path, nb: Path, which: Profile, args: dict[str, Any], timeout: int
) -> bytes:
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    failed = root / "build" / "failed" / which.name / nb.name
    failed.unlink(missing_ok=True)
    failed.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _kernel_environment(which):
            # `failed` is kept if the run fails, as what to look at
            out = papermill.execute_notebook(
                str(nb), str(failed), args, kernel_name="python3", cwd=str(root),
                start_timeout=120, execution_timeout=timeout,
            )  # fmt: skip
    except PapermillExecutionError as e:
        kind = ResourceError if e.ename in OUT_OF_MEMORY else CellError
        what = f"{nb.stem}: cell {e.cell_index} raised {e.ename}: {e.evalue}"
        raise kind(f"{what}\nThe whole run is in {failed}.") from e
    except CellTimeoutError as e:
        what = f"{nb.stem}: a cell ran longer than {timeout} s"
        raise ResourceError(f"{what}. Give --timeout.") from e
    except DeadKernelError as e:
        what = f"{nb.stem}: the kernel died; most often memory ran out"
        raise ResourceError(f"{what}. Choose a smaller profile or batch.") from e
    except RuntimeError as e:
        if "Kernel didn't respond" not in str(e):
            raise
        raise ResourceError(f"{nb.stem}: no kernel within 120 s.") from e
    out.metadata.pop("papermill", None)
    for i, cell in enumerate(out.cells):
        ran = cell.cell_type != "code" or not cell.source or cell.execution_count
        if not ran:  # papermill takes an early SystemExit(0) for a whole run
            raise CellError(f"{nb.stem}: the page ended before cell {i}.")
        cell.id = f"cell-{i}"  # times and random ids differ between equal runs
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    failed.unlink(missing_ok=True)
    return (nbformat.writes(out, version=4) + "\n").encode()


def run(
    root: Path, which: Profile, only: Sequence[str] = (),
    settings: Mapping[str, str] | None = None, *, timeout: int = 0, force: bool = False,
) -> list[str]:  # fmt: skip
    """Run the pages whose inputs changed; return the names of those run.

    Pairs, parameters and data are checked for every page before the first kernel.

    `settings` are parameters as text, `timeout` the seconds for one cell (0: 900 on
    world, 7,200 elsewhere); `force` runs also what still stands.

    Raises:
        ParameterError: a pair out of step, an unknown or mistyped parameter.
        CellError: a cell raised; what it printed is kept in `build/failed/`.
        ResourceError: dead kernel, timeout, or memory ran out.
    """
    if timeout < 0:
        raise ParameterError(f"--timeout {timeout}: give seconds, above 0.")
    timeout = timeout or (900 if which.name == "world" else 7200)
    notebooks = find_pages(root, only)
    for nb in notebooks:
        check_pair(nb)
    args = bind(notebooks, which.data, settings or {})
    now = inputs(root, which, args)
    ran = []
    for i, nb in enumerate(notebooks, 1):
        done = executed(root, which, nb)
        why = stale(done, now[nb])
        head = f"[{i}/{len(notebooks)}] {nb.stem} ({which.data})"
        if not why and not force:
            print(f"{head}: up to date")
            continue
        print(f"{head}: {why or 'forced'}", flush=True)
        start = time.monotonic()
        write_bytes(done, _execute(root, nb, which, args[nb], timeout))
        spent = round(time.monotonic() - start, 1)
        facts = {"inputs": now[nb], "output": sha256_file(done), "seconds": spent}
        write_json(done.with_suffix(".json"), facts)
        ran.append(nb.stem)
    return ran
