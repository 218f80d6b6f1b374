"""Qwen2 and Qwen2.5 (arXiv:2412.15115): biases of queries, keys and values, and no norm of them."""

from typing import Any

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """Windows by `use_sliding_window`."""
    file.neutral("hidden_act", "silu")
    fields = _decoder.sizes(file) | _decoder.rotary(file) | _decoder.late_windows(file)
    return ModelConfig(**fields, qk_norm="none", bias="qkv")


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of Qwen2ForCausalLM."""
    return _decoder.table(config, "Qwen2ForCausalLM", "qwen2") | _decoder.late_windows_table(config)


LAYOUTS.add("qwen2", Layout(("qwen2",), read_config, write_config))
