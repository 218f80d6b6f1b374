"""IDX files, the format of MNIST: arrays of bytes after a header, one file of images and one of labels.

The header is two zero bytes, the type, the number of dimensions, and each dimension in four bytes, big-endian; a file
may be compressed with gzip. Images are passed on as PGM or PPM, which have the same bytes after another header.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from groundup.codecs.image import MOST_PIXELS
from groundup.core.errors import InputError
from groundup.data.paths import legible, there

SUFFIXES = tuple(f"{mark}{form}" for mark in ("idx3-ubyte", "idx4-ubyte", ".idx3", ".idx4") for form in ("", ".gz"))
BYTES = 0x08  # the type of unsigned bytes
MOST_IMAGES = 100_000_000


def images(path: Path) -> Iterator[bytes]:
    """The images of a file of [N, H, W] or [N, H, W, 3] bytes, encoded, one at a time.

    Raises InputError for another type or shape, and for a file that is shorter or longer than its header says.
    """
    with _opened(path) as file:
        count, height, width, *channels = _header(path, file, "images of unsigned bytes", (3, 4))
        colours = channels[0] if channels else 1
        if colours not in (1, 3) or not 0 < height * width <= MOST_PIXELS:
            raise InputError(f"{legible(str(path))}: images of {height} x {width} x {colours}; expected grey or RGB")
        head = b"P%d\n%d %d\n255\n" % (6 if colours == 3 else 5, width, height)
        for _ in range(count):
            yield head + _exactly(path, file, height * width * colours)
        _end(path, file)


def labels(path: Path) -> list[str]:
    """The class of each image of a file: the number in the file of labels beside it, or its name in classes.txt.

    Raises InputError where there is no such file, or it is of another form.
    """
    beside = labels_of(path)
    if beside is None:
        raise InputError(
            f"{legible(str(path))}: no labels beside it, in a file such as {_label_names(path.name)[0]}; add it, or set"
            ' classes = "none"'
        )
    with _opened(beside) as file:
        (count,) = _header(beside, file, "labels of unsigned bytes", (1,))
        numbers = _exactly(beside, file, count)
        _end(beside, file)
    names = _names(path)
    if names and max(numbers, default=0) >= len(names):
        raise InputError(f"{beside}: label {max(numbers)}, but classes.txt beside it has {len(names)} names; add some")
    return [names[number] if names else str(number) for number in numbers]


def labels_of(path: Path) -> Path | None:
    """The file of labels of a file of images, by the names that MNIST gives them; None if there is none."""
    return next((file for name in _label_names(path.name) if there(file := path.with_name(name))), None)


def classes_of(path: Path) -> Path | None:
    """The file with the names of the classes, a line each, beside a file of images; None if there is none."""
    return file if there(file := path.with_name("classes.txt")) else None


def _label_names(name: str) -> list[str]:
    bare = name.removesuffix(".gz")
    renamed = re.sub(r"idx[34]", "idx1", bare.replace("images", "labels").replace("Images", "Labels"))
    return [renamed, f"{renamed}.gz"] if name == bare else [f"{renamed}.gz", renamed]


def _names(path: Path) -> list[str]:
    file = classes_of(path)
    try:
        return [] if file is None else file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, decompressed while it is read. Raises InputError for one that cannot be read."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as file:
                yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{legible(str(path))}: cannot be read ({error}); copy or download it again") from None


def _header(path: Path, file: IO[bytes], expected: str, dimensions: tuple[int, ...]) -> list[int]:
    """The sizes of the dimensions."""
    start = file.read(4)
    if len(start) < 4 or start[:3] != bytes((0, 0, BYTES)) or start[3] not in dimensions:
        begin = f"begins with the bytes {start.hex(' ')}" if start else "is empty"
        raise InputError(
            f"{legible(str(path))}: {begin}; expected IDX {expected}, which begin with 00 00 08"
            f" {' or '.join(f'{each:02}' for each in dimensions)}"
        )
    sizes = _exactly(path, file, 4 * start[3])
    found = [int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4)]
    if found[0] > MOST_IMAGES or math.prod(found[1:]) > 3 * MOST_PIXELS:
        raise InputError(f"{legible(str(path))}: its header says {' x '.join(map(str, found))}, which is damaged")
    return found


def _exactly(path: Path, file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise InputError(f"{legible(str(path))}: shorter than its header says; copy or download it again")
    return data


def _end(path: Path, file: IO[bytes]) -> None:
    if file.read(1):
        raise InputError(f"{legible(str(path))}: longer than its header says; copy or download it again")
