"""The landing page's small figures, one a chapter, drawn from receipts at each build.

`rsnb.book.stage` calls `draw`. Nothing is typed here: a figure reads receipts in
`book/results/` or what a page of this tree wrote to `build/results/world/`.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from rsnb.files import read_json, write_bytes
from rsnb.plots import PALETTE, ROLES, STYLE, Figure
from rsnb.report import receipt

SMALL = {**STYLE, "font.size": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7.5,
         "ytick.labelsize": 7.5, "legend.fontsize": 7, "lines.markersize": 3,
         "lines.linewidth": 1.4}  # fmt: skip
PALE = {"backbone": "#BFBFBF", "VCI": "#99C7E0", "QGD": "#E9CBDD"}  # their controls
CADRE = ("backbone", "QGD", "VCI", "CADRE")
Page = Mapping[str, Any]


def figures(name: str) -> Any:
    """Return what a receipt states."""
    return receipt(name)["figures"]


def bars(ax: Any, values: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Draw named bars, the value beside each."""
    colour = [colours.get(k, PALETTE[0]) for k in values]
    drawn = ax.barh(list(values), list(values.values()), 0.7, color=colour)
    ax.bar_label(drawn, fmt="{:.0f}", padding=2, fontsize=7)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="mR on test (%)", xmargin=0.12)


def quickstart(ax: Any, page: Page) -> None:
    """Recall of the backbone under the two ceilings of the data."""
    rows = {"backbone": page["recall"], **page["ceilings"]}
    x = range(3)
    for k, (name, row) in enumerate(rows.items()):
        y = [row[f"t2i_r{n}"] for n in (1, 5, 10)]
        how = {"marker": "oDs"[k], "linestyle": ("-", ":", "--")[k]}
        ax.plot(x, y, color=ROLES.get(name, "#444444"), label=name.split()[0], **how)
    ax.set(ylim=(0, 105), ylabel="t2i recall (%)")
    ax.set_xticks(x, ["R@1", "R@5", "R@10"])
    ax.legend(loc="lower right")


def audit(ax: Any, page: Page) -> None:
    """Estimated against true share of wrong captions."""
    rows = [r for k, r in figures("audit-mismatch-world").items() if k.endswith("%")]
    true = [100 * r["false"] for r in rows]
    told = [100 * r["together"]["all"]["rate"] for r in rows]
    ax.axline((0, 0), slope=1, color="#999999", linewidth=0.8)
    ax.plot(true, told, "o", color=ROLES["noisy"])
    ax.set(xlabel="captions that are wrong (%)", ylabel="estimated (%)")


def backbone(ax: Any, page: Page) -> None:
    """Recall when images shrink, or when only a window is seen."""
    for key, label, mark in (("by_side", "fewer pixels", "o"),
                             ("by_window", "a window", "s")):  # fmt: skip
        colour = PALETTE[key == "by_window"]
        ax.plot(page["shares"], page[key], marker=mark, color=colour, label=label)
    ax.set(xlabel="side, share of the whole", ylabel="mR on test (%)")
    ax.legend()


def noise(ax: Any, page: Page) -> None:
    """Recall against noise for two ways to train."""
    found = figures("noise-world-rn")
    for k, (key, label) in enumerate({"paced": "ours", "infonce": "InfoNCE"}.items()):
        rows = {int(r[:-1]): v for r, v in found[key].items() if r.endswith("%")}
        x = sorted(rows)
        low, mean, high = ([rows[r][w] for r in x] for w in ("low", "mean", "high"))
        ax.fill_between(x, low, high, color=PALETTE[k], alpha=0.18, linewidth=0)
        ax.plot(x, mean, marker="os"[k], color=PALETTE[k], label=label)
    ax.set(xlabel="captions moved (%)", ylabel="mR on test (%)")
    ax.legend(loc="lower left")


def text(ax: Any, page: Page) -> None:
    """Recall of sentences, of the dual encoder, and of both."""
    rows = figures("t2t-world")["rows"]
    names = {"class name only": "class name", "world-rn alone": "backbone",
             "text to text": "text to text", "text + world-rn": "both"}  # fmt: skip
    colours = {"class name": PALE["backbone"], "both": "#4F7F97", **ROLES}
    bars(ax, {short: rows[k]["mR"] for k, short in names.items()}, colours)


