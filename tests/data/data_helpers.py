"""What the data tests share: sources over a temporary folder, images, and documents files made by hand."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from groundup.data.document import SCHEMA, Document
from groundup.data.sources.boxes import BoxesSource
from groundup.data.sources.images import ImagesSource
from groundup.data.sources.messages import MessagesSource
from groundup.data.sources.table import TableSource
from groundup.data.sources.text import TextSource


def text_source(path: str, **knobs: Any) -> TextSource:
    return TextSource(
        **{"name": "notes", "kind": "text", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs}
    )


def messages_source(path: str, **knobs: Any) -> MessagesSource:
    return MessagesSource(
        **{"name": "talks", "kind": "messages", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs}
    )


def table_source(path: str, **knobs: Any) -> TableSource:
    return TableSource(
        **{"name": "rows", "kind": "table", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs}
    )


def ignore(amount: int) -> None:
    """A progress callback that nobody watches."""


def write_parquet(path: Path, documents: list[Document]) -> Path:
    pq.write_table(pa.Table.from_pylist([document.row() for document in documents], schema=SCHEMA), path)
    return path


# --- images -------------------------------------------------------------------------------------------------


def images_source(path: str, **knobs: Any) -> ImagesSource:
    return ImagesSource(
        **{"name": "photos", "kind": "images", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs}
    )


def boxes_source(path: str, **knobs: Any) -> BoxesSource:
    return BoxesSource(
        **{"name": "shelves", "kind": "boxes", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs}
    )


def encoded(seed: int = 0, size: tuple[int, int] = (24, 16), form: str = "PNG", mode: str = "RGB") -> bytes:
    """An image of blocks of noise, encoded: another seed gives a quite different image."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).convert(mode).save(file, form)
    return file.getvalue()


def save(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def bomb(width: int = 100_000, height: int = 100_000) -> bytes:
    """A PNG of a few bytes whose header claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def moving() -> bytes:
    """A GIF of two pictures."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD_IMAGES = {
    "empty": (b"", "empty file"),
    "truncated": (encoded(1, (200, 200), "JPEG")[:-900], "damaged image"),
    "truncated-png": (encoded(1, (64, 64))[:-40], "damaged image"),
    "text": (b"this is no image at all\n", "not an image"),
    "bomb": (bomb(), "too many pixels"),
    "one-pixel": (encoded(1, (1, 1)), "too small"),
    "thread": (encoded(1, (1, 10_000)), "too small"),
    "moving": (moving(), "moving image"),
}
