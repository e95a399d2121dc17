"""Scene graph → five sparse captions, each with the facts that it commits to.

A caption says 0-4 facts beside (or instead of) the class and leaves the rest open, so
that several images of a split may satisfy it. What it does say is true of its scene.
Explained in notebook 00.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsnb.world import tables
from rsnb.world.scene import Dice, Scene

__all__ = ["CAPTIONS", "Caption", "Fact", "describe"]

Fact = tuple[str | int, ...]
CAPTIONS = 5
MOST_WORDS = 22  # a text encoder's context of 24 takes every caption whole
_FACT_NUMBER = {0: 0.08, 1: 0.42, 2: 0.38, 3: 0.10, 4: 0.02}
_FACT_NUMBER_SOURCE = {0: 0.40, 1: 0.42, 2: 0.18}
_WEIGHTS = {"count": 1.0, "colour": 1.0, "layout": 0.8, "size": 0.7, "ground": 0.55}


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and its facts; `oracle.consistent` decides whether they hold."""

    text: str
    facts: tuple[Fact, ...]


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _amount(dice: Dice, n: int, exact: bool) -> tuple[str, int, int]:
    """Return a count word and the interval that it commits to."""
    if n == 1:
        return ("one" if exact and dice.chance(0.4) else "", 1, 1)
    if not exact:
        return ("some" if dice.chance(0.4) else "", 2, tables.INF)
    options = [
        ("several", 3, 8), (tables.DIGITS[n] if n <= 10 else "", n, n),
        ("a couple of", 2, 2), ("a few", 2, 4), ("many", 7, tables.INF),
    ]  # fmt: skip
    return dice.pick([o for o in options if o[0] and o[1] <= n <= o[2]])


def _counted(word: str, adjectives: str, noun: str, n: int) -> str:
    """Return a noun phrase with a true article and number."""
    singular, _, plural = noun.partition("/")
    if n > 1:
        return f"{word} {adjectives}{plural}".strip()
    one = f"{adjectives}{singular}"
    return f"one {one}" if word == "one" else _article(one)


class _Draft:
    """One caption in the making: phrases and the facts that they commit to."""

    def __init__(self, s: Scene, dice: Dice) -> None:
        self.s, self.dice = s, dice
        self.facts: list[Fact] = []
        self.verb = "is"

    def say(self, name: str) -> str:
        """Commit to an attribute; return its value."""
        value = str(getattr(self.s, name))
        self.facts.append((name, value))
        return value

    def number(self, fact: tuple[str, ...], n: int, exact: bool) -> str:
        """Commit to an interval that holds `n`; return the count word."""
        word, lo, hi = _amount(self.dice, n, exact)
        self.facts.append((*fact, lo, hi))
        return word

    def small(self, k: int) -> str:
        """Return the noun phrase of a group of small objects."""
        group, dice = self.s.small[k], self.dice
        coloured = group.kind not in ("trees", "pools") and dice.chance(0.55)
        tint = group.colour if coloured else "any"
        fact = ("small", group.kind, tint)
        word = self.number(fact, group.count, exact=dice.chance(0.6))
        noun = dice.word(tables.SMALL[group.kind][2])
        return _counted(word, f"{tint} " if coloured else "", noun, group.count)

    def subject(self, chosen: list[str]) -> str:
        """Return the noun phrase of the class, with the chosen facts about it."""
        dice, cls, n = self.dice, self.s.cls, self.s.count or 1
        self.facts.append(("class", cls))
        adjectives, tint = "", ""
        after: list[str] = []
        if "size" in chosen:
            adjectives = dice.word(tables.SIZES[self.say("size")]) + " "
        if "layout" in chosen:
            layout = self.say("layout")
            phrase = dice.word(tables.LAYOUT.get(layout, f"<{layout}"))
            if phrase[0] == "<":
                adjectives += phrase[1:] + " "
            else:
                after.append(phrase[1:])
        if "colour" in chosen:
            tint = self.say("colour") + (" roofed " if cls in tables.ROOFED else " ")
        of_part = tint if cls in tables.COLOUR_OF_PART else ""
        part = ""
        exact = "count" in chosen
        nouns, _, parts = tables.NOUNS[cls].partition("; ")
        if parts and (exact or of_part or "layout" in chosen):
            word = self.number(("count",), n, exact)
            part = _counted(word, of_part, dice.word(parts), n)
            tint = "" if of_part else tint
        if cls == "beach" and tint:
            after.append(f"with {tint}water")
            tint = ""
        noun = dice.word(nouns)
        if part:
            after.insert(0, f"{'with' if dice.chance(0.8) else 'that has'} {part}")
        if noun[0] == "=":
            head = f"{adjectives}{tint}{noun[1:]}"
        elif "/" not in noun:
            head = _article(f"{adjectives}{tint}{noun}")
        else:
            word = self.number(("count",), n, exact)
            head = _counted(word, f"{adjectives}{tint}", noun, n)
            self.verb = "are" if n > 1 else "is"
        return " ".join([head, *after])

    def context(self, index: int, sided: bool) -> tuple[str, str]:
        """Return (noun phrase, side or "") of one context band."""
        kind, side = self.s.context[index]
        side = side if sided or side == "around" else ""
        self.facts.append(("context", kind, side or "any"))
        return self.dice.word(tables.CONTEXTS[kind]), side

    def vague(self, chosen: list[str]) -> str:
        """Return a subject that does not name the class."""
        if "ground" in chosen and self.dice.chance(0.35):
            chosen.remove("ground")
            name = {"pavement": "paved", "soil": "bare", "sand": "sandy"}
            return f"a piece of {name.get(self.say('ground'), 'grassy')} ground"
        groups = [
            g for g, (_, row) in tables.GROUPS.items() if self.s.cls in row.split(", ")
        ]
        group = self.dice.pick(groups)
        self.facts.append(("group", group))
        return self.dice.word(tables.GROUPS[group][0])


