"""Embed or caption an archive with many workers, a shard at a time.

Explained in notebook 08. Ray Data gives each worker the next shard. A worker holds its
model, and writes the shard itself, atomically; what is there and whole is not made
again. So nothing is lost with a worker, and a second call goes on where the first was
stopped. Needs `pip install "rsnb[scale]"`.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rsnb import errors
from rsnb.errors import ParameterError, RsnbError
from rsnb.files import fingerprint
from rsnb.pairs import Pairs
from rsnb.pixels import square
from rsnb.shards import Columns, Shards, finish, has_part, write_part

__all__ = ["caption_shards", "embed_shards"]

STORE = 200 << 20  # bytes of shared memory; only numbers of shards pass through it


class _Worker:
    """What a Ray actor runs: a model, and shards of `pairs`."""

    def __init__(
        self, pairs: Pairs, folder: str, shard: int, threads: int, name: str,
        device: str,
    ) -> None:  # fmt: skip
        self.pairs, self.folder, self.shard = pairs, folder, shard
        self.threads, self.name, self.device = threads, name, device

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        told: dict[str, Any]
        try:
            told = {"identity": self.shard_of(int(batch["part"][0]))}
        except RsnbError as e:  # Ray would keep its traceback only
            told = {"error": [type(e).__name__, str(e)]}
        return {"told": np.array([json.dumps(told)])}

    def shard_of(self, i: int) -> dict[str, Any]:
        """Make shard `i` if it is missing, and return the identity of all."""
        own, rows = self.identity, np.arange(i * self.shard, (i + 1) * self.shard)
        if not has_part(self.folder, i, own):
            part = self.pairs.subset(rows[rows < len(self.pairs)])
            write_part(self.folder, i, self.make(part, i), own)
        return own

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Load the model, once, and return what makes the shards."""
        import torch

        torch.set_num_threads(self.threads)
        return {
            **self.load(self.name, self.device),
            "data": self.pairs.source.get("sha256", ""),
            "rows": fingerprint(list(self.pairs.ids)), "shard": self.shard,
        }  # fmt: skip

    def load(self, name: str, device: str) -> dict[str, Any]:
        raise NotImplementedError

    def make(self, part: Pairs, i: int) -> Columns:
        raise NotImplementedError


class _Embedder(_Worker):
    def load(self, name: str, device: str) -> dict[str, Any]:
        from rsnb import backbones
        from rsnb.embed import BATCH

        self.model = model = backbones.load(name, device=device)
        own = {"backbone": model.name, "weights": model.digest, "batch": BATCH}
        return own | {"activation": model.entry.activation}

    def make(self, part: Pairs, i: int) -> Columns:
        from rsnb.embed import BATCH, embed_images

        def see(row: int) -> np.ndarray:
            return square(part.image(row), self.model.image_size)

        found = []
        with ThreadPoolExecutor(self.threads) as pool:
            for k in range(0, len(part), BATCH):
                pixels = list(pool.map(see, range(len(part))[k : k + BATCH]))
                found.append(embed_images(self.model, np.stack(pixels)))
        return {"emb": np.concatenate(found), "image": part.ids}


class _Captioner(_Worker):
    def load(self, name: str, device: str) -> dict[str, Any]:
        from rsnb import captioners, smallcaptioners

        self.who = smallcaptioners.captioner(name, device)
        self.prompt = smallcaptioners.prompt_of(name)
        return {"run": asdict(captioners.run_of(self.who, self.prompt))}

    def make(self, part: Pairs, i: int) -> Columns:
        from rsnb.captioners import describe

        path = Path(self.folder, f"part-{i:05d}.jsonl")  # goes on after a kill, too
        describe(part, self.who, self.prompt, path)
        lines = path.read_text("utf-8").splitlines()[1:]
        path.unlink()
        return {"line": lines}


