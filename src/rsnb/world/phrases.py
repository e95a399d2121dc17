"""Words of the captions: nouns, synonyms and phrases for every fact."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rsnb.world.scene import Dice

__all__ = [
    "COLOUR_OF_PART",
    "CONTEXTS",
    "CROSSING",
    "DIGITS",
    "GROUNDS",
    "GROUPS",
    "GROUP_WORDS",
    "INF",
    "LAYOUT",
    "LEADS",
    "NEAR",
    "NOUNS",
    "OPPOSITE",
    "PARTS",
    "PLURAL",
    "ROOFED",
    "SIZES",
    "SMALLS",
    "amount",
    "article",
    "counted",
    "forms",
]

INF = 999  # no upper bound of a count


# class: nouns "singular/plural" (a lone word is singular, "=" marks a mass noun)
NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "airport": "airport",
        "baseball field": "baseball field/baseball fields, "
        "baseball diamond/baseball diamonds",
        "beach": "beach, sandy beach",
        "bridge": "bridge/bridges",
        "church": "church",
        "dense residential area": "dense residential area, crowded neighborhood",
        "desert": "desert, =desert land",
        "farmland": "=farmland, =cultivated land",
        "forest": "forest, =woodland",
        "golf course": "golf course, golf field",
        "harbor": "harbor, port",
        "industrial area": "industrial area, factory",
        "intersection": "intersection, crossing",
        "parking lot": "parking lot, car park",
        "pond": "pond/ponds, lake/lakes",
        "railway station": "railway station, train station",
        "river": "river, stream",
        "school": "school, campus",
        "solar farm": "solar farm, solar power plant",
        "sparse residential area": "sparse residential area, small village",
        "stadium": "stadium, arena",
        "storage tank": "storage tank/storage tanks, oil tank/oil tanks",
        "tennis court": "tennis court/tennis courts",
        "wind farm": "wind turbine/wind turbines, windmill/windmills",
    }
)
# countable parts of a class that is itself a place
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "airport": "airplane/airplanes, plane/planes",
        "golf course": "bunker/bunkers, sand trap/sand traps",
        "harbor": "boat/boats, ship/ships",
        "industrial area": "warehouse/warehouses, large building/large buildings",
        "railway station": "track/tracks, rail line/rail lines",
        "school": "building/buildings",
        "solar farm": "block of panels/blocks of panels, panel array/panel arrays",
        "sparse residential area": "house/houses, home/homes",
    }
)
COLOUR_OF_PART = ("airport", "harbor", "industrial area", "school", "solar farm",
                   "sparse residential area")  # fmt: skip
ROOFED = ("church", "dense residential area", "industrial area", "railway station",
           "school", "sparse residential area")  # fmt: skip
CROSSING = ("bridge", "intersection", "river")  # they do not lie on a ground
# what someone says who will not name the class: noun → classes it fits
GROUPS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        noun: frozenset(members.split(", "))
        for noun, members in {
            "buildings": "church, dense residential area, industrial area, school, "
            "sparse residential area, railway station",
            "water": "river, pond, beach, harbor, bridge",
            "sports": "baseball field, tennis court, stadium, golf course",
            "open": "farmland, desert, golf course, solar farm, wind farm",
            "traffic": "airport, railway station, intersection, parking lot, bridge",
            "plants": "forest, farmland, golf course",
            "facility": "storage tank, solar farm, wind farm, industrial area",
        }.items()
    }
)
GROUP_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "buildings": ("a built up area", "a developed area"),
        "water": ("a water area", "some open water"),
        "sports": ("a place for sports", "a sports area"),
        "open": ("a wide open area", "open land"),
        "traffic": ("a traffic area", "a place for transport"),
        "plants": ("land covered with plants", "a planted area"),
        "facility": ("a facility", "a technical facility"),
    }
)
# (class or "", layout): phrases; "<" goes before the noun, ">" after it
LAYOUT: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("", "row"): (">in a row", ">in a line", ">side by side"),
        ("", "grid"): (">in neat rows", ">arranged in rows"),
        ("", "ring"): (">in a circle", ">arranged in a ring"),
        ("", "scattered"): (">scattered around",),
        ("dense residential area", "rows"): (
            ">in parallel rows", ">along long streets"),
        ("dense residential area", "blocks"): (
            ">divided into blocks",),
        ("desert", "dunes"): (">with dunes", ">with sand dunes"),
        ("desert", "flat"): ("<flat", ">with small rocks"),
        ("farmland", "strips"): (">in long strips", ">divided into stripes"),
        ("farmland", "patches"): (">divided into patches", ">in square pieces"),
        ("farmland", "circles"): (">with circular fields", ">in round plots"),
        ("forest", "dense"): ("<dense", "<thick"),
        ("forest", "sparse"): ("<sparse", "<open"),
        ("forest", "clearing"): (
            ">with a clearing", ">with bare land in the middle"),
        ("forest", "path"): (">crossed by a path", ">with a path"),
        ("intersection", "cross"): (">of four roads", ">shaped like a cross"),
        ("intersection", "tee"): (">of three roads", ">shaped like a t"),
        ("intersection", "roundabout"): (
            ">with a roundabout", ">with a circle in the middle"),
        ("parking lot", "empty"): ("<nearly empty", ">with few cars"),
        ("parking lot", "half"): ("<half full", ">partly filled with cars"),
        ("parking lot", "full"): ("<full", ">full of cars"),
        ("", "round"): ("<round", "<circular"),
        ("", "oval"): ("<oval",),
        ("", "rectangular"): ("<rectangular",),
        ("", "irregular"): ("<irregular",),
        ("river", "straight"): ("<straight",),
        ("river", "winding"): ("<winding", "<curved"),
    }
)  # fmt: skip
SIZES = {"large": ("large", "big"), "small": ("small", "little"),
          "wide": ("wide",), "narrow": ("narrow",)}  # fmt: skip
GROUNDS = {
    "grass": ("grass", "green grass", "a lawn"),
    "soil": ("bare soil", "brown soil", "bare ground"),
    "sand": ("sand", "sandy ground", "yellow sand"),
    "pavement": ("concrete", "paved ground", "gray pavement"),
}
CONTEXTS = {
    "road": ("a road", "a street", "a highway"),
    "river": ("a river", "a stream"),
    "railway": ("a railway", "railway tracks"),
    "woods": ("woods", "a forest", "dense trees"),
    "houses": ("houses", "a row of houses"),
    "fields": ("farmland", "crop fields"),
    "sea": ("the sea", "the ocean"),
}
PLURAL = ("railway tracks", "woods", "dense trees", "houses", "crop fields")
SMALLS = {
    "cars": "car/cars",
    "trucks": "truck/trucks",
    "trees": "tree/trees",
    "pools": "pool/pools, swimming pool/swimming pools",
    "sheds": "shed/sheds, hut/huts",
    "boats": "boat/boats, small boat/small boats",
    "umbrellas": "umbrella/umbrellas",
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
           "nine", "ten")  # fmt: skip
LEADS = ("an aerial view of", "a satellite image of", "the image shows",
          "we can see", "an overhead view of", "this picture shows")  # fmt: skip
NEAR = ("near", "next to", "beside", "close to", "by")
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


def article(phrase: str) -> str:
    """Return the phrase behind `a` or `an`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def forms(dice: Dice, table: str) -> tuple[str, str]:
    """Return (singular, plural) of one of the nouns of a table row."""
    singular, _, plural = dice.pick(table.split(", ")).partition("/")
    return singular, plural


def amount(dice: Dice, n: int, exact: bool) -> tuple[str, int, int]:
    """Return a count word and the interval that it commits to."""
    if n == 1:
        return ("one" if exact and dice.chance(0.4) else "", 1, 1)
    if not exact:
        return ("some" if dice.chance(0.4) else "", 2, INF)
    options: list[tuple[str, int, int]] = [("several", 3, 8)] if 3 <= n <= 8 else []
    if n <= 10:
        options += [(DIGITS[n], n, n)]
    if n == 2:
        options.append(("a couple of", 2, 2))
    if 2 <= n <= 4:
        options.append(("a few", 2, 4))
    if n >= 7:
        options.append(("many", 7, INF))
    return dice.pick(options)


def counted(word: str, adjectives: str, noun: tuple[str, str], n: int) -> str:
    """Return a noun phrase with a true article and number."""
    if n == 1:
        body = f"{adjectives}{noun[0]}"
        return f"one {body}" if word == "one" else article(body)
    return f"{word} {adjectives}{noun[1]}".strip()
