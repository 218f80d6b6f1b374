"""What the config.json of most decoders have in common: sizes, rotary embedding and windows; read and written."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from groundup.core.errors import InputError
from groundup.model.config import ModelConfig
from groundup.model.config_file import LENGTH, ConfigFile
from groundup.model.rotary import RopeScaling

# of tokenizer, training, caches and libraries: they do not change what the model computes
_NO_MATTER = (
    "architectures", "model_type", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "transformers_version",
    "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "use_cache", "attention_dropout",
    "cache_implementation", "transformers.js_config", "is_llama_config", "pretraining_tp", "auto_map", "id2label",
    "label2id", "output_attentions", "output_hidden_states", "return_dict", "unsloth_version", "unsloth_fixed",
)  # fmt: skip
# of norms before and after attention and feed-forward: our names and those of files
NORMS = (
    ("post_attention_layernorm", "pre_feedforward_layernorm"),
    ("attention_output_norm", "post_attention_layernorm"),
    ("feed_forward_output_norm", "post_feedforward_layernorm"),
)
LAYERS: dict[str, Literal["full", "window"]] = {"full_attention": "full", "sliding_attention": "window"}


def sizes(file: ConfigFile, tied: bool = False, epsilon: float = 1e-6) -> dict[str, Any]:
    """The sizes of `ModelConfig`; `tied` and `epsilon` are the architecture's defaults. Raises InputError."""
    file.ignore(*_NO_MATTER)
    file.neutral("chunk_size_feed_forward", 0)
    width, heads = file.count("hidden_size"), file.count("num_attention_heads")
    kv_heads = file.count("num_key_value_heads", default=heads)
    head_dim = file.count("head_dim", default=width // heads)
    if heads % kv_heads or head_dim % 2:
        raise InputError(
            f"{file.where}: {heads} heads do not share {kv_heads} key/value heads, or head_dim {head_dim} is odd"
        )
    return {
        "depth": file.count("num_hidden_layers", 10_000),
        "width": width,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "ffn": file.count("intermediate_size"),
        "vocab": file.count("vocab_size", LENGTH),
        "context": file.count("max_position_embeddings", LENGTH),
        "tied": file.flag("tie_word_embeddings", tied),
        "norm_epsilon": file.number("rms_norm_eps", epsilon),
    }


def rotary(file: ConfigFile, base: float = 10_000.0) -> dict[str, Any]:
    """Base and scaling of the rotary embedding; `base` is the architecture's default. Raises InputError."""
    part = file.part("rope_parameters", "rope_scaling")
    base = part.number("rope_theta", file.number("rope_theta", base))
    return {"rope_base": base, "rope_scaling": scaling(part, file.table.get("max_position_embeddings"))}


def local_rotary(file: ConfigFile, layers: Sequence[str], base: float, local: float) -> dict[str, Any]:
    """The same where layers with a window have an own rotary embedding, unscaled; with the defaults of both bases."""
    local = file.number("rope_local_base_freq", local)
    parts = file.part("rope_parameters")
    if not parts.table.keys() & LAYERS.keys():
        found = rotary(file, base)
    else:
        full, near = parts.part("full_attention"), parts.part("sliding_attention")
        found = {"rope_base": full.number("rope_theta", file.number("rope_theta", base))}
        found["rope_scaling"] = scaling(full, file.table.get("max_position_embeddings"))
        local = near.number("rope_theta", local)
        if scaling(near, None) is not None:
            raise InputError(f"{near.where}: scaled frequencies of layers with a window are not supported")
        file.ignore("rope_scaling")
        parts.finish()
    differs = "window" in layers and (found["rope_scaling"] is not None or local != found["rope_base"])
    return found | {"window_rope_base": local if differs else 0.0}


def local_rope_tables(config: ModelConfig) -> dict[str, Any]:
    """The `rope_parameters` of both kinds of layers."""
    full = {"rope_theta": config.rope_base} | rope_table(config.rope_scaling)
    near = {"rope_theta": config.window_rope_base or config.rope_base, "rope_type": "default"}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": near}}


def scaling(part: ConfigFile, context: Any) -> RopeScaling | None:
    """The scaling of an object under `rope_parameters` or `rope_scaling`. Raises InputError for an unsupported one."""
    kinds: dict[str, Literal["linear", "llama3", "yarn"] | None] = {
        "default": None, "linear": "linear", "llama3": "llama3", "yarn": "yarn"
    }  # fmt: skip
    kind = part.choice("rope_type", kinds, part.table.get("type") or "default")
    part.ignore("type", "rope_theta", "max_position_embeddings")
    for key, value in (("partial_rotary_factor", 1.0), ("truncate", True), ("llama_4_scaling_beta", 0.0)):
        part.neutral(key, value)
    if kind is None:
        part.ignore(*part.table)
        return None
    if kind == "linear":
        found = RopeScaling("linear", part.number("factor"))
    else:
        original = part.count("original_max_position_embeddings", LENGTH)
        if kind == "llama3":
            low, high = part.number("low_freq_factor"), part.number("high_freq_factor")
            found = RopeScaling("llama3", part.number("factor"), original, low, high)
        else:
            found = _yarn(part, original, context / original if isinstance(context, int) else 1.0)
        if found.low >= found.high:
            raise InputError(f"{part.where}: the ramp of {kind} goes from {found.low} to {found.high}, so not upwards")
    part.finish()
    return found


def _yarn(part: ConfigFile, original: int, stretched: float) -> RopeScaling:
    factor = part.number("factor", stretched)
    magnitude = 1 + 0.1 * math.log(max(factor, 1))
    if part.table.get("mscale") and part.table.get("mscale_all_dim"):
        one, other = (1 + 0.1 * part.number(key) * math.log(max(factor, 1)) for key in ("mscale", "mscale_all_dim"))
        magnitude = one / other
    part.ignore("mscale", "mscale_all_dim")
    low, high = part.number("beta_slow", 1.0), part.number("beta_fast", 32.0)
    return RopeScaling("yarn", factor, original, low, high, part.number("attention_factor", magnitude))


def bias(file: ConfigFile) -> Literal["none", "qkvo"]:
    """The biases of attention by `attention_bias`."""
    return "qkvo" if file.flag("attention_bias") else "none"


def layers(file: ConfigFile, default: Sequence[str], window: int | None) -> dict[str, Any]:
    """The layers' attention by `layer_types`, and the size of their window. Raises InputError."""
    kinds = file.texts("layer_types") if file.table.get("layer_types") else tuple(default)
    if len(kinds) != file.count("num_hidden_layers") or not LAYERS.keys() >= {*kinds}:
        raise InputError(
            f"{file.where}: layer_types are {', '.join(dict.fromkeys(kinds))[:60]}, {len(kinds)} of them; supported is"
            f" a list of {' and '.join(LAYERS)} with an entry a layer"
        )
    return windows([LAYERS[kind] for kind in kinds], window, file)


def windows(kinds: Sequence[str], window: int | None, file: ConfigFile) -> dict[str, Any]:
    """The fields `layers`, as the shortest sequence whose repetition gives `kinds`, and `window`."""
    if "window" in kinds and not window:
        raise InputError(f"{file.where}: sliding_window is missing, which layers of sliding_attention need")
    period = next(n for n in range(1, len(kinds) + 1) if all(kinds[i] == kinds[i % n] for i in range(len(kinds))))
    return {"layers": tuple(kinds[:period]), "window": window if "window" in kinds else 0}


def table(config: ModelConfig, architecture: str, model_type: str) -> dict[str, Any]:
    """The `config.json` of what `sizes` and `rotary` read."""
    rope = {"rope_theta": config.rope_base} | rope_table(config.rope_scaling)
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "initializer_range": 0.02,
        "rms_norm_eps": config.norm_epsilon,
        "use_cache": True,
        "tie_word_embeddings": config.tied,
        "rope_theta": config.rope_base,
        "rope_parameters": rope,
    } | ({"rope_scaling": rope_table(config.rope_scaling)} if config.rope_scaling else {})


