"""The GPU benchmark runs to its end, on a CPU and with tiny sizes."""

import numpy as np
import pytest
import torch

from bench import gpu


@pytest.fixture(scope="module")
def figures():
    return gpu.measure(torch.device("cpu"), quick=True)


def test_every_part_is_measured(figures):
    assert {"ceilings", "embedding", "training", "views", "search"} <= figures.keys()
    assert figures["device"] == "none"
    rows = [r for k in ("embedding", "training", "views", "search") for r in figures[k]]
    numbers = [v for r in rows for v in r.values() if isinstance(v, float)]
    assert np.isfinite(numbers).all()


def test_both_forms_of_the_local_similarity_are_timed(figures):
    assert [r["loss"] for r in figures["training"]] == [
        "InfoNCE", "RRSITR, Gram", "RRSITR, direct"
    ]  # fmt: skip
