"""The work of `groundup sort`: runs the simulated line with a model, up to a number of items or with the live page."""

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
from groundup.apps.sorter.faults import FaultInjection, StalledModel
from groundup.apps.sorter.model_client import InferenceTimeout, LocalModel, RemoteModel
from groundup.apps.sorter.policy import standard_policy
from groundup.apps.sorter.robot import PICTURES, Oracle, SimulatedLine, setting
from groundup.apps.sorter.shift import WorkShift
from groundup.core import console
from groundup.core.errors import InputError
from groundup.core.process import stoppable

ITEMS = 500  # items that leave the line before a run without a page ends


@dataclass(frozen=True)
class SortOptions:
    """Options of `groundup sort`. `model`: a folder, or http://HOST:PORT with the model's `name` there and a `key`;
    None: an oracle.

    A line with a `page` runs in real time until Ctrl-C, unless `items` are given.
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
    faults: bool = False

    @property
    def remote(self) -> bool:
        """Whether the model is behind an address."""
        return self.model is not None and "://" in self.model

    def require(self) -> None:
        """Raise InputError for options that do not fit together."""
        if (self.model is None) != self.oracle:
            raise InputError("sort: give either a model or --oracle")
        if self.remote and self.name is None:
            raise InputError(f"sort {self.model}: say with --name what the model is called there")
        for option, given, fits, where in (
            ("--name", self.name, self.remote, "http://HOST:PORT"),
            ("--device", self.device, self.model is not None and not self.remote, "a model's folder"),
            ("--port", self.port, self.page, "--page"),
        ):
            if given is not None and not fits:
                raise InputError(f"sort {option}: only with {where}; leave it out")


def sort(options: SortOptions, find_model: Callable[[Path], Path]) -> dict[str, Any]:
    """Run the line and return its figures; `find_model` gives the model's folder of a run. Raises InputError for
    invalid options.
    """
    options.require()
    robot = SimulatedLine(setting(options.setting), options.seed, 1 if options.page or options.record else PICTURES)
    policy, pace = standard_policy(options.sure), 1.0 if options.page else math.inf
    recording = (
        Recorder(options.record, robot.describe()).episode(f"sort waste, {options.setting}")
        if options.record
        else nullcontext()
    )
    with _client(options, find_model) as client, recording as episode:
        model = StalledModel(client or Oracle(robot))
        shift = WorkShift(robot, model, policy, client.interpret if client else str, pace)
        injection = FaultInjection(robot, model, np.random.default_rng(options.seed)) if options.faults else None
        try:
            _run(shift, episode, options, injection.step if injection else lambda: None)
        finally:
            shift.stop("the shift has ended")
    faults = {"faults": injection.count} if injection else {}
    return {"setting": options.setting, "seed": options.seed, "sure": options.sure} | faults | shift.figures()


def _run(shift: WorkShift, episode: Episode | None, options: SortOptions, each_period: Callable[[], None]) -> None:
    if options.page:
        _run_with_page(shift, episode, options, each_period)
        return
    items = options.items or ITEMS
    with console.progress("sort", items, "items") as advance:

        def after(left: int) -> None:
            each_period()
            advance(left)

        shift.run(items, episode=episode, after=after)


def _run_with_page(
    shift: WorkShift, episode: Episode | None, options: SortOptions, each_period: Callable[[], None]
) -> None:
    """Run the line with the live page, until Ctrl-C."""
    from groundup.apps.sorter.page import serving  # it needs another extra

    with serving(shift, options.port or 0) as address, stoppable(signal.SIGINT) as interrupted:
        console.note(f"the line is at {address}; Ctrl-C ends it")

        def after(left: int) -> None:
            each_period()
            if interrupted():
                shift.end()

        shift.run(options.items or math.inf, episode=episode, after=after)


@contextmanager
def _client(options: SortOptions, find_model: Callable[[Path], Path]) -> Iterator[LocalModel | RemoteModel | None]:
    """The client of the model; None for an oracle. Raises InputError for a server that does not answer or does not know
    the model.
    """
    if options.model is None:
        yield None
    elif not options.remote:
        with closing(LocalModel(find_model(Path(options.model)), device.pick(options.device))) as local:
            yield local
    else:
        with closing(RemoteModel(options.model, str(options.name), options.key)) as remote:
            try:
                remote.detect(np.zeros((32, 32, 3), np.uint8))
            except InferenceTimeout as late:
                raise InputError(
                    f"{options.model}: {late}; start it with `groundup serve {options.name}=FOLDER`"
                ) from None
            yield remote
