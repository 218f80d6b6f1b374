"""Images to patches: any size and aspect, at the finest resolution that a budget of patches allows.

An image is scaled to whole square patches, its aspect kept but for the rounding (NaViT, arXiv:2307.06304), and read row by row.
Shapes: H, W pixels; N patches; P values of a patch, side * side * 3.
"""

import base64
import binascii
import io
import math
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from groundup.errors import InputError

Pixels = npt.NDArray[np.uint8]  # [H, W, 3]
Patches = npt.NDArray[np.uint8]  # [N, P]
Found = TypeVar("Found")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MOST_PIXELS = 50_000_000  # before decoding: 150 MB of memory
LEAST_SIDE = 4  # pixels: less shows nothing, and is mostly a tracking pixel or an accident
MOST_BYTES = 64 << 20  # of a file

_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


class BadImage(InputError):
    """An image that cannot be used: `reason` in few words, for counting, and the `detail`."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason} ({detail})")
        self.reason, self.detail = reason, detail


class Grid(NamedTuple):
    """How many rows and columns of patches an image has."""

    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """How many there are in all."""
        return self.rows * self.columns


def fit(width: int, height: int, side: int, budget: int) -> Grid:
    """The grid of patches of `side` pixels for an image: as fine as `budget` patches allow, never finer than its own pixels.

    Of the grids around the exact one, that of the nearest aspect.

    >>> fit(320, 240, 16, 192)
    Grid(rows=12, columns=16)
    >>> fit(20, 20, 16, 192)
    Grid(rows=2, columns=2)
    """
    exact = math.sqrt(budget * height / width)
    most_rows, most_columns = math.ceil(height / side), math.ceil(width / side)
    found = []
    for rows in {math.floor(exact), math.ceil(exact)}:
        rows = max(1, min(rows, most_rows, budget))
        columns = max(1, min(round(rows * width / height), most_columns, budget // rows))
        off = abs(math.log(columns * height / (rows * width)))
        found.append((round(off, 2), -rows * columns, Grid(rows, columns)))
    return min(found)[2]


def decode(data: bytes) -> Pixels:
    """An encoded image as RGB, [H, W, 3], upright.

    EXIF orientation is applied, what is transparent lies on white, 16 bits become 8; grey, palettes and CMYK become RGB.
    Raises BadImage for what is no image of FORMATS, damaged, moving, larger than MOST_PIXELS or smaller than LEAST_SIDE: by its
    header, before it is decoded.
    """
    return _opened(data, _upright)


def measure(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image by its header; raises BadImage as `decode` does before it decodes."""
    return _opened(data, lambda image: image.size)


def _upright(image: Image.Image) -> Pixels:
    image.load()
    return _rgb(ImageOps.exif_transpose(image))


def _opened(data: bytes, then: Callable[[Image.Image], Found]) -> Found:
    """What comes of an image whose header is good, with whatever a decoder raises told as BadImage."""
    if not data:
        raise BadImage("empty file", "0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are judged here, and of odd metadata
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check(image)
            return then(image)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image", f"its content is of none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise BadImage("too many pixels", str(error)) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # what the decoders of damaged files raise is not narrower than this
        raise BadImage("damaged image", str(error) or type(error).__name__) from None


def _check(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadImage("too many pixels", f"{width} x {height}; the most is {MOST_PIXELS:,}")
    if min(width, height) < LEAST_SIDE:
        raise BadImage("too small", f"{width} x {height}; the shorter side needs {LEAST_SIDE} pixels")
    if getattr(image, "n_frames", 1) > 1:
        raise BadImage("moving image", f"{getattr(image, 'n_frames', 1)} frames; save one of them")


def _rgb(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)
        scale = 255 / (65535 if deep.max(initial=0) > 255 else 255)
        image = Image.fromarray(np.clip(deep * scale, 0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def from_uri(uri: str, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a `data:image/...;base64,` URI; raises BadImage for any other, or one that is too long."""
    if not (head := _DATA_URI.match(uri)):
        raise BadImage("not a data URI", f"it begins with {uri[:24]!r}; expected data:image/png;base64,...")
    if (len(uri) - head.end()) * 3 // 4 > most_bytes:
        raise BadImage("too large", f"about {(len(uri) - head.end()) * 3 // 4:,} bytes; the most is {most_bytes:,}")
    try:
        return base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage("not base64", str(error)) from None


def resized(pixels: Pixels, grid: Grid, side: int, box: tuple[float, float, float, float] | None = None) -> Pixels:
    """The image, or the `box` (left, top, right, bottom in pixels) of it, scaled to a grid of patches."""
    size = (grid.columns * side, grid.rows * side)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))


def to_patches(pixels: Pixels, side: int) -> Patches:
    """Pixels [rows * side, columns * side, 3] as patches [rows * columns, side * side * 3], row by row."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return np.ascontiguousarray(pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)).reshape(rows * columns, -1)
