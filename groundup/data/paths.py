"""Which files a source names, and how they are called in reports."""

import glob
from pathlib import Path

from groundup.errors import InputError
from groundup.recipe import FileSource


def names(source: FileSource, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files of a source's path, sorted: one file, what a glob matches, or what a folder holds under `suffixes`.

    Relative paths start at `folder`, the recipe's; `~` is the home folder. Hidden files match only patterns that
    spell their dot. As text, a quarter of the size of a Path: there may be millions. Raises InputError when there is none.
    """
    place = located(source, folder)
    if place.is_dir():
        found = matching("**/*", place, suffixes)
        problem = f"no {' or '.join(suffixes)} file in that folder"
    elif place.exists():
        found = [str(place)]
    else:
        found = matching(str(Path(source.path).expanduser()), folder)
        problem = "matches no file" if glob.has_magic(source.path) else "no such file"
    if not found:
        raise InputError(f"source {source.name!r}: path {source.path!r}: {problem} (looked for {place}); correct the path or add the file")
    return sorted(found)


def located(source: FileSource, folder: Path) -> Path:
    """The source's path, absolute or from `folder`, with `~` expanded."""
    return folder / Path(source.path).expanduser()


def shown(path: Path, folder: Path) -> str:
    """A file's name in reports and origins: relative to the recipe's folder where it lies inside, so that moving both keeps it."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def matching(pattern: str, folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """What a pattern matches in a folder under `suffixes`: regular files and links (a dangling one is reported, not passed over).

    No folders or pipes.
    """
    found = glob.iglob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - Path.glob would take hidden files too
    paths = (folder / name for name in found if name.endswith(suffixes))
    return [str(path) for path in paths if path.is_file() or (path.is_symlink() and not path.is_dir())]
