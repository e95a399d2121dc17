"""Our recalls beside published ones: differences, what is allowed, a verdict.

Explained in `book/how_to_run.md`. Two published sources of one CLIP differ by up to 0.7
points of mR and by up to 5 of a single recall, so less is no difference. The sampling
interval of our figures plays no part: a re-run scores the same images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rsnb.published import Row
from rsnb.recall import METRICS

__all__ = ["compare", "table"]

POINTS, EACH = 1.0, 5.0  # of mR; of a single recall, in units of the former


def compare(
    found: Mapping[str, float], row: Row, tolerance: float | None = None
) -> dict[str, Any]:
    """Return differences from a published row, what is allowed, and if all fit.

    Args:
        found: recalls and mR in percent, as `Recall.as_dict` gives them.
        row: the published one.
        tolerance: points of mR; by default 1, or twice the published standard
            deviation if that is more. A single recall may differ by five times that.
    """
    limit = max(POINTS, 2 * (row.std or 0)) if tolerance is None else tolerance
    theirs = dict(zip(METRICS, row.recalls or (), strict=False)) | {"mR": row.mR}
    gaps = {k: found[k] - v for k, v in theirs.items()}
    allowed = {k: limit * (1 if k == "mR" else EACH) for k in theirs}
    inside = all(abs(gap) <= allowed[k] for k, gap in gaps.items())
    about = {k: getattr(row, k) for k in ("system", "source", "kind", "note")}
    return {**about, "recalls": theirs, "differences": gaps, "allowed": allowed,
            "inside": inside}  # fmt: skip


def table(
    found: Mapping[str, float], spans: Mapping[str, Sequence[float]],
    beside: Sequence[Mapping[str, Any]],
) -> str:  # fmt: skip
    """Return text: our recalls, and the nearest published source in full.

    Args:
        found: as for `compare`.
        spans: their intervals.
        beside: what `compare` returned, one a source.
    """
    near = min(beside, key=lambda b: abs(b["differences"]["mR"]), default=None)
    lines = [f"{'':8}{'ours':>7}{'95 %':>15}"]
    lines[0] += f"{'published':>11}{'difference':>12}{'allowed':>9}" if near else ""
    for k in (*METRICS, "mR"):
        low, high = spans[k]
        line = f"{k:8}{found[k]:7.2f}{low:8.1f} –{high:5.1f}"
        if near and k in near["recalls"]:
            line += f"{near['recalls'][k]:11.2f}{near['differences'][k]:+12.2f}"
            line += f"{near['allowed'][k]:9.1f}"
        lines.append(line)
    for one in beside:
        gap, mR = one["differences"]["mR"], one["recalls"]["mR"]
        where = "inside" if one["inside"] else "outside"
        source = f"{one['system']} ({one['kind']}: {one['source']})"
        lines.append(f"{source}: mR {mR:.2f}, difference {gap:+.2f}, {where}")
        lines += [f"  note: {one['note']}"] if one["note"] else []
    return "\n".join(lines)
