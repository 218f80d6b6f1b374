"""Suite: interpreted orders to the sorter, scored by their effect on policies, not by their text."""

from dataclasses import dataclass, field

from groundup.apps.sorter.orders_source import OrdersSource
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
from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.data.document import Document
from groundup.evaluate.display import Display, Headline, Table
from groundup.evaluate.exact_match import Row, average, by_language, columns, exact_match, largest, mistakes
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar

PHRASINGS = {"heldout": "known structure, other words", "novel": "another structure"}  # none is in training


@dataclass(frozen=True)
class Orders:
    """The result, by source; the family of a row is a key of PHRASINGS."""

    orders: dict[str, list[Row]] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Orders:
    """Measure each source's orders in phrasings that are not in training."""

    return Orders(
        {
            source.name: understood(inputs.engine, source.heldout(inputs.options.per_family), inputs.advance)
            for source in inputs.of(OrdersSource)
        }
    )


def understood(engine: Engine, documents: list[Document], advance: Advance = ignored) -> list[Row]:
    """Exact match of the effects of orders, decoded under the grammar of the order language as on the line.

    Raises InputError without the package llguidance.
    """

    return exact_match(engine, documents, advance, alike, Grammar.regex(PATTERN))


def alike(answer: str, expected: str) -> bool:
    """Whether an answer is an order with the effect of the expected one: the same policy, refusal or question.

    Two orders may have the same effect on one policy by chance (`resume paper` if paper is sorted anyway), so eighteen
    policies are tried, which differ in everything that an order can change.
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


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Orders) -> Display:
    """A headline and a table a source: a row a kind of phrasing, a column a language."""
    entries = result.orders.items()
    return Display(
        [_headline(source, rows) for source, rows in entries],
        [_table(source, rows) for source, rows in entries],
        mistakes=[mistake for _, rows in entries for mistake in mistakes(rows)],
    )


def _headline(source: str, rows: list[Row]) -> Headline:
    known = average(row for row in rows if row.family == "heldout")
    return Headline(
        f"Orders translated exactly, {source}",
        units.percent(known.value),
        "sentences in other words than those in training",
    )


def _table(source: str, rows: list[Row]) -> Table:
    caption = (
        f"Orders translated exactly, source {source}: {largest(rows)} sentences of each kind and language, no clause of"
        " which is in training"
    )
    families = dict.fromkeys(row.family for row in rows)
    cells = [[PHRASINGS[family], *by_language(rows, family)] for family in families]
    return Table(caption, ("phrasings", *columns(rows)), cells)


SUITES.add("orders", Suite(1, Orders, measure, display, "the recipe has no source of kind 'orders'", extra="serve"))
