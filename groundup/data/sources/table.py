"""Tables: a document per row of a text column, from Parquet, CSV, JSON lines, Arrow or a saved Hugging Face dataset."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from groundup.config.base import knob
from groundup.config.source import FileSourceConfig
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import lines, record
from groundup.data.paths import names, shown
from groundup.data.source import Source
from groundup.data.table_files import batches, of_bytes, readable, saved

SUFFIXES = (".parquet", ".csv", ".jsonl", ".arrow")
BATCH_ROWS = 256  # few, since one row may be a whole book
CSV_BLOCK = 1 << 23  # bytes parsed at once
_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


class TableSource(FileSourceConfig, Source):
    """Parquet, CSV, JSON lines or Arrow files (Hugging Face datasets saved to disk), one document a row."""

    column: str = knob("text", "column", "the column that holds the text")

    def files(self, folder: Path) -> list[Path]:
        """The files of the path; of a dataset saved to disk, those that its state.json lists, in its order."""
        return saved(self, folder) or [Path(name) for name in names(self, folder, SUFFIXES)]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the rows of all files; null is dropped as "empty", invalid UTF-8 as damage.

        Raises InputError for an unreadable file, a missing column, and one that holds no text.
        """
        damage = Damage(self, drops, "rows")
        for path in self.files(folder):
            rows = _json_rows if path.suffix.lower() == ".jsonl" else _column_rows
            for origin, text in rows(path, shown(path, folder), self, damage):
                yield Document(self.name, origin, self.licence, text=text)
        damage.settle()


def _json_rows(path: Path, name: str, source: TableSource, damage: Damage) -> Iterator[tuple[str, str]]:
    """The column of each JSON line, with the line's origin."""
    for origin, line in lines(path, name, damage):
        try:
            row = record(line)
        except ValueError as error:
            damage.note("broken line", origin, str(error))
            continue
        if isinstance(row.get(source.column), str):
            damage.drops.pass_over(row.keys() - {source.column})
            yield origin, row[source.column]
        else:
            damage.note("broken line", origin, f"no text under {source.column!r}; it has {', '.join(row) or 'no keys'}")


def _column_rows(path: Path, name: str, source: TableSource, damage: Damage) -> Iterator[tuple[str, str]]:
    """The column's value in each row, with the row's origin."""
    for number, value in enumerate(_values(path, source, damage), 1):
        damage.seen += 1
        try:
            yield f"{name}:{number}", (value or b"").decode()
        except UnicodeDecodeError as error:
            damage.note("invalid UTF-8", f"{name}:{number}", f"byte {error.start}")


def _values(path: Path, source: TableSource, damage: Damage) -> Iterator[bytes | None]:
    """The column's values as bytes: readers do not check UTF-8, so decoding row by row finds the bad ones.

    Nothing is computed on a whole column: that would read unchecked values of nulls. A few rows at a time, as a
    dictionary may hold a long text once for many rows.
    """
    with readable(source, path):
        for column in _columns(path, source, damage):
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if not any(is_text(kind) for is_text in _TEXTS):
                raise InputError(
                    f"source {source.name!r}: {path}: column {source.column!r} holds {kind}, not text; set column to"
                    " another"
                )
            values = of_bytes(column)
            for start in range(0, len(values), BATCH_ROWS):
                yield from values.slice(start, BATCH_ROWS).to_pylist()


def _columns(path: Path, source: TableSource, damage: Damage) -> Iterator[pa.Array]:
    match path.suffix.lower():
        case ".csv":
            return _csv(path, source, damage)
        case ".parquet" | ".arrow":
            return (
                batch.column(0)
                for batch in batches(path, lambda schema: [_present(path, source, schema.names, damage)], BATCH_ROWS)
            )
        case _:
            raise InputError(
                f"source {source.name!r}: {path}: a table is one of {', '.join(SUFFIXES)}; convert it or correct the"
                " path"
            )


def _present(path: Path, source: TableSource, columns: list[str], damage: Damage) -> str:
    """The column's name, checked; the others are noted as unread."""
    if source.column not in columns:
        raise InputError(
            f"source {source.name!r}: {path} has no column {source.column!r}; it has {', '.join(columns)}; set column"
            " to one of them"
        )
    if columns.count(source.column) > 1:
        raise InputError(
            f"source {source.name!r}: {path} has {columns.count(source.column)} columns {source.column!r}; rename all"
            " but one"
        )
    damage.drops.pass_over(set(columns) - {source.column})
    return source.column


def _csv(path: Path, source: TableSource, damage: Damage) -> Iterator[pa.Array]:
    # A row must fit in a block: text of up to 4 bytes a character, and the other columns.
    block = min(max(CSV_BLOCK, 8 * source.max_chars), 1 << 30)
    reading = pacsv.ReadOptions(use_threads=False, block_size=block)
    parsing = pacsv.ParseOptions(
        newlines_in_values=True, invalid_row_handler=partial(_skip_row, path=path, damage=damage)
    )
    with closing(
        pacsv.open_csv(
            path, reading, pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip")
        )
    ) as header:
        _present(path, source, header.schema.names, damage)
    converting = pacsv.ConvertOptions(include_columns=[source.column], column_types={source.column: pa.large_binary()})
    with closing(pacsv.open_csv(path, reading, parsing, converting)) as reader:
        for batch in reader:
            yield batch.column(0)


def _skip_row(row: Any, path: Path, damage: Damage) -> str:
    damage.seen += 1
    damage.note(
        "broken row",
        f"{path}: row {row.number}",
        f"{row.actual_columns} columns where {row.expected_columns} are expected",
    )
    return "skip"


SOURCES.add("table", TableSource)
