"""Scene graph → five sparse captions, each with the facts that it commits to.

A caption says 0-4 facts beside (or instead of) the class and leaves the rest open, so
that several images of a split may satisfy it. What it does say is true of its scene.
Explained in notebook 00.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rsnb.world.scene import Dice, Scene, Small

__all__ = ["GROUPS", "INF", "Caption", "Fact", "describe"]

Fact = tuple[str | int, ...]
INF = 999
CAPTIONS = 5
MOST_WORDS = 22  # a text encoder's context of 24 takes every caption whole


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and its facts; `oracle.consistent` decides whether they hold."""

    text: str
    facts: tuple[Fact, ...]


# class: nouns "singular/plural" (a lone word is singular, "=" marks a mass noun)
_NOUNS: Mapping[str, str] = MappingProxyType(
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
_PARTS: Mapping[str, str] = MappingProxyType(
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
_COLOUR_OF_PART = ("airport", "harbor", "industrial area", "school", "solar farm",
                   "sparse residential area")  # fmt: skip
_ROOFED = ("church", "dense residential area", "industrial area", "railway station",
           "school", "sparse residential area")  # fmt: skip
_CROSSING = ("bridge", "intersection", "river")  # they do not lie on a ground
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
_GROUP_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
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
_LAYOUT: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("", "row"): (">in a row", ">in a line", ">side by side"),
        ("", "grid"): (">in neat rows", ">arranged in rows"),
        ("", "ring"): (">in a circle", ">arranged in a ring"),
        ("", "scattered"): (">scattered around",),
        ("dense residential area", "rows"): (">in parallel rows", ">along long streets"),
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
_SIZES = {"large": ("large", "big"), "small": ("small", "little"),
          "wide": ("wide",), "narrow": ("narrow",)}  # fmt: skip
_GROUNDS = {
    "grass": ("grass", "green grass", "a lawn"),
    "soil": ("bare soil", "brown soil", "bare ground"),
    "sand": ("sand", "sandy ground", "yellow sand"),
    "pavement": ("concrete", "paved ground", "gray pavement"),
}
_CONTEXTS = {
    "road": ("a road", "a street", "a highway"),
    "river": ("a river", "a stream"),
    "railway": ("a railway", "railway tracks"),
    "woods": ("woods", "a forest", "dense trees"),
    "houses": ("houses", "a row of houses"),
    "fields": ("farmland", "crop fields"),
    "sea": ("the sea", "the ocean"),
}
_PLURAL = ("railway tracks", "woods", "dense trees", "houses", "crop fields")
_SMALLS = {
    "cars": "car/cars",
    "trucks": "truck/trucks",
    "trees": "tree/trees",
    "pools": "pool/pools, swimming pool/swimming pools",
    "sheds": "shed/sheds, hut/huts",
    "boats": "boat/boats, small boat/small boats",
    "umbrellas": "umbrella/umbrellas",
}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
           "nine", "ten")  # fmt: skip
_LEADS = ("an aerial view of", "a satellite image of", "the image shows",
          "we can see", "an overhead view of", "this picture shows")  # fmt: skip
_NEAR = ("near", "next to", "beside", "close to", "by")
_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_FACT_NUMBER = {0: 0.08, 1: 0.42, 2: 0.38, 3: 0.10, 4: 0.02}
_FACT_NUMBER_SOURCE = {0: 0.40, 1: 0.42, 2: 0.18}


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _noun(dice: Dice, table: str) -> tuple[str, str]:
    """Return (singular, plural) of one of the nouns of a table row."""
    singular, _, plural = dice.pick(table.split(", ")).partition("/")
    return singular, plural


def _number(dice: Dice, n: int, exact: bool) -> tuple[str, int, int]:
    """Return a count word and the interval that it commits to."""
    if n == 1:
        return ("one" if exact and dice.chance(0.4) else "", 1, 1)
    if not exact:
        return ("some" if dice.chance(0.4) else "", 2, INF)
    options: list[tuple[str, int, int]] = [("several", 3, 8)] if 3 <= n <= 8 else []
    if n <= 10:
        options += [(_DIGITS[n], n, n)]
    if n == 2:
        options.append(("a couple of", 2, 2))
    if 2 <= n <= 4:
        options.append(("a few", 2, 4))
    if n >= 7:
        options.append(("many", 7, INF))
    return dice.pick(options)


def _counted(word: str, adjectives: str, noun: tuple[str, str], n: int) -> str:
    """Return a noun phrase with a true article and number."""
    if n == 1:
        body = f"{adjectives}{noun[0]}"
        return f"one {body}" if word == "one" else _article(body)
    return f"{word} {adjectives}{noun[1]}".strip()


class _Draft:
    """One caption in the making: phrases and the facts that they commit to."""

    def __init__(self, s: Scene, dice: Dice) -> None:
        self.s, self.dice = s, dice
        self.facts: list[Fact] = []
        self.plural = False

    def small(self, group: Small, coloured: bool, exact: bool) -> str:
        word, lo, hi = _number(self.dice, group.count, exact)
        tint = group.colour if coloured else "any"
        adjective = f"{group.colour} " if coloured else ""
        self.facts.append(("small", group.kind, tint, lo, hi))
        noun = _noun(self.dice, _SMALLS[group.kind])
        return _counted(word, adjective, noun, group.count)

    def subject(self, chosen: Sequence[str]) -> str:
        """Return the noun phrase of the class, with the chosen facts about it."""
        s, dice, cls = self.s, self.dice, self.s.cls
        self.facts.append(("class", cls))
        before: list[str] = []
        after: list[str] = []
        part = ""
        if "size" in chosen:
            self.facts.append(("size", str(s.size)))
            before.append(dice.pick(_SIZES[str(s.size)]))
        if "layout" in chosen:
            self.facts.append(("layout", str(s.layout)))
            key = (cls, str(s.layout))
            phrase = dice.pick(_LAYOUT.get(key) or _LAYOUT["", str(s.layout)])
            (before if phrase[0] == "<" else after).append(phrase[1:])
        tint = ""
        if "colour" in chosen:
            self.facts.append(("colour", str(s.colour)))
            tint = f"{s.colour} roofed " if cls in _ROOFED else f"{s.colour} "
        has_part = cls in _PARTS
        if has_part and (
            "count" in chosen or (tint and cls in _COLOUR_OF_PART) or "layout" in chosen
        ):
            word, lo, hi = _number(dice, int(s.count or 1), "count" in chosen)
            self.facts.append(("count", lo, hi))
            adjective = tint if cls in _COLOUR_OF_PART else ""
            part = _counted(
                word, adjective, _noun(dice, _PARTS[cls]), int(s.count or 1)
            )
            tint = "" if adjective else tint
        if cls == "beach" and tint:
            after.append(f"with {s.colour} water")
            tint = ""
        adjectives = "".join(f"{a} " for a in before) + tint
        singular, plural = _noun(dice, _NOUNS[cls])
        if part:
            after.insert(0, f"{'with' if dice.chance(0.8) else 'that has'} {part}")
        if singular[0] == "=":
            head = f"{adjectives}{singular[1:]}"
        elif not plural:
            head = _article(f"{adjectives}{singular}")
        else:
            word, lo, hi = _number(dice, int(s.count or 1), "count" in chosen)
            self.facts.append(("count", lo, hi))
            head = _counted(word, adjectives, (singular, plural), int(s.count or 1))
            self.plural = int(s.count or 1) > 1
        return " ".join([head, *after])

    def context(self, index: int, sided: bool) -> tuple[str, str, str]:
        """Return (noun phrase, side or "", verb) of one context band."""
        kind, side = self.s.context[index]
        noun = self.dice.pick(_CONTEXTS[kind])
        verb = "are" if noun in _PLURAL else "is"
        self.facts.append(
            ("context", kind, side if sided or side == "around" else "any")
        )
        return noun, side if sided or side == "around" else "", verb

    def vague(self, chosen: list[str]) -> str:
        """Return a subject that does not name the class."""
        s, dice = self.s, self.dice
        groups = [g for g, members in GROUPS.items() if s.cls in members]
        if "ground" in chosen and dice.chance(0.35):
            chosen.remove("ground")
            self.facts.append(("ground", str(s.ground)))
            name = {"pavement": "paved", "soil": "bare", "sand": "sandy"}
            return f"a piece of {name.get(str(s.ground), 'grassy')} ground"
        if not groups:
            return dice.pick(("a place", "something"))
        group = dice.pick(groups)
        self.facts.append(("group", group))
        return dice.pick(_GROUP_WORDS[group])


def _near(dice: Dice, noun: str) -> str:
    return f"{dice.pick(_NEAR)} {noun}"


def _caption(s: Scene, dice: Dice) -> Caption:
    d = _Draft(s, dice)
    weights: dict[str, float] = {
        name: w
        for name, w in (
            ("count", 1.0),
            ("colour", 1.0),
            ("layout", 0.8),
            ("size", 0.7),
            ("ground", 0.55),
        )  # fmt: skip
        if getattr(s, name) is not None
    }
    if s.cls == "parking lot":
        weights.pop("count", None)  # its layout says how full it is
    weights |= {f"context{k}": 1.1 for k in range(len(s.context))}
    weights |= {f"small{k}": 0.6 for k in range(len(s.small))}
    source = s.split == "source"
    number = dice.weighted(_FACT_NUMBER_SOURCE if source else _FACT_NUMBER)
    named = dice.chance(0.84)
    if not named:  # facts that make sense without the class
        weights = {
            k: w for k, w in weights.items() if k[:5] in ("groun", "conte", "small")
        }
        number = max(number, 2)
    chosen: list[str] = []
    while weights and len(chosen) < number:
        chosen.append(dice.weighted(weights))
        weights.pop(chosen[-1])
    subject = d.subject(chosen) if named else d.vague(chosen)
    verb = "are" if d.plural else "is"
    tail: list[str] = []  # may follow the noun or "is"
    clauses: list[tuple[str, str]] = []  # (thing, "is where" or "") behind the rest
    opening = ""
    if "ground" in chosen:
        d.facts.append(("ground", str(s.ground)))
        word = dice.pick(_GROUNDS[str(s.ground)])
        inside = s.cls in _CROSSING and word != "a lawn"
        tail.append(f"in an area of {word}" if inside else f"on {word}")
    bands = [int(c[-1]) for c in chosen if c.startswith("context")]
    if len(bands) == 2 and s.context[1][1] == _OPPOSITE.get(s.context[0][1]):
        if dice.chance(0.5):
            (a, _, _), (b, _, _) = d.context(0, False), d.context(1, False)
            d.facts.append(("between", s.context[0][0], s.context[1][0]))
            tail.append(f"between {a} and {b}")
            bands = []
    for band in bands:
        noun, side, is_are = d.context(band, dice.chance(0.4))
        if side == "around":
            tail.append(f"surrounded by {noun}")
        elif not side and not opening and dice.chance(0.2):
            opening = f"{_near(dice, noun)} there {verb}"
        elif not side:
            tail.append(_near(dice, noun))
        elif dice.chance(0.5):
            edge = dice.pick((f"on the {side}", f"on the {side} side"))
            clauses.append((f"{noun} {edge}", ""))
        else:
            clauses.append((noun, f"{is_are} on the {side}"))
    for k in (int(c[-1]) for c in chosen if c.startswith("small")):
        group = s.small[k]
        coloured = group.kind not in ("trees", "pools") and dice.chance(0.55)
        noun = d.small(group, coloured, dice.chance(0.6))
        be = "is" if group.count == 1 else "are"
        if group.kind in ("cars", "trucks") and dice.chance(0.3):
            clauses.append((noun, f"{be} parked there"))
        else:
            clauses.append((noun, dice.pick(("", "", f"{be} nearby"))))
    text = _assemble(dice, subject, verb, opening, tail)
    for thing, where in sorted(clauses, key=lambda clause: clause[1] != ""):
        link = "and" if where or " with " in text else "with"
        text = f"{text} {link} {thing} {where}".rstrip()
    return Caption(text, tuple(d.facts))


def _fits(text: str, earlier: Sequence[Caption]) -> bool:
    length = text.count(" ") + 1
    return 3 <= length <= MOST_WORDS and all(text != c.text for c in earlier)


def _assemble(
    dice: Dice, subject: str, verb: str, opening: str, tail: list[str]
) -> str:
    """Join the phrases with one of several openings."""
    words = [subject, *tail]
    x = dice.u()
    if opening:
        words = [opening, *words]
    elif x < 0.24:
        words = [f"there {verb}", *words]
    elif x < 0.50 and tail:
        state = dice.pick(("", "", "located ")) if tail[0][:3] != "sur" else ""
        words = [subject, verb, f"{state}{tail[0]}", *tail[1:]]
    elif x < 0.50:
        words = [f"this {verb}" if verb == "is" else "these are", *words]
    elif x < 0.80:
        words = [dice.pick(_LEADS), *words]
    return " ".join(words)


def describe(s: Scene) -> tuple[Caption, ...]:
    """Return five distinct captions of a scene, of 3 to 22 words."""
    dice = Dice(s.seed, 1)
    out: list[Caption] = []
    while len(out) < CAPTIONS:
        caption = _caption(s, dice)
        if _fits(caption.text, out):
            out.append(caption)
    return tuple(out)
