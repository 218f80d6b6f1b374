"""Object detection metrics: COCO's average precision; precision, recall and F1 at one IoU and one `min_score`.

Boxes are left, top, right, bottom as fractions of the image. IoU is intersection over union; if the ground truth or a
detection is rotated, it is that of the rotated boxes. All else is as COCO defines it.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection, iou
from groundup.core.errors import InputError
from groundup.evaluate.display import Cell, interval
from groundup.evaluate.figure import Figure, proportion

IOU = 0.5  # least IoU of a match, for precision, recall and F1
MIN_SCORE = 0.5  # least score of a detection for these; average precision uses all


@dataclass(frozen=True)
class ScoredImage:
    """An image's width and height in pixels, its ground truth and detections."""

    size: tuple[int, int]
    truth: Sequence[Detection]
    detections: Sequence[Detection]


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's figures: AP, the mean over IoUs of 0.5 to 0.95; AP at 0.5, also by class; recall of 100 boxes an image."""

    ap: float
    ap50: float
    ar: float
    classes: dict[str, float]


@dataclass(frozen=True)
class Matches:
    """Precision, recall and F1 (None: undefined), boxes as independent cases; F1 has no interval, its n is images."""

    precision: Figure | None
    recall: Figure | None
    f1: Figure | None

    def cells(self) -> list[str]:
        """The figures with their intervals as text: three drawn intervals are wider than the page."""
        cells = map(interval, (self.precision, self.recall, self.f1))
        return [cell.text if isinstance(cell, Cell) else cell for cell in cells]


def matches(images: Sequence[ScoredImage], min_score: float = MIN_SCORE, min_iou: float = IOU) -> Matches:
    """Match detections of at least `min_score`, by score, to the unmatched box of their class with the best IoU."""
    kept = [[each for each in image.detections if each.score >= min_score] for image in images]
    right = sum(_matched(image.truth, found, min_iou) for image, found in zip(images, kept, strict=True))
    detected, truth = sum(map(len, kept)), sum(len(image.truth) for image in images)
    return Matches(
        proportion(right, detected) if detected else None,
        proportion(right, truth) if truth else None,
        Figure(2 * right / (detected + truth), None, None, len(images)) if detected + truth else None,
    )


def _matched(truth: Sequence[Detection], detections: Sequence[Detection], min_iou: float) -> int:
    free, right = list(truth), 0
    for detection in sorted(detections, key=lambda each: -each.score):
        same = [other for other in free if other.class_name == detection.class_name]
        if not same:
            continue
        ious = iou(detection, same)
        if ious.max() >= min_iou:
            free.remove(same[int(ious.argmax())])
            right += 1
    return right


def coco() -> tuple[Any, Any]:
    """The classes COCO and COCOeval of pycocotools. Raises InputError if it is not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InputError("the suite 'boxes' needs pycocotools; pip install 'groundup[vision]'") from None
    return COCO, COCOeval


def average_precision(images: Sequence[ScoredImage]) -> AveragePrecision | None:
    """COCO's figures over the classes of the ground truth, None if empty. Raises InputError without pycocotools."""
    table, judge = coco()
    classes = sorted({box.class_name for image in images for box in image.truth})
    if not classes:
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints progress
        sides = []
        for detections in ([image.truth for image in images], [image.detections for image in images]):
            side = table()
            side.dataset = _coco(images, detections, classes)
            side.createIndex()
            sides.append(side)
        judged = judge(*sides, iouType="bbox")
        if rotated(images):
            judged.computeIoU = partial(_rotated_iou, judged)
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][..., 0, -1]  # [IoU, recall, class]
    recall = judged.eval["recall"][..., 0, -1]  # [IoU, class]
    by_class = {name: float(precision[0, :, number].mean()) for number, name in enumerate(classes)}
    return AveragePrecision(float(precision.mean()), float(precision[0].mean()), float(recall.mean()), by_class)


def rotated(images: Sequence[ScoredImage]) -> bool:
    """Whether any box is rotated."""
    return any(each.corners for image in images for side in (image.truth, image.detections) for each in side)


def _rotated_iou(judged: Any, image: int, category: int) -> Any:
    """IoU of the best detections of a class in an image, by score, with its ground truth, as COCOeval needs it."""
    truth, found = judged._gts[image, category], judged._dts[image, category]
    order = np.argsort([-each["score"] for each in found], kind="mergesort")[: judged.params.maxDets[-1]]
    if not truth or not found:
        return []
    others = np.array([each["outline"] for each in truth])
    return np.array([rotated_boxes.iou(found[n]["outline"], others) for n in order])


def _coco(
    images: Sequence[ScoredImage], detections: Sequence[Sequence[Detection]], classes: list[str]
) -> dict[str, Any]:
    """Detections or ground truth as COCO's tables, in pixels. Ids start at 1: in COCO's matching 0 means none."""
    annotations: list[dict[str, Any]] = []
    for number, (image, inside) in enumerate(zip(images, detections, strict=True), 1):
        for each in inside:
            if each.class_name not in classes:
                continue
            left, top, right, bottom = (value * image.size[axis % 2] for axis, value in enumerate(each.box))
            box = [left, top, right - left, bottom - top]
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": classes.index(each.class_name) + 1}
            annotations.append(ids | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "score": each.score})
            annotations[-1]["outline"] = each.outline
    return {
        "images": [
            {"id": number, "width": image.size[0], "height": image.size[1]} for number, image in enumerate(images, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "annotations": annotations,
    }
