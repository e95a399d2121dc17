"""Fill the pages of measurements from receipts, at each build.

`rsnb.book.stage` calls `draw`. In the sources of `PAGES`, `[[name:path:format]]` stands
for one number of the receipt `name`, `[[promise:P1]]` for what the battery found of a
promise, and a line `[[table:name]]` for a table that a function here makes. Nothing
measured is typed in any of them: `tests/test_literals.py` looks.
"""

import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from rsnb.errors import ParameterError
from rsnb.files import read_json, write_bytes
from rsnb.findings import NAMES, read
from rsnb.findings import bands as arm_bands
from rsnb.plots import Figure, bands
from rsnb.report import receipt, shelf
from rsnb.stats import holm

PAGES = ("benchmarks", "how_to_run", "kin", "reliability")
NUMBER = re.compile(r"\[\[(\w[\w/-]*):([^:\]]+):([^\]]*)\]\]")
TABLE = re.compile(r"^\[\[table:(\w+)\]\]$", re.M)
PROMISE = re.compile(r"\[\[promise:(\w+)\]\]")


def figures(name: str) -> Any:
    """Return what a receipt states."""
    return receipt(name)["figures"]


def rows(head: Sequence[str], body: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table; columns after the first `words` are set to the right."""
    lines = [head, [":--"] * words + ["--:"] * (len(head) - words), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(seconds: float) -> str:
    """Return a time in milliseconds, three figures or all before the point."""
    t = 1000 * seconds
    return f"{t:,.0f}" if t >= 100 else f"{t:.3g}"


def recall() -> str:
    """Recall of all six kinds, beside two peers."""
    body = []
    for row in figures("bench/recall").values():
        if not isinstance(row, dict) or "seconds" not in row:
            continue
        size = f"{row['images']:,} x {row['captions']:,}, {row['dim']}"
        for arm, t in row["seconds"].items():
            mb = row["extra_mb"].get(arm.split(",")[0])
            body.append([size, arm, ms(t), f"{row['speedup'][arm]:,.1f}",
                         "–" if mb is None else f"{mb:,.0f}"])  # fmt: skip
    return rows(
        ["images x captions, dim", "form", "ms", "times ours", "MB extra"], body
    )


def loading() -> str:
    """Decoding and resizing, beside a DataLoader."""
    body = []
    for name, row in figures("bench/loading").items():
        if isinstance(row, dict) and "speedup" in row:
            first, second = row["speedup"], row["speedup_second"]
            each = 1000 * row["seconds"]["rsnb"] / row["images"]
            body.append([name, f"{row['images']:,}", f"{each:.2f}",
                         f"{first['uint8']:.2f}", f"{first['float']:.2f}",
                         f"{second['uint8']:,.0f}"])  # fmt: skip
    head = ["images", "number", "ms an image", "x, to uint8", "x, to float"]
    return rows([*head, "x, second pass"], body)


def embedding() -> str:
    """Embedding, beside a plain loop."""
    body = []
    for name, row in figures("bench/embedding").items():
        for what in ("embed images", "embed texts"):
            if isinstance(row, dict) and what in row:
                x = row[what]
                body.append([f"{name}, {what}", ms(x["seconds"]["rsnb"]),
                             f"{x['speedup']:.2f}", f"{x['speedup_ready']:.2f}",
                             f"{100 * x['forward_share']:.1f}"])  # fmt: skip
    head = ["backbone, work", "ms", "x plain loop", "x loop on ready tensors"]
    return rows([*head, "% in the model"], body)


def train() -> str:
    """Training steps, beside open_clip's own loop."""
    body = []
    for name, row in figures("bench/train").items():
        if isinstance(row, dict):
            for arm, speed in row["images_per_second"].items():
                ratio = row["images_per_second"]["rsnb"]["median"] / speed["median"]
                body.append([name, arm.replace("_", " "), f"{speed['median']:,.0f}",
                             f"{ratio:.2f}"])  # fmt: skip
    return rows(["backbone", "arm", "images/s", "ours over it"], body)


def local() -> str:
    """The local similarity by Gram matrices and directly."""
    found = figures("bench/local-similarity")
    times = {k: statistics.median(v) for k, v in found["all_seconds"].items()}
    body = [[form, f"{t:.2f}", f"{found['peak_mb'][form]:,.0f}",
             f"{t / times['gram']:.1f}"] for form, t in times.items()]  # fmt: skip
    return rows(["form", "s", "MB extra", "times ours"], body)


def grouped() -> str:
    """Text-to-text retrieval of a test set, beside the published loop."""
    found = figures("bench/t2t-search")
    body = [[arm, f"{t:.2f}", f"{found['speedup'][arm]:.1f}"]
            for arm, t in found["seconds"].items()]  # fmt: skip
    return rows(["form", "s", "loop over it"], body)


def exact() -> str:
    """Exact search, beside peers and limits."""
    body = []
    for shape, by in figures("bench/search")["exact"].items():
        n, dim = shape.split(" x ")
        for c, row in sorted(by.items(), key=lambda kv: int(kv[0])):
            took = row["seconds"]
            body.append([f"{int(n):,} x {dim}", f"{int(c):,}", *(ms(took[k]) for k in
                         ("rsnb", "NumPy", "torch", "FAISS", "FAISS, tuned")),
                         row["binds"],
                         f"{100 * row['share_of_limit']:.0f}"])  # fmt: skip
    head = ["rows x dim", "queries", "ours, ms", "NumPy", "torch", "FAISS"]
    return rows([*head, "FAISS, tuned", "binds", "% of limit"], body)


def cadre() -> str:
    """CADRE a query, by candidates and views."""
    found = figures("bench/cadre")
    body = [[f"{what} {n}", f"{r['median']:.1f}", f"{r['p95']:.1f}"]
            for what, by in (("K =", found["candidates"]), ("views:", found["views"]),
                             ("gallery of", found["gallery"]))
            for n, r in sorted(by.items(), key=lambda kv: int(kv[0]))]  # fmt: skip
    return rows(["setting", "median ms", "95 % below"], body)


def book() -> str:
    """The book, cold and warm; its receipt comes from a copy that has none yet."""
    try:
        found = figures("bench/book")
    except ParameterError:
        return rows(["`make book`", "s"], [["not measured in this copy", ""]])
    body = [["from nothing", f"{found['cold']:,.0f}"],
            *([f"… page {name}", f"{t:,.0f}"] for name, t in found["pages"].items()),
            ["one word of prose changed", f"{found['prose_changed']:,.0f}"],
            ["nothing changed", f"{found['warm']:,.0f}"]]  # fmt: skip
    return rows(["`make book`", "s"], body)


def promise(name: str) -> str:
    """Return two cells: checks passed, and twins that failed without the mechanism."""
    found = figures("trust")["battery"]["promises"][name]
    checks, off = (found[way].get("passed", 0) for way in ("checks", "off"))
    skipped = sum(found[way].get("skipped", 0) for way in ("checks", "off"))
    return f"{checks:,}{f', {skipped} skipped' if skipped else ''} | {off}"


def handed() -> str:
    """Numbers that the tests handed over, by promise."""
    found = figures("trust")["battery"]["promises"]
    body = []
    for name in sorted(found, key=lambda n: (not n.startswith("P"), len(n), n)):
        for what, kept in found[name]["figures"].items():
            of = "" if kept["of"] is None else f" of {kept['of']:,}"
            body.append([name, what, f"{_plain(kept['value'])}{of}"])
    return rows(["promise", "what", "last run"], body, words=2)


def fuzzed() -> str:
    """What the fuzzer did, by target."""
    body = [[name, *(f"{row[k]:,}" for k in
             ("seconds", "executions", "edges", "corpus files", "uncaught"))]
            for name, row in figures("trust")["fuzz"]["targets"].items()]  # fmt: skip
    head = ["target", "s", "executions", "edges", "inputs kept", "uncaught errors"]
    return rows(head, body)


def covered() -> str:
    """Line coverage of the package and of the modules that must be whole."""
    found = figures("trust").get("coverage", {})
    body = [[f"all {found['lines']:,} statements", f"{found['total']:.1f}"],
            *([f"`rsnb.{name}`", f"{found[name]:.1f}"]
              for name in ("metrics", "recall", "files", "cache"))] \
        if found else [["not run in this copy", ""]]  # fmt: skip
    if found.get("failed"):
        body.append([f"tests that failed in that run: {found['failed']}", ""])
    return rows(["lines", "% run"], body)


def mutated() -> str:
    """How many changed lines the tests noticed, by module."""
    found = figures("trust")["mutate"]
    body = [[name, *(f"{row[k]:,}" for k in ("mutants", "tried", "killed")),
             f"{100 * row['killed'] / row['tried']:.1f}"]
            for name, row in found["modules"].items()]  # fmt: skip
    body.append(["all", "", f"{found['tried']:,}", f"{found['killed']:,}",
                 f"{found['percent']:.1f}"])  # fmt: skip
    return rows(["module", "mutants", "tried", "killed", "%"], body)


def again() -> str:
    """Runs of the fast suite in a row."""
    found = figures("trust").get("repeat")
    keys = ("runs", "failures", "tests", "seconds")
    body = [[f"{found[k]:,}" for k in keys]] if found else [["not run", "", "", ""]]
    return rows(["runs in a row", "failed", "tests in each", "s, median"], body)


def pythons() -> str:
    """The fast suite under each Python."""
    body = []
    found = figures("trust").get("matrix", {"versions": {}})
    for version, row in found["versions"].items():
        if why := row.get("not run"):
            body.append([version, "", "", f"not run: {why}"])
        else:
            counts = (f"{row.get(k, 0):,}" for k in ("passed", "failed"))
            body.append([version, *counts, row["installed"]])
    body = body or [["all", "", "", "not run in this copy"]]
    return rows(["Python", "passed", "failed", "installed"], body)


def eliminated() -> str:
    """Eliminate late beside its nearest relatives, on the arms that it has."""
    arms = read("world-rn")
    own = {(r["start"], r["rate"], r["draw"])
           for r in arms if r["method"] == "eliminate"}  # fmt: skip
    arms = [r for r in arms if (r["start"], r["rate"], r["draw"]) in own]
    rates, table, body = sorted({rate for _, rate, _ in own}), arm_bands(arms), []
    for method in ("paced", "scaled", "rcl", "eliminate", "wise", "infonce"):
        row = table.get(method, {})
        each = [f"{row[r].mean:.1f}" if r in row else "–" for r in rates]
        body.append([NAMES[method], *each, f"{sum(b.n for b in row.values())}"])
    return rows(["method", *(f"{100 * r:.0f} %" for r in rates), "arms"], body)


def behind() -> str:
    """Ours minus eliminate late, paired."""
    body = [[r["noise"].replace("%", " %"), f"{r['points']:+.1f}", r["95 %"], r["p"],
             str(r["arms"])] for r in figures("noise-world-rn")["gaps"]
            if r["ours minus"] == NAMES["eliminate"]]  # fmt: skip
    none = [["not measured in this copy", "", "", "", ""]]
    return rows(["moved", "ours minus it", "95 %", "p", "arms"], body or none)


def tried() -> str:
    """The settings of eliminate late, on validation."""
    body = []
    for path in sorted((shelf() / "noise" / "world-rn").glob("eliminate-*-d9-t?.json")):
        row = read_json(path)
        drop = re.search(r"drop=([\d.]+)", row["how"])
        share = f"{100 * float(drop[1]):.0f} %" if drop else ""
        body.append([share, f"{row['settings']['lr']:g}", f"{row['val_mR']:.1f}"])
    return rows(["dropped", "rate of learning", "mR on validation"],
                body or [["not measured in this copy", "", ""]])  # fmt: skip


def looked() -> str:
    """A second look at the best, by backbone; p is for all rows together."""
    try:
        found = figures("kin-world")["looks"]
    except ParameterError:
        return rows(["backbone", "points"], [["not measured in this copy", ""]])
    kinds, body = {"local": "local similarity", "guided": "guided patches"}, []
    ways = [(name, kind) for name in sorted(found, reverse=True) for kind in kinds]
    adjusted = holm([found[name][kind]["p"] for name, kind in ways])
    for (name, kind), p in zip(ways, adjusted, strict=True):
        row = found[name][kind]
        at = "; ".join(f"{k if k < 10**5 else 'all'}, {w:g}"
                       for k, w in (row["t2i"], row["i2t"]))  # fmt: skip
        span = f"{row['low']:+.1f} to {row['high']:+.1f}"
        body.append([name, kinds[kind], at, f"{found[name]['global']:.1f}",
                     f"{row['gain']:+.1f}", span, f"{p:.4f}"])  # fmt: skip
    head = ["backbone", "second look", "K, weight (t2i; i2t)", "cosine", "points"]
    return rows([*head, "95 %", "p, Holm"], body, words=3)


#: How the forms of codes are called in table and figure, in their order.
CODES: Mapping[str, str] = {
    "ours": "learned on noise, ours", "InfoNCE": "learned on noise, InfoNCE",
    "ITQ": "ITQ", "random directions": "random directions",
    "InfoNCE, no noise": "learned on true pairs", "PQ": "PQ, query not coded",
}  # fmt: skip


def hashed() -> str:
    """Recall of binary codes, by bytes."""
    try:
        found = figures("kin-world")["hashes"]
    except ParameterError:
        return rows(["backbone", "form"], [["not measured in this copy", ""]])
    sizes = sorted({int(n) for x in found.values() for c in x["curves"].values()
                    for n in c})  # fmt: skip
    body = []
    for name in sorted(found, reverse=True):
        for form, said in CODES.items():
            by = found[name]["curves"].get(form, {})
            each = [f"{by[str(n)]['mR']:.1f}" if str(n) in by else "–" for n in sizes]
            body.append([name, said, *each])
    return rows(["backbone", "form", *(f"{n} B" for n in sizes)], body, words=2)


def curve(name: str = "world-rn-robust") -> Figure:
    """Return recall against bytes; a step along the axis doubles the code."""
    found = figures("kin-world")["hashes"][name]
    sizes = sorted(map(int, found["curves"]["ours"]))
    lines = {
        said: {sizes.index(int(n)): (r["mR"], r["low"], r["high"])
               for n, r in found["curves"][form].items()}
        for form, said in CODES.items()
    }  # fmt: skip
    fig = bands(lines, "bytes an item (each step doubles them)", "mR on test (%)")
    [ax] = fig.axes
    ax.axhline(found["float32"], color="#444444", linestyle="--", linewidth=1)
    said = f"float32, {found['bytes']} bytes"
    ax.annotate(said, (0, found["float32"]), (0, 3), textcoords="offset points",
                fontsize=8)  # fmt: skip
    ax.set_xticks(range(len(sizes)), list(map(str, sizes)))
    ax.set_ylim(0, None)
    return fig


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


TABLES: Mapping[str, Callable[[], str]] = {
    "recall": recall, "loading": loading, "embedding": embedding, "train": train,
    "local": local, "grouped": grouped, "exact": exact, "cadre": cadre, "book": book,
    "handed": handed, "fuzzed": fuzzed, "covered": covered, "mutated": mutated,
    "again": again, "pythons": pythons, "eliminated": eliminated,
    "behind": behind, "tried": tried, "looked": looked, "hashed": hashed,
}  # fmt: skip


def fill(text: str) -> str:
    """Return a page with all its numbers and tables."""

    def number(found: re.Match[str]) -> str:
        name, path, spec = found.groups()
        value = reduce(lambda at, key: at[int(key) if isinstance(at, list) else key],
                       path.split("/"), figures(name))  # fmt: skip
        return format(value, spec)

    text = TABLE.sub(lambda m: TABLES[m[1]](), text)
    return NUMBER.sub(number, PROMISE.sub(lambda m: promise(m[1]), text))


def draw(root: Path, out: Path) -> None:
    """Write the filled pages of the tree `root` to the folder `out`."""
    for page in PAGES:
        text = (root / "book" / f"{page}.md").read_text("utf-8")
        write_bytes(out / f"{page}.md", fill(text).encode())
    svg = curve()._repr_mimebundle_()["image/svg+xml"]
    write_bytes(out / "figures" / "kin.svg", svg.encode())


if __name__ == "__main__":
    draw(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
