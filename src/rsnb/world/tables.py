"""Tables of the embedded world: what its scenes may hold, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AROUND", "COLOUR_OF_PART", "CONTEXTS", "CROSSING", "DIGITS", 
    "GROUNDS", "GROUPS", "HIDES", "INF", "KINDS", "LAYOUT", "LEADS",
    "NEAR", "NOUNS", "OPPOSITE", "PLURAL", "ROOFED", "SIDES", "SIZES", "SMALL",
    "STYLES", "Kind",
]  # fmt: skip

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
SIDES = tuple(OPPOSITE)


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


KINDS = {
    "airport": Kind("white gray blue red", "row scattered", "", (1, 2, 3, 4, 5, 6),
        "trucks cars trees", without="sea"),
    "baseball field": Kind("", "row grid", "large small", (1, 1, 2, 3, 4),
        "cars trees sheds"),
    "beach": Kind("blue green", "", "", (), "umbrellas boats trees", False,
        "sea river railway fields", "coastal"),
    "bridge": Kind("gray white red", "", "", (1, 1, 2), "boats cars trucks",
        without="river sea road railway"),
    "church": Kind("red brown gray blue", "", "large small", (), "trees cars sheds"),
    "dense residential area": Kind("red brown gray blue", "rows blocks", "", (),
        "cars pools trees trucks", False, "houses"),
    "desert": Kind("yellow orange white", "dunes flat", "", (), "trucks sheds trees",
        False, "fields woods sea houses", "arid"),
    "farmland": Kind("green yellow brown", "strips patches circles", "", (),
        "sheds trucks trees", False, "fields", "temperate temperate arid"),
    "forest": Kind("green yellow", "dense sparse clearing path", "", (),
        "sheds trucks", False, "woods", "temperate coastal"),
    "golf course": Kind("", "", "", (2, 3, 4, 5, 6), "trees sheds cars", False,
        "fields", "temperate coastal urban"),
    "harbor": Kind("white red blue brown", "row scattered", "", (3, 4, 5, 6, 8, 10),
        "sheds trucks", False, "sea river fields", "coastal urban"),
    "industrial area": Kind("blue white gray red", "row grid", "", (2, 3, 4, 6),
        "trucks cars trees"),
    "intersection": Kind("", "cross tee roundabout", "wide narrow", (),
        "cars trucks trees", without="road railway river"),
    "parking lot": Kind("", "empty half full", "", (), "trees sheds"),
    "pond": Kind("blue green brown", "round irregular rectangular", "large small",
        (1, 1, 2, 3), "trees sheds boats", without="river sea"),
    "railway station": Kind("red gray blue brown", "", "", (2, 3, 4, 5, 6),
        "cars trucks trees", without="railway river"),
    "river": Kind("blue green brown", "straight winding", "wide narrow", (),
        "boats trees sheds", without="river sea"),
    "school": Kind("red gray white brown", "row", "", (1, 2, 3, 4),
        "trees cars pools"),
    "solar farm": Kind("blue black", "row grid", "", (1, 2, 3, 4, 6),
        "sheds trucks trees"),
    "sparse residential area": Kind("red brown gray blue", "row scattered", "",
        (1, 2, 3, 4, 5), "pools cars trees sheds", without="houses"),
    "stadium": Kind("white gray red blue", "round oval rectangular", "large small", (),
        "cars trees trucks"),
    "storage tank": Kind("white gray brown red", "row grid ring scattered", "",
        (1, 2, 3, 4, 5, 6, 8, 9), "trucks cars sheds trees"),
    "tennis court": Kind("blue green red", "row grid", "", (1, 2, 3, 4, 6, 8),
        "cars trees sheds"),
    "wind farm": Kind("", "row scattered", "", (1, 2, 3, 4, 5), "sheds trucks trees",
        without="houses woods"),
}  # fmt: skip

STYLES = {  # weights of grounds and of context bands, preferred colours
    "temperate": ({"grass": 6, "soil": 3, "pavement": 1},
                  {"woods": 3, "fields": 3, "river": 2, "road": 2, "railway": 1},
                  "red brown green"),
    "arid": ({"sand": 5, "soil": 4, "pavement": 1},
             {"road": 3, "railway": 2, "fields": 2, "river": 1, "houses": 2},
             "white brown yellow"),
    "coastal": ({"grass": 4, "sand": 4, "pavement": 2},
                {"sea": 4, "road": 2, "houses": 2, "woods": 2}, "white blue"),
    "urban": ({"pavement": 5, "grass": 4, "soil": 1},
              {"road": 3, "houses": 4, "railway": 2, "river": 2, "woods": 1},
              "gray blue black"),
}  # fmt: skip
HIDES = {"grass": "green", "soil": "brown", "pavement": "gray"}  # no contrast
SMALL = {  # kind: (most, colours, nouns)
    "cars": (6, "red white black blue", "car/cars"),
    "trucks": (4, "white red yellow", "truck/trucks"),
    "trees": (9, "green", "tree/trees"),
    "pools": (3, "blue", "pool/pools, swimming pool/swimming pools"),
    "sheds": (4, "white red brown", "shed/sheds, hut/huts"),
    "boats": (4, "white red", "boat/boats, small boat/small boats"),
    "umbrellas": (8, "red white blue", "umbrella/umbrellas"),
}
AROUND = ("woods", "fields", "houses")

# What captions say. Rows are options, parted by ", ".
INF = 999  # no upper bound of a count
# class: nouns "singular/plural" (a lone word is singular, "=" marks a mass noun);
# behind ";" the countable parts of a class that is itself a place
NOUNS = {
    "airport": "airport; airplane/airplanes, plane/planes",
    "baseball field": "baseball field/baseball fields, "
    "baseball diamond/baseball diamonds",
    "beach": "beach, sandy beach",
    "bridge": "bridge/bridges",
    "church": "church",
    "dense residential area": "dense residential area, crowded neighborhood",
    "desert": "desert, =desert land",
    "farmland": "=farmland, =cultivated land",
    "forest": "forest, =woodland",
    "golf course": "golf course, golf field; bunker/bunkers, sand trap/sand traps",
    "harbor": "harbor, port; boat/boats, ship/ships",
    "industrial area": "industrial area, factory; "
    "warehouse/warehouses, large building/large buildings",
    "intersection": "intersection, crossing",
    "parking lot": "parking lot, car park",
    "pond": "pond/ponds, lake/lakes",
    "railway station": "railway station, train station; "
    "track/tracks, rail line/rail lines",
    "river": "river, stream",
    "school": "school, campus; building/buildings",
    "solar farm": "solar farm, solar power plant; "
    "block of panels/blocks of panels, panel array/panel arrays",
    "sparse residential area": "sparse residential area, small village; "
    "house/houses, home/homes",
    "stadium": "stadium, arena",
    "storage tank": "storage tank/storage tanks, oil tank/oil tanks",
    "tennis court": "tennis court/tennis courts",
    "wind farm": "wind turbine/wind turbines, windmill/windmills",
}
COLOUR_OF_PART = ("airport", "harbor", "industrial area", "school", "solar farm",
                  "sparse residential area")  # fmt: skip
ROOFED = ("church", "dense residential area", "industrial area", "railway station",
          "school", "sparse residential area")  # fmt: skip
CROSSING = ("bridge", "intersection", "river")  # they do not lie on a ground
# for who will not name the class: its group, words for that, and its classes
GROUPS = {
    "buildings": ("a built up area, a developed area",
                  "church, dense residential area, industrial area, school, "
                  "sparse residential area, railway station"),
    "water": ("a water area, some open water", "river, pond, beach, harbor, bridge"),
    "sports": ("a place for sports, a sports area",
               "baseball field, tennis court, stadium, golf course"),
    "open": ("a wide open area, open land",
             "farmland, desert, golf course, solar farm, wind farm"),
    "traffic": ("a traffic area, a place for transport",
                "airport, railway station, intersection, parking lot, bridge"),
    "plants": ("land covered with plants, a planted area",
               "forest, farmland, golf course"),
    "facility": ("a facility, a technical facility",
                 "storage tank, solar farm, wind farm, industrial area"),
}  # fmt: skip
LAYOUT = {  # "<" goes before the noun, ">" after it; by default "<" and the name
    "row": ">in a row, >in a line, >side by side",
    "grid": ">in neat rows, >arranged in rows",
    "ring": ">in a circle, >arranged in a ring",
    "scattered": ">scattered around",
    "rows": ">in parallel rows, >along long streets",
    "blocks": ">divided into blocks",
    "dunes": ">with dunes, >with sand dunes",
    "flat": "<flat, >with small rocks",
    "strips": ">in long strips, >divided into stripes",
    "patches": ">divided into patches, >in square pieces",
    "circles": ">with circular fields, >in round plots",
    "dense": "<dense, <thick",
    "sparse": "<sparse, <open",
    "clearing": ">with a clearing, >with bare land in the middle",
    "path": ">crossed by a path, >with a path",
    "cross": ">of four roads, >shaped like a cross",
    "tee": ">of three roads, >shaped like a t",
    "roundabout": ">with a roundabout, >with a circle in the middle",
    "empty": "<nearly empty, >with few cars",
    "half": "<half full, >partly filled with cars",
    "full": "<full, >full of cars",
    "round": "<round, <circular",
    "winding": "<winding, <curved",
}
SIZES = {"large": "large, big", "small": "small, little", "wide": "wide",
         "narrow": "narrow"}  # fmt: skip
GROUNDS = {
    "grass": "grass, green grass, a lawn",
    "soil": "bare soil, brown soil, bare ground",
    "sand": "sand, sandy ground, yellow sand",
    "pavement": "concrete, paved ground, gray pavement",
}
CONTEXTS = {
    "road": "a road, a street, a highway",
    "river": "a river, a stream",
    "railway": "a railway, railway tracks",
    "woods": "woods, a forest, dense trees",
    "houses": "houses, a row of houses",
    "fields": "farmland, crop fields",
    "sea": "the sea, the ocean",
}
PLURAL = ("railway tracks", "woods", "dense trees", "houses", "crop fields")
DIGITS = "zero one two three four five six seven eight nine ten".split()
LEADS = (
    "an aerial view of, a satellite image of, the image shows, we can see, "
    "an overhead view of, this picture shows"
)
NEAR = "near, next to, beside, close to, by"
