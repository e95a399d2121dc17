"""Every writer of the package behind two functions, and ways to kill one.

`put(folder, name, i)` writes content `i`, 0 or 1, under one name; `get(folder, name)`
reads it as the package's users do and returns which it is, after checking all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rsnb import cache, captionfile, files, ondisk, shards
from rsnb.batches import TrainConfig
from rsnb.errors import FileCorruptError
from rsnb.records import Record, Run
from rsnb.runstate import RunState

DATA = (b"0" * 100_000, b"1" * 100_000)
RUN = Run("m", "1", "p", {}, {})
IDENTITY = {"model": "toy"}


@dataclass(frozen=True)
class Writer:
    """One writer: its name, `put` and `get`."""

    name: str
    put: Callable[[Path, str, int], object]
    get: Callable[[Path, str], int]


def get_bytes(folder, name):
    return DATA.index((folder / name).read_bytes())


def put_receipt(folder, name, i):
    files.write_with_receipt(folder / name, DATA[i], which=i)


def get_receipt(folder, name):
    data, facts = files.read_with_receipt(folder / name)
    assert data == DATA[facts["which"]]
    return facts["which"]


def put_installed(folder, name, i):
    draft = folder / f".{os.getpid()}.draft"
    draft.write_bytes(DATA[i])
    facts = {"which": i, "sha256": files.sha256_bytes(DATA[i])}
    files.install(folder / name, draft, facts)


def put_folder(folder, name, i):
    (draft := folder / f".{os.getpid()}.folder").mkdir(exist_ok=True)
    for k in range(3):
        (draft / str(k)).write_bytes(DATA[i])
    facts = {"which": i, "sha256": files.tree_digest(draft)}
    files.install(folder / name, draft, facts)


def get_folder(folder, name):
    """Neither is allowed, in place of old or new, and is said."""
    try:
        which = files.checked_receipt(folder / name, files.tree_digest)["which"]
    except FileCorruptError:
        assert not (folder / name).exists()
        return 0
    assert {p.read_bytes() for p in (folder / name).iterdir()} == {DATA[which]}
    return which


@contextmanager
def cache_in(folder):
    before = os.environ.get("RSNB_CACHE")
    os.environ["RSNB_CACHE"] = str(folder)
    yield
    os.environ.pop("RSNB_CACHE")
    if before is not None:
        os.environ["RSNB_CACHE"] = before


def arrays(i):
    return {"x": np.full(25_000, i, np.float32)}


def put_cached(folder, name, i):
    for path in sorted((folder / "c").glob("*"), key=lambda p: p.suffix == ".json"):
        path.unlink()  # receipts last: an array without one would be a damaged entry
    with cache_in(folder):
        cache.cached_arrays("c", {"name": name}, lambda: arrays(i))


def get_cached(folder, name):
    with cache_in(folder):
        x = cache.cached_arrays("c", {"name": name}, lambda: arrays(0))["x"]
    (i,) = np.unique(x)
    assert (x == arrays(i)["x"]).all()
    return int(i)


def line(k):
    return Record(f"i/{k}", (), "unparsed", "long", str(k % 10) * 60_000)


def put_lines(folder, name, i):
    """Append the next record; content 0 is the file with one."""
    with captionfile.CaptionFile(folder / name, RUN) as file:
        file.append(line(len(file.done)))


def get_lines(folder, name):
    found, records = captionfile.read(folder / name)
    assert found == RUN and records == [line(k) for k in range(len(records))]
    return min(len(records) - 1, 1)


def part(i):
    return {"emb": np.full((2_000, 8), i, np.float32), "id": [str(i)] * 2_000}


def put_shards(folder, name, i):
    shutil.rmtree(folder / name, ignore_errors=True)
    shards.write(folder / name, 2, part, IDENTITY)


def get_shards(folder, name):
    """A folder that is not whole says so, and is made whole."""
    try:
        found = shards.Shards(folder / name)
        found.verify()
    except FileCorruptError:
        found = shards.write(folder / name, 2, part, IDENTITY)
    for i, (_, got) in enumerate(found):
        assert (got["emb"] == part(i)["emb"]).all() and got["id"] == part(i)["id"]
    return 1


def state():
    return RunState(torch.nn.Linear(150, 150), TrainConfig())


def put_state(folder, name, i):
    one = state()
    one.put({k: torch.full_like(v, i) for k, v in one.weights().items()})
    one.save(folder / name, identity="toy", step=i)


def get_state(folder, name):
    one = state()
    facts = one.resume(folder / name, "toy")
    assert all((v == facts["step"]).all() for v in one.weights().values())
    return facts["step"]


def gallery(i):
    return np.roll(np.eye(64, dtype=np.float32), i, 0)


def put_index(folder, name, i):
    import faiss

    faiss.omp_set_num_threads(1)  # a forked process has lost the pool's threads
    of, make = folder.parent / f"of-{i}", lambda _: {"emb": gallery(i)}
    ondisk.build_index(shards.write(of, 1, make, {"i": i}), folder / name, "Flat")


def get_index(folder, name):
    facts = None
    while facts != (facts := files.checked_receipt(folder / name)):  # not in between
        found = ondisk.DiskSearcher(folder / name)
    rows, _ = found.search(np.eye(64, dtype=np.float32), 1)
    (i,) = np.unique((rows[:, 0] - np.arange(64)) % 64)
    assert facts["of"] == shards.Shards(folder.parent / f"of-{i}").digest
    return int(i)


BYTES = Writer("write_bytes", lambda d, n, i: files.write_bytes(d / n, DATA[i]),
               get_bytes)  # fmt: skip
RECEIPT = Writer("write_with_receipt", put_receipt, get_receipt)
CACHED = Writer("cached_arrays", put_cached, get_cached)
LINES = Writer("CaptionFile.append", put_lines, get_lines)
SHARDS = Writer("shards.write", put_shards, get_shards)
INDEX = Writer("build_index", put_index, get_index)
STATE = Writer("RunState.save", put_state, get_state)
PAIRED = [
    RECEIPT,
    Writer("install", put_installed, get_receipt),
    STATE,
    INDEX,
]  # data and receipt in place, one content for another
FOLDER = Writer("install, a folder", put_folder, get_folder)
WRITERS = [BYTES, *PAIRED, CACHED, LINES, SHARDS, FOLDER]


def forked(act: Callable[[], object]) -> int:
    """Start `act` in a forked process, which ends with it; return the process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            act()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check_kills(writer, folder, points, seed=0):
    """Kill a process that writes 1, 0, 1, … at random moments; return how often."""
    rng = np.random.default_rng(seed)
    writer.put(folder, "a", 0)
    began = time.monotonic()
    writer.put(folder, "a", 1)
    long = max(time.monotonic() - began, 0.002)
    for _ in range(points):
        read, write = os.pipe()

        def loop(tell=write):
            for i in range(10**6):
                writer.put(folder, "a", i % 2)
                os.write(tell, b".")

        pid = forked(loop)
        os.close(write)
        assert os.read(read, 1) == b".", f"{writer.name} failed in its process"
        time.sleep(rng.uniform(0, 2 * long))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        os.close(read)
        assert writer.get(folder, "a") in (0, 1)
        if writer is LINES:
            (folder / "a").unlink()
            writer.put(folder, "a", 0)
    return points


