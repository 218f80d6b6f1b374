"""Questions about scenes: families of them, in two languages, each with its only right answer."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from groundup.codecs.detections import Detection, to_text
from groundup.data.scene_drawing import COLOURS, SHAPES, Item, Scene

Language = Literal["en", "zh"]

# --- words ------------------------------------------------------------------------------------------------------------

_ZH = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "cross": "十字",
    "ring": "圆环",
    "text": "文字",
    "things": "物体",
} | {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
}
_NUMBERS: Mapping[Language, tuple[str, ...]] = {
    "en": ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    "zh": ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"),
}


def _word(name: str, language: Language) -> str:
    return name if language == "en" else _ZH[name]


def _plural(kind: str, language: Language) -> str:
    if language == "zh" or kind == "things":
        return _word(kind, language)
    return kind + ("es" if kind.endswith("s") else "s")


def _coloured(number: int, colour: str, kind: str, label: str, language: Language) -> str:
    """A phrase such as `an orange ring`, `two blue squares`, `a red "A"`, 两个蓝色的正方形."""
    how_many = _NUMBERS[language][number]
    if language == "zh":
        return f"{how_many}个{_ZH[colour]}的" + (f"“{label}”" if label else _ZH[kind])
    if how_many == "a" and colour == "orange":
        how_many = "an"
    what = f'"{label}"' if label else kind if number == 1 else _plural(kind, language)
    return f"{how_many} {colour} {what}"


def _together(phrases: list[str], language: Language) -> str:
    comma, last = (", ", " and ") if language == "en" else ("、", "和")
    return last.join([*([comma.join(phrases[:-1])] if phrases[1:] else []), phrases[-1]])


# --- families of questions --------------------------------------------------------------------------------------------

Fields = dict[str, str]


@dataclass(frozen=True)
class Family:
    """A family of questions: `ask` fills a wording and gives the only right answer; `fits`: a scene allows it.

    `varies`: it asks about another object each time; `long`: its answer is longer than all others together.
    """

    ask: Callable[[Random, Language, Scene, tuple[Detection, ...]], tuple[Fields, str]]
    fits: Callable[[Scene], bool]
    wordings: Mapping[Language, tuple[str, ...]]
    varies: bool = False
    long: bool = False


def _describe(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    """Every object with its colour: by class, then colour, in one fixed order, so that one answer is right."""
    if not found.items:
        return {}, "nothing" if language == "en" else "什么也没有"
    counted = Counter((item.kind, item.colour, item.label) for item in found.items)
    kinds, colours = (*SHAPES, "text"), tuple(COLOURS)
    ordered = sorted(counted, key=lambda look: (kinds.index(look[0]), colours.index(look[1])))
    return {}, _together([_coloured(counted[look], look[1], look[0], look[2], language) for look in ordered], language)


def _count(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    """All objects, or those of a shape: often one that is present."""
    kind = rng.choice(("things", rng.choice(SHAPES), *_kinds(found.shapes)[:2]))
    number = len(found.items) if kind == "things" else sum(item.kind == kind for item in found.items)
    return {"kinds": _plural(kind, language)}, str(number)


def _colour(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    item = rng.choice(_singles(found))
    return {"kind": _word(item.kind, language)}, _word(item.colour, language)


def _detect(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    return {}, to_text(list(things))


def _read(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    return {}, next(item.label for item in found.items if item.label)


def _exists(rng: Random, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[Fields, str]:
    """Yes and no equally often; for half of the no, another object has the colour or the shape."""
    there = {(item.colour, item.kind): None for item in found.shapes}  # no set: its order differs by process
    yes = rng.random() < 0.5
    if yes:
        colour, kind = rng.choice(tuple(there))
    else:
        absent = [(colour, kind) for colour in COLOURS for kind in SHAPES if (colour, kind) not in there]
        near = [
            (colour, kind) for colour, kind in absent if any(colour == other[0] or kind == other[1] for other in there)
        ]
        colour, kind = rng.choice(rng.choice((absent, near)))
    answer = ("yes" if yes else "no") if language == "en" else ("有" if yes else "没有")
    return {"thing": _coloured(1, colour, kind, "", language).removeprefix("一个")}, answer


def _kinds(items: Iterable[Item]) -> tuple[str, ...]:
    """Their classes, each once, in order."""
    return tuple(dict.fromkeys(item.kind for item in items))


def _singles(found: Scene) -> list[Item]:
    """The objects that are the only ones of their class."""
    counted = Counter(item.kind for item in found.items)
    return [item for item in found.items if counted[item.kind] == 1]


def _always(found: Scene) -> bool:
    return True


FAMILIES: dict[str, Family] = {
    "describe": Family(
        _describe,
        _always,
        {
            "en": ("What is in the image?", "Describe the image.", "What do you see?"),
            "zh": ("图中有什么？", "描述一下这张图。", "你看到了什么？"),
        },
    ),
    "count": Family(
        _count,
        _always,
        {
            "en": ("How many {kinds} are there?", "How many {kinds}?", "Count the {kinds}."),
            "zh": ("图中有几个{kinds}？", "有多少个{kinds}？", "数一数{kinds}。"),
        },
        varies=True,
    ),
    "colour": Family(
        _colour,
        lambda found: bool(_singles(found)),
        {
            "en": (
                "What colour is the {kind}?",
                "Which colour does the {kind} have?",
                "Name the colour of the {kind}.",
            ),
            "zh": ("{kind}是什么颜色？", "图中的{kind}是什么颜色的？", "说出{kind}的颜色。"),
        },
        varies=True,
    ),
    "detect": Family(
        _detect,
        _always,
        {
            "en": ("What lies where?", "Where is each thing?", "Find all things and say where they lie."),
            "zh": ("什么在哪里？", "每个物体在哪里？", "找出所有物体和它们的位置。"),
        },
        long=True,
    ),
    "read": Family(
        _read,
        lambda found: any(item.label for item in found.items),
        {
            "en": ("What does the text say?", "Read the text.", "Which letter or digit is written there?"),
            "zh": ("文字写的是什么？", "读出图中的文字。", "图中写着哪个字母或数字？"),
        },
    ),
    "exists": Family(
        _exists,
        lambda found: bool(found.shapes),
        {
            "en": ("Is there {thing}?", "Do you see {thing}?", "Does the image show {thing}?"),
            "zh": ("图中有{thing}吗？", "有没有{thing}？", "你看到{thing}了吗？"),
        },
        varies=True,
    ),
}
"""The families, by the names in a document's labels."""
