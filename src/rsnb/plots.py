"""One figure style: two sizes, fixed colours, SVG for lines and PNG for images.

Explained in `book/how_to_run.md`. Nothing global is set (no pyplot): equal data gives
equal bytes. A label with a role in the book (`ROLES`) has its colour on every page.
"""

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as _Figure
from PIL import Image

from rsnb.errors import ParameterError
from rsnb.pairs import Pairs

__all__ = ["FULL", "HALF", "PALETTE", "ROLES", "STYLE", "Figure", "bands", "bars",
           "curves", "heatmaps", "histograms", "results", "strip",
           "testimony"]  # fmt: skip

FULL, HALF = (6.5, 3.2), (3.2, 2.6)  # inches
#: Okabe and Ito's colours, told apart with every common kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Label → colour: three kinds of pair, five systems, and other names for them.
ROLES: Mapping[str, str] = MappingProxyType({
    "clean": "#009E73", "true": "#009E73", "right": "#009E73",
    "ambiguous": "#E69F00", "noisy": "#D55E00", "false": "#D55E00", "wrong": "#D55E00",
    "backbone": "#7F7F7F", "text": "#56B4E9", "text to text": "#56B4E9",
    "VCI": "#0072B2", "QGD": "#CC79A7", "CADRE": "#222222",
})  # fmt: skip
_MARKS = "osD^vP"  # a second cue beside colour
Values = Sequence[float] | np.ndarray
STYLE: Mapping[Any, Any] = MappingProxyType({  # Any: the stubs list every key
    "axes.axisbelow": True, "axes.grid": True, "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlesize": 9, "axes.labelsize": 9, "font.size": 9,
    "font.family": "DejaVu Sans", "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "legend.fontsize": 8, "legend.edgecolor": "none", "legend.framealpha": 0.8,
    "lines.linewidth": 1.6, "lines.markersize": 4, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "svg.hashsalt": "rsnb", "text.parse_math": False,
})  # fmt: skip


class Figure(_Figure):
    """A figure that shows itself as SVG, or as a 110-dpi PNG when it holds images."""

    raster = False

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        out = io.BytesIO()
        kind, meta = ("png", "Software") if self.raster else ("svg", "Date")
        how: Any = {"dpi": 110, "bbox_inches": "tight", "metadata": {meta: None}}
        with rc_context(dict(STYLE)):
            self.savefig(out, format=kind, **how)
        if not self.raster:
            return {"image/svg+xml": out.getvalue().decode()}
        small = io.BytesIO()  # 256 colours: a third of the bytes
        Image.open(out).convert("RGB").quantize(256).save(small, "png", optimize=True)
        return {"image/png": small.getvalue()}


@contextmanager
def _figure(
    size: tuple[float, float], rows: int = 1, columns: int = 1, *, sharey: bool = False
) -> Iterator[tuple[Any, Any]]:  # fmt: skip
    with rc_context(dict(STYLE)):
        fig = Figure(figsize=size, layout="constrained")
        yield fig, fig.subplots(rows, columns, squeeze=False, sharey=sharey)


def _colours(labels: Iterable[str]) -> dict[str, str]:
    own = {label: ROLES[label] for label in labels if label in ROLES}
    free = cycle(c for c in PALETTE if c not in own.values())
    return {label: own.get(label) or next(free) for label in labels}


def curves(
    panels: Mapping[str, tuple[Values, Mapping[str, Values]]], xlabel: str,
    ylabels: Sequence[str],
) -> Figure:  # fmt: skip
    """Return one panel of lines for each title → (x, label → y), side by side.

    `ylabels` holds one label a panel, or one for all, which then share a scale.
    """
    size, share = FULL if len(panels) > 1 else HALF, len(ylabels) == 1
    with _figure(size, 1, len(panels), sharey=share) as (fig, axes):
        for i, (title, (x, lines)) in enumerate(panels.items()):
            ax, colour = axes[0, i], _colours(lines)
            for k, (label, y) in enumerate(lines.items()):
                ax.plot(x, y, color=colour[label], marker=_MARKS[k % 6], label=label)
            ax.set(title=title, xlabel=xlabel, ylabel=ylabels[i % len(ylabels)])
            ax.locator_params("x", integer=all(float(v).is_integer() for v in x))
            if len(lines) > 1:
                ax.legend()
    return fig


