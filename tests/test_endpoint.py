"""The captioner behind an HTTP endpoint, against a server on this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from rsnb.captioners import describe
from rsnb.endpoint import EndpointCaptioner
from rsnb.errors import DataError, ParameterError
from rsnb.pairs import Pairs
from rsnb.prompts import Prompt
from test_prompts import five, variant

KEY = "sk-very-secret-0123456789"
ASK = Prompt(("Describe it.",), 77)


def chat(text: str | None, why: str | None = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {"choices": [{"message": message, "finish_reason": why}]}
    ).encode()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            n = len(self.server.seen) - 1
        reply = self.server.reply
        code, data = reply(body) if callable(reply) else reply[min(n, len(reply) - 1)]
        if code == "hang":
            time.sleep(0.6)
            return
        self.send_response(code)
        if code == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        length = len(data) + (50 if code == 299 else 0)  # 299: cut off on the way
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.daemon_threads, one.block_on_close = True, False
    one.seen, one.lock = [], threading.Lock()
    one.url = f"http://127.0.0.1:{one.server_port}/v1"
    thread = threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()


def picture(red: int = 0) -> Image.Image:
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = red
    return Image.fromarray(image)


def ask(server, *, n: int = 1, prompt: Prompt = ASK, **kw):
    captioner = EndpointCaptioner(server.url, "some-vl", wait=0.01, **kw)
    images = [picture(20 * k) for k in range(n)]
    return captioner.describe(images, prompt, [f"i{k}" for k in range(n)])


def test_a_request_says_what_the_format_wants(server):
    server.reply = [(200, chat(five()))]
    (record,) = ask(server)
    assert record.usable and len(record.variants) == 5
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert (body["model"], body["max_tokens"], body["temperature"]) == (
        "some-vl",
        77,
        0,
    )
    picture_part, text_part = body["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "Describe it."}
    kind, _, data = picture_part["image_url"]["url"].partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, image.format, image.size) == ("data:image/jpeg", "JPEG", (30, 20))


def test_records_keep_their_order_and_each_turn_is_asked(server):
    prompt = Prompt(tuple(f"variant {k}" for k in range(5)))

    def reply(body):
        time.sleep(0.02 * (len(server.seen) % 3))
        turn = int(body["messages"][0]["content"][1]["text"][-1])
        return 200, chat(json.dumps(variant(turn)))

    server.reply = reply
    records = ask(server, n=6, prompt=prompt, workers=4)
    assert [r.image for r in records] == [f"i{k}" for k in range(6)]
    assert all(r.usable for r in records) and len(server.seen) == 30


@pytest.mark.parametrize("code", [429, 408, 500, 503])
def test_a_busy_server_is_asked_again(server, code):
    server.reply = [(code, b"busy"), (200, chat(five()))]
    (record,) = ask(server)
    assert record.usable and len(server.seen) == 2


@pytest.mark.parametrize(
    ("reply", "says", "tries"),
    [
        ((500, b"broken inside"), "500: broken inside", 3),
        ((429, b"slow down"), "429: slow down", 3),
        ((400, b"image too odd"), "400: image too odd", 1),
        ((413, b""), "413", 1),
        ((200, b"<html>not JSON"), "JSONDecodeError", 3),
        ((200, b"\xff\xfe\xfa"), "UnicodeDecodeError", 3),
        ((200, b'{"choices": []}'), "IndexError", 3),
        ((200, b"[1, 2]"), "TypeError", 3),
        ((200, b'{"error": {"message": "x"}}'), "KeyError", 3),
        ((200, b'{"choices": [{"message": {"content": ["a"]}}]}'), "not text", 3),
        ((200, b"[" * 100_000), "", 1),
        ((299, chat(five())[:-30]), "JSONDecodeError", 3),
        (("hang", b""), "", 3),
    ],
)  # fmt: skip
def test_what_the_server_cannot_do_is_a_failed_record(server, reply, says, tries):
    server.reply = [reply]
    (record,) = ask(server, timeout=0.2 if reply[0] == "hang" else 5)
    assert (record.status, record.variants) == ("failed", ())
    assert says in record.reason
    assert len(server.seen) == tries


def test_nobody_listens():
    captioner = EndpointCaptioner("http://127.0.0.1:9/v1", "m", wait=0.01)
    (record,) = captioner.describe([picture()], ASK, ["a"])
    assert record.status == "failed" and "refused" in record.reason


@pytest.mark.parametrize("code", [401, 403, 404, 302])
def test_a_refusal_of_key_model_or_address_stops_the_run(server, code):
    server.reply = [(code, b"no")]
    with pytest.raises(ParameterError, match=f"answered {code}"):
        ask(server, n=3)


def test_an_answer_cut_off_is_truncated_and_asked_again(server):
    server.reply = [(200, chat(five(), "length"))]
    (record,) = ask(server)
    assert record.status == "truncated" and record.raw == five()
    bodies = [body for _, _, body in server.seen]
    assert [(b["temperature"], b["seed"]) for b in bodies] == [
        (0, 0),
        (0.3, 1),
        (0.3, 2),
    ]


@pytest.mark.parametrize("text", ["", None, "I see an airport."])
def test_an_answer_without_json_is_unparsed(server, text):
    server.reply = [(200, chat(text))]
    (record,) = ask(server)
    assert (record.status, record.raw) == ("unparsed", text or "")
    assert "asked 3 times" in record.reason


def test_a_server_that_says_no_reason_has_finished(server):
    server.reply = [(200, chat(five(), None))]
    assert ask(server)[0].usable


def test_a_bad_image_harms_no_other(server):
    server.reply = [(200, chat(five()))]
    captioner = EndpointCaptioner(server.url, "m", wait=0.01)
    images = [picture(), Image.new("RGB", (0, 5)), picture(9)]
    states = [r.status for r in captioner.describe(images, ASK, ["a", "b", "c"])]
    assert states == ["ok", "failed", "ok"]


def pairs(n: int) -> Pairs:
    ids = tuple(f"i{k}" for k in range(n))
    has, rows = np.ones(n, bool), np.arange(n)
    return Pairs("p", ids, ("test",) * n, ("",) * n, ids, rows, has, picture, rows)


def check_the_key_is_never_written(server, folder):
    """Return all that a run leaves behind, after looking for the key in it."""
    held = json.dumps([variant(0) | {"caption": f"A field and the road. {KEY}"}])
    server.reply = [
        (500, f"who is {KEY}?".encode()),
        (200, chat(five().replace("airport", KEY, 1))),
        (400, ("x" * 290 + KEY).encode()),  # the cut of the message must not spare half
        (200, chat(held)),
    ]  # fmt: skip
    captioner = EndpointCaptioner(server.url, "m", "SOME_KEY", wait=0.01, workers=1)
    path = folder / "c.jsonl"
    records = describe(pairs(3), captioner, ASK, path)
    assert [r.status for r in records] == ["ok", "failed", "invalid"]
    assert {h["Authorization"] for _, h, _ in server.seen} == {f"Bearer {KEY}"}
    kept = [p.read_text() for p in folder.rglob("*") if p.is_file()]
    assert len(kept) >= 1
    server.reply = [(401, f"Incorrect key {KEY}".encode())]
    with pytest.raises(ParameterError) as e:
        ask(server, key_env="SOME_KEY")
    told = "".join(traceback.format_exception(e.value))
    for text in (*kept, told, repr(records), repr(vars(captioner))):
        assert KEY[:8] not in text
    assert "***" in records[0].variants[0].one_sentence
    assert "***" in told and e.value.__cause__ is None


@pytest.mark.promise("P11")
def test_the_key_is_sent_and_never_written(
    server, monkeypatch, tmp_path, caplog, capfd, figure
):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("SOME_KEY", f"{KEY}\n")
    check_the_key_is_never_written(server, tmp_path)
    for text in (caplog.text, *capfd.readouterr()):
        assert KEY[:8] not in text
    figure("places where the endpoint's key was found", 0)


@pytest.mark.promise("P11", off=True)
def test_without_the_cleaning_the_key_is_found(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_KEY", f"{KEY}\n")
    monkeypatch.setattr(EndpointCaptioner, "_clean", lambda self, text: text)
    with pytest.raises(AssertionError):
        check_the_key_is_never_written(server, tmp_path)


def test_a_key_that_is_a_plain_word_is_no_secret(server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "planes")
    server.reply = [(200, chat(five()))]
    (record,) = ask(server, key_env="SOME_KEY")
    assert "planes" in record.variants[0].caption


@pytest.mark.promise("P11")
@pytest.mark.parametrize("key", [None, "", " ", "two\nlines", "caf\u00e9"])
def test_an_unusable_key_is_refused_without_showing_it(monkeypatch, key):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("SOME_KEY", key)
    with pytest.raises(ParameterError, match="SOME_KEY") as e:
        EndpointCaptioner("http://localhost:1/v1", "m", "SOME_KEY")
    assert not (key and key.strip()) or key not in str(e.value)


@pytest.mark.promise("P11")
@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/v1", "localhost:8000", "http://", "",
            "http://user:pw-secret@h/v1"],
)  # fmt: skip
def test_only_plain_http_addresses(url):
    with pytest.raises(ParameterError, match="http") as e:
        EndpointCaptioner(url, "m")
    assert "pw-secret" not in str(e.value)


def test_a_dead_server_stops_the_run_and_leaves_the_images_for_later(server, tmp_path):
    server.reply = [(200, chat(five()))] * 4 + [(500, b"")] * 999
    captioner = EndpointCaptioner(server.url, "m", wait=0, workers=1)
    path = tmp_path / "c.jsonl"
    with pytest.raises(DataError, match="10 images in a row"):
        describe(pairs(30), captioner, ASK, path, batch=4)
    assert len(path.read_text().splitlines()) == 1 + 4
    server.seen.clear()
    server.reply = [(200, chat(five()))]
    assert all(r.usable for r in describe(pairs(30), captioner, ASK, path))
    assert len(server.seen) == 26
