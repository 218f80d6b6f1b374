"""A damaged table is told in one sentence: whatever its bytes claim, it ends no process and is never read beyond its
end.
"""

import json
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundup.core.errors import InputError
from groundup.data.filtered import Filtered
from groundup.data.source import Source
from tests.data import table_samples
from tests.data.data_helpers import images_source, table_source


def refused(source: Source, folder: Path) -> str:
    with pytest.raises(InputError, match="cannot be read as a table") as caught:
        list(source.read(folder, Filtered()))
    return str(caught.value)


def test_changed_tables_are_read_or_refused_and_no_process_dies() -> None:
    done = table_samples.apart(60)
    assert done.returncode == 0, f"{done.returncode} after {done.stderr[-2000:]}"
    assert done.stdout.count(": 60 tries") == len(table_samples.samples())


def save(path: Path, array: pa.Array, name: str = "text") -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema([(name, array.type)])) as writer:
        writer.write_batch(pa.record_batch([array], [name]))


def lie(path: Path, honest: bytes, false: bytes) -> None:
    """Write something else where a file says `honest`."""
    data = path.read_bytes()
    assert honest in data and len(honest) == len(false)
    path.write_bytes(data.replace(honest, false))


HONEST = struct.pack("<3i", 0, 4, 9)
LIES = {
    "beyond the end": (0, 4, 1 << 30),
    "backwards": (0, 9, 4),
    "negative": (0, -(1 << 31), 9),
    "from far away": (1 << 29, 1 << 29, 1 << 29),
}
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("kind", LIES)
def test_offsets_that_lie_are_told(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "t.arrow", pa.array(["some", "texts"]))
    save(tmp_path / "d.arrow", pa.array(["some", "texts"]).dictionary_encode())
    save(
        tmp_path / "i.arrow",
        pa.array([{"bytes": b"some", "path": "1234"}, {"bytes": b"texts", "path": "12345"}], PICTURE),
        "image",
    )
    for name in ("t.arrow", "d.arrow", "i.arrow"):
        lie(tmp_path / name, HONEST, struct.pack("<3i", *LIES[kind]))
    for source in (table_source("t.arrow"), table_source("d.arrow"), images_source("i.arrow", classes="none")):
        refused(source, tmp_path)


@pytest.mark.parametrize("indices", [(1, 7), (-1, 0), (1 << 30, 0)])
def test_a_place_outside_a_dictionary_is_told(tmp_path: Path, indices: tuple[int, int]) -> None:
    save(
        tmp_path / "t.arrow",
        pa.DictionaryArray.from_arrays(pa.array([3, 1, 4, 1], pa.int32()), pa.array(list("abcde"))),
    )
    lie(tmp_path / "t.arrow", struct.pack("<4i", 3, 1, 4, 1), struct.pack("<4i", 3, *indices, 1))
    refused(table_source("t.arrow"), tmp_path)


def test_a_view_of_a_buffer_that_is_not_there_is_told(tmp_path: Path) -> None:
    save(tmp_path / "t.arrow", pa.array(["a text of some length"], pa.string_view()))
    lie(tmp_path / "t.arrow", struct.pack("<i4sii", 21, b"a te", 0, 0), struct.pack("<i4sii", 21, b"a te", 5, 0))
    refused(table_source("t.arrow"), tmp_path)


def test_what_stands_behind_a_null_is_never_read(tmp_path: Path) -> None:
    """Validation passes over the values of nulls, and converting a column of views reads them."""
    save(tmp_path / "t.arrow", pa.array(["a text of some length", None], pa.string_view()))
    view = struct.pack("<i4sii", 21, b"a te", 0, 0)
    lie(tmp_path / "t.arrow", view + bytes(16), view + struct.pack("<i4sii", 1 << 30, b"junk", 3, 1 << 30))
    assert [each.text for each in table_source("t.arrow").read(tmp_path, Filtered())] == [
        "a text of some length",
        "",
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_that_is_no_utf8_stays_damage_of_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}[kind]
    save(tmp_path / "t.arrow", pa.array([b"good", b"caf\xe9 of some length"], binary).view(kind))
    drops = Filtered()
    assert [each.text for each in table_source("t.arrow", bad_share=0.5).read(tmp_path, drops)] == ["good"]
    assert drops.counts == {"invalid UTF-8": 1}


def test_a_long_text_of_a_dictionary_is_not_written_out_for_all_rows_at_once(tmp_path: Path) -> None:
    """100,000 rows of one megabyte: 100 GB, were they decoded together."""
    save(
        tmp_path / "t.arrow",
        pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 1_000_000])),
    )
    documents = table_source("t.arrow").read(tmp_path, Filtered())
    assert len(next(documents).text or "") == 1_000_000


def test_a_column_with_the_same_name_twice_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "t.parquet")
    with pytest.raises(InputError):
        list(table_source("t.parquet").read(tmp_path, Filtered()))


def test_metadata_that_is_odd_is_no_metadata(tmp_path: Path) -> None:
    for said in (b"[1]", b"{}", b"\xff", json.dumps({"info": {"features": [1]}}).encode()):
        table = pa.table({"image": pa.array([{"bytes": b"x", "path": "p"}], PICTURE)}).replace_schema_metadata(
            {b"huggingface": said}
        )
        pq.write_table(table, tmp_path / "t.parquet")
        assert not list(images_source("t.parquet", classes="none", bad_share=1.0).read(tmp_path, Filtered()))
