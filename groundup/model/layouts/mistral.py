"""Mistral (arXiv:2310.06825) and Ministral: as Llama, with windows in all layers or some."""

from typing import Any

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """All layers have a window where `sliding_window` says so, or those of `layer_types`."""
    file.neutral("hidden_act", "silu")
    window = file.count("sliding_window") if file.table.get("sliding_window") else None
    file.ignore("sliding_window")
    default = ["full_attention" if window is None else "sliding_attention"] * file.count("num_hidden_layers", 10_000)
    return ModelConfig(
        **_decoder.sizes(file),
        **_decoder.rotary(file),
        **_decoder.layers(file, default, window),
        qk_norm="none",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of MistralForCausalLM, or where some layers have a window of MinistralForCausalLM."""
    if len(config.layers) == 1:
        table = _decoder.table(config, "MistralForCausalLM", "mistral")
        return table | {"sliding_window": config.window or None}
    return _decoder.table(config, "MinistralForCausalLM", "ministral") | _decoder.layer_types(config)


LAYOUTS.add("mistral", Layout(("mistral", "ministral", "ministral3"), read_config, write_config))
