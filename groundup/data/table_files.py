"""Reads tables a few rows at a time: Parquet, Arrow IPC, CSV, and Hugging Face datasets saved to disk."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from groundup.config.source import FileSourceConfig, TextFilesConfig
from groundup.core.errors import InputError
from groundup.core.files import inside, read_json
from groundup.data.filtered import Damage
from groundup.data.given_split import GivenSplit, part_of, words
from groundup.data.paths import located, names, there
from groundup.data.streams import CHUNK, MARK, MARKED, PACKINGS, guessed, opened, packed, suffix, unmarked

_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}  # the first of these in the header line
JSON = (".jsonl", ".ndjson", ".json")
PLAIN = (*_DELIMITERS, *JSON)  # those that are text
BINARY = (".parquet", ".arrow")
SUFFIXES = packed((*BINARY, *PLAIN))
_SPLITS = "dataset_dict.json"  # of a saved dataset of several splits: their names
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", _SPLITS, "state.json")  # of datasets, no rows
MOST_UNPACKED = 64  # times the size of a packed table: its columns are packed already
CSV_BLOCK = 1 << 23  # bytes parsed at once

Choose = Callable[[list[str]], list[str]]  # selects the columns to read


def by_part(source: TextFilesConfig, folder: Path) -> dict[str, list[Path]]:
    """The files of tables by the part of a split in their names, or that of a saved dataset; else all as of none."""
    found = splits(source, folder) or [(words(path.stem), path) for path in paths(source, folder)]
    parts: dict[str, list[Path]] = {}
    for named, path in found:
        parts.setdefault(part_of(named), []).append(path)
    return parts if GivenSplit.among(parts).heldout else {"": [path for _, path in found]}


def paths(source: TextFilesConfig, folder: Path) -> list[Path]:
    """The files of tables that a source's path means; of a saved dataset, those of its state.json, in its order."""
    if found := saved(source, folder):
        return found
    found = [Path(name) for name in names(source, folder, SUFFIXES) if Path(name).name not in _DESCRIPTIONS]
    if strange := next((path for path in found if not path.name.lower().endswith(SUFFIXES)), None):
        known = f"{', '.join((*BINARY, *PLAIN))}, packed or not"
        raise InputError(f"source {source.name!r}: {strange}: a table is one of {known}; convert it")
    return found


def columns(path: Path, source: TextFilesConfig, choose: Choose, rows: int, damage: Damage) -> Iterator[pa.RecordBatch]:
    """Stream the columns that `choose` picks of a table that is no JSON.

    Raises InputError for a table that cannot be read, or has one of the columns twice.
    """

    def chosen(there: list[str]) -> list[str]:
        found = choose(there)
        twice = next((name for name, count in Counter(there).items() if count > 1 and name in found), None)
        if twice is not None:
            raise InputError(
                f"source {source.name!r}: {path} has {there.count(twice)} columns {twice!r}; rename all but one"
            )
        return found

    with readable(source, path):
        if suffix(path) in _DELIMITERS:
            yield from _csv(path, source, chosen, damage)
        else:
            yield from batches(path, lambda schema: chosen(schema.names), rows)


def _csv(path: Path, source: TextFilesConfig, choose: Choose, damage: Damage) -> Iterator[pa.RecordBatch]:
    """The columns as bytes, as damaged UTF-8 is reported row by row."""
    # A row must fit in a block: text of up to 4 bytes a character, and the other columns.
    block = min(max(CSV_BLOCK, 8 * source.max_chars), 1 << 30)
    reading = pacsv.ReadOptions(use_threads=False, block_size=block)
    delimiter = _delimiter(path, source)
    parse = partial(pacsv.ParseOptions, delimiter=delimiter, newlines_in_values=True)
    with (
        opened(path, source.encoding, MARKED) as file,
        pacsv.open_csv(file, reading, parse(invalid_row_handler=lambda row: "skip")) as header,
    ):
        there = header.schema.names
    if bad := next((name for name in there if MARK in name), None):
        guess = guessed(unmarked(bad.encode()))
        raise InputError(
            f"source {source.name!r}: {path}: the names of its columns are no {source.encoding}; set encoding to"
            f" theirs, perhaps {guess!r}"
        )
    chosen = choose(there)
    converting = pacsv.ConvertOptions(include_columns=chosen, column_types=dict.fromkeys(chosen, pa.large_binary()))
    skipping = parse(invalid_row_handler=partial(_skip_row, path=path, damage=damage))
    with (
        opened(path, source.encoding, MARKED) as file,
        pacsv.open_csv(file, reading, skipping, converting) as reader,
    ):
        for batch in reader:
            yield batch if MARK.encode() not in batch.serialize().to_pybytes() else _unmarked(batch)


