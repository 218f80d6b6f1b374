"""The model: nothing leaks from the future or from other documents, and ways to compute the same thing agree."""

import pytest
import torch

from groundup.kernels.dense_attention import dense_attention
from groundup.model.attention import document_mask, fused_attention
from groundup.model.losses import linear_cross_entropy
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, random_model

# fp32 through three layers: sums of about 100 terms of size 1, in another order.
TOLERANCE = 2e-5


def ids_of(rows: int = 2, length: int = 24, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, CONFIG.vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def states(
    model: Transformer, ids: torch.Tensor, segments: torch.Tensor | None = None, positions: torch.Tensor | None = None
) -> torch.Tensor:
    positions = torch.arange(ids.shape[1]).expand_as(ids) if positions is None else positions
    return model(ids, positions, None if segments is None else document_mask(segments))


@pytest.fixture(params=[fused_attention, dense_attention])
def model(request) -> Transformer:
    model = random_model()
    model.attend = request.param
    return model


@pytest.mark.parametrize("place", [0, 11, 23])
def test_a_token_changes_nothing_before_it_and_something_from_it_on(model, place):
    ids = ids_of()
    other = ids.clone()
    other[:, place] = (ids[:, place] + 1) % CONFIG.vocab
    moved = (states(model, ids) - states(model, other)).abs().amax(-1)
    assert moved[:, :place].sum() == 0
    assert (moved[:, place:] > 1e-4).all()


def test_a_document_changes_nothing_in_the_others_of_its_row(model):
    segments = torch.tensor([[0] * 9 + [1] * 8 + [2] * 7])
    ids = ids_of(rows=1)
    other = ids.clone()
    other[:, 9:17] = (ids[:, 9:17] + 5) % CONFIG.vocab
    moved = (states(model, ids, segments) - states(model, other, segments)).abs().amax(-1)[0]
    assert moved[:9].sum() == 0
    assert moved[17:].sum() == 0
    assert (moved[9:17] > 1e-4).all()


def test_a_packed_document_has_the_states_it_has_alone(model):
    lengths = (9, 1, 14)
    segments = torch.cat([torch.full((length,), number) for number, length in enumerate(lengths)])[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ids = ids_of(rows=1)
    packed = states(model, ids, segments, positions)[0]
    alone = torch.cat([states(model, document[None])[0] for document in ids[0].split(lengths)])
    torch.testing.assert_close(packed, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_dense_attention_equals_fused_attention(kv_heads, masked):
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(3, 12, heads, 16, generator=generator) for heads in (4, kv_heads, kv_heads))
    mask = document_mask(torch.tensor([[0] * 5 + [1] * 7, [0] * 12, [0] * 2 + [1] * 10])) if masked else None
    # One softmax over 12 terms and one sum: a few units of fp32's last place.
    torch.testing.assert_close(dense_attention(q, k, v, mask), fused_attention(q, k, v, mask), rtol=0, atol=2e-6)


def gradients(recompute: bool) -> list[torch.Tensor]:
    model = random_model().train()
    model.recompute = recompute
    ids = ids_of()
    x_ND = model(ids, torch.arange(24).expand_as(ids)).flatten(0, 1)
    linear_cross_entropy(x_ND, model.lm_head.weight, ids.roll(-1, 1).flatten(), torch.ones(48)).backward()
    return [parameter.grad for parameter in model.parameters()]


def test_recomputing_activations_gives_the_same_gradients():
    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, recomputed)


def test_recomputing_keeps_fewer_activations():
    kept: list[int] = []
    for recompute in (False, True):
        model = random_model().train()
        model.recompute = recompute
        ids, sizes = ids_of(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            model(ids, torch.arange(24).expand_as(ids))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 4


def test_initialisation_depends_on_the_seed_alone():
    first, second, other = (Transformer(CONFIG).initialise(seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_blocks_start_as_the_identity():
    model = Transformer(CONFIG).initialise(3)
    ids = ids_of()
    embedded = model.model.norm(model.model.embed_tokens(ids))
    assert torch.equal(states(model, ids), embedded)


def test_states_come_in_the_precision_asked_for_and_near_those_of_fp32():
    ids = ids_of()
    rough, fine = states(random_model(precision=torch.bfloat16), ids), states(random_model(), ids)
    assert rough.dtype == torch.bfloat16
    # bf16 keeps 8 bits, so a rounding is 2^-9 of a value; states are of size 1 and pass about 20 roundings.
    assert (rough.float() - fine).square().mean().sqrt() < 0.04
