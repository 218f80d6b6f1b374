"""Things to an answer's text and to labels of patches, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.detections import CELLS, Detection, from_predictions, from_text, to_targets, to_text
from groundup.codecs.patches import PatchGrid

Box = tuple[float, float, float, float]


@st.composite
def drawn(draw: st.DrawFn, least: float = 2 / CELLS) -> Box:
    """A box with some area."""
    left, top = draw(st.floats(0, 1 - least)), draw(st.floats(0, 1 - least))
    right, bottom = draw(st.floats(left + least, 1)), draw(st.floats(top + least, 1))
    return left, top, min(1.0, right), min(1.0, bottom)


kinds = (
    st.text(st.characters(exclude_characters="<>;", exclude_categories=["Cs"]), min_size=1, max_size=9)
    .map(str.strip)
    .filter(bool)
)


def order(things: list[Detection]) -> list[tuple[str, Box]]:
    return sorted(
        ((thing.class_name, thing.box) for thing in things),
        key=lambda each: (each[0], [round(value, 2) for value in each[1]]),
    )


# --- as text ------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.tuples(kinds, drawn()), max_size=6))
def test_what_is_written_is_read_to_half_a_cell(described: list[tuple[str, Box]]) -> None:
    things = [Detection(kind, box) for kind, box in described]
    found = from_text(to_text(things))
    expected = sorted(things, key=lambda thing: (thing.box[1], thing.box[0], thing.class_name))
    assert [thing.class_name for thing in found] == [thing.class_name for thing in expected]
    for thing, other in zip(found, expected, strict=True):
        assert thing.box == pytest.approx(other.box, abs=0.5 / CELLS + 1e-9)


def test_things_are_written_from_top_left_to_bottom_right() -> None:
    things = [Detection("c", (0, 0.5, 1, 1)), Detection("b", (0.5, 0, 1, 0.4)), Detection("a", (0, 0, 0.4, 0.4))]
    assert (
        to_text(things)
        == "a<loc0><loc0><loc400><loc400>; b<loc500><loc0><loc999><loc400>; c<loc0><loc500><loc999><loc999>"
    )


def test_nothing_is_said_as_such() -> None:
    assert to_text([]) == "nothing"
    assert from_text("nothing") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cup",
        "cup<loc1><loc2><loc3>",
        "<loc1><loc2><loc3><loc4>",
        "cup<loc5><loc2><loc3><loc4>",
        "cup<loc1><loc2><loc3><loc2>",
        "cup<loc1><loc2><loc3><loc4444>",
    ],
)
def test_what_cannot_be_read_is_left_out(text: str) -> None:
    assert from_text(text) == []


def test_what_follows_something_broken_is_still_read() -> None:
    assert [thing.class_name for thing in from_text("cup<loc1>; plate<loc1><loc2><loc3><loc4>")] == ["plate"]


# --- as labels ----------------------------------------------------------------------------------------------


def sure(labels: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of a model that is certain of the labels."""
    return np.eye(1 + classes, dtype=np.float32)[labels]


def around(grid: PatchGrid, things: list[Detection]) -> list[Detection]:
    """Things to labels and back."""
    names = sorted({thing.class_name for thing in things})
    boxes = np.array([thing.box for thing in things], np.float32).reshape(-1, 4)
    labels, values = to_targets(
        boxes, np.array([1 + names.index(thing.class_name) for thing in things], np.int64), grid
    )
    assert labels.shape == (grid.patches,)
    assert values.shape == (grid.patches, 4)
    return from_predictions(sure(labels, len(names)), values, grid, names)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(drawn(least=0.02), st.integers(4, 20), st.integers(4, 20))
def test_one_thing_comes_back_from_its_labels(box: Box, rows: int, columns: int) -> None:
    found = around(PatchGrid(rows, columns), [Detection("cup", box)])
    assert [thing.class_name for thing in found] == ["cup"]
    assert found[0].box == pytest.approx(box, abs=1e-3)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.permutations(range(9)), st.integers(1, 9))
def test_things_apart_from_each_other_all_come_back(places: list[int], count: int) -> None:
    things = []
    for number, place in enumerate(places[:count]):
        left, top = place % 3 / 3 + 0.05, place // 3 / 3 + 0.05
        things.append(Detection("ab"[number % 2], (left, top, left + 0.1 + 0.01 * number, top + 0.2)))
    found = order(around(PatchGrid(12, 12), things))
    assert [kind for kind, _ in found] == [kind for kind, _ in order(things)]
    for (_, box), (_, other) in zip(found, order(things), strict=True):
        assert box == pytest.approx(other, abs=1e-3)


def test_a_small_thing_on_a_large_one_is_not_lost() -> None:
    things = [Detection("plate", (0.1, 0.1, 0.9, 0.9)), Detection("cup", (0.45, 0.45, 0.55, 0.55))]
    assert [kind for kind, _ in order(around(PatchGrid(10, 10), things))] == ["cup", "plate"]


def test_no_things_are_labels_of_background_alone() -> None:
    labels, values = to_targets(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), PatchGrid(3, 4))
    assert not labels.any()
    assert from_predictions(sure(labels, 2), values, PatchGrid(3, 4), ["a", "b"]) == []


def test_the_surest_comes_first_and_boxes_that_overlap_are_one() -> None:
    grid = PatchGrid(1, 8)
    labels, values = to_targets(np.array([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32), np.array([1, 1]), grid)
    shares = sure(labels, 1) * 0.6
    shares[5:, 1] = 0.9 * (labels[5:] > 0)
    found = from_predictions(shares, values, grid, ["cup"])
    assert [round(thing.score, 2) for thing in found] == [0.9, 0.6]
    assert found[0].box == pytest.approx((0.5, 0, 1, 1), abs=1e-3)
