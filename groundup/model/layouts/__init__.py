"""Layouts of published weights, a module each, in `core.tables.LAYOUTS` by the `model_type` of their config.json."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundup.model.config import ModelConfig


@dataclass(frozen=True)
class Layout:
    """A family of published weights: its config.json, and the names of its tensors.

    `read_config` takes the table and its path, and raises InputError for an unsupported model; `write_config` takes the
    dtype and the end-of-text id. `stored` and `own` map a parameter's name to the file's name and back; None: absent.
    """

    read_config: Callable[[dict[str, Any], str], ModelConfig]
    write_config: Callable[[ModelConfig, str, int | None], dict[str, Any]]
    stored: Callable[[ModelConfig, str], str | None]
    own: Callable[[ModelConfig, str], str | None]
