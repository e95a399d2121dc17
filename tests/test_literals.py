"""No measured number is typed in the book: every literal in its prose is accounted for.

The walk reads the sources of all pages and leaves out what is no prose: code, math,
roles, placeholders that receipts fill, targets of links. Of the numbers that are left,
`RULES` take years and references. Each other one needs a row in `literals.csv`:

- `setting`: what somebody chose, or a fixed size of a data set. `source` is the file
  that states it, which must hold the number, or `here: ...` if the page states it;
- `definition`: arithmetic, or the meaning of a word or a metric;
- `published`: another's result. `source` is the file with all of them, or a citation.

A measured number has no kind. It comes from a receipt, by glue or by `[[name:path:f]]`.
"""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

REPO = Path(__file__).resolve().parents[1]
SOURCES = [
    *sorted(REPO.glob("notebooks/[0-9][0-9]_*.py")),
    *sorted(REPO.glob("book/*.md")),
    *sorted(REPO.glob("book/api/*.md")),
    REPO / "README.md",
]
KINDS = ("setting", "definition", "published")

WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30,
    "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90, "hundred": 100, "half an": 0.5,
}  # fmt: skip
UNITS = r"(?:milli)?seconds?|minutes?|hours?|days?|per ?cent|points?|times|[kMG]B"
LITERAL = re.compile(
    r"(?<![\w@])(?<![A-Za-z][/-])(?<!\w\.)"  # B/32, UTF-8, R@10, v0.1 are names
    r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?"
    r"(?=(?:[x×sh]|ms|min|[kMG]B?|th)?(?!\w))"
    rf"|\b(?:{'|'.join(WORDS)})(?= (?:{UNITS})\b)",
    re.I,
)
REFERENCE = r"(?:Figures?|Tables?|Pages?|Notebooks?|Explorers?|Sections?|Equations?)"
RULES = {
    "a year": r"\b(?:19[5-9]|20[0-3])\d\b",
    "a reference": rf"(?i:\b{REFERENCE}) \d+\b(?:(?:,| and| or| to|–)+ ?\d+\b)*",
    "a page's title": r"(?:^|\| |¶ )(?:0\d|1\d) (?=[A-Z])",
    "a numbered step": r"¶ (?:#+ )?\d\d?\. ",
}


# Prose

FENCE = re.compile(r"\s*(`{3,}|:{3,})\s*(?:\{([\w-]+)\})?\s*(.*)")
TOLD = {"admonition", "note", "tip", "warning", "dropdown", "grid-item-card"}
OPTION = re.compile(r"\s*:([\w-]+):(?:\s+(.*))?$")
SPAN = r"(?:[^{0}\n]|\n(?!\s*\n))+"
NO_PROSE = [re.compile(p, re.S) for p in (
    r"\A---\n.*?\n---\n",
    r"<!--.*?-->",
    r"\{[\w:]+\}" + f"`{SPAN.format('`')}`",  # roles, glue and citations among them
    r"\[\[[^\]\n]+:[^\]\n]+\]\]",
    r"https?://[^\s)>\]]+",
    r"(?<=\])\([^)\n]*\)",  # where a link leads
)]  # fmt: skip
# Code and math, unless that is a bare number, which would be prose in disguise. What
# is measured has decimals as a rule and our formulas have none: math keeps its own.
QUOTED = re.compile(
    r"(?P<mark>`+)(?P<code>(?:(?!(?P=mark)).|\n(?!\s*\n))+?)(?P=mark)"
    rf"|\$\$(?P<block>[^$]+)\$\$|\$(?P<math>{SPAN.format('$')})\$"
)


def quoted(found: re.Match[str]) -> str:
    inner = found["code"] or found["block"] or found["math"]
    plain = re.sub(r"\\[,;:!% ]", " ", inner)
    if not re.search(r"[A-Za-z\\=]", plain):
        return plain
    return " ".join(["…", *([] if found["code"] else re.findall(r"\d+\.\d+", inner))])


