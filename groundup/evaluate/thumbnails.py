"""Small pictures for the report, as data URIs."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from groundup.codecs.image import decode
from groundup.codecs.patches import PatchGrid

SIDE = 128  # pixels of the longer side at most
QUALITY = 80
SHADE = 190  # opacity over a patch without attention, of 255


def thumbnail(data: bytes) -> tuple[str, tuple[int, int]]:
    """A small JPEG of an encoded image, and its width and height. Raises BadImage as `codecs.image.decode` does."""
    picture = Image.fromarray(decode(data))
    picture.thumbnail((SIDE, SIDE))
    return _uri(picture, "JPEG", quality=QUALITY), picture.size


def spotlight(weights: npt.NDArray[np.float32], grid: PatchGrid) -> str:
    """Attention weights [N] of patches as a PNG overlay, one pixel a patch: the largest is clear, zero is dark."""
    pixels = np.zeros((grid.patches, 4), np.uint8)
    pixels[:, 3] = np.rint(SHADE * (1 - weights / max(float(weights.max()), 1e-9)))
    return _uri(Image.fromarray(pixels.reshape(*grid, 4)), "PNG")


def _uri(picture: Image.Image, form: str, **options: int) -> str:
    written = io.BytesIO()
    picture.save(written, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"
