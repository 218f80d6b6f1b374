"""Pictures of an evaluation, for the page: the surest mistakes, boxes that were found, and a map of the confusions of
many classes.

Its shape is that of `groundup.evaluate.runner`. The template draws; here stands what it draws. Nothing but pictures
that lie in the figures themselves is shown: a manifest may come from elsewhere.
"""

from dataclasses import dataclass
from typing import Any

from groundup.release import words
from groundup.release.figures import WIDEST

INSIDE = ("data:image/jpeg;base64,", "data:image/png;base64,")


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture in its units: left, top, width, height; its kind of line, or how dark it is, and what it
    says.
    """

    left: float
    top: float
    width: float
    height: float
    title: str
    side: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Shot:
    """A picture: its width and height, what lies under and over it, boxes, what it says to those who do not see it, and
    a caption.
    """

    width: float
    height: float
    label: str
    caption: str
    image: str = ""
    looked: str = ""
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures under one title, and what they mean."""

    title: str
    note: str
    shots: list[Shot]


def galleries(evaluation: dict[str, Any]) -> list[Gallery]:
    """All there are, none of them empty."""
    classes, boxes = evaluation.get("images", {}), evaluation.get("boxes", {})
    found = [
        gallery for source, entry in classes.items() for gallery in (_confusions(source, entry), _worst(source, entry))
    ]
    return [
        gallery for gallery in (*found, *(_found(source, entry) for source, entry in boxes.items())) if gallery.shots
    ]


def _worst(source: str, entry: dict[str, Any]) -> Gallery:
    shots = []
    for each in entry["worst"]:
        width, height = each["size"]
        said = f"{each['truth']}, said to be {each['said']} ({words.percent(each['probability'], 0)})"
        shots.append(Shot(width, height, f"Mistake: {said}", said, _inside(each["image"]), _inside(each["looked"])))
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
            words.listed([thing["kind"] for thing in each[side]]) if each[side] else "nothing"
            for side in ("truth", "found")
        )
        caption = f"{len(each['truth'])} there, {len(each['found'])} found"
        shots.append(
            Shot(width, height, f"There: {there}; found: {seen}", caption, _inside(each["image"]), boxes=boxes)
        )
    note = (
        "Dashed white: what lies there; solid orange: what the labels of the patches say, with a score of"
        f" {entry['score']:g} or more."
    )
    return Gallery(f"Boxes, {source}", note, shots)


def _box(thing: dict[str, Any], width: float, height: float, side: str) -> Box:
    left, top, right, bottom = thing["box"]
    title = f"{thing['kind']}, {words.percent(thing['score'], 0)}" if side == "found" else f"{thing['kind']}, as it is"
    return Box(
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
        Box(
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
    return Gallery(title, note, [Shot(len(classes), len(classes), label, label, boxes=cells)])


def _inside(uri: str) -> str:
    return uri if uri.startswith(INSIDE) else ""
