"""GGUF's names for what config.json and safetensors files of Hugging Face hold, in both directions.

A GGUF file is read as the table of a config.json and tensors under their Hugging Face names; `layouts` does the rest.
An architecture of llama.cpp is a row of `ARCHITECTURES`. Source: llama.cpp, whose loader is the format's definition.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile, GGUFTensor
from groundup.model.config_file import LENGTH, ConfigFile
from groundup.model.rotary import RopeScaling

_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BEFORE = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_AFTER = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_AROUND = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **_AFTER}
_ROTATED = re.compile(r"\.([qk])_proj\.")  # whose rows are rotary features
ROPE_FREQS = "rope_freqs.weight"  # what divides each frequency, where it is scaled as in Llama 3
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}

_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "final_logit_softcapping": "final_logit_softcapping",
}
_ROPE = {
    "rope.freq_base": "rope_theta",
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
_HEAD_SIZES = ("attention.key_length", "attention.value_length", "rope.dimension_count")  # must be the same
_SAID_ELSEWHERE = ("vocab_size", "rope.scaling.finetuned", "attention.sliding_window_pattern", "rope.freq_base_swa")


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp: the `model_type`s it loads, and what its files have of their own.

    `norms` are the names of a layer's norms. `interleaved`: rows of queries and keys stand in pairs, as rotary features
    are turned there. `shifted`: norms hold 1 + w. `period`: one layer in so many attends to all tokens, where there is
    a window; `local`: the rotary base of those with one, 0 for that of all. `untied`: llama.cpp loads
    it with a head of its own alone. `stated`: what no metadata says.
    """

    model_types: tuple[str, ...]
    norms: dict[str, str]
    stated: Mapping[str, Any]
    interleaved: bool = False
    shifted: bool = False
    period: int = 0
    local: float = 0.0
    untied: bool = False

    def name(self, stored: str) -> str | None:
        """The Hugging Face name of a tensor; None for one that the architecture has not."""
        if found := re.fullmatch(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)", stored):
            inner = (_LAYER | self.norms).get(found[2])
            return inner and f"model.layers.{found[1]}.{inner}.{found[3]}"
        return _OUTER.get(stored)

    def stored(self, name: str) -> str:
        """The name in GGUF of a Hugging Face tensor. Raises InputError for one that the architecture has not."""
        outer = {theirs: ours for ours, theirs in _OUTER.items()}
        inner = {theirs: ours for ours, theirs in (_LAYER | self.norms).items()}
        found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if name not in outer and (not found or found[2] not in inner):
            raise InputError(f"the tensor {name} has no name in GGUF; export the model with --to hf")
        return outer[name] if found is None else f"blk.{found[1]}.{inner[found[2]]}.{found[3]}"


_SILU = {"hidden_act": "silu"}
_GELU = {"hidden_activation": "gelu_pytorch_tanh"}
ARCHITECTURES = {
    "llama": Architecture(("llama", "mistral"), _BEFORE, _SILU, interleaved=True),
    "smollm3": Architecture(("smollm3",), _BEFORE, _SILU | {"no_rope_layer_interval": 4}, interleaved=True),
    "qwen2": Architecture(("qwen2",), _BEFORE, _SILU),
    "qwen3": Architecture(("qwen3",), _BEFORE, _SILU),
    "gemma3": Architecture(("gemma3_text",), _AROUND, _GELU, shifted=True, period=6, local=10_000.0),
    "olmo2": Architecture(("olmo2", "olmo3"), _AFTER, _SILU, period=4, untied=True),
}


# --- in -----------------------------------------------------------------------------------------------------


