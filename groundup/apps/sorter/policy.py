"""What is sorted where: a typed policy, and the orders that change it or are refused.

A model turns an operator's sentence into one line of this language (`PATTERN`: `parse` reads it, `render` writes it);
what the line does, and whether it may, is decided here and learned nowhere:

    route KIND.. BIN | leave KIND.. | manual KIND.. | only KIND.. | resume KIND.. | first KIND.. | swap BIN BIN | reset
    | sure PERCENT
    | sure more | sure less, several joined by "; "        or alone: ask bottle | ask bin | ask kind        or: refuse
    kind | refuse other
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from groundup.core.errors import InputError

Language = Literal["en", "zh"]
Verb = Literal["route", "leave", "manual", "only", "resume", "first", "swap", "reset", "sure", "ask", "refuse"]
Place = int | Literal["leave", "manual"]
"""A bin's number, or: let pass on the belt, or: a person sorts it by hand."""

SORTS: dict[str, tuple[str, str]] = {
    "glass-brown": ("brown glass", "棕色玻璃"),
    "glass-green": ("green glass", "绿色玻璃"),
    "glass-clear": ("clear glass", "透明玻璃"),
    "plastic": ("plastic bottles", "塑料瓶"),
    "can": ("cans", "罐子"),
    "cardboard": ("cardboard", "纸板"),
    "paper": ("paper", "纸张"),
    "food": ("food waste", "厨余垃圾"),
    "film": ("film", "薄膜"),
    "hazard": ("hazards", "危险品"),
}  # fmt: skip
"""What is told apart, in words."""
KINDS: dict[str, tuple[str, ...]] = {"glass": ("glass-brown", "glass-green", "glass-clear")} | {
    sort: (sort,) for sort in SORTS
}
"""What an order may name, and the sorts it means."""
COLOURS = {
    "blue": "蓝",
    "yellow": "黄",
    "green": "绿",
    "brown": "棕",
    "red": "红",
    "grey": "灰",
    "black": "黑",
    "white": "白",
    "orange": "橙",
    "purple": "紫",
}
TOPICS = {
    ("ask", "bottle"): ("Which bottles: glass, or plastic?", "哪种瓶子：玻璃瓶还是塑料瓶？"),
    ("ask", "bin"): ("Which bin? Give its number or colour.", "哪个箱子？请说编号或颜色。"),
    ("ask", "kind"): ("Which kind of waste?", "哪一种垃圾？"),
    ("refuse", "kind"): ("I do not know that kind of waste.", "我不认识这种垃圾。"),
    ("refuse", "other"): ("That is not an order about sorting.", "这不是分拣指令。"),
}
REASONS = {
    "bin": ("There is no {0} bin.", "没有{0}箱。"),
    "hazard": (
        "Hazards go alone into a box for hazards, or are taken by hand.",
        "危险品只能单独放进危险品箱，或由人工处理。",
    ),
    "contradiction": ("That says two things about {0}.", "关于{0}的说法相互矛盾。"),
    "swap": ("That swaps a bin with itself.", "不能和同一个箱子对换。"),
    "sure": ("Sureness must be from 50 to 99 %, not {0}.", "把握必须在50%到99%之间，不能是{0}。"),
}
LONGEST = 400  # characters of an order
LEAST, MOST, STEP, SURE = (
    50,
    99,
    10,
    80,
)  # percent: below the least every second pick may be wrong; a relative order changes it by a step


def _either(*choices: str) -> str:
    return f"({'|'.join(choices)})"


_SEVERAL, _BIN = f"( {_either(*KINDS)})+", f" {_either('[1-9][0-9]?', *COLOURS)}"
_CLAUSE = _either(
    f"route{_SEVERAL}{_BIN}", f"(leave|manual|only|resume|first){_SEVERAL}", f"swap{_BIN}{_BIN}", "reset",
    "sure (0|[1-9][0-9]?|100|more|less)"
)  # fmt: skip
PATTERN = _either(f"{_CLAUSE}(; {_CLAUSE})*", *map(" ".join, TOPICS))
"""The regular expression of an order's line; `parse` refuses two things more: a line that is too long, and a kind
twice in a clause.
"""


class Op(NamedTuple):
    """One clause of an order: a verb, the kinds it names, and its other words (bins as they were said, a percentage, a
    topic).
    """

    verb: Verb
    kinds: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


