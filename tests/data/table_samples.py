"""Small tables in every format with bytes changed, read in a process of their own, which may die: `python -m
tests.data.table_samples 2000`.
"""

import io
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.core.errors import InputError
from groundup.data.filtered import Filtered
from groundup.data.source import Source
from groundup.data.sources.images import ImagesSource
from groundup.data.sources.table import TableSource

ROWS = 24
MOST_ROWS = 10_000  # of a table that claims more rows than it has


def table() -> pa.Table:
    pictures = [{"bytes": bytes([number]) * 40, "path": f"p{number}"} for number in range(ROWS)]
    texts = [f"text {number} " * 3 if number % 5 else None for number in range(ROWS)]
    return pa.table(
        {
            "image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([f"kind {number % 3}" for number in range(ROWS)]),
            "text": pa.array(texts),
            "coded": pa.array(texts).dictionary_encode(),
            "viewed": pa.array(texts, pa.string_view()),
            "large": pa.array(texts, pa.large_string()),
            "nested": pa.array([[{"a": str(number)}] * (number % 3) for number in range(ROWS)]),
        }
    )


def samples() -> dict[str, bytes]:
    """The table in each format, with the suffix of its file as the end of the name."""
    found: dict[str, bytes] = {}
    for name, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        for packing in (None, "zstd"):
            out = io.BytesIO()
            with new(out, table().schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as writer:
                writer.write_table(table(), max_chunksize=10)
            found[f"{packing or 'plain'}-{name}.arrow"] = out.getvalue()
    codings = {"label": "DELTA_BYTE_ARRAY", "text": "DELTA_LENGTH_BYTE_ARRAY"}
    for name, options in {
        "coded": {"row_group_size": 10},
        "packed": {"compression": "zstd", "data_page_version": "2.0"},
        "plain": {"compression": "none", "use_dictionary": False, "column_encoding": codings},
    }.items():
        out = io.BytesIO()
        pq.write_table(table(), out, **options)
        found[f"{name}.parquet"] = out.getvalue()
    return found


def changed(data: bytes, random: random.Random) -> bytes:
    """A table in which some bytes or numbers are others, or some are missing."""
    new = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(new))
        match random.randrange(5):
            case 0:
                new[at] ^= 1 << random.randrange(8)
            case 1:
                new[at] = random.choice((0, 1, 127, 128, 255))
            case 2:
                new[at : at + 4] = struct.pack(
                    "<I", random.choice((0, 1, 1000, 1 << 16, 1 << 24, (1 << 31) - 1, (1 << 32) - 1))
                )
            case 3:
                new[at : at + 8] = struct.pack(
                    "<q", random.choice((0, 1, -1, 1 << 33, 1 << 40, (1 << 63) - 1, -(1 << 63)))
                )
            case _:
                del new[at : at + random.randrange(1, 64)]
    return bytes(new)


def readers(name: str) -> list[Source]:
    common = {"name": "s", "path": name, "licence": "CC0-1.0", "bad_share": 1.0}
    texts = [
        TableSource(kind="table", column=column, **common) for column in ("text", "coded", "viewed", "large", "label")
    ]
    return [ImagesSource(kind="images", **common), *texts]


def attempt(source: Source, folder: Path) -> str:
    """What comes of reading a table: "read", or "refused" in a sentence."""
    try:
        for number, _ in enumerate(source.read(folder, Filtered())):
            if number == MOST_ROWS:
                return "endless"
    except InputError as error:
        assert "\n" not in str(error).strip()
        return "refused"
    return "read"


def main(tries: int) -> None:
    """Read `tries` changed files of each sample; anything but documents or InputError ends it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in samples().items():
            found = Counter[str]()
            for seed in range(tries):
                print(
                    f"{name} {seed}", file=sys.stderr, flush=True
                )  # the last line names the file that a process died of
                (Path(folder) / name).write_bytes(changed(data, random.Random(seed)))
                which = readers(name)
                found[attempt(which[seed % len(which)], Path(folder))] += 1
            print(f"{name}: {tries} tries, {dict(found)}", flush=True)


def apart(tries: int) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run([sys.executable, __file__, str(tries)], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
