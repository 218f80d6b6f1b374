"""The families, their levels and an example of each, as Markdown."""

from collections.abc import Iterable
from random import Random

from groundup.data.tasks.families import FAMILIES


def markdown() -> str:
    """Two tables: what each level of a family demands, and one instance of level 1 in each language."""
    levels = [(name, *family.levels) for name, family in FAMILIES.items()]
    examples = [
        (name, language, task.question.replace("\n", "<br>"), task.answer)
        for name, family in FAMILIES.items()
        for language in family.languages
        for task in [family.make(Random(1), 1, language)]
    ]
    head = ("family", *(f"level {level}" for level in range(1, 6)))
    return _table(head, levels) + "\n" + _table(("family", "language", "question", "answer"), examples)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))
