"""What surrounds pixels in a file: metadata that may be odd, previews, comments without end. None of it changes the
pixels, or takes long.
"""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from groundup.codecs.containers import MOST_PIECES, MOST_SCANS, BadImage, strip
from groundup.codecs.image import decode, measure
from groundup.codecs.patches import Pixels
from tests.codecs.image_samples import (
    attempt,
    changed,
    chunk,
    encoded,
    exif_block,
    jpeg_with,
    noise,
    png_with,
    samples,
    tiff_file,
)

TURNED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
NAMES = b"http://ns.adobe.com/xap/1.0/\0"


def turned(pixels: Pixels) -> Pixels:
    return np.rot90(pixels, -1)


# --- metadata -----------------------------------------------------------------------------------------------

EXIF = {
    "fraction over zero": (exif_block(TURNED, (0x011A, 5, 1, struct.pack("<I", 38)), tail=bytes(8)), 6),
    "number where text belongs": (exif_block((0x010F, 3, 1, b"\7\0\0\0"), TURNED), 6),
    "orientation as text": (exif_block((0x0112, 2, 2, b"6\0\0\0")), 1),
    "orientation twice": (exif_block((0x0112, 3, 2, struct.pack("<HH", 6, 6))), 6),
    "orientation as long": (exif_block((0x0112, 4, 1, struct.pack("<I", 6))), 6),
    "orientation as fraction": (exif_block((0x0112, 5, 1, struct.pack("<I", 26)), tail=struct.pack("<II", 6, 1)), 6),
    "orientation over zero": (exif_block((0x0112, 5, 1, struct.pack("<I", 26)), tail=struct.pack("<II", 6, 0)), 1),
    "orientation 65535": (exif_block((0x0112, 3, 1, struct.pack("<HH", 65535, 0))), 1),
    "orientation 0": (exif_block((0x0112, 3, 1, bytes(4))), 1),
    "orientation of no values": (exif_block((0x0112, 3, 0, bytes(4))), 1),
    "offset beyond the end": (exif_block(TURNED, (0x010F, 2, 400, struct.pack("<I", 60000))), 6),
    "text where a directory belongs": (exif_block(TURNED, (0x8825, 2, 4, b"abc\0")), 6),
    "a directory that holds itself": (exif_block(TURNED, (0x8769, 4, 1, struct.pack("<I", 8))), 6),
    "no number": (exif_block(TURNED, (0x011A, 11, 1, struct.pack("<f", float("nan")))), 6),
    "negative width": (exif_block(TURNED, (0x0100, 9, 1, struct.pack("<i", -5))), 6),
    "endless count": (exif_block(TURNED, (0x0100, 3, 0x7FFFFFFF, struct.pack("<I", 26))), 6),
    "unknown type": (exif_block(TURNED, (0x0100, 99, 1, bytes(4))), 6),
    "half a directory": (struct.pack("<2sHIH", b"II", 42, 8, 40) + bytes(10), 1),
    "directory beyond the end": (struct.pack("<2sHI", b"II", 42, 4_000_000_000), 1),
    "no TIFF": (b"garbage that is no TIFF", 1),
    "nothing": (b"", 1),
}


@pytest.mark.parametrize("kind", EXIF)
def test_odd_exif_turns_or_does_not_and_pixels_are_read(kind: str) -> None:
    block, orientation = EXIF[kind]
    plain = decode(jpeg_with())
    for data in (
        jpeg_with((0xE1, b"Exif\0\0" + block)),
        jpeg_with((0xE1, b"Exif\0\0" + block), (0xE1, b"Exif\0\0" + block)),
    ):
        assert np.array_equal(decode(data), turned(plain) if orientation == 6 else plain)
    png = decode(png_with(chunk(b"eXIf", block)))
    assert np.array_equal(png, turned(decode(png_with())) if orientation == 6 else decode(png_with()))


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" note="\xa8\xff\xfe"/></x:xmpmeta>'


