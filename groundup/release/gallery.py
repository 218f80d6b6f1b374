"""Pictures of an evaluation, for the page: the surest mistakes, boxes that were found, and a map of the confusions of
many classes.

Its shape is that of `groundup.evaluate.runner`. The template draws; here stands what it draws. Nothing but pictures
that lie in the figures themselves is shown: a manifest may come from elsewhere.
"""

from typing import Any

from groundup.core import units
from groundup.evaluate.display import Gallery, Picture, Rectangle

WIDEST = 12  # classes whose confusion matrix is shown as a table


def galleries(evaluation: dict[str, Any]) -> list[Gallery]:
    """All there are, none of them empty."""
    classes, boxes = evaluation.get("images", {}), evaluation.get("boxes", {})
    found = [
        gallery for source, entry in classes.items() for gallery in (_confusions(source, entry), _worst(source, entry))
    ]
    return [
        gallery for gallery in (*found, *(_found(source, entry) for source, entry in boxes.items())) if gallery.pictures
    ]


def _worst(source: str, entry: dict[str, Any]) -> Gallery:
    shots = []
    for each in entry["worst"]:
        width, height = each["size"]
        said = f"{each['truth']}, said to be {each['said']} ({units.percent(each['probability'], 0)})"
        shots.append(Picture(width, height, f"Mistake: {said}", said, each["image"], each["looked"]))
    note = (
        "Light is where the last token before the answer looks, in the last block, the mean of its heads; the share is"
        " among the classes."
    )
    return Gallery(f"Surest mistakes, {source}", note, shots)


def _found(source: str, entry: dict[str, Any]) -> Gallery:
    shots = []
    for each in entry["pictures"]:
        width, height = each["size"]
        boxes = tuple(_box(thing, width, height, side) for side in ("truth", "found") for thing in each[side])
        there, seen = (
            units.listed([thing["kind"] for thing in each[side]]) if each[side] else "nothing"
            for side in ("truth", "found")
        )
        caption = f"{len(each['truth'])} there, {len(each['found'])} found"
        shots.append(Picture(width, height, f"There: {there}; found: {seen}", caption, each["image"], rectangles=boxes))
    note = (
        "Dashed white: what lies there; solid orange: what the labels of the patches say, with a score of"
        f" {entry['score']:g} or more."
    )
    return Gallery(f"Boxes, {source}", note, shots)


def _box(thing: dict[str, Any], width: float, height: float, side: str) -> Rectangle:
    left, top, right, bottom = thing["box"]
    title = f"{thing['kind']}, {units.percent(thing['score'], 0)}" if side == "found" else f"{thing['kind']}, as it is"
    return Rectangle(
        round(left * width, 2),
        round(top * height, 2),
        round((right - left) * width, 2),
        round((bottom - top) * height, 2),
        title,
        side,
    )


def _confusions(source: str, entry: dict[str, Any]) -> Gallery:
    """The matrix of more classes than a table can show; each row sums to one."""
    classes, counts = entry["classes"], entry["counts"]
    title = f"Confusions, {source}"
    if len(classes) <= WIDEST:
        return Gallery(title, "", [])
    cells = tuple(
        Rectangle(
            said,
            truth,
            1,
            1,
            f"{classes[truth]} said to be {classes[said]}: {count:,}",
            "cell",
            round(count / sum(row), 3),
        )
        for truth, row in enumerate(counts)
        for said, count in enumerate(row)
        if count
    )
    right = sum(row[place] for place, row in enumerate(counts))
    label = (
        f"Confusion matrix of {len(classes)} classes: {right:,} of {sum(map(sum, counts)):,} images lie on the diagonal"
    )
    note = (
        "A row is a true class, a column what was said, both in the order of their names; the darker, the larger the"
        " share of the class."
    )
    return Gallery(title, note, [Picture(len(classes), len(classes), label, label, rectangles=cells)])
