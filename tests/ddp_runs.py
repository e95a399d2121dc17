"""Training runs that `test_ddp.py` makes alone and starts under torchrun.

    torchrun --nproc-per-node 2 tests/ddp_runs.py FOLDER NAME...

With `RSNB_KILL=RANK:STEP` that rank is killed there, in the first life of the group.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from rsnb import noise, ranks, recipes
from rsnb.errors import ParameterError
from rsnb.files import write_json
from rsnb.methods import InfoNCE, Method, Paced
from rsnb.pacing import Judge
from rsnb.pixels import load_pixels
from rsnb.rrsitr import RRSITR
from rsnb.train import fit
from toy import recipe, squares

METHODS: dict[str, Method] = {
    "infonce": InfoNCE(),
    "paced": Paced(judge=Judge(every=1, panel=16)),
    # Thresholds for batches of 15, where a pair at chance has loss 4 log 15 = 10.8.
    "local": RRSITR(gamma1=9.0, gamma2=12.0, pace="random"),
}


@dataclass(frozen=True)
class Told:
    """A method that notes each loss, and may end its process."""

    method: Method
    losses: list[float] = field(default_factory=list, repr=False)

    @property
    def judge(self) -> Judge | None:
        return self.method.judge

    @property
    def tokens(self) -> bool:
        return self.method.tokens

    def __call__(self, step: Any) -> torch.Tensor:
        victim = f"{ranks.rank()}:{len(self.losses)}" == os.environ.get("RSNB_KILL")
        if victim and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        loss = self.method(step)
        self.losses.append(float(loss.detach()))
        return loss


def train(name: str, folder: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Train one of `METHODS`; return the losses of this sitting, and the log."""
    # 15 is odd: the two ranks have 7 and 8 rows.
    made = recipe("vit", epochs=3, batch_size=15, average=0.9, jitter=0.1)
    pairs, val = noise.corrupt(squares(48), 0.4), squares(12, "val")
    start = recipes.start(made, pairs.captions)
    told = Told(METHODS[name])
    cfg = replace(made.cfg, **changes)
    pixels = load_pixels(pairs, 48, cache=False), load_pixels(val, 32, cache=False)
    done = fit(start, pairs, pixels[0], val, pixels[1], cfg, told, folder=folder)
    log = [{k: v for k, v in e.items() if k != "seconds"} for e in done.log]
    return {"losses": told.losses, "log": log}


def main(folder: Path, names: list[str]) -> None:
    with ranks.joined(minutes=1):
        for name in names:
            if name == "differ":
                try:
                    train("infonce", seed=ranks.rank())
                except ParameterError as e:
                    found: dict[str, Any] = {"error": str(e)}
            else:
                found = train(name, folder / name)
            write_json(folder / f"{name}-{ranks.rank()}.json", found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
