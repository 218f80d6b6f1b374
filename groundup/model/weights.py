"""Loads and saves weights in the Hugging Face layout: `model.safetensors` (or its shards) beside `config.json`."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from groundup.core.errors import InputError
from groundup.core.files import read_json, write_json, write_with
from groundup.core.tables import LAYOUTS
from groundup.model import cost
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout
from groundup.model.tensor_file import write_tensors
from groundup.model.transformer import Transformer
from groundup.model.vision.tower import VisionTower

WRITTEN = "qwen3"  # the layout of models trained here
_OF_TOWER = re.compile(r"(?:vision_model\.)?((?:embeddings|encoder|post_layernorm)\..*)")


def save(model: Transformer, folder: Path, end: int | None, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and `model.safetensors`; a tied head is left out, as the layout requires."""
    save_tensors(model.config, model.state_dict(), folder, end, dtype)


def save_tensors(
    config: ModelConfig, tensors: dict[str, Tensor], folder: Path, end: int | None, dtype: torch.dtype = torch.float32
) -> None:
    """The same for a state dict of full (unsharded) tensors."""
    layout = LAYOUTS[WRITTEN]
    kept = {
        stored: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in tensors.items()
        if (stored := layout.stored(config, name)) is not None
    }
    write_with(folder / "model.safetensors", lambda path: write_tensors(kept, path, {"format": "pt"}))
    write_json(folder / "config.json", layout.write_config(config, str(dtype).removeprefix("torch."), end))


def config_of(folder: Path) -> ModelConfig:
    """The config of the model in a folder."""
    if not (folder / "config.json").exists():
        raise InputError(
            f"{folder}: holds no config.json, so no model; give the folder of a finished stage or of an exported model"
        )
    table = read_json(folder / "config.json")
    return _layout(table, folder).read_config(table, str(folder / "config.json"))


def _layout(table: dict[str, Any], folder: Path) -> Layout:
    """The layout of a folder's weights; raises InputError for one that is not known."""
    kind = ConfigFile(table, str(folder / "config.json")).table.get("model_type")
    if not isinstance(kind, str) or kind not in LAYOUTS:
        raise InputError(f"{folder / 'config.json'}: model_type is {kind!r}; loaded are {', '.join(LAYOUTS)}")
    return LAYOUTS[kind]


def load(folder: Path, device: torch.device, precision: torch.dtype = torch.float32) -> Transformer:
    """Build the model of a folder on a device, weights in fp32, activations in `precision`.

    Raises InputError for a missing or damaged file, another architecture, or tensors that do not fit.
    """
    config = config_of(folder)
    _check_size(config, folder)
    with torch.device("meta"):
        model = Transformer(config, precision)
    model.to_empty(device=device)
    if config.tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    fill(model, folder)
    return model.eval()


def _check_size(config: ModelConfig, folder: Path) -> None:
    """Raise InputError before a model is allocated for a config with more than twice the weights of its files."""
    wanted, there = cost.total(config), sum(map(_weights_in, files_of(folder)))
    if wanted > 2 * there:
        raise InputError(
            f"{folder}: config.json describes {wanted:,} weights, its files hold {there:,}; they do not belong together"
        )


def _weights_in(file: Path) -> int:
    """The number of weights that a file's header lists."""
    with _opened(file) as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 - not a mapping


def fill(model: Transformer, folder: Path) -> None:
    """Load the weights of a folder into a model of the same config."""
    own = _layout(read_json(folder / "config.json"), folder).own
    _fill(model, folder, lambda name: own(model.config, name))


def fill_tower(tower: VisionTower, folder: Path) -> None:
    """Load a SigLIP 2 model's weights into a vision tower, without its text part and pooling."""
    _fill(tower, folder, lambda name: found[1] if (found := _OF_TOWER.fullmatch(name)) else None)


@torch.no_grad()
def _fill(module: nn.Module, folder: Path, ours: Callable[[str], str | None]) -> None:
    """Copy the tensors of a folder into the parameters whose names are `ours`; tensors without a name are skipped."""
    waiting = dict(module.named_parameters())
    for stored, tensor, file in _tensors(folder):
        if (name := ours(stored)) is None:
            continue
        if name not in waiting or waiting[name].shape != tensor.shape:
            wanted = tuple(waiting[name].shape) if name in waiting else "nothing of that name"
            raise InputError(
                f"{file}: tensor {stored} has shape {tuple(tensor.shape)}, the model has {wanted}; it belongs to"
                " another config.json"
            )
        waiting.pop(name).copy_(tensor)
    if waiting:
        raise InputError(f"{folder}: the weights lack {len(waiting)} tensors, among them {sorted(waiting)[0]}")


def files_of(folder: Path) -> list[Path]:
    """The files of a folder's weights; raises InputError where there is none."""
    if not (files := sorted(folder.glob("model*.safetensors"))):
        raise InputError(f"{folder}: holds no model.safetensors")
    return files


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor, Path]]:
    for file in files_of(folder):
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
