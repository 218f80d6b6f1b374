"""Encoded images to upright RGB, and pixels to patches and back."""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from groundup.codecs import image
from groundup.codecs.image import BadImage, decode, from_uri, resized
from groundup.codecs.patches import PatchGrid, fit, to_patches

Pixels = npt.NDArray[np.uint8]


def noise(height: int = 16, width: int = 24) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def corners(width: int = 32, height: int = 16) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:], pixels[top:, :left], pixels[top:, left:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    )
    return Image.fromarray(pixels)


# --- what is decoded ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_what_was_encoded_without_loss_comes_back(form: str) -> None:
    pixels = noise()
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(decode(encoded(Image.fromarray(pixels), form, **options)), pixels)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("P", "GIF"), ("L", "JPEG"), ("CMYK", "JPEG"), ("LA", "PNG")],
)
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    pixels = decode(encoded(corners().convert(mode), form))
    assert (pixels.shape, pixels.dtype) == ((16, 32, 3), np.uint8)
    assert (pixels[-2, -2] >= 250).all()  # white stays white


@pytest.mark.parametrize("mode", ["CMYK", "P"])
def test_colours_stay_what_they_are(mode: str) -> None:
    pixels = decode(encoded(corners().convert(mode), "TIFF")).astype(int)
    expected = np.asarray(corners()).astype(int)
    assert np.abs(pixels - expected).max() <= 3


def test_grey_of_16_bits_becomes_8() -> None:
    deep = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    pixels = decode(encoded(Image.fromarray(deep)))
    assert np.abs(pixels[..., 0] - deep / 257).max() <= 0.5 + 1e-6
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_what_is_transparent_lies_on_white() -> None:
    picture = corners().convert("RGBA")
    picture.putalpha(Image.fromarray(np.repeat(np.array([[0, 128]], np.uint8), 16, 0).repeat(16, 1)))
    pixels = decode(encoded(picture))
    assert (pixels[:, :16] == 255).all()
    assert pixels[0, -1].tolist() == [127, 255, 127]


def test_a_transparent_colour_of_a_palette_lies_on_white() -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    assert (decode(encoded(picture, transparency=0)) == 255).all()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.swapaxes(0, 1)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1)),
        (8, lambda pixels: np.rot90(pixels)),
    ],
)
def test_every_exif_orientation_is_turned_upright(orientation: int, turn: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(encoded(corners(), exif=exif)), turn(np.asarray(corners())))


# --- what is refused ----------------------------------------------------------------------------------------


def header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 9999)
        + b"IDAT"
    )


def frames() -> bytes:
    return encoded(
        Image.new("RGB", (8, 8), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")]
    )


REFUSED = {
    "nothing": (b"", "empty file"),
    "text": (b"<svg></svg>", "not an image"),
    "half a JPEG": (encoded(Image.fromarray(noise(200, 200)), "JPEG")[:5000], "damaged image"),
    "half a PNG": (encoded(Image.fromarray(noise(200, 200)))[:5000], "damaged image"),
    "half a header": (encoded(Image.fromarray(noise()))[:20], "damaged image"),
    "a bomb": (header(50_001, 1000), "too many pixels"),
    "a larger bomb": (header(2**31 - 1, 2**31 - 1), "too many pixels"),
    "one pixel": (encoded(Image.new("RGB", (1, 1))), "too small"),
    "a thread": (encoded(Image.new("RGB", (1, 10_000))), "too small"),
    "frames": (frames(), "moving image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_refused_with_its_reason(kind: str) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(BadImage) as caught:
        decode(data)
    assert caught.value.reason == reason


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 600))
def test_damage_anywhere_gives_pixels_or_a_reason(change: bytes, place: int) -> None:
    data = bytearray(encoded(Image.fromarray(noise()), "JPEG"))
    data[place : place + len(change)] = change
    try:
        pixels = decode(bytes(data))
    except BadImage as error:
        assert error.reason
    else:
        assert pixels.ndim == 3


# --- data URIs ----------------------------------------------------------------------------------------------


def test_a_data_uri_gives_its_bytes() -> None:
    assert from_uri("data:image/png;base64," + base64.b64encode(b"bytes").decode()) == b"bytes"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://example.org/a.png", "not a data URI"),
        ("data:text/html;base64,AAAA", "not a data URI"),
        ("data:image/png,AAAA", "not a data URI"),
        ("data:image/png;base64,A?AA", "not base64"),
        ("data:image/png;base64,AAA", "not base64"),
        ("data:image/png;base64," + "A" * 200, "too large"),
    ],
)
def test_any_other_uri_is_refused(uri: str, reason: str) -> None:
    with pytest.raises(BadImage) as caught:
        from_uri(uri, most_bytes=100)
    assert caught.value.reason == reason


# --- patches ------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(4, 5000), st.integers(4, 5000), st.sampled_from([8, 14, 16]), st.integers(1, 400))
def test_a_grid_keeps_to_the_budget_and_is_no_finer_than_the_image(
    width: int, height: int, side: int, budget: int
) -> None:
    grid = fit(width, height, side, budget)
    assert 1 <= grid.patches <= budget
    assert grid.rows <= -(-height // side)
    assert grid.columns <= -(-width // side)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(400, 2000), st.floats(0.25, 4), st.integers(64, 400))
def test_a_grid_has_about_the_aspect_of_the_image_and_uses_most_of_the_budget(
    width: int, aspect: float, budget: int
) -> None:
    height = max(4, round(width / aspect))
    grid = fit(width, height, 4, budget)
    assert grid.columns / grid.rows == pytest.approx(width / height, rel=0.25)
    assert grid.patches >= 0.6 * budget


def from_patches(patches: np.ndarray, grid: PatchGrid, side: int) -> np.ndarray:
    """The inverse of `to_patches`."""
    return patches.reshape(grid.rows, grid.columns, side, side, 3).swapaxes(1, 2).reshape(grid.rows * side, -1, 3)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 8, 16]))
def test_patches_come_back_as_the_pixels_that_they_were(rows: int, columns: int, side: int) -> None:
    pixels = noise(rows * side, columns * side)
    patches = to_patches(pixels, side)
    assert patches.shape == (rows * columns, side * side * 3)
    assert np.array_equal(from_patches(patches, PatchGrid(rows, columns), side), pixels)


def test_a_patch_is_a_square_of_the_image_read_row_by_row() -> None:
    pixels = noise(16, 24)
    patches = to_patches(pixels, 8)
    assert np.array_equal(patches[4], pixels[8:16, 8:16].reshape(-1))


def test_an_image_or_a_part_of_it_is_scaled_to_the_grid() -> None:
    pixels = np.asarray(corners())
    assert np.array_equal(resized(pixels, PatchGrid(1, 2), 16), pixels)
    part = resized(pixels, PatchGrid(1, 1), 8, box=(16, 0, 32, 8))
    assert part.shape == (8, 8, 3)
    assert (part[:4, 4:] == (0, 255, 0)).all()  # at the edges of a part its surroundings shine in


def test_the_house_limits_are_what_the_tests_assume() -> None:
    assert image.MOST_PIXELS == 50_000_000
    assert image.LEAST_SIDE == 4