class GGUFSource:
    """A GGUF file, or a set of shards, as a source of weights. Raises InputError for an unknown architecture."""

    def __init__(self, path: Path):
        self.file, self.where = GGUFFile.open(path), str(path)
        self._name, self._kind = _architecture(self.file)

    def table(self) -> dict[str, Any]:
        """The config.json. Raises InputError for metadata that is not known."""
        prefix = f"{self._name}."
        said = {
            key.removeprefix(prefix): value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in self.file.metadata.items()
            if key.startswith(prefix)
        }
        self._check_keys(said)
        shapes = self.shapes()
        table = {
            "model_type": self._kind.model_types[0],
            "vocab_size": shapes.get("model.embed_tokens.weight", (None,))[0],
            "tie_word_embeddings": "lm_head.weight" not in shapes,
            **self._kind.stated,
            **{theirs: said[key] for key, theirs in _KEYS.items() if key in said},
            **({"query_pre_attn_scalar": _query_scalar(said)} if self._kind.shifted else {}),
            **({"attention_bias": True} if "model.layers.0.self_attn.o_proj.bias" in shapes else {}),
        }
        table |= {"rope_parameters": self._rope(said)}
        return table | (_windows(self._kind, said, table) if self._kind.period else {})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor. Raises InputError for one that the architecture has not."""
        return {name: tensor.shape for name, tensor in self._named()}

    def tensors(self) -> Iterator[tuple[str, Tensor, Path]]:
        """Name, tensor in fp32 and file of each. Raises InputError for heads that do not divide the rows."""
        table = self.table()
        for name, tensor in self._named():
            values = tensor.read()
            if self._kind.shifted and name.endswith("norm.weight"):
                values -= 1
            if self._kind.interleaved and (heads := _heads(table, name)) is not None:
                if type(heads) is not int or heads < 1 or len(values) % (2 * heads):
                    raise InputError(f"{tensor.path}: {tensor.name} has {len(values)} rows, of {heads!r:.40} heads")
                values = regrouped(values, heads, 2)
            yield name, torch.from_numpy(values), tensor.path

    def _named(self) -> Iterator[tuple[str, GGUFTensor]]:
        for stored, tensor in self.file.tensors.items():
            if (name := self._kind.name(stored)) is not None:
                yield name, tensor
            elif stored != ROPE_FREQS:
                raise InputError(f"{tensor.path}: the tensor {stored!r:.80} is none of the architecture {self._name}")

    def _check_keys(self, said: dict[str, Any]) -> None:
        """Raise InputError for a key of the architecture that is not read, and for heads of several sizes."""
        if other := said.keys() - {*_KEYS, *_ROPE, *_HEAD_SIZES, *_SAID_ELSEWHERE}:
            raise InputError(f"{self.where}: the key {self._name}.{min(other)} is not known, and the model may need it")
        if len({said[key] for key in _HEAD_SIZES if type(said.get(key)) is int}) > 1:
            raise InputError(f"{self.where}: {', '.join(_HEAD_SIZES)} differ; only heads of one size are read")

    def _rope(self, said: dict[str, Any]) -> dict[str, Any]:
        """The `rope_parameters`. Raises InputError for frequencies that are divided another way than Llama's."""
        rope = {"rope_theta": 10_000.0} | {_ROPE[key]: said[key] for key in _ROPE if key in said}
        if rope.get("rope_type", "none") == "none":
            rope["rope_type"] = "default"
        if ROPE_FREQS not in self.file.tensors:
            return rope
        divisors, part = self.file.tensors[ROPE_FREQS].read(), ConfigFile(rope, f"{self.where}: rope")
        llama = LLAMA3 | {
            "rope_theta": part.number("rope_theta"),
            "factor": float(divisors.max()),
            "original_max_position_embeddings": part.count("original_max_position_embeddings", LENGTH, 8192),
        }
        if not np.allclose(divisors, rope_freqs(llama, 2 * divisors.size), rtol=1e-5):
            raise InputError(f"{self.where}: the tensor {ROPE_FREQS} is no scaling as of Llama 3, which alone is read")
        return llama


def _architecture(file: GGUFFile) -> tuple[str, Architecture]:
    """The architecture of a file. Raises InputError for one that is not known, with those that are."""
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise InputError(f"{file.path}: its architecture is {name!r:.60}; loaded are {', '.join(ARCHITECTURES)}")
    return name, ARCHITECTURES[name]


def _heads(table: Mapping[str, Any], name: str) -> Any:
    """The number of heads whose rotary features are the rows of a tensor; None for other tensors."""
    found = _ROTATED.search(name)
    if found is None or found[1] == "q":
        return found and table.get("num_attention_heads")
    return table.get("num_key_value_heads", table.get("num_attention_heads"))


def _query_scalar(said: dict[str, Any]) -> Any:
    """What Gemma's queries are divided by the root of: the features of a head, but in the model of 62 layers."""
    width, heads = said.get("embedding_length"), said.get("attention.head_count")
    if said.get("block_count") != 62 and "attention.key_length" in said:
        return said["attention.key_length"]
    return width // heads if type(width) is int and type(heads) is int and heads else None


