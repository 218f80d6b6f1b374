"""Pictures keep their brightness: samples of any depth are scaled by what their type holds, whatever values a picture
has.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from groundup.codecs.image import BadImage, decode
from tests.codecs.image_samples import chunk, encoded, noise, png_of, tiff_of

Values = npt.NDArray[np.int64]  # [H, W], from 0 to what the type holds


def packed(values: Values, bits: int) -> bytes:
    """Rows of samples of less than 8 bits or of 12, each row in whole bytes."""
    single = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def size(values: Values) -> tuple[int, int]:
    return values.shape[1], values.shape[0]


def big(values: Values) -> bytes:
    return values.astype(">u2").tobytes()


def little(values: Values) -> bytes:
    return values.astype("<u2").tobytes()


def pgm(top: int, *, plain: bool = False) -> Callable[[Values], bytes]:
    def write(values: Values) -> bytes:
        head = b"P%d %d %d %d\n" % (2 if plain else 5, *size(values), top)
        if plain:
            return head + b" ".join(b"%d" % value for value in values.flat)
        return head + values.astype(">u2" if top > 255 else np.uint8).tobytes()

    return write


def three(values: Values) -> Values:
    return np.repeat(values[..., None], 3, 2)


TYPES: dict[str, tuple[int, Callable[[Values], bytes]]] = {
    "PNG of 1 bit": (1, lambda values: png_of(packed(values, 1), size(values), 1, 0)),
    "PNG of 2 bits": (3, lambda values: png_of(packed(values, 2), size(values), 2, 0)),
    "PNG of 4 bits": (15, lambda values: png_of(packed(values, 4), size(values), 4, 0)),
    "PNG of 8 bits": (255, lambda values: png_of(values.astype(np.uint8).tobytes(), size(values), 8, 0)),
    "PNG of 16 bits": (65535, lambda values: png_of(big(values), size(values), 16, 0)),
    "PNG of 16 bits with alpha": (
        65535,
        lambda values: png_of(big(np.stack((values, values * 0 + 65535), 2)), size(values), 16, 4),
    ),
    "PNG of 16 bits in colour": (65535, lambda values: png_of(big(three(values)), size(values), 16, 2)),
    "PNG by Pillow": (65535, lambda values: encoded(Image.fromarray(values.astype(np.uint16)))),
    "TIFF of 8 bits": (255, lambda values: tiff_of(values.astype(np.uint8).tobytes(), size(values), (8,), 1)),
    "TIFF of 12 bits": (4095, lambda values: tiff_of(packed(values, 12), size(values), (12,), 1)),
    "TIFF of 16 bits": (65535, lambda values: tiff_of(little(values), size(values), (16,), 1)),
    "TIFF of 16 bits, big end first": (65535, lambda values: tiff_of(big(values), size(values), (16,), 1, order=">")),
    "TIFF of 16 bits, white at zero": (65535, lambda values: tiff_of(little(65535 - values), size(values), (16,), 0)),
    "TIFF of 8 bits, white at zero": (
        255,
        lambda values: tiff_of((255 - values).astype(np.uint8).tobytes(), size(values), (8,), 0),
    ),
    "TIFF of 16 bits in colour": (65535, lambda values: tiff_of(little(three(values)), size(values), (16, 16, 16), 2)),
    "TIFF of 16 bits, packed": (
        65535,
        lambda values: encoded(Image.fromarray(values.astype(np.uint16)), "TIFF", compression="tiff_lzw"),
    ),
    **{f"PGM up to {top}": (top, pgm(top)) for top in (1, 100, 255, 256, 1023, 65535)},
    **{f"PGM in text up to {top}": (top, pgm(top, plain=True)) for top in (7, 255, 4000)},
    "PPM up to 1023": (1023, lambda values: b"P6 %d %d 1023\n" % size(values) + big(three(values))),
    "PBM": (1, lambda values: b"P4 %d %d\n" % size(values) + packed(1 - values, 1)),
    "PBM in text": (
        1,
        lambda values: b"P1 %d %d\n" % size(values) + b"".join(b"%d" % (1 - value) for value in values.flat),
    ),
}


def grey(data: bytes) -> Values:
    pixels = decode(data).astype(np.int64)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def ramp(top: int) -> Values:
    """Values from 0 to what a type holds, neighbours beside each other at both ends and around 255."""
    steps = np.unique(
        np.concatenate([np.linspace(0, top, 1000).round(), np.arange(1000), top - np.arange(1000)]).astype(np.int64)
    )
    steps = steps[(steps >= 0) & (steps <= top)]
    return np.resize(
        steps,
        (-(-len(steps) // 40) if len(steps) > 160 else 4, 40 if len(steps) > 160 else 4 * max(1, -(-len(steps) // 4))),
    )


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_is_scaled_by_what_it_holds(kind: str) -> None:
    top, write = TYPES[kind]
    values = ramp(top)
    found = grey(write(values))
    assert np.abs(found - values * 255 / top).max() <= (1 if "in colour" in kind or "alpha" in kind else 0.5 + 1e-9)
    assert found[values == 0].max(initial=0) == 0
    assert found[values == top].min(initial=255) == 255


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_means_the_same_in_any_picture(kind: str) -> None:
    top, write = TYPES[kind]
    values = ramp(top)
    whole = grey(write(values))
    for most in {min(top, most) for most in (0, 1, 254, 255, 256, 257, 4095, top)}:
        alone = grey(write(np.full((4, 8), most)))
        assert (alone == alone[0, 0]).all()
        assert (whole[values == most] == alone[0, 0]).all()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if TYPES[kind][0] > 255])
def test_the_same_picture_of_8_and_of_more_bits_gives_the_same_pixels(kind: str) -> None:
    top, write = TYPES[kind]
    values = np.asarray(noise().convert("L")).astype(np.int64)
    assert np.abs(grey(write(np.round(values * top / 255).astype(np.int64))) - values).max() <= 1


@pytest.mark.parametrize(("bits", "form"), [(32, 3), (64, 3), (32, 1), (32, 2), (16, 2), (8, 2), (16, 3)])
def test_samples_without_a_range_are_refused(bits: int, form: int) -> None:
    pixels = np.linspace(0, 1, 64).astype({16: np.float16, 32: np.float32, 64: np.float64, 8: np.int8}[bits]).tobytes()
    with pytest.raises(
        BadImage,
        match=f"no range of brightness .*samples of {bits} bits, which have no agreed white; save it with 8 or 16 bits",
    ):
        decode(tiff_of(pixels, (8, 8), (bits,), 1, tags=[(339, 3, 1, form.to_bytes(4, "little"))]))


def test_a_float_tiff_by_pillow_is_refused() -> None:
    with pytest.raises(BadImage, match="floating-point samples of 32 bits"):
        decode(encoded(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF"))


@pytest.mark.parametrize(
    ("depth", "colour", "value"), [(1, 0, 0), (2, 0, 1), (4, 0, 7), (8, 0, 9), (16, 0, 300), (8, 2, 9), (16, 2, 2313)]
)
def test_the_transparent_value_lies_on_white_at_any_depth(depth: int, colour: int, value: int) -> None:
    """Half of the picture has the transparent value, half the next one."""
    values = np.repeat(np.array([[value, value + 1 + (value + 256) * (depth == 16 and colour == 2)]]), 8, 0).repeat(
        4, 1
    )
    every = three(values) if colour else values
    rows = packed(values, depth) if depth < 8 else every.astype(np.uint8 if depth == 8 else ">u2").tobytes()
    clear = np.full(3 if colour else 1, value, ">u2").tobytes()
    pixels = grey(png_of(rows, (8, 8), depth, colour, chunk(b"tRNS", clear)))
    assert (pixels[:, :4] == 255).all()
    assert np.abs(pixels[:, 4:] - values[:, 4:] * 255 / (2**depth - 1)).max() <= 1
