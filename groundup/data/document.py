"""The document: every source yields documents, and every later data step reads them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.codecs.detections import Detection

SCHEMA = pa.schema(
    [
        ("digest", pa.binary(16)),  # of the content alone: equal content, equal digest
        ("text", pa.string()),  # plain text, or null for a conversation
        ("messages", pa.string()),  # a conversation as JSON in the OpenAI shape, or null for text
        ("tools", pa.string()),  # the tools a conversation may call, as JSON, or null
        ("images", pa.list_(pa.binary())),  # its encoded images, in order
        (
            "look",
            pa.uint64(),
        ),  # perceptual hash of the first image, or null (`data.near_duplicates`)
        ("things", pa.string()),  # the detections annotated in each image, as JSON, or null where not annotated
        ("source", pa.string()),  # name of the recipe's source
        ("origin", pa.string()),  # file, and row or line inside it
        ("licence", pa.string()),  # SPDX id, or "unstated"
        ("heldout", pa.bool_()),  # belongs to the validation part
    ]
)
TEST = "test.parquet"  # beside a documents file: the documents that a model is measured on at the end
REJECTED = "rejected"  # key of a pair's last message, the chosen answer: the rejected one, a message
UPRIGHT = 5  # values of a detection in the column `things`: its class and its box; corners follow if it is rotated


@dataclass(frozen=True)
class Document:
    """One text or one conversation, with origin and licence; images come before a text, or at parts of type "image"."""

    source: str
    origin: str
    licence: str
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    images: tuple[bytes, ...] = ()  # encoded, as in the source
    detections: tuple[tuple[Detection, ...], ...] | None = None  # all objects of each image; None: not annotated
    perceptual_hash: int | None = None  # of the first image: images are decoded once, where they are checked
    heldout: bool = False
    test: bool = False  # in memory only: held out, and for the last measurement alone
    labels: dict[str, Any] = field(default_factory=dict)  # in memory only: family, language, level of a task

    @property
    def chosen(self) -> list[dict[str, Any]]:
        """The messages; of a preference pair, those that end with the chosen answer."""
        if self.rejected is None:
            return self.messages or []
        *before, last = self.messages or []
        return [*before, {key: value for key, value in last.items() if key != REJECTED}]

    @property
    def rejected(self) -> list[dict[str, Any]] | None:
        """The messages of a preference pair that end with the rejected answer; None for what is no pair."""
        *before, last = self.messages or [{}]
        return [*before, last[REJECTED]] if isinstance(last, dict) and REJECTED in last else None

    @property
    def characters(self) -> int:
        """Length of the text, or of the content of all messages together."""
        if self.text is not None:
            return len(self.text)
        return sum(len(said(message)) for message in self.messages or [])

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return self.characters + sum(map(len, self.images))

    @cached_property
    def digest(self) -> bytes:
        """16 bytes of SHA-256 over the content."""
        content = (
            self.text
            if self.text is not None
            else json.dumps([self.messages, self.tools], ensure_ascii=False, sort_keys=True)
        )
        whole = hashlib.sha256(content.encode())
        for image in self.images:
            whole.update(hashlib.sha256(image).digest())
        return whole.digest()[:16]

    def row(self) -> dict[str, Any]:
        """The document as a row of SCHEMA."""
        return {
            "digest": self.digest,
            "text": self.text,
            "messages": None if self.messages is None else json.dumps(self.messages, ensure_ascii=False),
            "tools": None if self.tools is None else json.dumps(self.tools, ensure_ascii=False),
            "images": list(self.images),
            "look": self.perceptual_hash,
            "things": _written(self.detections),
            "source": self.source,
            "origin": self.origin,
            "licence": self.licence,
            "heldout": self.heldout,
        }


def said(message: dict[str, Any]) -> str:
    """The text of a message, with its parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def read(path: Path, heldout: bool | None = None) -> Iterator[Document]:
    """Stream the documents of a Parquet file, a row group at a time; all of them, or only one part of the split."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=SCHEMA.names[1:])
            if heldout is not None:
                table = table.filter(pc.equal(table["heldout"], heldout))
            for row in table.to_pylist():
                for key in ("messages", "tools"):
                    row[key] = None if row[key] is None else json.loads(row[key])
                hashed, detections = row.pop("look"), _detections(row.pop("things"))
                yield Document(**row | {"images": tuple(row["images"])}, perceptual_hash=hashed, detections=detections)


def measured(path: Path) -> Path:
    """The documents file whose held-out ones measure a finished model: that of the test part, if there is one."""
    test = path.with_name(TEST)
    return test if test.is_file() else path


def detection_classes(paths: Iterable[Path]) -> tuple[tuple[str, ...], bool]:
    """The classes of all detections in some Parquet files of documents, sorted, and whether any box is rotated."""
    found: set[str] = set()
    rotated = False
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["things"]):
                for written in batch["things"].drop_null().to_pylist():
                    detections = [detection for image in json.loads(written) for detection in image]
                    found |= {detection[0] for detection in detections}
                    rotated = rotated or any(len(detection) > UPRIGHT for detection in detections)
    return tuple(sorted(found)), rotated


def _written(detections: tuple[tuple[Detection, ...], ...] | None) -> str | None:
    if detections is None:
        return None
    return json.dumps(
        [[[each.class_name, *each.box, *(each.corners or ())] for each in of_image] for of_image in detections]
    )


def _detections(written: str | None) -> tuple[tuple[Detection, ...], ...] | None:
    if written is None:
        return None
    return tuple(
        tuple(
            Detection(name, (left, top, right, bottom), corners=tuple(corners) or None)
            for name, left, top, right, bottom, *corners in of_image
        )
        for of_image in json.loads(written)
    )


def chunks(documents: Iterable[Document], characters: int = 4_000_000, count: int = 16_384) -> Iterator[list[Document]]:
    """Group documents into lists of at most `count`, closed at `characters` (or image bytes): bounded memory."""
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += document.size
        if size >= characters or len(chunk) == count:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
