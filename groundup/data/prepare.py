"""One source to one file of clean documents, and the account of everything that was dropped on the way."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.data import sources
from groundup.data.clean import Seen, clean, is_heldout
from groundup.data.document import SCHEMA, Document, chunks
from groundup.data.drops import Drops
from groundup.errors import InputError
from groundup.files import replacing
from groundup.recipe import ScenesSource, Source, TasksSource

REMEDIES = {
    "too short": "lower min_chars",
    "too long": "raise max_chars",
    "empty": "look at the files or the column",
    "binary": "save the files as UTF-8 text",
    "invalid UTF-8": "save the files as UTF-8 text",
}


def write_documents(source: Source, folder: Path, out: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    """Read, clean, deduplicate and split one source into `out/documents.parquet`; returns the report.

    `folder` is the recipe's, where relative paths start; `advance` is told of documents as they are written.
    Memory is bounded by one row group (4 million characters) and 8 bytes a document for the duplicates.
    The report holds `documents`, `heldout` and `characters` kept, `dropped` by reason, `examples` of drops by
    name, `licences`, and `warnings`. Raises InputError when nothing is left, or nothing to train on.
    """
    drops = Drops()
    kept: Counter[str] = Counter()
    documents = clean(sources.read(source, folder, drops), source, drops)
    with replacing(out / "documents.parquet") as temporary, _writer(temporary) as writer:
        for chunk in _sorted_out(chunks(documents), source, drops):
            writer.write_table(pa.Table.from_pylist([document.row() for document in chunk], schema=SCHEMA))
            kept["documents"] += len(chunk)
            kept["heldout"] += sum(document.heldout for document in chunk)
            kept["characters"] += sum(document.characters for document in chunk)
            advance(len(chunk))
        _require(source, kept, drops)
    return {
        "documents": kept["documents"],
        "heldout": kept["heldout"],
        "characters": kept["characters"],
        "dropped": dict(sorted(drops.counts.items())),
        "examples": drops.examples,
        "licences": {source.licence: kept["documents"]},
        "warnings": list(_warnings(source, kept)),
    }


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=["source", "licence"], write_statistics=False)


def _sorted_out(groups: Iterator[list[Document]], source: Source, drops: Drops) -> Iterator[list[Document]]:
    """Drop duplicates and mark what is held out.

    Tasks and scenes pass as they come: their split goes by the instance, and a small family repeats its instances on purpose.
    """
    if isinstance(source, TasksSource | ScenesSource):
        return groups
    share = source.heldout_share
    unique = _unique(groups, drops)
    return ([replace(document, heldout=True) if is_heldout(document.digest, share) else document for document in group] for group in unique)


def _unique(groups: Iterator[list[Document]], drops: Drops) -> Iterator[list[Document]]:
    """Keep the first of equal documents."""
    seen = Seen()
    for group in groups:
        fresh = seen.add([document.digest for document in group])
        for document, new in zip(group, fresh, strict=True):
            if not new:
                drops.note("exact duplicate", document.origin)
        yield [document for document, new in zip(group, fresh, strict=True) if new]


def _require(source: Source, kept: Counter[str], drops: Drops) -> None:
    if not kept["documents"]:
        reasons = ", ".join(f"{count} {reason}" + (f" ({REMEDIES[reason]})" if reason in REMEDIES else "") for reason, count in drops.counts.items())
        raise InputError(f"source {source.name!r}: no documents are left; {'dropped were ' + reasons if reasons else 'the source holds none'}")
    if kept["documents"] == kept["heldout"]:
        raise InputError(
            f"source {source.name!r}: all {kept['documents']} documents fall in the held-out part (heldout_share = {source.heldout_share:g}); "
            "lower heldout_share or add documents"
        )


def _warnings(source: Source, kept: Counter[str]) -> Iterator[str]:
    if source.licence == "unstated":
        yield f"source {source.name!r}: licence unstated; add licence = an SPDX id to the source"
    if source.heldout_share and not kept["heldout"]:
        yield (
            f"source {source.name!r}: none of its {kept['documents']} documents was held out (heldout_share = {source.heldout_share:g}), "
            "so it has no validation loss; split it into more documents or raise heldout_share"
        )
