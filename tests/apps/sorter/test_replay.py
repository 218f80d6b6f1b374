"""`groundup replay`: a recorded episode of the line is shown to a model again, and its actions are compared."""

from pathlib import Path

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("av")

from groundup.apps.sorter import replay as replays
from groundup.apps.sorter.command import sort
from groundup.apps.sorter.replay import lines, replay
from groundup.codecs.detections import Detection
from groundup.core.errors import InputError
from tests.apps.robotics.test_episodes import BLIND, record
from tests.apps.sorter.test_sort_command import but


class Blind:
    """A model client that never detects anything."""

    def __init__(self, *_: object):
        pass

    def detect(self, picture: object) -> list[Detection]:
        return []

    def close(self) -> None:
        pass


def test_a_blind_model_moves_otherwise_than_the_oracle_that_was_recorded(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(replays, "LocalModel", Blind)
    sort(but(items=2, record=tmp_path), lambda path: path)
    figures = replay(tmp_path, 0, Path("model"), 80, "cpu")
    assert figures["frames"] > 20 and figures["detections"] == 0
    assert figures["difference"]["target"] > 0.01 and figures["difference"]["suction"] > 0
    assert len(lines(figures)) == 6
    with pytest.raises(InputError, match="no episode 1"):
        replay(tmp_path, 1, Path("model"), 80, "cpu")


def test_episodes_of_another_robot_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(replays, "LocalModel", Blind)
    record(tmp_path, (3,), BLIND)
    with pytest.raises(InputError, match="give some of the sorting line"):
        replay(tmp_path, 0, Path("model"), 80, "cpu")
