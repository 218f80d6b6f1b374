"""An export: one format in which a model is written for other tools, declared in the table `EXPORTS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from groundup.core.errors import InputError
from groundup.core.extras import require
from groundup.core.tables import EXPORTS


@dataclass(frozen=True)
class Export:
    """The declaration of an export.

    `write` takes a finished stage's folder, the folder to write and the options that were given, and returns the files.
    `refuses` gives, for each option that the format does not take, why not. `extra` names the extra that it needs.
    """

    write: Callable[[Path, Path, Mapping[str, str]], list[Path]]
    refuses: Mapping[str, str]
    extra: str | None = None


def export(name: str, model: Path, out: Path, options: Mapping[str, str]) -> list[Path]:
    """Export a finished stage's model under a format's name; `options` are those that the user set.

    Raises InputError for an unknown format, a missing extra, an option that the format does not take, and as its
    `write` does.
    """
    chosen: Export = EXPORTS[name]
    if chosen.extra is not None:
        require(chosen.extra)
    for option, value in options.items():
        if option in chosen.refuses:
            raise InputError(f"--{option} {value}: {chosen.refuses[option]}")
    return chosen.write(model, out, options)
