"""One source to one file of clean documents, and the account of everything that was dropped on the way."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.config.source import (
    ImagesSource,
    OrdersSource,
    PictureSource,
    ScenesSource,
    SimulatorSource,
    Source,
    TasksSource,
)
from groundup.core.errors import InputError
from groundup.core.files import replacing
from groundup.data import near_duplicates as near
from groundup.data.clean import Seen, clean, is_heldout
from groundup.data.document import SCHEMA, Document, chunks, said
from groundup.data.filtered import Filtered
from groundup.data.near_duplicates import Known
from groundup.data.results import DocumentsResult
from groundup.data.sources import read as sources

VERSION = 1  # raised when the same knobs and files give other documents
REMEDIES = {
    "too short": "lower min_chars",
    "too long": "raise max_chars",
    "no answer": "add a message of the assistant that says or calls something",
    "empty": "look at the files or the column",
    "binary": "save the files as UTF-8 text",
    "invalid UTF-8": "save the files as UTF-8 text",
}


def write_documents(
    source: Source, folder: Path, out: Path, advance: Callable[[int], None], before: Iterable[Path] = ()
) -> DocumentsResult:
    """Read, clean, deduplicate and split one source into `out/documents.parquet`; returns the report.

    `folder` is the recipe's, where relative paths start; `advance` is told of documents as they are written. An image
    that is near one of the documents files `before` does not lie on the other side of the split. Memory is bounded by
    one row group (4 million characters) and 8 bytes a document for the duplicates, 25 an image.

    Raises InputError when nothing is left, or nothing to train on.
    """
    drops = Filtered()
    kept: Counter[str] = Counter()
    detection_classes: set[str] = set()
    image_classes: set[str] = set()
    documents = clean(sources.read(source, folder, drops), source, drops)
    with replacing(out / "documents.parquet") as temporary, _writer(temporary) as writer:
        for chunk in _sorted_out(chunks(documents), source, drops, before):
            writer.write_table(pa.Table.from_pylist([document.row() for document in chunk], schema=SCHEMA))
            kept["documents"] += len(chunk)
            kept["heldout"] += sum(document.heldout for document in chunk)
            kept["characters"] += sum(document.characters for document in chunk)
            kept["images"] += sum(len(document.images) for document in chunk)
            images = [image for document in chunk for image in document.things or ()]
            detection_classes |= {detection.kind for image in images for detection in image}
            if isinstance(source, ImagesSource) and source.classes != "none":
                image_classes |= {said(document.messages[-1]) for document in chunk if document.messages}
            advance(len(chunk))
        _require(source, kept, drops)
    return DocumentsResult(
        documents=kept["documents"],
        heldout=kept["heldout"],
        characters=kept["characters"],
        dropped=dict(sorted(drops.counts.items())),
        examples=drops.examples,
        licences={source.licence: kept["documents"]},
        warnings=list(_warnings(source, kept, drops)),
        unread=sorted(drops.unread),
        images=kept["images"],
        detection_classes=sorted(detection_classes),
        image_classes=sorted(image_classes),
    )


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, SCHEMA, compression="zstd", use_dictionary=["source", "licence"], write_statistics=False
    )


def _sorted_out(
    groups: Iterator[list[Document]], source: Source, drops: Filtered, before: Iterable[Path]
) -> Iterator[list[Document]]:
    """Drop duplicates and mark what is held out.

    What is made passes as it comes: its split goes by the instance, and a small family repeats its instances on
    purpose.
    """
    if isinstance(source, TasksSource | ScenesSource | SimulatorSource | OrdersSource):
        return groups
    unique = _firsts(groups, lambda document: document.digest, "exact duplicate", drops)
    if isinstance(source, PictureSource):
        known = Known.of(before, source.near_duplicates)
        return near.split(_firsts(unique, _first_image, "same image, another class", drops), source, drops, known)
    share = source.heldout_share
    return (
        [replace(document, heldout=True) if is_heldout(document.digest, share) else document for document in group]
        for group in unique
    )


def _first_image(document: Document) -> bytes:
    return sha256(document.images[0]).digest()


def _firsts(
    groups: Iterator[list[Document]], key: Callable[[Document], bytes], reason: str, drops: Filtered
) -> Iterator[list[Document]]:
    """Keep the first of documents with the same key, a digest."""
    seen = Seen()
    for group in groups:
        fresh = seen.add([key(document) for document in group])
        for document, new in zip(group, fresh, strict=True):
            if not new:
                drops.note(reason, document.origin)
        yield [document for document, new in zip(group, fresh, strict=True) if new]


def _require(source: Source, kept: Counter[str], drops: Filtered) -> None:
    if not kept["documents"]:
        reasons = ", ".join(
            f"{count} {reason}" + (f" ({REMEDIES[reason]})" if reason in REMEDIES else "")
            for reason, count in drops.counts.items()
        )
        raise InputError(
            f"source {source.name!r}: no documents are left;"
            f" {'dropped were ' + reasons if reasons else 'the source holds none'}"
        )
    if kept["documents"] == kept["heldout"]:
        if isinstance(source, PictureSource) and source.heldout_files:
            raise InputError(
                f"source {source.name!r}: all {kept['documents']} images that are left are listed in"
                f" {source.heldout_files}; take some out of it or add images"
            )
        raise InputError(
            f"source {source.name!r}: all {kept['documents']} documents fall in the held-out part (heldout_share ="
            f" {source.heldout_share:g}); lower heldout_share or add documents"
        )


def _warnings(source: Source, kept: Counter[str], drops: Filtered) -> Iterator[str]:
    if source.licence == "unstated":
        yield f"source {source.name!r}: licence unstated; add licence = an SPDX id to the source"
    if unanswered := drops.counts["no answer"]:
        yield (
            f"source {source.name!r}: {unanswered:,} conversations in which the assistant says nothing were dropped, as"
            f" nothing is learnt from them; {REMEDIES['no answer']}"
        )
    if source.heldout_share and not kept["heldout"]:  # a list that holds out is never empty
        yield (
            f"source {source.name!r}: none of its {kept['documents']} documents was held out (heldout_share ="
            f" {source.heldout_share:g}), so it has no validation loss; split it into more documents or raise"
            " heldout_share"
        )
