"""Rendering backends: numpy everywhere, or C, several times as fast, where there is a compiler; bitwise equal images.

`probe.py` checks a compiled library before it is used.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.simulator.exposure import FAINT, SHADE, Exposure, Picture, develop
from groundup.apps.sorter.simulator.rays import Scene, Traced, trace
from groundup.core import native

SOURCE = Path(__file__).with_name("camera.c")
PROBE = "groundup.apps.sorter.simulator.probe"  # the module that is run with a new library's path
ADDRESS, WHOLE, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SCENE = ("x", "y", "first", "last", "owner", "inward", "origin", "turn", "size", "form", "paint", "patterns", "light")
NOTHING = Traced(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty((0, 3), np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.int64),
)


class Backend(NamedTuple):
    """Ray tracing, and the exposure of the image."""

    trace: Callable[[Scene], Traced]
    develop: Callable[[Traced | None, Exposure], Picture]


NUMPY = Backend(trace, develop)


class _Scene(ctypes.Structure):
    """`Scene` of camera.c."""

    _fields_ = (*((name, WHOLE) for name in ("side", "margin", "primitives")), *((name, ADDRESS) for name in SCENE))


class _Traced(ctypes.Structure):
    """`Traced` of camera.c."""

    _fields_ = tuple(
        (name, ADDRESS) for name in ("depth", "nearest", "covered", "pixel", "owner", "colour", "opacity", "whole")
    )


class _Exposure(ctypes.Structure):
    """`Exposure` of camera.c."""

    _fields_ = (
        *((name, WHOLE) for name in ("side", "seen", "down", "right", "taps")),
        *((name, ADDRESS) for name in ("pixel", "colour", "opacity", "grey", "tint", "lens", "grain")),
        *((name, REAL) for name in ("light", "gain", "noise", "shade", "faint")),
    )


@cache
def fastest() -> Backend:
    """The C backend, if it compiles and a separate process found that it renders as numpy does; else numpy."""
    made = native.library(SOURCE, (("-ffp-contract=off",),), probe=PROBE)
    return NUMPY if made is None else from_library(made)


def from_library(made: ctypes.CDLL) -> Backend:
    """The backend in a compiled `camera.c`."""
    made.trace.argtypes, made.trace.restype = (ctypes.POINTER(_Scene), ctypes.POINTER(_Traced)), WHOLE
    made.develop.argtypes, made.develop.restype = (ctypes.POINTER(_Exposure), *[ADDRESS] * 5), None

    def trace_in_c(scene: Scene) -> Traced:
        pixels, frame = scene.side**2, len(scene.x) ** 2
        depth, nearest, covered = (
            np.full(frame, np.inf, np.float32),
            np.empty(frame, np.int32),
            np.zeros(frame, np.int32),
        )
        pixel, owner, whole = (
            np.empty(pixels, np.int64),
            np.empty(pixels, np.int64),
            np.zeros(scene.owner[-1] + 1, np.int64),
        )
        colour, opacity = np.empty((pixels, 3), np.float32), np.empty(pixels, np.float32)
        given = [np.ascontiguousarray(getattr(scene, name)) for name in SCENE]
        out = _Traced(*_at(depth, nearest, covered, pixel, owner, colour, opacity, whole))
        n = made.trace(_Scene(scene.side, scene.margin, len(scene.owner), *_at(*given)), out)
        return Traced(pixel[:n], owner[:n], colour[:n], opacity[:n], whole)

    def develop_in_c(traced: Traced | None, exposure: Exposure) -> Picture:
        seen, side, taps = traced or NOTHING, len(exposure.grey), len(exposure.lens)
        given = (seen.pixel, seen.colour, seen.opacity, exposure.grey, exposure.tint, exposure.lens, exposure.grain)
        kept = [np.ascontiguousarray(array) for array in given]
        rooms = [np.empty((side, side, 3), np.float32) for _ in range(2)]
        line, shadow, out = (
            np.empty((side + taps, 3), np.float32),
            np.empty((side, side), np.uint8),
            np.empty((side, side, 3), np.uint8),
        )
        numbers = (exposure.light, exposure.gain, exposure.noise, SHADE, FAINT)
        made.develop(
            _Exposure(side, len(seen.pixel), *exposure.shift, taps, *_at(*kept), *numbers),
            *_at(*rooms, line, shadow, out),
        )
        return out

    return Backend(trace_in_c, develop_in_c)


def _at(*arrays: npt.NDArray[Any]) -> list[int]:
    return [array.ctypes.data for array in arrays]
