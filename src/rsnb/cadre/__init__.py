"""CADRE, reconstructed: `vci` asks candidates, `qgd` looks at them again, `Cadre` both.

Explained in notebooks 05, 06 and 07.
"""

from rsnb.cadre.evidence import ASKING, Asking, Witness
from rsnb.cadre.inject import FUSIONS, inject
from rsnb.cadre.qgd import RULES, Lesson, Probe, learn
from rsnb.cadre.refine import Cadre, Refined, Stage, prepare
from rsnb.cadre.trace import Trace, trace
from rsnb.cadre.vci import VCI
from rsnb.cadre.views import GRID, Views, heat, look

__all__ = [
    "ASKING",
    "FUSIONS",
    "GRID",
    "RULES",
    "VCI",
    "Asking",
    "Cadre",
    "Lesson",
    "Probe",
    "Refined",
    "Stage",
    "Trace",
    "Views",
    "Witness",
    "heat",
    "inject",
    "learn",
    "look",
    "prepare",
    "trace",
]
