"""The chunked cross-entropy equals torch's, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.losses import CHUNK, linear_cross_entropy

WIDTH, VOCAB = 24, 90


def inputs(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, WIDTH, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(VOCAB, WIDTH, generator=generator).requires_grad_()
    targets = torch.randint(0, VOCAB, (count,), generator=generator)
    return x, head, targets, torch.rand(count, generator=generator)


def reference(x: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (F.cross_entropy((x @ head.to(x.dtype).T).float(), targets, reduction="none") * weights).sum()


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 7])
def test_value_and_gradients_equal_torch(count):
    results = []
    for function in (linear_cross_entropy, reference):
        x, head, targets, weights = inputs(count)
        loss = function(x, head, targets, weights)
        (3 * loss).backward()
        results.append((loss.detach(), x.grad, head.grad))
    # fp32 sums of up to 1,031 terms of size 1 to 10, in chunks or at once.
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-4)


def test_bf16_states_give_gradients_near_those_of_fp32():
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        x, head, targets, weights = inputs(600, dtype)
        linear_cross_entropy(x, head, targets, weights).backward()
        results.append((x.grad.float(), head.grad))
    # bf16 rounds states, head and slopes to 2^-9 of their size: about 1 % of the gradient's norm.
    for found, expected in zip(*results, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()


def test_no_positions_cost_nothing():
    x, head, targets, weights = inputs(0)
    loss = linear_cross_entropy(x, head, targets, weights)
    loss.backward()
    assert loss.item() == 0
    assert head.grad.abs().sum() == 0