def embed_shards(
    backbone: str, pairs: Pairs, folder: str | Path, *, workers: int = 2,
    shard: int = 4096, threads: int = 1, device: str = "cpu",
) -> Shards:  # fmt: skip
    """Embed images into shards of columns `emb` and `image`, their ids.

    Equal to `rsnb.embed.embed_images`: with the same threads, and shards of a multiple
    of 64, bit for bit. Memory is that of the model and of one shard's embeddings.

    On a cluster, call `ray.init(address=...)` first; all must see `folder` and files.

    Args:
        backbone: as for `rsnb.backbones.load`; each worker loads it once.
        pairs: every image with pixels; its reader travels to the workers.
        folder: of the shards; continued.
        workers: processes, each with `threads` CPUs and, on `"cuda"`, a GPU.
        shard: images a file; what a killed worker has to do again.
        threads: of the model and of decoding, in a worker.
        device: where each worker's model runs.

    Raises:
        DataError: an image without pixels, or the folder holds something else.
        ParameterError: nothing to do, or no worker.
        RsnbError: whatever else a worker found wrong. Of all shards that could be
            made, none is lost.
    """
    return _spread(_Embedder, backbone, pairs, folder, workers, shard, threads, device)


def caption_shards(
    captioner: str, pairs: Pairs, folder: str | Path, *, workers: int = 2,
    shard: int = 256, threads: int = 1, device: str = "cpu",
) -> Shards:  # fmt: skip
    """Caption images into shards that `rsnb.captions.read` reads as one caption file.

    Word for word what `rsnb.captioners.describe` writes, if a shard is a multiple of
    its batch of 32.

    Args:
        captioner: a course of `rsnb.smallcaptioners`, a hub name or a folder.
        pairs: as for `embed_shards`, as are the others.
        folder: likewise.
        workers: likewise.
        shard: likewise; within one, only the batch in flight is lost.
        threads: likewise.
        device: likewise.

    Raises:
        DataError, ParameterError, RsnbError: as `embed_shards`.
    """
    return _spread(
        _Captioner, captioner, pairs, folder, workers, shard, threads, device
    )


def _spread(
    kind: type[_Worker], name: str, pairs: Pairs, folder: str | Path, workers: int,
    shard: int, threads: int, device: str,
) -> Shards:  # fmt: skip
    if min(len(pairs), workers, shard, threads) < 1:
        what = f"{len(pairs)} images, {workers} workers, {shard} a shard, {threads}"
        raise ParameterError(f"{what} threads: at least 1 of each is needed.")
    parts = -(-len(pairs) // shard)
    where = str(Path(folder).resolve())
    bare = replace(pairs, captions=(), gt=np.empty(0, np.int64))  # all must travel
    with _ray(workers * threads):
        import ray

        # Made here: tasks that read would want a CPU when the workers hold them all.
        rows = [{"part": i} for i in range(parts)]
        todo = ray.data.from_items(rows, override_num_blocks=parts)
        made = todo.map_batches(
            kind, batch_size=1, num_cpus=threads, num_gpus=int(device != "cpu"),
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, parts), max_tasks_in_flight_per_actor=1
            ),
            fn_constructor_args=(bare, where, shard, threads, name, device),
        )  # fmt: skip
        told = [json.loads(row["told"]) for row in made.take_all()]
    wrong = [one["error"] for one in told if "error" in one]
    if wrong:
        fault, text = wrong[0]
        left = f"{len(wrong)} of {parts} shards are not made, the others are kept"
        raise getattr(errors, fault)(f"{text} {left}; call it again to go on.")
    return finish(where, parts, told[0]["identity"])


@contextmanager
def _ray(cpus: int) -> Iterator[None]:
    """Use the caller's Ray, or start a quiet one here that leaves nothing behind."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else in ~/.ray
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    with tempfile.TemporaryDirectory("-ray", ignore_cleanup_errors=True) as temp:
        ray.init(
            num_cpus=cpus, include_dashboard=False, object_store_memory=STORE,
            log_to_driver=False, logging_level=logging.ERROR, _temp_dir=temp,
            _node_ip_address="127.0.0.1",
        )  # fmt: skip
        try:
            yield
        finally:
            ray.shutdown()