def check_lines(writer, folder, step=1):
    """Kill before every so-many-th line of `rsnb.files` that a write runs.

    Returns how many kills there were.
    """
    for n in range(1, 10_000, step):
        writer.put(folder, "a", 0)

        def killed(left=n):
            def count(frame, event, arg):
                nonlocal left
                if frame.f_code.co_filename != files.__file__:
                    return None
                left -= event == "line"
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return count

            sys.settrace(count)
            writer.put(folder, "a", 1)

        if ended(forked(killed)) == 0:
            assert writer.get(folder, "a") == 1
            return n // step
        assert writer.get(folder, "a") in (0, 1), f"before line {n} of a write"
    raise AssertionError("a write has no end")


def check_two_writers(writer, folder, rounds=40):
    """Let two processes write one name while this one reads; return the readings."""

    def loop(i):
        for _ in range(rounds):
            writer.put(folder, "a", i)

    writer.put(folder, "a", 0)
    pids = [forked(lambda i=i: loop(i)) for i in (0, 1)]
    readings, left = 0, set(pids)
    try:
        while left:
            assert writer.get(folder, "a") in (0, 1)
            readings += 1
            for pid in [*left]:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    left.remove(pid)
                    assert status == 0, f"{writer.name} failed beside another"
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert writer.get(folder, "a") in (0, 1)
    return readings