def prose(text: str) -> str:
    """Return what a reader reads of Markdown, in one line; "¶ " begins one."""
    for pattern in NO_PROSE:
        text = pattern.sub("…", text)
    lines: list[str] = []
    inside: list[tuple[str, bool]] = []  # fences: mark, whether they hold prose
    for line in text.splitlines():
        reads = not inside or inside[-1][1]
        if inside and line.strip() == inside[-1][0]:
            inside.pop()
        elif not reads:  # of code, the comments
            lines += [f"¶ {c}" for c in re.findall(r"(?:^|\s)# (.*)", line)]
        elif found := FENCE.match(line):
            mark, directive, title = found.groups()
            inside.append((mark, mark[0] == ":" or directive in TOLD))
            lines.append(f"¶ {title}" if directive in TOLD else "")
        elif option := OPTION.match(line):
            lines.append(f"¶ {option[2]}" if option[1].endswith("alt") else "")
        else:
            begins = re.match(r"\s*([-*#|>:]|\d+\.) |\s*$", line)
            lines.append(f"¶ {line}" if begins else line)
    told = " ".join(QUOTED.sub(quoted, "\n".join(lines)).split())
    return re.sub(r"(?:¶ )+", "¶ ", told)


@cache
def pages() -> dict[str, str]:
    """Return name → prose of every page."""
    out = {}
    for path in SOURCES:
        text = path.read_text("utf-8")
        if path.suffix == ".py":
            cells = re.split(r"(?m)^# %%(.*)\n", text)[1:]
            told = zip(cells[::2], cells[1::2], strict=True)
            text = "\n\n".join(c for how, c in told if how.startswith(" [markdown]"))
            text = re.sub(r"(?m)^# ?", "", text)
        name = path.relative_to(REPO).with_suffix("").as_posix()
        out[re.sub(r"^(notebooks|book)/", "", name)] = prose(text)
    return out


# Rows


class Row(NamedTuple):
    page: str
    literal: str  # one, or several in the order of the context
    context: str  # as the prose has it
    kind: str
    source: str


@cache
def rows() -> tuple[Row, ...]:
    with (REPO / "tests" / "literals.csv").open(encoding="utf-8", newline="") as file:
        return tuple(Row(**row) for row in csv.DictReader(file))


def places(row: Row, text: str) -> set[int]:
    """Return where in `text` the literals of a row stand; empty if it is stale."""
    out: set[int] = set()
    for span in re.finditer(re.escape(row.context), text):
        left = row.literal.split(" ")
        for m in LITERAL.finditer(text, span.start()):
            if not left or m.end() > span.end():
                break
            if m[0] == left[0]:
                out.add(m.start())
                left.pop(0)
        if left:
            return set()
    return out


def unexplained(page: str, text: str, given: tuple[Row, ...]) -> list[str]:
    """Return literals without a reason, and rows that explain nothing (any more)."""
    ruled = [m.span() for rule in RULES.values() for m in re.finditer(rule, text)]
    open_ = {
        m.start(): m
        for m in LITERAL.finditer(text)
        if not any(a <= m.start() < b for a, b in ruled)
    }
    bad, left = [], dict(open_)
    for row in given:
        if row.page == page:
            mine = places(row, text)
            if not mine & left.keys():
                bad.append(f"{page}: stale row: {row.literal!r} in {row.context!r}")
            left = {at: m for at, m in left.items() if at not in mine}
    return bad + [
        f"{page}: {m[0]!r} typed in: {text[max(0, at - 60) : m.end() + 40]}"
        for at, m in left.items()
    ]


# What is walked


@pytest.mark.parametrize("page", pages())
def test_no_number_is_typed_without_a_reason(page):
    assert not unexplained(page, pages()[page], rows())


def test_every_page_of_the_contents_is_walked():
    toc = (REPO / "book/_toc.yml").read_text("utf-8")
    files = set(re.findall(r"(?:file|root): (\S+)", toc))
    assert {re.sub(r"^(notebooks|book)/", "", f) for f in files} <= set(pages())


