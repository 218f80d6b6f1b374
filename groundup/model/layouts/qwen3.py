"""Dense Qwen3 (arXiv:2505.09388), `Qwen3ForCausalLM` of transformers: the layout of models trained here."""

from typing import Any

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """Norms of each head's queries and keys; biases by `attention_bias`; windows by `use_sliding_window`."""
    file.neutral("hidden_act", "silu")
    file.count("head_dim")
    return ModelConfig(**_decoder.sizes(file), **_decoder.rotary(file), **windows(file), bias=_decoder.bias(file))


def windows(file: ConfigFile) -> dict[str, Any]:
    """The layers of Qwen models: with `use_sliding_window`, those from `max_window_layers` on, or by `layer_types`."""
    file.ignore("sliding_window", "max_window_layers", "layer_types")
    if not file.flag("use_sliding_window"):
        return {}
    depth = file.count("num_hidden_layers", 10_000)
    full = 0 if file.table.get("max_window_layers") == 0 else file.count("max_window_layers", default=28)
    default = ["full_attention"] * min(full, depth) + ["sliding_attention"] * max(0, depth - full)
    return _decoder.layers(file, default, file.count("sliding_window"))


def windows_table(config: ModelConfig) -> dict[str, Any]:
    """The keys that `windows` reads."""
    if "window" not in config.layers:
        return {"use_sliding_window": False}
    return {"use_sliding_window": True} | _decoder.layer_types(config)


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of Qwen3ForCausalLM."""
    table = _decoder.table(config, "Qwen3ForCausalLM", "qwen3")
    return table | {"attention_bias": config.bias == "qkvo", "attention_dropout": 0.0} | windows_table(config)


LAYOUTS.add("qwen3", Layout(("qwen3",), read_config, write_config))
