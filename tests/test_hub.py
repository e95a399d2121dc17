"""The fetch is pinned, verified, resumed, and silent when offline."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

import fixtures_data as fx
from rsnb import hub
from rsnb.data import load
from rsnb.errors import DataError, FileCorruptError, ParameterError, ResourceError

BODY = bytes(range(256)) * 400


class Server:
    """A hub of one file that misbehaves as told, answer by answer."""

    def __init__(self, body: bytes) -> None:
        self.body, self.faults, self.seen = body, [], []
        self.refusal, self.commit = 0, "a" * 40
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                server.describe(self)

            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.02,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"

    def describe(self, h):
        if self.refusal:
            h.send_error(self.refusal)
            return
        h.send_response(200)
        h.send_header("X-Repo-Commit", self.commit)
        h.send_header("ETag", f'"{hashlib.sha256(self.body).hexdigest()}"')
        h.send_header("Content-Length", str(len(self.body)))
        h.end_headers()

    def answer(self, h):
        if "/resolve/" not in h.path:  # the client asks for other things too
            h.send_error(404)
            return
        span = h.headers.get("Range")
        self.seen.append((h.path, span))
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            h.send_error(int(fault))
            return
        start = int(re.findall(r"\d+", span)[0]) if span and fault != "no range" else 0
        data = bytearray(self.body[start:])
        if fault == "flip":
            data[len(data) // 2] ^= 1
        if fault == "longer":
            data += b"more"
        h.send_response(206 if start else 200)
        if start:
            end = len(self.body) - 1
            h.send_header("Content-Range", f"bytes {start}-{end}/{len(self.body)}")
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(bytes(data[: len(data) // 2] if fault == "cut" else data))


@pytest.fixture
def server(monkeypatch):
    s = Server(BODY)
    monkeypatch.setenv("HF_ENDPOINT", s.url)
    monkeypatch.delenv("RSNB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    pin(monkeypatch, {"data/a.bin": BODY})
    yield s
    s.httpd.shutdown()
    s.httpd.server_close()


def pin(monkeypatch, files):
    listed = tuple(
        (name, hashlib.sha256(b).hexdigest(), len(b)) for name, b in files.items()
    )
    toy = hub.Pinned("who/toy", "a" * 40, listed, "none")
    monkeypatch.setattr(hub, "PINNED", MappingProxyType({"toy": toy}))


def fetch(tmp_path):
    return hub.fetch("toy", tmp_path)


def left(tmp_path):
    """Return what lies there, beside the notes of the hub's client."""
    found = (p for p in tmp_path.rglob("*") if p.is_file())
    return sorted(p.name for p in found if ".cache" not in p.parts)


def test_fetch_leaves_file_and_receipt_and_is_not_repeated(server, tmp_path):
    fetch(tmp_path)
    fetch(tmp_path)
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    receipt = json.loads((tmp_path / "data" / "a.bin.json").read_text())
    assert receipt["revision"] == "a" * 40 and receipt["bytes"] == len(BODY)
    assert [p for p, _ in server.seen] == [
        f"/datasets/who/toy/resolve/{'a' * 40}/data/a.bin"
    ]
    assert left(tmp_path) == ["a.bin", "a.bin.json"]


def test_a_cut_download_goes_on_within_one_run(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 256)
    server.faults = ["cut"] * 3
    fetch(tmp_path)
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    assert server.seen[-1][1] == f"bytes={len(BODY) * 7 // 8}-"
    assert left(tmp_path) == ["a.bin", "a.bin.json"]


@pytest.mark.parametrize("fault", ["flip", "longer"])
def test_wrong_content_is_never_kept(server, tmp_path, fault):
    server.faults = [fault]
    with pytest.raises((FileCorruptError, ResourceError)) as e:
        fetch(tmp_path)
    assert fault == "longer" or "sha256 of the content is" in str(e.value)
    assert left(tmp_path) == []
    fetch(tmp_path)
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("code", [404, 403])
def test_a_refusal_is_not_retried(server, tmp_path, code):
    server.refusal = code
    with pytest.raises(DataError, match=str(code)):
        fetch(tmp_path)
    assert server.seen == []