def _windows(kind: Architecture, said: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """What a config.json says of windows: layers that have one, their rotary base, the `model_type` that knows them."""
    window, layers = said.get("attention.sliding_window"), table.get("num_hidden_layers")
    if type(layers) is not int or (not window and len(kind.model_types) > 1):
        return {}
    period = said.get("attention.sliding_window_pattern", kind.period)
    if type(period) is int and period > 0:
        period = [at % period < period - 1 for at in range(min(layers, 10_000))]
    if not window:
        period = [False] * min(layers, 10_000)
    types = ["sliding_attention" if each else "full_attention" for each in np.atleast_1d(period)]
    local = said.get("rope.freq_base_swa", kind.local or table["rope_parameters"]["rope_theta"])
    return {"model_type": kind.model_types[-1], "layer_types": types, "rope_local_base_freq": local}


def regrouped(values: NDArray[np.float32], heads: int, inner: int) -> NDArray[np.float32]:
    """Rows of each head in another order, so that the `inner` rows of a group stand apart: 2 takes pairs apart."""
    size = len(values) // heads
    groups = values.reshape(heads, size // inner, inner, *values.shape[1:])
    return np.ascontiguousarray(groups.swapaxes(1, 2)).reshape(values.shape)


def rope_freqs(rope: Mapping[str, Any], features: int) -> NDArray[np.float32]:
    """What Llama 3 divides the frequency of each pair of a head's `features` by, for `rope_parameters` of its type."""
    base, low, high = float(rope["rope_theta"]), rope["low_freq_factor"], rope["high_freq_factor"]
    frequencies = base ** -(torch.arange(0, features, 2, dtype=torch.float64) / features)
    scaling = RopeScaling("llama3", rope["factor"], rope["original_max_position_embeddings"], low, high)
    divisors: NDArray[np.float32] = (frequencies / scaling.scaled(frequencies, base)).float().numpy()
    return divisors


# --- out ----------------------------------------------------------------------------------------------------


def metadata(table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The architecture, and the metadata, of the model of a config.json. Raises InputError for another's."""
    name, kind = _loading(table)
    if kind.untied and table["tie_word_embeddings"]:
        raise InputError(f"llama.cpp loads {name} with a head of its own alone, this one is tied; export with --to hf")
    rope = table["rope_parameters"].get("full_attention", table["rope_parameters"])
    values = {key: table.get(theirs) for key, theirs in _KEYS.items()} | dict.fromkeys(_HEAD_SIZES, table["head_dim"])
    values |= {"vocab_size": table["vocab_size"]} | {key: rope.get(theirs) for key, theirs in _ROPE.items()}
    if values["rope.scaling.type"] in ("default", "llama3"):
        values["rope.scaling.type"] = None
    for key in ("rope.scaling.factor",) if rope["rope_type"] == "llama3" else ():
        values[key] = None
    types = table.get("layer_types") or ["sliding_attention" if table.get("sliding_window") else ""]
    if "sliding_attention" not in types:
        values["attention.sliding_window"] = None
    elif not kind.period:
        raise InputError(f"llama.cpp knows no windows in the layout {name}; export the model with --to hf")
    else:
        values["attention.sliding_window_pattern"] = [each == "sliding_attention" for each in types]
        near = table["rope_parameters"].get("sliding_attention", rope)
        values["rope.freq_base_swa"] = near["rope_theta"] if kind.local else None
    return name, {f"{name}.{key}": value for key, value in values.items() if value is not None}


def _loading(table: Mapping[str, Any]) -> tuple[str, Architecture]:
    """The architecture that loads a `model_type`. Raises InputError where there is none."""
    for name, kind in ARCHITECTURES.items():
        if table["model_type"] in kind.model_types:
            return name, kind
    raise InputError(f"GGUF of llama.cpp is written of {', '.join(ARCHITECTURES)}; this is a {table['model_type']}")


def stored(
    table: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Tensors under Hugging Face names as GGUF has them, in fp32. Raises InputError for one that it has no name for."""
    _, kind = _loading(table)
    if table["rope_parameters"].get("rope_type") == "llama3":
        yield ROPE_FREQS, rope_freqs(table["rope_parameters"], table["head_dim"])
    for name, tensor in tensors:
        values = tensor.float().numpy()
        if kind.shifted and name.endswith("norm.weight"):
            values = values + 1
        if kind.interleaved and (heads := _heads(table, name)) is not None:
            values = regrouped(values, heads, len(values) // heads // 2)
        yield kind.stored(name), values