@cache
def stated(path: str) -> set[float]:
    """Return the numbers of a file; of a page, those of its code."""
    text = (REPO / path).read_text("utf-8")
    if path.startswith("notebooks/"):
        text = re.sub(r"(?m)^#.*", "", text)
    text = re.sub(r"(?<=\d)[,_](?=\d{3}(?!\d))", "", text)
    found = re.findall(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?", text)
    return {float(n) for n in found}


def unfounded(row: Row) -> str:
    """Return what is wrong with the kind or the source of a row."""
    if row.page not in pages():
        return "no such page"
    if row.kind not in KINDS:
        return f"kind {row.kind!r}"
    if len(re.findall(r"[A-Za-z]{2,}|[^\s\w]", row.context)) < 2:
        return "context too short"
    if row.kind == "definition" or row.source.startswith("here: "):
        if row.kind == "published":
            return "published here?"
        return "" if row.source else "no reason"
    bib = (REPO / "book/references.bib").read_text("utf-8")
    if row.kind == "published" and re.search(rf"\{{{re.escape(row.source)},", bib):
        return ""
    file = row.source.partition(":")[0]
    if not (REPO / file).is_file():
        return f"no file {file!r}"
    for one in row.literal.split(" "):
        value = WORDS.get(one.lower()) or float(one.replace(",", ""))
        digits = 6 if row.kind == "setting" else len(one.partition(".")[2])
        if value not in {round(k * n, digits) for n in stated(file) for k in (1, 100)}:
            return f"{file} does not state {one}"
    return ""


def test_every_row_says_where_its_number_is_from():
    assert not [(row, why) for row in rows() if (why := unfounded(row))]


DURATION = re.compile(
    rf"\b(?:\d[\d.,]*|about an?|half an|a few|{'|'.join(WORDS)}|minute or two)"
    r" (?:µs|ms|s|seconds?|minutes?|hours?)\b"
)


def test_no_docstring_states_a_time():
    """The pages of the API show them, and no receipt can fill them."""
    found = {
        path.name: hit
        for path in REPO.glob("src/rsnb/**/*.py")
        for text in re.findall(r'"""(.*?)"""', path.read_text("utf-8"), re.S)
        if (hit := DURATION.findall(" ".join(text.split())))
    }
    assert not found


# What the walk sees


@pytest.mark.parametrize(
    "typed",
    [
        "The backbone reaches mR 61.4 on test.",
        "It takes about 13 min from nothing.",
        "It is 2.7x faster.",
        "It is twelve times faster, or half an hour.",
        "A gain of +0.9 points (p = 3e-4).",
        "```{admonition} Solution\n:class: dropdown\nIt loses 7 %.\n```",
        "```bash\nmake book   # about 9 minutes\n```",
        ":::{grid-item-card} Found\n:img-alt: recall rises to 80\n:::",
        "Recall is $R = 61.4$.",
        "Recall is $61.4$, or $61.4\\,\\%$, or `61.4` %.",
        "| `world` | 15 min |",
        "*Figure 3. Ours has 61 %.*",
        "1. It found 7 of them.",
    ],
)
def test_a_planted_number_is_caught(typed):
    page = "00_quickstart"
    known = unexplained(page, pages()[page], rows())
    text = pages()[page] + " " + prose(typed)
    assert len(unexplained(page, text, rows())) > len(known)


@pytest.mark.parametrize(
    "fine",
    [
        "R@10, CLIP B/32, ViT-B-32, RN50, MiniLM-L6, UTF-8, float16, `k = 3`, v0.1.0",
        "mR {glue:text}`mR:.1f`; [[bench/cadre:a/0:.1f]] ms; {cite}`song2026rrsitr`",
        "[here](https://example.org/12), $x = 5$, and $$a_{12}$$, since 2019",
        "Figures 1 and 2, Table 3, page 07, pages 02 to 07 and notebook 10",
        "1. First\n2. Second\n\n### 3. Third",
        "```python\nx = 12\n```",
    ],
)
def test_names_code_and_references_are_no_literals(fine):
    assert not unexplained("", prose(fine), ())


def test_a_row_goes_stale_with_its_sentence():
    row = Row("a", "450 2,250", "450 images with 2,250 captions", "setting", "")
    text = "Test has 450 images with 2,250 captions."
    assert not unexplained("a", text, (row,))
    for other in ("451 images with 2,250 captions", "450 pictures", ""):
        bad = unexplained("a", text.replace(row.context, other), (row,))
        assert any("stale row" in b for b in bad)
    assert any("stale row" in b for b in unexplained("a", text, (row, row)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "measured"}, "kind"),
        ({"page": "11_more"}, "no such page"),
        ({"context": "450"}, "too short"),
        ({"source": ""}, "no file"),
        ({"literal": "463"}, "does not state"),
        ({"kind": "published", "source": "here: we say so"}, "published here"),
    ],
)
def test_a_row_without_a_reason_is_refused(change, says):
    source = "src/rsnb/world/scene.py"
    row = Row("README", "450", "450 test images", "setting", source)
    assert not unfounded(row)
    assert says in unfounded(row._replace(**change))


def test_the_prose_of_a_notebook_is_that_of_its_pair():
    """The walk splits cells by itself; the `.ipynb` says whether it does so rightly."""
    path = REPO / "notebooks" / "00_quickstart.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    told = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert prose("\n\n".join(told)) == pages()["00_quickstart"]
