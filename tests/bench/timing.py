"""Times of several arms, one after the other in every round."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def interleave(
    arms: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    """Return seconds by arm, a list of one for each round.

    A busy moment of the machine so slows all arms of that round alike.
    """
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, run in arms.items():
            began = time.perf_counter()
            run()
            times[arm].append(time.perf_counter() - began)
    return times
