"""The figures of the stage "line" in the report and the terminal."""

from groundup.apps.sorter import report as line
from groundup.apps.sorter.result import LineResult
from groundup.evaluate.display import Cell
from groundup.evaluate.figure import proportion


def row(by: str, right: int, sorted_: int, sortable: int) -> dict:
    purity, recovery = (proportion(right, of).as_dict() if of else None for of in (sorted_, sortable))
    counts = dict.fromkeys(("arrived", "picked", "slipped", "dropped", "sorted", "right", "sortable", "on"), 0)
    return {
        "setting": "dark",
        "by": by,
        "picks_a_minute": 84.26,
        "purity": purity,
        "recovery": recovery,
        "manual": 2,
        "passed": 1,
        **counts,
        "brain": {"p50": 9.6, "p95": 14.2},
        "seconds": 60.0,
        "steps_a_second": 900.0,
    }


WORK = LineResult.of({"items": 100, "sure": 60, "rows": [row("model", 90, 100, 120), row("oracle", 99, 100, 100)]})


def test_a_row_has_the_figures_of_each_model_with_intervals():
    model, oracle = line.table(WORK).rows
    assert model[:3] == ["dark", "model", "84.3"]
    assert [cell.fraction and round(cell.fraction[0], 2) for cell in model if isinstance(cell, Cell)] == [0.9, 0.75]
    assert model[5:] == ["2", "1", "10 / 14"]
    assert oracle[-1] == "–"  # it does not think


def test_the_first_setting_is_the_headline_beside_the_oracle():
    titles = {title: (value, note) for title, value, note in line.headline(WORK)}
    assert titles["Purity"] == ("90.0 %", "on a simulated line; 99.0 % with a ground-truth oracle")
    assert list(titles) == ["Picks a minute", "Purity", "Recovery"]


def test_a_shift_that_sorted_nothing_has_no_purity():
    nothing = LineResult.of({"items": 1, "sure": 60, "rows": [row("model", 0, 0, 0), row("oracle", 0, 0, 0)]})
    assert line.table(nothing).rows[0][3:5] == ["–", "–"]
    assert {title: value for title, value, _ in line.headline(nothing)}["Purity"] == "–"
