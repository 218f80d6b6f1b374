"""What an evaluation found, as tables and headlines; its shape is that of `groundup.evaluate.suite`."""

from typing import Any

from groundup.evaluate.figure import Figure, mean
from groundup.release import words
from groundup.release.tables import Cell, Row, Table

LANGUAGES = {"en": "English", "zh": "Chinese"}
MISTAKES = 1  # wrong answers shown of a family and language


def tables(evaluation: dict[str, Any]) -> list[Table]:
    """All figures, with their 95 % intervals where there are any; no table for what was not measured."""
    tasks = [_tasks(source, entry) for source, entry in evaluation.get("tasks", {}).items()]
    return [table for table in (_bits(evaluation.get("bits_per_byte", {})), *tasks, _choice(evaluation.get("choice", {}))) if table.rows]


def _bits(entries: dict[str, Any]) -> Table:
    """A row a source: the model beside each baseline."""
    methods = list(dict.fromkeys(method for entry in entries.values() for method in entry["baselines"]))
    rows = [
        [source, words.size(entry["bytes"]), _spread(entry["model"], 3), *(_plain(entry["baselines"].get(method)) for method in methods)]
        for source, entry in entries.items()
    ]
    return Table("Bits per byte of held-out text, less is better", ("source", ">text", ">model", *(f">{method}" for method in methods)), rows)


def _tasks(source: str, entry: dict[str, Any]) -> Table:
    """A row a family, a column a language."""
    found = {(row["family"], row["language"]): row for row in entry["rows"]}
    families = dict.fromkeys((row["family"], row["level"]) for row in entry["rows"])
    languages = list(dict.fromkeys(row["language"] for row in entry["rows"]))
    rows = [[family, str(level), *(_share(found.get((family, language))) for language in languages)] for family, level in families]
    averages = [mean([Figure(**row["exact_match"]) for row in entry["rows"] if row["language"] == language]) for language in languages]
    count = max((row["exact_match"]["n"] for row in entry["rows"]), default=0)
    return Table(
        f"Held-out {source} answered exactly, {count} of each kind; {words.percent(entry['average']['value'])} in the mean of all kinds",
        ("family", ">level", *(f">{LANGUAGES.get(language, language)}" for language in languages)),
        rows,
        ["mean of families", "", *(_interval(average.as_dict()) for average in averages)],
    )


def _choice(entries: dict[str, Any]) -> Table:
    """A row a file, and one a subject."""
    rows: list[Row] = [
        [
            Cell(subject or path, said=True),
            str(figures["raw"]["n"]),
            _interval(figures["raw"]),
            _interval(figures["per_byte"]),
            words.percent(figures["chance"]),
        ]
        for path, subjects in entries.items()
        for subject, figures in subjects.items()
    ]
    return Table("Multiple choice", ("file or subject", ">questions", ">likeliest", ">likeliest by byte", ">by chance"), rows)


# --- figures in cells --------------------------------------------------------------------------------------------


def _plain(figure: dict[str, Any] | None) -> str:
    return words.number(figure["value"] if figure else None, 3)


def _spread(figure: dict[str, Any], digits: int) -> str:
    if figure["low"] is None:
        return words.number(figure["value"], digits)
    return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f}–{figure['high']:.{digits}f})"


def _share(row: dict[str, Any] | None) -> str | Cell:
    return words.NONE if row is None else _interval(row["exact_match"])


def _interval(figure: dict[str, Any]) -> Cell:
    """A share of one with its interval, in words and to be drawn."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if low is None:
        return Cell(words.percent(value))
    return Cell(f"{100 * value:.1f} % ({100 * low:.0f}–{100 * high:.0f})", share=(value, low, high))


# --- headlines and answers -----------------------------------------------------------------------------------------


def headline(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Title, value and note of the figures a reader looks for first."""
    found = []
    for source, entry in evaluation.get("bits_per_byte", {}).items():
        best = min(entry["baselines"].items(), key=lambda item: item[1]["value"], default=None)
        note = "" if best is None else f"against {best[1]['value']:.2f}, {best[0]}"
        found.append((f"Bits per byte, {source}", f"{entry['model']['value']:.2f}", note))
    for source, entry in evaluation.get("tasks", {}).items():
        families = len({row["family"] for row in entry["rows"]})
        found.append((f"Exact match, {source}", words.percent(entry["average"]["value"]), f"{families} families, held out"))
    return found


def answers(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """The recipe's prompts and what the model answers."""
    return [(entry["prompt"], entry["answer"]) for entry in evaluation.get("prompts", [])]


def mistakes(evaluation: dict[str, Any]) -> Table:
    """Some wrong answers of each family and language."""
    rows: list[Row] = [
        [row["family"], *(Cell(mistake[key], said=True) for key in ("question", "expected", "answer"))]
        for entry in evaluation.get("tasks", {}).values()
        for row in entry["rows"]
        for mistake in row["mistakes"][:MISTAKES]
    ]
    return Table("Wrong answers", ("family", "question", "expected", "answered"), rows)
