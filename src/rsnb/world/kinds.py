"""The 24 classes of the embedded world and what their scenes may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["AROUND", "CONTEXT", "GROUND", "HIDES", "KINDS", "SMALL", "TASTE", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What scenes of a class may hold; words are separated by blanks."""

    colours: str = ""
    layouts: str = ""
    sizes: str = ""
    counts: tuple[int, ...] = ()
    small: str = "cars trees trucks sheds"
    ground: bool = True
    without: str = ""  # context kinds that would contradict or hide the class
    styles: str = "temperate arid coastal urban"


ARRANGED = "row grid ring scattered"  # needs three objects or more
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "airport": Kind("white gray blue red", "row scattered", "", (1, 2, 3, 4, 5, 6),
                        "trucks cars trees", without="sea"),
        "baseball field": Kind("", "row grid", "large small", (1, 1, 2, 3, 4),
                               "cars trees sheds"),
        "beach": Kind("blue green", "", "", (), "umbrellas boats trees", False,
                      "sea river railway fields", "coastal"),
        "bridge": Kind("gray white red", "", "", (1, 1, 2), "boats cars trucks",
                       without="river sea road railway"),
        "church": Kind("red brown gray blue", "", "large small", (),
                       "trees cars sheds"),
        "dense residential area": Kind("red brown gray blue", "rows blocks", "", (),
                                       "cars pools trees trucks", False, "houses"),
        "desert": Kind("yellow orange white", "dunes flat", "", (),
                       "trucks sheds trees", False, "fields woods sea houses", "arid"),
        "farmland": Kind("green yellow brown", "strips patches circles", "", (),
                         "sheds trucks trees", False, "fields",
                         "temperate temperate arid"),
        "forest": Kind("green yellow", "dense sparse clearing path", "", (),
                       "sheds trucks", False, "woods", "temperate coastal"),
        "golf course": Kind("", "", "", (2, 3, 4, 5, 6), "trees sheds cars", False,
                            "fields", "temperate coastal urban"),
        "harbor": Kind("white red blue brown", "row scattered", "",
                       (3, 4, 5, 6, 8, 10), "sheds trucks", False, "sea river fields",
                       "coastal urban"),
        "industrial area": Kind("blue white gray red", "row grid", "",
                                (2, 3, 4, 6), "trucks cars trees"),
        "intersection": Kind("", "cross tee roundabout", "wide narrow", (),
                             "cars trucks trees", without="road railway river"),
        "parking lot": Kind("", "empty half full", "", (), "trees sheds"),
        "pond": Kind("blue green brown", "round irregular rectangular",
                     "large small", (1, 1, 2, 3), "trees sheds boats",
                     without="river sea"),
        "railway station": Kind("red gray blue brown", "", "", (2, 3, 4, 5, 6),
                                "cars trucks trees", without="railway river"),
        "river": Kind("blue green brown", "straight winding", "wide narrow", (),
                      "boats trees sheds", without="river sea"),
        "school": Kind("red gray white brown", "row", "", (1, 2, 3, 4),
                       "trees cars pools"),
        "solar farm": Kind("blue black", "row grid", "", (1, 2, 3, 4, 6),
                           "sheds trucks trees"),
        "sparse residential area": Kind("red brown gray blue", "row scattered", "",
                                        (1, 2, 3, 4, 5), "pools cars trees sheds",
                                        without="houses"),
        "stadium": Kind("white gray red blue", "round oval rectangular",
                        "large small", (), "cars trees trucks"),
        "storage tank": Kind("white gray brown red", ARRANGED, "",
                             (1, 2, 3, 4, 5, 6, 8, 9), "trucks cars sheds trees"),
        "tennis court": Kind("blue green red", "row grid", "", (1, 2, 3, 4, 6, 8),
                             "cars trees sheds"),
        "wind farm": Kind("", "row scattered", "", (1, 2, 3, 4, 5),
                          "sheds trucks trees", without="houses woods"),
    }
)  # fmt: skip

GROUND = {
    "temperate": {"grass": 6, "soil": 3, "pavement": 1},
    "arid": {"sand": 5, "soil": 4, "pavement": 1},
    "coastal": {"grass": 4, "sand": 4, "pavement": 2},
    "urban": {"pavement": 5, "grass": 4, "soil": 1},
}
CONTEXT = {
    "temperate": {"woods": 3, "fields": 3, "river": 2, "road": 2, "railway": 1},
    "arid": {"road": 3, "railway": 2, "fields": 2, "river": 1, "houses": 2},
    "coastal": {"sea": 4, "road": 2, "houses": 2, "woods": 2},
    "urban": {"road": 3, "houses": 4, "railway": 2, "river": 2, "woods": 1},
}
TASTE = {
    "temperate": "red brown green",
    "arid": "white brown yellow",
    "coastal": "white blue",
    "urban": "gray blue black",
}
HIDES = {"grass": "green", "soil": "brown", "pavement": "gray"}  # no contrast
SMALL = {  # kind: (most, colours)
    "cars": (6, "red white black blue"),
    "trucks": (4, "white red yellow"),
    "trees": (9, "green"),
    "pools": (3, "blue"),
    "sheds": (4, "white red brown"),
    "boats": (4, "white red"),
    "umbrellas": (8, "red white blue"),
}
AROUND = ("woods", "fields", "houses")
