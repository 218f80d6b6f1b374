"""Each family of weights against its own class in transformers, on random weights, in both directions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from groundup.core.tables import LAYOUTS
from groundup.kernels.dense_attention import dense_attention
from groundup.model import cost, weights
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from tests.random_models import FAMILIES, random_model

CPU = torch.device("cpu")
# fp32 through five layers and the head: sums of about 100 terms of size 1, in another order.
TOLERANCE = 5e-5
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10_000.0}
BOTH = {
    "full_attention": YARN | {"attention_factor": 1.2},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
THEIRS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4, "attention_bias": True, "head_dim": 20}),
    (
        "Llama",
        {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 32, "rope_theta": 5e5}, "rms_norm_eps": 1e-5},
    ),
    ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    ("Mistral", {"sliding_window": None}),
    ("Mistral", {"sliding_window": 7}),
    (
        "Ministral",
        {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"]},
    ),
    ("Ministral3", {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.0}}),
    ("Qwen2", {}),
    ("Qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2, "rope_parameters": YARN}),
    ("Qwen3", {"attention_bias": True, "head_dim": 20}),
    ("Qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 3}),
    ("SmolLM3", {}),
    ("SmolLM3", {"no_rope_layers": [0, 1, 1, 0, 1], "attention_bias": True}),
    ("Olmo2", {}),
    ("Olmo2", {"attention_bias": True, "num_key_value_heads": 1}),
    ("Olmo3", {"sliding_window": 8}),
    ("Olmo3", {"sliding_window": 8, "rope_parameters": BOTH}),
    ("Gemma3", {"sliding_window": 8, "query_pre_attn_scalar": 10}),
    ("Gemma3", {"sliding_window": 8, "rope_parameters": GEMMA_ROPE, "attention_bias": True, "head_dim": 16}),
]
NAMES = [f"{name}{number}" for number, (name, _) in enumerate(THEIRS)]
SMALL = {
    "vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip


def ids_of() -> Tensor:
    return torch.randint(0, 300, (3, 50), generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def logits(model: Transformer, ids: Tensor) -> Tensor:
    return model.logits(model(ids, torch.arange(ids.shape[1]).expand_as(ids)))


def reference(transformers: Any, name: str, changes: dict[str, Any], folder: Path) -> Tensor:
    """A random model of transformers in a folder, and its logits."""
    classes = f"{name}TextConfig" if name == "Gemma3" else f"{name}Config"
    config = getattr(transformers, classes)(**SMALL | changes, pad_token_id=None, bos_token_id=None)
    torch.manual_seed(4)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if "norm" in parameter or "bias" in parameter:
                weight.uniform_(-0.4, 0.4).add_(name != "Gemma3" and "norm" in parameter)
    model.save_pretrained(folder)
    with torch.no_grad():
        found: Tensor = model(input_ids=ids_of()).logits
    return found


@pytest.mark.judge
@pytest.mark.parametrize(("name", "changes"), THEIRS, ids=NAMES)
def test_their_model_has_their_logits_here_and_ours_there(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    expected = reference(transformers, name, changes, tmp_path / "theirs")
    model = weights.load(tmp_path / "theirs", CPU)
    close = {"rtol": 0, "atol": TOLERANCE * max(1, expected.abs().max().item() / 20)}
    torch.testing.assert_close(logits(model, ids_of()), expected, **close)
    model.attend = dense_attention
    torch.testing.assert_close(logits(model, ids_of()), expected, **close)
    weights.save(model, tmp_path / "ours", end=5)
    back, loading = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", dtype=torch.float32, output_loading_info=True
    )
    assert not any(loading.values())
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(input_ids=ids_of()).logits, expected, **close)


EACH = pytest.mark.parametrize("kind", FAMILIES)


def built(kind: str, **changes: Any) -> Transformer:
    return random_model(depth=4, **FAMILIES[kind] | changes)


@EACH
def test_a_saved_model_comes_back_with_the_same_bits_in_the_layout_of_its_fields(tmp_path: Path, kind: str) -> None:
    model = built(kind)
    weights.save(model, tmp_path, end=5)
    table = weights.Folder(tmp_path).table()
    back = weights.load(tmp_path, CPU)
    assert (table["model_type"], back.config) == (kind, model.config)
    for name, value in model.state_dict().items():
        if kind != "gemma3_text" or not name.endswith("norm.weight"):
            assert torch.equal(back.state_dict()[name], value), name
        else:  # stored as weight - 1, which rounds those below a half
            torch.testing.assert_close(back.state_dict()[name], value, rtol=0, atol=2**-24)


@EACH
def test_parameters_are_counted_exactly(kind: str) -> None:
    for changes in ({}, {"tied": False, "kv_heads": 1}):
        model = built(kind, **changes)
        assert cost.total(model.config) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("layers", [("window",), ("full", "window"), ("window", "unrotated")])
@pytest.mark.parametrize("attend", [None, dense_attention], ids=["fused", "dense"])
def test_a_token_beyond_the_window_changes_nothing_where_all_layers_have_one(layers: Any, attend: Any) -> None:
    model = built("mistral", layers=layers, window=5)
    model.attend = attend or model.attend
    ids = ids_of()
    other = ids.clone()
    other[:, 10] = (ids[:, 10] + 1) % 300
    moved = (logits(model, ids) - logits(model, other)).abs().amax((0, 2))
    assert moved[:10].sum() == 0
    assert (moved[10:14] > 1e-4).all()
    reach = 10 + 4 * 4  # four layers, each four positions further
    assert bool((moved[reach + 1 :] > 1e-6).any()) == (layers != ("window",))


def test_each_layout_reads_back_what_it_writes_or_is_not_chosen() -> None:
    assert len({weights.layout_of(built(kind).config)[1]["model_type"] for kind in FAMILIES}) == len(FAMILIES)
    with pytest.raises(weights.InputError, match=r"none of the layouts .*gemma3.* can express"):
        weights.layout_of(built("qwen2", norms="around").config)
    assert {kind for _, layout in LAYOUTS.items() for kind in layout.model_types} >= set(FAMILIES)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"mlp_bias": True}, "mlp_bias is True; expected False"),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'; expected default"),
    ("llama", {"rope_parameters": {"rope_type": "linear"}}, "'factor' is missing"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "warp": 1}}, "'warp' is 1; this key"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; expected 'silu'"),
    ("llama", {"logit_scale": 0.5}, "'logit_scale' is 0.5; this key is not known"),
    ("mistral", {"sliding_window": -1}, "sliding_window is -1; expected a whole number"),
    ("ministral", {"layer_types": ["full_attention"]}, "layer_types are full_attention, 1 of them"),
    ("ministral", {"layer_types": ["linear_attention"] * 4}, "layer_types are linear_attention, 4 of them"),
    ("qwen2", {"use_sliding_window": True}, "'sliding_window' is missing"),
    ("smollm3", {"no_rope_layers": [1, 2, 3, 4]}, "no_rope_layers is not a list of 0 or 1"),
    ("smollm3", {"use_sliding_window": True}, "use_sliding_window is True"),
    ("olmo3", {"rope_parameters": {"sliding_attention": YARN}}, "scaled frequencies of layers with a window"),
    ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0; expected None"),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0; expected None"),
    ("gemma3_text", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'"),
]


@pytest.mark.parametrize(("kind", "changes", "words"), BAD, ids=[f"{n}-{kind}" for n, (kind, *_) in enumerate(BAD)])
def test_a_key_that_would_change_the_model_is_refused_by_name(kind: str, changes: Any, words: str) -> None:
    table = weights.write_config(built(kind).config, "float32", 5)
    with pytest.raises(weights.InputError, match=f"^config.json[^\n]*{words}[^\n]*$"):
        weights.read_config(table | changes, "config.json")


UNKNOWN = ("deepseek_v4", "qwen4_exp", "kimi_k3", "gemma4", "nemotron_h", "lfm2", "glm5", "gemma2")


@pytest.mark.parametrize("kind", UNKNOWN)
def test_another_architecture_is_refused_with_those_that_are_known(kind: str) -> None:
    with pytest.raises(weights.InputError, match=f"model_type is '{kind}'; loaded are gemma3_text, llama, .*smollm3"):
        weights.read_config({"model_type": kind}, "config.json")


def test_the_config_of_a_known_model_is_read() -> None:
    """SmolLM2-135M-Instruct, as published."""
    table = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None,
        "rope_theta": 100000, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}}, "use_cache": True,
        "vocab_size": 49152,
    }  # fmt: skip
    assert weights.read_config(table, "config.json") == ModelConfig(
        depth=30, width=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152, context=8192, rope_base=1e5,
        norm_epsilon=1e-5,
        qk_norm="none",
    )  # fmt: skip
    assert cost.total(weights.read_config(table, "config.json")) == 134_515_008
