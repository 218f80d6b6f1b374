"""Stages that applications declare: they run at the end of a run, with the model of its last training stage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from groundup.config.recipe import ApplicationPart
from groundup.core.extras import require
from groundup.pipeline.stages import Result, StageContext

P = TypeVar("P", bound=ApplicationPart)


@dataclass(frozen=True)
class ApplicationStage(Generic[P]):
    """An entry of the table `STAGES`; the stage exists if a recipe has the application's table of class `part`.

    `work` gets the run, the model's folder and that table. `version` rises when the result changes, which also depends
    on the versions of `packages` (of the `extra`) and the code of `module`. `shown` are the outputs the report reads.
    """

    part: type[P]
    module: str
    extra: str
    work: Callable[[StageContext, Path, P], Result]
    packages: tuple[str, ...] = field(default=())
    shown: tuple[str, ...] = field(default=())
    version: int = 1

    def key(self, part: P) -> dict[str, Any]:
        """The recipe's part of the stage's key. Raises InputError where the extra is not installed."""
        require(self.extra)
        return part.non_defaults() | {package: version(package) for package in self.packages}
