"""Checkpoints under attack: damage, other data, full disks, leftovers."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.core.errors import InputError
from groundup.core.files import digest, read_json
from groundup.train import checkpoint
from groundup.train.checkpoint import Checkpoint, Saver
from groundup.train.distributed.mesh import ProcessMesh
from tests.train.train_helpers import Record, make_job, train, weights

PART = "part-00001-of-00001.safetensors"


@pytest.fixture(scope="session")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to; its checkpoints are those of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("whole")
    train(make_job(data, folder))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def nearly(data: Path, folder: Path) -> None:
    """Train, and forget that the end was reached: there are checkpoints of steps 2 and 4."""
    train(make_job(data, folder))
    (folder / "checkpoints" / "end.json").unlink()


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def change_the_step(file: Path) -> None:
    file.write_text(file.read_text().replace('"step": 4', '"step": 5'))


@pytest.mark.parametrize(
    ("name", "harm", "problem"),
    [
        (PART, truncate, "does not have the hash"),
        (PART, flip, "does not have the hash"),
        (PART, Path.unlink, "is missing"),
        ("state.json", truncate, "cannot be read"),
        ("state.json", change_the_step, "does not have the hash"),
    ],
)
def test_a_damaged_checkpoint_is_found_and_the_one_before_it_used(
    data: Path, whole: Path, tmp_path: Path, name: str, harm: Callable[[Path], None], problem: str
) -> None:
    nearly(data, tmp_path)
    harm(tmp_path / "checkpoints" / "step-00000004" / name)
    watch, _ = train(make_job(data, tmp_path))
    assert watch.done == 2
    assert any(
        "step-00000004 is damaged" in note and problem in note and "using the one before it" in note
        for note in watch.notes
    )
    assert weights(tmp_path) == weights(whole)
    assert names(tmp_path / "checkpoints") == ["end.json", "step-00000002", "step-00000004"]


def test_without_a_sound_checkpoint_the_run_starts_again(data: Path, whole: Path, tmp_path: Path) -> None:
    nearly(data, tmp_path)
    for step in ("step-00000002", "step-00000004"):
        flip(tmp_path / "checkpoints" / step / PART)
    watch, _ = train(make_job(data, tmp_path))
    assert watch.done == 0
    assert weights(tmp_path) == weights(whole)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_ones_are_kept(data: Path, tmp_path: Path, keep: int) -> None:
    train(make_job(data, tmp_path, checkpoint_steps=1, keep=keep))
    assert names(tmp_path / "checkpoints") == ["end.json", *(f"step-{step:08d}" for step in range(6 - keep, 6))]


@pytest.mark.parametrize(
    "change",
    [{"source": "talks"}, {"seed": 4}, {"muon_lr": 0.01}, {"steps": 7}, {"width": 40}, {"precision": torch.bfloat16}],
)
def test_a_checkpoint_of_other_data_or_another_recipe_is_refused(
    data: Path, whole: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(
        InputError,
        match=r"made from other data or another recipe .* give the recipe another name, or run with --retrain",
    ):
        train(make_job(data, whole, **change))


def test_leftovers_of_a_killed_save_are_removed(data: Path, whole: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / ".step-00000003.tmp"
    leftover.mkdir(parents=True)
    (leftover / "part-00001-of-00002.safetensors").write_bytes(b"half")
    train(make_job(data, tmp_path))
    assert names(tmp_path / "checkpoints") == ["end.json", "step-00000002", "step-00000004"]
    assert weights(tmp_path) == weights(whole)


@pytest.fixture
def full_disk() -> Any:
    """No file may grow beyond 100 kB: less than a checkpoint, more than anything else here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_run_and_harms_no_checkpoint(
    data: Path, whole: Path, tmp_path: Path, full_disk: Callable[[], None]
) -> None:
    fill = Record(after_step=lambda step: full_disk() if step == 4 else None)
    with pytest.raises(InputError, match=r"the disk is full .*; free some space and run the same command again"):
        train(make_job(data, tmp_path), fill)
    assert names(tmp_path / "checkpoints") == ["step-00000002"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    watch, _ = train(make_job(data, tmp_path))
    assert watch.done == 2
    assert weights(tmp_path) == weights(whole)


def test_a_full_disk_leaves_no_half_written_weights(data: Path, tmp_path: Path, full_disk: Callable[[], None]) -> None:
    fill = Record(after_step=lambda step: full_disk() if step == 6 else None)
    with pytest.raises(InputError, match="the disk is full"):
        train(make_job(data, tmp_path), fill)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_errors_of_the_system_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint, "write_tensors", fail)
    saver = Saver(tmp_path, "print", ProcessMesh(), 1)
    saver.save(1, {"a": torch.zeros(2)})
    with pytest.raises(InputError, match="cannot be written" if number == errno.EACCES else "the disk is full"):
        saver.finish()
    assert names(tmp_path) == []


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    saver, weight = Saver(tmp_path, "print", ProcessMesh(), 1), torch.zeros(1000)
    saver.save(1, {"a": weight})
    weight += 1
    saver.finish()
    target = torch.full((1000,), 7.0)
    (tmp_path / "step-00000001" / "part-00009-of-00009.safetensors").write_bytes(b"of another save")
    checkpoint.read_into(Checkpoint(tmp_path / "step-00000001", 1, "print"), {"a": target}, ProcessMesh())
    assert target.sum() == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    saver = Saver(tmp_path, "print", ProcessMesh(), 1)
    saver.save(1, {"a": torch.zeros(3)})
    saver.finish()
    with pytest.raises(InputError, match="lacks b; it belongs to another model"):
        checkpoint.read_into(
            Checkpoint(tmp_path / "step-00000001", 1, "print"),
            {"a": torch.zeros(3), "b": torch.zeros(3)},
            ProcessMesh(),
        )


def test_files_may_be_read_by_those_who_may_read_others(data: Path, whole: Path) -> None:
    other = (whole / "metrics.jsonl").stat().st_mode
    assert (whole / "model.safetensors").stat().st_mode == other
    assert (whole / "checkpoints" / "step-00000004" / PART).stat().st_mode == other


def test_state_holds_its_own_hash(whole: Path) -> None:
    path = whole / "checkpoints" / "step-00000004" / "state.json"
    state = read_json(path)
    assert state.pop("digest") == digest(state)
    assert state["step"] == 4
