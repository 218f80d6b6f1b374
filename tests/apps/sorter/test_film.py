"""A film of a shift: so many frames, each with what the camera saw, no longer or larger than a page can carry."""

import numpy as np
import pytest

pytest.importorskip("mujoco")

from PIL import Image

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.film import EVERY, LENGTH, SECONDS, SIDE, Film, drawn
from groundup.apps.sorter.robot import Oracle, SimulatedLine
from groundup.apps.sorter.shift import WorkShift
from groundup.apps.sorter.simulator.environment import PERIOD


@pytest.fixture(scope="module")
def shift() -> WorkShift:
    robot = SimulatedLine(SimulatorConfig(pixels=48), 1)
    return WorkShift(robot, Oracle(robot))


def test_a_film_shows_seconds_of_the_shift_at_its_own_pace(shift, tmp_path):
    film = Film()
    shift.run(seconds=2, after=lambda left: film.capture(shift))
    film.save(tmp_path / "line.webp")
    with Image.open(tmp_path / "line.webp") as made:
        assert made.n_frames == pytest.approx(2 / PERIOD / EVERY, abs=1)
        made.load()
        assert made.info["duration"] == 1000 * PERIOD * EVERY
    assert (tmp_path / "line.webp").stat().st_size / 2 * SECONDS < 1_000_000


def test_a_frame_has_the_picture_and_what_was_found_in_it(shift):
    while not shift.state()["boxes"]:
        shift.step()
    frame = np.asarray(drawn(shift), float)
    plain = np.asarray(Image.fromarray(shift.picture()).resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
    changed = np.abs(frame[:, :SIDE] - plain).max(2) > 1
    assert frame.shape == (SIDE, SIDE + LENGTH, 3)
    assert 0 < changed.mean() < 0.2
