"""An evaluation suite: its declaration, in a file of its name that adds a `Suite` to `SUITES`, and its inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from groundup.config.evaluation import EvaluatePart
from groundup.data.source import Source
from groundup.evaluate.display import Display
from groundup.generate.engine import Engine

Advance = Callable[[int], None]
Result = TypeVar("Result")
AnySource = TypeVar("AnySource", bound=Source)


def ignored(done: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class SuiteInputs:
    """The inputs of a suite.

    `sources` are those of the recipe, `options` its [evaluate], `home` the base of its paths, `documents` the folder of
    each source (`documents.parquet`). `advance` takes numbers of finished cases, `note` what was not measured.
    """

    engine: Engine
    sources: tuple[Source, ...]
    options: EvaluatePart
    home: Path
    documents: Mapping[str, Path]
    advance: Advance
    note: Callable[[str], None]

    def of(self, kind: type[AnySource]) -> Iterator[AnySource]:
        """The sources of a class, for a suite of that kind; other suites choose by the sources' declarations."""
        return (source for source in self.sources if isinstance(source, kind))

    def paths(self, names: Sequence[str]) -> dict[str, Path]:
        """The paths of files that the options name, by name."""
        return {name: (self.home / name).expanduser() for name in names}

    def file(self, source: Source) -> Path | None:
        """The documents file of a source, or None if the run has none."""
        path = self.documents[source.name] / "documents.parquet" if source.name in self.documents else None
        return path if path is not None and path.is_file() else None

    def files(self) -> Iterator[tuple[Source, Path]]:
        """The sources that have documents, each with its documents file."""
        return ((source, path) for source in self.sources if (path := self.file(source)) is not None)


@dataclass(frozen=True)
class Suite(Generic[Result]):
    """The declaration of a suite.

    `version` rises when its figures change. `result` is a frozen dataclass whose fields are keys of the evaluation's
    JSON, with defaults for "not measured". `measure` fills it, `display` presents it, `missing` is the note without it.
    `extra` names the extra it needs; `image_inputs` says that the model must take images.
    """

    version: int
    result: type[Result]
    measure: Callable[[SuiteInputs], Result]
    display: Callable[[Result], Display]
    missing: str
    extra: str | None = None
    image_inputs: bool = False
