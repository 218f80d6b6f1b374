"""The registries: tables of all sources, objectives, suites and so on, by the names that recipes use.

A module adds its entry when it is imported. The entry's name is known without an import, so that checking a recipe and
printing help need no torch. The name is declared in one of three ways:

- a module of the table's own folder: `groundup/data/sources/python_library.py` adds the source `python-library`
  (modules whose name begins with _ declare nothing);
- `Application.modules`, for what an application adds;
- an entry point of another package, in the table's group: `mine = "their_package.mine"` under `groundup.sources` means
  that importing `their_package.mine` adds the source `mine`.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from groundup.core.errors import InputError

if TYPE_CHECKING:
    # for the types of the tables alone: at run time this room imports none above it
    from pydantic import BaseModel

    from groundup.codecs.call_format import CallFormat
    from groundup.config.objective import Objective
    from groundup.evaluate.suite import Suite
    from groundup.model.layouts import Layout
    from groundup.pipeline.application import ApplicationStage
    from groundup.release.exporter import Export
    from groundup.release.part import ReportPart

Entry = TypeVar("Entry")


class Table(Generic[Entry]):
    """Entries by name. `group` names their entry points; `folder`, if any, the package with one module per entry."""

    def __init__(self, group: str, folder: str | None = None):
        self.group, self.folder = group, folder
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry. Raises InputError for a name that is taken."""
        if name in self._entries:
            raise InputError(f"{self.group} has two entries called {name!r}: {self._entries[name]!r} and {entry!r}")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name, its module imported. Raises InputError that lists the known names."""
        if name not in self._entries:
            self._import(name)
        return self._entries[name]

    def known(self, name: str) -> str:
        """The name, checked. Raises ValueError that lists the known names; for recipes, so nothing is imported."""
        if name not in self:
            raise ValueError(f"{name!r} is none of {', '.join(self)}")
        return name

    def __iter__(self) -> Iterator[str]:
        """The names in alphabetical order; imports only the applications' declarations."""
        return iter(sorted({*self._modules, *self._entries}))

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._modules

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Names and entries, in the order of the names; imports all of them."""
        return ((name, self[name]) for name in self)

    def _import(self, name: str) -> None:
        if name not in self._modules:
            raise InputError(f"{self.group} has no {name!r}; known: {', '.join(self)}")
        module = self._modules[name]
        try:
            import_module(module)
        except ImportError as error:
            raise InputError(f"{self.group}: {name!r} cannot be imported from {module}: {error}") from error
        if name not in self._entries:
            raise InputError(f"{module} is declared for {name!r} in {self.group}, and adds no such entry")

    @cached_property
    def _modules(self) -> dict[str, str]:
        """The module of each declared name. Raises InputError for a name that two modules declare."""
        modules: dict[str, str] = {}
        for name, module in self._declared():
            if modules.setdefault(name, module) != module:
                raise InputError(
                    f"{self.group} has two entries called {name!r}: of {modules[name]} and of {module}; uninstall one"
                    " of them"
                )
        return modules

    def _declared(self) -> Iterator[tuple[str, str]]:
        for module in pkgutil.iter_modules(import_module(self.folder).__path__) if self.folder else ():
            if not module.name.startswith("_"):
                yield module.name.replace("_", "-"), f"{self.folder}.{module.name}"
        if self.group != APPLICATIONS.group:
            for _, application in APPLICATIONS.items():
                yield from application.modules.get(self.group, {}).items()
        for point in entry_points(group=self.group):
            yield point.name, point.module


@dataclass(frozen=True)
class Application:
    """The declaration of an application, which command line, recipe and tables use before they import its modules.

    `commands`: the module whose `register(app)` adds commands to the Typer application. `modules`: by the group of a
    table and the name of an entry, the module that adds it. `recipe`: by the key of a top-level recipe table, its
    class as `module:class` (a `config.recipe.ApplicationPart`).
    """

    commands: str | None = None
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    recipe: Mapping[str, str] = field(default_factory=dict)


APPLICATIONS: Table[Application] = Table("groundup.applications", "groundup.apps")
SOURCES: Table["type[BaseModel]"] = Table("groundup.sources", "groundup.data.sources")
OBJECTIVES: Table["Objective"] = Table("groundup.objectives", "groundup.train.objectives")
SUITES: Table["Suite[Any]"] = Table("groundup.suites", "groundup.evaluate.suites")
CALL_FORMATS: Table["CallFormat"] = Table("groundup.call_formats", "groundup.codecs.call_formats")
LAYOUTS: Table["Layout"] = Table("groundup.layouts", "groundup.model.layouts")
EXPORTS: Table["Export"] = Table("groundup.exports", "groundup.release.export")
STAGES: Table["ApplicationStage[Any]"] = Table("groundup.stages")  # of applications
REPORTS: Table["ReportPart"] = Table("groundup.reports", "groundup.release.parts")  # parts of the report, by stage
