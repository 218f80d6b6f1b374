"""Pictures of the sorting line, rendered on all cores, each with what lies in it.

Nothing is asked of them: what is learnt are the labels of their patches.
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

from groundup.apps.sorter.config import WorldPart
from groundup.apps.sorter.simulator.camera import Seen
from groundup.apps.sorter.simulator.frames import frames
from groundup.codecs.detections import Detection
from groundup.config.base import knob
from groundup.core.tables import SOURCES
from groundup.data.clean import set_aside
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.image_files import asked
from groundup.data.source import ProceduralSource

CHUNK = 64  # pictures of one seed, drawn by one process: about half a second
VISIBLE, SIDE = (
    0.25,
    2,
)  # a thing of which less is seen, or whose box has a side of fewer pixels, is a sliver that nobody could name

Drawn = list[tuple[bytes, tuple[Detection, ...]]]


class SimulatorSource(ProceduralSource):
    """Pictures of the sorting line with what lies in them, rendered by this program; `[source.world]` is a table of
    WorldPart.
    """

    holds = "images"
    has_boxes = True
    extra = "sorter"

    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(
        0.03, "share", "of so many more pictures, kept for evaluation: from seeds of their own", ge=0.001, le=0.5
    )
    count: int = knob(..., "pictures", "how many to make to train on", ge=1)
    world: WorldPart = WorldPart()

    def made_by(self) -> dict[str, str]:
        """The physics."""
        return {"mujoco": version("mujoco")}

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream `self.count` training pictures, then the held-out ones; picture n of either depends on n and the world
        alone.
        """
        for heldout, count in ((False, self.count), (True, set_aside(self.heldout_share, self.count))):
            for number, (image, things) in enumerate(_pictures(count, heldout, self.world)):
                yield Document(
                    source=self.name,
                    origin=f"held-out picture {number}" if heldout else f"picture {number}",
                    licence=self.licence,
                    messages=asked("", ""),
                    images=(image,),
                    detections=(things,),
                    heldout=heldout,
                )


def seed_of(chunk: int, heldout: bool) -> int:
    """The seed of the nth chunk of a part: training has the even ones, what is held out the odd ones."""
    return 2 * chunk + heldout


def _pictures(count: int, heldout: bool, world: WorldPart) -> Iterator[tuple[bytes, tuple[Detection, ...]]]:
    chunks = [
        (seed_of(number, heldout), min(CHUNK, count - number * CHUNK), world) for number in range(-(-count // CHUNK))
    ]
    if len(chunks) < 3:  # sooner drawn than other processes have started
        for chunk in chunks:
            yield from _draw(*chunk)
        return
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[Drawn]] = deque()
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn")
    ) as pool:  # a fork would copy the locks of other threads
        for chunk in chunks:
            waiting.append(pool.submit(_draw, *chunk))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        for each in waiting:
            yield from each.result()


def _draw(seed: int, count: int, world: WorldPart) -> Drawn:
    drawn = []
    for pixels, seen in frames(seed, count, world):
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, "PPM"
        )  # as it is: the file of documents is compressed, in a thirtieth of a PNG's time
        drawn.append((file.getvalue(), tuple(_thing(each, world.pixels) for each in seen if _plain(each))))
    return drawn


def _plain(each: Seen) -> bool:
    left, top, right, bottom = each.box
    return each.visible >= VISIBLE and min(right - left, bottom - top) >= SIDE


def _thing(each: Seen, pixels: int) -> Detection:
    left, top, right, bottom = (value / pixels for value in each.box)
    return Detection(each.kind, (left, top, right, bottom))


SOURCES.add("simulator", SimulatorSource)