@pytest.mark.parametrize("code", [408, 429])
def test_a_server_that_is_busy_may_be_asked_again(server, tmp_path, monkeypatch, code):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.refusal = code
    with pytest.raises(ResourceError, match=str(code)):
        fetch(tmp_path)


def test_a_name_behind_the_first_link_is_no_digest(tmp_path, monkeypatch):
    """The client may keep the bytes once, for all repositories, under its own hash."""
    store, blob = tmp_path / ("f" * 64), tmp_path / hashlib.sha256(BODY).hexdigest()
    store.write_bytes(BODY)
    blob.symlink_to(store)
    path = tmp_path / "a.bin"
    path.symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: "")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: str(path))
    assert hub.download("who/toy", "a.bin", "") == path
    store.write_bytes(BODY[1:])
    (tmp_path / "a.bin.json").unlink()
    with pytest.raises(FileCorruptError, match="as known for it"):
        hub.download("who/toy", "a.bin", "")


@pytest.mark.parametrize("note", ["[]", '{"sha256": 7}'])
def test_a_receipt_of_another_kind_is_written_anew(server, tmp_path, note):
    fetch(tmp_path)
    (tmp_path / "data" / "a.bin.json").write_text(note)
    (tmp_path / "data" / "a.bin").unlink()
    fetch(tmp_path)
    assert json.loads((tmp_path / "data" / "a.bin.json").read_text())["bytes"]


@pytest.mark.parametrize("rot", [b"", BODY[:-1], BODY + b"x", b"\1" + BODY[1:]])
def test_a_rotten_file_is_fetched_anew(server, tmp_path, rot):
    fetch(tmp_path)
    (tmp_path / "data" / "a.bin").write_bytes(rot)
    fetch(tmp_path)
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("word", ["1", "true"])
@pytest.mark.parametrize("switch", ["RSNB_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_never_touches_the_network(server, tmp_path, monkeypatch, switch, word):
    monkeypatch.setenv(switch, word)
    with pytest.raises(DataError, match="offline"):
        fetch(tmp_path)
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "a.bin").write_bytes(BODY)
    assert fetch(tmp_path) == tmp_path and server.seen == []


def test_no_server(server, tmp_path, monkeypatch):
    def waits(seconds):
        pytest.fail("the client tries again and again")

    monkeypatch.setattr("time.sleep", waits)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ResourceError, match="refused"):
        fetch(tmp_path)


def test_only_http_and_only_pinned(server, tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="only for toy"):
        hub.fetch("other", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(ParameterError, match="http"):
        fetch(tmp_path)


def test_what_is_pinned_is_whole():
    for pin in hub.PINNED.values():
        assert re.fullmatch("[0-9a-f]{40}", pin.revision)
        for _, sha256, size in pin.files:
            assert re.fullmatch("[0-9a-f]{64}", sha256) and size > 0
    # the total that the repository's own dataset_infos.json states
    assert sum(size for *_, size in hub.PINNED["rsicd"].files) == 526_000_288


def test_fetched_parquet_loads_by_name(server, tmp_path, monkeypatch):
    root = fx.parquet(tmp_path / "made")
    bodies = {f"data/{p.name}": p.read_bytes() for p in (root / "data").iterdir()}
    one = next(iter(bodies))
    pin(monkeypatch, {one: bodies[one]})
    server.body = bodies[one]
    pairs = load(hub.fetch("toy", tmp_path / "cache"))
    assert pairs.has_pixels.all() and pairs.source["layout"] == "hub parquet"
    assert os.environ["HF_ENDPOINT"] == server.url


def test_fetch_says_offline_in_a_process_of_its_own(tmp_path):
    """Here another module has loaded the hub client's parts; the command has not."""
    env = {**os.environ, "RSNB_OFFLINE": "1", "RSNB_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "rsnb", "fetch", "rsicd"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "offline mode forbids" in done.stderr and "Traceback" not in done.stderr
