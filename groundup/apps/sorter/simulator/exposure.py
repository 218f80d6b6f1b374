"""From traced rays to an image: belt, shadows, items, light, lens, sensor; in numpy, step by step as in `camera.c`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.simulator.items import Array
from groundup.apps.sorter.simulator.rays import Traced

SHADE = 0.6  # fraction of the light in a shadow on the belt
FAINT = 1e-3  # weights of the lens below it are left out
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Exposure:
    """The exposure of one image of side x side pixels."""

    grey: Array  # side x side: the belt
    tint: Array  # 3: its colour in the light that there is
    shift: tuple[int, int]  # rows and columns from an item to its shadow
    light: float  # factor on all that comes in
    lens: Array  # 7: what a pixel takes from its neighbours, along either axis
    gain: float  # levels
    noise: float  # levels, standard deviation
    grain: Array  # side x side x 3: standard normal


def develop(traced: Traced | None, exposure: Exposure) -> Picture:
    """The image (side x side x 3) of the traced items, if any, on the belt."""
    image: Array = exposure.grey[:, :, None] * exposure.tint
    if traced:
        shadow = np.zeros(image.shape[:2], bool)
        shadow.ravel()[traced.pixel] = True
        image[np.roll(shadow, exposure.shift, (0, 1))] *= np.float32(SHADE)
        flat, opacity = image.reshape(-1, 3), traced.opacity[:, None]
        flat[traced.pixel] = opacity * traced.colour + (1 - opacity) * flat[traced.pixel]
    image *= np.float32(exposure.light)
    side, reach = len(image), len(exposure.lens) // 2
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in range(3)], "edge")
        shifted = (padded[n : n + side] if axis == 0 else padded[:, n : n + side] for n in range(len(exposure.lens)))
        image = sum(weight * config for weight, config in zip(exposure.lens, shifted, strict=True) if weight > FAINT)
    levels = image * np.float32(exposure.gain) + exposure.grain * np.float32(exposure.noise)
    return np.clip(levels, 0, 255).astype(np.uint8)
