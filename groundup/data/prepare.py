"""Prepares one source: reads, cleans, deduplicates and splits it into one documents file, with a report."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.core.errors import InputError
from groundup.core.files import replacing
from groundup.data.clean import clean
from groundup.data.document import SCHEMA, TEST, Document, chunks, said
from groundup.data.filtered import Filtered
from groundup.data.results import DocumentsResult
from groundup.data.source import Source

VERSION = 1  # raised when the same knobs and files give other documents
REMEDIES = {
    "too short": "lower min_chars",
    "too long": "raise max_chars",
    "no answer": "add a message of the assistant, of weight 1, that says or calls something",
    "empty": "look at the files or the column",
    "binary": "save the files as text",
    "invalid UTF-8": "save the files as UTF-8, or set encoding to theirs",
}


def write_documents(
    source: Source, folder: Path, out: Path, advance: Callable[[int], None], before: Iterable[Path] = ()
) -> DocumentsResult:
    """Read, clean, deduplicate and split one source into `out/documents.parquet`; returns the report.

    The documents of a test part, which nothing is chosen by, go into `out/test.parquet`.

    `folder` is the recipe's, where relative paths start; `advance` gets the number of documents written. An image near
    one of the documents files `before` stays on its side of the split. Memory is bounded by one row group (4 million
    characters) and, for the duplicates, 8 bytes a document and 25 an image.

    Raises InputError when nothing is left, or nothing to train on.
    """
    filtered = Filtered()
    kept: Counter[str] = Counter()
    detection_classes: set[str] = set()
    image_classes: set[str] = set()
    documents = clean(source.read(folder, filtered), source, filtered)
    with _Writer(out / "documents.parquet") as writer, _Writer(out / TEST) as tests:
        for group in source.split(chunks(documents), filtered, before):
            chunk = [document for document in group if not document.test]
            writer.write(chunk)
            if tested := [document for document in group if document.test]:
                tests.write(tested)
            kept["test"] += len(tested)
            kept["documents"] += len(chunk)
            kept["heldout"] += sum(document.heldout for document in chunk)
            kept["characters"] += sum(document.characters for document in chunk)
            kept["images"] += sum(len(document.images) for document in chunk)
            images = [image for document in chunk for image in document.detections or ()]
            detection_classes |= {detection.class_name for image in images for detection in image}
            if source.has_classes:
                image_classes |= {said(document.messages[-1]) for document in chunk if document.messages}
            advance(len(group))
        _require(source, kept, filtered)
    return DocumentsResult(
        documents=kept["documents"],
        heldout=kept["heldout"],
        characters=kept["characters"],
        dropped=dict(sorted(filtered.counts.items())),
        examples=filtered.examples,
        licences={source.licence: kept["documents"]},
        warnings=list(_warnings(source, kept, filtered)),
        unread=sorted(filtered.unread),
        images=kept["images"],
        detection_classes=sorted(detection_classes),
        image_classes=sorted(image_classes),
        test=kept["test"],
        recognised=dict(sorted(filtered.recognised.items())),
    )


class _Writer:
    """Writes documents to a file, which is there once the first ones come; an older one goes."""

    def __init__(self, path: Path):
        self.path, self._stack = path, ExitStack()
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if self._file is None and error[0] is None:
            self.path.unlink(missing_ok=True)

    def write(self, documents: list[Document]) -> None:
        """Append documents as a row group."""
        if self._file is None:
            place = self._stack.enter_context(replacing(self.path))
            self._file = self._stack.enter_context(_parquet(place))
        self._file.write_table(pa.Table.from_pylist([document.row() for document in documents], schema=SCHEMA))


def _parquet(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, SCHEMA, compression="zstd", use_dictionary=["source", "licence"], write_statistics=False
    )


def _require(source: Source, kept: Counter[str], filtered: Filtered) -> None:
    if not kept["documents"]:
        reasons = ", ".join(
            f"{count} {reason}" + (f" ({REMEDIES[reason]})" if reason in REMEDIES else "")
            for reason, count in filtered.counts.items()
        )
        raise InputError(
            f"source {source.name!r}: no documents are left;"
            f" {'dropped were ' + reasons if reasons else 'the source holds none'}"
        )
    if kept["documents"] == kept["heldout"]:
        raise InputError(f"source {source.name!r}: {source.nothing_to_train_on(kept['documents'])}")


def _warnings(source: Source, kept: Counter[str], filtered: Filtered) -> Iterator[str]:
    if source.licence == "unstated":
        yield f"source {source.name!r}: licence unstated; add licence = an SPDX id to the source"
    if unanswered := filtered.counts["no answer"]:
        yield (
            f"source {source.name!r}: {unanswered:,} conversations in which the assistant says nothing were dropped, as"
            f" nothing is learnt from them; {REMEDIES['no answer']}"
        )
    if not kept["heldout"] and (warning := source.nothing_held_out(kept["documents"])):
        yield f"source {source.name!r}: {warning}"
