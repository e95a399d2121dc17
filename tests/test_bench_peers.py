"""The benchmarks against peers, shrunken: equal output comes before any time."""

from __future__ import annotations

import numpy as np
import pytest

from bench import data_path, grouped_search

# The peers are pinned in tests/bench/requirements.txt, outside the lock.
QUICK = ("--quick", "--threads", "1", "--what")
NEEDS = "needs pip install --no-deps -r tests/bench/requirements.txt"


@pytest.fixture
def recall_eval():
    for peer in ("clip_benchmark", "torchmetrics"):
        pytest.importorskip(peer, reason=f"{peer} is missing: {NEEDS}")
    from bench import recall_eval

    return recall_eval


def test_recall_is_timed_after_all_forms_agree(recall_eval, capsys, monkeypatch):
    def here(form, images, dim, batch, threads, share=1):
        data = recall_eval.made(images, dim)  # in this process; the new one is below
        run = {
            "rsnb": lambda: recall_eval.ours(*data), "product": dict,
            "clip_benchmark": lambda: recall_eval.clip_benchmark(*data, batch),
            "torchmetrics": lambda: recall_eval.torchmetrics(*data, share),
        }[form]  # fmt: skip
        slow = {"torchmetrics": 9.0}.get(form, 1.0)
        return {"seconds": slow, "peak_mb": 1.0, "recalls": run()}

    monkeypatch.setattr(recall_eval, "apart", here)
    found = recall_eval.main(
        "--quick --threads 1 --rounds 1 --large-rounds 1 --dims 32".split()
    )
    small, large = (row for row in found.values() if isinstance(row, dict) and
                    "images" in row)  # fmt: skip
    assert (small["torchmetrics_share"], large["torchmetrics_share"]) == (1, 1 / 50)
    for row in (small, large):
        assert row["extra_mb"].keys() >= {"rsnb", "clip_benchmark"}
        assert row["speedup"]["rsnb"] == 1 < row["speedup"]["torchmetrics"]
    assert "MB extra" in capsys.readouterr().out
    right = recall_eval.clip_benchmark
    wrong = {name: 50.0 for name in right(*recall_eval.made(12, 8), 4)}
    monkeypatch.setattr(recall_eval, "clip_benchmark", lambda *_: wrong)
    with pytest.raises(AssertionError):
        recall_eval.measure(40, 8, 1, 1, 1)


def test_memory_is_what_a_form_takes_beyond_its_inputs(recall_eval):
    got = recall_eval.apart("clip_benchmark", 600, 8, 64, 1)
    assert got["peak_mb"] > 600 * 3000 * 5 / 2**20  # scores and their boolean mask
    own = recall_eval.apart("rsnb", 600, 8, 64, 1)
    assert own["peak_mb"] < got["peak_mb"] and own["seconds"] > 0
    recall_eval.agree(own["recalls"], got["recalls"])


def test_loading_is_timed_after_equal_pixels(capsys, monkeypatch):
    found = data_path.main([*QUICK, "loading"])["loading"]
    rows = {name: row for name, row in found.items() if isinstance(row, dict)}
    for kind in ("files", "zip", "parquet"):
        for side in data_path.SIDES:
            row = rows[f"world 80 px, {kind} to {side}"]
            assert row["images"] == 8 and row["not_square_and_unequal"] == 0
            assert set(row["speedup"]) == {"uint8", "float"}
    right = data_path.load_pixels
    monkeypatch.setattr(data_path, "load_pixels", lambda *a, **k: right(*a, **k) ^ 1)
    with pytest.raises(AssertionError, match="images differ"):
        data_path.main([*QUICK, "loading"])


def test_embedding_is_timed_after_equal_vectors(monkeypatch):
    found = data_path.main([*QUICK, "embedding"])["embedding"]
    for name in data_path.BACKBONES:
        for what in ("embed images", "embed texts"):
            assert 0 < found[name][what]["forward_share"] < 1
            assert found[name][what]["speedup_ready"] > 0
    right = data_path.embed_images
    monkeypatch.setattr(data_path, "embed_images", lambda b, x: -right(b, x))
    with pytest.raises(AssertionError):
        data_path.embedding("world-rn", 4, 1)


def test_grouped_search_is_timed_after_equal_rankings(monkeypatch):
    found = grouped_search.main(["--quick", "--rounds", "1"])
    assert found["share"] == pytest.approx(1 / 3)
    assert found["seconds"]["loop"] > 0 and found["speedup"]["loop"] == 1
    right = grouped_search.loop

    def wrong(*args):
        scores, order, hits = right(*args)
        return scores, order[:, ::-1], hits

    monkeypatch.setattr(grouped_search, "loop", wrong)
    with pytest.raises(AssertionError):
        grouped_search.measure(grouped_search.QUICK, 1)


@pytest.mark.parametrize("what", [data_path, grouped_search])
def test_no_receipt_of_tiny_sizes(what):
    with pytest.raises(SystemExit):
        what.main(["--quick", "--write"])


def test_the_loop_takes_the_best_text_of_each_image():
    texts, image = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    query = np.array([[0.1, 0.2, 0.9, 0.3]], np.float32)
    scores, order, hits = grouped_search.loop(query, texts, image, np.array([1]))
    assert scores.tolist() == query[:, [1, 2]].tolist()
    assert order.tolist() == [[1, 0]] and hits.tolist() == [[1, 1, 1]]
