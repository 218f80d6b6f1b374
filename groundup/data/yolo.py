"""A YOLO folder: the names of its classes, and the label file of each image.

Only the YAML that data.yaml needs is read: under `names` a list or numbered names, in lines or in brackets, plain or
quoted. All else there is refused.
"""

import re
from pathlib import Path

from groundup.config.source import SourceConfig
from groundup.core.errors import InputError
from groundup.data.image_files import SUFFIXES
from groundup.data.paths import matching, there

_PLAIN = r"[^\s'\"\[\]{}#&*!|>%@`,:-](?:(?! #|: )[^,\[\]{}])*?"
_SCALAR = rf"(?P<name>'(?:[^']|'')*'|\"[^\"\\]*\"|{_PLAIN})"
_REST = r"\s*(?:\s#.*)?$"
_ITEM = re.compile(r"\s*-\s+" + _SCALAR + _REST)
_NUMBERED = re.compile(r"\s+(?P<number>\d{1,6}):\s+" + _SCALAR + _REST)
_BETWEEN = re.compile(r"\s*(?:(?P<number>\d{1,6})\s*:\s+)?" + _SCALAR + r"\s*(?:,\s*|$)")
_CLASSES = ("data.yaml", "data.yml", "classes.txt", "labels/classes.txt")
_QUIET = re.compile(r"\s*(?:#.*)?$")


def files(source: SourceConfig, place: Path) -> list[Path]:
    """The file of the classes' names and the label files."""
    return [_classes_file(source, place), *label_files(place)]


def label_files(place: Path) -> list[Path]:
    """All .txt in folders called labels, sorted; but for a classes.txt, which labelling programs leave there."""
    found = sorted(set(map(Path, matching("**/labels/**/*.txt", place))))
    return [path for path in found if path.name != "classes.txt"]


def image_files(images: Path, everything: bool) -> list[Path]:
    """The images in a folder, sorted: `everything`, or those in folders called images."""
    start = "**" if everything else "**/images/**"
    return sorted(set(map(Path, matching(f"{start}/*", images, SUFFIXES))))  # nested images folders match twice


def label_of(path: Path, images: Path | None, place: Path) -> Path:
    """An image's label file without suffix: at its path under labels, or in place of the last `images` folder."""
    if images is not None:
        return (place / "labels" / path.relative_to(images)).with_suffix("")
    parts = list(path.relative_to(place).with_suffix("").parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return place.joinpath(*parts)


def classes(source: SourceConfig, place: Path) -> dict[int, str]:
    """The names of the classes by number; raises InputError for a file that is missing or unreadable."""
    path = _classes_file(source, place)
    try:
        # A name may hold Unicode's other line separators.
        rows = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"source {source.name!r}: {path} cannot be read ({error}); save it as UTF-8 text") from None
    names = (
        {number: row.strip() for number, row in enumerate(rows)} if path.suffix == ".txt" else _from_yaml(path, rows)
    )
    if not any(names.values()):
        raise InputError(f"{path}: no names of classes in it; write one a line, or in data.yaml names: [cup, plate]")
    return names


def is_one(place: Path) -> bool:
    """Whether a folder has the names of classes."""
    return any(there(place / name) for name in _CLASSES)


def _classes_file(source: SourceConfig, place: Path) -> Path:
    for name in _CLASSES:
        if there(place / name):
            return place / name
    raise InputError(
        f"source {source.name!r}: the folder {place} has neither data.yaml nor classes.txt with the names of classes; "
        "add one, or set path to a COCO .json, a .jsonl or a DOTA folder with labelTxt"
    )


def _from_yaml(path: Path, rows: list[str]) -> dict[int, str]:
    """The value of the key `names`."""
    starts = [number for number, row in enumerate(rows) if re.match(r"names\s*:(?:\s|$)", row)]
    if len(starts) != 1:
        raise InputError(
            f"{path}: {len(starts)} keys called names at the start of a line; it must have one, such as names: [cup,"
            " plate]"
        )
    start = starts[0]
    first = rows[start].partition(":")[2]
    block = [first]
    for row in rows[start + 1 :]:
        if row and not row[0].isspace() and row[0] not in "-]}#":  # the next key
            break
        block.append(row)
    if first.strip()[:1] in ("[", "{"):
        return _in_brackets(f"{path}: line {start + 1}", block)
    if not _QUIET.match(first):
        raise InputError(
            f"{path}: line {start + 1}: names is {first.strip()!r}; expected a list, such as names: [cup, plate]"
        )
    return _in_lines(path, start + 2, block[1:])


def _in_brackets(where: str, block: list[str]) -> dict[int, str]:
    """Names between brackets, which may go over several lines."""
    text = " ".join(re.sub(r"(^|\s)#[^'\"]*$", "", row) for row in block).strip()
    opened, closed = text[0], text[-1]
    names: dict[int, str] = {}
    rest = text[1:-1].strip()
    while rest:
        match = _BETWEEN.match(rest)
        if not match or opened + closed not in ("[]", "{}") or (match["number"] is None) != (opened == "["):
            raise InputError(
                f"{where}: cannot be read at {rest[:40]!r}; write names: [cup, plate] or names: {{0: cup, 1: plate}}"
            )
        number = len(names) if match["number"] is None else int(match["number"])
        _add(names, number, match["name"], where)
        rest = rest[match.end() :]
    return names


def _in_lines(path: Path, first: int, block: list[str]) -> dict[int, str]:
    """Names one a line, with dashes or numbers before them."""
    names: dict[int, str] = {}
    forms = set()
    for place, row in enumerate(block, first):
        if _QUIET.match(row):
            continue
        item, numbered = _ITEM.match(row), _NUMBERED.match(row)
        forms.add(item is not None)
        if not (match := item or numbered) or len(forms) > 1:
            raise InputError(
                f"{path}: line {place}: {row.strip()[:40]!r} cannot be read as a name; write all as '- cup', or all as"
                " '0: cup'"
            )
        _add(names, len(names) if item else int(match["number"]), match["name"], f"{path}: line {place}")
    return names


def _add(names: dict[int, str], number: int, written: str, where: str) -> None:
    if number in names:
        raise InputError(f"{where}: class {number} has two names; take one out")
    if written[0] == "'":
        written = written[1:-1].replace("''", "'")
    names[number] = written.strip('"').strip()
