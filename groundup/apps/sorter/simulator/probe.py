"""The probe of a compiled camera: `python -m groundup.apps.sorter.simulator.probe LIBRARY` exits with 0 if the library
renders items of every class as numpy does, bit for bit.
"""

import ctypes
import sys

import numpy as np

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator import items
from groundup.apps.sorter.simulator.backends import NUMPY, Backend, from_library
from groundup.apps.sorter.simulator.camera import AT, Camera, PosedItem

SIDES = (33, 64, 97, 192)  # pixels: whole vectors of the processor, and remainders


def draws_as_numpy(path: str) -> bool:
    """Whether the compiled library at a path renders the images that numpy renders."""
    made = from_library(ctypes.CDLL(path))
    return all(_renders_alike(made, pixels) for pixels in SIDES)


def _renders_alike(made: Backend, pixels: int) -> bool:
    config, rng = SimulatorConfig(pixels=pixels), np.random.default_rng(pixels)
    turn, *_ = np.linalg.qr(rng.normal(size=(3, 3)))
    drawn = [items.draw(rng, kind, config) for kind in (*items.KINDS, items.UNKNOWN, items.ODD)]
    posed = [
        PosedItem(k, item, items.f32((AT + rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.2), 0.05)), items.f32(turn))
        for k, item in enumerate(drawn)
    ]
    images = [
        [Camera(config, np.random.default_rng(1), way).render(shown) for shown in (posed, [])] for way in (NUMPY, made)
    ]
    return all(np.array_equal(one[0], other[0]) and one[1] == other[1] for one, other in zip(*images, strict=True))


if __name__ == "__main__":
    sys.exit(not draws_as_numpy(sys.argv[1]))
