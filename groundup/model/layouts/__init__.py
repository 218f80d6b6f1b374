"""Families of published weights, one module each: how they are read and written. Registered in `core.tables.LAYOUTS`
by the `model_type` of their config.json.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundup.model.config import ModelConfig


@dataclass(frozen=True)
class Layout:
    """A family: its config.json, and the names of its tensors.

    `read_config` takes the table and where it stands, and raises InputError for what the model lacks; `write_config`
    the dtype and the id that ends a text. `stored` and `own` map a parameter's name to the file's and back; None: the
    file has no such tensor, or the model does not need it.
    """

    read_config: Callable[[dict[str, Any], str], ModelConfig]
    write_config: Callable[[ModelConfig, str, int | None], dict[str, Any]]
    stored: Callable[[ModelConfig, str], str | None]
    own: Callable[[ModelConfig, str], str | None]
