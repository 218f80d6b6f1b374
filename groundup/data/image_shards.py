"""The images of a shard: pixels at the resolution they are seen in, memory-mapped, with where they stand and what lies
in them.

Beside the rows of tokens lie `pixels.bin` (RGB, one image after the other), `images.bin` (one IMAGE record each, in the
order of the rows), `things.bin` (one THING record each) and, in `shards.json`, the names of the kinds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.codecs import image
from groundup.codecs.boxes import Detection
from groundup.codecs.patches import PatchGrid, Pixels, fit
from groundup.core.files import replacing

FILES = ("pixels.bin", "images.bin", "things.bin")
IMAGE = np.dtype(
    [
        ("row", "<i8"),
        ("place", "<i4"),  # of its first patch in the row
        ("rows", "<i4"),
        ("columns", "<i4"),
        ("offset", "<i8"),  # of its first byte in pixels.bin
        ("first", "<i8"),  # of its things in things.bin
        ("things", "<i4"),  # how many; -1: nobody looked
    ]
)
THING = np.dtype(
    [("kind", "<i4"), ("box", "<f4", 4)]
)  # kind: place among the names, from 0; box in shares of width and height


@dataclass(frozen=True)
class Eyesight:
    """How finely images are seen: `side` pixels a patch, at most `budget` patches an image."""

    side: int
    budget: int

    def look(self, data: bytes) -> tuple[PatchGrid, Pixels]:
        """An encoded image at this resolution; raises BadImage as `codecs.image.decode` does."""
        return self.scale(image.decode(data))

    def scale(self, pixels: Pixels) -> tuple[PatchGrid, Pixels]:
        """The same for an image that is decoded."""
        grid = fit(pixels.shape[1], pixels.shape[0], self.side, self.budget)
        return grid, image.resized(pixels, grid, self.side)


class Picture(NamedTuple):
    """An image in a run of tokens: where its first patch stands, its pixels, and what lies in it (None: nobody
    looked).
    """

    place: int
    grid: PatchGrid
    pixels: Pixels  # [grid.rows * side, grid.columns * side, 3]
    things: tuple[Detection, ...] | None


class Writer:
    """Writes the images of the rows as they come; a context manager."""

    def __init__(self, out: Path):
        self._out, self._stack = out, ExitStack()
        self._hashes = {name: hashlib.sha256() for name in FILES}
        self._sizes = dict.fromkeys(FILES, 0)
        self._kinds: dict[str, int] = {}
        self.count = 0

    def __enter__(self) -> "Writer":
        paths = {name: self._stack.enter_context(replacing(self._out / name)) for name in FILES}
        self._files = {name: self._stack.enter_context(path.open("wb")) for name, path in paths.items()}
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, row: int, start: int, pictures: Sequence[Picture]) -> None:
        """Append the images of a piece that begins at `start` of a row."""
        for place, grid, pixels, things in pictures:
            found = [(self._kinds.setdefault(thing.kind, len(self._kinds)), thing.box) for thing in things or ()]
            first = self._sizes["things.bin"] // THING.itemsize
            record = (row, start + place, *grid, self._sizes["pixels.bin"], first, -1 if things is None else len(found))
            self._append("images.bin", np.array([record], IMAGE))
            self._append("things.bin", np.array(found, THING))
            self._append("pixels.bin", pixels)
            self.count += 1

    def _append(self, name: str, array: npt.NDArray[Any]) -> None:
        data = array.tobytes()
        self._files[name].write(data)
        self._hashes[name].update(data)
        self._sizes[name] += len(data)

    def table(self, side: int) -> dict[str, Any]:
        """What shards.json says of them."""
        return {"count": self.count, "side": side, "kinds": list(self._kinds), "bytes": self._sizes}

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: sha.hexdigest() for name, sha in self._hashes.items()}


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a shard, read from disk as they are wanted; `kinds` are the names of what lies in them."""

    side: int
    kinds: tuple[str, ...]
    _pixels: npt.NDArray[np.uint8]
    _images: npt.NDArray[Any]
    _things: npt.NDArray[Any]

    def of(self, row: int) -> Iterator[tuple[int, PatchGrid, Pixels, npt.NDArray[Any] | None]]:
        """The images of a row: place, grid, pixels and THING records (None: nobody looked)."""
        first, last = np.searchsorted(self._images["row"], [row, row + 1])
        for record in self._images[first:last]:
            things = (
                None if record["things"] < 0 else self._things[record["first"] : record["first"] + record["things"]]
            )
            yield (
                int(record["place"]),
                PatchGrid(int(record["rows"]), int(record["columns"])),
                self._read(record),
                things,
            )

    def any(self, random: np.random.Generator) -> Pixels:
        """The pixels of one of the images."""
        return self._read(self._images[random.integers(len(self._images))])

    def _read(self, record: Any) -> Pixels:
        shape = (int(record["rows"]) * self.side, int(record["columns"]) * self.side, 3)
        start = int(record["offset"])
        return np.asarray(self._pixels[start : start + shape[0] * shape[1] * 3].reshape(shape))


def mapped(folder: Path, table: dict[str, Any], map_file: Any) -> Pictures:
    """The images of a shard folder whose shards.json holds `table`; `map_file(path, dtype, shape)` maps a file and
    checks its size.
    """
    arrays = [
        map_file(folder / name, dtype, (table["bytes"][name] // dtype.itemsize,))
        for name, dtype in zip(FILES, (np.dtype(np.uint8), IMAGE, THING), strict=True)
    ]
    return Pictures(table["side"], tuple(table["kinds"]), *arrays)
