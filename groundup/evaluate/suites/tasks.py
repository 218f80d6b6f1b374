"""Suite: exact match on held-out instances of verifiable tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from groundup.core import units
from groundup.core.tables import SUITES
from groundup.evaluate.display import Display, Headline, Table, interval
from groundup.evaluate.exact_match import Row, average, by_language, columns, exact_match, languages, largest, mistakes
from groundup.evaluate.figure import Figure
from groundup.evaluate.suite import Suite, SuiteInputs


@dataclass(frozen=True)
class ExactMatches:
    """The exact matches of one source, and their mean over families and languages."""

    average: Figure
    rows: list[Row]


@dataclass(frozen=True)
class Tasks:
    """The result, by source."""

    tasks: dict[str, ExactMatches] = field(default_factory=dict)


def measure(inputs: SuiteInputs) -> Tasks:
    """Ask held-out instances of each source of tasks."""

    found = {}
    for source in inputs.sources:
        if source.holds == "conversations" and source.exact_answers:
            rows = exact_match(inputs.engine, source.heldout(inputs.options.per_family), inputs.advance)
            found[source.name] = ExactMatches(average(rows), rows)
    return Tasks(found)


def display(result: Tasks) -> Display:
    """A headline and a table a source; a row a family, a column a language."""
    entries = result.tasks.items()
    headline = [
        Headline(
            f"Exact match, {source}",
            units.percent(entry.average.value),
            f"{len({row.family for row in entry.rows})} families, held out",
        )
        for source, entry in entries
    ]
    return Display(
        headline,
        [table(source, entry.average, entry.rows) for source, entry in entries],
        mistakes=[row for _, entry in entries for row in mistakes(entry.rows)],
    )


def table(source: str, whole: Figure, rows: Sequence[Row]) -> Table:
    """Exact matches of one source by family and language, with the mean of each language."""
    levels = dict.fromkeys((row.family, row.level) for row in rows)
    means = [average(row for row in rows if row.language == language) for language in languages(rows)]
    return Table(
        f"Exact match on held-out {source}, {largest(rows)} cases a family and language;"
        f" mean of all {units.percent(whole.value)}",
        ("family", ">level", *columns(rows)),
        [[family, str(level), *by_language(rows, family)] for family, level in levels],
        ["mean of families", "", *map(interval, means)],
    )


SUITES.add("tasks", Suite(1, Tasks, measure, display, "the recipe has no source of kind 'tasks'"))
