"""The family about looking up facts in a given text."""

from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask
from groundup.data.tasks.vocabulary import handy_things, named, people, things

_LINE = {"en": "{number} {thing}", "zh": "{number}{thing}"}
_WHICH_LINE: Phrases = {
    "en": (
        "{text}\nQuote line {number}.",
        "{text}\nWhich line begins with {number}?",
        "{text}\nWrite the line of {number}.",
    ),
    "zh": ("{text}\n写出{number}那一行。", "{text}\n哪一行以{number}开头？", "{text}\n抄写编号为{number}的一行。"),
}
_HAS = {"en": "{person} has the {thing}.", "zh": "{person}有{thing}。"}
_GIVES = {"en": "{giver} gives the {thing} to {person}.", "zh": "{giver}把{thing}给了{person}。"}
_WHAT: Phrases = {
    "en": (
        "{text}\nWhat does {person} have?",
        "{text}\nWhich thing does {person} have?",
        "{text}\nName the thing that {person} has.",
    ),
    "zh": ("{text}\n{person}有什么？", "{text}\n请问{person}有什么东西？", "{text}\n说出{person}的东西。"),
}
_WHO: Phrases = {
    "en": (
        "{text}\nWho has the {thing}?",
        "{text}\nWhich person has the {thing}?",
        "{text}\nName the one who has the {thing}.",
    ),
    "zh": ("{text}\n谁有{thing}？", "{text}\n请问{thing}在谁那里？", "{text}\n说出有{thing}的人。"),
}


def _lookup(rng: Random, level: int, language: Language) -> Task:
    if level == 1:
        return _line(rng, language)
    size, gifts = ((3, 0), (7, 0), (7, 2), (10, 5))[level - 2]
    owners = dict(zip(handy_things(rng, size), people(rng, size), strict=True))
    facts = [("", thing, person) for thing, person in owners.items()]
    facts += [_give(rng, owners) for _ in range(gifts)]
    text = "\n".join(_fact(*fact, language) for fact in facts)
    story = [word for fact in facts for word in fact]
    thing = rng.choice([thing for _, thing, _ in facts])  # a given one is the question more often
    owner, names = owners[thing], {"thing": named(thing, language), "person": named(owners[thing], language)}
    # A person's possession is the question only while everyone has one.
    if gifts or rng.random() < 0.5:
        return ask(rng, _WHO, language, names["person"], ("who", thing, *story), text=text, **names)
    return ask(rng, _WHAT, language, names["thing"], ("what", owner, *story), text=text, **names)


def _line(rng: Random, language: Language) -> Task:
    """A line by its number: the model quotes it by continuing after the number as in the text, the easiest look-up."""
    numbers, words = rng.sample(range(1, 10), 3), things(rng, 3, 1)
    rows = zip(numbers, words, strict=True)
    lines = {number: _LINE[language].format(number=number, thing=named(word, language)) for number, word in rows}
    number = rng.choice(numbers)
    payload = ("line", number, *numbers, *words)
    return ask(rng, _WHICH_LINE, language, lines[number], payload, text="\n".join(lines.values()), number=number)


def _give(rng: Random, owners: dict[str, str]) -> tuple[str, str, str]:
    """Transfer an object to another owner; returns giver, object and receiver."""
    thing = rng.choice(list(owners))
    giver = owners[thing]
    owners[thing] = rng.choice([person for person in owners.values() if person != giver])
    return giver, thing, owners[thing]


def _fact(giver: str, thing: str, person: str, language: Language) -> str:
    words = {"thing": named(thing, language), "person": named(person, language)}
    return _GIVES[language].format(giver=named(giver, language), **words) if giver else _HAS[language].format(**words)


LOOKUP = Family(
    _lookup,
    (
        "3 numbered lines, quote one",
        "3 facts of who has what",
        "7 facts of who has what",
        "7 facts and 2 gifts",
        "10 facts and 5 gifts",
    ),
)
