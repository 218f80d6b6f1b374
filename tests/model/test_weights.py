"""Weights survive the way out and in, and files that do not fit are refused by name."""

import json
from pathlib import Path

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
