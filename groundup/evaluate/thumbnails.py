"""Small pictures for the report, as data URIs."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from groundup.codecs.image import Grid, decode

SIDE = 128  # pixels of the longer side at most
QUALITY = 80
GLOW = (255, 140, 0)  # orange: told from most pictures by brightness, too, whichever colours a reader sees


def thumbnail(data: bytes) -> tuple[str, tuple[int, int]]:
    """An encoded image as a small JPEG, and its width and height in pixels; raises BadImage as `codecs.image.decode` does."""
    picture = Image.fromarray(decode(data))
    picture.thumbnail((SIDE, SIDE))
    return _uri(picture, "JPEG", quality=QUALITY), picture.size


def glow(shares: npt.NDArray[np.float32], grid: Grid) -> str:
    """Shares of patches [N] as a PNG of a pixel a patch, to lie over the image: the largest share nearly opaque, none clear."""
    opacity = np.rint(200 * shares / max(float(shares.max()), 1e-9)).astype(np.uint8)
    pixels = np.concatenate([np.tile(np.array(GLOW, np.uint8), (grid.patches, 1)), opacity[:, None]], 1)
    return _uri(Image.fromarray(pixels.reshape(*grid, 4)), "PNG")


def _uri(picture: Image.Image, form: str, **options: int) -> str:
    written = io.BytesIO()
    picture.save(written, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"
