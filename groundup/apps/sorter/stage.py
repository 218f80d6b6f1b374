"""The stage "line": runs the sorting line with the trained model."""

from pathlib import Path

from groundup.apps.sorter.config import LinePart
from groundup.apps.sorter.report import FILM
from groundup.core import console
from groundup.core.tables import STAGES
from groundup.pipeline.application import ApplicationStage
from groundup.pipeline.stages import Result, StageContext


def work(context: StageContext, model: Path, part: LinePart) -> Result:
    """Run the line in each setting, with the model of a folder and with an oracle."""
    from groundup.apps.sorter.trial import trial  # it needs another extra

    with console.progress("line", 2 * len(part.settings) * part.items, "items") as advance:
        result = trial(model, part, context.recipe.seed, context.device, context.folder("line") / FILM, advance)
    return Result([FILM], result)


STAGES.add("line", ApplicationStage(LinePart, "groundup.apps.sorter.trial", "sorter", work, ("mujoco",), (FILM,)))
