"""The work of the stage "line": runs the line with the trained model and, on the same items, with a ground-truth
oracle; figures, and a film of the first shift.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from groundup.apps.sorter.config import LinePart
from groundup.apps.sorter.film import Film
from groundup.apps.sorter.model_client import LocalModel
from groundup.apps.sorter.policy import standard_policy
from groundup.apps.sorter.result import LineResult
from groundup.apps.sorter.robot import PICTURES, Oracle, SimulatedLine, setting
from groundup.apps.sorter.shift import WorkShift
from groundup.device import Device


def trial(
    model: Path, part: LinePart, seed: int, device: Device, film: Path, advance: Callable[[float], object]
) -> LineResult:
    """Run the line with the model of a folder as the recipe's part says; `advance` counts items that left the line.

    Raises InputError for a model without detection classes.
    """
    policy, watch = standard_policy(part.sure), Film()
    rows: list[dict[str, Any]] = []
    with closing(LocalModel(model, device)) as client:
        for name in part.settings:
            for by in ("model", "oracle"):
                robot = SimulatedLine(setting(name), seed, PICTURES)
                shift = WorkShift(robot, client if by == "model" else Oracle(robot), policy)
                _work(shift, part.items, advance, None if rows else watch)
                rows.append({"setting": name, "by": by} | shift.figures())
    watch.save(film)
    return LineResult.of({"items": part.items, "sure": part.sure, "rows": rows})


def _work(shift: WorkShift, items: int, advance: Callable[[float], object], film: Film | None) -> None:
    def after(left: int) -> None:
        advance(left)
        if film:
            film.capture(shift)

    shift.run(items, after=after)
