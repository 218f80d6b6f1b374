"""Shards: packed rows of token ids on disk, memory-mapped when read.

A shard is a folder: `tokens.bin` (ids, row after row, uint16 where the vocabulary fits, else uint32, little-endian),
`flags.bin` (one byte a token), `shards.json` (sizes, counts, hashes), and for images the files of `data.image_shards`.
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
from groundup.data.document import Document, chunks, detection_classes, read
from groundup.data.image_shards import ImageResolution, ImageWriter, ShardImages, TrainingImage
from groundup.data.pack import Piece, pack
from groundup.data.results import PackedRows, ShardsResult

VERSION = 1  # raised when the same documents and tokenizer give other shards
LOSS = 1  # loss mask of instruction tuning: tokens of the assistant, and every token of a plain text
START = 2  # first token of a document, or of a later piece of a document longer than a row
PADDING = 4  # after the last piece of a row
Flags = npt.NDArray[np.uint8]  # of tokens, [n]
IMAGE = 8  # image placeholder, one for each patch: never a target


def write_shards(
    documents: Path,
    tokenizer: Tokenizer,
    context: int,
    out: Path,
    advance: Callable[[int], None],
    resolution: ImageResolution | None = None,
) -> ShardsResult:
    """Encode and pack a documents file into `out/train` and `out/heldout`.

    A text ends with <|endoftext|> and is cut into pieces if longer than `context` tokens; a conversation is rendered by
    the chat template and truncated at `context` (counted as `cut`; `longest` is the most tokens of one), as is a text
    with images. A document that loses all its supervised tokens is left out (counted as `lost` too). Images are scaled
    to the `resolution`; None: no document may have an image. `advance` gets the number of finished documents. Memory is
    bounded by the tokens and pixels of one chunk and of the open rows.
    """
    rotated = resolution is not None and detection_classes([documents])[1]
    train, heldout = (
        PackedRows.of(
            _write_part(
                read(documents, part == "heldout"), tokenizer, context, out / part, advance, resolution, rotated
            )
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
    resolution: ImageResolution | None,
    rotated: bool,
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    pieces = _pieces(documents, tokenizer, context, counts, advance, resolution)
    dtype = np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")
    (out / "shards.json").unlink(missing_ok=True)  # first gone, last written: a folder with it is complete
    rows = pack(pieces, context, images=resolution is not None)
    with ImageWriter(out, rotated) if resolution is not None else nullcontext() as writer:
        hashes = _write_rows(rows, out, context, dtype, tokenizer.end, counts, writer)
    table = {
        "rows": counts["rows"],
        "context": context,
        "dtype": dtype.name,
        "tokens": counts["tokens"],
        "documents": counts["documents"],
        "cut": counts["cut"],
        "lost": counts["lost"],
        "asked": counts["supervised"],
        "longest": counts["longest"],
        "fill": counts["tokens"] / max(1, counts["rows"] * context),
        "sha256": hashes if writer is None else hashes | writer.hashes(),
    } | ({} if writer is None or resolution is None else {"images": writer.table(resolution.side)})
    write_json(out / "shards.json", table)
    return table


def _write_rows(
    rows: Iterator[list[Piece]],
    out: Path,
    context: int,
    dtype: np.dtype[Any],
    filler: int,
    counts: Counter[str],
    writer: ImageWriter | None,
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
            ids, flags = np.full(context, filler, dtype), np.full(context, PADDING, np.uint8)
            np.concatenate([piece.ids for piece in row], out=ids[:length], casting="same_kind")
            np.concatenate([piece.flags for piece in row], out=flags[:length])
            for file, array, sha in zip((ids_file, flags_file), (ids, flags), hashes.values(), strict=True):
                file.write(array.data)
                sha.update(array.data)
            if writer is not None:
                for start, piece in zip(accumulate((len(piece.ids) for piece in row), initial=0), row, strict=False):
                    writer.write(counts["rows"], start, piece.images)
            counts["rows"] += 1
            counts["tokens"] += length
            counts["supervised"] = max(counts["supervised"], sum(map(_supervised, row)))
    return {name: sha.hexdigest() for name, sha in hashes.items()}


def _pieces(
    documents: Iterator[Document],
    tokenizer: Tokenizer,
    context: int,
    counts: Counter[str],
    advance: Callable[[int], None],
    resolution: ImageResolution | None,
) -> Iterator[Piece]:
    for chunk in chunks(documents):
        for document, piece in zip(chunk, _encoded(chunk, tokenizer, resolution), strict=True):
            if len(piece.ids) > context and (document.messages is not None or document.images):
                counts["longest"] = max(counts["longest"], len(piece.ids))
                counts["cut"] += 1
                supervised, piece = _supervised(piece), _cut(piece, context)
                if document.rejected is not None or (supervised and not _supervised(piece)):
                    counts["lost"] += 1
                    continue
            for start in range(0, len(piece.ids), context):
                part = Piece(piece.ids[start : start + context], piece.flags[start : start + context], piece.images)
                part.flags[0] |= START
                yield part
        counts["documents"] += len(chunk)
        advance(len(chunk))


def _cut(piece: Piece, context: int) -> Piece:
    """Truncate a piece to the context; an image that does not fit as a whole is removed with everything after it."""
    limit = min([context, *(each.position - 1 for each in piece.images if each.position + each.grid.patches > context)])
    images = tuple(image for image in piece.images if image.position < limit)
    return Piece(piece.ids[:limit], piece.flags[:limit], images)


def _encoded(chunk: list[Document], tokenizer: Tokenizer, resolution: ImageResolution | None) -> Iterator[Piece]:
    texts = iter(
        tokenizer.encode_batch([document.text for document in chunk if document.text is not None], threads=_cores())
    )
    for document in chunk:
        decoded = [_decoded(document, image, resolution) for image in document.images]
        grids = [grid for grid, _ in decoded]
        if document.messages is None:
            ids = [
                *(id for grid in grids for id in chat.image(tokenizer, grid)),
                *tokenizer.begin,
                *next(texts),
                tokenizer.end,
            ]
            flags = np.full(len(ids), LOSS, np.uint8)
        else:
            ids, flags = _answers(tokenizer, document, grids)
        detections = document.detections or (None,) * len(decoded)
        positions = chat.image_positions(tokenizer, ids) if decoded else []
        images = tuple(
            TrainingImage(position, *image, annotated)
            for position, image, annotated in zip(positions, decoded, detections, strict=True)
        )
        for image in images:
            flags[image.position : image.position + image.grid.patches] = IMAGE
        yield Piece(np.array(ids, np.uint32), flags, images)


def _answers(tokenizer: Tokenizer, document: Document, grids: list[PatchGrid]) -> tuple[list[int], Flags]:
    """The ids and flags of a conversation; of a preference pair, those of both conversations, one after the other."""
    ids, loss_mask = chat.encode(tokenizer, document.chosen, document.tools, grids)
    flags = np.array(loss_mask, np.uint8) * np.uint8(LOSS)
    if document.rejected is None:
        return ids, flags
    more, more_mask = chat.encode(tokenizer, document.rejected, document.tools, grids)
    more_flags = np.array(more_mask, np.uint8) * np.uint8(LOSS)
    more_flags[0] |= START
    return ids + more, np.concatenate([flags, more_flags])


def _decoded(document: Document, image: bytes, resolution: ImageResolution | None) -> tuple[PatchGrid, Pixels]:
    if resolution is None:
        raise InputError(
            f"source {document.source!r}: {document.origin} has an image, but the model has no vision encoder;"
            " set model.patch"
        )
    return resolution.decode(image)


def _supervised(piece: Piece) -> int:
    """How many tokens and patches of a piece have a loss in instruction tuning."""
    annotated = sum(image.grid.patches for image in piece.images if image.detections is not None)
    return int((piece.flags & LOSS).sum()) + annotated


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Shards:
    """Packed rows of one part of one source: `rows` x `context` tokens, of which `tokens` are not padding.

    `supervised` is the most tokens and patches of a row with a loss in instruction tuning, `digest` the content's hash.
    """

    rows: int
    context: int
    tokens: int
    documents: int
    supervised: int
    digest: str
    _ids: npt.NDArray[Any]  # [rows, context] on disk
    _flags: npt.NDArray[np.uint8]  # [rows, context] on disk
    images: ShardImages | None = None  # None: made for a model without a vision encoder

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
            images = ShardImages.open(folder, table["images"], _mapped) if "images" in table else None
            flags = _mapped(folder / "flags.bin", np.dtype(np.uint8), shape)
            return Shards(*shape, table["tokens"], table["documents"], table["asked"], name, ids, flags, images)
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
