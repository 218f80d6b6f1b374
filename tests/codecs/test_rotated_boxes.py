"""Rotated boxes: areas against a count of points, and values that are the same for the same box and never jump."""

import math

import numpy as np
import pytest

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection, from_predictions, from_text, iou, to_rotated_targets, to_text
from groundup.codecs.patches import PatchGrid

SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def rectangle(x: float, y: float, width: float, height: float, angle: float) -> np.ndarray:
    """The corners of a box turned clockwise by an angle in degrees, [4, 2]."""
    turn = math.radians(angle)
    across = np.array([math.cos(turn), math.sin(turn)]) * width / 2
    down = np.array([-math.sin(turn), math.cos(turn)]) * height / 2
    return np.array([x, y]) + np.array([-across - down, across - down, across + down, down - across])


def drawn(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.uniform([0.3, 0.3, 0.1, 0.1, 0], [0.7, 0.7, 0.6, 0.6, 180], (count, 5))
    return np.array([rectangle(*row) for row in rows])


# --- intersection over union --------------------------------------------------------------------------------


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which points lie in a box, by the signs of two projections."""
    x, y = (points - corners[0]).T
    across, down = corners[1] - corners[0], corners[3] - corners[0]
    along, beside = x * across[0] + y * across[1], x * down[0] + y * down[1]
    return (along >= 0) & (along <= across @ across) & (beside >= 0) & (beside <= down @ down)


def test_iou_is_that_of_points_thrown_at_both():
    points = np.random.default_rng(1).random((40_000, 2))
    boxes = drawn(12)
    for box in boxes[:4]:
        first = inside(points, box)
        counted = [(first & (other := inside(points, each))).sum() / (first | other).sum() for each in boxes]
        # 40,000 points: a share of 0.3 is known to 0.003 and more
        assert rotated_boxes.iou(box, boxes) == pytest.approx(counted, abs=0.015)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (SQUARE, 1.0),
        (SQUARE[[2, 3, 0, 1]], 1.0),
        (SQUARE + np.array([2, 0]), 0.0),
        (SQUARE + np.array([1, 0]), 0.0),
        (SQUARE + np.array([0.5, 0]), 1 / 3),
        (SQUARE * 0.5 + 0.25, 0.25),
        (rectangle(0.5, 0.5, 1, 1, 45), 2 * (math.sqrt(2) - 1) / (2 - 2 * (math.sqrt(2) - 1))),
        (rectangle(0.5, 0.5, 2, 0.5, 90), 0.5 / 1.5),
        (rectangle(0.5, 0.5, 1, 1, 1e-13), 1.0),
    ],
)
def test_iou_of_boxes_with_shared_edges_and_corners(other, expected):
    for scale in (1e-3, 1, 1e4):
        assert rotated_boxes.iou(SQUARE * scale, other[None] * scale)[0] == pytest.approx(expected, abs=1e-9)


def test_iou_does_not_depend_on_the_unit_of_either_axis():
    boxes = drawn(30)
    stretched = boxes * [640, 360]
    assert rotated_boxes.iou(stretched[0], stretched) == pytest.approx(rotated_boxes.iou(boxes[0], boxes), abs=1e-9)


def test_upright_and_rotated_boxes_are_compared_as_rotated_ones():
    one, other = Detection("a", (0.2, 0.2, 0.6, 0.4)), Detection.rotated("a", rectangle(0.4, 0.3, 0.4, 0.2, 90))
    assert iou(one, [one, other]) == pytest.approx([1, 0.04 / 0.12])


# --- order of the corners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [2, 3, 0, 1]])
def test_corners_in_any_order_are_one_box(order):
    box = rectangle(0.5, 0.5, 0.6, 0.2, 30)
    assert rotated_boxes.ordered(box[order]) == pytest.approx(rotated_boxes.ordered(box))


def test_a_corner_among_the_others_is_no_box():
    assert rotated_boxes.ordered(np.array([[0, 0], [1, 0], [0, 1], [0.2, 0.2]])) is None


# --- what is regressed --------------------------------------------------------------------------------------


def test_boxes_come_back_from_their_values():
    boxes = drawn(200) * 12
    back = rotated_boxes.from_values(rotated_boxes.to_values(boxes))
    assert min(rotated_boxes.iou(*pair)[0] for pair in zip(boxes, back[:, None], strict=True)) > 1 - 1e-9


def test_values_do_not_depend_on_the_corner_that_comes_first():
    boxes = drawn(50) * 12
    for first in range(1, 4):
        assert rotated_boxes.to_values(np.roll(boxes, first, 1)) == pytest.approx(rotated_boxes.to_values(boxes))


@pytest.mark.parametrize("sides", [(4, 1), (2, 2), (2, 2.001)])
def test_values_never_jump_while_a_box_turns(sides):
    turned = np.array([rectangle(5, 5, *sides, angle) for angle in np.arange(0, 360, 0.5)])
    values = rotated_boxes.to_values(turned)
    assert np.abs(np.roll(values, -1, 0) - values).max() < 0.04  # a degree of 4 times the angle is 0.035


def test_values_never_jump_while_the_longer_side_becomes_the_shorter():
    values = rotated_boxes.to_values(np.array([rectangle(5, 5, width, 2, 20) for width in np.arange(1, 3, 0.01)]))
    assert np.abs(np.diff(values, axis=0)).max() < 0.02


# --- as labels of patches and as text -----------------------------------------------------------------------


def around(corners: np.ndarray, grid: PatchGrid) -> list[Detection]:
    """One object to labels and back."""
    labels, values = to_rotated_targets(corners[None], np.array([1]), grid)
    assert values.shape == (grid.patches, 7)
    return from_predictions(np.eye(2, dtype=np.float32)[labels], values, grid, ["cup"])


@pytest.mark.parametrize("grid", [PatchGrid(8, 8), PatchGrid(6, 14)])
def test_one_object_comes_back_from_its_labels(grid):
    for number, corners in enumerate(drawn(40, seed=3)):
        pixels = corners * [grid.columns, grid.rows]  # in patches it is a rectangle
        box = rectangle(*pixels.mean(0), 3, 0.4 + number / 20, 9 * number) / [grid.columns, grid.rows]
        found = around(box, grid)
        assert len(found) == 1
        assert rotated_boxes.iou(box, np.array([found[0].outline]))[0] > 0.999


def test_an_object_whose_centre_lies_outside_has_a_patch_all_the_same():
    box = rectangle(-0.02, 0.5, 0.3, 0.05, 10)
    assert rotated_boxes.iou(box, np.array([around(box, PatchGrid(8, 8))[0].outline]))[0] > 0.98


def test_crossed_bars_are_two_objects_though_their_upright_boxes_are_one():
    grid, bars = PatchGrid(16, 16), np.array([rectangle(0.5, 0.5, 0.8, 0.08, angle) for angle in (45, 135)])
    values = np.zeros((grid.patches, 7), np.float32)
    places = np.stack([np.tile(np.arange(16) + 0.5, 16), np.repeat(np.arange(16) + 0.5, 16)], 1)
    chosen = [4 * 16 + 4, 11 * 16 + 4]
    values[chosen] = rotated_boxes.to_values(bars * 16)
    values[chosen, :2] -= places[chosen].astype(np.float32)
    scores = np.eye(2, dtype=np.float32)[np.isin(np.arange(grid.patches), chosen).astype(int)]
    assert len(from_predictions(scores, values, grid, ["bar"])) == 2


def test_a_rotated_box_is_written_as_its_corners_and_read_again():
    box = rotated_boxes.ordered(rectangle(0.5, 0.4, 0.4, 0.1, 30))
    text = to_text([Detection.rotated("cup", box), Detection("plate", (0.1, 0.25, 0.5, 1.0))])
    assert text.count("<loc") == 12
    cup, plate = sorted(from_text(text), key=lambda each: each.class_name)
    assert np.array(cup.corners) == pytest.approx(box.flatten(), abs=0.0006)
    assert plate.corners is None and plate.box == pytest.approx((0.1, 0.25, 0.5, 1.0), abs=0.0006)


def test_corners_that_enclose_nothing_are_left_out_of_an_answer():
    assert from_text("cup" + "<loc100><loc100>" * 4) == []
