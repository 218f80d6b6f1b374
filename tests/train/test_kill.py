"""kill -9 at any moment, then the same command: the final weights have the bits of the run that was never killed."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from groundup.train.distributed.mesh import join
from tests.train.train_helpers import Eager, logged, make_job, peers, start, together, train, weights

STEPS = 40


def run(data: Path, folder: Path) -> None:
    """Train with a checkpoint at every step, so that one is nearly always being written."""
    train(make_job(data, folder, width=64, ffn=160, steps=STEPS, checkpoint_steps=1, validate_steps=5))


def killed(data: Path, folder: Path, now: Callable[[float], bool], run: Callable[[Path, Path], None] = run) -> bool:
    """Run until `now`, given the seconds since the start, says so; False: the run came to its end before."""
    child, began = start(run, data, folder), time.monotonic()
    while child.is_alive() and not now(time.monotonic() - began):
        time.sleep(0.0005)
    child.kill()
    child.join()
    return child.exitcode != 0


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never killed."""
    folder = tmp_path_factory.mktemp("whole")
    run(data, folder)
    return folder


def finished_like(data: Path, folder: Path, whole: Path) -> bool:
    """Run to the end; whether weights and losses are those of the other run."""
    run(data, folder)
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (folder, whole)
    ]
    return weights(folder) == weights(whole) and losses[0] == losses[1]


def test_killed_at_random_moments(data: Path, tmp_path: Path, whole: Path) -> None:
    chance = Random(11)
    kills = 0
    for _ in range(12):
        delay = chance.uniform(0.05, 0.5)
        kills += killed(data, tmp_path, lambda seconds, delay=delay: seconds > delay)  # type: ignore[misc]
    assert kills
    assert finished_like(data, tmp_path, whole)


def test_killed_while_saving(data: Path, tmp_path: Path, whole: Path) -> None:
    def half_written() -> list[str]:
        return [path.name for path in tmp_path.glob("checkpoints/.step-*.tmp")]

    leftovers = []
    for step in (1, 4, 9, 16, 25, 36):
        killed(data, tmp_path, lambda seconds, step=step: any(name >= f".step-{step:08d}" for name in half_written()))  # type: ignore[misc]
        leftovers += half_written()
    assert leftovers
    assert finished_like(data, tmp_path, whole)


def test_killed_while_writing_the_weights(data: Path, tmp_path: Path, whole: Path) -> None:
    killed(data, tmp_path, lambda seconds: any(tmp_path.glob(".model.safetensors*")))
    assert finished_like(data, tmp_path, whole)


def _train_among_peers(data: Path, folder: Path) -> None:
    device = Eager("cpu")
    train(make_job(data, folder, steps=12, checkpoint_steps=2), device=device, mesh=join(device))


def test_two_processes_killed_at_any_time_end_with_the_same_bits(data: Path, tmp_path: Path) -> None:
    together(2, _train_among_peers, data, tmp_path / "whole")
    for name in (".step-00000002.tmp", "step-00000004", "step-00000008", "end.json"):
        children = peers(2, _train_among_peers, data, tmp_path / "killed")
        while all(child.is_alive() for child in children) and not (tmp_path / "killed/checkpoints" / name).exists():
            time.sleep(0.0005)
        for child in children:
            child.kill()
            child.join()
    together(2, _train_among_peers, data, tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")
