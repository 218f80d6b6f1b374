"""What an evaluation found, as tables and headlines; its shape is that of `groundup.evaluate.runner`."""

from typing import Any

from groundup.core import units
from groundup.evaluate.display import Cell, Display, Headline, Row, Table, join
from groundup.evaluate.display import interval as _interval
from groundup.evaluate.figure import Figure, mean
from groundup.release.gallery import WIDEST, galleries

LANGUAGES = {"en": "English", "zh": "Chinese"}
UNHEARD = {
    "heldout": "known structure, other words",
    "novel": "another structure",
}  # of sentences that are not trained on
MISTAKES = 1  # wrong answers shown of a family and language
LONGEST = 20  # classes or kinds that a table lists
CONFUSIONS = 10  # pairs of classes


def tables(evaluation: dict[str, Any]) -> list[Table]:
    """All figures, with their 95 % intervals where there are any; no table for what was not measured."""
    asked = [
        _tasks(source, entry) for suite in ("tasks", "questions") for source, entry in evaluation.get(suite, {}).items()
    ]
    asked += [_orders(source, rows) for source, rows in evaluation.get("orders", {}).items()]
    found = [
        _bits(evaluation.get("bits_per_byte", {})),
        *asked,
        _choice(evaluation.get("choice", {})),
        *_images(evaluation),
        *_boxes(evaluation),
    ]
    return [table for table in found if table.rows]


def _bits(entries: dict[str, Any]) -> Table:
    """A row a source: the model beside each baseline."""
    methods = list(dict.fromkeys(method for entry in entries.values() for method in entry["baselines"]))
    rows = [
        [
            source,
            units.size(entry["bytes"]),
            _spread(entry["model"], 3),
            *(_plain(entry["baselines"].get(method)) for method in methods),
        ]
        for source, entry in entries.items()
    ]
    return Table(
        "Bits per byte of held-out text, less is better",
        ("source", ">text", ">model", *(f">{method}" for method in methods)),
        rows,
    )


def _tasks(source: str, entry: dict[str, Any]) -> Table:
    """A row a family, a column a language."""
    found = {(row["family"], row["language"]): row for row in entry["rows"]}
    families = dict.fromkeys((row["family"], row["level"]) for row in entry["rows"])
    languages = list(dict.fromkeys(row["language"] for row in entry["rows"]))
    rows = [
        [family, str(level), *(_share(found.get((family, language))) for language in languages)]
        for family, level in families
    ]
    averages = [
        mean([Figure(**row["exact_match"]) for row in entry["rows"] if row["language"] == language])
        for language in languages
    ]
    count = max((row["exact_match"]["n"] for row in entry["rows"]), default=0)
    return Table(
        f"Held-out {source} answered exactly, {count} of each kind; {units.percent(entry['average']['value'])} in the"
        " mean of all kinds",
        ("family", ">level", *(f">{LANGUAGES.get(language, language)}" for language in languages)),
        rows,
        ["mean of families", "", *(interval(average.as_dict()) for average in averages)],
    )


def _orders(source: str, entries: list[dict[str, Any]]) -> Table:
    """A row a part, a column a language."""
    found = {(row["family"], row["language"]): row for row in entries}
    parts, languages = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    rows = [[UNHEARD[part], *(_share(found.get((part, language))) for language in languages)] for part in parts]
    count = max((row["exact_match"]["n"] for row in entries), default=0)
    caption = (
        f"Understood exactly in {source}: {count} sentences of each kind and language, none of whose clauses was"
        " trained on"
    )
    return Table(caption, ("phrasings", *(f">{LANGUAGES.get(language, language)}" for language in languages)), rows)


def _choice(entries: dict[str, Any]) -> Table:
    """A row a file, and one a subject."""
    rows: list[Row] = [
        [
            Cell(subject or path, verbatim=True),
            str(figures["raw"]["n"]),
            interval(figures["raw"]),
            interval(figures["per_byte"]),
            units.percent(figures["chance"]),
        ]
        for path, subjects in entries.items()
        for subject, figures in subjects.items()
    ]
    return Table(
        "Multiple choice", ("file or subject", ">questions", ">likeliest", ">likeliest by byte", ">by chance"), rows
    )


# --- images ------------------------------------------------------------------------------------------------------


