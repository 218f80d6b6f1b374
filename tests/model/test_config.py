"""What a config says of itself equals what is built and counted."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup.config.model import ModelPart
from groundup.core.errors import InputError
from groundup.kernels.dense_attention import dense_attention
from groundup.model import cost, weights
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, random_model

HUGE = ModelConfig(
    depth=80, width=8192, heads=64, kv_heads=8, head_dim=128, ffn=29568, vocab=152_064, context=131_072, tied=False
)


def groups(model: Transformer) -> dict[str, int]:
    """Parameters of a built model by the groups of Shape.parameters."""
    counts = dict.fromkeys(("embedding", "attention", "feed-forward", "norms", "head"), 0)
    for name, parameter in model.named_parameters():
        parts = {"embed_tokens": "embedding", "lm_head": "head", "norm": "norms", "_proj": "attention"}
        group = (
            "feed-forward"
            if ".mlp." in name
            else next(parts[part] for part in parts if part in name.removesuffix(".weight").rpartition(".")[2])
        )
        counts[group] += parameter.numel()
    return counts


DERIVED = [ModelConfig.of(ModelPart(depth=depth), 8192) for depth in (1, 4, 20)]


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, tied=False), replace(CONFIG, kv_heads=1), replace(CONFIG, head_dim=8), *DERIVED]
)
def test_parameters_equal_the_built_model(config):
    with torch.device("meta"):
        model = Transformer(config)
    assert cost.parameters(config) == groups(model)
    assert cost.total(config) == sum(parameter.numel() for parameter in model.parameters())


def test_a_very_large_model_costs_nothing_to_examine():
    start = time.process_time()
    with torch.device("meta"):
        model = Transformer(HUGE, torch.bfloat16)
        ids = torch.zeros(1, 4096, dtype=torch.long)
        logits = model.logits(model(ids, ids))
    assert logits.shape == (1, 4096, HUGE.vocab)
    assert cost.parameters(HUGE) == groups(model)
    assert 72e9 < cost.total(HUGE) < 73e9
    assert time.process_time() - start < 10


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_flops_of_a_forward_equal_those_counted(kv_heads):
    model = random_model(kv_heads=kv_heads)
    model.attend = dense_attention  # counts every score, the masked ones too
    ids = torch.zeros(2, 40, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.logits(model(ids, torch.arange(40).expand_as(ids)))
    config = model.config
    assert counter.get_total_flops() == 2 * 40 * (cost.matrix_flops(config) + cost.attention_flops(config, 40))


def test_flops_of_training_are_three_forwards():
    model = random_model(tied=False).train()
    model.attend = dense_attention
    ids = torch.zeros(2, 40, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model.logits(model(ids, torch.arange(40).expand_as(ids))).sum().backward()
    config = model.config
    counted = 2 * 40 * (3 * cost.matrix_flops(config) + 3 * cost.attention_flops(config, 40))
    assert counter.get_total_flops() == counted
    assert 2 * 40 * cost.training_flops(config, 40) == counted - 2 * 40 * 3 * cost.attention_flops(
        config, 20
    )  # half is masked: the future


def test_config_is_read_back():
    for config in (CONFIG, HUGE, replace(CONFIG, rope_base=1e6, norm_epsilon=1e-5)):
        assert weights.read_config(weights.write_config(config, "float32", 5), "config.json") == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope_type is 'longrope'; expected default or linear"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'original_max_position_embeddings' is missing"),
        ({"use_sliding_window": True}, "'sliding_window' is missing"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; expected 'silu'"),
        ({"logit_scale": 2.0}, "'logit_scale' is 2.0; this key is not known"),
        ({"quantization_config": {"bits": 4}}, "'quantization_config' is .*; this key is not known"),
    ],
)
def test_another_architecture_is_refused(changes, words):
    with pytest.raises(InputError, match=f"somewhere/config.json.*{words}"):
        weights.read_config(weights.write_config(CONFIG, "float32", None) | changes, "somewhere/config.json")


def test_a_config_that_lacks_a_key_is_refused_by_its_name():
    config = weights.write_config(CONFIG, "float32", None)
    del config["intermediate_size"]
    with pytest.raises(InputError, match="intermediate_size"):
        weights.read_config(config, "config.json")


CASES = sorted((Path(__file__).parent / "configs").glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_config_of_another_shape_is_refused_in_one_sentence(case: Path, tmp_path: Path) -> None:
    weights.save(random_model(), tmp_path, None)
    shutil.copy(case, tmp_path / "config.json")
    with pytest.raises(InputError, match=r"^[^\n]*config\.json[^\n]*$"):
        weights.load(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(
    "huge", [{"num_hidden_layers": 9_999}, {"vocab_size": 1 << 27}, {"intermediate_size": 1 << 20}]
)
def test_a_config_that_its_files_cannot_hold_is_refused_before_it_is_allocated(huge: Any, tmp_path: Path) -> None:
    weights.save(random_model(), tmp_path, None)
    table = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(table | huge))
    with pytest.raises(InputError, match=r"describes [0-9,]+ weights, its files hold [0-9,]+;"):
        weights.load(tmp_path, torch.device("cpu"))