def _chosen(s: Scene, dice: Dice) -> tuple[list[str], bool]:
    """Return the names of what a caption says, and whether it names the class."""
    weights = {k: w for k, w in _WEIGHTS.items() if getattr(s, k) is not None}
    if s.cls == "parking lot":
        weights.pop("count")  # its layout says how full it is
    weights |= {f"context{k}": 1.1 for k in range(len(s.context))}
    weights |= {f"small{k}": 0.6 for k in range(len(s.small))}
    number = dice.weighted(_FACT_NUMBER_SOURCE if s.split == "source" else _FACT_NUMBER)
    named = dice.chance(0.84)
    if not named:  # facts that make sense without the class
        weights = {
            k: w
            for k, w in weights.items()
            if k.startswith(("ground", "cont", "small"))
        }
        number = max(number, 2)
    chosen: list[str] = []
    while weights and len(chosen) < number:
        chosen.append(dice.weighted(weights))
        weights.pop(chosen[-1])
    return chosen, named


def _caption(s: Scene, dice: Dice) -> Caption:
    d = _Draft(s, dice)
    chosen, named = _chosen(s, dice)
    subject = d.subject(chosen) if named else d.vague(chosen)
    tail: list[str] = []  # may follow the noun or "is"
    clauses: list[tuple[str, str]] = []  # (thing, "is where" or "") behind the rest
    opening = ""
    if "ground" in chosen:
        word = dice.word(tables.GROUNDS[d.say("ground")])
        inside = s.cls in tables.CROSSING and word != "a lawn"
        tail.append(f"in an area of {word}" if inside else f"on {word}")
    bands = [int(c[-1]) for c in chosen if c.startswith("context")]
    if len(bands) == 2 and s.context[1][1] == tables.OPPOSITE.get(s.context[0][1]):
        if dice.chance(0.5):
            (a, _), (b, _) = d.context(0, False), d.context(1, False)
            d.facts.append(("between", s.context[0][0], s.context[1][0]))
            tail.append(f"between {a} and {b}")
            bands = []
    for band in bands:
        noun, side = d.context(band, dice.chance(0.4))
        if side == "around":
            tail.append(f"surrounded by {noun}")
        elif not side and not opening and dice.chance(0.2):
            opening = f"{dice.word(tables.NEAR)} {noun} there {d.verb}"
        elif not side:
            tail.append(f"{dice.word(tables.NEAR)} {noun}")
        elif dice.chance(0.5):
            edge = dice.pick((f"on the {side}", f"on the {side} side"))
            clauses.append((f"{noun} {edge}", ""))
        else:
            be = "are" if noun in tables.PLURAL else "is"
            clauses.append((noun, f"{be} on the {side}"))
    for k in (int(c[-1]) for c in chosen if c.startswith("small")):
        noun, group = d.small(k), s.small[k]
        be = "is" if group.count == 1 else "are"
        if group.kind in ("cars", "trucks") and dice.chance(0.3):
            clauses.append((noun, f"{be} parked there"))
        else:
            clauses.append((noun, dice.pick(("", "", f"{be} nearby"))))
    text = " ".join(_opened(dice, subject, d.verb, opening, tail))
    for thing, where in sorted(clauses, key=lambda clause: clause[1] != ""):
        link = "and" if where or " with " in text else "with"
        text = f"{text} {link} {thing} {where}".rstrip()
    return Caption(text, tuple(d.facts))


def _opened(
    dice: Dice, subject: str, verb: str, opening: str, tail: list[str]
) -> list[str]:
    """Return subject and tail behind one of several openings, or none."""
    x = dice.u()
    if opening:
        return [opening, subject, *tail]
    if x < 0.24:
        return [f"there {verb}", subject, *tail]
    if x < 0.50 and tail:
        state = dice.pick(("", "", "located ")) if tail[0][:3] != "sur" else ""
        return [subject, verb, f"{state}{tail[0]}", *tail[1:]]
    if x < 0.50:
        return ["this is" if verb == "is" else "these are", subject]
    return [dice.word(tables.LEADS), subject, *tail] if x < 0.80 else [subject, *tail]


def describe(s: Scene) -> tuple[Caption, ...]:
    """Return five distinct captions of a scene, of 3 to 22 words."""
    dice = Dice(s.seed, 1)
    out: dict[str, Caption] = {}
    while len(out) < CAPTIONS:
        caption = _caption(s, dice)
        if 3 <= len(caption.text.split()) <= MOST_WORDS:
            out.setdefault(caption.text, caption)
    return tuple(out.values())
