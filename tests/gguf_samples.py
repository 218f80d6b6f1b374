"""Small GGUF files: right ones, written by the `gguf` package, and byte by byte, where something is to be wrong."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter


def write(
    path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Any], arch: str = "llama", **more: Any
) -> Path:
    """Write a file; a tensor is an array, or the bytes of rows and their type."""
    writer = GGUFWriter(None, arch)
    writer.add_custom_alignment(metadata.get("general.alignment", 32))
    for key, value in metadata.items():
        if key == "general.alignment":
            continue
        {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }[type(value)](key, value)
    for name, tensor in tensors.items():
        data, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored(kind: GGMLQuantizationType, rows: int = 3, blocks: int = 2, seed: int = 0) -> np.ndarray:
    """Random bytes of rows of a type, with scales that are no NaN in the types whose scale is fp16 or fp32."""
    _, size = GGML_QUANT_SIZES[kind]
    return np.random.default_rng(seed).integers(0, 256, (rows, blocks * size), np.uint8)


def text(value: str | bytes) -> bytes:
    """A text behind its length."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def field(key: str | bytes, value: bytes, kind: int = 4) -> bytes:
    """A metadata field of a type, by default uint32."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, sides: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    """A tensor's info, by default of eight weights in fp32."""
    shape = struct.pack(f"<I{len(sides)}Q", len(sides), *sides)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


def raw(
    fields: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), data: int = 32, version: int = 3, **counts: int
) -> bytes:
    """A file of these parts and so many bytes of data; `counts` announces other numbers of `tensors` and `fields`."""
    told = counts.get("tensors_told", len(tensors)), counts.get("fields_told", len(fields))
    head = b"GGUF" + struct.pack("<IQQ", version, *told) + b"".join((*fields, *tensors))
    return head + bytes(-len(head) % 32) + bytes(data)
