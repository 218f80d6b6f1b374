"""The sorting policy: the destination of each waste class, and the orders that change it.

A model translates an operator's sentence into one order of this language (`PATTERN`; `parse` reads it, `render` writes
it). The effect of an order, and whether it is allowed, is decided here, not learned:

    route CLASS.. BIN | leave CLASS.. | manual CLASS.. | only CLASS.. | resume CLASS.. | first CLASS.. | swap BIN BIN
    | reset | sure PERCENT | sure more | sure less, up to four joined by "; "
    or alone: ask bottle | ask bin | ask kind        or: refuse kind | refuse other | refuse many
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from groundup.core.errors import InputError

Language = Literal["en", "zh"]
Verb = Literal["route", "leave", "manual", "only", "resume", "first", "swap", "reset", "sure", "ask", "refuse"]
Destination = int | Literal["leave", "manual"]
"""A bin's number; leave: on the belt; manual: sorted by a person."""

WASTE_CLASSES: dict[str, tuple[str, str]] = {
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
"""The classes that the model detects, with their names in English and Chinese."""
ORDER_CLASSES: dict[str, tuple[str, ...]] = {"glass": ("glass-brown", "glass-green", "glass-clear")} | {
    sort: (sort,) for sort in WASTE_CLASSES
}
"""The names that an order may use, each with the waste classes it stands for."""
_ENGLISH = ("blue", "yellow", "green", "brown", "red", "grey", "black", "white", "orange", "purple")
COLOURS = dict(zip(_ENGLISH, "蓝黄绿棕红灰黑白橙紫", strict=True))
"""The colours of bins, with their names in Chinese."""
TOPICS = {
    ("ask", "bottle"): ("Which bottles: glass, or plastic?", "哪种瓶子：玻璃瓶还是塑料瓶？"),
    ("ask", "bin"): ("Which bin? Give its number or colour.", "哪个箱子？请说编号或颜色。"),
    ("ask", "kind"): ("Which kind of waste?", "哪一种垃圾？"),
    ("refuse", "kind"): ("I do not know that kind of waste.", "我不认识这种垃圾。"),
    ("refuse", "other"): ("That is not an order about sorting.", "这不是分拣指令。"),
    ("refuse", "many"): (
        "That is more than four orders at once. Give them one after another.",
        "一次最多四条指令，请分开说。",
    ),
}
WORDS: dict[str, tuple[str, str]] = {
    "route": ("{kinds} into {0}", "{kinds}放到{0}"),
    "leave": ("leave {kinds} on the belt", "{kinds}留在带上"),
    "manual": ("{kinds} by hand", "{kinds}由人工处理"),
    "only": ("sort only {kinds}", "只分拣{kinds}"),
    "resume": ("sort {kinds} again", "恢复分拣{kinds}"),
    "first": ("pick {kinds} first", "优先拣{kinds}"),
    "swap": ("swap {0} and {1}", "对换{0}和{1}"),
    "reset": ("back to the standard policy", "恢复标准规则"),
    "sure": ("confidence threshold {0} %", "把握门槛{0}%"),
    "more": ("a higher confidence threshold", "提高把握门槛"),
    "less": ("a lower confidence threshold", "降低把握门槛"),
}
"""A clause in plain words, by its verb or its last word: `kinds` are classes; bins or a number fill the gaps."""
REASONS = {
    "bin": ("There is no {0}.", "没有{0}。"),
    "hazard": (
        "Hazards go alone into a box for hazards, or are taken by hand.",
        "危险品只能单独放进危险品箱，或由人工处理。",
    ),
    "contradiction": ("That says two things about {0}.", "关于{0}的说法相互矛盾。"),
    "swap": ("That swaps a bin with itself.", "不能和同一个箱子对换。"),
    "sure": ("The confidence threshold must be from 50 to 99 %, not {0}.", "把握必须在50%到99%之间，不能是{0}。"),
}
LONGEST = 400  # characters of an order
MOST = 4  # clauses of an order
LOWEST, HIGHEST = 50, 99  # percent: range of the confidence threshold; below, every second pick may be wrong
STEP, DEFAULT = 10, 80  # percent: of "more" and "less"; the standard threshold


def _either(*choices: str) -> str:
    return f"({'|'.join(choices)})"


_SEVERAL, _BIN = f"( {_either(*ORDER_CLASSES)})+", f" {_either('[1-9][0-9]?', *COLOURS)}"
_CLAUSE = _either(
    f"route{_SEVERAL}{_BIN}", f"(leave|manual|only|resume|first){_SEVERAL}", f"swap{_BIN}{_BIN}", "reset",
    "sure (0|[1-9][0-9]?|100|more|less)"
)  # fmt: skip
PATTERN = _either(f"{_CLAUSE}(; {_CLAUSE}){{0,{MOST - 1}}}", *map(" ".join, TOPICS))
"""The regular expression of an order. `parse` also refuses an order that is too long, and a class twice in a clause."""
END = "."
"""The end of a model's answer, a token with a probability of its own: that no clause follows is thus part of the
probability of the answer, and an answer that was cut off is no order.
"""
ANSWER = PATTERN + re.escape(END)
"""The regular expression of a model's answer."""


class Clause(NamedTuple):
    """One clause of an order: its verb, the classes it names, and its other arguments (bins by number or colour, a
    percentage, a topic).
    """

    verb: Verb
    kinds: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


class Reply(NamedTuple):
    """The reply to an order that changes nothing: the reason of a refusal, or a question."""

    question: bool
    texts: tuple[str, str]

    def text(self, language: Language) -> str:
        """The sentence for the operator."""
        return self.texts[language == "zh"]


class Bin(BaseModel):
    """A bin: its colour, and whether it is for hazards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    colour: str
    hazards: bool = False


class SortingPolicy(BaseModel):
    """The destination of each waste class. An unsafe or incomplete policy, or one with unknown bins, cannot be made
    (ValidationError).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    bins: tuple[Bin, ...]  # numbered from 1
    standard: Mapping[str, Destination]  # of `reset` and `resume`
    destinations: Mapping[str, Destination]
    min_confidence: int = DEFAULT  # percent: items below it go to manual sorting
    priority: tuple[str, ...] = ()  # classes that are picked before others

    @model_validator(mode="after")
    def _possible(self) -> "SortingPolicy":
        if not set(self.priority) <= set(WASTE_CLASSES) or not LOWEST <= self.min_confidence <= HIGHEST:
            raise ValueError(
                f"priority is for {', '.join(WASTE_CLASSES)}; min_confidence goes from {LOWEST} to {HIGHEST} %"
            )
        for destinations in (self.standard, self.destinations):
            if set(destinations) != set(WASTE_CLASSES):
                raise ValueError(f"a policy needs a destination for each of {', '.join(WASTE_CLASSES)}")
            if any(
                each not in ("leave", "manual") and not 1 <= int(each) <= len(self.bins)
                for each in destinations.values()
            ):
                raise ValueError(f"a destination is a bin from 1 to {len(self.bins)}, leave or manual")
            if _unsafe(self.bins, destinations):
                raise ValueError(REASONS["hazard"][0])
        if not {each.colour for each in self.bins} <= set(COLOURS):
            raise ValueError(f"a bin has one of the colours {', '.join(COLOURS)}")
        return self

    def bins_named(self, word: str) -> list[int]:
        """The numbers of the bins that a number or a colour names."""
        return [number for number, each in enumerate(self.bins, 1) if word in (str(number), each.colour)]


STANDARD: dict[str, Destination] = {
    "glass-brown": 3, "glass-green": 3, "glass-clear": 3, "plastic": 2, "can": 2, "cardboard": 1, "paper": 1, "food": 4,
    "film": 2, "hazard": 5,
}  # fmt: skip


def standard_policy(min_confidence: int = DEFAULT) -> SortingPolicy:
    """Five bins: blue for paper, yellow for packaging, green for glass, brown for food, and a red box for hazards."""
    bins = tuple(Bin(colour=colour, hazards=colour == "red") for colour in ("blue", "yellow", "green", "brown", "red"))
    return SortingPolicy(bins=bins, standard=STANDARD, destinations=STANDARD, min_confidence=min_confidence)


def parse(line: str) -> tuple[Clause, ...]:
    """The clauses of an order. Raises InputError for anything that `render` would not write."""
    if len(line) > LONGEST:
        raise InputError(f"an order of {len(line)} characters; at most {LONGEST}")
    if not re.fullmatch(PATTERN, line):
        raise InputError(
            f"order {line[:80]!r}: not in the language; one is for example 'route glass-brown 3; leave paper'"
        )
    return tuple(map(_clause, line.split("; ")))


def render(clauses: tuple[Clause, ...]) -> str:
    """The text of an order."""
    return "; ".join(" ".join((each.verb, *each.kinds, *each.rest)) for each in clauses)


def say(clauses: tuple[Clause, ...], language: Language) -> str:
    """An order in plain words, for an operator to confirm."""
    side = int(language == "zh")
    said = []
    for verb, kinds, rest in clauses:
        names = (", ", "、")[side].join(WASTE_CLASSES.get(kind, ("glass", "玻璃"))[side] for kind in kinds)
        bins = rest if verb == "sure" else [_bin_words(word)[side] for word in rest]
        words = WORDS[rest[0] if rest and rest[0] in WORDS else verb][side]
        said.append(words.format(*bins, kinds=names))
    return ("; ", "；")[side].join(said)


def _clause(clause: str) -> Clause:
    verb, *words = clause.split(" ")
    kinds = tuple(word for word in words if word in ORDER_CLASSES)
    if len(set(kinds)) < len(kinds):
        raise InputError(f"order {clause!r}: it names a class twice")
    return Clause(verb, kinds, tuple(word for word in words if word not in ORDER_CLASSES))  # type: ignore[arg-type]  # the pattern holds the verbs


def apply(clauses: tuple[Clause, ...], policy: SortingPolicy) -> SortingPolicy | Reply:
    """Apply an order to a policy: the new policy, or the reply if nothing changes.

    A clause about one colour of glass overrides one about all glass. Any other two destinations of one class are a
    contradiction.
    """
    change = _Change(policy)
    for clause in clauses:
        if (reply := change.add(clause)) is not None:
            return reply
    destinations = change.settled()
    if _unsafe(policy.bins, destinations):
        return _refused("hazard")
    return SortingPolicy(
        bins=policy.bins,
        standard=policy.standard,
        destinations=destinations,
        min_confidence=change.min_confidence,
        priority=change.priority,
    )


class _Change:
    """The changes of an order, while its clauses are added one by one."""

    def __init__(self, policy: SortingPolicy):
        self.policy, self.destinations = policy, dict(policy.destinations)
        self.min_confidence, self.priority = policy.min_confidence, policy.priority
        self.broad: dict[str, Destination | None] = {}  # by class; None: sorted, whatever the bin
        self.narrow: dict[str, Destination | None] = {}  # the same, of clauses about one colour of glass

    def add(self, clause: Clause) -> Reply | None:
        """Add a clause; returns the reply if it is refused or unclear."""
        if (clause.verb, *clause.rest) in TOPICS:
            return Reply(clause.verb == "ask", TOPICS[clause.verb, clause.rest[0]])
        named = {each: "-" in kind for kind in clause.kinds for each in ORDER_CLASSES[kind]}  # whether by its colour
        match clause.verb:
            case "route" | "swap":
                return self._move(clause, named)
            case "leave" | "manual":
                return self._claim(named, dict.fromkeys(named, clause.verb))
            case "resume":
                return self._claim(named, dict.fromkeys(named))
            case "only":
                claims: dict[str, Destination | None] = {
                    each: None if each in named else "leave"
                    for each in WASTE_CLASSES
                    if each in named or each != "hazard"
                }
                return self._claim(named, claims)
            case "first":
                self.priority = (*named, *(each for each in self.priority if each not in named))
            case "reset":
                self.destinations, self.broad, self.narrow = dict(self.policy.standard), {}, {}
                self.min_confidence, self.priority = DEFAULT, ()
            case "sure":
                return self._threshold(clause.rest[0])
        return None

    def settled(self) -> dict[str, Destination]:
        """The destinations after all clauses; a class that `only` or `resume` names goes to its bin, or to the
        standard bin.
        """
        back = {
            each: before if isinstance(before := self.destinations[each], int) else self.policy.standard[each]
            for each in WASTE_CLASSES
        }
        claims = self.broad | self.narrow
        return self.destinations | {each: back[each] if to is None else to for each, to in claims.items()}

    def _move(self, clause: Clause, named: dict[str, bool]) -> Reply | None:
        found = {word: self.policy.bins_named(word) for word in clause.rest}
        for word, numbers in found.items():
            if len(numbers) != 1:
                return Reply(True, TOPICS["ask", "bin"]) if numbers else _refused("bin", *_bin_words(word))
        bins = [found[word][0] for word in clause.rest]
        if clause.verb == "route":
            return self._claim(named, dict.fromkeys(named, bins[0]))
        if bins[0] == bins[1]:
            return _refused("swap")
        other: dict[Destination, Destination] = {bins[0]: bins[1], bins[1]: bins[0]}
        self.destinations = {each: other.get(to, to) for each, to in self.settled().items()}
        self.broad, self.narrow = {}, {}
        return None

    def _claim(self, named: dict[str, bool], claims: Mapping[str, Destination | None]) -> Reply | None:
        for each, to in claims.items():
            claimed = self.narrow if named.get(each) else self.broad
            if each in claimed and _clash(claimed[each], to):
                return _refused("contradiction", *WASTE_CLASSES[each])
            claimed[each] = claimed.get(each) or to
        return None

    def _threshold(self, word: str) -> Reply | None:
        if word in ("more", "less"):
            self.min_confidence = min(max(self.min_confidence + STEP * (1 if word == "more" else -1), LOWEST), 95)
        else:
            self.min_confidence = int(word)
        if LOWEST <= self.min_confidence <= HIGHEST:
            return None
        return _refused("sure", f"{self.min_confidence} %", f"{self.min_confidence}%")


def describe(policy: SortingPolicy, language: Language) -> str:
    """The policy in plain words, a line a destination; each class is named once, with a star where it has priority."""
    side = int(language == "zh")
    lines = []
    for number, each in enumerate(policy.bins, 1):
        lines.append(
            (f"Bin {number} ({each.colour}): ", f"{number}号箱（{COLOURS[each.colour]}色）：")[side]
            + _listed(policy, number, side)
        )
    lines.append(("By hand: ", "人工处理：")[side] + _listed(policy, "manual", side))
    lines.append(("Left on the belt: ", "留在带上：")[side] + _listed(policy, "leave", side))
    threshold = policy.min_confidence
    doubtful = (
        f"By hand too: detections below {threshold} % confidence.",
        f"把握不足{threshold}%的也由人工处理。",
    )
    lines.append(doubtful[side] + (" * is picked first.", "*优先拣。")[side] * bool(policy.priority))
    return "\n".join(lines)


def _refused(reason: str, english: str = "", chinese: str = "") -> Reply:
    texts = REASONS[reason]
    return Reply(False, (texts[0].format(english), texts[1].format(chinese)))


def _bin_words(word: str) -> tuple[str, str]:
    return (f"{word} bin", f"{COLOURS[word]}色箱") if word in COLOURS else (f"bin {word}", f"{word}号箱")


def _clash(one: Destination | None, other: Destination | None) -> bool:
    return one != other and (None not in (one, other) or "leave" in (one, other))


def _unsafe(bins: tuple[Bin, ...], destinations: Mapping[str, Destination]) -> bool:
    """Whether hazards go anywhere except alone into a bin for hazards, or to manual sorting."""
    allowed = {number for number, each in enumerate(bins, 1) if each.hazards} | {"manual"}
    return destinations["hazard"] not in allowed or any(
        to in allowed - {"manual"} for each, to in destinations.items() if each != "hazard"
    )


def _listed(policy: SortingPolicy, wanted: Destination, side: int) -> str:
    names = [
        WASTE_CLASSES[each][side] + "*" * (each in policy.priority)
        for each, to in policy.destinations.items()
        if to == wanted
    ]
    return (", ", "、")[side].join(names) or ("nothing", "无")[side]
