"""Encoded images to RGB pixels: decoding, checks and scaling. Shapes: H, W pixels."""

import base64
import binascii
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from groundup.codecs import pnm, tiff
from groundup.codecs.containers import BadImage as BadImage
from groundup.codecs.containers import strip
from groundup.codecs.patches import PatchGrid, Pixels

Found = TypeVar("Found")

MOST_PIXELS = 50_000_000  # checked before decoding: 150 MB of memory
LEAST_SIDE = 4  # pixels: smaller images are mostly tracking pixels or accidents
MOST_BYTES = 64 << 20  # of a file

_TURNS = dict(
    zip(
        range(2, 9),
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        strict=True,
    )
)
# decoders raise any of these for damaged files
_OF_DECODERS: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
)
_OF_DECODERS += (ArithmeticError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error)

_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def decode(data: bytes) -> Pixels:
    """An encoded image as upright RGB, [H, W, 3].

    EXIF or XMP orientation is applied; transparency lies on white; grey, palettes and CMYK become RGB. Samples of
    more than 8 bits are scaled by their type's range. Broken metadata is ignored. Raises BadImage for a damaged image;
    also, before decoding, for a format not in `containers.FORMATS`, an animation, more than MOST_BYTES or MOST_PIXELS,
    less than LEAST_SIDE, or samples without a range.
    """
    return _opened(data, _upright)


def measure(data: bytes) -> tuple[int, int]:
    """Stored width and height of an encoded image, by its header; raises BadImage as `decode` does before decoding."""
    return _opened(data, lambda image, orientation: image.size)


def _upright(image: Image.Image, orientation: int) -> Pixels:
    image.load()
    picture = _rgb(image)
    return np.asarray(picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture)


def _opened(data: bytes, then: Callable[[Image.Image, int], Found]) -> Found:
    """Decode an image whose header is good; whatever a decoder raises becomes BadImage."""
    if not data:
        raise BadImage("empty file", "0 bytes")
    if len(data) > MOST_BYTES:
        raise BadImage("too large", f"{len(data):,} bytes; the most is {MOST_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked here, and of excess data in a file
            form, bare, orientation = strip(data)
            image = _portable(bare) if form == "PPM" else Image.open(io.BytesIO(bare), formats=(form,))
            _check(*image.size)
            return then(image, orientation)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("damaged image", f"a {form} of a kind that cannot be read") from None
    except Image.DecompressionBombError as error:
        raise BadImage("too many pixels", str(error)) from None
    except _OF_DECODERS as error:
        raise BadImage("damaged image", str(error) or type(error).__name__) from None


def _check(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadImage("too many pixels", f"{width} x {height}; the most is {MOST_PIXELS:,}")
    if min(width, height) < LEAST_SIDE:
        raise BadImage("too small", f"{width} x {height}; the shorter side needs {LEAST_SIDE} pixels")


def _portable(data: bytes) -> Image.Image:
    head = pnm.header(data)
    _check(head.width, head.height)
    return Image.fromarray(pnm.pixels(head, data))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_of_16_bits(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _of_16_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey of 12 or 16 bits as 8, its transparent value as white."""
    deep = np.asarray(image).astype(np.int64)
    top, white = 65535, False
    if isinstance(image, TiffImageFile):
        top = 4095 if image.tag_v2.get(tiff.BITS) == (12,) else 65535
        white = image.tag_v2.get(tiff.PHOTOMETRIC) == 0  # where 0 is white
    grey = (deep * 255 + top // 2) // top
    if white:
        grey = 255 - grey
    grey[deep == image.info.get("transparency", -1)] = 255
    return np.clip(grey, 0, 255).astype(np.uint8)


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


def resized(pixels: Pixels, grid: PatchGrid, side: int, box: tuple[float, float, float, float] | None = None) -> Pixels:
    """The image, or the `box` (left, top, right, bottom in pixels) of it, scaled to a grid of patches."""
    size = (grid.columns * side, grid.rows * side)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))
