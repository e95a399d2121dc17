"""Scene graph → five sparse captions, each with the facts that it commits to.

A caption says 0-4 facts beside (or instead of) the class and leaves the rest open, so
that several images of a split may satisfy it. What it does say is true of its scene.
Explained in notebook 00.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsnb.world.phrases import (
    COLOUR_OF_PART,
    CONTEXTS,
    CROSSING,
    GROUNDS,
    GROUP_WORDS,
    GROUPS,
    LAYOUT,
    LEADS,
    NEAR,
    NOUNS,
    OPPOSITE,
    PARTS,
    PLURAL,
    ROOFED,
    SIZES,
    SMALLS,
    amount,
    article,
    counted,
    forms,
)
from rsnb.world.scene import Dice, Scene, Small

__all__ = ["CAPTIONS", "Caption", "Fact", "describe"]

Fact = tuple[str | int, ...]
CAPTIONS = 5
MOST_WORDS = 22  # a text encoder's context of 24 takes every caption whole


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and its facts; `oracle.consistent` decides whether they hold."""

    text: str
    facts: tuple[Fact, ...]


_FACT_NUMBER = {0: 0.08, 1: 0.42, 2: 0.38, 3: 0.10, 4: 0.02}
_FACT_NUMBER_SOURCE = {0: 0.40, 1: 0.42, 2: 0.18}


class _Draft:
    """One caption in the making: phrases and the facts that they commit to."""

    def __init__(self, s: Scene, dice: Dice) -> None:
        self.s, self.dice = s, dice
        self.facts: list[Fact] = []
        self.plural = False

    def small(self, group: Small, coloured: bool, exact: bool) -> str:
        word, lo, hi = amount(self.dice, group.count, exact)
        tint = group.colour if coloured else "any"
        adjective = f"{group.colour} " if coloured else ""
        self.facts.append(("small", group.kind, tint, lo, hi))
        noun = forms(self.dice, SMALLS[group.kind])
        return counted(word, adjective, noun, group.count)

    def subject(self, chosen: Sequence[str]) -> str:
        """Return the noun phrase of the class, with the chosen facts about it."""
        s, dice, cls = self.s, self.dice, self.s.cls
        self.facts.append(("class", cls))
        before: list[str] = []
        after: list[str] = []
        part = ""
        if "size" in chosen:
            self.facts.append(("size", str(s.size)))
            before.append(dice.pick(SIZES[str(s.size)]))
        if "layout" in chosen:
            self.facts.append(("layout", str(s.layout)))
            key = (cls, str(s.layout))
            phrase = dice.pick(LAYOUT.get(key) or LAYOUT["", str(s.layout)])
            (before if phrase[0] == "<" else after).append(phrase[1:])
        tint = ""
        if "colour" in chosen:
            self.facts.append(("colour", str(s.colour)))
            tint = f"{s.colour} roofed " if cls in ROOFED else f"{s.colour} "
        has_part = cls in PARTS
        if has_part and (
            "count" in chosen or (tint and cls in COLOUR_OF_PART) or "layout" in chosen
        ):
            word, lo, hi = amount(dice, int(s.count or 1), "count" in chosen)
            self.facts.append(("count", lo, hi))
            adjective = tint if cls in COLOUR_OF_PART else ""
            part = counted(word, adjective, forms(dice, PARTS[cls]), int(s.count or 1))
            tint = "" if adjective else tint
        if cls == "beach" and tint:
            after.append(f"with {s.colour} water")
            tint = ""
        adjectives = "".join(f"{a} " for a in before) + tint
        singular, plural = forms(dice, NOUNS[cls])
        if part:
            after.insert(0, f"{'with' if dice.chance(0.8) else 'that has'} {part}")
        if singular[0] == "=":
            head = f"{adjectives}{singular[1:]}"
        elif not plural:
            head = article(f"{adjectives}{singular}")
        else:
            word, lo, hi = amount(dice, int(s.count or 1), "count" in chosen)
            self.facts.append(("count", lo, hi))
            head = counted(word, adjectives, (singular, plural), int(s.count or 1))
            self.plural = int(s.count or 1) > 1
        return " ".join([head, *after])

    def context(self, index: int, sided: bool) -> tuple[str, str, str]:
        """Return (noun phrase, side or "", verb) of one context band."""
        kind, side = self.s.context[index]
        noun = self.dice.pick(CONTEXTS[kind])
        verb = "are" if noun in PLURAL else "is"
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
        group = dice.pick(groups)
        self.facts.append(("group", group))
        return dice.pick(GROUP_WORDS[group])


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
        )
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
        word = dice.pick(GROUNDS[str(s.ground)])
        inside = s.cls in CROSSING and word != "a lawn"
        tail.append(f"in an area of {word}" if inside else f"on {word}")
    bands = [int(c[-1]) for c in chosen if c.startswith("context")]
    if len(bands) == 2 and s.context[1][1] == OPPOSITE.get(s.context[0][1]):
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
            opening = f"{dice.pick(NEAR)} {noun} there {verb}"
        elif not side:
            tail.append(f"{dice.pick(NEAR)} {noun}")
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
        words = [dice.pick(LEADS), *words]
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
