"""Qwen3ForCausalLM of transformers as a judge, on random weights, in both directions."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundup.model import weights
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, random_model

pytestmark = pytest.mark.judge
transformers = pytest.importorskip("transformers")

# fp32 through three layers and the head: sums of about 100 terms of size 1, in another order.
TOLERANCE = 5e-5
CASES = pytest.mark.parametrize(("tied", "kv_heads"), [(True, 1), (True, 2), (False, 2), (False, 4)])


def ids_of() -> Tensor:
    return torch.randint(0, CONFIG.vocab, (3, 50), generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def ours(model: Transformer, ids: Tensor) -> Tensor:
    return model.logits(model(ids, torch.arange(ids.shape[1]).expand_as(ids)))


@torch.no_grad()
def theirs(reference, ids: Tensor) -> Tensor:
    return reference(input_ids=ids).logits


@CASES
def test_their_model_loaded_here_has_their_logits(tmp_path: Path, tied: bool, kv_heads: int):
    config = transformers.Qwen3Config(
        vocab_size=300, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=16, max_position_embeddings=64, tie_word_embeddings=tied, initializer_range=0.2, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
    )  # fmt: skip
    torch.manual_seed(4)
    reference = transformers.Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    reference.save_pretrained(tmp_path)
    expected = theirs(reference, ids_of())
    torch.testing.assert_close(
        ours(weights.load(tmp_path, torch.device("cpu")), ids_of()), expected, rtol=0, atol=TOLERANCE
    )


@CASES
def test_our_model_loaded_there_has_our_logits(tmp_path: Path, tied: bool, kv_heads: int):
    model = random_model(tied=tied, kv_heads=kv_heads, rope_base=50_000.0, norm_epsilon=1e-5)
    weights.save(model, tmp_path, end=5)
    reference, loading = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(loading.values())
    torch.testing.assert_close(theirs(reference.eval(), ids_of()), ours(model, ids_of()), rtol=0, atol=TOLERANCE)


def test_positions_reach_the_logits_as_theirs_do(tmp_path: Path):
    model = random_model()
    weights.save(model, tmp_path, end=None)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids, positions = ids_of(), 3 * torch.arange(50).expand(3, -1)
    with torch.no_grad():
        found, expected = model.logits(model(ids, positions)), reference(input_ids=ids, position_ids=positions).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
