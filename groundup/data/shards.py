"""Shards: packed rows of token ids on disk, memory-mapped when read.

A shard is a folder of three files: `tokens.bin` (ids, row after row, uint16 where the vocabulary fits, else
uint32, little-endian), `flags.bin` (one byte a token) and `shards.json` (sizes, counts and hashes).
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.data.document import Document, chunks, read
from groundup.data.pack import Piece, pack
from groundup.errors import InputError
from groundup.files import digest, read_json, replacing, write_json

TRAINED = 1  # counts in instruction tuning: what the assistant says, or any token of a plain text
START = 2  # first token of a document, or of a later piece of one that is longer than a row
PAD = 4  # filling, behind the last piece of a row


def write_shards(documents: Path, tokenizer: Tokenizer, context: int, out: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    """Encode and pack a documents file into `out/train` and `out/heldout`; returns what their shards.json hold.

    A text is closed by <|endoftext|> and cut into pieces where it is longer than `context` tokens; a conversation
    is rendered by the chat template and loses what lies beyond `context` (counted as `cut`). `advance` is told of
    documents done. Memory is bounded by the tokens of one chunk and of the open rows.
    """
    return {part: _write_part(documents, part == "heldout", tokenizer, context, out / part, advance) for part in ("train", "heldout")}


def _write_part(documents: Path, heldout: bool, tokenizer: Tokenizer, context: int, out: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    pieces = _pieces(read(documents, heldout), tokenizer, context, counts, advance)
    dtype = np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")
    (out / "shards.json").unlink(missing_ok=True)  # first gone, last written: a folder with it is complete
    hashes = _write_rows(pack(pieces, context), out, context, dtype, tokenizer.end, counts)
    table = {
        "rows": counts["rows"],
        "context": context,
        "dtype": dtype.name,
        "tokens": counts["tokens"],
        "documents": counts["documents"],
        "cut": counts["cut"],
        "fill": counts["tokens"] / max(1, counts["rows"] * context),
        "sha256": hashes,
    }
    write_json(out / "shards.json", table)
    return table


def _write_rows(rows: Iterator[list[Piece]], out: Path, context: int, dtype: np.dtype[Any], filler: int, counts: Counter[str]) -> dict[str, str]:
    hashes = {"tokens.bin": hashlib.sha256(), "flags.bin": hashlib.sha256()}
    with (
        replacing(out / "tokens.bin") as ids_path,
        replacing(out / "flags.bin") as flags_path,
        ids_path.open("wb") as ids_file,
        flags_path.open("wb") as flags_file,
    ):
        for row in rows:
            length = sum(len(piece.ids) for piece in row)
            ids, flags = np.full(context, filler, dtype), np.full(context, PAD, np.uint8)
            np.concatenate([piece.ids for piece in row], out=ids[:length], casting="same_kind")
            np.concatenate([piece.flags for piece in row], out=flags[:length])
            for file, array, sha in zip((ids_file, flags_file), (ids, flags), hashes.values(), strict=True):
                file.write(array.data)
                sha.update(array.data)
            counts["rows"] += 1
            counts["tokens"] += length
    return {name: sha.hexdigest() for name, sha in hashes.items()}


def _pieces(
    documents: Iterator[Document], tokenizer: Tokenizer, context: int, counts: Counter[str], advance: Callable[[int], None]
) -> Iterator[Piece]:
    for chunk in chunks(documents):
        for document, (ids, flags) in zip(chunk, _encoded(chunk, tokenizer), strict=True):
            if document.messages is not None and len(ids) > context:
                ids, flags = ids[:context], flags[:context]
                counts["cut"] += 1
            for start in range(0, len(ids), context):
                piece = Piece(ids[start : start + context], flags[start : start + context])
                piece.flags[0] |= START
                yield piece
        counts["documents"] += len(chunk)
        advance(len(chunk))


def _encoded(chunk: list[Document], tokenizer: Tokenizer) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]]:
    texts = iter(tokenizer.encode_batch([document.text for document in chunk if document.text is not None], threads=_cores()))
    for document in chunk:
        if document.messages is None:
            ids = np.array([*next(texts), tokenizer.end], np.uint32)
            yield ids, np.full(len(ids), TRAINED, np.uint8)
        else:
            tokens, trained = chat.encode(tokenizer, document.messages, document.tools)
            yield np.array(tokens, np.uint32), np.array(trained, np.uint8) * np.uint8(TRAINED)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Shards:
    """Packed rows of one part of one source.

    `rows` x `context` tokens lie on disk, of which `tokens` are no padding; `digest` names the content.
    """

    rows: int
    context: int
    tokens: int
    documents: int
    digest: str
    _ids: npt.NDArray[Any]  # [rows, context] on disk
    _flags: npt.NDArray[np.uint8]  # [rows, context] on disk

    @staticmethod
    def open(folder: Path) -> "Shards":
        """Map a shard folder; raises InputError when it is incomplete or a file has not the size it should have."""
        if not (folder / "shards.json").is_file():
            raise InputError(f"{folder}: no shards.json, so these shards are incomplete; run the same command again to write them")
        table = read_json(folder / "shards.json")
        shape = (table["rows"], table["context"])
        name = digest({key: table[key] for key in ("rows", "context", "dtype", "sha256")})
        ids = _mapped(folder / "tokens.bin", np.dtype(table["dtype"]).newbyteorder("<"), shape)
        return Shards(*shape, table["tokens"], table["documents"], name, ids, _mapped(folder / "flags.bin", np.dtype(np.uint8), shape))

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Rows by number, read from disk: ids [n, context] and flags [n, context]."""
        return self._ids[indices].astype(np.int64), self._flags[indices]


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    expected = shape[0] * shape[1] * dtype.itemsize
    found = path.stat().st_size if path.is_file() else 0
    if found != expected:
        raise InputError(f"{path}: {found} bytes where {expected} are expected, so it is damaged; delete its folder and run the same command again")
    if not expected:  # an empty file cannot be mapped
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
