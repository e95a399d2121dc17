"""A browser for the tests: Chromium under Playwright, with the network cut.

The book under test is `build/_build/html`, or the folder that RSNB_HTML names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
HTML = Path(os.environ.get("RSNB_HTML", REPO / "build/_build/html"))
SCREENS = REPO / "build" / "screens"
WIDE, NARROW = 1280, 390
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update "
    # without a display, frames are drawn on demand: timings are those of the page
    "--force-color-profile=srgb --hide-scrollbars"
).split()


# The explorers: where they are, and their names.
PAGE = "notebooks/10_explore_retrieval"
NAMES = {
    "retrieval": "Explore retrieval",
    "audit": "Explorer of noisy pairs",
    "t2t": "Explorer of text-to-text retrieval",
}
# Set controls, in order, and return the rankings that the explorer then holds.
SET = """(section, steps) => steps.map((wanted) => {
  for (const [name, value] of Object.entries(wanted)) {
    const label = [...section.querySelectorAll("label")].find((l) =>
      (l.querySelector("span") || l).textContent === name);
    const input = label.querySelector("input, select");
    if (typeof value === "boolean") { if (input.checked !== value) input.click(); }
    else if (input.value !== String(value)) {
      input.value = value;
      const kind = input.tagName === "SELECT" ? "change" : "input";
      input.dispatchEvent(new Event(kind, { bubbles: true }));
    }
  }
  const lists = [...section.querySelectorAll("[data-order], [data-rows]")];
  return {
    orders: lists.map((l) => (l.dataset.order ?? l.dataset.rows)
      .split(" ").filter(Boolean).map(Number)),
    summary: section.querySelector("[aria-live]").textContent,
  };
})"""
DATA = """(section) => {
  const host = section.getRootNode().host, code = host.nextElementSibling;
  const json = host.querySelector("script").textContent;
  return { data: JSON.parse(json), bytes: json.length + code.textContent.length };
}"""


def pages() -> list[str]:
    """Return the pages of the book by the table of contents."""
    toc = yaml.safe_load((REPO / "book/_toc.yml").read_text("utf-8"))

    def below(entry: dict) -> list[str]:
        inner = [
            e for key in ("parts", "chapters", "sections") for e in entry.get(key, ())
        ]
        own = [entry[key] for key in ("root", "file") if key in entry]
        return [*own, *(name for e in inner for name in below(e))]

    return below(toc)


def address(name: str) -> str:
    """Return the file:// address of a page; skip if the book was not built."""
    path = HTML / f"{name}.html"
    if not path.is_file():
        what = "the page" if (HTML / "index.html").is_file() else "the built book"
        pytest.skip(f"{what} is missing ({path}): run `make book` first")
    return path.resolve().as_uri()


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium; Playwright's own builds are never fetched."""
    from playwright.sync_api import sync_playwright

    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("no Chromium: `apt install chromium`")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=binary, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Heard:
    """What a page complained about.

    Attributes:
        errors: console errors and uncaught exceptions.
        requests: those that failed, and those that left the machine.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def listen(page: Any, *, local: tuple[str, ...] = ("file:", "data:", "blob:")) -> Heard:
    """Note errors and requests of a page from now on; `local` are allowed."""
    heard = Heard()

    def said(message: Any) -> None:
        if message.type == "error":
            heard.errors.append(f"{message.text} ({message.location.get('url')})")

    def asked(request: Any) -> None:
        if not request.url.startswith(local):
            heard.requests.append(f"left: {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda e: heard.errors.append(str(e)))
    page.on("request", asked)
    page.on("requestfailed", lambda r: heard.requests.append(f"failed: {r.url}"))
    return heard
