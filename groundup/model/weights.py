"""Weights in and out: a source's table and tensors through the layout of their architecture, in both directions."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundup.core.errors import InputError
from groundup.core.files import write_json, write_with
from groundup.core.gguf_file import SUFFIX
from groundup.core.tables import LAYOUTS
from groundup.model import cost
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.gguf import GGUFSource
from groundup.model.layouts import Layout, Names
from groundup.model.source import Folder, Source
from groundup.model.tensor_file import write_tensors
from groundup.model.transformer import Transformer
from groundup.model.vision.config import VisionFields
from groundup.model.vision.tower import VisionTower, VisionTowerConfig

_OF_TOWER = re.compile(r"(?:vision_model\.)?((?:embeddings|encoder|post_layernorm)\..*)")
VISION: Names = (  # of the vision encoder, beside any decoder
    ("vision.stem.projection", "eyes.parts.look"),
    ("vision.next_patch", "eyes.next"),
    ("vision.detection_head", "eyes.labels"),
    ("vision", "eyes"),
)


def save(model: Transformer, folder: Path, end: int | None, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and `model.safetensors`; the head is left out where it is tied."""
    save_tensors(model.config, model.state_dict(), folder, end, dtype)


def save_tensors(
    config: ModelConfig, tensors: dict[str, Tensor], folder: Path, end: int | None, dtype: torch.dtype = torch.float32
) -> None:
    """The same for a state dict of whole tensors."""
    kept = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in stored(config, tensors)}
    write_with(folder / "model.safetensors", lambda path: write_tensors(kept, path, {"format": "pt"}))
    write_json(folder / "config.json", write_config(config, str(dtype).removeprefix("torch."), end))


def write_config(config: ModelConfig, dtype: str, end: int | None) -> dict[str, Any]:
    """The `config.json` of a config, with the dtype of its weights and the id that ends a text."""
    ends = {"bos_token_id": None, "eos_token_id": end, "dtype": dtype}
    return layout_of(config)[1] | ends | _vision_table(config)


def layout_of(config: ModelConfig) -> tuple[Layout, dict[str, Any]]:
    """The layout that can express a config, the first by name, and its table. Raises InputError where there is none."""
    decoder = replace(config, **asdict(VisionFields()))
    for name, layout in LAYOUTS.items():
        table = layout.write_config(decoder)
        try:
            if layout.read_config(ConfigFile(table, name)) == decoder:
                return layout, table
        except InputError:
            continue
    raise InputError(f"none of the layouts {', '.join(LAYOUTS)} can express {decoder}")


