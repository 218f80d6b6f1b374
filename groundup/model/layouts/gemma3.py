"""Gemma 3 (arXiv:2503.19786), models of text: norms before and after, stored as weight - 1; GELU; embeddings times
the square root of the width; windows in five of six layers, with an own rotary base.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from torch import Tensor

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """The scale of queries is no field: `fold` puts it into their norm."""
    file.neutral("hidden_activation", "gelu_pytorch_tanh")
    file.neutral("use_bidirectional_attention", False)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        file.neutral(key, None)
    file.number("query_pre_attn_scalar", 256)
    fields = _decoder.sizes(file, tied=True)
    period = file.count("sliding_window_pattern", default=file.count("_sliding_window_pattern", default=6))
    default = ["sliding_attention" if (n + 1) % period else "full_attention" for n in range(fields["depth"])]
    fields |= _decoder.layers(file, default, file.count("sliding_window", default=4096))
    fields |= _decoder.local_rotary(file, fields["layers"], 1_000_000.0, 10_000.0)
    return ModelConfig(
        **fields, bias=_decoder.bias(file), norms="around", activation="gelu", embed_scale=sqrt(fields["width"])
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of Gemma3ForCausalLM."""
    table = _decoder.table(config, "Gemma3ForCausalLM", "gemma3_text")
    del table["hidden_act"]
    return (
        table
        | _decoder.layer_types(config)
        | _decoder.local_rope_tables(config)
        | {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": config.head_dim,
            "pad_token_id": None,
            "attention_bias": config.bias == "qkvo",
            "sliding_window": config.window or 4096,
            "rope_local_base_freq": config.window_rope_base or config.rope_base,
        }
    )


def fold(table: Mapping[str, Any], name: str, tensor: Tensor) -> Tensor:
    """Norms plus 1; those of queries also carry their scale, as far as it is not 1 / sqrt(head_dim)."""
    if not name.startswith("model.") or not name.endswith("norm.weight"):
        return tensor
    scale = sqrt(len(tensor) / table.get("query_pre_attn_scalar", 256)) if name.endswith("q_norm.weight") else 1.0
    return (tensor.float() + 1) * scale


def unfold(table: Mapping[str, Any], name: str, tensor: Tensor) -> Tensor:
    """Norms minus 1."""
    return tensor.float() - 1 if name.startswith("model.") and name.endswith("norm.weight") else tensor


LAYOUTS.add("gemma3", Layout(("gemma3_text",), read_config, write_config, _decoder.NORMS, fold, unfold))
