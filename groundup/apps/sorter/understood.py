"""Scoring of interpreted orders: by their effect on policies, not by their text."""

from collections.abc import Callable

from groundup.apps.sorter.policy import (
    COLOURS,
    PATTERN,
    WASTE_CLASSES,
    Bin,
    Destination,
    SortingPolicy,
    apply,
    parse,
    standard_policy,
)
from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.evaluate.tasks import Row, exact_match
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar


def understood(
    engine: Engine, documents: list[Document], advance: Callable[[int], None] = lambda done: None
) -> list[Row]:
    """Exact match of the effects of orders, decoded under the grammar of the order language as on the line.

    Raises InputError without the package llguidance.
    """
    return exact_match(engine, documents, advance, alike, Grammar.regex(PATTERN))


def alike(answer: str, expected: str) -> bool:
    """Whether an answer is an order with the effect of the expected one: the same policy, refusal or question.

    Two orders may have the same effect on one policy by chance (`resume paper` where paper is sorted anyway), so all of
    eighteen are tried, which agree in nothing that an order can change.
    """
    try:
        order, wanted = parse(answer), parse(expected)
    except InputError:
        return False
    return all(apply(order, policy) == apply(wanted, policy) for policy in POLICIES)


def _other(turn: int) -> SortingPolicy:
    """A policy with each class in a bin of its own and bins of all colours, rotated by `turn`; nothing is as in the
    standard.
    """
    colours, others = sorted(COLOURS), [each for each in WASTE_CLASSES if each != "hazard"]
    bins = tuple(
        Bin(colour=colour, hazards=number == turn) for number, colour in enumerate(colours[turn:] + colours[:turn], 1)
    )
    free = [number for number in range(1, len(bins) + 1) if number != turn]
    usual: dict[str, Destination] = {**dict(zip(others, free, strict=True)), "hazard": turn}
    rotated: dict[str, Destination] = {**dict(zip(others, free[turn:] + free[:turn], strict=True)), "hazard": turn}
    return SortingPolicy(
        bins=bins,
        standard=usual,
        destinations=rotated,
        min_confidence=50 + 5 * turn,
        priority=tuple(others[turn : turn + 2]),
    )


def _left(policy: SortingPolicy) -> SortingPolicy:
    """The policy with all classes left on the belt, and hazards for manual sorting."""
    return SortingPolicy(
        **{**dict(policy), "destinations": {**dict.fromkeys(WASTE_CLASSES, "leave"), "hazard": "manual"}}
    )


_BUSY = (standard_policy(), *map(_other, range(1, 9)))
POLICIES = (*_BUSY, *map(_left, _BUSY))
