"""Where weights come from: a folder in the Hugging Face layout, or another source of the same table and tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from groundup.core.errors import InputError
from groundup.core.files import read_json

DTYPES = ("F32", "BF16", "F16", "F64")


class Source(Protocol):
    """The table of a config.json and tensors by their Hugging Face names; faults raise InputError."""

    where: str  # the table is from, for errors

    def table(self) -> Any:
        """The config.json."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, from headers alone."""

    def tensors(self) -> Iterator[tuple[str, Tensor, Path]]:
        """Name, tensor and file of each, one in memory at a time."""


class Folder:
    """`config.json` beside `model.safetensors`, or beside its shards."""

    def __init__(self, path: Path):
        self.path, self.where = path, str(path / "config.json")

    def table(self) -> Any:
        """The config.json."""
        if not (self.path / "config.json").exists():
            raise InputError(
                f"{self.path}: holds no config.json, so no model; give the folder of a finished stage or of an exported"
                " model"
            )
        return read_json(self.path / "config.json")

    def files(self) -> list[Path]:
        """The files of the weights: those that an index names, else all there are; at least one."""
        index = self.path / "model.safetensors.index.json"
        if not index.exists():
            if not (files := sorted(self.path.glob("model*.safetensors"))):
                raise InputError(f"{self.path}: holds no model.safetensors")
            return files
        table = read_json(index)
        shards = table.get("weight_map") if isinstance(table, dict) else None
        names = list(shards.values()) if isinstance(shards, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{index}: weight_map names no files; download the model again")
        there = {file.name: file for file in self.path.glob("*.safetensors")}
        if missing := sorted(set(names) - there.keys()):
            shown = ascii(missing[0])[1:-1][:80]
            raise InputError(f"{self.path}: lacks the shard {shown}, which {index.name} names; download it")
        return [there[name] for name in dict.fromkeys(names)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor. Raises InputError for one that is not of floating-point numbers, or there twice."""
        shapes: dict[str, tuple[int, ...]] = {}
        for file in self.files():
            with _opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    part = tensors.get_slice(name)
                    if (dtype := part.get_dtype()) not in DTYPES:
                        raise InputError(
                            f"{file}: tensor {name} is of type {dtype}; only {', '.join(DTYPES)} are loaded, so take an"
                            " unquantised copy of the model"
                        )
                    if name in shapes:
                        raise InputError(f"{file}: tensor {name} is also in another file of this folder; remove one")
                    shapes[name] = tuple(part.get_shape())
        return shapes

    def tensors(self) -> Iterator[tuple[str, Tensor, Path]]:
        """Name, tensor and file of each."""
        for file in self.files():
            with _opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    yield name, tensors.get_tensor(name), file


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A safetensors file. Raises InputError for another or a damaged one, while it is read too."""
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged or not a safetensors file ({error})") from error