def stored(config: ModelConfig, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A state dict under the names and in the notation of files; a tied head is left out."""
    layout, table = layout_of(config)
    for name, tensor in tensors.items():
        if not (config.tied and name == "lm_head.weight"):
            yield _renamed(name, (*layout.names, *VISION)), layout.unfold(table, name, tensor.detach())


def _renamed(name: str, names: Names) -> str:
    """A name with the first of the parts it has replaced."""
    found = next((pair for pair in names if f".{pair[0]}." in f".{name}."), None)
    return name if found is None else f".{name}.".replace(f".{found[0]}.", f".{found[1]}.", 1)[1:-1]


def config_of(source: Path | Source) -> ModelConfig:
    """The config of the model of a folder or another source."""
    source = _source(source)
    return read_config(source.table(), source.where)


def _source(source: Path | Source) -> Source:
    if not isinstance(source, Path):
        return source
    return GGUFSource(source) if source.suffix == SUFFIX else Folder(source)


def read_config(table: Any, where: str) -> ModelConfig:
    """The config of a `config.json`; raises InputError for an unknown architecture or key, or an unsupported value."""
    file = ConfigFile(table, where)
    config, vision = _layout(file).read_config(file), _vision_fields(file.part("groundup"))
    file.finish()
    return replace(config, **vision)


def _layout(file: ConfigFile) -> Layout:
    """The layout of an architecture; raises InputError for one that is not known."""
    kind = file.table.get("model_type")
    layouts = {model_type: layout for _, layout in LAYOUTS.items() for model_type in layout.model_types}
    if not isinstance(kind, str) or kind not in layouts:
        raise InputError(f"{file.where}: model_type is {ascii(kind)[:60]}; loaded are {', '.join(sorted(layouts))}")
    return layouts[kind]


def _vision_fields(file: ConfigFile) -> dict[str, Any]:
    """The fields of the vision encoder, as `ModelConfig` names them."""
    if not file.table:
        return {}
    shape = {"patch": file.count("patch", 1024), "patches": file.count("patches"), "classes": file.texts("kinds")}
    tower = VisionTowerConfig.read(file.part("tower")) if "tower" in file.table else None
    return shape | {"tower": tower, "rotated": file.flag("rotated")}


def _vision_table(config: ModelConfig) -> dict[str, Any]:
    if not config.patch:
        return {}
    tower = {} if config.tower is None else {"tower": asdict(config.tower)}
    rotated = {"rotated": True} if config.rotated else {}
    shape = {"patch": config.patch, "patches": config.patches, "kinds": list(config.classes)}
    return {"groundup": shape | tower | rotated}


def load(source: Path | Source, device: torch.device, precision: torch.dtype = torch.float32) -> Transformer:
    """Build the model of a folder or another source on a device, weights in fp32, activations in `precision`.

    Raises InputError for a missing or damaged file, another architecture, or tensors that do not fit.
    """
    source = _source(source)
    config = config_of(source)
    _check_size(config, source)
    with torch.device("meta"):
        model = Transformer(config, precision)
    # as `to_empty`, which imports sympy for it
    model._apply(  # type: ignore[no-untyped-call]
        lambda each: torch.empty(each.shape, dtype=each.dtype, device=device)
    )
    if config.tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    fill(model, source)
    return model.eval()


def _check_size(config: ModelConfig, source: Source) -> None:
    """Raise InputError before a model is allocated for a config with more than twice the weights of its files."""
    wanted, there = cost.total(config), sum(map(prod, source.shapes().values()))
    if wanted > 2 * there:
        raise InputError(
            f"{source.where} describes {wanted:,} weights, its files hold {there:,}; they do not belong together"
        )


def fill(model: Transformer, source: Path | Source) -> None:
    """Copy the weights of a folder or another source into a model of the same config."""
    source = _source(source)
    file = ConfigFile(source.table(), source.where)
    layout = _layout(file)
    names = tuple((theirs, ours) for ours, theirs in (*layout.names, *VISION))

    def ours(stored: str) -> str | None:
        return None if model.config.tied and stored == "lm_head.weight" else _renamed(stored, names)

    _fill(model, source, ours, lambda name, tensor: layout.fold(file.table, name, tensor))


def fill_tower(tower: VisionTower, folder: Path) -> None:
    """Copy a SigLIP 2 model's weights, the whole or its vision part, into a tower, without text part and pooling."""
    _fill(tower, Folder(folder), lambda name: found[1] if (found := _OF_TOWER.fullmatch(name)) else None)


@torch.no_grad()
def _fill(
    module: nn.Module,
    source: Source,
    ours: Callable[[str], str | None],
    fold: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Copy tensors into the parameters whose names are `ours`; those without a name are skipped."""
    waiting = dict(module.named_parameters())
    for stored, tensor, file in source.tensors():
        if (name := ours(stored)) is None:
            continue
        if name not in waiting or waiting[name].shape != tensor.shape:
            wanted = tuple(waiting[name].shape) if name in waiting else "nothing of that name"
            raise InputError(
                f"{file}: tensor {stored} has shape {tuple(tensor.shape)}, the model has {wanted}; it belongs to"
                " another config.json"
            )
        waiting.pop(name).copy_(fold(name, tensor))
    if waiting:
        raise InputError(f"{source.where}: the weights lack {len(waiting)} tensors, among them {sorted(waiting)[0]}")


def files_of(folder: Path) -> list[Path]:
    """The files of a folder's weights; raises InputError where there is none."""
    return Folder(folder).files()
