"""The images of a shard, memory-mapped: pixels at the model's resolution, positions in the rows, and detections.

Beside the rows of tokens lie `pixels.bin` (RGB, one image after the other), `images.bin` (one IMAGE record each, in the
order of the rows), `things.bin` (one DETECTION record each) and, in `shards.json`, the names of the classes.
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
from groundup.codecs.detections import Detection
from groundup.codecs.patches import PatchGrid, Pixels, fit
from groundup.core.files import replacing

FILES = ("pixels.bin", "images.bin", "things.bin")
IMAGE = np.dtype(
    [
        ("row", "<i8"),
        ("position", "<i4"),  # of its first patch in the row
        ("rows", "<i4"),
        ("columns", "<i4"),
        ("offset", "<i8"),  # of its first byte in pixels.bin
        ("first", "<i8"),  # of its detections in things.bin
        ("detections", "<i4"),  # how many; -1: not annotated
    ]
)
DETECTION = np.dtype([("class", "<i4"), ("box", "<f4", 4)])  # number of the class from 0; box in fractions of the image
ROTATED = np.dtype([*DETECTION.descr, ("corners", "<f4", 8)])  # in a shard with a rotated box


@dataclass(frozen=True)
class ImageResolution:
    """The resolution of a model's images: `side` pixels a patch, at most `budget` patches an image."""

    side: int
    budget: int

    def decode(self, data: bytes) -> tuple[PatchGrid, Pixels]:
        """An encoded image at this resolution; raises BadImage as `codecs.image.decode` does."""
        return self.scale(image.decode(data))

    def scale(self, pixels: Pixels) -> tuple[PatchGrid, Pixels]:
        """A decoded image at this resolution."""
        grid = fit(pixels.shape[1], pixels.shape[0], self.side, self.budget)
        return grid, image.resized(pixels, grid, self.side)


class TrainingImage(NamedTuple):
    """A training image: position of its first patch in the token row, pixels at the model's resolution, annotations."""

    position: int
    grid: PatchGrid
    pixels: Pixels  # [grid.rows * side, grid.columns * side, 3]
    detections: tuple[Detection, ...] | None  # None: not annotated

    @property
    def side(self) -> int:
        """Pixels along a patch."""
        return len(self.pixels) // self.grid.rows


class ImageWriter:
    """Writes the images of rows one after the other; a context manager."""

    def __init__(self, out: Path, rotated: bool = False):
        self._out, self._stack = out, ExitStack()
        self._rotated, self._record = rotated, ROTATED if rotated else DETECTION
        self._hashes = {name: hashlib.sha256() for name in FILES}
        self._sizes = dict.fromkeys(FILES, 0)
        self._classes: dict[str, int] = {}
        self.count = 0

    def __enter__(self) -> "ImageWriter":
        paths = {name: self._stack.enter_context(replacing(self._out / name)) for name in FILES}
        self._files = {name: self._stack.enter_context(path.open("wb")) for name, path in paths.items()}
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, row: int, start: int, images: Sequence[TrainingImage]) -> None:
        """Append the images of a piece that begins at `start` of a row."""
        for position, grid, pixels, detections in images:
            known = [self._numbered(each) for each in detections or ()]
            first = self._sizes["things.bin"] // self._record.itemsize
            count = -1 if detections is None else len(known)
            record = (row, start + position, *grid, self._sizes["pixels.bin"], first, count)
            self._append("images.bin", np.array([record], IMAGE))
            self._append("things.bin", np.array(known, self._record))
            self._append("pixels.bin", pixels)
            self.count += 1

    def _numbered(self, detection: Detection) -> tuple[Any, ...]:
        number = self._classes.setdefault(detection.class_name, len(self._classes))
        corners = (detection.outline.flatten(),) if self._rotated else ()
        return number, detection.box, *corners

    def _append(self, name: str, array: npt.NDArray[Any]) -> None:
        data = array.tobytes()
        self._files[name].write(data)
        self._hashes[name].update(data)
        self._sizes[name] += len(data)

    def table(self, side: int) -> dict[str, Any]:
        """The entry `images` of shards.json."""
        table = {"count": self.count, "side": side, "kinds": list(self._classes), "bytes": self._sizes}
        return table | ({"rotated": True} if self._rotated else {})

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: sha.hexdigest() for name, sha in self._hashes.items()}


@dataclass(frozen=True, eq=False)
class ShardImages:
    """The images of a shard, read from disk on demand; `classes` are the names of the classes of its detections."""

    side: int
    classes: tuple[str, ...]
    _pixels: npt.NDArray[np.uint8]
    _images: npt.NDArray[Any]
    _detections: npt.NDArray[Any]

    @staticmethod
    def open(folder: Path, table: dict[str, Any], map_file: Any) -> "ShardImages":
        """Map a shard's images by `table` of its shards.json; `map_file(path, dtype, shape)` checks a file's size."""
        dtypes = (np.dtype(np.uint8), IMAGE, ROTATED if table.get("rotated") else DETECTION)
        arrays = [
            map_file(folder / name, dtype, (table["bytes"][name] // dtype.itemsize,))
            for name, dtype in zip(FILES, dtypes, strict=True)
        ]
        return ShardImages(table["side"], tuple(table["kinds"]), *arrays)

    def of(self, row: int) -> Iterator[TrainingImage]:
        """The images of a row, in order."""
        first, last = np.searchsorted(self._images["row"], [row, row + 1])
        for record in self._images[first:last]:
            grid = PatchGrid(int(record["rows"]), int(record["columns"]))
            yield TrainingImage(int(record["position"]), grid, self._read(record), self._annotations(record))

    def random_pixels(self, random: np.random.Generator) -> Pixels:
        """The pixels of an image drawn at random."""
        return self._read(self._images[random.integers(len(self._images))])

    def _read(self, record: Any) -> Pixels:
        shape = (int(record["rows"]) * self.side, int(record["columns"]) * self.side, 3)
        start = int(record["offset"])
        return np.asarray(self._pixels[start : start + shape[0] * shape[1] * 3].reshape(shape))

    def _annotations(self, record: Any) -> tuple[Detection, ...] | None:
        if record["detections"] < 0:
            return None
        found = self._detections[record["first"] : record["first"] + record["detections"]]
        return tuple(
            Detection(self.classes[number], (left, top, right, bottom), corners=tuple(*corners) or None)
            for number, (left, top, right, bottom), *corners in found.tolist()
        )
