"""Families about the items of a list: sorting, counting, membership, choosing, deleting."""

from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask, listing
from groundup.data.tasks.numerals import chinese
from groundup.data.tasks.vocabulary import named, things

_ASCENDING: Phrases = {
    "en": (
        "Sort:\n{items}",
        "Sort from smallest to largest:\n{items}",
        "Put in ascending order:\n{items}",
        "Order, smallest first:\n{items}",
    ),
    "zh": ("排序：\n{items}", "从小到大排列：\n{items}", "按升序排列：\n{items}", "把这些数由小到大排好：\n{items}"),
}
_DESCENDING: Phrases = {
    "en": (
        "Sort from largest to smallest:\n{items}",
        "Put in descending order:\n{items}",
        "Order, largest first:\n{items}",
    ),
    "zh": ("从大到小排列：\n{items}", "按降序排列：\n{items}", "把这些数由大到小排好：\n{items}"),
}
_COUNT: Phrases = {
    "en": (
        "How often does {item} occur here?\n{items}",
        "Count {item} in this list:\n{items}",
        "How many times is {item} in this list?\n{items}",
    ),
    "zh": ("{item}在这里出现了几次？\n{items}", "{item}出现的次数是多少？\n{items}", "{item}在下面有几个？\n{items}"),
}
_LENGTH: Phrases = {
    "en": ("How many words are in this list?\n{items}", "Count the words:\n{items}", "How long is this list?\n{items}"),
    "zh": ("这里有几个词？\n{items}", "数一数有多少个词：\n{items}", "这个列表有多长？\n{items}"),
}
_MEMBER: Phrases = {
    "en": (
        "Is {item} in this list?\n{items}",
        "Does this list contain {item}?\n{items}",
        "Can you find {item} here?\n{items}",
    ),
    "zh": ("{item}在这个列表里吗？\n{items}", "{item}在下面出现了吗？\n{items}", "{item}是否在其中？\n{items}"),
}
_CHOOSE: Phrases = {
    "en": (
        "What is the {place} item?\n{items}",
        "Name the {place} word of this list:\n{items}",
        "Give the {place} of these:\n{items}",
    ),
    "zh": ("{place}是什么？\n{items}", "请说出{place}词：\n{items}", "写出列表里的{place}：\n{items}"),
}
_DELETE: Phrases = {
    "en": (
        "Remove {gone} from this list:\n{items}",
        "Delete {gone}:\n{items}",
        "Write this list without {gone}:\n{items}",
    ),
    "zh": ("去掉{gone}：\n{items}", "从列表中删除{gone}：\n{items}", "写出下面的列表，不要{gone}：\n{items}"),
}
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
    "ninth", "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
)  # fmt: skip


def _listing(items: list[str], language: Language) -> str:
    return listing([named(item, language) for item in items], language)


def _sorting(rng: Random, level: int, language: Language) -> Task:
    length, limit = ((3, 10), (4, 50), (6, 100), (8, 1000), (12, 10_000))[level - 1]
    numbers = rng.sample(range(limit), length)
    down = level > 1 and rng.random() < 0.5
    phrases, direction = (_DESCENDING, "descending") if down else (_ASCENDING, "ascending")
    answer = listing(sorted(numbers, reverse=down), language)
    return ask(rng, phrases, language, answer, (direction, *numbers), items=listing(numbers, language))


def _counting(rng: Random, level: int, language: Language) -> Task:
    if level == 1:
        return _length(rng, language)
    length = rng.randint(*((3, 5), (6, 10), (11, 18), (19, 35))[level - 2])
    kinds = things(rng, 2 + level // 2, level)
    items = rng.choices(kinds, k=length)
    answer = str(items.count(kinds[0]))
    return ask(
        rng,
        _COUNT,
        language,
        answer,
        ("count", kinds[0], *items),
        item=named(kinds[0], language),
        items=_listing(items, language),
    )


def _length(rng: Random, language: Language) -> Task:
    items = things(rng, rng.randint(2, 6), 1)
    return ask(rng, _LENGTH, language, str(len(items)), ("length", *items), items=_listing(items, language))


def _membership(rng: Random, level: int, language: Language) -> Task:
    length = (3, 4, 7, 12, 20)[level - 1]
    *items, item = rng.sample("0123456789", length + 1) if level == 1 else things(rng, length + 1, level)
    if rng.random() < 0.5:
        item = rng.choice(items)
    found = item in items
    answer = ("yes" if found else "no") if language == "en" else ("是" if found else "否")
    return ask(
        rng, _MEMBER, language, answer, (item, *items), item=named(item, language), items=_listing(items, language)
    )


def _choosing(rng: Random, level: int, language: Language) -> Task:
    length = (3, 5, 8, 12, 16)[level - 1]
    items = things(rng, length, level)
    place, last = rng.randrange(length), level > 1 and rng.random() < 0.5
    chosen = items[-1 - place] if last else items[place]
    return ask(
        rng, _CHOOSE, language, named(chosen, language), ("last" if last else "first", place, *items),
        place=_place(place, last, language), items=_listing(items, language),
    )  # fmt: skip


def _place(place: int, last: bool, language: Language) -> str:
    """The ordinal of a position counted from 0, from the first item or from the last."""
    if language == "zh":
        return f"倒数第{chinese(place + 1)}个" if last else f"第{chinese(place + 1)}个"
    if last:
        return "last" if place == 0 else f"{_ORDINALS[place]} to last"
    return _ORDINALS[place]


def _deleting(rng: Random, level: int, language: Language) -> Task:
    length, count = ((3, 1), (5, 1), (7, 2), (10, 3), (14, 4))[level - 1]
    items = things(rng, length, level)
    gone = rng.sample(items, count)
    kept = [item for item in items if item not in gone]
    together = (" and " if language == "en" else "和").join(
        filter(None, (_listing(gone[:-1], language), named(gone[-1], language)))
    )
    return ask(
        rng,
        _DELETE,
        language,
        _listing(kept, language),
        (*gone, "", *items),
        gone=together,
        items=_listing(items, language),
    )


SORTING = Family(
    _sorting,
    (
        "3 numbers below 10, ascending",
        "4 below 50, either way",
        "6 below 100, either way",
        "8 below 1,000, either way",
        "12 below 10,000, either way",
    ),
)
COUNTING = Family(
    _counting, ("all of 2-6 words", "one word among 3-5", "one among 6-10", "one among 11-18", "one among 19-35")
)
MEMBERSHIP = Family(_membership, ("3 digits", "4 words", "7 words", "12 words", "20 words"))
CHOOSING = Family(
    _choosing,
    (
        "of 3, from the front",
        "of 5, from either end",
        "of 8, from either end",
        "of 12, from either end",
        "of 16, from either end",
    ),
)
DELETING = Family(_deleting, ("1 of 3 words", "1 of 5", "2 of 7", "3 of 10", "4 of 14"))
