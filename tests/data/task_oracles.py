"""An answer to every question of every family, computed from the question's text alone and by other means than the
tasks use.
"""

import ast
import operator
import re
from datetime import date, timedelta
from itertools import pairwise

from groundup.data.tasks.vocabulary import PEOPLE, THINGS

SEPARATOR = {"en": ", ", "zh": "、"}
MONTHS = [date(2001, month, 1).strftime("%B") for month in range(1, 13)]
WEEKDAYS = {
    "en": [date(2001, 1, 1 + day).strftime("%A") for day in range(7)],
    "zh": [f"星期{day}" for day in "一二三四五六日"],
}


def items(question, language):
    """The list on the last line."""
    return question.splitlines()[-1].split(SEPARATOR[language])


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def mentioned(line, language):
    """Things and people named in a line, each in order; a name like 小雪 does not speak of 雪."""
    if language == "en":
        words = re.findall("[A-Za-z]+", line)
    else:
        words = re.findall("|".join(sorted([*PEOPLE.values(), *THINGS.values()], key=len, reverse=True)), line)
    return [word for word in words if word in NAMED["things"]], [word for word in words if word in NAMED["people"]]


NAMED = {"things": {*THINGS, *THINGS.values()}, "people": {*PEOPLE, *PEOPLE.values()}}


def asks_for(question, *words):
    return any(word in question for word in words)


def copying(question, language):
    return question.splitlines()[-1]


def reversing(question, language):
    return SEPARATOR[language].join(items(question, language)[::-1])


def spelling(question, language):
    if language == "zh":
        return "、".join(" ".join(word) for word in items(question, language))
    text = re.sub(r"^(How do you spell|Please spell|Spell|What are the letters of) |[.?]$", "", question)
    return ", ".join(" ".join(word) for word in text.split(", "))


def sorting(question, language):
    down = asks_for(question, "largest to smallest", "descending", "largest first", "从大到小", "降序", "由大到小")
    return SEPARATOR[language].join(map(str, sorted(numbers(question), reverse=down)))


def counting(question, language):
    counted, _ = mentioned(question.splitlines()[0], language)
    listed = items(question, language)
    return str(listed.count(counted[0]) if counted else len(listed))


def membership(question, language):
    first = question.splitlines()[0]
    (item,) = re.findall(r"\d", first) or mentioned(first, language)[0]
    found = item in items(question, language)
    return {"en": ("no", "yes"), "zh": ("否", "是")}[language][found]


def choosing(question, language):
    first, listed = question.splitlines()[0], items(question, language)
    if language == "zh":
        backwards, place = re.search("(倒数)?第(.+?)个", first).groups()
        number = chinese_number(place)
        return listed[-number] if backwards else listed[number - 1]
    if "the last" in first:
        return listed[-1]
    ordinal = re.search(rf"\b({'|'.join(ORDINALS)})\b( to last)?", first)
    number = ORDINALS.index(ordinal[1]) + 1
    return listed[-number] if ordinal[2] else listed[number - 1]


ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
    "ninth", "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
)  # fmt: skip


def deleting(question, language):
    gone, _ = mentioned(question.splitlines()[0], language)
    return SEPARATOR[language].join(item for item in items(question, language) if item not in gone)


def comparing(question, language):
    largest = asks_for(question, "larg", "maximum", "greater", "最大", "更大", "较大", "哪个大")
    return str((max if largest else min)(numbers(question)))


def arithmetic(question, language):
    text = re.search(r"[(\d][\d ()+×÷-]*[\d)]", question)[0].replace("×", "*").replace("÷", "/")
    value = evaluate(ast.parse(text, mode="eval").body)
    assert value == int(value) >= 0 or "×" in question
    return str(int(value))


def evaluate(node):
    if isinstance(node, ast.Constant):
        return node.value
    apply = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}[
        type(node.op)
    ]
    return apply(evaluate(node.left), evaluate(node.right))


def sequence(question, language):
    shown = numbers(question)
    steps = [after - before for before, after in pairwise(shown)]
    growth = {after - before for before, after in pairwise(steps)}
    if len(growth) == 1:
        return str(shown[-1] + steps[-1] + growth.pop())
    (factor,) = {after / before for before, after in pairwise(steps)}
    return str(shown[-1] + steps[-1] * int(factor))


def numerals(question, language):
    digits = numbers(question)
    if not digits:
        read = chinese_number if language == "zh" else english_number
        return str(read(question))
    (number,) = digits
    write, read = (chinese_words, chinese_number) if language == "zh" else (english_words, english_number)
    assert read(write(number)) == number
    return write(number)


def chinese_number(text):
    """The number that the numeral characters of a text say."""
    total = section = digit = 0
    for character in text:
        if character in "零一二三四五六七八九":
            digit = "零一二三四五六七八九".index(character)
        elif character in "十百千":
            section += (digit or 1) * 10 ** ("十百千".index(character) + 1)
            digit = 0
        elif character == "万":
            total, section, digit = (section + digit) * 10_000, 0, 0
    return total + section + digit


