"""The families of tasks by name."""

from groundup.core.errors import InputError
from groundup.data.tasks import dates, gym, lists, lookup, numbers, numerals, units, words
from groundup.data.tasks.family import Family

FAMILIES: dict[str, Family] = {
    "copying": words.COPYING,
    "spelling": words.SPELLING,
    "reversing": words.REVERSING,
    "sorting": lists.SORTING,
    "counting": lists.COUNTING,
    "membership": lists.MEMBERSHIP,
    "choosing": lists.CHOOSING,
    "deleting": lists.DELETING,
    "comparing": numbers.COMPARING,
    "arithmetic": numbers.ARITHMETIC,
    "sequence": numbers.SEQUENCE,
    "numerals": numerals.NUMERALS,
    "dates": dates.DATES,
    "units": units.UNITS,
    "lookup": lookup.LOOKUP,
}
"""The families, by the names that recipes use."""


def family(name: str, level: int) -> Family:
    """The family that a recipe names, at its level. Raises InputError for one that does not exist or cannot be made."""
    if name in FAMILIES:
        return FAMILIES[name]
    if name.startswith(gym.PREFIX):
        return gym.family(name, level)
    known = f"{', '.join(FAMILIES)} and {gym.PREFIX}<data set of reasoning-gym>"
    raise InputError(f"unknown task family {name!r}; known are {known}")
