"""Layouts of published weights, a module each, in `core.tables.LAYOUTS`: what is only notation is folded away."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile

Names = tuple[tuple[str, str], ...]


def _same(table: Mapping[str, Any], name: str, tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Layout:
    """A family of published weights: its config.json, and the names and notation of its tensors.

    `read_config` raises InputError for an unsupported model. `write_config` writes what the layout can express, which
    is all there is if `read_config` gives the same config back. `names` pairs our parts of parameters' names with the
    file's. `fold` turns a tensor of the file into ours, by the table of its config.json and our name; `unfold` back.
    """

    model_types: tuple[str, ...]  # of config.json
    read_config: Callable[[ConfigFile], ModelConfig]
    write_config: Callable[[ModelConfig], dict[str, Any]]
    names: Names = ()
    fold: Callable[[Mapping[str, Any], str, Tensor], Tensor] = field(default=_same)
    unfold: Callable[[Mapping[str, Any], str, Tensor], Tensor] = field(default=_same)
