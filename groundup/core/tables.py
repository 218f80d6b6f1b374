"""The registries: tables of the kinds that the package knows only by what they declare.

A source, an objective, an evaluation suite, a weight layout, an export or an application is declared in one file, which
adds an entry to a table. A table is filled when it is first read, from three places: the modules of the table's own
folder, the modules that applications declare for it, and the entry points that other installed packages declare for the
table's group, such as `groundup.sources`. Importing a module is enough: it adds its entries.
"""

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from groundup.core.errors import InputError

Entry = TypeVar("Entry")


class Table(Generic[Entry]):
    """Entries of one sort by name. `group` names its entry points, `folder` the package whose modules add to it."""

    def __init__(self, group: str, folder: str):
        self.group, self.folder = group, folder
        self._entries: dict[str, Entry] = {}
        self._filled = False

    def add(self, name: str, entry: Entry) -> Entry:
        """Add an entry. Raises ValueError for a name that is taken."""
        if name in self._entries:
            raise ValueError(f"{self.group} has two entries called {name!r}")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """The decorator that adds what it decorates."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name. Raises InputError that lists the known names."""
        known = self._all()
        if name not in known:
            raise InputError(f"{self.group} has no {name!r}; known: {', '.join(sorted(known))}")
        return known[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the alphabet."""
        return iter(sorted(self._all()))

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Names and entries, in the order of the names."""
        return iter(sorted(self._all().items()))

    def _all(self) -> dict[str, Entry]:
        if not self._filled:
            self._filled = True  # first: what is imported may read the table
            for module in pkgutil.iter_modules(import_module(self.folder).__path__, f"{self.folder}."):
                import_module(module.name)
            for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
                point.load()
            if self.group != APPLICATIONS.group:
                for _, application in APPLICATIONS.items():
                    if module_name := application.modules.get(self.group):
                        import_module(module_name)
        return self._entries


@dataclass(frozen=True)
class Application:
    """What the command line and the other tables need to know of an application before any of it is imported.

    `modules` names, by the group of a table, the module that adds the application's entries to it; `commands` the
    module whose `register(app)` adds its commands to the Typer application.
    """

    commands: str
    modules: Mapping[str, str] = field(default_factory=dict)


APPLICATIONS: Table[Application] = Table("groundup.applications", "groundup.apps")
SOURCES: Table[Any] = Table("groundup.sources", "groundup.data.sources")
OBJECTIVES: Table[Any] = Table("groundup.objectives", "groundup.train.objectives")
SUITES: Table[Any] = Table("groundup.suites", "groundup.evaluate.suites")
LAYOUTS: Table[Any] = Table("groundup.layouts", "groundup.model.layouts")
EXPORTS: Table[Any] = Table("groundup.exports", "groundup.release.export")
REPORTS: Table[Any] = Table("groundup.reports", "groundup.release.parts")  # parts of the report, by stage
