"""Augmentation: a random variant of an image each time it is read, a pure function of the given random numbers."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection
from groundup.codecs.image import resized
from groundup.codecs.patches import Pixels
from groundup.data.image_shards import TrainingImage

VERSION = 2  # raised when the same image, strength and random numbers give another variant
MIN_AREA, ASPECT = 0.35, 4 / 3  # of a crop at full strength: its area, and the most its aspect ratio is stretched
MIN_VISIBLE = 0.4  # fraction of an object that a crop must leave visible, else its annotation is removed
COLOUR = 0.4  # most that brightness, contrast and saturation change
ERASED = 0.25  # largest fraction of the image that is erased
TURN, SHIFT, SCALE = math.pi / 6, 0.2, 4 / 3  # of an affine map at full strength: radians, fraction of a side, factor
MIXED = 0.4  # largest weight of the other image of a MixUp: below a half, so that the answer stays true


def augment(image: TrainingImage, strength: float, random: np.random.Generator, mirror: bool) -> TrainingImage:
    """A random crop and colour jitter; for images without boxes also erasing. Removes boxes that the crop mostly hides.

    With `mirror` also a random flip, which is optional because it changes letters and signs.
    """
    crop = _crop(strength, random)
    height, width = image.pixels.shape[:2]
    left, top, right, bottom = crop
    box = (left * width, top * height, right * width, bottom * height)
    pixels, detections = resized(image.pixels, image.grid, image.side, box), image.detections
    if detections is not None:
        detections = _cropped(detections, crop)
    if mirror and random.random() < 0.5:
        pixels = pixels[:, ::-1]
        detections = None if detections is None else tuple(map(_flipped, detections))
    pixels = _coloured(pixels, strength, random)
    if detections is None and random.random() < strength / 2:
        pixels = _erased(pixels, random)
    return image._replace(pixels=np.ascontiguousarray(pixels), detections=detections)


def affine(image: TrainingImage, strength: float, random: np.random.Generator) -> TrainingImage:
    """A random rotation, shift and scale about the middle; the uncovered border has the mean colour of the old one.

    Annotated images stay as they are: their boxes would need other corners.
    """
    if image.detections is not None:
        return image
    height, width = image.pixels.shape[:2]
    angle, *shift, wider, taller = strength * random.uniform(-1, 1, 5) * (TURN, SHIFT, SHIFT, *[math.log(SCALE)] * 2)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    matrix = turn * np.exp([[wider], [taller]])  # from places of the result to those of the image
    middle = np.array([width, height]) / 2
    offset = middle - matrix @ (middle * (1 + np.array(shift) * 2))
    values = np.column_stack((matrix, offset)).flatten().tolist()
    picture, fill = Image.fromarray(image.pixels), tuple(_border(image.pixels).round().astype(int).tolist())
    moved = picture.transform(picture.size, Image.Transform.AFFINE, values, Image.Resampling.BILINEAR, fillcolor=fill)
    return image._replace(pixels=np.asarray(moved))


def _border(pixels: Pixels) -> npt.NDArray[np.float64]:
    """The mean colour of the outermost pixels, [3]."""
    mean: npt.NDArray[np.float64] = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])).mean(0)
    return mean


def _crop(strength: float, random: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in fractions (Szegedy et al. 2015, section 6)."""
    area = 1 - strength * (1 - MIN_AREA) * random.random()
    stretch = math.exp(strength * math.log(ASPECT) * random.uniform(-0.5, 0.5))
    width, height = min(1.0, math.sqrt(area) * stretch), min(1.0, math.sqrt(area) / stretch)
    left, top = random.random() * (1 - width), random.random() * (1 - height)
    return left, top, left + width, top + height


def _cropped(detections: tuple[Detection, ...], crop: tuple[float, float, float, float]) -> tuple[Detection, ...]:
    if any(each.corners for each in detections):
        return _cropped_outlines(detections, crop)
    left, top, right, bottom = crop
    boxes = np.array([each.box for each in detections], np.float32).reshape(-1, 4)
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    whole = (boxes - np.array([left, top, left, top], np.float32)) / scale
    visible = np.clip(whole, 0, 1)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(1) for each in (visible, whole)]
    kept = areas[0] > MIN_VISIBLE * areas[1]
    return tuple(Detection(detections[n].class_name, _box(visible[n])) for n in np.flatnonzero(kept))


def _cropped_outlines(
    detections: tuple[Detection, ...], crop: tuple[float, float, float, float]
) -> tuple[Detection, ...]:
    """Rotated boxes in a crop; they keep their angles and may extend beyond it."""
    left, top, right, bottom = crop
    outlines = (np.array([each.outline for each in detections]) - [left, top]) / [right - left, bottom - top]
    visible = rotated_boxes.intersections(rotated_boxes.WHOLE, outlines)
    kept = visible > MIN_VISIBLE * rotated_boxes.areas(outlines)
    return tuple(Detection.rotated(detections[n].class_name, outlines[n]) for n in np.flatnonzero(kept))


def _flipped(detection: Detection) -> Detection:
    if detection.corners:
        return Detection.rotated(detection.class_name, (detection.outline * [-1, 1] + [1, 0])[::-1])
    left, top, right, bottom = np.array(detection.box, np.float32)
    return Detection(detection.class_name, _box(np.array([1 - right, top, 1 - left, bottom], np.float32)))


def _box(values: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom


def _coloured(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation, each by a factor of its own."""
    brightness, contrast, saturation = 1 + strength * COLOUR * random.uniform(-1, 1, 3)
    own, other = (contrast * brightness * part for part in (saturation + (1 - saturation) / 3, (1 - saturation) / 3))
    shift = brightness * (1 - contrast) * pixels.mean()  # contrast is relative to the mean
    matrix = (own, other, other, shift, other, own, other, shift, other, other, own, shift)
    return np.asarray(Image.fromarray(pixels).convert("RGB", matrix))  # far faster than in floats


def _erased(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """One rectangle in a random colour (arXiv:1708.04896)."""
    height, width = pixels.shape[:2]
    extent = math.sqrt(random.uniform(0.02, ERASED))
    rows, columns = max(1, int(height * extent)), max(1, int(width * extent))
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    result = pixels.copy()
    result[top : top + rows, left : left + columns] = random.integers(0, 256, 3)
    return result


def mixup(image: TrainingImage, other: Pixels, strength: float, random: np.random.Generator) -> TrainingImage:
    """At random, MixUp with another image scaled to the same grid; the first weighs more (arXiv:1710.09412)."""
    if random.random() >= strength / 4:
        return image
    other = other if other.shape == image.pixels.shape else resized(other, image.grid, image.side)
    weight = strength * MIXED * random.random()
    mixed = Image.blend(Image.fromarray(image.pixels), Image.fromarray(other), weight)
    return image._replace(pixels=np.asarray(mixed))
