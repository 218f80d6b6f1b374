"""Training images of the belt. Importing this module needs no extra, rendering does."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator import items
from groundup.apps.sorter.simulator.camera import AT, Camera, VisibleItem
from groundup.apps.sorter.simulator.items import KINDS
from groundup.apps.sorter.simulator.line import Line

SETTLE = 60  # simulation steps until dropped items lie still
MOST = 10  # most items in and around an image; most images have many, as each item is a training example


def frames(
    seed: int, count: int, config: SimulatorConfig, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[npt.NDArray[np.uint8], list[VisibleItem]]]:
    """Images of items at rest on the belt, each with its own light, and the visible items.

    Image n is a function of seed and n. The mechanics are those of the line: items drop, overlap and settle.
    """
    line, camera = Line(config, np.random.default_rng(0), kinds), Camera(config, np.random.default_rng(0))
    for number in range(count):
        rng = line.feed = camera.rng = np.random.default_rng((seed, number))
        line.clear()
        many = round(MOST * rng.random() ** 0.5)
        for k in range(many):
            if k == 0 or rng.random() >= config.overlap:
                x, gap = AT + 0.6 * ((k + rng.random()) / many - 0.5), 0.01
                y = rng.uniform(-0.15, 0.15)
            else:
                gap += 0.05
            line.put(items.draw(rng, items.choose(rng, config, kinds), config), x, y, gap)
        line.mj.mj_step(line.model, line.data, SETTLE)
        camera.relight()
        yield camera.render(line.posed(), rng.uniform(0, 100))
