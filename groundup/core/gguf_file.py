"""Reads GGUF files (versions 2 and 3): metadata, and tensors that are mapped and dequantised on demand.

Every count, length and offset is checked against the file before memory is taken for it. A model may be spread over
shards, `NAME-00001-of-00003.gguf`: the first one holds the metadata.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import InputError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

SUFFIX = ".gguf"
MOST_HEADER = 128 << 20  # bytes of metadata and tensor infos; those of a vocabulary of 262,144 take ten million
MOST_SHARDS = 10_000
_PIECE = 1 << 17  # weights that are dequantised at once: they stay in the cache
_SHARD = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)
_NUMBERS = ("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")  # `struct`'s letter of each value type
_BOOL, _STRING, _ARRAY = 7, 8, 9


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of a file: its name, shape (rows first), quantisation type, and its bytes, mapped."""

    name: str
    shape: tuple[int, ...]
    kind: "GGMLQuantizationType"
    data: NDArray[np.uint8]
    path: Path

    def read(self) -> NDArray[np.float32]:
        """The weights in fp32, dequantised piece by piece. Raises InputError for a type without a dequantiser."""
        from gguf import GGML_QUANT_SIZES
        from gguf.quants import dequantize

        block, size = GGML_QUANT_SIZES[self.kind]
        values = np.empty(prod(self.shape), np.float32)
        step = _PIECE // block
        try:
            with np.errstate(all="ignore"):  # a damaged scale is an infinity, as it is elsewhere
                for at in range(0, len(self.data) // size, step):
                    piece = self.data[at * size : (at + step) * size].reshape(1, -1)
                    values[at * block : (at + step) * block] = dequantize(piece, self.kind)[0]
        except NotImplementedError:
            raise InputError(
                f"{self.path}: tensor {self.name} is stored as {self.kind.name}, which is no type of weights; convert"
                " the model to another, such as Q8_0"
            ) from None
        return values.reshape(self.shape)


@dataclass(frozen=True)
class GGUFFile:
    """The metadata (arrays of numbers as NumPy arrays) and the tensors of a GGUF file, or of a set of shards."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GGUFTensor]

    @staticmethod
    def open(path: Path) -> "GGUFFile":
        """Read the headers of a file and of the other shards of its set; raises InputError for a damaged one."""
        first = _opened(path)
        count = first.metadata.get("split.count", 1)
        if type(count) is not int or not 0 < count <= MOST_SHARDS:
            raise InputError(f"{path}: split.count is {count!r:.40}; expected a whole number from 1 to {MOST_SHARDS:,}")
        return first if count == 1 else _joined(path, [_opened(shard) for shard in _shards(path, count)])


def _shards(path: Path, count: int) -> Iterator[Path]:
    """The paths of a set of shards. Raises InputError for a name that belongs to none, and for a missing shard."""
    found = _SHARD.fullmatch(path.name)
    if not found or int(found[3]) != count:
        raise InputError(f"{path}: is one of {count} shards; give it its name back, NAME-00001-of-{count:05}.gguf")
    for number in range(1, count + 1):
        shard = path.with_name(f"{found[1]}-{number:05}-of-{count:05}.gguf")
        if not shard.exists():
            raise InputError(f"{shard}: this shard of {path.name} is missing; put it beside the others")
        yield shard


def _joined(path: Path, shards: list[GGUFFile]) -> GGUFFile:
    """One model of its shards. Raises InputError where they belong to different ones."""
    tensors: dict[str, GGUFTensor] = {}
    for number, shard in enumerate(shards):
        if (shard.metadata.get("split.no"), shard.metadata.get("split.count")) != (number, len(shards)):
            raise InputError(f"{shard.path}: is not shard {number + 1} of {len(shards)}, as its name says")
        if twice := tensors.keys() & shard.tensors.keys():
            raise InputError(f"{shard.path}: tensor {min(twice)!r:.80} stands in another shard too")
        tensors |= shard.tensors
    if (wanted := shards[0].metadata.get("split.tensors.count", len(tensors))) != len(tensors):
        raise InputError(f"{path}: the shards hold {len(tensors)} tensors, and should hold {wanted!r:.40}")
    return GGUFFile(path, shards[0].metadata, tensors)


def _opened(path: Path) -> GGUFFile:
    """One file. Raises InputError for one that cannot be read."""
    try:
        data = np.memmap(path, np.uint8, "r").view(np.ndarray) if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a GGUF file") from None
    header = _Header(path, data)
    tensors, metadata = header.counts()
    table = dict(header.fields(metadata))
    return GGUFFile(path, table, {tensor.name: tensor for tensor in _tensors(header, tensors, table)})


class _Header:
    """A place in the header of a file, which moves behind what is read."""

    def __init__(self, path: Path, data: NDArray[np.uint8]):
        self.path, self.data, self.at = path, data, 0
        self._view = data[: MOST_HEADER + 1].data

    def fault(self, what: str) -> InputError:
        """The error that says what is wrong with the file."""
        return InputError(f"{self.path}: damaged or not a GGUF file ({what}); fetch or convert it again")

    def counts(self) -> tuple[int, int]:
        """The numbers of tensors and of metadata fields. Raises InputError for another format or version."""
        if bytes(self.data[:4]) != b"GGUF":
            raise self.fault("it does not begin with GGUF")
        self.at = 4
        if (version := self.number("I", "the version")) not in (2, 3):
            big = " of a big-endian machine" if version in (2 << 24, 3 << 24) else ""
            raise InputError(f"{self.path}: has version {version} of GGUF{big}; read are 2 and 3, little-endian")
        return self._count("tensors", 24), self._count("metadata fields", 13)

    def _count(self, what: str, least: int) -> int:
        """A number of things that take at least so many bytes each."""
        count: int = self.number("Q", f"the number of {what}")
        if count * least > len(self._view) - self.at:
            raise self.fault(f"it announces {count:,} {what}, more than fit in it")
        return count

    def number(self, letter: str, what: str) -> Any:
        """A number or truth value, little-endian."""
        (value,) = struct.unpack(f"<{letter}", self._take(struct.calcsize(letter), what))
        return float(str(np.float32(value))) if letter == "f" else value  # the shortest that is the same fp32

    def _take(self, size: int, what: str) -> memoryview:
        """The next bytes. Raises InputError where the file, or what a header may take, ends before them."""
        if size > len(self._view) - self.at:
            over = f"its header takes more than {MOST_HEADER:,} bytes" if len(self._view) > MOST_HEADER else "it ends"
            raise self.fault(f"{over} in {what}")
        self.at += size
        return self._view[self.at - size : self.at]

    def text(self, what: str) -> str:
        """A text, behind its length."""
        try:
            return str(self._take(self.number("Q", what), what), "utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"{what} is not UTF-8") from None

    def fields(self, count: int) -> Iterator[tuple[str, Any]]:
        """The metadata. Raises InputError for a key that stands twice."""
        seen: set[str] = set()
        for number in range(count):
            key = self.text(f"the key of metadata field {number}")
            if key in seen:
                raise self.fault(f"the key {key!r:.80} stands twice")
            seen.add(key)
            yield key, self._value(self.number("I", "a type"), f"{key!r:.80}")

    def _value(self, kind: int, what: str) -> Any:
        if kind == _STRING:
            return self.text(what)
        if kind == _ARRAY:
            return self._array(self.number("I", what), what)
        return self.number(self._letter(kind, what), what)

    def _array(self, kind: int, what: str) -> list[str] | NDArray[Any]:
        if kind == _STRING:
            return self._texts(what)
        dtype = np.dtype("?" if kind == _BOOL else f"<{self._letter(kind, what)}")
        count = self._count(f"numbers in {what}", dtype.itemsize)
        return np.frombuffer(self._take(count * dtype.itemsize, what), np.uint8 if kind == _BOOL else dtype)

    def _texts(self, what: str) -> list[str]:
        """A list of texts, a hundred thousand of them in a tenth of a second."""
        texts, view, length = [], self._view, struct.Struct("<Q").unpack_from
        for _ in range(self._count(f"texts in {what}", 8)):
            start = self.at + 8
            if start > len(view) or (end := start + length(view, self.at)[0]) > len(view):
                texts.append(self.text(what))  # which says what is wrong
                continue
            try:
                texts.append(str(view[start:end], "utf-8"))
            except UnicodeDecodeError:
                raise self.fault(f"{what} is not UTF-8") from None
            self.at = end
        return texts

    def _letter(self, kind: int, what: str) -> str:
        if kind >= len(_NUMBERS) or not _NUMBERS[kind]:
            raise self.fault(f"{what} is of the unknown type {kind}, or a list of lists")
        return _NUMBERS[kind]


def _tensors(header: _Header, count: int, metadata: dict[str, Any]) -> list[GGUFTensor]:
    """The tensors. Raises InputError for two of a name, two at a place, and one that lies outside the file."""
    infos = {}
    for number in range(count):
        name = header.text(f"the name of tensor {number}")
        if name in infos:
            raise header.fault(f"tensor {name!r:.80} stands twice")
        infos[name] = _info(header, f"tensor {name!r:.80}")
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise header.fault(f"general.alignment is {alignment!r:.40}, which is no power of two")
    start = -(-header.at // alignment) * alignment
    tensors, end = [], start
    for name, (shape, kind, offset, size) in sorted(infos.items(), key=lambda item: item[1][2]):
        at = start + offset
        if offset % alignment or at < end or at + size > len(header.data):
            raise header.fault(f"tensor {name!r:.80} overlaps another, is not aligned or reaches beyond the file's end")
        end = at + size
        tensors.append(GGUFTensor(name, shape, kind, header.data[at:end], header.path))
    return tensors


def _info(header: _Header, what: str) -> tuple[tuple[int, ...], "GGMLQuantizationType", int, int]:
    """Shape, type, offset and size in bytes of a tensor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    dimensions = header.number("I", what)
    if not 0 < dimensions <= 4:
        raise header.fault(f"{what} has {dimensions} dimensions; expected 1 to 4")
    sides = [header.number("Q", what) for _ in range(dimensions)]
    number, offset = header.number("I", what), header.number("Q", what)
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        known = ", ".join(each.name for each in GGML_QUANT_SIZES)
        raise InputError(f"{header.path}: {what} has the unknown type {number}; known are {known}") from None
    block, size = GGML_QUANT_SIZES[kind]
    if 0 in sides or sides[0] % block:
        raise header.fault(f"{what} has sides {sides}; {kind.name} stores rows in blocks of {block}")
    return tuple(reversed(sides)), kind, offset, prod(sides) // block * size