def chinese_words(number):
    """Place by place: zeros inside a number are read as one 零, those at the end of a group of four not at all."""
    high, low = (four_places(group) for group in divmod(number, 10_000))
    text = (f"{high}万{low}" if high else low).lstrip("0") or "0"
    return re.sub("^1十", "十", text).translate(str.maketrans("0123456789", "零一二三四五六七八九"))


def four_places(number):
    places = "".join(digit + place for digit, place in zip(f"{number:04d}", "千百十 ", strict=True))
    return re.sub("0+", "0", re.sub("0[千百十 ]", "0", places)).rstrip("0 ")


SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}


def english_number(text):
    """The number that the number words of a text say."""
    total = group = 0
    for word in re.findall("[a-z]+", text):
        if word in SMALL:
            group += SMALL.index(word)
        elif word in TENS:
            group += TENS[word]
        elif word == "hundred":
            group *= 100
        elif word in ("thousand", "million"):
            total, group = total + group * {"thousand": 1000, "million": 1_000_000}[word], 0
    return total + group


def english_words(number):
    """By groups of three digits from the left."""
    groups = [(number // size % 1000, name) for size, name in ((1_000_000, " million"), (1000, " thousand"), (1, ""))]
    words = [f"{hundreds(value)}{name}" for value, name in groups if value]
    if number > 1000 and 0 < number % 1000 < 100:
        words[-1] = f"and {words[-1]}"
    return " ".join(words) or "zero"


def hundreds(number):
    tens = {value: name for name, value in TENS.items()}
    small = number % 100
    words = (
        SMALL[small] if small < 20 else "-".join([tens[small - small % 10], SMALL[small % 10]][: 1 + (small % 10 > 0)])
    )
    if number < 100:
        return words
    return f"{SMALL[number // 100]} hundred" + (f" and {words}" if small else "")


def dates(question, language):
    days = dates_in(question, language)
    if asks_for(question, "tomorrow", "comes after", "the day after", "后一天", "明天", "之后的一天"):
        return written(days[0] + timedelta(1), language, year=False)
    if asks_for(question, "yesterday", "comes before", "the day before", "前一天", "昨天", "之前的一天"):
        return written(days[0] - timedelta(1), language, year=False)
    if asks_for(question, "week", "星期"):
        return WEEKDAYS[language][days[0].weekday()]
    if len(days) == 2:
        return str((days[1] - days[0]).days)
    count = int(re.search(r"(\d+) days|(?<!\d)(\d+)天", question).group(1 if language == "en" else 2))
    earlier = asks_for(question, "before", "Subtract", "ago", "之前", "减", "天前")
    return written(days[0] + timedelta(-count if earlier else count), language, year=True)


def dates_in(question, language):
    if language == "zh":
        found = re.findall(r"(?:(\d+)年)?(\d+)月(\d+)日", question)
        return [date(int(year or 2001), int(month), int(day)) for year, month, day in found]
    found = re.findall(rf"({'|'.join(MONTHS)}) (\d+)(?:, (\d+))?", question)
    return [date(int(year or 2001), MONTHS.index(month) + 1, int(day)) for month, day, year in found]


def written(day, language, year):
    if language == "zh":
        return (f"{day.year}年" if year else "") + f"{day.month}月{day.day}日"
    return f"{MONTHS[day.month - 1]} {day.day}" + (f", {day.year}" if year else "")


# Every unit in the smallest one of its kind: millimetres, grams, millilitres, seconds.
UNITS = {
    "kilometres": 10**6, "metres": 1000, "decimetres": 100, "centimetres": 10, "millimetres": 1, "tonnes": 10**6,
    "kilograms": 1000, "grams": 1,
    "litres": 1000, "millilitres": 1, "weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1,
    "千米": 10**6, "米": 1000, "分米": 100, "厘米": 10, "毫米": 1, "吨": 10**6, "千克": 1000, "克": 1,
    "升": 1000, "毫升": 1,
    "周": 604800, "天": 86400, "小时": 3600, "分钟": 60, "秒": 1,
}  # fmt: skip


def units(question, language):
    names = "|".join(sorted((unit for unit in UNITS if unit.isascii() == (language == "en")), key=len, reverse=True))
    whole = re.sub(rf"\d+ ?({names})", "", question)
    (target,) = re.findall(rf"\b({names})\b" if language == "en" else f"({names})", whole)
    total = sum(int(number) * UNITS[unit] for number, unit in re.findall(rf"(\d+) ?({names})", question))
    assert total % UNITS[target] == 0
    return str(total // UNITS[target])


def lookup(question, language):
    *story, asked = question.splitlines()
    if number := re.search(r"\d", asked):
        (line,) = (line for line in story if line.startswith(number[0]))
        return line
    owners = {}
    for line in story:
        (thing,), people = mentioned(line, language)
        if len(people) == 2:
            assert owners[thing] == people[0]
        owners[thing] = people[-1]
    things, people = mentioned(asked, language)
    if people:
        (answer,) = (thing for thing, owner in owners.items() if owner == people[0])
        return answer
    return owners[things[0]]


ORACLES = {
    oracle.__name__: oracle
    for oracle in (
        copying, reversing, spelling, sorting, counting, membership, choosing, deleting,
        comparing, arithmetic, sequence, numerals, dates, units, lookup,
    )
}  # fmt: skip