class Said(NamedTuple):
    """An order that changes nothing: refused for a reason, or answered by a question."""

    question: bool
    texts: tuple[str, str]

    def words(self, language: Language) -> str:
        """The sentence for the operator."""
        return self.texts[language == "zh"]


class Bin(BaseModel):
    """A bin: its colour, and whether it is a box for hazards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    colour: str
    hazards: bool = False


class Policy(BaseModel):
    """Where each sort goes. A policy that is unsafe, incomplete or names bins that are not there cannot be made
    (ValidationError).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    bins: tuple[Bin, ...]  # numbered from 1
    standard: Mapping[str, Place]  # what `reset` and `resume` go back to
    places: Mapping[str, Place]
    sure: int = SURE  # percent: what is seen with less is left for a person
    first: tuple[str, ...] = ()  # sorts that are picked before others

    @model_validator(mode="after")
    def _possible(self) -> "Policy":
        for places in (self.standard, self.places):
            if set(places) != set(SORTS) or not set(self.first) <= set(SORTS) or not LEAST <= self.sure <= MOST:
                raise ValueError(
                    f"a policy needs a place for each of {', '.join(SORTS)}, and sureness from {LEAST} to {MOST}"
                )
            if any(
                place not in ("leave", "manual") and not 1 <= int(place) <= len(self.bins) for place in places.values()
            ):
                raise ValueError(f"a place is a bin from 1 to {len(self.bins)}, leave or manual")
            if _unsafe(self.bins, places):
                raise ValueError(REASONS["hazard"][0])
        if not {each.colour for each in self.bins} <= set(COLOURS):
            raise ValueError(f"a bin has one of the colours {', '.join(COLOURS)}")
        return self

    def called(self, word: str) -> list[int]:
        """The numbers of the bins that a number or a colour names."""
        return [number for number, each in enumerate(self.bins, 1) if word in (str(number), each.colour)]


STANDARD: dict[str, Place] = {
    "glass-brown": 3, "glass-green": 3, "glass-clear": 3, "plastic": 2, "can": 2, "cardboard": 1, "paper": 1, "food": 4,
    "film": 2, "hazard": 5,
}  # fmt: skip


def standard(sure: int = SURE) -> Policy:
    """Five bins: blue for paper, yellow for packaging, green for glass, brown for food, and a red box for hazards."""
    bins = (
        Bin(colour="blue"),
        Bin(colour="yellow"),
        Bin(colour="green"),
        Bin(colour="brown"),
        Bin(colour="red", hazards=True),
    )
    return Policy(bins=bins, standard=STANDARD, places=STANDARD, sure=sure)


def parse(line: str) -> tuple[Op, ...]:
    """An order from a model's line. Raises InputError for anything that `render` would not write."""
    if len(line) > LONGEST:
        raise InputError(f"an order of {len(line)} characters; at most {LONGEST}")
    if not re.fullmatch(PATTERN, line):
        raise InputError(
            f"order {line[:80]!r}: not in the language; one is for example 'route glass-brown 3; leave paper'"
        )
    return tuple(map(_op, line.split("; ")))


def render(ops: tuple[Op, ...]) -> str:
    """The line of an order."""
    return "; ".join(" ".join((op.verb, *op.kinds, *op.rest)) for op in ops)


def _op(clause: str) -> Op:
    verb, *words = clause.split(" ")
    kinds = tuple(word for word in words if word in KINDS)
    if len(set(kinds)) < len(kinds):
        raise InputError(f"order {clause!r}: it names a kind twice")
    return Op(verb, kinds, tuple(word for word in words if word not in KINDS))  # type: ignore[arg-type]  # the pattern holds the verbs


