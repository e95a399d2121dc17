"""A live explorer in a real JupyterLab: the kernel answers, the browser draws."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from browser import DATA, NAMES, PAGE, SCREENS, SET, WIDE, address, chromium

CODE = """\
import json
from rsnb.widgets import Explorer

data = json.load(open("data.json"))

def answer(text):
    return {"query": {**data["queries"][1], "query": text + ", said the kernel"}}

Explorer("retrieval", data, answer)"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def lab(tmp_path, browser):
    """Start JupyterLab over a folder with one notebook; return its address."""
    page = browser.new_page()
    page.goto(address(PAGE))
    section = page.locator(f'section[aria-label="{NAMES["retrieval"]}"]')
    root = tmp_path / "root"
    root.mkdir()
    (root / "data.json").write_text(json.dumps(section.evaluate(DATA)["data"]))
    page.close()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(CODE)]
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(nb, root / "explore.ipynb")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = os.urandom(16).hex()
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port,
        "ServerApp.root_dir": root, "ServerApp.open_browser": False,
        "ServerApp.allow_root": True, "IdentityProvider.token": token,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    homes = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    env = {**os.environ, **{h: str(tmp_path / h) for h in homes}}
    env |= {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    env.pop("RSNB_STATIC", None)
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab",
             *(f"--{name}={value}" for name, value in options.items())],
            env=env, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait(f"{url}/api/status?token={token}", server, tmp_path / "log")
        yield f"{url}/lab/tree/explore.ipynb?token={token}"
    finally:
        server.terminate()  # it ends its kernel first
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait(url, server, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no JupyterLab:\n{log.read_text()[-2000:]}")


def test_a_live_explorer_reranks_and_asks_the_kernel(lab, browser):
    context = browser.new_context(
        viewport={"width": WIDE, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(lab)
    # A cell that is run before there is a kernel stays as it is, without a word.
    page.locator(".jp-StatusBar-Widget").get_by_text("| Idle").wait_for()
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.press("Shift+Enter")
    section = page.locator(f'section[aria-label="{NAMES["retrieval"]}"]')
    ranking, summary = section.locator("[data-order]"), section.locator(".summary")
    before = ranking.get_attribute("data-order"), summary.text_content()
    slider = section.get_by_role("slider", name="Candidates asked, K")
    slider.focus()
    page.keyboard.press("Home")  # nobody is asked
    after = ranking.get_attribute("data-order"), summary.text_content()
    assert after[0] != before[0]
    assert "0 of 0" in after[1]

    section.get_by_role("textbox").fill("a harbor")
    section.get_by_role("button", name="Search").click()
    section.get_by_text("Answered by the kernel.").wait_for()
    chosen = section.get_by_role("combobox").locator("option:checked").text_content()
    assert chosen == "a harbor, said the kernel"
    off = {"QGD looks again": False, "VCI asks": False}
    [found] = section.evaluate(SET, [off])  # what is left is the backbone's order
    assert found["orders"][0] == sorted(found["orders"][0])
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / "jupyterlab.png")
    context.close()