def _unmarked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of bytes with those that could not be decoded as they were."""
    values = [[each and unmarked(each) for each in column.to_pylist()] for column in batch.columns]
    return pa.RecordBatch.from_arrays([pa.array(each, pa.large_binary()) for each in values], batch.schema.names)


def _delimiter(path: Path, source: TextFilesConfig) -> str:
    """The delimiter: a comma, or a semicolon, which spreadsheets write where the comma is the decimal point."""
    with opened(path, source.encoding) as file:
        names = file.peek().split(b"\n")[0].decode(errors="replace")
    known = _DELIMITERS[suffix(path)]
    return next((each for each in known if each in names), known[0])


def _skip_row(row: Any, path: Path, damage: Damage) -> str:
    damage.seen += 1
    damage.note(
        "broken row",
        f"{path}: row {row.number}",
        f"{row.actual_columns} columns where {row.expected_columns} are expected",
    )
    return "skip"


def saved(source: FileSourceConfig, folder: Path) -> list[Path]:
    """The files of a saved Hugging Face dataset, in the order of its state.json; none if the path is no such folder.

    Raises InputError for several splits, a file that is missing or outside the folder, and a malformed state.json.
    """
    place = located(source, folder)
    if there(place / _SPLITS):
        listed = ", ".join(map(str, _entry(place / _SPLITS, "splits")))
        raise InputError(
            f"source {source.name!r}: {place} holds several splits ({listed}); name one of them, such as path ="
            f" '{source.path}/train'"
        )
    return _saved(source, place)


def splits(source: FileSourceConfig, folder: Path) -> list[tuple[list[str], Path]]:
    """The files of a saved dataset of several splits, each with the words in its split's name; none for another path.

    Raises InputError as `saved` does, and for a split that is no folder in it.
    """
    place = located(source, folder)
    listed = _entry(place / _SPLITS, "splits") if there(place / _SPLITS) else []
    found = [(split, path) for split in map(str, listed) for path in _split(source, place, split)]
    return [(words(split), path) for split, path in found]


def _split(source: FileSourceConfig, place: Path, split: str) -> list[Path]:
    found = _saved(source, inside(place, split))
    if not found:
        raise InputError(f"source {source.name!r}: {place / split} holds no saved split; copy the whole folder again")
    return found


def _saved(source: FileSourceConfig, place: Path) -> list[Path]:
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


@contextmanager
def readable(source: FileSourceConfig, path: Path) -> Iterator[None]:
    """Turn what readers of tables raise into an InputError that names source and file."""
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, ValueError, OverflowError) as error:
        why = " ".join(str(error).split())  # some messages have several lines
        raise InputError(
            f"source {source.name!r}: {path} cannot be read as a table ({why}); mend or remove it"
        ) from error


def batches(path: Path, choose: Callable[[pa.Schema], list[str]], rows: int) -> Iterator[pa.RecordBatch]:
    """Stream the columns that `choose` picks of a .parquet or .arrow file, `rows` at a time, or as in the .arrow file.

    All lengths and offsets are checked, but for UTF-8, so that damage is never read beyond. For use in `readable`:
    raises pyarrow's exceptions, OSError, LookupError and ValueError for unreadable files.
    """
    with _seekable(path) as place:
        for batch in _parquet(place, choose, rows) if suffix(path) == ".parquet" else _arrow(place, choose):
            for column in batch.columns:
                column.validate()
                of_bytes(column).validate(full=True)
            yield batch


@contextmanager
def _seekable(path: Path) -> Iterator[Path]:
    """A file whose parts can be read in any order: itself, or unpacked as a temporary one."""
    if path.suffix.lower() not in PACKINGS:
        yield path
        return
    most = MOST_UNPACKED * path.stat().st_size
    with (
        tempfile.NamedTemporaryFile(prefix="groundup-") as out,
        pa.input_stream(str(path), PACKINGS[path.suffix.lower()]) as file,
    ):
        while chunk := file.read(CHUNK):
            out.write(chunk)
            if out.tell() > most:
                raise ValueError(f"it unpacks to more than {MOST_UNPACKED} times its size")
        out.flush()
        yield Path(out.name)


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


def of_bytes(column: pa.Array) -> pa.Array:
    """A column of texts as bytes, without a copy, as damaged UTF-8 is reported row by row; any other as it is."""
    if pa.types.is_dictionary(column.type):
        column.indices.validate(full=True)
        column.dictionary.validate()
        return pa.DictionaryArray.from_arrays(column.indices, of_bytes(column.dictionary))
    return column.view(_BYTES[column.type]) if column.type in _BYTES else column