def _images(evaluation: dict[str, Any]) -> list[Table]:
    """A row a source, then for each its classes and what was taken for what."""
    classes, probes = evaluation.get("images", {}), evaluation.get("probe", {})
    rows: list[Row] = []
    for source in dict.fromkeys((*classes, *probes)):
        entry, probe = classes.get(source), probes.get(source)
        alone = units.percent(entry["commonest"]) if entry else units.NONE
        found = (
            [units.number(entry["accuracy"]["n"]), interval(entry["accuracy"]), alone] if entry else [units.NONE] * 3
        )
        rows.append([source, *found, *([units.number(probe["n"]), interval(probe)] if probe else [units.NONE] * 2)])
    columns = (
        "source",
        ">images",
        ">likeliest class is right",
        ">always the commonest",
        ">images probed",
        ">right by a probe of its states",
    )
    summary = Table("Held-out images by class", columns, rows)
    return [
        summary,
        *(
            table
            for source, entry in classes.items()
            for table in (_recall(source, entry), _counts(source, entry), _taken(source, entry))
        ),
    ]


def _recall(source: str, entry: dict[str, Any]) -> Table:
    """A row a class, the hardest first."""
    hardest = sorted(entry["recall"].items(), key=lambda item: item[1]["value"])
    rows: list[Row] = [
        [Cell(name, verbatim=True), units.number(figure["n"]), interval(figure)] for name, figure in hardest[:LONGEST]
    ]
    return Table(f"Recall by class of {source}{_cut(len(hardest), 'hardest')}", ("class", ">images", ">right"), rows)


def _counts(source: str, entry: dict[str, Any]) -> Table:
    """The whole confusion matrix, where it is small enough to read."""
    classes = entry["classes"]
    counted = zip(classes, entry["counts"], strict=True) if len(classes) <= WIDEST else ()
    rows: list[Row] = [
        [Cell(name, verbatim=True), *(f"{count:,}" if count else "·" for count in row)] for name, row in counted
    ]
    return Table(
        f"What images of {source} were said to be, a row a true class",
        ("class", *(f">{name}" for name in classes)),
        rows,
    )


def _taken(source: str, entry: dict[str, Any]) -> Table:
    """The most frequent confusions, a row a pair."""
    classes, counts = entry["classes"], entry["counts"]
    pairs = [
        (count, truth, said)
        for truth, row in enumerate(counts)
        for said, count in enumerate(row)
        if count and said != truth
    ]
    often = sorted(pairs, key=lambda pair: -pair[0])
    rows: list[Row] = [
        [
            Cell(classes[truth], verbatim=True),
            Cell(classes[said], verbatim=True),
            f"{count:,}",
            units.percent(count / sum(counts[truth])),
        ]
        for count, truth, said in often[:CONFUSIONS]
    ]
    return Table(f"Most frequent confusions of {source}", ("class", "said to be", ">images", ">of the class"), rows)


def _boxes(evaluation: dict[str, Any]) -> list[Table]:
    """A row a source and way of saying what lies where; then average precision by kind."""
    labelled, asked = evaluation.get("boxes", {}), evaluation.get("questions", {})
    rows: list[Row] = [
        [
            f"{source}, labels of patches",
            str(entry["ap"]["n"]),
            *(units.percent(entry[name]["value"]) for name in ("ap", "ap50", "ar")),
            *_matched(entry),
        ]
        for source, entry in labelled.items()
    ]
    rows += [
        [
            f"{source}, {row['family']} in words ({row['language']})",
            str(row["exact_match"]["n"]),
            *[units.NONE] * 3,
            *_matched(row["boxes"]),
        ]
        for source, entry in asked.items()
        for row in entry["rows"]
        if row["boxes"]
    ]
    columns = ("boxes", ">images", ">AP", ">AP at overlap 0.5", ">recall of 100", ">precision", ">recall", ">F1")
    scores = sorted({entry["score"] for entry in labelled.values()})
    at = f", labels with a score of {scores[0]:g} or more" if scores else ""
    whole = Table(f"Boxes in held-out images; precision, recall and F1 at an overlap of 0.5{at}", columns, rows)
    return [whole, *(_kinds(source, entry) for source, entry in labelled.items())]


def _matched(entry: dict[str, Any]) -> list[str]:
    """In words alone: three drawn intervals are wider than the page."""
    cells = [interval(entry[name]) if entry[name] else units.NONE for name in ("precision", "recall", "f1")]
    return [cell.text if isinstance(cell, Cell) else cell for cell in cells]


