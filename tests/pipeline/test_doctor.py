"""What the doctor finds out about compiled code."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from groundup.device import Device
from groundup.pipeline import doctor as health
from groundup.train import grid
from groundup.train import loss_module as objective
from groundup.train.grid import GRID, Cell

pytestmark = [  # all inside the compiler
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*should not be instantiated. Methods on autograd functions are all static:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


def backend(factor: float) -> Callable[..., Any]:
    """A compiler whose code makes the later features of the stream larger by up to so much."""

    def compile(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        def run(*arguments: Any) -> Any:
            out, *others = graph.forward(*arguments)
            return (out * torch.linspace(1, factor, out.shape[-1]).to(out.dtype), *others)

        return run

    return compile


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A grid of one cell, on a processor that compiles."""
    monkeypatch.setattr(grid, "GRID", (Cell(1, 32, 2, 1, 16, 20, 3),))
    monkeypatch.setattr(Device, "compiles", property(lambda self: True))
    return []


@pytest.mark.parametrize(
    ("factor", "said"), [(1.0, "all right"), (3.0, "of 2 shapes are wrong"), (float("nan"), "of 2 shapes are wrong")]
)
def test_wrong_code_is_told_from_right_code(
    small: list[float], monkeypatch: pytest.MonkeyPatch, factor: float, said: str
) -> None:
    monkeypatch.setattr(objective, "BACKEND", backend(factor))
    monkeypatch.setattr(Device, "precision", lambda self, asked: torch.float32)
    found = health.compare("cpu", small.append)
    assert said in found["in all"]
    assert small == [1, 1]
    assert health.cells("cpu") == 2
    assert sum(text.startswith("WRONG") for text in found.values()) == (0 if factor == 1 else 2)
    torch._dynamo.reset()


def test_nothing_is_tried_where_nothing_is_compiled(small: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "compiles", property(lambda self: False))
    assert health.compare("cpu", small.append) == {"in all": "not tried: nothing is compiled here"}


def test_the_grid_has_what_compilers_were_seen_to_fail_on() -> None:
    assert {64, 128, 256, 512, 1024} <= {cell.context for cell in GRID}
    assert len({cell.depth for cell in GRID}) > 3
    assert {16, 32, 64, 128} <= {cell.head_dim for cell in GRID}
    assert any(cell.context % 16 and cell.rows % 2 for cell in GRID)
    assert Cell(2, 128, 2, 1, 64, 128, 32) in GRID
