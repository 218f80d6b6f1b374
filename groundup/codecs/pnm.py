"""Images in the formats PBM, PGM and PPM (P1 to P6), text or binary, read in time linear in the file."""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_NEXT = re.compile(rb"\s*P[1-6]\s")
_FIELD = re.compile(rb"#[^\r\n]*|[^\s#]+")
_COMMENT = re.compile(rb"#[^\r\n]*")
Values = npt.NDArray[np.integer]

_MOST_COMMENTS = 100_000
_SPACE = b" \t\r\n\v\f"


class Header(NamedTuple):
    """The header: type, sizes and `top`, the value of white; and the offset of the pixels."""

    kind: int
    width: int
    height: int
    top: int
    start: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the pixel array."""
        return (self.height, self.width, 3) if self.kind in (3, 6) else (self.height, self.width)


def header(data: bytes) -> Header:
    """The header of a file; raises ValueError for one that is damaged."""
    kind = int(data[1:2])
    wanted = 2 if kind in (1, 4) else 3
    numbers: list[int] = []
    for place, found in enumerate(_FIELD.finditer(data, 2)):
        if place == _MOST_COMMENTS:
            raise ValueError(f"more than {_MOST_COMMENTS:,} comments in its header")
        if data[found.start()] == ord("#"):
            continue
        if not found[0][:11].isdigit() or len(found[0]) > 10:
            raise ValueError(f"{found[0][:11]!r} stands in its header, where a number is expected")
        numbers.append(int(found[0]))
        if len(numbers) == wanted:
            width, height, top = (*numbers, 1)[:3]
            if not 0 < top < 65_536:
                raise ValueError(f"white is {top} in its header; expected 1 to 65535")
            return Header(kind, width, height, top, found.end() + 1)
    raise ValueError("its header ends early")


def pixels(head: Header, data: bytes) -> npt.NDArray[np.uint8]:
    """The pixels, 0 to 255, in the shape of the header; raises ValueError if some are missing or above white."""
    values: Values = _text(head, data[head.start :]) if head.kind < 4 else _binary(head, data)
    if values.size and (values.min() < 0 or values.max() > head.top):
        raise ValueError(f"a value above the {head.top} of white, or below 0")
    if head.kind in (1, 4):
        values = 1 - values  # in bitmaps 1 is black
    scale = np.round(np.arange(head.top + 1) * 255 / head.top).astype(np.uint8)
    return scale[values].reshape(head.shape)


def _text(head: Header, written: bytes) -> Values:
    written = _COMMENT.sub(b" ", written)
    if head.kind == 1:  # digits need nothing between them
        values = np.frombuffer(written.translate(None, _SPACE), np.uint8).astype(np.int64) - ord("0")
    else:
        values = np.fromstring(written, np.int64, sep=" ")
    return _enough(head, values)


def _binary(head: Header, data: bytes) -> Values:
    if head.kind == 4:  # eight pixels a byte, each row in whole bytes
        across = -(-head.width // 8)
        packed = np.frombuffer(data, np.uint8, offset=min(head.start, len(data)))[: across * head.height]
        if packed.size < across * head.height:
            raise ValueError("it ends early")
        _alone(data[head.start + packed.size :])
        return np.unpackbits(packed.reshape(head.height, across), axis=1, count=head.width)
    deep = np.dtype(np.uint8 if head.top < 256 else ">u2")
    end = head.start + int(np.prod(head.shape)) * deep.itemsize
    whole = data[head.start : end]
    _alone(data[end:])
    return _enough(head, np.frombuffer(whole[: len(whole) // deep.itemsize * deep.itemsize], deep))


def _alone(rest: bytes) -> None:
    """Raise ValueError where another image follows the pixels of the first."""
    if _NEXT.match(rest):
        raise ValueError("it holds several images; save one of them")


def _enough(head: Header, values: Values) -> Values:
    count = int(np.prod(head.shape))
    if len(values) < count:
        raise ValueError(f"it ends early, after {len(values):,} of {count:,} values")
    return values[:count]
