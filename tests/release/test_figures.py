"""Tables of figures that are of no other page's tests."""

from groundup.evaluate.tasks import Case, row_of
from groundup.release import figures

CASES = {("heldout", "en"): 9, ("heldout", "zh"): 8, ("novel", "en"): 5, ("novel", "zh"): 4}
WRONG = Case("Cans to four.", "route can 4", "route can 5")


def orders() -> dict:
    rows = [
        row_of((*key, 1), [Case("Cans to four.", "route can 4", "route can 4")] * right + [WRONG] * (10 - right))
        for key, right in CASES.items()
    ]
    return {"orders": {"said": [row.as_dict() for row in rows]}}


def test_orders_have_a_row_for_each_kind_of_phrasing_and_a_column_for_each_language():
    (table,) = figures.tables(orders())
    assert table.columns == ("phrasings", ">English", ">Chinese")
    assert [[cell if isinstance(cell, str) else cell.text.split(" (")[0] for cell in row] for row in table.rows] == [
        ["known structure, other words", "90.0 %", "80.0 %"], ["another structure", "50.0 %", "40.0 %"]
    ]  # fmt: skip


def test_the_headline_is_what_was_understood_in_other_words_and_mistakes_are_shown():
    assert [(title, value) for title, value, _ in figures.headline(orders())] == [("Understood, said", "85.0 %")]
    assert len(figures.mistakes(orders()).rows) == 4
