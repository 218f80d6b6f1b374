"""Every family of weights trains: compiled blocks give the loss and gradients of eager ones, on packed rows."""

import pytest
import torch

from groundup.kernels.dense_attention import dense_attention
from groundup.model.attention import document_mask
from groundup.model.losses import linear_cross_entropy
from groundup.model.parameters import roles_of
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, FAMILIES, random_model

EACH = pytest.mark.parametrize("kind", FAMILIES)
SEGMENTS_BT = torch.tensor([[0] * 30 + [1] * 18, [0] * 48])
POSITIONS_BT = torch.tensor([[*range(30), *range(18)], [*range(48)]])


def step(model: Transformer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of a batch of two rows, the first of two documents; the last layer computes half of it."""
    ids_BT = torch.randint(0, CONFIG.vocab, (2, 48), generator=torch.Generator().manual_seed(1))
    selected_BA = torch.arange(20, 44).expand(2, -1)
    x_BTD = model(ids_BT, POSITIONS_BT, document_mask(SEGMENTS_BT), selected_BA=selected_BA)
    x_ND, targets_N = x_BTD[:, 20:44].flatten(0, 1), ids_BT[:, 21:45].flatten()
    loss = linear_cross_entropy(x_ND, model.lm_head.weight, targets_N, torch.ones(len(targets_N)))
    loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return loss.detach(), gradients


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:.class 'torch.autograd.function.Function'> should not be:DeprecationWarning")
@EACH
def test_compiled_blocks_have_the_loss_and_gradients_of_eager_ones(kind: str) -> None:
    torch._dynamo.reset()
    found = []
    for compiled in (False, True):
        model = random_model(**FAMILIES[kind]).train()
        model.attend = dense_attention
        for block in model.model.layers if compiled else ():
            block.compile(dynamic=False, fullgraph=True, backend="aot_eager")
        found.append(step(model))
    (eager, gradients), (loss, others) = found
    assert torch.isfinite(eager)
    assert set(gradients) == set(roles_of(random_model(**FAMILIES[kind])))
    torch.testing.assert_close(loss, eager, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item())


@EACH
def test_a_document_changes_nothing_in_the_others_of_its_row(kind: str) -> None:
    model = random_model(**FAMILIES[kind])
    ids = torch.randint(0, CONFIG.vocab, (2, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        packed = model(ids, POSITIONS_BT, document_mask(SEGMENTS_BT))[0, 30:]
        alone = model(ids[:1, 30:], torch.arange(18)[None])[0]
    torch.testing.assert_close(packed, alone, rtol=0, atol=2e-5)


@EACH
def test_from_a_seed_biases_are_zero_and_norms_one(kind: str) -> None:
    model = Transformer(random_model(**FAMILIES[kind]).config).initialise(1)
    vectors = {name: each for name, each in model.named_parameters() if each.dim() == 1}
    assert any(name.endswith("bias") for name in vectors) == (model.config.bias != "none")
    assert all((each == (0 if name.endswith("bias") else 1)).all() for name, each in vectors.items())
