"""Augmentation: another view of the same image each time it is seen, a pure function of the random numbers given."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from groundup.codecs.image import resized
from groundup.codecs.patches import PatchGrid, Pixels

LEAST_AREA, ASPECT = 0.35, 4 / 3  # of a crop at full strength: its area, and the most its aspect is stretched
KEPT = 0.4  # share of a thing that must stay visible, else it is no longer said to be there
COLOUR = 0.4  # most that brightness, contrast and saturation change
ERASED = 0.25  # largest share of the image that is erased
MIXED = (
    0.4  # largest share that another image has in a pixel: below a half, so that what is said of the first stays true
)


def augment(
    pixels: Pixels,
    grid: PatchGrid,
    side: int,
    things: npt.NDArray[Any] | None,
    strength: float,
    random: np.random.Generator,
) -> tuple[Pixels, npt.NDArray[Any] | None]:
    """A crop, a mirror image, other colours and an erased patch, each by chance; boxes move along. The grid stays the
    same.

    `things` are THING records with boxes in shares of the image; a thing that the crop mostly hides is left out.
    """
    box = _crop(strength, random)
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    pixels = resized(pixels, grid, side, (left * width, top * height, right * width, bottom * height))
    things = None if things is None else _moved(things, box)
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
        if things is not None:
            things["box"][:, [0, 2]] = 1 - things["box"][:, [2, 0]]
    pixels = _coloured(pixels, strength, random)
    if things is None and random.random() < strength / 2:
        pixels = _erased(pixels, random)
    return np.ascontiguousarray(pixels), things


def _crop(strength: float, random: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in shares (Szegedy et al. 2015, section 6)."""
    area = 1 - strength * (1 - LEAST_AREA) * random.random()
    stretch = math.exp(strength * math.log(ASPECT) * random.uniform(-0.5, 0.5))
    width, height = min(1.0, math.sqrt(area) * stretch), min(1.0, math.sqrt(area) / stretch)
    left, top = random.random() * (1 - width), random.random() * (1 - height)
    return left, top, left + width, top + height


def _moved(things: npt.NDArray[Any], box: tuple[float, float, float, float]) -> npt.NDArray[Any]:
    left, top, right, bottom = box
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    whole = (things["box"] - np.array([left, top, left, top], np.float32)) / scale
    seen = np.clip(whole, 0, 1)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(1) for each in (seen, whole)]
    kept = areas[0] > KEPT * areas[1]
    moved: npt.NDArray[Any] = things[kept].copy()
    moved["box"] = seen[kept]
    return moved


def _coloured(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation, each by a factor of its own."""
    brightness, contrast, saturation = 1 + strength * COLOUR * random.uniform(-1, 1, 3)
    own, other = (contrast * brightness * part for part in (saturation + (1 - saturation) / 3, (1 - saturation) / 3))
    shift = brightness * (1 - contrast) * pixels.mean()  # contrast turns about the mean
    matrix = (own, other, other, shift, other, own, other, shift, other, other, own, shift)
    return np.asarray(Image.fromarray(pixels).convert("RGB", matrix))  # far faster than in floats


def _erased(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """One rectangle in a random colour (arXiv:1708.04896)."""
    height, width = pixels.shape[:2]
    share = math.sqrt(random.uniform(0.02, ERASED))
    rows, columns = max(1, int(height * share)), max(1, int(width * share))
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    result = pixels.copy()
    result[top : top + rows, left : left + columns] = random.integers(0, 256, 3)
    return result


def mixed(
    pixels: Pixels, other: Pixels, grid: PatchGrid, side: int, strength: float, random: np.random.Generator
) -> Pixels:
    """By chance with another image, scaled to the same grid, faintly over it (mixup with a dominant share,
    arXiv:1710.09412).
    """
    if random.random() >= strength / 4:
        return pixels
    other = other if other.shape == pixels.shape else resized(other, grid, side)
    return np.asarray(Image.blend(Image.fromarray(pixels), Image.fromarray(other), strength * MIXED * random.random()))
