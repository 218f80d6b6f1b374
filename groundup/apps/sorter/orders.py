"""Synthetic pairs of an operator's sentence and the order it means (`policy.parse`), from phrasings in two languages.

A phrasing is a sentence with gaps for classes and bins, with politeness and joined clauses. The clauses come from
templates, and each template is in one split only: train; or, by its hash, held out (its structure is in
training, in other words); or novel (its structure is not in training). So an evaluated sentence differs from all
training sentences in each of its clauses. Half of the templates that are not in training are for measuring, the other
half for calibrating the probability of an answer.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from groundup.apps.sorter.policy import COLOURS, END, MOST, ORDER_CLASSES, Clause, Language, render

Part = Literal["train", "heldout", "novel", "three", "many", "heldout calibration", "novel calibration"]
"""Splits of templates; "three" and "many" are held-out sentences of three clauses, and of more than an order has."""
HELDOUT = 5  # one in five templates of a verb is held out
MANY = ("leave", "manual", "only", "resume", "first", "route")  # verbs that take several classes
REPEATED = ("route", "leave", "manual", "resume")  # verbs that a sentence may have twice
BINS = {"en": ("one", "two", "three", "four", "five", "six", "seven"), "zh": tuple("一二三四五六七")}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
COMMAS = {"en": ", ", "zh": "、"}
ASKING = r"[?？]|you.*<o>|[你我]\w*<o>"  # frames that only an imperative goes into
SLIPS = dict(zip("号瓶箱拣板圾璃罐厨", "好平厢捡版级离灌橱", strict=True))  # characters that sound alike


class Draw(NamedTuple):
    """The distribution of sentences: weights of one to six clauses and of verbs, and the probabilities of odd content,
    of a typing error, and that several clauses are a series: "green glass in 1, clear glass in 2, brown glass in 3".

    Odd content is a sentence of one clause that is no order, or a gap filled with an ambiguous or unknown name.
    """

    clauses: tuple[int, int, int, int, int, int]
    verbs: dict[str, int]
    odd: float
    slips: dict[Language, float]
    series: float = 0.3


USUAL = Draw((57, 27, 10, 4, 1, 1), {"route": 6, **dict.fromkeys(MANY[:5], 3)}, 0.06, {"en": 0.12, "zh": 0.06})
HARD = Draw(
    (38, 27, 18, 12, 3, 2),
    {"route": 6, "resume": 5, "leave": 4, **dict.fromkeys(("manual", "only", "first", "swap", "more", "less"), 3)}
    | {"reset": 2, "percent": 2},
    0.12,
    {"en": 0.3, "zh": 0.12},
)
"""The training distribution has more of the sentences that are learnt slowly than the evaluation's, `USUAL`."""
DRAWS: dict[Part, Draw] = {
    "train": HARD,
    "three": USUAL._replace(clauses=(0, 0, 1, 0, 0, 0)),
    "many": USUAL._replace(clauses=(0, 0, 0, 0, 1, 1)),
}


class Template(NamedTuple):
    """A clause with gaps; whether it is an imperative, which may follow "could you"."""

    verb: str
    text: str
    command: bool


class Pair(NamedTuple):
    """A sentence, the order it means, and its phrasing: the sentence with gaps, before typing errors."""

    text: str
    answer: str
    phrasing: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The training conversation."""
        return [*prompt(self.text), {"role": "assistant", "content": self.answer + END}]


def prompt(text: str) -> list[dict[str, Any]]:
    """The prompt of a sentence, the same in training and on the line."""
    return [{"role": "user", "content": text}]


def complete(text: str, line: str) -> bool:
    """Whether an order names each class and each number (in digits) of the sentence, as far as they are spelled right;
    true of questions and refusals.
    """
    pattern, kinds = _names()
    named = {kinds[name] for name in pattern.findall(text.lower())}  # a slip may leave "glass" of a colour
    return line.startswith(("ask", "refuse")) or (
        all(re.search(rf"\b{kind}\b", line) for kind in named)
        and set(re.findall(r"\d+", text)) <= set(re.findall(r"\d+", line))
    )


@cache
def _names() -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds names of classes in a text in small letters, the longest first, and the class of each name."""
    kinds = {
        name.lower(): kind for language in BINS for kind in ORDER_CLASSES for name in _choices(language, f"kind.{kind}")
    }
    names = "|".join(sorted(map(re.escape, kinds), key=len, reverse=True))
    return re.compile(f"(?<![a-z])(?:{names})(?![a-z])"), kinds


