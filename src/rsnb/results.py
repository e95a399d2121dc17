"""The results page: published figures and ours side by side, from receipts alone.

Explained in notebook 09. Nothing is computed from data or weights here: a cell that no
receipt fills says so, with the command that fills it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rsnb import published, recipes
from rsnb.cells import cells
from rsnb.errors import ParameterError
from rsnb.recall import METRICS
from rsnb.report import receipt
from rsnb.stats import holm

__all__ = ["OURS", "beside", "found", "gaps", "missing", "noise_lines", "origin",
           "ours", "tests"]  # fmt: skip

Rows = list[dict[str, Any]]
#: data set → receipts of backbones that were trained and scored here.
OURS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "rsitmd": ("rsitmd-rn",),
    "rsicd": ("rsicd-rn", "rsicd-deep"),
    "ucm": ("ucm-rn", "ucm-deep"),
})  # fmt: skip


def found(name: str) -> dict[str, Any]:
    """Return a receipt, or {} where this copy of the book has none."""
    try:
        return receipt(name)
    except ParameterError:
        return {}


def origin(name: str) -> dict[str, Any]:
    """Return date, hardware, seeds, and the first 8 digits of code and data."""
    facts = found(name)
    made, inputs = facts.get("made", {}), facts.get("inputs", {})
    data = inputs.get("data") or next(
        (v for k, v in inputs.items() if k != "code" and isinstance(v, str)), ""
    )
    return {
        "receipt": name, "command": facts.get("command", "not run here"),
        "seeds": " ".join(map(str, facts.get("seeds", []))) or "–",
        "date": made.get("date", "–"), "hardware": made.get("hardware", "–"),
        "code": inputs.get("code", "–")[:8], "data": str(data)[:8] or "–",
    }  # fmt: skip


def _line(
    system: str, name: str, figures: Mapping[str, Any], note: str, runs: int = 1,
) -> dict[str, Any]:  # fmt: skip
    low, high = figures.get("mR_interval") or figures["interval"]
    recalls = [figures[k] for k in METRICS]
    return {
        "system": system, "recalls": recalls, "mR": figures["mR"],
        "spread": f"{low:.1f} to {high:.1f}", "source": f"ours: {name}",
        "note": f"{note}; {runs} run(s)",
    }  # fmt: skip


def _made(recipe: recipes.Recipe) -> str:
    """Return what a backbone of ours was trained on, in words."""
    sets = " + ".join((recipe.data, *recipe.extra))
    more = "; paraphrases" * recipe.paraphrases + "; 8 symmetries" * recipe.turns
    return f"from scratch on {sets}{more}"


def ours(data: str) -> Rows:
    """Return what was measured here on the test split of a data set."""
    rows: Rows = []
    for name in OURS.get(data, ()):
        runs = found(f"backbone-{name}").get("figures", {}).get("runs", [])
        if runs:
            keys = (*METRICS, "mR")
            mean = {k: sum(r[k] for r in runs) / len(runs) for k in keys}
            ends = [[r["mR_interval"][e] for r in runs] for e in (0, 1)]
            mean["mR_interval"] = [sum(e) / len(e) for e in ends]
            note = f"{runs[0]['images']:,} test images; {_made(recipes.get(name))}"
            rows.append(_line(name, f"backbone-{name}", mean, note, len(runs)))
    text = found(f"t2t-{data}").get("figures", {})
    for key, note in (
        ("text to text", "a small captioner, trained here; MiniLM"),
        ("class name only", "oracle: the true class is the only text; MiniLM"),
    ):
        if key in text:
            rows.append(_line(key, f"t2t-{data}", text[key], note))
    cadre = found(f"cadre-{data}").get("figures", {}).get("backbones", {})
    for name, study in cadre.items():
        line = study["rows"]["CADRE"]
        note = "our reconstruction; witness trained here, MiniLM; no symmetries"
        rows.append(_line(f"{name} + CADRE", f"cadre-{data}", line, note))
    return rows


def beside(data: str) -> Rows:
    """Return published rows on clean captions and ours, the highest mR first."""
    table: Rows = [
        {
            "system": r.system, "recalls": r.recalls, "mR": r.mR,
            "spread": f"± {r.std:.2f}" if r.std else "–",
            # The slash may end a line: names of repositories are long.
            "source": f"{r.kind}: {r.source}".replace("/", "/\u200b"),
            "note": "; ".join(filter(None, (
                f"from {r.start}" if r.start != "not stated" else "start not stated",
                f"on {r.train}" * (r.train not in ("nothing", "not stated")),
                "epoch chosen on test" * (r.selection == "test"), r.note))),
        }
        for r in published.rows(data, noise=0.0)
    ]  # fmt: skip
    out = []
    for row in sorted(table + ours(data), key=lambda r: -r["mR"]):
        recalls = [f"{v:.1f}" for v in row["recalls"] or ()]
        ways = {"i2t": recalls[:3], "t2i": recalls[3:]}
        shown = {k: " ".join(v) or "–" for k, v in ways.items()}
        out.append({k: row[k] for k in ("system", "mR", "spread")} | shown
                   | {k: row[k] for k in ("source", "note")})  # fmt: skip
    return out


def noise_lines(data: str) -> dict[str, dict[float, tuple[float, float, float]]]:
    """Return what was published under noise, as `plots.bands` takes it.

    Name → percent moved → (mean, low, high), all three the one figure that is public.
    Ours of the same shape are `rsnb.findings.lines`.
    """
    lines: dict[str, dict[float, tuple[float, float, float]]] = {}
    for r in published.rows(data):
        if r.system in ("RRSITR", "CUP"):
            lines.setdefault(r.system, {})[100 * r.noise] = (r.mR,) * 3
    return {k: dict(sorted(v.items())) for k, v in lines.items()}


def missing(data: str) -> Rows:
    """Return one row for each cell that `rsnb reproduce` runs, most not run here."""
    out = []
    for cell in (c for c in cells() if c.data == data):
        known = [f"{r.mR:.2f}" for r in published.rows(data, cell.key, 0.0)]
        run = found(f"reproduce/{cell.name}").get("figures", {}).get("recalls", {})
        lack = f"not run: needs {' and '.join(cell.needs[:-1])}"
        out.append({
            "data": data, "cell": cell.key,
            "published mR": " and ".join(known) or "none",
            "here": run.get("mR", lack), "command": cell.command,
        })  # fmt: skip
    return out


def gaps(data: str) -> Rows:
    """Return the paired tests of the noise sweep on a data set.

    `Holm` is p adjusted over the rates above 0 of one rival.
    """
    order = ("noise", "ours minus", "points", "95 %", "p", "arms")
    gaps = found(f"noise-{data}").get("figures", {}).get("gaps", [])
    rows: Rows = [{"data": data} | {k: row[k] for k in order} for row in gaps]
    for rival in {row["ours minus"] for row in rows}:
        same = [r for r in rows if r["ours minus"] == rival and r["noise"] != "0%"]
        for row, p in zip(same, holm([float(r["p"]) for r in same]), strict=True):
            row["Holm"] = f"{p:.4f}"
    return rows


def tests(data: str, keys: Sequence[str] = ("CADRE > backbone",)) -> Rows:
    """Return paired tests of CADRE on a data set, one row a backbone and test."""
    cadre = found(f"cadre-{data}").get("figures", {}).get("backbones", {})
    return [
        {
            "data": data, "backbone": name, "A > B": key,
            "points": study["tests"][key]["difference"],
            "95 %": " to ".join(f"{v:.1f}" for v in study["tests"][key]["interval"]),
            "p": f"{study['tests'][key]['p']:.4f}",
        }
        for name, study in cadre.items() for key in keys if key in study["tests"]
    ]  # fmt: skip