def rope_table(scaling: RopeScaling | None) -> dict[str, Any]:
    """The `rope_parameters` of a scaling."""
    if scaling is None:
        return {"rope_type": "default"}
    table = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return table
    names = {"llama3": ("low_freq_factor", "high_freq_factor"), "yarn": ("beta_slow", "beta_fast")}[scaling.kind]
    table |= {"original_max_position_embeddings": scaling.original, names[0]: scaling.low, names[1]: scaling.high}
    return table | ({"attention_factor": scaling.magnitude} if scaling.kind == "yarn" else {})


def layer_types(config: ModelConfig) -> dict[str, Any]:
    """The keys `layer_types` and `sliding_window`."""
    names = {ours: theirs for theirs, ours in LAYERS.items()} | {"unrotated": "full_attention"}
    kinds = [names[config.layers[layer % len(config.layers)]] for layer in range(config.depth)]
    return {"layer_types": kinds, "sliding_window": config.window or None}


def late_windows(file: ConfigFile) -> dict[str, Any]:
    """The layers of Qwen models: with `use_sliding_window`, those from `max_window_layers` on, or by `layer_types`."""
    file.ignore("sliding_window", "max_window_layers", "layer_types")
    if not file.flag("use_sliding_window"):
        return {}
    depth = file.count("num_hidden_layers", 10_000)
    full = 0 if file.table.get("max_window_layers") == 0 else file.count("max_window_layers", default=28)
    default = ["full_attention"] * min(full, depth) + ["sliding_attention"] * max(0, depth - full)
    return layers(file, default, file.count("sliding_window"))


def late_windows_table(config: ModelConfig) -> dict[str, Any]:
    """The keys that `late_windows` reads."""
    if "window" not in config.layers:
        return {"use_sliding_window": False}
    return {"use_sliding_window": True, "max_window_layers": 0} | layer_types(config)
