"""Explorers in a page: a live widget, or HTML that needs no kernel and no network.

Explained in notebook 10. The front end of both is the same plain JavaScript in
`static/`: `common.js`, then the explorer's own file, which ends in
`export default { render }` as anywidget wants it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

from rsnb.errors import ParameterError, RsnbError
from rsnb.files import fingerprint

__all__ = ["KINDS", "Explorer", "front_end"]

KINDS = ("retrieval", "audit", "t2t")
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_PAGE = """\
<div class="rsnb-explorer" data-rsnb="{mark}">
<p>This explorer needs JavaScript. The figure below shows what it opens with.</p>
<script type="application/json">{data}</script></div>
<script type="module">
{code}
boot("{mark}", render);
</script>"""


def front_end(kind: str) -> str:
    """Return the JavaScript module of an explorer, its style sheet included.

    Raises:
        ParameterError: unknown kind.
    """
    if kind not in KINDS:
        raise ParameterError(f"no explorer {kind!r}; there are: {', '.join(KINDS)}.")
    css, common, own = (
        files("rsnb").joinpath("static", name).read_text("utf-8")
        for name in ("explorer.css", "common.js", f"{kind}.js")
    )
    return f"const CSS = {_safe(css)};\n{common}\n{own}"


def _safe(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


class Explorer:
    """An explorer as the value of a cell.

    With RSNB_STATIC=1 in the environment it shows itself as HTML that works on its own,
    from a file and without a network; otherwise as a widget.

    Args:
        kind: one of `KINDS`.
        data: JSON-able, from `rsnb.explorers`.
        answer: text → JSON-able answer, for free text in the live widget.
    """

    def __init__(
        self, kind: str, data: Mapping[str, Any],
        answer: Callable[[str], Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        """Keep them; the widget is made when it is first looked at."""
        self.kind, self.code = kind, front_end(kind)
        self.data, self.answer = dict(data), answer

    def __repr__(self) -> str:
        """Return equal text for equal runs."""
        return f"Explorer({self.kind!r})"

    def html(self) -> str:
        """Return HTML with front end and data in it."""
        mark = fingerprint(self.code, self.data)[:16]
        return _PAGE.format(mark=mark, data=_safe(self.data), code=self.code)

    @cached_property
    def widget(self) -> Any:
        """An `anywidget.AnyWidget` with traits data, live, asked and answered."""
        from anywidget import AnyWidget
        from traitlets import Bool, Dict, Unicode

        class Live(AnyWidget):
            _esm = Unicode(self.code).tag(sync=True)
            data = Dict(self.data).tag(sync=True)
            live = Bool(self.answer is not None).tag(sync=True)
            asked = Unicode().tag(sync=True)
            answered = Dict().tag(sync=True)

        made = Live()
        made.observe(self._reply, "asked")
        return made

    def _reply(self, change: Any) -> None:
        text = change["new"].strip()
        if not (text and self.answer):
            return
        try:
            found = dict(self.answer(text))
        except RsnbError as e:
            found = {"error": str(e)}
        self.widget.answered = {"asked": change["new"], **found}

    def _repr_mimebundle_(self, **how: Any) -> Any:
        if os.environ.get("RSNB_STATIC") == "1":
            return {"text/html": self.html(), "text/plain": repr(self)}
        return self.widget._repr_mimebundle_(**how)
