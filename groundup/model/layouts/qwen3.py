"""Dense Qwen3 (arXiv:2505.09388), `Qwen3ForCausalLM` of transformers, with Ground Up's vision encoder beside it."""

from dataclasses import asdict
from typing import Any

from groundup.core.errors import InputError
from groundup.core.tables import LAYOUTS
from groundup.model.config import ModelConfig
from groundup.model.layouts import Layout
from groundup.model.vision.tower import VisionTowerConfig

# beginnings of the vision encoder's names, here and in files
VISION = (
    ("vision.stem.projection.", "eyes.parts.look."),
    ("vision.next_patch.", "eyes.next."),
    ("vision.detection_head.", "eyes.labels."),
    ("vision.", "eyes."),
)


def read_config(table: dict[str, Any], where: str) -> ModelConfig:
    """Read a `config.json`; raises InputError for one that this model does not support."""
    vision = table.get("groundup") or {}
    rope = table.get("rope_parameters") or table.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default" or table.get("attention_bias") or table.get("use_sliding_window"):
        raise InputError(f"{where}: scaled rotary positions, attention biases and sliding windows are not supported")
    try:
        return ModelConfig(
            depth=table["num_hidden_layers"],
            width=table["hidden_size"],
            heads=table["num_attention_heads"],
            kv_heads=table["num_key_value_heads"],
            head_dim=table["head_dim"],
            ffn=table["intermediate_size"],
            vocab=table["vocab_size"],
            context=table["max_position_embeddings"],
            tied=table.get("tie_word_embeddings", False),
            rope_base=float(rope.get("rope_theta") or table.get("rope_theta", 10_000.0)),
            norm_epsilon=table.get("rms_norm_eps", 1e-6),
            **(_vision_fields(vision) if vision else {}),
        )
    except KeyError as missing:
        raise InputError(f"{where}: the key {missing} is missing; a Qwen3 config.json has it") from None


def _vision_fields(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of the vision encoder, as `ModelConfig` names them."""
    tower = VisionTowerConfig(**stored["tower"]) if "tower" in stored else None
    shape = {"patch": stored["patch"], "patches": stored["patches"], "classes": tuple(stored["kinds"])}
    return shape | {"tower": tower, "rotated": bool(stored.get("rotated", False))}


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
