"""The lineage's picture shows every stage once, keeps its texts inside their boxes, and draws no line over a box."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from groundup.release.lineage import lineage
from groundup.release.picture import EVALUATION, HEIGHT, WIDTH, _boxes, _edges, _path, fit, picture
from tests.release.release_helpers import ATTACK


@pytest.fixture(scope="module")
def found(original):
    return lineage(original / "instruct")


def test_every_stage_and_every_source_has_a_box(found):
    names = dict(_boxes(found))
    assert set(names) == {stage.stage for stage in (*found.stages, found.evaluation)} | {
        f"files of {stage.stage}" for stage in found.sources
    }


def test_boxes_do_not_overlap(found):
    places = [(box.x, box.y) for _, box in _boxes(found)]
    for number, (x, y) in enumerate(places):
        assert not [other for other in places[:number] if abs(x - other[0]) < WIDTH and abs(y - other[1]) < HEIGHT]


def points(path):
    """Corners of a path; its curves are monotonous between them, in the gap between two columns."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
    if "V" in path:
        return [(numbers[0], numbers[1]), (numbers[0], numbers[2])]
    x1, y1, bend, _, _, _, _, x2, y2 = numbers
    return [(x1, y1), (bend, y1), (x2, y2)]


def test_no_line_crosses_a_box(found):
    boxes = dict(_boxes(found))
    for start, end in _edges(found, boxes):
        corners = points(_path(boxes[start], boxes[end]))
        for (x1, y1), (x2, y2) in pairwise(corners):
            for name, box in boxes.items():
                inside = (
                    min(x1, x2) < box.x + WIDTH
                    and max(x1, x2) > box.x
                    and min(y1, y2) < box.y + HEIGHT
                    and max(y1, y2) > box.y
                )
                assert not inside, f"{start} -> {end} crosses {name}"


def test_what_training_began_with_has_a_box(begun, original):
    base = lineage(begun)
    stages = (
        *lineage(original / "instruct").stages[:-1],
        replace(lineage(original / "instruct").model, inputs=base.model.inputs),
    )
    names = dict(_boxes(replace(base, stages=stages)))
    assert names["files of instruct"].lines == ("1 file, given",)


def test_without_evaluation_there_is_no_column_for_it(found):
    boxes = dict(_boxes(replace(found, measured=())))
    assert EVALUATION not in {box.column for box in boxes.values()}
    assert "Evaluation" not in picture(replace(found, measured=()))


def test_hostile_texts_stay_texts(found):
    stages = [replace(stage, licences={f'"{ATTACK}': 3} if stage.licences else {}) for stage in found.stages]
    text = picture(replace(found, stages=tuple(stages)))
    assert ATTACK not in text and ATTACK in ElementTree.fromstring(text).attrib["aria-label"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("documents", 9, "documents"),
        ("documents", 8, "documen…"),
        ("手册文字", 8, "手册文字"),
        ("手册文字", 7, "手册文…"),
        ("手册文字", 6, "手册…"),
        ("", 3, ""),
    ],
)
def test_a_text_is_cut_where_it_would_leave_its_box(text, width, shown):
    assert fit(text, width) == shown
