"""What is minimised, against plain cross-entropy over all scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from groundup.data.batches import Batch
from groundup.model.attention import document_mask
from groundup.model.transformer import Transformer
from groundup.train.loss_module import LossModule, tensors
from tests.train.train_helpers import CONFIG, CONTEXT, bytes_only, make_job


@pytest.fixture(params=["texts", "talks"])
def batch(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Batch:
    return make_job(data, tmp_path, source=request.param).batches[0]


@pytest.fixture
def learner() -> LossModule:
    learner = LossModule(Transformer(CONFIG).initialise(0).train())
    for parameter in learner.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return learner


def plain_loss(learner: LossModule, batch: Batch) -> Tensor:
    inputs = tensors(batch, torch.device("cpu"))
    scores = learner.model.logits(learner.model(inputs.ids_BT, inputs.positions_BT, document_mask(inputs.segments_BT)))
    losses = torch.nn.functional.cross_entropy(scores.flatten(0, 1), inputs.targets_BT.flatten(), reduction="none")
    return (losses * inputs.weights_BT.flatten()).sum()


def test_loss_and_gradients_are_those_of_plain_cross_entropy(learner: LossModule, batch: Batch) -> None:
    loss, expected = learner(tensors(batch, torch.device("cpu"))), plain_loss(learner, batch)
    parameters = list(learner.parameters())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for found, wanted in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


def test_every_parameter_learns_from_either_objective(learner: LossModule, batch: Batch) -> None:
    learner(tensors(batch, torch.device("cpu"))).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in learner.parameters())


def test_tuning_counts_what_the_assistant_says_and_nothing_else(data: Path, tmp_path: Path) -> None:
    tokenizer, batch = bytes_only(), make_job(data, tmp_path, source="talks").batches[0]
    counted = "".join(tokenizer.decode([id]) for id in batch.targets[batch.weights > 0])
    words = set(counted.split("<|im_end|>"))
    assert words == {"cat", "dog", "bird", "fish", ""}


def test_a_batch_without_any_counted_token_is_no_loss_and_no_gradient(learner: LossModule) -> None:
    zeros = np.zeros((2, CONTEXT), np.int64)
    empty = Batch(zeros, zeros, zeros.astype(np.float32), zeros.astype(np.int32), zeros, zeros.astype(np.int32))
    loss = learner(tensors(empty, torch.device("cpu")))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in learner.parameters())
