"""Llama 2 and 3 (arXiv:2407.21783), and what has their layout: SmolLM and SmolLM2."""

from typing import Any

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """No norm of queries and keys; biases by `attention_bias`."""
    file.neutral("hidden_act", "silu")
    file.neutral("mlp_bias", False)
    file.neutral("rope_interleaved", False)
    return ModelConfig(**_decoder.sizes(file), **_decoder.rotary(file), qk_norm="none", bias=_decoder.bias(file))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of LlamaForCausalLM."""
    return _decoder.table(config, "LlamaForCausalLM", "llama") | {
        "attention_bias": config.bias == "qkvo",
        "mlp_bias": False,
    }


LAYOUTS.add("llama", Layout(("llama",), read_config, write_config))