def test_xmp_turns_where_exif_does_not_say() -> None:
    plain = decode(jpeg_with())
    assert np.array_equal(decode(jpeg_with((0xE1, NAMES + XMP))), turned(plain))
    assert np.array_equal(
        decode(jpeg_with((0xE1, NAMES + XMP), (0xE1, b"Exif\0\0" + exif_block((0x0112, 3, 1, b"\1\0\0\0"))))), plain
    )
    assert np.array_equal(
        decode(png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))), turned(decode(png_with()))
    )


def test_exif_that_a_png_holds_as_text_turns() -> None:
    block = b"Exif\0\0" + exif_block(TURNED)
    written = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    for text in (
        chunk(b"tEXt", b"Raw profile type exif\0" + written),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(written)),
    ):
        assert np.array_equal(decode(png_with(text)), turned(decode(png_with())))


ODD_SEGMENTS = {
    "a short JFIF": (0xE0, b"JFIF\0\1"),
    "a short Adobe": (0xEE, b"Adobe"),
    "a broken profile": (0xE2, b"ICC_PROFILE\0\0\0junk"),
    "a broken index of pictures": (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "broken Photoshop blocks": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff"),
    "a comment that is no text": (0xFE, b"\xff\xfe\0\xa8"),
    "a code that nobody knows": (0xEF, bytes(range(256))),
}


@pytest.mark.parametrize("kind", ODD_SEGMENTS)
def test_odd_segments_of_a_jpeg_do_not_touch_its_pixels(kind: str) -> None:
    assert np.array_equal(decode(jpeg_with(ODD_SEGMENTS[kind])), decode(jpeg_with()))


ODD_CHUNKS = {
    "pHYs": b"\0",
    "gAMA": b"",
    "cHRM": b"\1\2",
    "sRGB": b"",
    "iCCP": b"name\0\7junk",
    "zTXt": b"key\0\1junk",
    "iTXt": b"key\0\1\0\0\0junk",
    "tEXt": b"",
    "eXIf": b"junk",
    "acTL": b"",
    "fcTL": b"\0",
    "abCd": b"private",
}


@pytest.mark.parametrize("kind", ODD_CHUNKS)
def test_odd_chunks_of_a_png_do_not_touch_its_pixels(kind: str) -> None:
    whole = chunk(kind.encode(), ODD_CHUNKS[kind])
    for data in (png_with(whole), png_with(whole[:-4] + b"oops")):  # the second with a wrong checksum
        assert np.array_equal(decode(data), decode(png_with()))


TIFF_TAGS = [
    (271, 3, 1, b"\7\0\0\0"),
    (282, 5, 1, struct.pack("<I", 1 << 30)),
    (34665, 4, 1, struct.pack("<I", 8)),
    (34675, 7, 1 << 30, bytes(4)),
]


@pytest.mark.parametrize("tag", TIFF_TAGS)
def test_odd_tags_of_a_tiff_do_not_touch_its_pixels(tag: tuple[int, int, int, bytes]) -> None:
    assert np.array_equal(decode(tiff_file(noise(), [tag])), np.asarray(noise()))


# --- several pictures in one file ---------------------------------------------------------------------------


def test_a_photograph_with_previews_is_its_first_picture() -> None:
    alone = encoded(noise(), "JPEG", quality=75)
    exif = Image.Exif()
    exif[0x0112] = 6
    several = encoded(noise(), "MPO", save_all=True, append_images=[noise(8, 8), noise(12, 12)], quality=75)
    sideways = encoded(noise(), "MPO", save_all=True, append_images=[noise(8, 8)], quality=75, exif=exif)
    assert np.array_equal(decode(several), decode(alone))
    assert np.array_equal(decode(sideways), turned(decode(alone)))
    assert measure(several) == (24, 16)
    assert np.array_equal(decode(alone + b"what a camera appends \xff\xd8\xff\xda"), decode(alone))


def pages(*, marked: bool, size: tuple[int, int]) -> bytes:
    """A TIFF of two directories, the second of a size, and marked as a smaller form of the first or not."""
    first = tiff_file(noise())
    tags = [
        (254, 4, 1, struct.pack("<I", int(marked))),
        (256, 3, 1, struct.pack("<HH", size[0], 0)),
        (257, 3, 1, struct.pack("<HH", size[1], 0)),
    ]
    second = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4)
    return tiff_file(noise(), following=len(first)) + second


