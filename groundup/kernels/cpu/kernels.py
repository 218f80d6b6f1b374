"""Loads `kernels.c`; the structures of its calls."""

import ctypes
from enum import IntEnum
from functools import cache
from pathlib import Path

from groundup.core import native

SOURCE = Path(__file__).with_name("kernels.c")
PROBE = "groundup.kernels.cpu.probe"
LONG, INT, ADDRESS = ctypes.c_long, ctypes.c_int, ctypes.c_void_p


class Matrix(ctypes.Structure):
    """`Matrix` of kernels.c."""

    _fields_ = (
        ("outputs", LONG),
        ("inputs", LONG),
        ("kind", INT),
        ("group", INT),
        ("weights", ADDRESS),
        ("scales", ADDRESS),
    )


class Table(ctypes.Structure):
    """`Table` of kernels.c."""

    _fields_ = (
        *((name, ADDRESS) for name in ("blocks", "sequence", "attended", "positions", "tiles")),
        *((name, LONG) for name in ("count", "width", "H", "K", "E", "space")),
    )


class Attention(ctypes.Structure):
    """`Attention` of kernels.c."""

    _fields_ = (
        ("table", ctypes.POINTER(Table)),
        *((name, ADDRESS) for name in ("q", "keys", "values", "o")),
        ("window", LONG),
        ("wide", INT),
    )


class Call(ctypes.Structure):
    """`Call` of kernels.c."""

    _fields_ = (("kind", LONG), ("at", ADDRESS * 5), ("size", LONG * 3), ("epsilon", ctypes.c_float), ("wide", INT))


class Kind(IntEnum):
    """The operation of a call."""

    LINEAR = 0
    EMBED = 1
    ANGLES = 2
    NORM = 3
    ROTATE = 4
    GATE = 5
    ADD = 6
    BEST = 7
    STORE = 8
    ATTEND = 9


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, with OpenMP or one thread; None where no C compiler gives torch's results (`probe`)."""
    loaded = native.library(SOURCE, (("-ffp-contract=fast", "-fopenmp"), ("-ffp-contract=fast",)), PROBE)
    return None if loaded is None else typed(loaded)


def typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """A compiled `kernels.c` with the argument types of its functions set."""
    loaded.run.argtypes, loaded.run.restype = (ctypes.POINTER(Call), LONG, LONG, INT), None
    return loaded
