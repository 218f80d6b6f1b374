"""Tables: a document per row of a text column, from Parquet, CSV, JSON lines, Arrow or a saved Hugging Face dataset."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import table_files
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import record, records
from groundup.data.paths import shown
from groundup.data.source import TextFilesSource
from groundup.data.streams import suffix

BATCH_ROWS = 256  # few, since one row may be a whole book
_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


class TableSource(TextFilesSource):
    """Parquet, CSV, JSON or Arrow files (Hugging Face datasets saved to disk), one document a row."""

    version = 3  # files named after the parts of a split are that split

    column: str = knob("text", "column", "the column that holds the text")

    def paths(self, folder: Path) -> list[Path]:
        """The files of the path; of a dataset saved to disk, those that its state.json lists, in its order."""
        return table_files.paths(self, folder)

    def split_paths(self, folder: Path) -> dict[str, list[Path]]:
        """Those files by the part of a split that their names say."""
        return table_files.by_part(self, folder)

    def documents(self, paths: list[Path], folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the rows of files; null is dropped as "empty", invalid UTF-8 as damage.

        Raises InputError for an unreadable file, a missing column, and one that holds no text.
        """
        damage = Damage(self, drops, "rows")
        for path in paths:
            rows = _json_rows if suffix(path) in table_files.JSON else _column_rows
            for origin, text in rows(path, shown(path, folder), self, damage):
                yield Document(self.name, origin, self.licence, text=text)
        damage.settle()


def _json_rows(path: Path, name: str, source: TableSource, damage: Damage) -> Iterator[tuple[str, str]]:
    """The column of each JSON object, with its origin."""
    for origin, line in records(path, name, damage, source.encoding):
        try:
            row = record(line)
        except UnicodeDecodeError as error:
            damage.note_undecodable(origin, error)
            continue
        except ValueError as error:
            damage.note("broken line", origin, str(error))
            continue
        text = row.get(source.column, 0)
        if isinstance(text, str | None):
            damage.drops.pass_over(row.keys() - {source.column})
            yield origin, text or ""
        else:
            damage.note("broken line", origin, f"no text under {source.column!r}; it has {', '.join(row) or 'no keys'}")


def _column_rows(path: Path, name: str, source: TableSource, damage: Damage) -> Iterator[tuple[str, str]]:
    """The column's value in each row, with the row's origin."""
    for number, value in enumerate(_values(path, source, damage), 1):
        damage.seen += 1
        try:
            yield f"{name}:{number}", (value or b"").decode()
        except UnicodeDecodeError as error:
            damage.note_undecodable(f"{name}:{number}", error)


def _values(path: Path, source: TableSource, damage: Damage) -> Iterator[bytes | None]:
    """The column's values as bytes: readers do not check UTF-8, so decoding row by row finds the bad ones.

    Nothing is computed on a whole column: that would read unchecked values of nulls. A few rows at a time, as a
    dictionary may hold a long text once for many rows.
    """

    def choose(columns: list[str]) -> list[str]:
        if source.column not in columns:
            raise InputError(
                f"source {source.name!r}: {path} has no column {source.column!r}; it has {', '.join(columns)}; set"
                " column to one of them"
            )
        damage.drops.pass_over(set(columns) - {source.column})
        return [source.column]

    for batch in table_files.columns(path, source, choose, BATCH_ROWS, damage):
        kind = batch.column(0).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_text(kind) for is_text in _TEXTS):
            raise InputError(
                f"source {source.name!r}: {path}: column {source.column!r} holds {kind}, not text; set column to"
                " another"
            )
        values = table_files.of_bytes(batch.column(0))
        for start in range(0, len(values), BATCH_ROWS):
            with table_files.readable(source, path):
                few = values.slice(start, BATCH_ROWS).to_pylist()
            yield from few


SOURCES.add("table", TableSource)
