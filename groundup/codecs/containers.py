"""Strips image files of comments, profiles, previews and metadata, so that only the pixel data reaches a decoder.

Of the metadata only the orientation is read. Each file is parsed in one pass, in time linear in its size; a file too
damaged for that is passed on unchanged, and the decoder refuses it.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from groundup.codecs import tiff
from groundup.core.errors import InputError

Piece = TypeVar("Piece")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MOST_PIECES = 100_000  # segments, chunks or comments of a file: each takes a microsecond or two
MOST_SCANS = 30  # of a JPEG: each costs work for all of its pixels; encoders write about ten
MOST_TABLES = 1 << 20  # bytes of a JPEG beside its scans; encoders write a few thousand
MOST_TILED = 100_000_000  # pixels of all tiles of a TIFF together, as all are decoded
MOST_PACKED = 4 << 20  # bytes of a run-length coded BMP: its decoder takes a microsecond for two


class BadImage(InputError):
    """An unusable image: `reason` in few words, for counting, and the `detail`."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason} ({detail})")
        self.reason, self.detail = reason, detail


class Stripped(NamedTuple):
    """An image's format, its stripped file, and its EXIF orientation, 1 to 8."""

    form: str
    data: bytes
    orientation: int


Walked = tuple[bytes, int | None, int | None]  # the stripped file, and its orientation by EXIF and by XMP


def strip(data: bytes) -> Stripped:
    """Strip an image file to its pixel data. Raises BadImage for an unknown format or several pictures."""
    for start, (form, walk) in _WALKS.items():
        if re.match(start, data, re.DOTALL):
            bare, exif, xmp = walk(data)
            turn = exif or xmp or 1
            return Stripped(form, bare, turn if 1 <= turn <= 8 else 1)
    raise BadImage("not an image", f"its content is of none of {', '.join(FORMATS)}; save it as one of them")


def _moving() -> BadImage:
    return BadImage("moving image", "it has several frames; save one of them")