def test_a_tiff_with_a_preview_is_read_and_one_of_several_pages_is_not() -> None:
    assert np.array_equal(decode(pages(marked=False, size=(12, 8))), np.asarray(noise()))
    assert np.array_equal(decode(pages(marked=True, size=(24, 16))), np.asarray(noise()))
    with pytest.raises(BadImage, match="a TIFF of several pages; save one of them"):
        decode(pages(marked=False, size=(24, 16)))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_moving_images_stay_refused_in_one_sentence(form: str) -> None:
    with pytest.raises(BadImage, match=r"moving image .it has several frames; save one of them."):
        decode(encoded(noise(), form, save_all=True, append_images=[noise().rotate(90)]))


def test_a_gif_of_one_frame_with_comments_is_read() -> None:
    data = encoded(noise(), "GIF", comment=b"hello")
    assert np.array_equal(decode(data), decode(encoded(noise(), "GIF")))
    assert b"hello" not in strip(data).data


@pytest.mark.parametrize("data", [b"8BPS\0\1", b"\0\0\1\0\1\0", b"\0\0\0\x18ftypheic", b"%PDF-1.4", b"Pf\n4 4\n-1\n"])
def test_other_formats_are_refused_naming_those_that_will_do(data: bytes) -> None:
    with pytest.raises(
        BadImage,
        match=r"not an image .its content is of none of JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM; save it as one of them.",
    ):
        decode(data + bytes(64))


# --- too much of something ----------------------------------------------------------------------------------
# each of these took a decoder seconds or minutes, or gigabytes; it now sees none of it


def long(picture: bytes, at: int, more: bytes) -> bytes:
    return picture[:at] + more + picture[at:]


