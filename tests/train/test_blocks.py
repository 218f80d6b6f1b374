"""Block-coordinate training: gradients of the whole model's training, one block at a time, in little memory."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors import safe_open

from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train import memory
from groundup.train.blocks import Block, BlockOptimizer, activate, partition, rounded, stored
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loss_module import LossModule, tensors
from tests.random_models import random_model
from tests.train.test_kill import killed
from tests.train.test_trajectory import Cut, cut_at
from tests.train.train_helpers import (
    CONFIG,
    CONTEXT,
    FORKS,
    SCHEDULE,
    Eager,
    logged,
    make_job,
    train,
    train_together,
    weights,
)

DEEP = replace(CONFIG, depth=5)
UNTIED = replace(DEEP, tied=False)
SEEING = replace(CONFIG, patch=4, patches=8, classes=("cup", "pen"))
SHAPES = pytest.mark.parametrize("config", [DEEP, UNTIED, SEEING], ids=["tied", "untied", "seeing"])
CPU = torch.device("cpu")
TURNS = {"blocks": 4, "block_steps": 2, "depth": 3, "steps": 14, "checkpoint_steps": 1}


def learner_of(config: ModelConfig, precision: torch.dtype = torch.float32) -> LossModule:
    """A model to train in blocks, with weights that all matter."""
    model = stored(config, precision, CPU).train()
    model.load_state_dict(random_model(**vars(config)).state_dict())
    return LossModule(model)


def numbered(learner: LossModule, block: Block) -> Counter[str]:
    """How many weights of each parameter a block trains."""
    if block.table:
        return Counter({block.table: len(block.rows) * learner.model.config.width})
    return Counter(
        {
            f"{name}.{each}": parameter.numel()
            for name in block.modules
            for each, parameter in learner.model.get_submodule(name).named_parameters()
        }
    )


@SHAPES
@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_the_blocks_hold_every_weight_once(config: ModelConfig, count: int) -> None:
    learner = learner_of(config)
    total: Counter[str] = Counter()
    for block in partition(learner.model, count):
        total += numbered(learner, block)
    tables = {"model.embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}
    assert {tables.get(name, name): size for name, size in total.items()} == {
        name: each.numel() for name, each in learner.model.named_parameters()
    }


def test_no_block_is_larger_than_its_part_or_one_layer() -> None:
    learner = learner_of(UNTIED)
    layer = sum(each.numel() for each in learner.model.model.layers[0].parameters())
    whole = sum(each.numel() for each in learner.model.parameters())
    for count in (2, 3, 7, 100):
        sizes = [numbered(learner, block).total() for block in partition(learner.model, count)]
        assert max(sizes) <= max(whole / count + 1, layer) + UNTIED.width  # of the final norm
        assert count <= len(sizes) <= 2 * count + 2 or count == 100


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [DEEP, UNTIED], ids=["tied", "untied"])
def test_a_blocks_gradients_are_those_of_training_everything(
    data: Path, tmp_path: Path, config: ModelConfig, precision: torch.dtype
) -> None:
    inputs = tensors(make_job(data, tmp_path).batches[0], CPU)
    learner = learner_of(config, precision)
    whole = LossModule(Transformer(config, precision).train())
    whole.load_state_dict(learner.state_dict())
    expected_loss = whole(inputs)
    expected_loss.backward()
    for block in partition(learner.model, 6):
        learner = learner_of(config, precision)
        activate(learner, block)
        loss = learner(inputs)
        loss.backward()
        torch.testing.assert_close(loss, expected_loss, rtol=1e-6 if precision == torch.float32 else 1e-2, atol=0.0)
        active = {name: each for name, each in learner.named_parameters() if each.requires_grad}
        assert active
        for name, each in active.items():
            assert each.dtype == torch.float32
            expected = whole.get_parameter(f"model.{block.table}.weight" if block.table else name).grad
            assert each.grad is not None
            assert expected is not None
            expected = expected[slice(block.rows.start, block.rows.stop)] if block.table else expected
            difference = (each.grad - expected).norm() / expected.norm()
            assert difference < (1e-5 if precision == torch.float32 else 0.05), name


def test_the_backward_pass_ends_at_the_active_layers(data: Path, tmp_path: Path) -> None:
    learner = learner_of(DEEP)
    activate(learner, Block(("model.layers.3",)))
    seen: list[bool] = []
    for layer in learner.model.model.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    learner(tensors(make_job(data, tmp_path).batches[0], CPU)).backward()
    assert seen == [False, False, False, True, True]
    assert [name.split(".")[3] for name, each in learner.named_parameters() if each.grad is not None] == ["3"] * 11


@SHAPES
def test_only_the_active_block_is_fp32_and_at_the_end_none_is(config: ModelConfig) -> None:
    learner = learner_of(config)
    optimizer = BlockOptimizer(learner, replace(SCHEDULE, blocks=5, block_steps=1), 20, seed=3)
    for step in range(20):
        active = optimizer.active
        assert active is not None
        wide = sum(each.numel() for each in learner.parameters() if each.dtype == torch.float32)
        assert wide == numbered(learner, active).total()
        for each in learner.parameters():
            each.grad = torch.ones_like(each) if each.requires_grad else None
        optimizer.step(step)
    assert {each.dtype for each in learner.parameters()} == {torch.bfloat16}
    assert not optimizer.state()


def test_a_step_moves_the_active_block_alone() -> None:
    learner = learner_of(DEEP)
    optimizer = BlockOptimizer(learner, replace(SCHEDULE, blocks=6, block_steps=1), 60, seed=3)
    for step in range(12):
        before = {name: each.detach().clone() for name, each in learner.model.named_parameters()}
        block = optimizer.active
        assert block is not None
        for each in learner.parameters():
            each.grad = torch.ones_like(each) if each.requires_grad else None
        optimizer.step(step)
        moved = {name for name, each in learner.model.named_parameters() if not torch.equal(each, before[name])}
        allowed = {f"{block.table}.weight"} if block.table else set(numbered(learner, block))
        assert moved
        assert moved <= allowed
        if block.table:
            rows = (learner.model.model.embed_tokens.weight != before["model.embed_tokens.weight"]).any(1).nonzero()
            assert set(rows[:, 0].tolist()) <= set(block.rows)


def test_the_order_of_blocks_is_a_function_of_seed_and_step() -> None:
    schedule = replace(SCHEDULE, blocks=6, block_steps=3)
    optimizer = BlockOptimizer(learner_of(DEEP), schedule, 300, seed=3)
    twin = BlockOptimizer(learner_of(DEEP), schedule, 300, seed=3)
    other = BlockOptimizer(learner_of(DEEP), schedule, 300, seed=4)
    steps = list(range(200))
    order = [optimizer.at(step) for step in steps]
    Random(0).shuffle(steps)
    assert [twin.at(step) for step in steps] == [order[step] for step in steps]
    assert [other.at(step) for step in range(200)] != order
    turns = order[::3]
    cycle = len(optimizer.blocks)
    assert all(order[step] == turns[step // 3] for step in range(200))
    assert all(set(turns[at : at + cycle]) == set(optimizer.blocks) for at in range(0, len(turns) - cycle, cycle))
    assert turns[:cycle] != turns[cycle : 2 * cycle]
    assert optimizer.at(300) is None


def test_small_updates_are_not_lost_by_rounding() -> None:
    """1e-3 is an eighth of what bf16 tells apart at 1; 200 of them, each rounded, are 0.2 in the mean."""
    generator, weight = torch.Generator().manual_seed(0), torch.ones(4096)
    nearest = torch.ones(4096)
    for _ in range(200):
        weight = rounded(weight + 1e-3, generator).float()
        nearest = (nearest + 1e-3).to(torch.bfloat16).float()
    assert torch.equal(nearest, torch.ones(4096))
    assert weight.mean().item() == pytest.approx(1.2, abs=0.003)


def test_rounding_goes_to_a_neighbour_and_keeps_what_is_exact() -> None:
    values = torch.cat((torch.randn(10_000, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, -0.0])))
    low = rounded(values, torch.Generator().manual_seed(2)).float()
    assert ((low - values).abs() <= values.abs() * 2**-7).all()
    assert torch.equal(rounded(low, torch.Generator().manual_seed(3)).float(), low)
    assert torch.equal(rounded(values, torch.Generator().manual_seed(2)).float(), low)


@pytest.mark.parametrize("micro_rows", [1, 3])
def test_accumulation_changes_only_rounding(data: Path, tmp_path: Path, micro_rows: int) -> None:
    whole, _ = train(make_job(data, tmp_path / "whole", **TURNS))
    pieces, _ = train(make_job(data, tmp_path / "pieces", micro_tokens=micro_rows * CONTEXT, **TURNS))
    assert pieces.records[0]["norm"] == pytest.approx(whole.records[0]["norm"], rel=1e-5)
    assert pieces.losses == pytest.approx(whole.losses, rel=2e-3)


def test_recomputing_activations_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(make_job(data, tmp_path / "kept", **TURNS))
    train(make_job(data, tmp_path / "again", recompute=True, **TURNS))
    assert weights(tmp_path / "again") == weights(tmp_path / "kept")


def test_the_gradient_of_a_block_is_clipped(data: Path, tmp_path: Path) -> None:
    """Clipped to less than what the optimisers divide by at least, it moves nothing."""
    free, _ = train(make_job(data, tmp_path / "free", **TURNS))
    cut, _ = train(make_job(data, tmp_path / "cut", clip=1e-12, weight_decay=0.0, **TURNS))
    assert cut.records[0]["norm"] == pytest.approx(free.records[0]["norm"], rel=1e-6)
    assert cut.losses == pytest.approx([cut.losses[0]] * len(cut.losses), abs=0.02)
    assert free.losses[-1] < cut.losses[-1] - 0.2


@pytest.mark.parametrize("step", [3, 4, 5, 9])
@pytest.mark.parametrize("source", ["texts", "talks"])
def test_a_resumed_run_ends_in_the_same_bits(data: Path, tmp_path: Path, step: int, source: str) -> None:
    """Cut within a turn of a block, or between two."""
    changes = TURNS | {"source": source}
    train(make_job(data, tmp_path / "whole", **changes))
    with pytest.raises(Cut):
        train(make_job(data, tmp_path / "cut", **changes), cut_at(step))
    resumed, _ = train(make_job(data, tmp_path / "cut", **changes))
    assert resumed.done == step - 1  # written before the next step began
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


def _run(data: Path, folder: Path) -> None:
    train(make_job(data, folder, **TURNS | {"steps": 30, "width": 64, "ffn": 160}))


def test_killed_at_random_moments_it_ends_in_the_same_bits(data: Path, tmp_path: Path) -> None:
    _run(data, tmp_path / "whole")
    chance = Random(5)
    kills = 0
    for _ in range(5):
        delay = chance.uniform(0.05, 0.5)
        kills += killed(data, tmp_path / "cut", lambda seconds, delay=delay: seconds > delay, _run)  # type: ignore[misc]
    assert kills
    _run(data, tmp_path / "cut")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_checkpoint_holds_the_state_of_the_active_block_alone(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(make_job(data, tmp_path, **TURNS), cut_at(4))
    (part,) = (tmp_path / "checkpoints" / "step-00000003").glob("*.safetensors")
    learner = learner_of(replace(CONFIG, depth=3))
    optimizer = BlockOptimizer(learner, replace(SCHEDULE, blocks=4, block_steps=2), 14, seed=3)
    active = optimizer.at(3)
    assert active is not None
    with safe_open(part, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    masters = {name: each for name, each in found.items() if name.startswith("model/") and each.dtype == torch.float32}
    state = [each for name, each in found.items() if name.startswith("optimizer/") and each.ndim]
    size = numbered(learner, active).total()
    assert sum(each.numel() for each in masters.values()) == size
    assert size < sum(each.numel() for each in state) <= 2 * size


def test_the_final_weights_are_bf16_and_load_as_any_model(data: Path, tmp_path: Path) -> None:
    _, outcome = train(make_job(data, tmp_path / "first", **TURNS))
    with safe_open(tmp_path / "first" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - not a mapping
    _, again = train(
        make_job(data, tmp_path / "next", start=tmp_path / "first", depth=3, steps=1, muon_lr=0.0, adamw_lr=0.0)
    )
    assert again.heldout == pytest.approx(outcome.heldout, rel=1e-6)


def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    train(make_job(data, tmp_path / "one", **TURNS))
    many, one = train_together(2, data, tmp_path / "two", dict(TURNS)), logged(tmp_path / "one")
    assert many[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-6)
    assert many[0]["norm"] == pytest.approx(one[0]["norm"], rel=1e-4)
    assert [each["loss"] for each in many] == pytest.approx([each["loss"] for each in one], rel=2e-3)


def test_two_processes_write_the_weights_once(data: Path, tmp_path: Path) -> None:
    train_together(2, data, tmp_path, dict(TURNS) | {"steps": 3, "checkpoint_steps": 2})
    assert not (tmp_path / "checkpoints" / "step-00000003").exists()
    first, second = sorted((tmp_path / "checkpoints" / "step-00000002").glob("*.safetensors"))
    assert second.stat().st_size < 1000 < first.stat().st_size


def _measure(data: Path, folder: Path, changes: dict[str, Any], results: Any) -> None:
    train(make_job(data, folder / "warm", steps=1))  # the libraries' own buffers
    _, outcome = train(make_job(data, folder / "measured", **changes))
    results.put((outcome.predicted_memory, outcome.peak_memory))


LARGE = {"depth": 8, "width": 384, "ffn": 1024, "steps": 2, "batch_tokens": 4 * CONTEXT, "micro_tokens": 4 * CONTEXT}


@pytest.mark.parametrize("changes", [{}, {"checkpoint_steps": 1}, {"recompute": True}], ids=["", "saved", "recomputed"])
def test_memory_is_predicted_and_less_than_half_of_training_all_at_once(
    data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    results = FORKS.SimpleQueue()
    turns = LARGE | {"blocks": 10, "block_steps": 1} | changes
    child = FORKS.Process(target=_measure, args=(data, tmp_path, turns, results))
    child.start()
    predicted, measured = results.get()
    child.join()
    assert 1 / 1.6 < predicted / measured < 1.6
    whole = Transformer(replace(CONFIG, depth=8, width=384, ffn=1024))
    assert predicted < 0.5 * memory.predict(whole, (4, CONTEXT), ProcessMesh(), Eager("cpu"), saves=False)