def _few(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces of a file; raises BadImage for too many."""
    for number, piece in enumerate(pieces):
        if number == MOST_PIECES:
            raise BadImage("damaged image", f"more than {MOST_PIECES:,} segments, chunks or comments")
        yield piece


# --- orientation --------------------------------------------------------------------------------------------

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # how their blocks begin in a JPEG
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def _in_exif(block: bytes) -> int | None:
    """The orientation of an EXIF block, which is a small TIFF."""
    found = next(tiff.directories(block.removeprefix(_EXIF)), None)
    return None if found is None else found.value(tiff.ORIENTATION)


def _in_xmp(packet: bytes) -> int | None:
    found = _IN_XMP.search(packet)
    return int(found[1]) if found else None


# --- JPEG ---------------------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # none of those inside a scan
_SCAN, _END = 0xDA, 0xD9
_TABLES = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD}
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # colour space: marker and least length


def _jpeg(data: bytes) -> Walked:
    """The first picture of a file: others, such as previews of cameras (MPO), follow it."""
    kept, exif, xmp = [data[:2]], None, None
    scans = tables = 0
    for code, segment in _few(_segments(data)):
        body = segment[4:] if code in (0xE0, 0xE1, 0xEE) else b""
        begin, least = _COLOURS.get(code, (b"", 0))
        if code in (_SCAN, _END):
            kept.append(segment)
            scans += code == _SCAN
        elif code in _TABLES or (begin and body.startswith(begin) and len(body) >= least):
            kept.append(segment)
            tables += len(segment)
        elif body.startswith(_EXIF):
            exif = exif or _in_exif(body)
        elif body.startswith(_XMP):
            xmp = xmp or _in_xmp(body)
        if scans > MOST_SCANS or tables > MOST_TABLES:
            raise BadImage(
                "damaged image", f"a JPEG of more than {MOST_SCANS} scans or {MOST_TABLES:,} bytes of tables"
            )
    return b"".join(kept), exif, xmp


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Code and bytes of each segment, up to the end of the picture; that of a scan takes its coded pixels along."""
    at = 2
    while found := _MARKER.search(data, at):
        code, start = found[1][0], found.start()
        at = start + 2
        if code not in (0x01, 0xD8, _END):
            at += int.from_bytes(data[at : at + 2], "big")
        if code == _SCAN:
            following = _MARKER.search(data, at)
            at = following.start() if following else len(data)
        yield code, data[start:at]
        if code == _END:
            return


# --- PNG ----------------------------------------------------------------------------------------------------

_MOST_TEXT = 1 << 16  # bytes of a compressed text: an orientation is at its beginning


def _png(data: bytes) -> Walked:
    """The header, palette, transparent colour and pixels, these in one chunk."""
    head, pixels, end = [], [], []
    exif = xmp = None
    for kind, body, chunk in _few(_chunks(data)):
        match kind:
            case b"IDAT":
                pixels.append(body)
            case b"IHDR" | b"PLTE":
                head.append(chunk)
            case b"tRNS" if head:
                head.append(_transparent(head[0], body, chunk))
            case b"IEND":
                end.append(chunk)
                break
            case b"acTL" if not pixels and int.from_bytes(body[:4], "big") > 1:
                raise _moving()
            case b"eXIf":
                exif = exif or _in_exif(body)
            case b"iTXt" if body.startswith(b"XML:com.adobe.xmp\0"):
                xmp = xmp or _in_xmp(body)
            case b"tEXt" | b"zTXt":
                exif = exif or _in_text(kind, body)
    return b"".join((data[:8], *head, *([_chunk(b"IDAT", b"".join(pixels))] if pixels else []), *end)), exif, xmp


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, body and whole of each chunk of a PNG."""
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length], data[at : at + 12 + length]
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _transparent(header: bytes, body: bytes, chunk: bytes) -> bytes:
    """The chunk of the transparent colour, in steps of the 8 bits that the decoder makes of pixels of other depths."""
    depth, colour = header[16:18] if len(header) > 17 else (8, 0)
    values = struct.unpack(f">{len(body) // 2}H", body[: len(body) // 2 * 2])
    if colour == 0 and depth in (2, 4):
        return _chunk(b"tRNS", struct.pack(">H", values[0] * 255 // (2**depth - 1) & 255)) if values else chunk
    if colour == 2 and depth == 16:
        return _chunk(b"tRNS", struct.pack(f">{len(values)}H", *(value >> 8 for value in values)))
    return chunk


def _in_text(kind: bytes, body: bytes) -> int | None:
    """The orientation of an EXIF block that is written as a text, as ImageMagick does."""
    name, _, written = body.partition(b"\0")
    if name != b"Raw profile type exif":
        return None
    try:
        written = zlib.decompressobj().decompress(written[1:], _MOST_TEXT) if kind == b"zTXt" else written
    except zlib.error:
        return None
    digits = b"".join(written.split()[2:])  # behind a word and a length
    return (
        _in_exif(bytes.fromhex(digits[: len(digits) // 2 * 2].decode()))
        if re.fullmatch(rb"[0-9a-fA-F]*", digits)
        else None
    )


# --- GIF ----------------------------------------------------------------------------------------------------


def _gif(data: bytes) -> Walked:
    """The one picture of a file, with its graphic control extension."""
    head = data[: 13 + _palette(data[10] if len(data) > 12 else 0)]
    control, picture = b"", b""
    for block in _few(_gif_blocks(data, len(head))):
        if block[:1] == b"," and picture:
            raise _moving()
        if block[:1] == b",":
            picture = control + block
        elif block[1:2] == b"\xf9":
            control = block
    return head + picture + b";", None, None


def _gif_blocks(data: bytes, at: int) -> Iterator[bytes]:
    """Each extension and picture, whole."""
    while (mark := data[at : at + 1]) in (b"!", b","):
        start = at
        at = _end(data, at + 2 if mark == b"!" else at + 11 + _palette(data[at + 9] if at + 9 < len(data) else 0))
        yield data[start:at]


def _palette(flags: int) -> int:
    """Bytes of the palette that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end(data: bytes, at: int) -> int:
    """The offset behind the blocks that begin at `at`, each with its length before it, the last of length 0."""
    while at < len(data) and (length := data[at]):
        at += length + 1
    return at + 1


# --- the others ---------------------------------------------------------------------------------------------


def _webp(data: bytes) -> Walked:
    """Unchanged: its decoder ignores metadata."""
    frames, exif, xmp = 0, None, None
    for kind, body in _few(_parts(data)):
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            exif = exif or _in_exif(body)
        if kind == b"XMP ":
            xmp = xmp or _in_xmp(body)
    if frames > 1:
        raise _moving()
    return data, exif, xmp


def _parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each chunk of a WebP."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _bmp(data: bytes) -> Walked:
    packed = int.from_bytes(data[30:34], "little") in (1, 2)
    if packed and len(data) > MOST_PACKED:
        raise BadImage(
            "too large", f"{len(data):,} bytes of a run-length coded BMP; the most is {MOST_PACKED:,}; save it as PNG"
        )
    return data, None, None


def _tiff(data: bytes) -> Walked:
    """The first directory alone; further ones may be previews or masks of it, but no other pages."""
    found = tiff.directories(data)
    first = next(found, None)
    if first is None:
        raise BadImage("damaged image", "a TIFF without a directory of tags")
    if any(_is_page(each, first) for each in found):
        raise BadImage("moving image", "a TIFF of several pages; save one of them")
    if _lacks_strips(first):
        raise BadImage("damaged image", "a TIFF whose strips do not cover it")
    if _tiled(first) > MOST_TILED:
        raise BadImage("damaged image", "a TIFF whose tiles are far larger than it")
    kinds, bits = first.values(tiff.FORMAT), max(first.values(tiff.BITS), default=1)
    if not {1, 4}.issuperset(kinds) or bits > 16:
        written = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(max(kinds, default=1), "unsigned")
        raise BadImage(
            "no range of brightness",
            f"{written} samples of {bits} bits, which have no agreed white; save it with 8 or 16 bits, unsigned",
        )
    try:
        return tiff.alone(first), first.value(tiff.ORIENTATION), _in_xmp(first.raw(tiff.XMP))
    except ValueError as error:
        raise BadImage("damaged image", str(error)) from None


def _is_page(found: tiff.Directory, first: tiff.Directory) -> bool:
    """Whether a directory is a page: not marked as a thumbnail or mask, and not smaller in both dimensions."""
    smaller = all((found.value(side) or 0) < (first.value(side) or 0) for side in (tiff.WIDTH, tiff.HEIGHT))
    return not smaller and not (found.value(tiff.SUBFILE) or 0) & 5


def _lacks_strips(first: tiff.Directory) -> bool:
    """Whether there are too few strips for the rows: a decoder would leave the missing rows black."""
    height, rows = first.value(tiff.HEIGHT) or 0, first.value(tiff.ROWS) or 0
    bands = (first.value(tiff.SAMPLES) or 1) if first.value(tiff.PLANAR) == 2 else 1
    return tiff.STRIPS in first.tags and rows > 0 and first.tags[tiff.STRIPS].values < -(-height // rows) * bands


def _tiled(first: tiff.Directory) -> int:
    """Pixels of all tiles together, those beyond the image's edges too; 0 for one without tiles."""
    sides = [
        (first.value(whole) or 0, first.value(tile) or 0)
        for whole, tile in ((tiff.WIDTH, tiff.TILE_WIDTH), (tiff.HEIGHT, tiff.TILE_HEIGHT))
    ]
    return math.prod(-(-whole // tile) * tile if tile > 0 else 0 for whole, tile in sides)


_WALKS = {
    rb"\xff\xd8": ("JPEG", _jpeg),
    rb"\x89PNG\r\n\x1a\n": ("PNG", _png),
    rb"GIF8[79]a": ("GIF", _gif),
    rb"RIFF....WEBP": ("WEBP", _webp),
    rb"BM": ("BMP", _bmp),
    rb"II[*+]\0|MM\0[*+]|MM\*\0|II\0\*": ("TIFF", _tiff),
    rb"P[1-6][\s#]": ("PPM", lambda data: (data, None, None)),
}
