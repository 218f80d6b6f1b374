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
    fields = _decoder.sizes(file) | _decoder.rotary(file) | _decoder.late_windows(file)
    return ModelConfig(**fields, bias=_decoder.bias(file))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of Qwen3ForCausalLM."""
    table = _decoder.table(config, "Qwen3ForCausalLM", "qwen3")
    table |= {"attention_bias": config.bias == "qkvo", "attention_dropout": 0.0}
    return table | _decoder.late_windows_table(config)


LAYOUTS.add("qwen3", Layout(("qwen3",), read_config, write_config))
