"""Fill the page of measurements from receipts, at each build.

`rsnb.book.stage` calls `draw`. In `book/benchmarks.md`, `[[name:path:format]]` stands
for one number of the receipt `bench/name`, and a line `[[table:name]]` for a table that
a function here makes. Nothing measured is typed in either file.
"""

import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from rsnb.files import write_bytes
from rsnb.report import receipt

NUMBER = re.compile(r"\[\[(\w[\w-]*):([^:\]]+):([^\]]*)\]\]")
TABLE = re.compile(r"^\[\[table:(\w+)\]\]$", re.M)


def figures(name: str) -> Any:
    """Return what the receipt of a benchmark states."""
    return receipt(f"bench/{name}")["figures"]


def rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all but the first column are set to the right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(seconds: float) -> str:
    """Return a time in milliseconds, three figures or all before the point."""
    t = 1000 * seconds
    return f"{t:,.0f}" if t >= 100 else f"{t:.3g}"


def recall() -> str:
    """Recall of all six kinds, beside two peers."""
    body = []
    for row in figures("recall").values():
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


def train() -> str:
    """Training steps, beside open_clip's own loop."""
    body = []
    for name, row in figures("train").items():
        if isinstance(row, dict):
            for arm, speed in row["images_per_second"].items():
                ratio = row["images_per_second"]["rsnb"]["median"] / speed["median"]
                body.append([name, arm.replace("_", " "), f"{speed['median']:,.0f}",
                             f"{ratio:.2f}"])  # fmt: skip
    return rows(["backbone", "arm", "images/s", "ours over it"], body)


def local() -> str:
    """The local similarity by Gram matrices and directly."""
    found = figures("local-similarity")
    times = {k: statistics.median(v) for k, v in found["all_seconds"].items()}
    body = [[form, f"{t:.2f}", f"{found['peak_mb'][form]:,.0f}",
             f"{t / times['gram']:.1f}"] for form, t in times.items()]  # fmt: skip
    return rows(["form", "s", "MB extra", "times ours"], body)


def grouped() -> str:
    """Text-to-text retrieval of a test set, beside the published loop."""
    found = figures("t2t-search")
    body = [[arm, f"{t:.2f}", f"{found['speedup'][arm]:.1f}"]
            for arm, t in found["seconds"].items()]  # fmt: skip
    return rows(["form", "s", "loop over it"], body)


def cadre() -> str:
    """CADRE a query, by candidates and views."""
    found = figures("cadre")
    body = [[f"{what} {n}", f"{r['median']:.1f}", f"{r['p95']:.1f}"]
            for what, by in (("K =", found["candidates"]), ("views:", found["views"]),
                             ("gallery of", found["gallery"]))
            for n, r in sorted(by.items(), key=lambda kv: int(kv[0]))]  # fmt: skip
    return rows(["setting", "median ms", "95 % below"], body)


TABLES: Mapping[str, Callable[[], str]] = {
    "recall": recall, "train": train, "local": local, "grouped": grouped,
    "cadre": cadre,
}  # fmt: skip


def fill(text: str) -> str:
    """Return a page with all its numbers and tables."""

    def number(found: re.Match[str]) -> str:
        name, path, spec = found.groups()
        value = reduce(lambda at, key: at[int(key) if isinstance(at, list) else key],
                       path.split("/"), figures(name))  # fmt: skip
        return format(value, spec)

    return NUMBER.sub(number, TABLE.sub(lambda m: TABLES[m[1]](), text))


def draw(root: Path, out: Path) -> None:
    """Write the filled page of the tree `root` to the folder `out`."""
    text = (root / "book" / "benchmarks.md").read_text("utf-8")
    write_bytes(out / "benchmarks.md", fill(text).encode())


if __name__ == "__main__":
    draw(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