def apply(ops: tuple[Op, ...], policy: Policy) -> Policy | Said:
    """The policy after an order, clause by clause; or, with nothing changed, why not, or a question.

    What is said of one colour of glass goes before what is said of all glass; else to say two places of a sort is a
    contradiction.
    """
    places, sure, first = dict(policy.places), policy.sure, policy.first
    broad: dict[str, Place | None] = {}  # what this order says of each sort; None: it is sorted, wherever
    narrow: dict[str, Place | None] = {}
    for op in ops:
        if (op.verb, *op.rest) in TOPICS:
            return Said(op.verb == "ask", TOPICS[op.verb, op.rest[0]])
        found = {word: policy.called(word) for word in op.rest} if op.verb in ("route", "swap") else {}
        for word, numbers in found.items():
            if len(numbers) != 1:
                return Said(True, TOPICS["ask", "bin"]) if numbers else _refused("bin", *_bin_words(word))
        bins = [found[word][0] for word in op.rest] if found else []
        named = {sort: "-" in kind for kind in op.kinds for sort in KINDS[kind]}  # whether by its colour
        claims: dict[str, Place | None] = {}
        match op.verb:
            case "route":
                claims = dict.fromkeys(named, bins[0])
            case "leave" | "manual":
                claims = dict.fromkeys(named, op.verb)
            case "resume":
                claims = dict.fromkeys(named)
            case "only":
                claims = {
                    sort: None if sort in named else "leave" for sort in SORTS if sort in named or sort != "hazard"
                }
            case "first":
                first = (*named, *(sort for sort in first if sort not in named))
            case "swap":
                if bins[0] == bins[1]:
                    return _refused("swap")
                other: dict[Place, Place] = {bins[0]: bins[1], bins[1]: bins[0]}
                places = {
                    sort: other.get(place, place) for sort, place in _settled(places, policy, broad | narrow).items()
                }
                broad, narrow = {}, {}
            case "reset":
                places, sure, first, broad, narrow = dict(policy.standard), SURE, (), {}, {}
            case "sure":
                word = op.rest[0]
                sure = (
                    min(max(sure + STEP * (1 if word == "more" else -1), LEAST), 95)
                    if word in ("more", "less")
                    else int(word)
                )
                if not LEAST <= sure <= MOST:
                    return _refused("sure", f"{sure} %", f"{sure}%")
        for sort, place in claims.items():
            said = narrow if named.get(sort) else broad
            if sort in said and _clash(said[sort], place):
                return _refused("contradiction", *SORTS[sort])
            said[sort] = said.get(sort) or place
    places = _settled(places, policy, broad | narrow)
    if _unsafe(policy.bins, places):
        return _refused("hazard")
    return Policy(bins=policy.bins, standard=policy.standard, places=places, sure=sure, first=first)


def words(policy: Policy, language: Language) -> str:
    """The policy in plain words, a line a place; each sort is named once, with a star where it is picked first."""
    side = int(language == "zh")
    lines = []
    for number, each in enumerate(policy.bins, 1):
        lines.append(
            (f"Bin {number} ({each.colour}): ", f"{number}号箱（{COLOURS[each.colour]}色）：")[side]
            + _listed(policy, number, side)
        )
    lines.append(("By hand: ", "人工处理：")[side] + _listed(policy, "manual", side))
    lines.append(("Left on the belt: ", "留在带上：")[side] + _listed(policy, "leave", side))
    doubtful = (
        f"By hand too: what is seen with less than {policy.sure} % sureness.",
        f"把握不足{policy.sure}%的也由人工处理。",
    )
    lines.append(doubtful[side] + (" * is picked first.", "*优先拣。")[side] * bool(policy.first))
    return "\n".join(lines)


def _refused(reason: str, english: str = "", chinese: str = "") -> Said:
    texts = REASONS[reason]
    return Said(False, (texts[0].format(english), texts[1].format(chinese)))


def _bin_words(word: str) -> tuple[str, str]:
    return word, f"{COLOURS[word]}色" if word in COLOURS else f"{word}号"


def _clash(one: Place | None, other: Place | None) -> bool:
    return one != other and (None not in (one, other) or "leave" in (one, other))


def _settled(places: Mapping[str, Place], policy: Policy, claims: Mapping[str, Place | None]) -> dict[str, Place]:
    """The places after what was said; what is only said to be sorted goes to its bin, or else to the standard one."""
    back = {sort: places[sort] if isinstance(places[sort], int) else policy.standard[sort] for sort in SORTS}
    return {**places, **{sort: back[sort] if place is None else place for sort, place in claims.items()}}


def _unsafe(bins: tuple[Bin, ...], places: Mapping[str, Place]) -> bool:
    """Whether hazards go anywhere but alone into a box of theirs, or to a person."""
    boxes = {number for number, each in enumerate(bins, 1) if each.hazards} | {"manual"}
    return places["hazard"] not in boxes or any(
        place in boxes - {"manual"} for sort, place in places.items() if sort != "hazard"
    )


def _listed(policy: Policy, wanted: Place, side: int) -> str:
    names = [
        SORTS[sort][side] + "*" * (sort in policy.first) for sort, place in policy.places.items() if place == wanted
    ]
    return (", ", "、")[side].join(names) or ("nothing", "无")[side]
