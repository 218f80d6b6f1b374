"""Numbers in words, in English (British usage) and Chinese, and the family about them."""

from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_DIGITS = "零一二三四五六七八九"

_SAY: Phrases = {
    "en": (
        "Write {number} in words.",
        "How do you say {number}?",
        "Spell out the number {number}.",
        "What is {number} in words?",
    ),
    "zh": ("用汉字写出{number}。", "{number}用汉字怎么写？", "把{number}写成汉字数字。", "{number}怎么读？"),
}
_READ: Phrases = {
    "en": (
        "Write {number} in digits.",
        "Which number is {number}?",
        "What is {number} in figures?",
        "Give the digits of {number}.",
    ),
    "zh": ("用阿拉伯数字写出{number}。", "{number}用数字怎么写？", "把{number}写成阿拉伯数字。", "{number}是哪个数？"),
}


def english(number: int) -> str:
    """A number from 0 to 999,999,999 in English words: 134 is one hundred and thirty-four.

    >>> english(70_005)
    'seventy thousand and five'
    """
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_SMALL[number % 10]}" if number % 10 else "")
    size, name = (
        (100, "hundred") if number < 1000 else (1000, "thousand") if number < 1_000_000 else (1_000_000, "million")
    )
    head, rest = f"{english(number // size)} {name}", number % size
    if not rest:
        return head
    return f"{head} and {english(rest)}" if rest < 100 else f"{head} {english(rest)}"


def chinese(number: int) -> str:
    """A number from 0 to 99,999,999 in Chinese characters: 134 is 一百三十四.

    >>> chinese(70_005)
    '七万零五'
    """
    if number >= 10_000:
        head, rest = f"{chinese(number // 10_000)}万", number % 10_000
        if not rest:
            return head
        # Within a number ten is read with its one, 一十, and a gap in the places is read as one zero.
        return head + ("零" if rest < 1000 else "") + _below_10_000(rest)
    text = _below_10_000(number)
    return text[1:] if text.startswith("一十") else text


def _below_10_000(number: int) -> str:
    if number < 10:
        return _DIGITS[number]
    size, name = (1000, "千") if number >= 1000 else (100, "百") if number >= 100 else (10, "十")
    head, rest = _DIGITS[number // size] + name, number % size
    if not rest:
        return head
    return head + ("零" if rest < size // 10 else "") + _below_10_000(rest)


def _numerals(rng: Random, level: int, language: Language) -> Task:
    number = rng.randrange((300, 1000, 10_000, 1_000_000, 100_000_000)[level - 1])
    words = english(number) if language == "en" else chinese(number)
    if rng.random() < 0.5:
        return ask(rng, _SAY, language, words, ("say", number), number=number)
    return ask(rng, _READ, language, str(number), ("read", number), number=words)


NUMERALS = Family(_numerals, ("below 300", "below 1,000", "below 10,000", "below 1,000,000", "below 100,000,000"))
