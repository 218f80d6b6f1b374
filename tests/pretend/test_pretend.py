"""Every step of the way on a device that torch learnt of a moment ago, with the processor's numbers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import groundup
from groundup.core.errors import InputError, Interrupted
from groundup.device import pick
from groundup.generate.engine import Engine
from groundup.generate.sampling import Sampling
from tests.train.train_helpers import Record, bytes_only, logged, make_job, train, weights

Pretend = Callable[..., Any]

# The device has no fused attention, so attention is summed in another order; Muon then orthogonalises in bf16, where
# one flipped
# bit is 0.4 %. Over six steps losses were seen to differ by 2e-4 of themselves.
ROUNDING = 2e-3


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in logged(folder)]


def train_here(data: Path, folder: Path, changes: dict[str, Any], stop: int = 0) -> None:
    """Train on the pretended device; `stop` is the step after which the run is asked to stop."""
    import os
    import signal

    watch = Record(after_step=lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == stop else None)
    try:
        train(make_job(data, folder, **changes), watch, pick("pretend"))
    except Interrupted:
        assert stop
    else:
        assert not stop


@pytest.mark.parametrize(
    "changes",
    [{}, {"source": "talks"}, {"tied": False}, {"recompute": True, "micro_tokens": 128}],
    ids=["pretrain", "instruct", "untied", "recomputed and accumulated"],
)
def test_training_has_the_processors_losses(
    data: Path, tmp_path: Path, on_pretend: Pretend, changes: dict[str, Any]
) -> None:
    train(make_job(data, tmp_path / "processor", **changes))
    on_pretend(train_here, data, tmp_path / "pretend", changes)
    here, there = logged(tmp_path / "processor"), logged(tmp_path / "pretend")
    assert there[0]["loss"] == pytest.approx(here[0]["loss"], rel=1e-6)
    assert there[0]["norm"] == pytest.approx(here[0]["norm"], rel=1e-4)
    assert losses(tmp_path / "pretend") == pytest.approx(losses(tmp_path / "processor"), rel=ROUNDING)
    assert there[-1]["heldout"] == pytest.approx(here[-1]["heldout"], rel=ROUNDING)


def test_a_stopped_run_goes_on_with_the_same_bits(data: Path, tmp_path: Path, on_pretend: Pretend) -> None:
    on_pretend(train_here, data, tmp_path / "whole", {})
    on_pretend(train_here, data, tmp_path / "stopped", {}, 3)
    on_pretend(train_here, data, tmp_path / "stopped", {})
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")


def test_a_checkpoint_moves_to_another_device(data: Path, tmp_path: Path, on_pretend: Pretend) -> None:
    train(make_job(data, tmp_path / "whole"))
    on_pretend(train_here, data, tmp_path / "moved", {}, 3)
    resumed, _ = train(make_job(data, tmp_path / "moved"))
    assert resumed.done == 3
    assert losses(tmp_path / "moved") == pytest.approx(losses(tmp_path / "whole"), rel=ROUNDING)


PROMPTS = [list(b"the cat"), list(b"the dog sees"), list(b"a")]


def answer(folder: Path, device: str | None, temperature: float) -> list[list[int]]:
    return Engine.load(folder, pick(device), "fp32").complete(PROMPTS, 12, Sampling(temperature=temperature))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generation_gives_the_processors_tokens(
    data: Path, tmp_path: Path, on_pretend: Pretend, temperature: float
) -> None:
    train(make_job(data, tmp_path, steps=20))
    bytes_only().save(tmp_path)
    answers = answer(tmp_path, "cpu", temperature)
    assert all(answers)
    assert on_pretend(answer, tmp_path, "pretend", temperature) == answers


def described(name: str | None) -> list[Any]:
    device = pick(name)
    return [
        str(device.handle),
        device.name,
        str(device.precision("auto")),
        device.collectives,
        device.compiles,
        device.memory() > 1 << 20,
    ]


@pytest.mark.parametrize("name", ["pretend", "pretend:0", None])
def test_the_device_is_picked_by_its_name_or_because_it_is_there(on_pretend: Pretend, name: str | None) -> None:
    assert on_pretend(described, name) == ["pretend:0", "pretend", "torch.float32", "gloo", False, True]


@pytest.mark.parametrize("name", ["pretend", "pretnd", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--device {name}: not available here .*; leave it out for the default"):
        pick(name)


def mixed() -> torch.Tensor:
    return torch.ones(2, 2, device="pretend") @ torch.ones(2, 2)


def test_the_device_does_not_see_the_hosts_tensors(on_pretend: Pretend) -> None:
    with pytest.raises(RuntimeError, match="expected all tensors on pretend"):
        on_pretend(mixed)


def test_no_file_but_one_names_a_device() -> None:
    root, devices = Path(groundup.__file__).parent, re.compile(r"\b(cuda|mps|xpu|rocm|privateuseone)\b")
    assert [path.relative_to(root).as_posix() for path in root.rglob("*.py") if devices.search(path.read_text())] == [
        "device.py"
    ]