def pairs(seed: int, part: Part, language: Language) -> Iterator[Pair]:
    """An endless stream of pairs of a split, the same for the same seed; some repeat."""
    rng = Random(int.from_bytes(hashlib.sha256(f"{seed} {part} {language}".encode()).digest()))
    while True:
        yield _pair(rng, part, language)


@cache
def templates(part: Part, language: Language) -> dict[str, tuple[Template, ...]]:
    """The templates of a split, by verb; under "frame" the frame sentences around clauses, of which only "novel" has
    new ones.
    """
    found: dict[str, tuple[Template, ...]] = {}
    for verb in dict.fromkeys(
        name for name, _ in _lines(language) if "." not in name and name not in ("join", "stop", "and")
    ):
        made: dict[bool, dict[str, Template]] = {False: {}, True: {}}  # whether novel
        half = int(part.endswith("calibration"))
        for line in (line for name, line in _lines(language) if name == verb):
            for text in _expanded(line.lstrip("!~")):
                made[line.startswith("!")][text] = Template(verb, text, "~" not in line[:2])
        known = sorted(made[False].values(), key=lambda template: hashlib.sha256(template.text.encode()).digest())
        held = _heldout(known) if verb != "frame" else []
        kept = [template for template in known if template not in held]
        if part == "train" or (verb == "frame" and not part.startswith("novel")):
            found[verb] = tuple(kept)
        else:
            found[verb] = tuple([*made[True].values()] if part.startswith("novel") else held)[half::2]
    if part.startswith("novel"):
        found["frame"] += templates("train", language)["frame"]
    return found


def _heldout(known: list[Template]) -> list[Template]:
    """The first templates whose words all occur in other, remaining templates: wordings are held out, not words."""
    uses = Counter(word for template in known for word in _words(template))
    held: list[Template] = []
    for template in known:
        if len(held) < len(known) / HELDOUT and min(uses[word] for word in _words(template)) > 1:
            held.append(template)
            uses.subtract(_words(template))
    return held


def _words(template: Template) -> set[str]:
    return set(re.findall(r"[A-Za-z']+|[^\W\d_]", template.text))


@cache
def _lines(language: Language) -> tuple[tuple[str, str], ...]:
    text = (Path(__file__).parent / f"orders.{language}.txt").read_text(encoding="utf-8")
    return tuple(tuple(line.split(": ", 1)) for line in text.splitlines() if not line.startswith("#"))  # type: ignore[misc]


@cache
def _choices(language: Language, name: str) -> tuple[str, ...]:
    return tuple(text for found, line in _lines(language) if found == name for text in _expanded(line))


def _expanded(text: str) -> list[str]:
    """All expansions of a text with alternatives (a|b)."""
    if not (found := re.search(r"\(([^()]*)\)", text)):
        return [text]
    return [
        whole
        for choice in found[1].split("|")
        for whole in _expanded(text[: found.start()] + choice + text[found.end() :])
    ]


def _pair(rng: Random, part: Part, language: Language) -> Pair:
    own, draw = templates(part, language), DRAWS.get(part, USUAL)
    chosen = _clauses(rng, own, draw)
    kinds = rng.sample([kind for kind in ORDER_CLASSES if kind != "glass"], 8)
    if rng.random() < 0.4:
        kinds = [kind for kind in kinds if not kind.startswith("glass-")]
        kinds.insert(rng.randrange(3), "glass")
    filled = [
        _fill(rng, template, kinds, len(chosen) - place, language, draw.odd / len(chosen))
        for place, template in enumerate(chosen, 1)
    ]
    alone = next((op for _, op in filled if op.verb in ("ask", "refuse")), None)
    if len(chosen) > MOST:
        alone = Clause("refuse", (), ("many",))
    join = rng.choice(_choices(language, "stop" if _runs_on(chosen) else "join"))
    commands = all(template.command for template in chosen)
    frame = rng.choice([each for each in own["frame"] if commands or not re.search(ASKING, each.text)])
    phrasing = frame.text.replace("<o>", join.join(template.text for template in chosen))
    text = _touched(
        rng, frame.text.replace("<o>", join.join(words for words, _ in filled)), language, draw.slips[language]
    )
    return Pair(text, render((alone,) if alone else tuple(op for _, op in filled)), phrasing)


