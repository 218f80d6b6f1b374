"""Weights survive the way out and in, and files that do not fit are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from groundup.core.errors import InputError
from groundup.model import weights
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, random_model

CPU = torch.device("cpu")


def equal(one: Transformer, other: Transformer) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return one.config == other.config and all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights.save(random_model(), tmp_path, end=5)
    return tmp_path


def rewrite(folder: Path, change) -> None:
    """Change the tensors of a saved model."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_saved_is_loaded(tmp_path, tied):
    model = random_model(tied=tied)
    weights.save(model, tmp_path, end=5)
    loaded = weights.load(tmp_path, CPU)
    assert equal(model, loaded)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert not loaded.training


def test_a_tied_head_is_left_out_of_the_file(folder):
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_bf16_files_load_as_fp32_weights_of_the_same_value(tmp_path):
    model = random_model()
    weights.save(model, tmp_path, end=None, dtype=torch.bfloat16)
    loaded = weights.load(tmp_path, CPU)
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[name].bfloat16().float())


def test_weights_in_several_files_are_loaded(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    for number, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: tensors[name] for name in part}, folder / f"model-0000{number}-of-00002.safetensors")
    assert equal(weights.load(folder, CPU), random_model())


def test_a_missing_tensor_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(InputError, match=r"lack 1 tensors, among them model.layers.1.mlp.up_proj.weight"):
        weights.load(folder, CPU)


def test_a_tensor_of_another_shape_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(47)}))
    with pytest.raises(
        InputError, match=r"model.safetensors: tensor model.norm.weight has shape \(47,\), the model has \(48,\)"
    ):
        weights.load(folder, CPU)


def test_a_tensor_that_the_model_lacks_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}))
    with pytest.raises(InputError, match=r"q_proj.bias has shape \(64,\), the model has nothing of that name"):
        weights.load(folder, CPU)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(folder, kept):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model.safetensors: damaged"):
        weights.load(folder, CPU)


def test_another_model_type_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(InputError, match=r"config.json: model_type is 'gpt2'; loaded are gemma3_text, llama, "):
        weights.load(folder, CPU)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"holds no {name}"):
        weights.load(folder, CPU)


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json: not valid JSON"):
        weights.load(folder, CPU)


def test_a_shape_that_does_not_match_the_file_is_refused_before_anything_is_computed(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": CONFIG.depth + 1}))
    with pytest.raises(InputError, match=r"lack 11 tensors, among them model.layers.3"):
        weights.load(folder, CPU)


def sharded(folder: Path, named: dict[str, str] | None = None) -> Path:
    """The saved model in two shards with an index, which may name other files."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    placed = {name: f"model-{1 + place % 2}.safetensors" for place, name in enumerate(sorted(tensors))}
    for file in sorted({*placed.values()}):
        save_file({name: tensors[name] for name in placed if placed[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed if named is None else named}))
    return folder


def test_the_shards_that_an_index_names_are_loaded_and_no_other(folder):
    sharded(folder)
    save_file({"other": torch.ones(3)}, folder / "model-old.safetensors")
    assert equal(weights.load(folder, CPU), random_model())


def test_a_shard_that_is_missing_is_named(folder):
    (sharded(folder) / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks the shard model-2.safetensors, which model.safetensors.index.json"):
        weights.load(folder, CPU)


@pytest.mark.parametrize(
    "value", [None, "../model-1.safetensors", "/etc/passwd", 5, [], "x\0", "x" * 5000], ids="abcdefg"
)
def test_an_index_names_files_of_its_folder_alone(folder, value):
    sharded(folder, {} if value is None else {"a": value})
    with pytest.raises(InputError, match=r"^[^\n]*(weight_map names no files|lacks the shard)[^\n]*$"):
        weights.load(folder, CPU)


def test_a_tensor_in_two_files_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"]}, folder / "model-2.safetensors")
    with pytest.raises(InputError, match=r"tensor model.norm.weight is also in another file"):
        weights.load(folder, CPU)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.bool])
def test_numbers_that_are_no_plain_floats_are_refused_by_their_type(folder, dtype):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(48).to(dtype)}))
    with pytest.raises(InputError, match=r"tensor model.norm.weight is of type (I8|F8_E4M3|BOOL); only F32, BF16"):
        weights.load(folder, CPU)


def header(entries: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


LYING = {
    "beyond the file": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
    "overlapping": {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    },
    "another size than its shape": {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    "a shape beyond all memory": {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}},
    "a negative size": {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
    "an unknown type": {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
}


@pytest.mark.parametrize("lie", LYING)
def test_a_header_that_lies_is_refused(folder, lie):
    size = 12 if lie == "overlapping" else 8
    (folder / "model.safetensors").write_bytes(header(LYING[lie], bytes(size)))
    with pytest.raises(InputError, match=r"^[^\n]*model.safetensors: damaged or not a safetensors file[^\n]*$"):
        weights.load(folder, CPU)


def test_a_header_that_claims_more_than_the_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match=r"damaged or not a safetensors file"):
        weights.load(folder, CPU)