def bands(
    lines: Mapping[str, Mapping[float, Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Return label → x → (mean, low, high) as lines, each over its band."""
    with _figure(FULL) as (fig, ((ax,),)):
        for k, (label, colour) in enumerate(_colours(lines).items()):
            x, points = sorted(lines[label]), lines[label]
            mean, low, high = zip(*(points[v] for v in x), strict=True)
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(x, mean, color=colour, marker=_MARKS[k % 6], label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        fig.legend(loc="outside right upper")
    return fig


def histograms(panels: Mapping[str, Mapping[str, Values]], xlabel: str) -> Figure:
    """Return title → (label → values) as histograms over common bins, side by side.

    Each is scaled to area 1, so that groups of different size can be compared.
    """
    values = np.concatenate([v for row in panels.values() for v in row.values()])
    bins = np.linspace(values.min(), np.quantile(values, 0.999), 41)
    with _figure(FULL, 1, len(panels), sharey=True) as (fig, axes):
        for ax, (title, row) in zip(axes[0], panels.items(), strict=True):
            for label, colour in _colours(row).items():
                how: Any = {"fc": (colour, 0.25), "ec": colour, "label": label}
                ax.hist(row[label], bins, density=True, histtype="stepfilled", **how)
            ax.set(title=title, xlabel=xlabel, yticks=[])
        axes[0, 0].set_ylabel("density")
        known = axes[0, 0].get_legend_handles_labels()
        fig.legend(*known, loc="outside upper left", ncols=4)
    return fig


def bars(
    values: Mapping[str, Mapping[str, float]], xlabel: str, *, fmt: str = "{:.1f}",
) -> Figure:  # fmt: skip
    """Return horizontal bars: group → (label → value), the value written at its bar."""
    labels = list(dict.fromkeys(k for row in values.values() for k in row))
    step = 0.8 / len(labels)
    height = max(1.6, 0.6 + 0.24 * len(values) * len(labels))
    with _figure((FULL[0], height)) as (fig, ((ax,),)):
        for k, (label, colour) in enumerate(_colours(labels).items()):
            at = [i + k * step for i, row in enumerate(values.values()) if label in row]
            width = [row[label] for row in values.values() if label in row]
            drawn = ax.barh(at, width, step * 0.9, color=colour, label=label)
            ax.bar_label(drawn, [fmt.format(v) for v in width], padding=3, fontsize=8)
        ax.set_yticks([i + 0.4 - step / 2 for i in range(len(values))], list(values))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set(xlabel=xlabel, xmargin=0.1)
        if len(labels) > 1:
            fig.legend(loc="outside upper left", ncols=len(labels))
    return fig


def strip(
    images: Sequence[Any], titles: Sequence[str] = (), marks: Sequence[bool] = (), *,
    columns: int = 3,
) -> Figure:  # fmt: skip
    """Return images in rows, with a short title above each.

    Images are PIL's or uint8 (S, S, 3) arrays. Titles are drawn as they are, never as
    mathematics; a True mark frames its image in green with a tick, as a right answer.

    Raises:
        ParameterError: no images, or another number of titles or marks.
    """
    if not len(images) or any(len(v) not in (0, len(images)) for v in (titles, marks)):
        given = f"{len(images)} images, {len(titles)} titles, {len(marks)} marks"
        raise ParameterError(f"{given}: give at least one image, the rest for each.")
    rows = -(-len(images) // columns)
    height = rows * (FULL[0] / columns + 0.22 * bool(titles))
    with _figure((FULL[0], height), rows, columns) as (fig, axes):
        fig.raster = True
        for ax in axes.flat:
            ax.set_axis_off()
        for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
            ax.imshow(np.asarray(image), interpolation="antialiased")
            right = bool(marks) and marks[i]
            if titles:
                title = textwrap.fill(titles[i], 84 // columns)
                ax.set_title(("✓ " if right else "") + title, fontsize=8, pad=3)
            if right:
                ax.set_axis_on()
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set(visible=True, color=ROLES["right"], linewidth=3)
    return fig


def heatmaps(
    images: Sequence[Any], maps: Sequence[Any], titles: Sequence[str] = (),
    columns: int = 3,
) -> Figure:  # fmt: skip
    """Return a `strip` under maps of 0 (blue) to 1 (yellow): float (S, S), or None.

    Raises ParameterError unless there is one an image, in 0 to 1, and not None alone.
    """
    flat = np.hstack([np.ravel(m) for m in maps if m is not None] or [np.array([-1.0])])
    if len(maps) != len(images) or not 0 <= flat.min() <= flat.max() <= 1:
        raise ParameterError("give each image None or a map of 0 to 1, at least one.")
    fig = strip(images, titles, columns=columns)
    with rc_context({**STYLE, "image.cmap": "cividis"}):
        for ax, grid in zip(list(fig.axes), maps, strict=False):
            if grid is not None:  # an array of alpha leaves the colour bar opaque
                how: Any = {"alpha": np.full(np.shape(grid), 0.5), "clim": (0, 1)}
                drawn = ax.imshow(grid, extent=ax.images[0].get_extent(), **how)
        fig.colorbar(drawn, ax=fig.axes, label="weight / largest", shrink=0.8)
    return fig


def results(
    pairs: Pairs, rows: Sequence[int] | np.ndarray, scores: Values,
    right: int | None = None,
) -> Figure:  # fmt: skip
    """Return the images `rows` in order, titled with score and class.

    `right` is the row of the image that the query belongs to, framed where it appears.
    """
    titles = [f"{s:.2f} {pairs.label[i]}" for i, s in zip(rows, scores, strict=True)]
    images = [pairs.image(int(i)) for i in rows]
    return strip(images, titles, [i == right for i in rows])


def testimony(words: Sequence[str], gains: Any, labels: Sequence[str]) -> Figure:
    """Return float (K, W) `gains` as a grid, each value written, blue above zero.

    Raises ParameterError unless there are K labels and W words.
    """
    grid = np.atleast_2d(np.asarray(gains, float))
    if grid.shape != (len(labels), len(words)) or not grid.size:
        raise ParameterError(f"gains {grid.shape}: give a row a label, a column a word")
    far = max(float(np.quantile(abs(grid), 0.95)), 1e-9)  # one outlier would pale all
    cmap = LinearSegmentedColormap.from_list("", [PALETTE[1], "white", PALETTE[0]])
    with _figure((FULL[0], 1.1 + 0.26 * len(grid))) as (fig, ((ax,),)):
        ax.pcolormesh(grid, edgecolor="white", cmap=cmap, vmin=-far, vmax=far)
        for (y, x), v in np.ndenumerate(grid):
            ink, said = "white" if abs(v) > 0.7 * far else "black", round(v, 1) + 0.0
            at: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": ink}
            ax.text(x + 0.5, y + 0.5, f"{said:+.1f}", **at)
        ax.set_yticks(np.arange(len(labels)) + 0.5, labels)
        ax.set_xticks(np.arange(len(words)) + 0.5, words, rotation=40, ha="left")
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.spines[:].set_visible(False)
        ax.set(ylim=(len(labels), 0))
        ax.grid(visible=False)
    return fig
