"""Source "simulator": rendered images of the sorting line with bounding boxes, made on all cores.

They have no question: the model learns per-patch classes and boxes from them.
"""

import io
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.camera import VisibleItem
from groundup.apps.sorter.simulator.frames import frames
from groundup.codecs.detections import Detection
from groundup.config.base import knob
from groundup.core.tables import SOURCES
from groundup.data.clean import set_aside
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.image_files import asked
from groundup.data.source import ProceduralSource

CHUNK = 64  # images of one seed, rendered by one process: about half a second
VISIBLE, SIDE = 0.25, 2  # items with a smaller visible fraction, or a side of fewer pixels, get no label

Drawn = list[tuple[bytes, tuple[Detection, ...]]]


class SimulatorSource(ProceduralSource):
    """Images of the sorting line with bounding boxes, rendered by this program; `[source.world]` is a table of
    SimulatorConfig.
    """

    holds = "images"
    has_boxes = True
    extra = "sorter"

    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(
        0.03, "fraction", "held-out images, with other seeds, beside the training ones", ge=0.001, le=0.5
    )
    count: int = knob(..., "images", "number of training images", ge=1)
    world: SimulatorConfig = SimulatorConfig()

    def made_by(self) -> dict[str, str]:
        """The version of the physics engine."""
        return {"mujoco": version("mujoco")}

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream `self.count` training images, then the held-out ones; image n of either is a function of n and
        `world`.
        """
        for heldout, count in ((False, self.count), (True, set_aside(self.heldout_share, self.count))):
            for number, (image, detections) in enumerate(_pictures(count, heldout, self.world)):
                yield Document(
                    source=self.name,
                    origin=f"held-out picture {number}" if heldout else f"picture {number}",
                    licence=self.licence,
                    messages=asked("", ""),
                    images=(image,),
                    detections=(detections,),
                    heldout=heldout,
                )


def seed_of(chunk: int, heldout: bool) -> int:
    """The seed of the nth chunk of a split: even for training, odd for the held-out images."""
    return 2 * chunk + heldout


def _pictures(count: int, heldout: bool, world: SimulatorConfig) -> Iterator[tuple[bytes, tuple[Detection, ...]]]:
    chunks = [
        (seed_of(number, heldout), min(CHUNK, count - number * CHUNK), world) for number in range(-(-count // CHUNK))
    ]
    if len(chunks) < 3:  # faster than starting other processes
        for chunk in chunks:
            yield from _draw(*chunk)
        return
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[Drawn]] = deque()
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(workers, spawn) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(_draw, *chunk))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        for each in waiting:
            yield from each.result()


def _draw(seed: int, count: int, world: SimulatorConfig) -> Drawn:
    drawn = []
    for pixels, seen in frames(seed, count, world):
        file = io.BytesIO()
        # uncompressed: the documents file is compressed, in a thirtieth of a PNG's time
        Image.fromarray(pixels).save(file, "PPM")
        drawn.append((file.getvalue(), tuple(_detection(each, world.pixels) for each in seen if _is_labelled(each))))
    return drawn


def _is_labelled(each: VisibleItem) -> bool:
    left, top, right, bottom = each.box
    return each.visible >= VISIBLE and min(right - left, bottom - top) >= SIDE


def _detection(each: VisibleItem, pixels: int) -> Detection:
    left, top, right, bottom = (value / pixels for value in each.box)
    return Detection(each.kind, (left, top, right, bottom))


SOURCES.add("simulator", SimulatorSource)
