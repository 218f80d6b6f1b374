"""Compiled code that is wrong is found before training relies on it, and what then comes out has the bits of eager
code.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from groundup.core.errors import InputError
from groundup.kernels.dense_attention import dense_attention
from groundup.train import loop
from groundup.train import loss_module as objective
from groundup.train.compiled import Difference
from groundup.train.distributed.mesh import ProcessMesh, join
from tests.train.train_helpers import Eager, Record, logged, make_job, together, train, weights

pytestmark = [  # all inside the compiler
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*should not be instantiated. Methods on autograd functions are all static:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]
Graph = Callable[..., Any]


class Compiling(Eager):
    """The processor with a compiler of the tests'."""

    @property
    def compiles(self) -> bool:
        return True


class Spoilt(torch.autograd.Function):
    """The identity, but for what a compiler did to the values or to their gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, values: Graph, gradient: Graph) -> Tensor:
        context.gradient = gradient
        return values(x.clone())

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return context.gradient(gradients[0].clone()), None, None


def same(x: Tensor) -> Tensor:
    return x


def half(x: Tensor) -> Tensor:
    """A quarter of all tokens lose their upper features: some tiles are wrong, most are right."""
    x[: max(1, len(x) // 4), :, x.shape[-1] // 2 :] = 0
    return x


def nan(x: Tensor) -> Tensor:
    x.view(-1)[5] = float("nan")
    return x


def backend(values: Graph = same, gradient: Graph = same) -> Graph:
    """A compiler whose code runs as it stands, but for its first output that is a stream."""

    def compile(graph: torch.fx.GraphModule, inputs: list[Any]) -> Graph:
        def run(*arguments: Any) -> Any:
            out = graph.forward(*arguments)
            return (Spoilt.apply(out[0], values, gradient), *out[1:])

        return run

    return compile


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


FAULTS = {"values": (half, same), "gradient": (same, half), "no numbers": (nan, same), "no gradient": (same, nan)}


def eager_weights(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """What the same job comes to where blocks are asked to compile and none is."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "speed_up", lambda model, device, length: setattr(model, "attend", dense_attention))
        train(make_job(data, folder, **changes))
    return weights(folder)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_wrong_code_is_found_and_the_run_ends_in_eager_bits(
    data: Path, tmp_path: Path, monkeypatch: Any, fault: str, precision: torch.dtype
) -> None:
    changes = {"precision": precision, "steps": 3}
    expected = eager_weights(data, tmp_path / "eager", monkeypatch, **changes)
    monkeypatch.setattr(objective, "BACKEND", backend(*FAULTS[fault]))
    watch, _ = train(make_job(data, tmp_path / "wrong", **changes), device=Compiling("cpu"))
    assert weights(tmp_path / "wrong") == expected
    (told,) = [note for note in watch.notes if "warning" in note and "x 64 tokens:" in note]
    assert "compiled code is wrong for batches of 8 x 64 tokens" in told
    assert "run eager" in told


def test_right_code_is_used_and_the_check_changes_nothing(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(objective, "BACKEND", backend())
    watch, _ = train(make_job(data, tmp_path / "checked"), device=Compiling("cpu"))
    assert any(
        "compiled code checked against eager on 2 shapes in" in note and "0 differ" in note for note in watch.notes
    )
    torch._dynamo.reset()
    monkeypatch.setattr(loop.Trainer, "_check_compiled", lambda self: None)
    train(make_job(data, tmp_path / "unchecked"), device=Compiling("cpu"))
    assert weights(tmp_path / "checked") == weights(tmp_path / "unchecked")
    assert logged(tmp_path / "checked") == logged(tmp_path / "unchecked")


def test_only_the_shape_that_is_wrong_runs_eager(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The last rows of a batch are fewer: their code is wrong, that of the others is not."""

    def small(x: Tensor) -> Tensor:
        return half(x) if len(x) == 2 else x

    monkeypatch.setattr(objective, "BACKEND", backend(small))
    trainer = loop.Trainer(
        make_job(data, tmp_path, micro_tokens=6 * 64), Compiling("cpu"), ProcessMesh(), watch := Record()
    )
    trainer.run()
    assert {sizes[0] for sizes in trainer.checks.eager} == {(2, 64)}
    assert len([note for note in watch.notes if "compiled code is wrong" in note]) == 1


def test_a_resumed_run_comes_to_the_same_choice_and_bits(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    class Cut(Exception):
        pass

    def cut(step: int) -> None:
        if step == 5:
            raise Cut

    monkeypatch.setattr(objective, "BACKEND", backend(same, half))
    train(make_job(data, tmp_path / "whole"), device=Compiling("cpu"))
    with pytest.raises(Cut):
        train(make_job(data, tmp_path / "cut"), Record(after_step=cut), Compiling("cpu"))
    watch, _ = train(make_job(data, tmp_path / "cut"), device=Compiling("cpu"))
    assert watch.done
    assert any("compiled code is wrong" in note for note in watch.notes)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def _wrong_for_one(data: Path, folder: Path) -> None:
    device = Compiling("cpu")
    mesh = join(device)
    objective.BACKEND = backend(same, half if mesh.rank else same)
    trainer = loop.Trainer(make_job(data, folder, steps=2), device, mesh, Record())
    trainer.run()
    assert {sizes[2] for sizes in trainer.checks.eager} == {True}, "wrong for the second process alone, eager for both"


def test_processes_agree(data: Path, tmp_path: Path) -> None:
    together(2, _wrong_for_one, data, tmp_path)


def test_code_that_fails_later_is_told_from_a_rate(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """It passes the check and gives no number afterwards."""
    calls = 0

    def later(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return nan(x) if calls > 6 else x

    monkeypatch.setattr(objective, "BACKEND", backend(same, later))
    with pytest.raises(
        InputError, match=r"the gradient's norm nan at step \d, where eager code has .*: the compiler is at fault"
    ) as caught:
        train(make_job(data, tmp_path), device=Compiling("cpu"))
    assert "muon_lr" not in str(caught.value)


def test_before_any_update_no_rate_is_blamed(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    fill = loop.Transformer.initialise

    def spoil(model: Any, seed: int) -> Any:
        fill(model, seed)
        model.model.norm.weight.data[3] = float("inf")
        return model

    monkeypatch.setattr(loop.Transformer, "initialise", spoil)
    with pytest.raises(
        InputError,
        match=r"at step 1, before any update, so no rate is the cause: model.model.norm.weight of the start holds",
    ) as caught:
        train(make_job(data, tmp_path))
    assert "lower muon_lr" not in str(caught.value)


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 0.5])
def test_what_is_no_number_is_never_right(error: float) -> None:
    assert not Difference("", 0.0, error, "weight", 0.1).right
    assert not Difference("", error, 0.0, "weight", 0.1).right
    assert Difference("", 0.01, 0.02, "weight", 0.1).right
