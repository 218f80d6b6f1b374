"""Chunked log-probabilities and cross-entropy equal torch's, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.losses import CHUNK, linear_cross_entropy, token_log_probabilities

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


@pytest.mark.parametrize("count", [0, 1, CHUNK, 2 * CHUNK + 7])
def test_log_probabilities_of_tokens_and_their_gradients_equal_torch(count):
    """Under a weighting that depends on the probabilities, as those of preferences and policy gradients do."""

    def torch_log_probabilities(x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        return (x @ head.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]

    results = []
    for function in (token_log_probabilities, torch_log_probabilities):
        x, head, targets, weights = inputs(count)
        logs_N = function(x, head, targets)
        (logs_N.exp() * logs_N * weights).sum().backward()
        results.append((logs_N.detach(), x.grad, head.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5)


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