def _clauses(rng: Random, own: dict[str, tuple[Template, ...]], draw: Draw) -> list[Template]:
    """Draw the templates of a sentence. Only verbs of `REPEATED` may repeat."""
    count = rng.choices(range(1, 7), draw.clauses)[0]
    if count == 1 and rng.random() < draw.odd:
        return [rng.choice(own["other"])]
    if count > 1 and rng.random() < draw.series:
        first = rng.choice(own["route"])
        short = [each for each in own["route"] if each.text.startswith("<k>") and each.text.endswith("<b>")]
        return [first, *[rng.choice([first, rng.choice(short or [first])])] * (count - 1)]
    verbs, drawn = [verb for verb in own if verb not in ("frame", "other")], list[str]()
    while len(drawn) < count:
        [verb] = rng.choices(verbs, [draw.verbs.get(verb, 1) for verb in verbs])
        drawn += [verb] if verb in REPEATED or verb not in drawn else []
    return [rng.choice(own[verb]) for verb in drawn]


def _runs_on(chosen: list[Template]) -> bool:
    """Whether classes at the end of a clause and classes at the beginning of the next are ambiguous: "leave paper and
    cans to bin 2".
    """
    return any(one.text.endswith("<k>") and other.text.startswith("<k>") for one, other in pairwise(chosen))


def _fill(
    rng: Random, template: Template, kinds: list[str], kept: int, language: Language, odd: float
) -> tuple[str, Clause]:
    """Fill the gaps of a clause: its text and meaning; takes from `kinds`, but for some that are `kept`.

    With a probability a gap gets an ambiguous or unknown name.
    """
    text, verb, rest, classes = template.text, template.verb, [], []
    alone: Clause | None = Clause("refuse", (), ("other",)) if verb == "other" else None
    if "<k>" in text:
        most = rng.choices((1, 2, 3), (70, 25, 5) if verb in MANY[:4] else (85, 15, 0))[0]
        classes = [kinds.pop(0) for _ in range(min(most, len(kinds) - kept))]
        words = [rng.choice(_choices(language, f"kind.{kind}")) for kind in classes]
        if rng.random() < odd:
            topic = rng.choice(("?bottle", "?kind", "!kind"))
            alone = Clause("ask" if topic[0] == "?" else "refuse", (), (topic[1:],))
            words = [rng.choice(_choices(language, f"kind.{topic}"))]
        *others, last = words
        listed = rng.choice(_choices(language, "and")).join([COMMAS[language].join(others), last]) if others else last
        text = text.replace("<k>", listed)
    names = rng.sample([*map(str, range(1, 6)), *map(str, range(1, 8)), *list(COLOURS)[:5], *COLOURS], 2)
    for gap, name in zip(("<b>", "<c>"), names if names[0] != names[1] else ("1", "2"), strict=True):
        if gap in text:
            rest.append(name)
            words = [_bin(rng, name, language)]
            if rng.random() < odd and alone is None:
                alone, words = Clause("ask", (), ("bin",)), [rng.choice(_choices(language, "bin.?bin"))]
            text = text.replace(gap, words[0])
    if verb in ("percent", "more", "less"):
        number = rng.choice((50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 98, 99, 20, 100))
        shown = rng.choice((f"{number}%", f"{number} percent" if language == "en" else f"百分之{number}"))
        text = text.replace("<p>", shown)
        rest, verb = [str(number) if verb == "percent" else verb], "sure"
    return text, alone or Clause(verb, tuple(classes), tuple(rest))  # type: ignore[arg-type]  # verbs of the files are those of the language


def _bin(rng: Random, name: str, language: Language) -> str:
    if name in COLOURS:
        return rng.choice(_choices(language, "bin.colour")).replace("<n>", name if language == "en" else COLOURS[name])
    text = rng.choice(_choices(language, "bin.number")).replace("<n>", name).replace("<r>", ORDINALS[int(name) - 1])
    return text.replace("<w>", BINS[language][int(name) - 1])


def _touched(rng: Random, text: str, language: Language, slip: float) -> str:
    """Vary a text as people type it: with or without a capital and a full stop, sometimes with a typing error."""
    if language == "zh":
        slips = [character for character in text if character in SLIPS]
        if slips and rng.random() < slip:
            text = text.replace(meant := rng.choice(slips), SLIPS[meant], 1)
        return text + "。" * (text[-1] not in "？。" and rng.random() < 0.4)
    if rng.random() < slip:
        start, end = rng.choice([match.span() for match in re.finditer("[a-z]{5,}", text)] or [(0, 0)])
        place = rng.randrange(start + 1, max(end - 1, start + 2))
        middle = rng.choice(
            ("", text[place] * 2, text[place + 1 : place + 2] + text[place])
        )  # omitted, doubled, or swapped with the next
        text = (
            text[:place] + middle + text[place + (2 if len(middle) == 2 and middle[0] != middle[1] else 1) :]
            if end
            else text
        )
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + (rng.choice(".!") if text[-1] not in "?.!" and rng.random() < 0.4 else "")
