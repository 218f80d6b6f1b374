"""Families about numbers: comparing, arithmetic, the next of a sequence."""

from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask, listing

_LARGEST: Phrases = {
    "en": ("Which is the largest?\n{items}", "Give the largest number:\n{items}", "What is the maximum?\n{items}"),
    "zh": ("哪个数最大？\n{items}", "写出最大的数：\n{items}", "求最大值：\n{items}"),
}
_SMALLEST: Phrases = {
    "en": ("Which is the smallest?\n{items}", "Give the smallest number:\n{items}", "What is the minimum?\n{items}"),
    "zh": ("哪个数最小？\n{items}", "写出最小的数：\n{items}", "求最小值：\n{items}"),
}
_LARGER: Phrases = {
    "en": ("Which is larger, {a} or {b}?", "Give the larger of {a} and {b}.", "Which number is greater, {a} or {b}?"),
    "zh": ("{a}和{b}哪个大？", "哪个数更大，{a}还是{b}？", "{a}与{b}中较大的数是多少？"),
}
_SMALLER: Phrases = {
    "en": ("Which is smaller, {a} or {b}?", "Give the smaller of {a} and {b}.", "Which number is less, {a} or {b}?"),
    "zh": ("{a}和{b}哪个小？", "哪个数更小，{a}还是{b}？", "{a}与{b}中较小的数是多少？"),
}
_COMPUTE: Phrases = {
    "en": ("What is {sum}?", "Calculate {sum}.", "Work out {sum}.", "{sum} = ?"),
    "zh": ("{sum}等于多少？", "计算：{sum}", "{sum}得多少？", "请算出{sum}。"),
}
_NEXT: Phrases = {
    "en": (
        "What comes next?\n{items}",
        "Give the next number:\n{items}",
        "Continue this sequence by one number:\n{items}",
    ),
    "zh": ("下一个数是多少？\n{items}", "按规律写出下一个数：\n{items}", "接下来是哪个数？\n{items}"),
}


def _comparing(rng: Random, level: int, language: Language) -> Task:
    length, limit = ((2, 20), (3, 100), (4, 1000), (6, 100_000), (9, 10_000_000))[level - 1]
    numbers = rng.sample(range(limit), length)
    largest = rng.random() < 0.5
    kind, answer = ("largest", max(numbers)) if largest else ("smallest", min(numbers))
    if length == 2:
        return ask(
            rng, _LARGER if largest else _SMALLER, language, str(answer), (kind, *numbers), a=numbers[0], b=numbers[1]
        )
    return ask(
        rng,
        _LARGEST if largest else _SMALLEST,
        language,
        str(answer),
        (kind, *numbers),
        items=listing(numbers, language),
    )


def _arithmetic(rng: Random, level: int, language: Language) -> Task:
    text, value = (_one_digit, _two_digits, _three_digits, _two_steps, _three_steps)[level - 1](rng)
    return ask(rng, _COMPUTE, language, str(value), (text,), sum=text)


def _one_digit(rng: Random) -> tuple[str, int]:
    """A number below 100 and a digit, without a carry: the tens stay."""
    tens, units, digit = rng.randrange(10), rng.randrange(10), rng.randrange(10)
    low, high = min(units, digit), max(units, digit)
    if rng.random() < 0.5:
        return f"{10 * tens + high - low} + {low}", 10 * tens + high
    return f"{10 * tens + high} - {low}", 10 * tens + high - low


def _two_digits(rng: Random) -> tuple[str, int]:
    return _add_or_subtract(rng, rng.randrange(100), rng.randrange(100))


def _add_or_subtract(rng: Random, a: int, b: int) -> tuple[str, int]:
    if rng.random() < 0.5:
        return f"{a} + {b}", a + b
    a, b = max(a, b), min(a, b)
    return f"{a} - {b}", a - b


def _three_digits(rng: Random) -> tuple[str, int]:
    if rng.random() < 0.5:
        return _add_or_subtract(rng, rng.randrange(1000), rng.randrange(1000))
    a, b = rng.randint(2, 999), rng.randint(2, 9)
    return (f"{a} × {b}", a * b) if rng.random() < 0.5 else (f"{a * b} ÷ {b}", a)


def _two_steps(rng: Random) -> tuple[str, int]:
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    return rng.choice(
        ((f"{a} × {b} + {c}", a * b + c), (f"{a} + {b} × {c}", a + b * c), (f"{a} × {b} - {c}", a * b - c))
    )


def _three_steps(rng: Random) -> tuple[str, int]:
    a, b, c, d = (rng.randint(2, 999) for _ in range(4))
    return rng.choice(((f"({a} + {b}) × {c} - {d}", (a + b) * c - d), (f"{a} × {b} + {c} × {d}", a * b + c * d)))


def _sequence(rng: Random, level: int, language: Language) -> Task:
    *shown, following = (_counting_on, _small_steps, _large_steps, _geometric, _growing_steps)[level - 1](rng)
    return ask(rng, _NEXT, language, str(following), shown, items=listing(shown, language))


def _arithmetic_progression(start: int, step: int, length: int) -> list[int]:
    return [start + step * index for index in range(length)]


def _counting_on(rng: Random) -> list[int]:
    return _arithmetic_progression(rng.randrange(200), rng.choice((1, 2, 10)), 4)


def _small_steps(rng: Random) -> list[int]:
    return _either_way(rng, _arithmetic_progression(rng.randrange(500), rng.randint(1, 12), 5))


def _large_steps(rng: Random) -> list[int]:
    return _either_way(rng, _arithmetic_progression(rng.randrange(2000), rng.randint(1, 199), 5))


def _either_way(rng: Random, numbers: list[int]) -> list[int]:
    return numbers if rng.random() < 0.5 else numbers[::-1]


def _geometric(rng: Random) -> list[int]:
    """a, ra + b, r(ra + b) + b, ...: a factor and a summand in every step."""
    numbers, factor, summand = [rng.randint(1, 999)], rng.randint(2, 5), rng.randrange(500)
    while len(numbers) < 5:
        numbers.append(numbers[-1] * factor + summand)
    return numbers


def _growing_steps(rng: Random) -> list[int]:
    start, step, growth = rng.randrange(10_000), rng.randrange(1000), rng.randint(1, 99)
    return [start + step * index + growth * index * (index - 1) // 2 for index in range(6)]


COMPARING = Family(
    _comparing, ("2 numbers below 20", "3 below 100", "4 below 1,000", "6 below 100,000", "9 below 10,000,000")
)
ARITHMETIC = Family(
    _arithmetic,
    (
        "a number below 100 + or - a digit, no carry",
        "+ or - below 100",
        "+ or - below 1,000; × or ÷ by one digit",
        "× of two digits, then + or -",
        "three operations, three digits",
    ),
)
SEQUENCE = Family(
    _sequence,
    (
        "steps of 1, 2 or 10 from below 200",
        "steps up to 12, either way",
        "steps up to 199, either way",
        "a factor and a summand",
        "growing steps",
    ),
)
