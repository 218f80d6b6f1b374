"""Dense Qwen3 (arXiv:2505.09388), `Qwen3ForCausalLM` of transformers, with Ground Up's vision encoder beside it."""

from dataclasses import asdict
from typing import Any

from groundup.core.errors import InputError
from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.config_file import LENGTH, ConfigFile
from groundup.model.layouts import Layout
from groundup.model.vision.tower import VisionTowerConfig

# prefixes of the vision encoder's parameter names, here and in files
VISION = (
    ("vision.stem.projection.", "eyes.parts.look."),
    ("vision.next_patch.", "eyes.next."),
    ("vision.detection_head.", "eyes.labels."),
    ("vision.", "eyes."),
)


def read_config(table: dict[str, Any], where: str) -> ModelConfig:
    """Read a `config.json`; raises InputError for one that this model does not support."""
    file = ConfigFile(table, where)
    rope = file.part("rope_parameters", "rope_scaling")
    scaled = rope.table.get("rope_type", "default") != "default"
    if scaled or file.flag("attention_bias") or file.flag("use_sliding_window"):
        raise InputError(f"{where}: scaled rotary positions, attention biases and sliding windows are not supported")
    config = ModelConfig(
        depth=file.count("num_hidden_layers", 10_000),
        width=file.count("hidden_size"),
        heads=file.count("num_attention_heads"),
        kv_heads=file.count("num_key_value_heads"),
        head_dim=file.count("head_dim"),
        ffn=file.count("intermediate_size"),
        vocab=file.count("vocab_size", LENGTH),
        context=file.count("max_position_embeddings", LENGTH),
        tied=file.flag("tie_word_embeddings"),
        rope_base=rope.number("rope_theta", file.number("rope_theta", 10_000.0)),
        norm_epsilon=file.number("rms_norm_eps", 1e-6),
        **_vision_fields(file.part("groundup")),
    )
    if config.heads % config.kv_heads or config.head_dim % 2:
        raise InputError(
            f"{where}: {config.heads} heads do not share {config.kv_heads} key/value heads, or head_dim"
            f" {config.head_dim} is odd"
        )
    return config


def _vision_fields(file: ConfigFile) -> dict[str, Any]:
    """The fields of the vision encoder, as `ModelConfig` names them."""
    if not file.table:
        return {}
    shape = {"patch": file.count("patch", 1024), "patches": file.count("patches"), "classes": file.texts("kinds")}
    tower = VisionTowerConfig.read(file.part("tower")) if "tower" in file.table else None
    return shape | {"tower": tower, "rotated": file.flag("rotated")}


def write_config(config: ModelConfig, dtype: str, end: int | None) -> dict[str, Any]:
    """The `config.json` of the Hugging Face layout (Qwen3ForCausalLM)."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
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
        "rope_parameters": {"rope_theta": config.rope_base, "rope_type": "default"},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": end,
        "dtype": dtype,
    } | ({"groundup": _vision(config)} if config.patch else {})


def _vision(config: ModelConfig) -> dict[str, Any]:
    tower = {} if config.tower is None else {"tower": asdict(config.tower)}
    rotated = {"rotated": True} if config.rotated else {}
    return {"patch": config.patch, "patches": config.patches, "kinds": list(config.classes)} | tower | rotated


def stored(config: ModelConfig, name: str) -> str | None:
    """The name in files of a parameter; a tied head has none."""
    if config.tied and name == "lm_head.weight":
        return None
    return next((theirs + name.removeprefix(ours) for ours, theirs in VISION if name.startswith(ours)), name)


def own(config: ModelConfig, name: str) -> str | None:
    """The parameter of a tensor in files; a tied head is read with the embedding."""
    if config.tied and name == "lm_head.weight":
        return None
    return next((ours + name.removeprefix(theirs) for ours, theirs in VISION if name.startswith(theirs)), name)


LAYOUTS.add("qwen3", Layout(read_config, write_config, stored, own))
