"""The family about units of measurement."""

from random import Random
from typing import NamedTuple

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask


class Unit(NamedTuple):
    """A unit of measurement by its plural in English and its name in Chinese."""

    en: str
    zh: str

    def measure(self, number: int, language: Language) -> str:
        """A number with this unit: `3 metres` or `3米`."""
        return f"{number} {self.en}" if language == "en" else f"{number}{self.zh}"


class Step(NamedTuple):
    """`factor` small units make one large unit."""

    large: Unit
    factor: int
    small: Unit


_KILOMETRE, _METRE, _DECIMETRE = Unit("kilometres", "千米"), Unit("metres", "米"), Unit("decimetres", "分米")
_CENTIMETRE, _MILLIMETRE = Unit("centimetres", "厘米"), Unit("millimetres", "毫米")
_TONNE, _KILOGRAM, _GRAM = Unit("tonnes", "吨"), Unit("kilograms", "千克"), Unit("grams", "克")
_LITRE, _MILLILITRE = Unit("litres", "升"), Unit("millilitres", "毫升")
_WEEK, _DAY, _HOUR = Unit("weeks", "周"), Unit("days", "天"), Unit("hours", "小时")
_MINUTE, _SECOND = Unit("minutes", "分钟"), Unit("seconds", "秒")

_DECIMAL = (
    Step(_KILOMETRE, 1000, _METRE), Step(_METRE, 10, _DECIMETRE), Step(_METRE, 100, _CENTIMETRE), Step(_CENTIMETRE, 10,
    _MILLIMETRE),
    Step(_TONNE, 1000, _KILOGRAM), Step(_KILOGRAM, 1000, _GRAM), Step(_LITRE, 1000, _MILLILITRE),
)  # fmt: skip
_TIME = (Step(_WEEK, 7, _DAY), Step(_DAY, 24, _HOUR), Step(_HOUR, 60, _MINUTE), Step(_MINUTE, 60, _SECOND))
_CHAINS = ((_TIME[0], _TIME[1]), (_TIME[1], _TIME[2]), (_TIME[2], _TIME[3]))

_CONVERT: Phrases = {
    "en": (
        "How many {unit} are {amount}?",
        "Convert {amount} to {unit}.",
        "Express {amount} in {unit}.",
        "{amount} = ? {unit}",
    ),
    "zh": ("{amount}等于多少{unit}？", "把{amount}换算成{unit}。", "{amount}是多少{unit}？", "{amount} = ？{unit}"),
}


def _units(rng: Random, level: int, language: Language) -> Task:
    amounts, unit, answer = (_decimal, _decimal_both_ways, _any_both_ways, _two_parts, _three_parts)[level - 1](rng)
    text = (" " if language == "en" else "").join(part.measure(number, language) for number, part in amounts)
    payload = (unit.en, *(f"{number} {part.en}" for number, part in amounts))
    return ask(
        rng, _CONVERT, language, str(answer), payload, amount=text, unit=unit.en if language == "en" else unit.zh
    )


_Conversion = tuple[list[tuple[int, Unit]], Unit, int]


def _decimal(rng: Random) -> _Conversion:
    step, number = rng.choice(_DECIMAL), rng.randint(2, 99)
    return [(number, step.large)], step.small, number * step.factor


def _decimal_both_ways(rng: Random) -> _Conversion:
    return _both_ways(rng, rng.choice(_DECIMAL), rng.randint(2, 999))


def _any_both_ways(rng: Random) -> _Conversion:
    return _both_ways(rng, rng.choice(_DECIMAL + _TIME), rng.randint(2, 999))


def _both_ways(rng: Random, step: Step, number: int) -> _Conversion:
    if rng.random() < 0.5:
        return [(number, step.large)], step.small, number * step.factor
    return [(number * step.factor, step.small)], step.large, number


def _two_parts(rng: Random) -> _Conversion:
    step, number = rng.choice(_DECIMAL + _TIME), rng.randint(2, 999)
    rest = rng.randint(2, step.factor - 1)
    return [(number, step.large), (rest, step.small)], step.small, number * step.factor + rest


def _three_parts(rng: Random) -> _Conversion:
    (first, second), number = rng.choice(_CHAINS), rng.randint(2, 999)
    middle, rest = rng.randint(2, first.factor - 1), rng.randint(2, second.factor - 1)
    amounts = [(number, first.large), (middle, second.large), (rest, second.small)]
    return amounts, second.small, (number * first.factor + middle) * second.factor + rest


UNITS = Family(
    _units,
    (
        "to a smaller decimal unit, below 100",
        "decimal units both ways, below 1,000",
        "units of time too",
        "two parts, as 3 hours 25 minutes",
        "three parts of time",
    ),
)