PPM = encoded(noise(), "PPM")
JPEG_BOMBS = {
    "exif": (0xE1, b"Exif\0\0" + bytes(60_000)),
    "profile": (0xE2, b"ICC_PROFILE\0\1\xff" + bytes(60_000)),
    "comment": (0xFE, bytes(60_000)),
}
GIF_COMMENT = b"!\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0"
BLOWN = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(50 << 20)))
BOMBS = {
    "a comment of 5 MB in a PPM": long(PPM, 3, b"#" + bytes(5 << 20) + b"\n"),
    "90,000 comments in a PPM": long(PPM, 3, b"#\n" * 90_000),
    "5 MB of spaces in a PPM": long(PPM, 3, b" " * (5 << 20)),
    **{f"200 segments of {kind} in a JPEG": jpeg_with(*[segment] * 200) for kind, segment in JPEG_BOMBS.items()},
    "a million fill bytes in a JPEG": long(encoded(noise(), "JPEG"), 2, b"\xff" * 1_000_000),
    "90,000 texts in a PNG": png_with(chunk(b"tEXt", b"k\0v") * 90_000),
    "a text that swells to 50 MB in a PNG": png_with(BLOWN),
    "90,000 empty chunks of pixels in a PNG": png_with(chunk(b"IDAT", b"") * 90_000),
    "a comment of 5 MB in a GIF": long(encoded(noise(), "GIF"), 13 + 768, GIF_COMMENT),
    "30,000 tags over the whole of a TIFF": tiff_file(
        noise(), [(40_000 + place % 20_000, 7, 60_000, bytes(4)) for place in range(20_000)]
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_decoder_gets_no_more_than_pixels_need(kind: str) -> None:
    data = BOMBS[kind]
    assert decode(data).shape == (16, 24, 3)
    form, bare, _ = strip(data)
    if form not in ("PPM", "TIFF"):  # the first has no decoder but ours, the second is one of offsets
        assert len(bare) < 5_000


WEBP = encoded(noise(), "WEBP")
PIECES = {
    "texts in a PNG": png_with(chunk(b"tEXt", b"") * MOST_PIECES),
    "comments in a PPM": long(PPM, 3, b"#\n" * MOST_PIECES),
    "comments in a JPEG": long(encoded(noise(), "JPEG"), 2, b"\xff\xfe\0\2" * MOST_PIECES),
    "comments in a GIF": long(encoded(noise(), "GIF"), 13 + 768, b"!\xfe\0" * MOST_PIECES),
    "chunks in a WebP": WEBP + b"junk\0\0\0\0" * MOST_PIECES,
}


@pytest.mark.parametrize("kind", PIECES)
def test_a_file_of_too_many_pieces_is_refused(kind: str) -> None:
    with pytest.raises(BadImage, match=r"damaged image .*more than 100,000 "):
        decode(PIECES[kind])


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encoded(noise(), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : data.index(b"\xff\xc4", data.index(b"\xff\xda"))]
    with pytest.raises(BadImage, match=f"more than {MOST_SCANS} scans"):
        decode(data[:-2] + scan * MOST_SCANS + data[-2:])


def test_a_tiff_of_endless_directories_ends() -> None:
    data = tiff_file(noise(), following=8)
    assert attempt(data) in ("pixels", "moving image", "damaged image")
    circle = tiff_file(noise(), following=len(tiff_file(noise())) - 94)
    assert attempt(circle) in ("pixels", "moving image")


def test_tags_of_a_tiff_that_claim_the_file_many_times_are_refused() -> None:
    tags = [(number, 7, 3_000, bytes(4)) for number in (292, 293, 317, 320, 332, 347)]
    with pytest.raises(BadImage, match="its tags are longer than the file"):
        decode(tiff_file(noise(), tags))


@pytest.mark.parametrize("sides", [(16_000, 16_000), (16, 1 << 23), (1 << 31, 1 << 31)])
def test_tiles_far_larger_than_their_tiff_are_refused(sides: tuple[int, int]) -> None:
    tags = [
        (322, 4, 1, struct.pack("<I", sides[0])),
        (323, 4, 1, struct.pack("<I", sides[1])),
        (324, 4, 1, b"\x08\0\0\0"),
        (325, 4, 1, bytes(4)),
    ]
    with pytest.raises(BadImage, match="tiles are far larger"):
        decode(tiff_file(noise(), tags))


def test_strips_that_do_not_cover_a_tiff_are_damage() -> None:
    data = tiff_file(noise(), [(278, 3, 1, b"\4\0\0\0")])  # four rows a strip, one strip, sixteen rows
    with pytest.raises(BadImage, match="strips do not cover"):
        decode(data)


# --- changed bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", samples())
def test_changed_bytes_give_pixels_or_a_reason(name: str) -> None:
    data = samples()[name]
    assert attempt(data) == "pixels"
    found = {attempt(changed(data, random.Random(seed))) for seed in range(60)}
    assert found <= {
        "pixels",
        "damaged image",
        "not an image",
        "too small",
        "too many pixels",
        "moving image",
        "no range of brightness",
    }


@pytest.mark.parametrize("name", samples())
def test_a_file_cut_anywhere_gives_pixels_or_a_reason(name: str) -> None:
    data = samples()[name]
    for end in range(0, len(data), max(1, len(data) // 100)):
        assert attempt(data[:end])


def test_stripping_keeps_a_plain_file_readable() -> None:
    for data in samples().values():
        form, bare, _ = strip(data)
        assert strip(bare).form == form
        if form != "PPM":
            Image.open(io.BytesIO(bare)).load()


@pytest.mark.parametrize("head", [b"P4 8 8\n", b"P5 8 8 255\n", b"P6 8 8 255\n"])
def test_a_second_image_of_a_portable_file_is_refused(head: bytes) -> None:
    one = head + bytes({b"4": 8, b"5": 64, b"6": 192}[head[1:2]])
    assert decode(one + b"\n").shape == (8, 8, 3)
    for between in (b"", b"\n"):
        with pytest.raises(BadImage, match="it holds several images; save one of them"):
            decode(one + between + one)
