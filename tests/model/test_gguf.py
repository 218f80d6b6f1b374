"""GGUF's names and notation are those of Hugging Face, there and back; what is not known is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundup.core.errors import InputError
from groundup.model import gguf, weights
from groundup.model.gguf import ARCHITECTURES, ROPE_FREQS, GGUFSource
from groundup.model.rotary import RopeScaling
from tests.gguf_samples import write
from tests.random_models import random_model

CPU = torch.device("cpu")
LLAMA3 = RopeScaling("llama3", 8.0, 64, 1.0, 4.0)


def parts(**changes: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and tensors of a random model in the layout of Llama."""
    model = random_model(qk_norm="none", **changes)
    _, table = weights.layout_of(model.config)
    _, metadata = gguf.metadata(table)
    return metadata, dict(gguf.stored(table, weights.stored(model.config, model.state_dict())))


def refused(folder: Path, metadata: dict[str, Any], tensors: dict[str, Any], arch: str = "llama") -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(InputError) as raised:
        weights.load(write(folder / "a.gguf", metadata, tensors, arch), CPU)
    assert "\n" not in str(raised.value) and "a.gguf" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"bias": "qkvo"}, {"rope_scaling": LLAMA3}], ids=str)
def test_a_model_of_llama_goes_out_and_comes_in(tmp_path, changes):
    back = weights.load(write(tmp_path / "a.gguf", *parts(**changes)), CPU)
    model = random_model(qk_norm="none", **changes)
    assert back.config == model.config
    assert [key for key, value in back.state_dict().items() if not torch.equal(value, model.state_dict()[key])] == []


def test_rows_of_queries_and_keys_stand_in_pairs():
    _, tensors = parts()
    model = random_model(qk_norm="none")
    keys = model.model.layers[1].self_attn.k_proj.weight.detach().view(2, 16, 48)  # heads, features
    stored = torch.from_numpy(tensors["blk.1.attn_k.weight"]).view(2, 16, 48)
    for feature in range(8):
        assert torch.equal(stored[:, 2 * feature], keys[:, feature])
        assert torch.equal(stored[:, 2 * feature + 1], keys[:, feature + 8])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_name_leads_back(name):
    kind = ARCHITECTURES[name]
    inner = [*gguf._LAYER, *kind.norms]
    names = [*gguf._OUTER, *(f"blk.7.{each}.{end}" for each in inner for end in ("weight", "bias"))]
    assert [kind.stored(str(kind.name(stored))) for stored in names] == names
    assert kind.name("blk.0.ffn_gate_exps.weight") is None


def test_what_metadata_leave_out_has_the_defaults_of_llama_cpp(tmp_path):
    metadata, tensors = parts(kv_heads=4, head_dim=12)
    for key in ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base"):
        del metadata[f"llama.{key}"]
    config = weights.config_of(write(tmp_path / "a.gguf", metadata, tensors))
    assert (config.kv_heads, config.head_dim, config.rope_base) == (4, 12, 10_000.0)


# --- refusals -----------------------------------------------------------------------------------------------


def test_another_architecture_is_refused_with_those_that_are_known(tmp_path):
    assert "its architecture is 'mamba'; loaded are llama, smollm3, qwen2, qwen3" in refused(
        tmp_path, *parts(), "mamba"
    )


def test_an_unknown_key_is_refused(tmp_path):
    metadata, tensors = parts()
    found = refused(tmp_path, metadata | {"llama.residual_scale": 0.5}, tensors)
    assert "the key llama.residual_scale is not known, and the model may need it" in found


def test_an_unknown_tensor_is_refused(tmp_path):
    metadata, tensors = parts()
    found = refused(tmp_path, metadata, tensors | {"blk.0.ffn_gate_inp.weight": np.ones((8, 48), np.float32)})
    assert "the tensor 'blk.0.ffn_gate_inp.weight' is none of the architecture llama" in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention.head_count": 5}, "5 heads do not share 2 key/value heads"),
        ({"attention.head_count": "x"}, "num_attention_heads is 'x'"),
        ({"attention.value_length": 8}, "attention.key_length, attention.value_length, rope.dimension_count differ"),
        ({"embedding_length": 96}, "has shape"),
        ({"block_count": 4}, "the weights lack 9 tensors, among them model.layers.3"),
        ({"rope.scaling.type": "longrope"}, "rope_type is 'longrope'"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path, changes, message):
    metadata, tensors = parts()
    changed = metadata | {f"llama.{key}": value for key, value in changes.items()}
    assert message in refused(tmp_path, changed, tensors)


def test_frequencies_that_are_scaled_another_way_are_refused(tmp_path):
    metadata, tensors = parts(rope_scaling=LLAMA3)
    tensors[ROPE_FREQS] = tensors[ROPE_FREQS][::-1].copy()
    assert f"the tensor {ROPE_FREQS} is no scaling as of Llama 3" in refused(tmp_path, metadata, tensors)


def test_windows_that_an_architecture_has_not_are_refused_on_the_way_out():
    model = random_model(qk_norm="none", layers=("window",), window=16)
    with pytest.raises(InputError, match=r"llama\.cpp knows no windows in the layout llama"):
        gguf.metadata(weights.layout_of(model.config)[1])


def test_a_source_names_its_tensors_and_shapes(tmp_path):
    source = GGUFSource(write(tmp_path / "a.gguf", *parts()))
    assert source.shapes()["model.layers.2.mlp.down_proj.weight"] == (48, 80)
    assert {name for name, _, path in source.tensors() if path == tmp_path / "a.gguf"} == source.shapes().keys()
