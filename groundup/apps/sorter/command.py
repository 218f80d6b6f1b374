"""The work of `groundup sort`: runs the simulated line with a model, up to a number of items or with the live page."""

import math
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundup import device
from groundup.apps.robotics.episodes import Episode, Recorder
from groundup.apps.sorter.faults import FaultInjection, StalledModel
from groundup.apps.sorter.interpretation import Interpretation
from groundup.apps.sorter.model_client import LocalLanguageModel, LocalModel, RemoteModel
from groundup.apps.sorter.orders_suite import threshold
from groundup.apps.sorter.policy import standard_policy
from groundup.apps.sorter.robot import PICTURES, Oracle, SimulatedLine, setting
from groundup.apps.sorter.shift import WorkShift
from groundup.core import console
from groundup.core.errors import InputError
from groundup.core.process import stoppable
from groundup.serve.client import InferenceTimeout

FindModel = Callable[[Path], Path]
ITEMS = 500  # items that leave the line before a run without a page ends


@dataclass(frozen=True)
class SortOptions:
    """What is sorted, and by which model: a folder, or http://HOST:PORT with the model's `name` there and a `key`;
    None: an oracle. `language_model` interprets orders in its place: a folder, or NAME=http://HOST:PORT.

    `orders` are given first, as on a `page`; those less probable than `threshold` (None: as calibrated) need a yes from
    `confirm`, which is shown their words. A line with a page runs in real time until Ctrl-C, unless `items` are given.
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
    language_model: str | None = None
    orders: tuple[str, ...] = ()
    threshold: float | None = None
    confirm: Callable[[str], bool] = lambda words: False

    @property
    def remote(self) -> bool:
        """Whether the model is behind an address."""
        return self.model is not None and not _is_folder(self.model)

    def require(self) -> None:
        """Raise InputError for options that do not fit together."""
        if (self.model is None) != self.oracle:
            raise InputError("sort: give either a model or --oracle")
        if self.remote and self.name is None:
            raise InputError(f"sort {self.model}: say with --name what the model is called there")
        for option, given, fits, where in (
            ("--name", self.name, self.remote, "http://HOST:PORT"),
            ("--device", self.device, any(map(_is_folder, (self.model, self.language_model))), "a model's folder"),
            ("--port", self.port, self.page, "--page"),
        ):
            if given is not None and not fits:
                raise InputError(f"sort {option}: only with {where}; leave it out")


def _is_folder(model: str | None) -> bool:
    return model is not None and "://" not in model


def sort(options: SortOptions, find_model: FindModel) -> dict[str, Any]:
    """Run the line and return its figures; `find_model` gives the model's folder of a run. Raises InputError for
    invalid options.
    """
    options.require()
    robot = SimulatedLine(setting(options.setting), options.seed, 1 if options.page or options.record else PICTURES)
    policy, pace = standard_policy(options.sure), 1.0 if options.page else math.inf
    recorder = Recorder(options.record, robot.describe()) if options.record else None
    recording = recorder.episode(f"sort waste, {options.setting}") if recorder else nullcontext()
    with ExitStack() as opened, recording as episode:
        client, listener = _clients(options, find_model, opened)
        model = StalledModel(client or Oracle(robot))
        interpret = listener.interpret if listener else Interpretation
        shift = WorkShift(robot, model, policy, interpret, pace, _threshold(options, find_model))
        _give(shift, options)
        injection = FaultInjection(robot, model, np.random.default_rng(options.seed)) if options.faults else None
        try:
            _run(shift, episode, options, injection.step if injection else lambda: None)
        finally:
            shift.stop("the shift has ended")
    faults = {"faults": injection.count} if injection else {}
    by = {"orders": listener.name} if listener else {}
    return {"setting": options.setting, "seed": options.seed, "sure": options.sure} | by | faults | shift.figures()


def _give(shift: WorkShift, options: SortOptions) -> None:
    """Give the orders. Raises InputError for the first that is not carried out; nothing is sorted then."""
    for text in options.orders:
        try:
            said = shift.order(text, "zh" if re.search("[\u4e00-\u9fff]", text) else "en")
        except InferenceTimeout as late:
            raise InputError(f"order {text!r}: {late}; nothing was sorted") from None
        if "confirm" in said:
            said = shift.confirm(said["order"], options.confirm(f"{text!r} means: {said['confirm']}"))
        if "policy" not in said:
            why = said.get("question") or said.get("refusal") or "it was not confirmed"
            raise InputError(f"order {text!r}: {why}; nothing was sorted")
        console.note(f"order {said['line']}, understood by {said.get('model') or 'its operator'}")


def _threshold(options: SortOptions, find_model: FindModel) -> float:
    """The least probability of an order that is carried out without asking; 1, for none, where none was calibrated."""
    if options.threshold is not None:
        return options.threshold
    model = options.language_model or options.model
    return threshold(find_model(Path(model))) if model and _is_folder(model) else 1.0


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


def _clients(
    options: SortOptions, find_model: FindModel, opened: ExitStack
) -> tuple[LocalModel | RemoteModel | None, LocalLanguageModel | RemoteModel | None]:
    """The client of the model that sees, None for an oracle, and of the one that takes orders.

    Raises InputError for a server that does not answer or does not know the model.
    """
    client: LocalModel | RemoteModel | None = None
    if options.remote:
        client = remote = opened.enter_context(closing(RemoteModel(str(options.model), str(options.name), options.key)))
        try:
            remote.detect(np.zeros((32, 32, 3), np.uint8))
        except InferenceTimeout as late:
            raise InputError(f"{options.model}: {late}; start it with `groundup serve {options.name}=FOLDER`") from None
    elif options.model is not None:
        folder = find_model(Path(options.model))
        client = opened.enter_context(closing(LocalModel(folder, device.pick(options.device))))
    if options.language_model is None:
        return client, client
    if not _is_folder(options.language_model):
        name, _, address = options.language_model.partition("=")
        return client, opened.enter_context(closing(RemoteModel(address, name, options.key)))
    folder = find_model(Path(options.language_model))
    return client, opened.enter_context(closing(LocalLanguageModel(folder, device.pick(options.device))))
