"""The structure of TIFF files and EXIF blocks: directories of tags, and files stripped to the pixel data."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

SUBFILE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, FORMAT, XMP = 254, 256, 257, 258, 262, 274, 339, 700
STRIPS, SAMPLES, ROWS, PLANAR, TILE_WIDTH, TILE_HEIGHT = 273, 277, 278, 284, 322, 323
# Tags that decoding needs, from 322 on: tiles, inks, JPEG inside, YCbCr.
_NEEDED = {WIDTH, HEIGHT, BITS, 259, PHOTOMETRIC, 266, STRIPS, SAMPLES, ROWS, 279, PLANAR, 292, 293, 317, 320}
_NEEDED |= {*range(322, 326), 332, 338, FORMAT, 347, *range(512, 522), *range(529, 533)}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_LEAST = 64  # bytes of a directory and its picture
_FRACTIONS = {5: "2I", 10: "2i"}


class Tag(NamedTuple):
    """A tag of a directory: its type, its number of values, and the offsets of its values and its entry."""

    kind: int
    values: int
    at: int
    entry: int

    @property
    def size(self) -> int:
        """Bytes that its values take."""
        return self.values * _SIZES.get(self.kind, 0)


class Directory(NamedTuple):
    """A directory of tags in the bytes of a file."""

    data: bytes
    order: str
    big: bool
    tags: dict[int, Tag]

    def values(self, number: int, most: int = 16) -> tuple[int, ...]:
        """The first `most` integers of a tag; none for a tag that is absent, out of bounds or of another type."""
        tag = self.tags.get(number, Tag(0, 0, 0, 0))
        try:
            if code := _CODES.get(tag.kind):
                return struct.unpack_from(f"{self.order}{min(tag.values, most)}{code}", self.data, tag.at)
            if tag.values and (fraction := _FRACTIONS.get(tag.kind)):
                above, below = struct.unpack_from(self.order + fraction, self.data, tag.at)
                return (above // below,) if below and above % below == 0 else ()
        except struct.error:
            pass
        return ()

    def raw(self, number: int) -> bytes:
        """The bytes of a tag."""
        tag = self.tags.get(number, Tag(0, 0, 0, 0))
        return self.data[tag.at : tag.at + tag.size]

    def value(self, number: int) -> int | None:
        """The first of them."""
        return next(iter(self.values(number, 1)), None)


def directories(data: bytes) -> Iterator[Directory]:
    """The directories of a file, in order, within bounds; ends when they exceed the file, as in a loop."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order or len(data) < 8:
        return
    big = 43 in data[2:4]
    entry, count, offset = ("HHQQ", "Q", "Q") if big else ("HHII", "H", "I")
    entry, size, field = order + entry, 20 if big else 12, 8 if big else 4
    left, at = len(data), 8 if big else 4
    while left > 0 and at + field <= len(data):
        (start,) = struct.unpack_from(order + offset, data, at)
        first = start + struct.calcsize(order + count)
        if start < 8 or first > len(data):
            return
        entries = min(struct.unpack_from(order + count, data, start)[0], (len(data) - first) // size)
        tags: dict[int, Tag] = {}
        for place in range(first, first + entries * size, size):
            number, kind, values, away = struct.unpack_from(entry, data, place)
            inside = values * _SIZES.get(kind, 0) <= field
            tags.setdefault(number, Tag(kind, values, place + size - field if inside else away, place))
        yield Directory(data, order, big, tags)
        at = first + entries * size
        left -= entries * size + _LEAST


def alone(found: Directory) -> bytes:
    """The file with one directory and the tags that decoding needs. Raises ValueError if the tags exceed the file."""
    kept = {number: tag for number in sorted(_NEEDED) if (tag := found.tags.get(number))}
    if sum(tag.size for tag in kept.values()) > len(found.data):
        raise ValueError("its tags are longer than the file")
    size = 20 if found.big else 12
    count, offset, head = ("Q", "Q", 8) if found.big else ("H", "I", 4)
    entries = b"".join(found.data[tag.entry : tag.entry + size] for tag in kept.values())
    padding = bytes(-len(found.data) % 8)
    directory = struct.pack(found.order + count, len(kept)) + entries + bytes(head)
    start = struct.pack(found.order + offset, len(found.data) + len(padding))
    return b"".join((found.data[:head], start, found.data[head + len(start) :], padding, directory))
