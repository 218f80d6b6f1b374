"""Reads recorded episodes: as a stream of frames, and as a robot that replays one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from groundup.apps.robotics.episodes import DATA, VIDEO, av_library, described, film_key, located
from groundup.apps.robotics.robot import Description, Field, Numbers, Observation, Pixels
from groundup.core.errors import InputError
from groundup.core.files import read_json


def read(folder: Path, number: int) -> Iterator[tuple[Observation, Numbers]]:
    """Stream the frames of an episode: each observation with the action that followed it.

    Raises InputError if there is no such episode, or if a video is shorter than the numbers.
    """
    robot, info = described(folder), read_json(folder / "meta/info.json")
    if not 0 <= number < info["total_episodes"]:
        raise InputError(f"{folder}: no episode {number}; it holds {info['total_episodes']}, from 0")
    rows = pq.read_table(located(folder, DATA, number)).to_pylist()
    films = [_pictures(located(folder, VIDEO, number, film_key(camera))) for camera in robot.cameras]
    for row in rows:
        try:
            images = {camera.name: next(film) for camera, film in zip(robot.cameras, films, strict=True)}
        except StopIteration:
            raise InputError(
                f"{folder}: a film of episode {number} has fewer than its {len(rows)} pictures; record it again"
            ) from None
        seen = Observation(row["observation.time"], images, _numbers(robot.observes, row["observation.state"]))
        yield seen, _numbers(robot.acts, row["action"])


class Ended(Exception):
    """The recorded episode is over."""


class Replay:
    """A robot whose observations are those of a recorded episode, whatever actions it gets. New actions are stored
    beside the recorded ones.
    """

    def __init__(self, folder: Path, number: int = 0):
        self._robot, self._frames, self._time = described(folder), read(folder, number), -np.inf
        self.recorded: list[Numbers] = []  # the recorded actions so far
        self.told: list[Numbers] = []  # the new actions

    def describe(self) -> Description:
        """The specification of the recorded robot."""
        return self._robot

    def connect(self) -> None:
        """Nothing to do."""

    def now(self) -> float:
        """The recorded time of the last observation."""
        return self._time

    def observe(self) -> Observation:
        """The observation of the next frame. Raises Ended after the last."""
        try:
            seen, action = next(self._frames)
        except StopIteration:
            raise Ended("the recorded episode is over") from None
        self._time = seen.time
        self.recorded.append(action)
        return seen

    def act(self, action: Numbers) -> None:
        """Store the action in `told`."""
        self.told.append(action)

    def stop(self) -> None:
        """Nothing moves."""


def _numbers(fields: Sequence[Field], vector: Sequence[float] | float) -> Numbers:
    values = np.atleast_1d(np.asarray(vector, np.float32))
    return dict(
        zip(
            (field.name for field in fields),
            np.split(values, np.cumsum([len(field.low) for field in fields])[:-1]),
            strict=True,
        )
    )


def _pictures(path: Path) -> Iterator[Pixels]:
    with av_library().open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
