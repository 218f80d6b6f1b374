"""Suite: interpreted orders to the sorter, scored by their effect on policies, not by their text; and the calibration
of their probability, from which follows which orders are carried out without asking.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from groundup.apps.sorter.interpretation import Interpretation, of_deltas, request
from groundup.apps.sorter.orders_source import CALIBRATED, OrdersSource
from groundup.apps.sorter.policy import (
    COLOURS,
    END,
    WASTE_CLASSES,
    Bin,
    Destination,
    SortingPolicy,
    apply,
    parse,
    standard_policy,
)
from groundup.core import ledger, units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.data.document import Document
from groundup.evaluate import calibration, exact_match
from groundup.evaluate.calibration import Judged, Reliability
from groundup.evaluate.cases import answer_of, question_of
from groundup.evaluate.display import Display, Headline, Table, interval
from groundup.evaluate.exact_match import Case, Row, average, by_language, columns, largest, mistakes
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.generate.engine import Engine
from groundup.generate.request import OutputDelta

PHRASINGS = {
    "heldout": "known structure, other words",
    "novel": "another structure",
    "three": "three clauses, other words",
    "many": "more clauses than an order has",
}  # none is in training
RIGHT = 0.995  # least fraction of the orders carried out without asking that must be right
EDGES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)  # bins of probability in the reliability table


@dataclass(frozen=True)
class Calibration:
    """The probability of orders that would change something, on sentences that are neither in training nor measured.

    `threshold` is the least at which an order is carried out without asking: RIGHT of them are right. `carried_out` is
    the fraction of the measured sentences at which that is so, and `right` of those.
    """

    threshold: float | None
    reliability: Reliability
    carried_out: Figure
    right: Figure | None


@dataclass(frozen=True)
class Orders:
    """The result, by source; the family of a row is a key of PHRASINGS."""

    orders: dict[str, list[Row]] = field(default_factory=dict)
    order_calibration: dict[str, Calibration] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Orders:
    """Measure each source's orders in phrasings that are not in training."""
    rows, calibrations = dict[str, list[Row]](), dict[str, Calibration]()
    for source in inputs.of(OrdersSource):
        many = inputs.options.per_family
        measured, other = source.heldout(many), source.heldout(2 * many, CALIBRATED)
        answers = interpreted(inputs.engine, measured, inputs.advance)
        rows[source.name] = rows_of(measured, answers)
        before = changes(other, interpreted(inputs.engine, other, inputs.advance))
        calibrations[source.name] = calibrated(before, changes(measured, answers), len(measured))
    return Orders(rows, calibrations)


def interpreted(engine: Engine, documents: Sequence[Document], advance: Advance = ignored) -> list[Interpretation]:
    """The orders that sentences come to, decoded as on the line. One that is too long for the context comes to none.

    Raises InputError without the package llguidance.
    """
    asked: list[tuple[str, list[OutputDelta]]] = [(question_of(each), []) for each in documents]

    def receive(deltas: list[OutputDelta], delta: OutputDelta) -> None:
        deltas.append(delta)
        advance(delta.finish is not None)

    for text, deltas in asked:
        wanted = request(engine.tokenizer, text)
        if len(wanted.prompt) < engine.config.context:
            engine.add(wanted, partial(receive, deltas))
    while engine.step():
        pass
    return [of_deltas(text, deltas) for text, deltas in asked]


def rows_of(documents: Sequence[Document], answers: Sequence[Interpretation]) -> list[Row]:
    """Exact match of the effects of orders, a row a family and language."""
    cases = [
        Case(question_of(document), expected(document), answer.line)
        for document, answer in zip(documents, answers, strict=True)
    ]
    return exact_match.rows_of(documents, cases, alike)


def changes(documents: Sequence[Document], answers: Sequence[Interpretation]) -> Judged:
    """Probability, and whether it is right, of each order that would change something."""
    return [
        (answer.probability, alike(answer.line, expected(document)))
        for document, answer in zip(documents, answers, strict=True)
        if answer.line and not answer.line.startswith(("ask", "refuse"))
    ]


def calibrated(before: Judged, measured: Judged, sentences: int) -> Calibration:
    """The calibration on orders asked before, and what its threshold does with those of the measured sentences."""
    limit = calibration.threshold(before, RIGHT)
    out = [right for probability, right in measured if limit is not None and probability >= limit]
    right = proportion(sum(out), len(out)) if out else None
    return Calibration(limit, calibration.reliability(before, EDGES), proportion(len(out), sentences), right)


def threshold(model: Path) -> float:
    """The calibrated threshold of a run's model; 1, which no answer of a model has, where none was found."""
    made, measured = ledger.read(model), ledger.read(model.parent / "evaluate")
    if made is None or measured is None or measured.parents.get(model.name) != made.digest:
        return 1.0
    return max((each.threshold or 1.0 for each in measured.result(Orders).order_calibration.values()), default=1.0)


def expected(document: Document) -> str:
    """The order that it means."""
    return answer_of(document).removesuffix(END)


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
        [headline for source, rows in entries for headline in _headlines(source, rows, result)],
        [table for source, rows in entries for table in (_table(source, rows), *_reliability(source, result))],
        mistakes=[mistake for _, rows in entries for mistake in mistakes(rows)],
    )


def _headlines(source: str, rows: list[Row], result: Orders) -> list[Headline]:
    known = units.percent(average(row for row in rows if row.family == "heldout").value)
    found = [Headline(f"Orders translated exactly, {source}", known, "sentences in other words than those in training")]
    if (measured := result.order_calibration.get(source)) and measured.right:
        share = f"right of the {units.percent(measured.carried_out.value)} of the sentences carried out without asking"
        found.append(Headline(f"Orders carried out, {source}", units.percent(measured.right.value), share))
    return found


def _reliability(source: str, result: Orders) -> list[Table]:
    """The reliability table, and in its summary row what is carried out without asking."""
    if (found := result.order_calibration.get(source)) is None:
        return []
    limit = "none is reliable enough" if found.threshold is None else f"probability from {found.threshold:.4f} on"
    caption = (
        f"Probability of orders in {source}, on sentences of their own; carried out without asking: {limit}, which are"
        f" {units.percent(found.carried_out.value)} of the measured sentences"
    )
    foot = ("measured, without asking", f"{found.right.n if found.right else 0:,}", interval(found.right))
    return [Table(caption, ("mean probability", ">orders", ">right"), found.reliability.rows(), foot)]


def _table(source: str, rows: list[Row]) -> Table:
    caption = (
        f"Orders translated exactly, source {source}: {largest(rows)} sentences of each kind and language, no clause of"
        " which is in training"
    )
    families = dict.fromkeys(row.family for row in rows)
    cells = [[PHRASINGS[family], *by_language(rows, family)] for family in families]
    return Table(caption, ("phrasings", *columns(rows)), cells)


SUITES.add("orders", Suite(2, Orders, measure, display, "the recipe has no source of kind 'orders'", extra="serve"))
