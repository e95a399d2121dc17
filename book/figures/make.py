"""Take the README's picture out of the executed quickstart: run `make book` first."""

import base64
from pathlib import Path

import nbformat

from rsnb.files import write_bytes

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "build" / "run" / "world" / "00_quickstart.ipynb"


def main() -> None:
    """Write `quickstart.png`: the results of a test caption, its own image framed."""
    for cell in nbformat.read(PAGE, 4).cells:
        if "right=gt" in cell.source:
            [png] = [o.data["image/png"] for o in cell.outputs if "data" in o]
            write_bytes(HERE / "quickstart.png", base64.b64decode(png))


if __name__ == "__main__":
    main()
