"""Shards: packed rows of token ids on disk, memory-mapped when read.

A shard is a folder of three files: `tokens.bin` (ids, row after row, uint16 where the vocabulary fits, else
uint32, little-endian), `flags.bin` (one byte a token) and `shards.json` (sizes, counts and hashes); and those of
`data.pictures` where the model sees.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.codecs import chat
from groundup.codecs.patches import PatchGrid, Pixels
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.core.files import digest, read_json, replacing, write_json
from groundup.data.document import Document, chunks, read
from groundup.data.image_shards import Eyesight, Picture, Pictures, Writer, mapped
from groundup.data.pack import Piece, pack
from groundup.data.results import PackedRows, ShardsResult

VERSION = 1  # raised when the same documents and tokenizer give other shards
TRAINED = 1  # counts in instruction tuning: what the assistant says, or any token of a plain text
START = 2  # first token of a document, or of a later piece of one that is longer than a row
PAD = 4  # filling, behind the last piece of a row
SEEN = 8  # stands for a patch of an image: no token to be predicted


def write_shards(
    documents: Path,
    tokenizer: Tokenizer,
    context: int,
    out: Path,
    advance: Callable[[int], None],
    eyesight: Eyesight | None = None,
) -> ShardsResult:
    """Encode and pack a documents file into `out/train` and `out/heldout`.

    A text is closed by <|endoftext|> and cut into pieces where it is longer than `context` tokens; a conversation is
    rendered by the chat template and loses what lies beyond `context` (counted as `cut`; `longest` is the most tokens
    that one of them had), as does a text with images. One that so loses all that is learnt from it is left out (and
    counted as `lost` too). Images are scaled to the `eyesight`; no document may have one where that is None. `advance`
    is told of documents done. Memory is bounded by the tokens and pixels of one chunk and of the open rows.
    """
    train, heldout = (
        PackedRows.of(
            _write_part(read(documents, part == "heldout"), tokenizer, context, out / part, advance, eyesight)
        )
        for part in ("train", "heldout")
    )
    return ShardsResult(train, heldout)


def _write_part(
    documents: Iterator[Document],
    tokenizer: Tokenizer,
    context: int,
    out: Path,
    advance: Callable[[int], None],
    eyesight: Eyesight | None,
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    pieces = _pieces(documents, tokenizer, context, counts, advance, eyesight)
    dtype = np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")
    (out / "shards.json").unlink(missing_ok=True)  # first gone, last written: a folder with it is complete
    rows = pack(pieces, context, seen=eyesight is not None)
    with Writer(out) if eyesight is not None else nullcontext() as writer:
        hashes = _write_rows(rows, out, context, dtype, tokenizer.end, counts, writer)
    table = {
        "rows": counts["rows"],
        "context": context,
        "dtype": dtype.name,
        "tokens": counts["tokens"],
        "documents": counts["documents"],
        "cut": counts["cut"],
        "lost": counts["lost"],
        "asked": counts["asked"],
        "longest": counts["longest"],
        "fill": counts["tokens"] / max(1, counts["rows"] * context),
        "sha256": hashes if writer is None else hashes | writer.hashes(),
    } | ({} if writer is None or eyesight is None else {"images": writer.table(eyesight.side)})
    write_json(out / "shards.json", table)
    return table


def _write_rows(
    rows: Iterator[list[Piece]],
    out: Path,
    context: int,
    dtype: np.dtype[Any],
    filler: int,
    counts: Counter[str],
    writer: Writer | None,
) -> dict[str, str]:
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
            if writer is not None:
                for start, piece in zip(accumulate((len(piece.ids) for piece in row), initial=0), row, strict=False):
                    writer.write(counts["rows"], start, piece.pictures)
            counts["rows"] += 1
            counts["tokens"] += length
            counts["asked"] = max(counts["asked"], sum(map(_asked, row)))
    return {name: sha.hexdigest() for name, sha in hashes.items()}


def _pieces(
    documents: Iterator[Document],
    tokenizer: Tokenizer,
    context: int,
    counts: Counter[str],
    advance: Callable[[int], None],
    eyesight: Eyesight | None,
) -> Iterator[Piece]:
    for chunk in chunks(documents):
        for document, piece in zip(chunk, _encoded(chunk, tokenizer, eyesight), strict=True):
            if len(piece.ids) > context and (document.messages is not None or document.images):
                counts["longest"] = max(counts["longest"], len(piece.ids))
                counts["cut"] += 1
                learnt, piece = _asked(piece), _cut(piece, context)
                if learnt and not _asked(piece):
                    counts["lost"] += 1
                    continue
            for start in range(0, len(piece.ids), context):
                part = Piece(piece.ids[start : start + context], piece.flags[start : start + context], piece.pictures)
                part.flags[0] |= START
                yield part
        counts["documents"] += len(chunk)
        advance(len(chunk))


def _cut(piece: Piece, context: int) -> Piece:
    """What fits the context; an image that does not fit whole goes, and all behind it."""
    limit = min(
        [context, *(picture.place - 1 for picture in piece.pictures if picture.place + picture.grid.patches > context)]
    )
    pictures = tuple(picture for picture in piece.pictures if picture.place < limit)
    return Piece(piece.ids[:limit], piece.flags[:limit], pictures)


def _encoded(chunk: list[Document], tokenizer: Tokenizer, eyesight: Eyesight | None) -> Iterator[Piece]:
    texts = iter(
        tokenizer.encode_batch([document.text for document in chunk if document.text is not None], threads=_cores())
    )
    for document in chunk:
        seen = [_look(document, image, eyesight) for image in document.images]
        grids = [grid for grid, _ in seen]
        if document.messages is None:
            ids = [*(id for grid in grids for id in chat.image(tokenizer, grid)), *next(texts), tokenizer.end]
            flags = np.full(len(ids), TRAINED, np.uint8)
        else:
            ids, trained = chat.encode(tokenizer, document.messages, document.tools, grids)
            flags = np.array(trained, np.uint8) * np.uint8(TRAINED)
        things = document.things or (None,) * len(seen)
        places = chat.places(tokenizer, ids) if seen else []
        pictures = tuple(Picture(place, *view, found) for place, view, found in zip(places, seen, things, strict=True))
        for picture in pictures:
            flags[picture.place : picture.place + picture.grid.patches] = SEEN
        yield Piece(np.array(ids, np.uint32), flags, pictures)


def _look(document: Document, image: bytes, eyesight: Eyesight | None) -> tuple[PatchGrid, Pixels]:
    if eyesight is None:
        raise InputError(
            f"source {document.source!r}: {document.origin} has an image, and the model has no eyes; set model.patch"
        )
    return eyesight.look(image)


def _asked(piece: Piece) -> int:
    """Of how many of its tokens and patches instruction tuning asks anything."""
    labelled = sum(picture.grid.patches for picture in piece.pictures if picture.things is not None)
    return int((piece.flags & TRAINED).sum()) + labelled


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Shards:
    """Packed rows of one part of one source.

    `rows` x `context` tokens lie on disk, of which `tokens` are no padding; of no more than `asked` in a row does
    instruction tuning ask anything. `digest` names the content.
    """

    rows: int
    context: int
    tokens: int
    documents: int
    asked: int
    digest: str
    _ids: npt.NDArray[Any]  # [rows, context] on disk
    _flags: npt.NDArray[np.uint8]  # [rows, context] on disk
    pictures: Pictures | None = None  # the images in the rows; None: made for a model without eyes

    @staticmethod
    def open(folder: Path) -> "Shards":
        """Map a shard folder; raises InputError when it is incomplete or a file has not the size it should have."""
        if not (folder / "shards.json").is_file():
            raise InputError(
                f"{folder}: no shards.json, so these shards are incomplete; run the same command again to write them"
            )
        table = read_json(folder / "shards.json")
        try:
            shape = (table["rows"], table["context"])
            name = digest({key: table[key] for key in ("rows", "context", "dtype", "sha256")})
            ids = _mapped(folder / "tokens.bin", np.dtype(table["dtype"]).newbyteorder("<"), shape)
            pictures = mapped(folder, table["images"], _mapped) if "images" in table else None
            flags = _mapped(folder / "flags.bin", np.dtype(np.uint8), shape)
            return Shards(*shape, table["tokens"], table["documents"], table["asked"], name, ids, flags, pictures)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{folder / 'shards.json'}: damaged ({error!r}); delete its folder and run the same command again"
            ) from None

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Rows by number, read from disk: ids [n, context] and flags [n, context]."""
        return self._ids[indices].astype(np.int64), self._flags[indices]


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    found = path.stat().st_size if path.is_file() else 0
    if found != expected:
        raise InputError(
            f"{path}: {found} bytes where {expected} are expected, so it is damaged; delete its folder and run the same"
            " command again"
        )
    if not expected:  # an empty file cannot be mapped
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
