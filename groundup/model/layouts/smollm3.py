"""SmolLM3: as Llama, with layers without rotary embedding (arXiv:2501.18795)."""

from typing import Any

from groundup.core.errors import InputError
from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import ConfigFile
from groundup.model.layouts import Layout, _decoder


def read_config(file: ConfigFile) -> ModelConfig:
    """The layers without rotary embedding are those that have a 0 in `no_rope_layers`, else each fourth."""
    for key, value in (("hidden_act", "silu"), ("mlp_bias", False), ("use_sliding_window", False)):
        file.neutral(key, value)
    fields = _decoder.sizes(file, tied=True) | _decoder.rotary(file, 2_000_000.0)
    file.ignore("sliding_window", "max_window_layers", "no_rope_layers")
    _decoder.layers(file, ["full_attention"] * fields["depth"], None)
    interval = file.count("no_rope_layer_interval", default=4)
    rotated = file.table.get("no_rope_layers") or [int((n + 1) % interval != 0) for n in range(fields["depth"])]
    if not isinstance(rotated, list) or len(rotated) != fields["depth"] or not all(each in (0, 1) for each in rotated):
        raise InputError(f"{file.where}: no_rope_layers is not a list of 0 or 1 for each of {fields['depth']} layers")
    kinds = _decoder.windows(["full" if each else "unrotated" for each in rotated], None, file)
    return ModelConfig(**fields, **kinds, qk_norm="none", bias=_decoder.bias(file))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of SmolLM3ForCausalLM."""
    rotated = [int(config.kind(layer).rotary is not None) for layer in range(config.depth)]
    return _decoder.table(config, "SmolLM3ForCausalLM", "smollm3") | {
        "no_rope_layers": rotated,
        "layer_types": ["full_attention"] * config.depth,
        "use_sliding_window": False,
        "attention_bias": config.bias == "qkvo",
        "mlp_bias": False,
        "pad_token_id": None,
    }


LAYOUTS.add("smollm3", Layout(("smollm3",), read_config, write_config))
