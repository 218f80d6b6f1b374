"""Families about text as such: copying it, spelling it, turning it round."""

from random import Random

from groundup.data.tasks.family import Family, Language, Phrases, Task, ask, listing
from groundup.data.tasks.vocabulary import WORDS, named, things

_COPY: Phrases = {
    "en": ("Repeat:\n{items}", "Copy this list:\n{items}", "Write exactly this:\n{items}", "Say this again:\n{items}"),
    "zh": ("请重复：\n{items}", "请抄写：\n{items}", "原样写出：\n{items}", "照着再说一遍：\n{items}"),
}
_SPELL: Phrases = {
    "en": ("Spell {text}.", "Please spell {text}.", "How do you spell {text}?", "What are the letters of {text}?"),
    "zh": ("请逐字写出：\n{text}", "一个字一个字地写：\n{text}", "由哪些字组成？\n{text}", "请拆成单字：\n{text}"),
}
_REVERSE: Phrases = {
    "en": (
        "Reverse:\n{items}",
        "Write in reverse order:\n{items}",
        "Turn this list round:\n{items}",
        "Say this from last to first:\n{items}",
    ),
    "zh": ("把顺序倒过来：\n{items}", "请倒序写出：\n{items}", "反转这个列表：\n{items}", "从后往前写：\n{items}"),
}
_SHORT = {language: tuple(word for word in words if len(word) <= 4) for language, words in WORDS.items()}
_LENGTHS = ((2, 3), (4, 5), (7, 8), (11, 12), (16, 18))


def _copying(rng: Random, level: int, language: Language) -> Task:
    chosen = things(rng, rng.choice(_LENGTHS[level - 1]), level)
    items = listing([named(thing, language) for thing in chosen], language)
    return ask(rng, _COPY, language, items, chosen, items=items)


def _reversing(rng: Random, level: int, language: Language) -> Task:
    chosen = things(rng, rng.choice(_LENGTHS[level - 1]), level)
    items = [named(thing, language) for thing in chosen]
    return ask(rng, _REVERSE, language, listing(reversed(items), language), chosen, items=listing(items, language))


def _spelling(rng: Random, level: int, language: Language) -> Task:
    chosen = rng.sample(
        _SHORT[language] if level == 1 else WORDS[language], rng.choice(((1,), (1, 2), (3,), (4,), (5,))[level - 1])
    )
    # A tokenizer learns small words whole, capitals in pieces: capitals show a model the single letters.
    words = [word.upper() if level == 1 else word for word in chosen]
    spelled = [" ".join(word) for word in words]
    return ask(rng, _SPELL, language, listing(spelled, language), chosen, text=listing(words, language))


COPYING = Family(_copying, ("2-3 of 24 words", "4-5 of 190 words", "7-8 words", "11-12 words", "16-18 words"))
REVERSING = Family(_reversing, ("2-3 of 24 words", "4-5 of 190 words", "7-8 words", "11-12 words", "16-18 words"))
SPELLING = Family(_spelling, ("1 word to 4 letters, in capitals", "1-2 words", "3 words", "4 words", "5 words"))
