"""Publish: stage the executed pages, build the HTML, look it over.

Explained in `book/how_to_run.md`. Sphinx never executes a page: it renders what
`rsnb.runner` left, and only if that still stands (`StalePageError` otherwise). The
build starts clean and a warning fails it, because Jupyter Book returns 0 for a page
with a failed cell, and again for an unchanged bad page in a second build.
"""

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rsnb.errors import RsnbError, StalePageError
from rsnb.files import fingerprint, read_json, sha256_file, write_bytes, write_json
from rsnb.pages import bind, check_pair, executed, find_pages, inputs, stale
from rsnb.profiles import PROFILES

__all__ = ["BuildError", "build", "check_html", "stage"]

RAW_DIRECTIVE = re.compile(r"^\s*(:::+|```+)\s*\{|\{(glue|doc|ref|cite|figure)[^}]*\}`")
COLAB = "colab.research.google.com"
CAPTION = re.compile(r"\*([^*.]*Figure \d+[^*.]*\.\s[^*.]+)")
ROLE = re.compile(r"\{[\w:]+\}`[^`]*`")
#: What docutils and the theme write → what a screen reader makes sense of.
MENDED = {
    "doc-biblioentry": "listitem",
    '<summary><span class="toc': '<summary aria-label="Pages below"><span class="toc',
}


class BuildError(RsnbError):
    """Jupyter Book failed, or the built pages did not pass the checks."""

    exit_code = 1


def stage(root: Path) -> Path:
    """Lay the source tree of the book, with executed pages, in `build/site/`.

    Raises:
        StalePageError: a page was never run on profile `world` with its defaults, or
            its inputs changed since.
        ParameterError: a notebook differs from its `.py`.
    """
    world = PROFILES["world"]
    notebooks = find_pages(root)
    for nb in notebooks:
        check_pair(nb)
    now = inputs(root, world, bind(notebooks, world.data, {}))
    done = {nb: executed(root, world, nb) for nb in notebooks}
    bad = {nb.stem: why for nb in notebooks if (why := stale(done[nb], now[nb]))}
    if bad:
        lines = "\n".join(f"  {name}: {why}" for name, why in bad.items())
        fix = "Run `python -m rsnb run --profile world`, or `make book` for both steps."
        raise StalePageError(f"pages that show another tree than this:\n{lines}\n{fix}")
    site = root / "build" / "site"
    shutil.rmtree(site, ignore_errors=True)
    keep_out = shutil.ignore_patterns("results")
    shutil.copytree(root / "book", site / "book", ignore=keep_out)
    shutil.copy2(root / "_config.yml", site)
    for name in ("landing", "measured"):  # what receipts fill in
        if (script := root / "book" / "figures" / f"{name}.py").is_file():
            runpy.run_path(str(script))["draw"](root, site / "book")
    (site / "notebooks").mkdir()
    for path in done.values():
        write_json(site / "notebooks" / path.name, _described(read_json(path)))
    mathjax = files("sphinx-mathjax-offline") / "static/mathjax/tex-svg.js"
    write_bytes(site / "book" / "_static" / "tex-svg.js", mathjax.read_bytes())
    return site


def _described(page: Any) -> Any:
    """Give the images of an executed page the start of their caption as alt text."""
    alt = ""
    for cell in reversed(page["cells"]):
        if cell["cell_type"] == "code":
            cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
        elif found := CAPTION.search(ROLE.sub("…", "".join(cell["source"]))):
            alt = " ".join(found[1].split())
    return page


def build(root: Path) -> Path:
    """Build the HTML of the book on profile `world`; return its `index.html`.

    HTML that an earlier build made from the same staged tree and lock is kept.

    Raises:
        StalePageError: see `stage`.
        BuildError: a warning, a failed build, or a page that fails `check_html`.
    """
    site, out = stage(root), root / "build" / "_build"
    index, receipt = out / "html" / "index.html", out / "site.json"
    lock = root / "requirements.lock"
    files = [p for p in sorted([*site.rglob("*"), lock]) if p.is_file()]
    key = fingerprint([(p.relative_to(root).as_posix(), sha256_file(p)) for p in files])
    if index.is_file() and receipt.is_file() and read_json(receipt)["site"] == key:
        return index
    shutil.rmtree(out, ignore_errors=True)
    # The CLI looks for the toc from here, Sphinx from the source: only an absolute
    # path is the same for both.
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = ["build", str(site), "--toc", str(site / "book" / "_toc.yml")]
    command += ["--path-output", str(root / "build"), "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode or not index.is_file():
        raise BuildError(f"Jupyter Book failed:\n{done.stdout[-6000:]}")
    for path in (out / "html").rglob("*.html"):
        text = path.read_text("utf-8")
        for old, new in MENDED.items():
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
    problems = list(check_html(out / "html", root))
    if problems:
        raise BuildError("the built pages have faults:\n" + "\n".join(problems))
    write_json(receipt, {"site": key})
    return index


def check_html(html: Path, root: Path) -> Iterator[str]:
    """Yield one line for each fault in the built pages.

    Looked for: no H1; a launch link that Colab cannot open; a link, anchor or image
    inside the book that leads nowhere; empty or pending glue; markup that was not
    rendered; the path `root` of this machine.
    """
    from bs4 import BeautifulSoup

    own = ("genindex.html", "search.html", "py-modindex.html")
    found = sorted(p for p in html.rglob("*.html") if "_static" not in p.parts)
    text = {p.resolve(): p.read_text("utf-8") for p in found}
    soups = {p: BeautifulSoup(t, "html.parser") for p, t in text.items()}
    anchors = {p: {str(t["id"]) for t in s.find_all(id=True)} for p, s in soups.items()}
    for path, soup in soups.items():
        page = path.relative_to(html.resolve()).as_posix()
        if soup.find("meta", attrs={"http-equiv": "Refresh"}) or page in own:
            continue
        if not soup.find("h1"):
            yield f"{page}: no H1"
        if len(root.parts) > 2 and f"{root}/" in str(soup):
            yield f"{page}: shows the path {root}"
        for tag in soup.find_all(["a", "img", "source", "link", "script"]):
            url = str(tag.get("href") or tag.get("src") or "")
            if COLAB in url:
                if not re.search(r"/blob/[^/]+/notebooks/\d\d_\w+\.ipynb$", url):
                    yield f"{page}: Colab cannot open {url}"
            elif fault := _broken(url, path, html, anchors):
                yield f"{page}: {fault}"
        for tag in soup.find_all(class_=re.compile("^(pasted-)|problematic")):
            if not tag.get_text(strip=True) and not tag.find(["img", "table", "svg"]):
                yield f"{page}: empty glue"
        for tag in soup.select("code, pre, script, style, .cell_output"):
            tag.decompose()
        for line in soup.get_text("\n").splitlines():
            if "Pending glue" in line or RAW_DIRECTIVE.search(line):
                yield f"{page}: not rendered: {line.strip()[:80]}"


def _broken(url: str, page: Path, html: Path, anchors: dict[Path, set[str]]) -> str:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(html.resolve()) or not target.exists():
        return f"broken link {url}"
    ids = anchors.get(target)  # of a page of ours
    if parts.fragment and ids is not None and unquote(parts.fragment) not in ids:
        return f"no such anchor {url}"
    return ""
