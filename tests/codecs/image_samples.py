"""Small image files of every format, whole, with odd metadata and with bytes changed: `python -m
tests.codecs.image_samples 2000`.
"""

import io
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from groundup.codecs.image import BadImage, decode


def noise(height: int = 16, width: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def samples() -> dict[str, bytes]:
    """One file of each format and of its main variants."""
    picture, exif = noise(), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (16, 24)).astype(np.uint16))
    return {
        "jpeg": encoded(picture, "JPEG", exif=exif, comment=b"hello"),
        "progressive": encoded(picture, "JPEG", progressive=True, icc_profile=b"profile"),
        "cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "mpo": encoded(picture, "MPO", save_all=True, append_images=[noise(8, 8)]),
        "png": encoded(picture, exif=exif, icc_profile=b"profile"),
        "palette": encoded(picture.quantize(16), transparency=3),
        "deep": encoded(deep),
        "webp": encoded(picture, "WEBP", exif=exif),
        "lossless": encoded(picture.convert("RGBA"), "WEBP", lossless=True),
        "gif": encoded(picture, "GIF", comment=b"hello"),
        "bmp": encoded(picture, "BMP"),
        "tiff": encoded(picture, "TIFF", exif=exif),
        "lzw": encoded(deep, "TIFF", compression="tiff_lzw"),
        "bigtiff": encoded(picture, "TIFF", big_tiff=True),
        "ppm": encoded(picture, "PPM"),
        "plain": b"P2 # grey\n6 5\n200\n" + b" ".join(b"%d" % (value * 6) for value in range(30)),
    }


# --- JPEGs with EXIF ----------------------------------------------------------------------------------------


def exif_block(*tags: tuple[int, int, int, bytes], tail: bytes = b"") -> bytes:
    """A little-endian EXIF block: tags of number, type, count and four bytes; `tail` begins at 14 + 12 for each tag."""
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return (
        head
        + b"".join(struct.pack("<HHI", number, kind, count) + value for number, kind, count, value in tags)
        + bytes(4)
        + tail
    )


def jpeg_with(*segments: tuple[int, bytes], picture: Image.Image | None = None) -> bytes:
    """A JPEG with segments of a code and content at its beginning."""
    data = encoded(picture or noise(), "JPEG", quality=95)
    between = b"".join(
        bytes((0xFF, code)) + struct.pack(">H", len(content) + 2) + content for code, content in segments
    )
    return data[:2] + between + data[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """One of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes, picture: Image.Image | None = None) -> bytes:
    """A PNG with chunks behind its header."""
    data = encoded(picture or noise())
    return data[:33] + b"".join(chunks) + data[33:]


def tiff_file(picture: Image.Image, tags: Sequence[tuple[int, int, int, bytes]] = (), following: int = 0) -> bytes:
    """An uncompressed TIFF of one strip, with more tags, and where its next directory stands."""
    return tiff_of(picture.tobytes(), (picture.width, picture.height), (8, 8, 8), 2, tags=tags, following=following)


def tiff_of(
    pixels: bytes,
    size: tuple[int, int],
    bits: tuple[int, ...],
    meaning: int,
    *,
    order: str = "<",
    tags: Sequence[tuple[int, int, int, bytes]] = (),
    following: int = 0,
) -> bytes:
    """An uncompressed TIFF of pixels of a width and height, and of as many samples as `bits`; `meaning` 0 is white at
    zero, 1 grey, 2 colours.
    """

    def short(value: int) -> bytes:
        return struct.pack(order + "HH", value, 0)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    depths = short(bits[0]) if len(bits) == 1 else long(8 + len(pixels))
    own = [
        (256, 4, 1, long(size[0])),
        (257, 4, 1, long(size[1])),
        (258, 3, len(bits), depths),
        (262, 3, 1, short(meaning)),
    ]
    own += [(273, 4, 1, long(8)), (277, 3, 1, short(len(bits))), (279, 4, 1, long(len(pixels)))]
    every = sorted([*own, *tags])
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(pixels) + 2 * len(bits))
    directory = (
        struct.pack(order + "H", len(every))
        + b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in every)
        + long(following)
    )
    return head + pixels + struct.pack(f"{order}{len(bits)}H", *bits) + directory


def png_of(pixels: bytes, size: tuple[int, int], depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG of packed rows of a depth and type of colour: 0 grey, 2 colours, 4 grey with alpha."""
    across = len(pixels) // size[1]
    rows = b"".join(b"\0" + pixels[start : start + across] for start in range(0, len(pixels), across))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- with bytes changed -------------------------------------------------------------------------------------


def changed(data: bytes, random: random.Random) -> bytes:
    """A file in which some bytes, words or stretches are others."""
    new = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(new) if random.random() < 0.5 else min(len(new), 200))
        match random.randrange(5):
            case 0:
                new[at] ^= 1 << random.randrange(8)
            case 1:
                new[at] = random.choice((0, 1, 127, 128, 255))
            case 2:
                new[at : at + 4] = struct.pack(
                    "<I", random.choice((0, 1, 1 << 16, 1 << 30, (1 << 31) - 1, (1 << 32) - 1))
                )
            case 3 if len(new) > 80:
                del new[at : at + random.randrange(1, 40)]
            case _:
                new[at:at] = new[at : at + random.randrange(1, 40)]
    return bytes(new)


def attempt(data: bytes) -> str:
    """What comes of a file: "pixels" or the reason why not."""
    try:
        pixels = decode(data)
    except BadImage as error:
        return error.reason
    assert pixels.ndim == 3 and pixels.dtype == np.uint8
    return "pixels"


def main(tries: int) -> None:
    """Try `tries` changed files of each sample; anything but pixels or BadImage ends it with a traceback."""
    for name, data in samples().items():
        began, slowest, found = time.monotonic(), 0.0, Counter[str]()
        for seed in range(tries):
            start = time.monotonic()
            found[attempt(changed(data, random.Random(seed)))] += 1
            slowest = max(slowest, time.monotonic() - start)
        print(
            f"{name}: {tries} tries in {time.monotonic() - began:.1f} s, the slowest {slowest:.2f} s: {dict(found)}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
