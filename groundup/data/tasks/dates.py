"""The family about dates of the Gregorian calendar."""

from datetime import date, timedelta
from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December"
)  # fmt: skip
_WEEKDAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
}

_NEXT: Phrases = {
    "en": (
        "Which day comes after {day}?",
        "What is the day after {day}?",
        "Today is {day}. What is the date tomorrow?",
    ),
    "zh": ("{day}的后一天是几月几日？", "今天是{day}，明天是几月几日？", "{day}之后的一天是哪天？"),
}
_PREVIOUS: Phrases = {
    "en": (
        "Which day comes before {day}?",
        "What is the day before {day}?",
        "Today is {day}. What was the date yesterday?",
    ),
    "zh": ("{day}的前一天是几月几日？", "今天是{day}，昨天是几月几日？", "{day}之前的一天是哪天？"),
}
_LATER: Phrases = {
    "en": (
        "Which date is {count} days after {day}?",
        "Add {count} days to {day}.",
        "Today is {day}. What is the date in {count} days?",
    ),
    "zh": ("{day}之后{count}天是哪一天？", "{day}加{count}天是哪一天？", "今天是{day}，{count}天后是哪一天？"),
}
_EARLIER: Phrases = {
    "en": (
        "Which date is {count} days before {day}?",
        "Subtract {count} days from {day}.",
        "Today is {day}. What was the date {count} days ago?",
    ),
    "zh": ("{day}之前{count}天是哪一天？", "{day}减{count}天是哪一天？", "今天是{day}，{count}天前是哪一天？"),
}
_BETWEEN: Phrases = {
    "en": (
        "How many days are there from {day} to {other}?",
        "Count the days from {day} to {other}.",
        "How many days after {day} is {other}?",
    ),
    "zh": ("从{day}到{other}相隔多少天？", "{day}之后多少天是{other}？", "计算{day}到{other}的天数差。"),
}
_WEEKDAY: Phrases = {
    "en": ("Which day of the week is {day}?", "What weekday is {day}?", "On which weekday does {day} fall?"),
    "zh": ("{day}是星期几？", "请问{day}是星期几？", "求{day}是星期几。"),
}


def _dates(rng: Random, level: int, language: Language) -> Task:
    if level == 1:
        return _neighbour(rng, language)
    day, most = date(2000, 1, 1) + timedelta(rng.randrange(10_000)), (0, 10, 45, 400, 3000)[level - 1]
    count = rng.randint(2, most)
    kind = rng.choice((_shift, _shift, _between, _weekday)[: level - 1])
    return kind(rng, language, day, count)


def _neighbour(rng: Random, language: Language) -> Task:
    """The day before or after, without a year; where a leap year would matter another day is taken."""
    after = rng.random() < 0.5
    day = date(2001, 1, 1) + timedelta(rng.randrange(365))
    other = day + timedelta(1 if after else -1)
    if {(day.month, day.day), (other.month, other.day)} == {(2, 28), (3, 1)}:
        return _neighbour(rng, language)
    payload = ("after" if after else "before", day.month, day.day)
    return ask(
        rng, _NEXT if after else _PREVIOUS, language, _short(other, language), payload, day=_short(day, language)
    )


def _shift(rng: Random, language: Language, day: date, count: int) -> Task:
    later = rng.random() < 0.5
    answer = _long(day + timedelta(count if later else -count), language)
    payload = ("later" if later else "earlier", count, day)
    return ask(rng, _LATER if later else _EARLIER, language, answer, payload, day=_long(day, language), count=count)


def _between(rng: Random, language: Language, day: date, count: int) -> Task:
    other = day + timedelta(count)
    return ask(
        rng,
        _BETWEEN,
        language,
        str(count),
        ("between", day, other),
        day=_long(day, language),
        other=_long(other, language),
    )


def _weekday(rng: Random, language: Language, day: date, count: int) -> Task:
    day += timedelta(count)
    return ask(rng, _WEEKDAY, language, _WEEKDAYS[language][day.weekday()], ("weekday", day), day=_long(day, language))


def _short(day: date, language: Language) -> str:
    return f"{_MONTHS[day.month - 1]} {day.day}" if language == "en" else f"{day.month}月{day.day}日"


def _long(day: date, language: Language) -> str:
    return f"{_short(day, language)}, {day.year}" if language == "en" else f"{day.year}年{_short(day, language)}"


DATES = Family(
    _dates,
    (
        "the day before or after, no year",
        "up to 10 days before or after",
        "up to 45 days before or after",
        "up to 400 days; days between two dates",
        "up to 3,000 days; days between; day of the week",
    ),
)
