"""`groundup sort`: a line and its brain put together as they are asked for, at work with or without people who look
on.
"""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundup import device
from groundup.apps.robotics.episodes import Episode, Recorder
from groundup.apps.sorter.model_client import DistantBrain, InferenceTimeout, OwnBrain
from groundup.apps.sorter.policy import standard
from groundup.apps.sorter.robot import PICTURES, Oracle, Robot, setting
from groundup.apps.sorter.shift import Shift
from groundup.core import console
from groundup.core.errors import InputError
from groundup.core.process import stoppable

ITEMS = 500  # that leave the line before it ends, where nobody looks on and says when


@dataclass(frozen=True)
class Options:
    """What is sorted and by whom: `model` is a folder, or http://HOST:PORT with the model's `name` there and a `key`;
    None: an oracle.

    A line with a `page` goes at the wall's pace until Ctrl-C, unless `items` are given.
    """

    model: str | None
    oracle: bool
    name: str | None
    key: str | None
    items: int | None
    setting: str
    seed: int
    sure: int
    record: Path | None
    page: bool
    port: int | None
    device: str | None

    @property
    def distant(self) -> bool:
        """Whether the brain is behind an address."""
        return self.model is not None and "://" in self.model

    def require(self) -> None:
        """Raise InputError for options that do not fit together."""
        if (self.model is None) != self.oracle:
            raise InputError("sort: give either a model or --oracle")
        if self.distant and self.name is None:
            raise InputError(f"sort {self.model}: say with --name what the model is called there")
        for option, given, fits, where in (
            ("--name", self.name, self.distant, "http://HOST:PORT"),
            ("--device", self.device, self.model is not None and not self.distant, "a model's folder"),
            ("--port", self.port, self.page, "--page"),
        ):
            if given is not None and not fits:
                raise InputError(f"sort {option}: only with {where}; leave it out")


def sort(options: Options, find: Callable[[Path], Path]) -> dict[str, Any]:
    """Work as asked and return the figures; `find` gives the model's folder of a run. Raises InputError for what cannot
    be used.
    """
    options.require()
    robot = Robot(setting(options.setting), options.seed, 1 if options.page or options.record else PICTURES)
    policy, pace = standard(options.sure), 1.0 if options.page else math.inf
    recording = (
        Recorder(options.record, robot.describe()).episode(f"sort waste, {options.setting}")
        if options.record
        else nullcontext()
    )
    with _brain(options, find) as brain, recording as episode:
        shift = Shift(robot, brain or Oracle(robot), policy, brain.understand if brain else str, pace)
        try:
            _work(shift, episode, options)
        finally:
            shift.stop("the shift has ended")
    return {"setting": options.setting, "seed": options.seed, "sure": options.sure} | shift.figures()


def _work(shift: Shift, episode: Episode | None, options: Options) -> None:
    if options.page:
        _watched(shift, episode, options)
    else:
        items = options.items or ITEMS
        with console.progress("sort", items, "items") as advance:
            shift.run(items, episode=episode, after=advance)


def _watched(shift: Shift, episode: Episode | None, options: Options) -> None:
    """At work while the page shows it, until Ctrl-C."""
    from groundup.apps.sorter.page import serving  # it needs an extra of its own

    with serving(shift, options.port or 0) as address, stoppable(signal.SIGINT) as asked:
        console.note(f"the line is at {address}; Ctrl-C ends it")
        shift.run(options.items or math.inf, episode=episode, after=lambda left: shift.end() if asked() else None)


@contextmanager
def _brain(options: Options, find: Callable[[Path], Path]) -> Iterator[OwnBrain | DistantBrain | None]:
    """The model asked for; None for an oracle. Raises InputError for a server that is not there or does not know the
    model.
    """
    if options.model is None:
        yield None
    elif not options.distant:
        with closing(OwnBrain(find(Path(options.model)), device.pick(options.device))) as own:
            yield own
    else:
        with closing(DistantBrain(options.model, str(options.name), options.key)) as distant:
            try:
                distant.look(np.zeros((32, 32, 3), np.uint8))
            except InferenceTimeout as late:
                raise InputError(
                    f"{options.model}: {late}; start it with `groundup serve {options.name}=FOLDER`"
                ) from None
            yield distant