def asking(ax: Any, page: Page) -> None:
    """VCI with its own evidence and with that of other images."""
    rows = figures("cadre-world")["backbones"]["world-rn"]["rows"]
    names = {"backbone": "backbone", "VCI, random evidence": "any image's word",
             "VCI, evidence shuffled within class": "same class's",
             "VCI": "VCI"}  # fmt: skip
    values = {v: rows[k]["mR"] for k, v in names.items()}
    bars(ax, values, {**ROLES, **dict.fromkeys(list(values)[1:3], PALE["VCI"])})


def looking(ax: Any, page: Page) -> None:
    """QGD beside what learns as much without guidance."""
    rows = figures("cadre-world")["backbones"]["world-rn"]["rows"]
    names = {"backbone": "backbone", "QGD, global": "no windows",
             "QGD, uniform": "not guided", "QGD": "QGD"}  # fmt: skip
    values = {v: rows[k]["mR"] for k, v in names.items()}
    bars(ax, values, {**ROLES, **dict.fromkeys(list(values)[1:3], PALE["QGD"])})


def cadre(ax: Any, page: Page) -> None:
    """Each system on each backbone."""
    found = figures("cadre-world")["backbones"]
    for k, name in enumerate(CADRE):
        x = [row["rows"][name]["mR"] for row in found.values()]
        ax.plot(x, range(len(x)), "osD^"[k], color=ROLES[name], label=name)
    ax.set_yticks(range(len(found)), list(found))
    ax.set(xlabel="mR on test (%)", ymargin=0.15)
    ax.invert_yaxis()
    ax.figure.legend(loc="outside upper right", ncols=4, columnspacing=0.6,
                     handletextpad=0, borderpad=0)  # fmt: skip


def scale(ax: Any, page: Page) -> None:
    """What a short code keeps of the local similarity's recall."""
    found = figures("bench/local-index")["validation"].values()
    for k, kind in enumerate(("float32", "int8")):
        rows = [r for r in zip(*found, strict=True) if r[0]["kind"] == kind]
        y = [100 * sum(s["ratio"] for s in r) / len(r) for r in rows]
        x = [r[0]["bytes"] for r in rows]
        ax.plot(x, y, marker="os"[k], color=PALETTE[k], label=kind)
    ax.set(xlabel="bytes an image", ylabel="mR kept (%)")
    ax.legend(loc="lower right")


def evidence(ax: Any, page: Page) -> None:
    """Images that a leaky backbone was trained on and others; a clean one beside it."""
    found = figures("findings-real")["leak"]["rsicd-rest"]
    names = {"own": "leaky", "clean": "clean"}
    values = {
        f"{names[b]}, {k}": found[b][k] for b in names for k in ("seen", "others")
    }
    colour = dict(zip(values, (ROLES["noisy"], "#EBB08A", ROLES["clean"], "#8FCFBA"),
                      strict=True))  # fmt: skip
    bars(ax, values, colour)


CHAPTERS: Mapping[str, Callable[[Any, Page], None]] = {
    "00_quickstart": quickstart, "01_audit_data": audit, "02_train_backbone": backbone,
    "03_train_through_noise": noise, "04_text_to_text": text,
    "05_visual_context_injection": asking, "06_query_guided_disambiguation": looking,
    "07_cadre": cadre, "08_scale_out": scale, "09_results": evidence,
}  # fmt: skip


def draw(root: Path, out: Path) -> None:
    """Write `figures/NN.svg` below `out` for each chapter of the tree `root`."""
    for name, make in CHAPTERS.items():
        page = root / "build" / "results" / "world" / f"{name}.json"
        with rc_context(SMALL):
            fig = Figure(figsize=(2.7, 1.65), layout="constrained")
            make(fig.subplots(), read_json(page) if page.is_file() else {})
            fig.patch.set_alpha(0)
            svg = fig._repr_mimebundle_()["image/svg+xml"]
        write_bytes(out / "figures" / f"{name[:2]}.svg", svg.encode())


if __name__ == "__main__":
    draw(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