def _kinds(source: str, entry: dict[str, Any]) -> Table:
    """A row a kind, the hardest first."""
    hardest = sorted(entry["kinds"].items(), key=lambda item: item[1]["value"])
    rows: list[Row] = [
        [Cell(kind, verbatim=True), units.percent(figure["value"])] for kind, figure in hardest[:LONGEST]
    ]
    return Table(
        f"Average precision by kind in {source}, at an overlap of 0.5{_cut(len(hardest), 'hardest')}",
        ("kind", ">AP"),
        rows,
    )


def _cut(count: int, which: str) -> str:
    return f", the {LONGEST} {which} of {count}" if count > LONGEST else ""


# --- figures in cells --------------------------------------------------------------------------------------------


def _plain(figure: dict[str, Any] | None) -> str:
    return units.number(figure["value"] if figure else None, 3)


def _spread(figure: dict[str, Any], digits: int) -> str:
    if figure["low"] is None:
        return units.number(figure["value"], digits)
    return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f}–{figure['high']:.{digits}f})"


def _share(row: dict[str, Any] | None) -> str | Cell:
    return units.NONE if row is None else interval(row["exact_match"])


def interval(figure: dict[str, Any]) -> str | Cell:
    """A fraction with its interval."""
    return _interval(Figure(**figure))


# --- headlines and answers -----------------------------------------------------------------------------------------


def display(evaluation: dict[str, Any]) -> Display:
    """All that an evaluation displays."""
    return join(
        [
            Display(
                headline=[Headline(*each) for each in headline(evaluation)],
                tables=tables(evaluation),
                answers=answers(evaluation),
                notes=evaluation.get("notes", []),
                galleries=galleries(evaluation),
                mistakes=mistakes(evaluation).rows,
            )
        ]
    )


def headline(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Title, value and note of the figures a reader looks for first."""
    found = []
    for source, entry in evaluation.get("bits_per_byte", {}).items():
        best = min(entry["baselines"].items(), key=lambda item: item[1]["value"], default=None)
        note = "" if best is None else f"against {best[1]['value']:.2f}, {best[0]}"
        found.append((f"Bits per byte, {source}", f"{entry['model']['value']:.2f}", note))
    for source, entry in evaluation.get("tasks", {}).items():
        families = len({row["family"] for row in entry["rows"]})
        found.append(
            (f"Exact match, {source}", units.percent(entry["average"]["value"]), f"{families} families, held out")
        )
    for source, entries in evaluation.get("orders", {}).items():
        known = [Figure(**row["exact_match"]) for row in entries if row["family"] == "heldout"]
        found.append(
            (
                f"Understood, {source}",
                units.percent(mean(known).value),
                "sentences in other words than those trained on",
            )
        )
    for source, entry in evaluation.get("images", {}).items():
        note = f"{len(entry['classes'])} classes, {units.number(entry['accuracy']['n'])} images held out"
        found.append((f"Class is right, {source}", units.percent(entry["accuracy"]["value"]), note))
    for source, entry in evaluation.get("questions", {}).items():
        found.append(
            (f"Exact match, {source}", units.percent(entry["average"]["value"]), "questions about held-out images")
        )
    for source, entry in evaluation.get("boxes", {}).items():
        found.append(
            (
                f"AP of boxes, {source}",
                units.percent(entry["ap"]["value"]),
                f"{units.percent(entry['ap50']['value'])} at an overlap of 0.5",
            )
        )
    return found


def answers(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """The recipe's prompts and what the model answers."""
    return [(entry["prompt"], entry["answer"]) for entry in evaluation.get("prompts", [])]


def mistakes(evaluation: dict[str, Any]) -> Table:
    """Some wrong answers of each family and language."""
    asked = [
        row for suite in ("tasks", "questions") for entry in evaluation.get(suite, {}).values() for row in entry["rows"]
    ]
    asked += [row for entries in evaluation.get("orders", {}).values() for row in entries]
    rows: list[Row] = [
        [row["family"], *(Cell(mistake[key], verbatim=True) for key in ("question", "expected", "answer"))]
        for row in asked
        for mistake in row["mistakes"][:MISTAKES]
    ]
    return Table("Wrong answers", ("family", "question", "expected", "answered"), rows)
