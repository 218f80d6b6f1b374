"""The optimiser against torch's own, put together by hand, and its schedule."""

from dataclasses import replace
from math import ceil, floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.model.transformer import Transformer
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loss_module import LossModule
from groundup.train.optim import muon
from groundup.train.optim.optimizer import Optimizer
from tests.train.train_helpers import CONFIG, SCHEDULE


@pytest.fixture
def learner() -> LossModule:
    learner = LossModule(Transformer(replace(CONFIG, tied=False)).initialise(0))
    for parameter in learner.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return learner


def give_gradients(learner: LossModule, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in learner.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def optimizer_of(learner: LossModule, steps: int = 10) -> Optimizer:
    return Optimizer(learner, SCHEDULE, steps, ProcessMesh())


def test_muon_has_the_blocks_matrices_and_adamw_the_rest(learner: LossModule) -> None:
    optimizer = optimizer_of(learner)
    held = {id(parameter) for parameter in optimizer.muon.matrices.values()}
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    expected = {id(parameter) for name, parameter in learner.named_parameters() if name.split(".")[-2] in projections}
    assert held == expected
    assert len(held) == 7 * CONFIG.depth
    rest = {id(parameter) for parameter in optimizer.adamw.param_groups[0]["params"]}
    assert rest == {id(parameter) for parameter in learner.parameters()} - held


@pytest.mark.parametrize("together", [1, muon.TOGETHER])
def test_updates_equal_those_of_torchs_optimizers(
    learner: LossModule, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "TOGETHER", together)
    optimizer = optimizer_of(learner)
    twins = {name: torch.nn.Parameter(parameter.detach().clone()) for name, parameter in learner.named_parameters()}
    matrices = [twin for name, twin in twins.items() if "_proj" in name]
    others = [twin for name, twin in twins.items() if "_proj" not in name]
    theirs = torch.optim.Muon(matrices, lr=0.0, weight_decay=SCHEDULE.weight_decay, momentum=0.95, nesterov=True)
    adamw = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for step, factor in enumerate(
        (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3 / 4, 2 / 4, 1 / 4)
    ):  # warm-up one step of ten, decay four
        give_gradients(learner, step)
        for name, parameter in learner.named_parameters():
            twins[name].grad = parameter.grad.clone()
        optimizer.step(step)
        for peer, peak in ((theirs, SCHEDULE.muon_lr), (adamw, SCHEDULE.adamw_lr)):
            peer.param_groups[0]["lr"] = peak * factor
            peer.step()
    for name, parameter in learner.named_parameters():
        assert torch.equal(parameter, twins[name]), name


def test_a_step_clears_the_gradients(learner: LossModule) -> None:
    give_gradients(learner, 0)
    optimizer_of(learner).step(0)
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_preparing_makes_every_state_tensor_and_moves_nothing(learner: LossModule) -> None:
    before = {name: parameter.detach().clone() for name, parameter in learner.named_parameters()}
    prepared = optimizer_of(learner)
    prepared.prepare(0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in learner.named_parameters())
    stepped = optimizer_of(learner)
    give_gradients(learner, 0)
    stepped.step(0)
    assert {name: value.shape for name, value in prepared.state().items()} == {
        name: value.shape for name, value in stepped.state().items()
    }


shares = st.floats(0.0, 1.0)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(shares, shares, st.integers(1, 300))
def test_the_rate_rises_stays_and_falls(warmup: float, decay: float, steps: int) -> None:
    learner = LossModule(Transformer(replace(CONFIG, depth=1)))
    optimizer = Optimizer(learner, replace(SCHEDULE, warmup=warmup, decay=decay), steps, ProcessMesh())
    factors = [optimizer.factor(step) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors == sorted(factors[:peak]) + sorted(factors[peak:], reverse=True)
    assert all(factor == 1 for factor in factors[ceil(warmup * steps) : floor(steps - decay * steps)])


def test_adamw_alone_equals_torchs_with_decay_on_matrices(learner: LossModule) -> None:
    schedule = replace(SCHEDULE, optimizer="adamw", weight_decay=0.1, warmup=0.0, decay=0.0)
    optimizer = Optimizer(learner, schedule, 10, ProcessMesh())
    twins = {name: torch.nn.Parameter(parameter.detach().clone()) for name, parameter in learner.named_parameters()}
    groups = [
        {"params": [twin for name, twin in twins.items() if ("_proj" in name) == matrix], "weight_decay": decay}
        for matrix, decay in ((True, 0.1), (False, 0.0))
    ]
    adamw = torch.optim.AdamW(groups, lr=SCHEDULE.adamw_lr, betas=(0.9, 0.95), eps=1e-10)
    for step in range(3):
        give_gradients(learner, step)
        for name, parameter in learner.named_parameters():
            twins[name].grad = parameter.grad.clone()
        optimizer.step(step)
        adamw.step()
    for name, parameter in learner.named_parameters():
        assert torch.equal(parameter, twins[name]), name
    assert not optimizer.muon.state()
