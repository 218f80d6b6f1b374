"""Whether orders to the sorter are understood: by what a line does, not by how it is written."""

from collections.abc import Callable

from groundup.apps.sorter.policy import COLOURS, PATTERN, SORTS, Bin, Place, Policy, apply, parse, standard
from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.evaluate.tasks import Row, exact_match
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar


def understood(
    engine: Engine, documents: list[Document], advance: Callable[[int], None] = lambda done: None
) -> list[Row]:
    """Exact match, as of tasks, of what the lines do. The engine writes only lines of the language, as at the line.

    Raises InputError without the package llguidance.
    """
    return exact_match(engine, documents, advance, alike, Grammar.regex(PATTERN))


def alike(answer: str, expected: str) -> bool:
    """Whether an answer is an order that does what the expected one does: the same policy, refusal or question after
    it.

    From one policy two orders may do the same by chance (`resume paper` where paper is sorted anyway), so it must be so
    from eighteen, which agree in nothing an order can change.
    """
    try:
        order, wanted = parse(answer), parse(expected)
    except InputError:
        return False
    return all(apply(order, policy) == apply(wanted, policy) for policy in POLICIES)


def _other(turn: int) -> Policy:
    """Each sort in a bin of its own, in bins of all colours, neither as in the standard; all turned on by some
    places.
    """
    colours, others = sorted(COLOURS), [sort for sort in SORTS if sort != "hazard"]
    bins = tuple(
        Bin(colour=colour, hazards=number == turn) for number, colour in enumerate(colours[turn:] + colours[:turn], 1)
    )
    free = [number for number in range(1, len(bins) + 1) if number != turn]
    usual: dict[str, Place] = {**dict(zip(others, free, strict=True)), "hazard": turn}
    places: dict[str, Place] = {**dict(zip(others, free[turn:] + free[:turn], strict=True)), "hazard": turn}
    return Policy(bins=bins, standard=usual, places=places, sure=50 + 5 * turn, first=tuple(others[turn : turn + 2]))


def _left(policy: Policy) -> Policy:
    """All is left on the belt, but hazards, which are for people."""
    return Policy(**{**dict(policy), "places": {**dict.fromkeys(SORTS, "leave"), "hazard": "manual"}})


_BUSY = (standard(), *map(_other, range(1, 9)))
POLICIES = (*_BUSY, *map(_left, _BUSY))
