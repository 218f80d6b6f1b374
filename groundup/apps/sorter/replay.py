"""`groundup replay`: runs a model on a recorded episode, and compares its actions with the recorded ones."""

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from groundup import device
from groundup.apps.robotics.replay import Ended, Replay
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.model_client import LocalModel
from groundup.apps.sorter.policy import standard_policy
from groundup.apps.sorter.robot import LAYOUT
from groundup.apps.sorter.sorter import Sorter
from groundup.core.errors import InputError


def replay(folder: Path, number: int, model: Path, min_confidence: int, device_name: str | None) -> dict[str, Any]:
    """The mean absolute difference between the model's actions and the recorded ones, by action field, and the mean
    number of detections an image. The recording does not depend on the model's actions.

    Raises InputError for a folder without such an episode of the sorting line.
    """
    robot = Replay(folder, number)
    if {"target", "suction", "ride", "belt"} != {field.name for field in robot.describe().acts}:
        raise InputError(f"{folder}: holds episodes of {robot.describe().name}; give some of the sorting line")
    with closing(LocalModel(model, device.pick(device_name))) as client:
        sorter, detections = (
            Sorter(client, standard_policy(min_confidence), LAYOUT, SimulatorConfig().belt),
            list[int](),
        )
        with suppress(Ended):
            while True:
                robot.act(sorter.step(robot.observe()))
                detections.append(len(sorter.detections))
    difference = {
        name: float(
            np.mean(
                [np.abs(told[name] - then[name]).mean() for told, then in zip(robot.told, robot.recorded, strict=True)]
            )
        )
        for name in robot.recorded[0]
    }
    return {"frames": len(robot.told), "detections": float(np.mean(detections)), "difference": difference}


def lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures of a replay as text, a line each."""
    rows = {"frames": figures["frames"], "detections": f"{figures['detections']:.1f} an image"}
    rows |= {name: f"{value:.3f} off the recorded action, on average" for name, value in figures["difference"].items()}
    return [f"{name:<16} {text}" for name, text in rows.items()]
