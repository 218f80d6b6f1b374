"""How well boxes are found: COCO's average precision, and precision, recall and F1 at one overlap and one score.

Boxes are left, top, right, bottom in shares of the image, 0 to 1; a box matches one of its kind whose overlap
(intersection over union) is enough.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundup.codecs.boxes import Detection, overlaps
from groundup.core.errors import InputError
from groundup.evaluate.figure import Figure, proportion

OVERLAP = 0.5  # of a match, for precision, recall and F1
SCORE = 0.5  # of a box that counts as found there; average precision looks at all


@dataclass(frozen=True)
class Picture:
    """An image: its width and height in pixels, what lies in it, and what was found."""

    size: tuple[int, int]
    truth: Sequence[Detection]
    found: Sequence[Detection]


@dataclass(frozen=True)
class Precision:
    """COCO's figures: the mean over overlaps of 0.5 to 0.95, that at 0.5, the recall of at most 100 boxes an image; and
    AP at 0.5 by kind.
    """

    ap: float
    ap50: float
    ar: float
    kinds: dict[str, float]


@dataclass(frozen=True)
class Matches:
    """Precision, recall and F1 of boxes; None where there was nothing to divide by.

    The intervals take boxes for independent cases, those of one image too; F1 has none. Its n is that of the images.
    """

    precision: Figure | None
    recall: Figure | None
    f1: Figure | None

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON."""
        return {name: figure and figure.as_dict() for name, figure in vars(self).items()}


def matches(pictures: Sequence[Picture], score: float = SCORE, overlap: float = OVERLAP) -> Matches:
    """Of the boxes found with at least `score`, the surest first, each takes the free box of its kind that it overlaps
    most.
    """
    kept = [[thing for thing in picture.found if thing.score >= score] for picture in pictures]
    right = sum(_matched(picture.truth, found, overlap) for picture, found in zip(pictures, kept, strict=True))
    found, truth = sum(map(len, kept)), sum(len(picture.truth) for picture in pictures)
    return Matches(
        proportion(right, found) if found else None,
        proportion(right, truth) if truth else None,
        Figure(2 * right / (found + truth), None, None, len(pictures)) if found + truth else None,
    )


def _matched(truth: Sequence[Detection], found: Sequence[Detection], overlap: float) -> int:
    free, right = list(truth), 0
    for thing in sorted(found, key=lambda thing: -thing.score):
        same = [other for other in free if other.kind == thing.kind]
        if not same:
            continue
        shared = overlaps(np.array(thing.box, np.float32), np.array([other.box for other in same], np.float32))
        if shared.max() >= overlap:
            free.remove(same[int(shared.argmax())])
            right += 1
    return right


def coco() -> tuple[Any, Any]:
    """The classes of pycocotools that hold boxes and compare them; raises InputError where it is not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InputError("the suite 'boxes' needs pycocotools; pip install 'groundup[vision]'") from None
    return COCO, COCOeval


def average_precision(pictures: Sequence[Picture]) -> Precision | None:
    """By pycocotools, over the kinds that lie in the pictures; None where none lies in any.

    Raises InputError where pycocotools is not installed.
    """
    table, judge = coco()
    kinds = sorted({thing.kind for picture in pictures for thing in picture.truth})
    if not kinds:
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        sides = []
        for things in ([picture.truth for picture in pictures], [picture.found for picture in pictures]):
            side = table()
            side.dataset = _coco(pictures, things, kinds)
            side.createIndex()
            sides.append(side)
        judged = judge(*sides, iouType="bbox")
        judged.evaluate()
        judged.accumulate()
    precision, recall = (
        judged.eval["precision"][..., 0, -1],
        judged.eval["recall"][..., 0, -1],
    )  # [overlap, recall, kind], [overlap, kind]
    by_kind = {kind: float(precision[0, :, number].mean()) for number, kind in enumerate(kinds)}
    return Precision(float(precision.mean()), float(precision[0].mean()), float(recall.mean()), by_kind)


def _coco(pictures: Sequence[Picture], things: Sequence[Sequence[Detection]], kinds: list[str]) -> dict[str, Any]:
    """One side as COCO's tables, in pixels. Numbers begin with 1: its matching takes 0 for none."""
    annotations: list[dict[str, Any]] = []
    for image, (picture, inside) in enumerate(zip(pictures, things, strict=True), 1):
        for thing in inside:
            if thing.kind not in kinds:
                continue
            left, top, right, bottom = (value * picture.size[number % 2] for number, value in enumerate(thing.box))
            box = [left, top, right - left, bottom - top]
            known = {"id": len(annotations) + 1, "image_id": image, "category_id": kinds.index(thing.kind) + 1}
            annotations.append(known | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "score": thing.score})
    return {
        "images": [
            {"id": image, "width": picture.size[0], "height": picture.size[1]}
            for image, picture in enumerate(pictures, 1)
        ],
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(kinds, 1)],
        "annotations": annotations,
    }
