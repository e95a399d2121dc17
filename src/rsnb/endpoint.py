"""A server that speaks the OpenAI chat format, such as vLLM, as a captioner.

Explained in notebook 04. The standard library is the client; a key comes from the
environment, goes into the request header, and is struck out of all that comes back.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from PIL.Image import Image

from rsnb.errors import DataError, ParameterError
from rsnb.prompts import HEAT, Answer, Prompt, apart, settle
from rsnb.records import Record

__all__ = ["EndpointCaptioner"]

TRIES = 3
QUALITY = 90  # of the JPEG that is sent
MAX_ANSWER = 4_000_000  # bytes
THIS_REQUEST = (400, 413, 415, 422)  # refusals that another image may not meet
# What a dead, slow or odd server leads to: no connection, no HTTP, no such JSON.
BROKEN = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it would hand image and key to an address nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class EndpointCaptioner:
    """A model behind `<url>/chat/completions`.

    Args:
        url: such as `"http://localhost:8000/v1"`.
        model: name that the server knows.
        key_env: environment variable that holds the key, if one is needed.
        revision: commit of the model, if you know it; the server doesn't say.
        timeout: seconds without a byte from the server.
        workers: images asked about at the same time.
        wait: seconds before the second try, twice as many before the third.

    Raises:
        ParameterError: no http(s) address, credentials in it, or no usable key.
    """

    def __init__(
        self, url: str, model: str, key_env: str | None = None, *, revision: str = "",
        timeout: float = 120, workers: int = 8, wait: float = 2,
    ) -> None:  # fmt: skip
        """Check address and key; nothing is sent yet."""
        at = urlsplit(url)
        if at.scheme not in ("http", "https") or not at.hostname or "@" in at.netloc:
            raise ParameterError(
                "url must be an http(s) address without user or password, such as "
                "http://localhost:8000/v1. Name the key's variable in key_env."
            )
        self.url, self.model, self.revision = url.rstrip("/"), model, revision
        self.key_env, self.timeout, self.workers = key_env, timeout, workers
        self.wait = wait
        self.decoding = {"temperature": 0, "jpeg": QUALITY, "retry": HEAT}
        key = self._key()
        if key_env and not (key and key.isascii() and key.isprintable()):
            raise ParameterError(f"${key_env} holds no key. Set it to a line of ASCII.")

    def describe(
        self, images: Sequence[Image], prompt: Prompt, ids: Sequence[str]
    ) -> list[Record]:
        """Return one record for each image, in order, asking `workers` at a time.

        Raises:
            ParameterError: the server refuses the key, the model or the address.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(partial(self._record, prompt), ids, images))

    def _record(self, prompt: Prompt, name: str, image: Image) -> Record:
        def ask(turn: int, seed: int = 0) -> Answer:
            body = partial(self._body, prompt.turns[turn], prompt.max_new_tokens, seed)
            return apart(
                [image],
                lambda one: [self._post(body(one[0]))],
                lambda _, why: Answer("", "failed", why),
            )[0]

        first = [ask(k) for k in range(len(prompt.turns))]
        return settle(name, first, ask, prompt.variants)

    def _body(self, turn: str, limit: int, seed: int, image: Image) -> bytes:
        out = io.BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=QUALITY)
        data = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
        picture = {"type": "image_url", "image_url": {"url": data}}
        content = [picture, {"type": "text", "text": turn}]
        body = {
            "model": self.model, "max_tokens": limit, "seed": seed,
            "temperature": HEAT if seed else 0,
            "messages": [{"role": "user", "content": content}],
        }  # fmt: skip
        return json.dumps(body).encode()

    def _post(self, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        target = f"{self.url}/chat/completions"
        request = urllib.request.Request(target, body, headers)  # noqa: S310 (checked)
        for attempt in range(TRIES):
            time.sleep(self.wait * 2 ** (attempt - 1) if attempt else 0)
            try:
                opener = urllib.request.build_opener(_Stay)
                with opener.open(request, timeout=self.timeout) as answer:
                    choice = json.loads(answer.read(MAX_ANSWER))["choices"][0]
                cut = choice.get("finish_reason") == "length"
                text = choice["message"]["content"] or ""
                if not isinstance(text, str):
                    raise TypeError("content is not text")
                return Answer(self._clean(text), "truncated" if cut else "ok")
            except urllib.error.HTTPError as e:
                said = e.read(MAX_ANSWER).decode("utf-8", "replace")
                why = f"the server answered {e.code}: {self._clean(said)[:300]}"
                if e.code in THIS_REQUEST:
                    break
                if e.code < 500 and e.code not in (408, 429):
                    raise ParameterError(
                        f"{self.url}: {why}. Check address, model and key."
                    ) from None
            except BROKEN as e:
                why = f"no chat completion ({type(e).__name__}: {e})"
        raise DataError(f"{self.url}: {self._clean(why)}; tried {attempt + 1} times")

    def _key(self) -> str:
        return os.environ.get(self.key_env or "", "").strip()

    def _clean(self, text: str) -> str:
        """Return text without the key, which some servers repeat."""
        key = self._key()  # the short ones, such as EMPTY, are no secret but a word
        return text.replace(key, "***") if len(key) > 7 else text
