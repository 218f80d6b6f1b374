"""OLMo 2 (arXiv:2501.00656) and 3: norms of whole queries and keys, and after attention and feed-forward only."""

from typing import Any

from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """OLMo 3 has windows in three of four layers, whose rotary embedding is not scaled."""
    file.neutral("hidden_act", "silu")
    fields = _decoder.sizes(file, epsilon=1e-5)
    if file.table["model_type"] == "olmo2":
        fields |= _decoder.rotary(file)
    else:
        default = ["full_attention" if n % 4 == 3 else "sliding_attention" for n in range(fields["depth"])]
        fields |= _decoder.layers(file, default, file.count("sliding_window", default=4096))
        base = file.number("rope_theta", 500_000.0)
        fields |= _decoder.local_rotary(file, fields["layers"], base, base)
    return ModelConfig(**fields, qk_norm="width", norms="after", bias=_decoder.bias(file))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of Olmo2ForCausalLM, or with windows of Olmo3ForCausalLM."""
    bias = {"attention_bias": config.bias == "qkvo", "pad_token_id": None}
    if "window" not in config.layers:
        return _decoder.table(config, "Olmo2ForCausalLM", "olmo2") | bias
    table = _decoder.table(config, "Olmo3ForCausalLM", "olmo3") | bias
    return table | _decoder.layer_types(config) | _decoder.local_rope_tables(config)


LAYOUTS.add("olmo", Layout(("olmo2", "olmo3"), read_config, write_config, _decoder.NORMS[1:]))
