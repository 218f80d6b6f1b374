"""Tables: one document a row of a text column, from Parquet, CSV, JSON lines, Arrow IPC or a Hugging Face dataset saved
to disk.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from groundup.config.source import FileSource, TableSource
from groundup.core.errors import InputError
from groundup.core.files import inside, read_json
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import lines, record
from groundup.data.paths import located, names, shown, there

SUFFIXES = (".parquet", ".csv", ".jsonl", ".arrow")
BATCH_ROWS = 256  # few, since one row may be a whole book
CSV_BLOCK = 1 << 23  # bytes parsed at once
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


def inputs(source: TableSource, folder: Path) -> list[Path]:
    """The files of a table source; of a dataset saved to disk, those that its state.json lists, in its order."""
    return saved(source, folder) or [Path(name) for name in names(source, folder, SUFFIXES)]


def saved(source: FileSource, folder: Path) -> list[Path]:
    """The files of a Hugging Face dataset saved to disk, in the order of its state.json; none when the source's path is
    no such folder.

    Raises InputError for several splits, a file that is missing or outside the folder, and a state.json of another
    shape.
    """
    place = located(source, folder)
    if there(place / "dataset_dict.json"):
        splits = ", ".join(map(str, _entry(place / "dataset_dict.json", "splits")))
        raise InputError(
            f"source {source.name!r}: {place} holds several splits ({splits}); name one of them, such as path ="
            f" '{source.path}/train'"
        )
    if not there(place / "state.json"):
        return []
    paths = [_listed(place, entry) for entry in _entry(place / "state.json", "_data_files")]
    if read_json(place / "state.json").get("_indices_data_files"):  # older versions of datasets wrote them
        raise InputError(
            f"source {source.name!r}: {place} is a selection of its rows by an index, which is not read; save it with"
            " flatten_indices()"
        )
    for path in paths:
        if not there(path):
            raise InputError(
                f"source {source.name!r}: {path} is missing, though state.json beside it lists it; copy the whole"
                " folder again"
            )
    return paths


def _listed(place: Path, entry: Any) -> Path:
    """The file of an entry of state.json."""
    try:
        return inside(place, entry.get("filename") if isinstance(entry, dict) else entry)
    except InputError as error:
        raise InputError(
            f"{place / 'state.json'}: {error}; a saved dataset has its files in its own folder: save it again"
        ) from None


def _entry(path: Path, key: str) -> Any:
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise InputError(
            f"{path}: no list {key!r} in it, so the folder is no saved dataset; name its files with a pattern, such as"
            f" {path.parent}/*.parquet"
        )
    return value[key]


def rows(source: TableSource, folder: Path, drops: Filtered) -> Iterator[Document]:
    """Stream the rows of all files; null is dropped as "empty", what is no UTF-8 as damage.

    Raises InputError for a file that cannot be read at all, a missing column, and one that holds no text.
    """
    damage = Damage(source, drops, "rows")
    for path in inputs(source, folder):
        read = _json_rows if path.suffix.lower() == ".jsonl" else _column_rows
        for origin, text in read(path, shown(path, folder), source, damage):
            yield Document(source.name, origin, source.licence, text=text)
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

    Without computing on a whole column, which reads the values of nulls too, and those nobody has checked; and a few
    rows at a time, as a dictionary may hold a long text once for many rows.
    """
    with readable(source, path):
        for column in _columns(path, source, damage):
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if not any(is_text(kind) for is_text in _TEXTS):
                raise InputError(
                    f"source {source.name!r}: {path}: column {source.column!r} holds {kind}, not text; set column to"
                    " another"
                )
            values = _of_bytes(column)
            for start in range(0, len(values), BATCH_ROWS):
                yield from values.slice(start, BATCH_ROWS).to_pylist()


@contextmanager
def readable(source: FileSource, path: Path) -> Iterator[None]:
    """Turn what readers of tables raise into an InputError that names source and file."""
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        why = " ".join(str(error).split())  # some are of several lines
        raise InputError(
            f"source {source.name!r}: {path} cannot be read as a table ({why}); mend or remove it"
        ) from error


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
    """The column, which is there; the others are told as not read."""
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


def batches(path: Path, choose: Callable[[pa.Schema], list[str]], rows: int) -> Iterator[pa.RecordBatch]:
    """Stream the columns that `choose` picks of a .parquet or .arrow file, `rows` at a time, or as the .arrow file has
    them.

    All lengths and places in them are checked, so that damage is told here and never read beyond; but for UTF-8. For
    use in `readable`, as it raises pyarrow's exceptions, OSError, LookupError and ValueError for files that cannot be
    read.
    """
    for batch in _parquet(path, choose, rows) if path.suffix.lower() == ".parquet" else _arrow(path, choose):
        for column in batch.columns:
            column.validate()
            _of_bytes(column).validate(full=True)
        yield batch


def _parquet(path: Path, choose: Callable[[pa.Schema], list[str]], rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        columns = choose(file.schema_arrow)
        for batch in file.iter_batches(batch_size=rows, columns=columns, use_threads=False):
            yield batch.select(columns)


def _arrow(path: Path, choose: Callable[[pa.Schema], list[str]]) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file:
        indexed = file.read(6) == b"ARROW1"  # the file format; datasets saved to disk use the stream format
        file.seek(0)
        with pa.ipc.open_file(file) if indexed else pa.ipc.open_stream(file) as reader:
            columns = choose(reader.schema)
            for batch in map(reader.get_batch, range(reader.num_record_batches)) if indexed else reader:
                yield batch.select(columns)


def _of_bytes(column: pa.Array) -> pa.Array:
    """A column of texts as one of bytes, without a copy, for damaged UTF-8 is told row by row; any other as it is."""
    if pa.types.is_dictionary(column.type):
        column.indices.validate(full=True)
        column.dictionary.validate()
        return pa.DictionaryArray.from_arrays(column.indices, _of_bytes(column.dictionary))
    return column.view(_BYTES[column.type]) if column.type in _BYTES else column


def _csv(path: Path, source: TableSource, damage: Damage) -> Iterator[pa.Array]:
    block = min(
        max(CSV_BLOCK, 8 * source.max_chars), 1 << 30
    )  # a row must fit in it: text of up to 4 bytes a character, and the other columns
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
