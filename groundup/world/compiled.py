"""The rays in C where there is a compiler, an order of magnitude faster: `rays.c`, probed before it is used.

`python -m groundup.world.compiled LIBRARY` is the probe: it ends well if the library draws things of all kinds as numpy does, to the bit.
"""

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup import native
from groundup.world.rays import Scene, Traced, Tracer, trace

SOURCE = Path(__file__).with_name("rays.c")
ADDRESS, WHOLE = ctypes.c_void_p, ctypes.c_int64
ARRAYS = {"x": "f4", "y": "f4", "first": "i8", "last": "i8", "owner": "i8"} | dict.fromkeys(
    ("inward", "origin", "turn", "size", "form", "paint", "patterns", "light"), "f4"
)


class _Scene(ctypes.Structure):
    """`Scene` of rays.c."""

    _fields_ = (*((name, WHOLE) for name in ("side", "margin", "primitives")), *((name, ADDRESS) for name in ARRAYS))


class _Traced(ctypes.Structure):
    """`Traced` of rays.c."""

    _fields_ = tuple((name, ADDRESS) for name in ("depth", "nearest", "covered", "pixel", "owner", "colour", "opacity", "whole"))


@cache
def tracer() -> Tracer:
    """The fastest way to trace that is there: in C, if that compiles and a process of its own found that it draws as numpy does, or in numpy."""
    made = native.library(SOURCE, (("-ffp-contract=off",),), probe=__name__)
    return trace if made is None else from_library(made)


def from_library(made: ctypes.CDLL) -> Tracer:
    """The tracer in a compiled `rays.c`."""
    made.trace.argtypes, made.trace.restype = (ctypes.POINTER(_Scene), ctypes.POINTER(_Traced)), WHOLE

    def in_c(scene: Scene) -> Traced:
        given = {name: np.ascontiguousarray(getattr(scene, name), kind) for name, kind in ARRAYS.items()}
        pixels, frame = scene.side**2, len(scene.x) ** 2
        depth, nearest, covered = np.full(frame, np.inf, np.float32), np.empty(frame, np.int32), np.zeros(frame, np.int32)
        pixel, owner, whole = np.empty(pixels, np.int64), np.empty(pixels, np.int64), np.zeros(scene.owner[-1] + 1, np.int64)
        colour, opacity = np.empty((pixels, 3), np.float32), np.empty(pixels, np.float32)
        out = _Traced(*_at(depth, nearest, covered, pixel, owner, colour, opacity, whole))
        n = made.trace(_Scene(scene.side, scene.margin, len(scene.owner), *_at(*given.values())), out)
        return Traced(pixel[:n], owner[:n], colour[:n], opacity[:n], whole)

    return in_c


def _at(*arrays: npt.NDArray[Any]) -> list[int]:
    return [array.ctypes.data for array in arrays]


def _probe(path: str) -> bool:
    from groundup.recipe import WorldPart
    from groundup.world import items
    from groundup.world.camera import AT, Camera, Posed

    part, rng = WorldPart(), np.random.default_rng(0)
    turn, *_ = np.linalg.qr(rng.normal(size=(3, 3)))
    drawn = [items.draw(rng, kind, part) for kind in (*items.KINDS, items.UNKNOWN, items.ODD)]
    posed = [Posed(k, item, items.f32((AT + rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.2), 0.05)), items.f32(turn)) for k, item in enumerate(drawn)]
    ways = (trace, from_library(ctypes.CDLL(path)))
    (picture, seen), (other, also) = (Camera(part, np.random.default_rng(1), way).look(posed) for way in ways)
    return np.array_equal(picture, other) and seen == also


if __name__ == "__main__":
    sys.exit(not _probe(sys.argv[1]))
