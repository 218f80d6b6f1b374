"""A model on trial: the line at work with it as the brain and, on the same items, with an oracle; figures, and a film
of the first shift.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from groundup.apps.sorter.config import LinePart
from groundup.apps.sorter.film import Film
from groundup.apps.sorter.model_client import OwnBrain
from groundup.apps.sorter.policy import standard
from groundup.apps.sorter.robot import PICTURES, Oracle, Robot, setting
from groundup.apps.sorter.shift import Shift
from groundup.device import Device

FILM = "line.webp"


def trial(
    model: Path, part: LinePart, seed: int, device: Device, film: Path, advance: Callable[[float], object]
) -> dict[str, Any]:
    """Sort with the model of a folder as the recipe's part says; `advance` is told of items that left the line.

    Returns a row of `Shift.figures` for each setting and brain, "model" and then "oracle". Raises InputError for a
    model that names nothing.
    """
    policy, watch = standard(part.sure), Film()
    rows: list[dict[str, Any]] = []
    with closing(OwnBrain(model, device)) as brain:
        for name in part.settings:
            for by in ("model", "oracle"):
                robot = Robot(setting(name), seed, PICTURES)
                shift = Shift(robot, brain if by == "model" else Oracle(robot), policy)
                _work(shift, part.items, advance, None if rows else watch)
                rows.append({"setting": name, "by": by} | shift.figures())
    watch.save(film)
    return {"items": part.items, "sure": part.sure, "rows": rows}


def _work(shift: Shift, items: int, advance: Callable[[float], object], film: Film | None) -> None:
    def after(left: int) -> None:
        advance(left)
        if film:
            film.look(shift)

    shift.run(items, after=after)
