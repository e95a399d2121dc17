"""Sphinx extension: the API pages show every public name, and the build proves it.

Autodoc leaves out constants without a comment; here they are shown by what they hold.
"""

import importlib
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc import DataDocumenter, ModuleDocumenter
from sphinx.util.logging import getLogger

SHORT = 70  # characters of a value that stands for a missing description


class ConstantDocumenter(DataDocumenter):
    """A constant that no comment describes."""

    objtype, directivetype, priority = "constant", "data", -20

    @classmethod
    def can_document_member(
        cls, member: Any, membername: str, isattr: bool, parent: Any
    ) -> bool:
        """Take what no other documenter takes."""
        return isinstance(parent, ModuleDocumenter)

    def get_doc(self) -> list[list[str]]:
        """Return its value, or its keys, or the start of either."""
        said = repr(self.object)
        if len(said) > SHORT and hasattr(self.object, "keys"):
            said = ", ".join(map(str, self.object))
        cut = said if len(said) <= 4 * SHORT else said[: 4 * SHORT] + " …"
        return [[f"Holds :code:`{cut}`.".replace("\\", "\\\\")]]


def keep(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Keep what is public, documented or not."""
    module = app.env.temp_data.get("autodoc:module")
    if what != "module" or not module or name in (options.exclude_members or ()):
        return None
    return False if name in importlib.import_module(module).__all__ else None


def shorten(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, args: str, returns: str
) -> tuple[str, str]:
    """Leave out the modules of types, which a dataclass's signature spells out."""
    return re.sub(r"~[\w.]+\.", "", args or ""), returns


def prove(app: Sphinx, env: Any) -> None:
    """Warn of a public name of a documented module that no page shows."""
    known = env.get_domain("py").objects
    for module in [k for k, v in known.items() if v.objtype == "module"]:
        for name in importlib.import_module(module).__all__:
            if f"{module}.{name}" not in known:
                getLogger(__name__).warning("no page shows %s.%s", module, name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the four."""
    app.add_autodocumenter(ConstantDocumenter)
    app.connect("autodoc-skip-member", keep)
    app.connect("autodoc-process-signature", shorten)
    app.connect("env-check-consistency", prove)
    return {"parallel_read_safe": True}
