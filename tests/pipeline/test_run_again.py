"""The same command again, and another one: what is finished stays, what is refused changes nothing, what was begun goes
on.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundup.config.load import load
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.pipeline.finished import recall
from groundup.pipeline.run import Options
from groundup.pipeline.run import run as run_stages
from groundup.train import memory
from groundup.train.loop import Trainer
from tests.pipeline.kill_everywhere import sources

Run = Callable[..., list[tuple[str, int]]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager, and without what takes long and decides nothing here."""
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    monkeypatch.setattr("groundup.device.Device.compiles", False)
    monkeypatch.setattr("groundup.device.Device.matrix_peak", lambda *arguments: 1e12)
    monkeypatch.setattr(memory, "predict", lambda *arguments: 1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the recipe in `tmp_path/work` with other values, up to a stage; the steps that were trained."""
    done: list[tuple[str, int]] = []
    update = Trainer._update

    def told(trainer: Trainer, step: int) -> dict[str, float]:
        done.append((trainer.job.title, step))
        return update(trainer, step)

    monkeypatch.setattr(Trainer, "_update", told)

    def work(*changes: str, until: str | None = "instruct", retrain: bool = False) -> list[tuple[str, int]]:
        done.clear()
        home = tmp_path / "work"
        run_stages(
            load(home / "tiny.toml", list(changes)), home, home / "runs/tiny", Options(until=until, retrain=retrain)
        )
        return list(done)

    return work


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the run that the tests begin with."""
    return tmp_path_factory.mktemp("once") / "work"


@pytest.fixture
def root(run: Run, once: Path, tmp_path: Path) -> Path:
    """The folder of a run that came to the end of its training."""
    if not once.exists():
        sources(tmp_path / "work")
        assert len(run()) == 7
        shutil.copytree(tmp_path / "work", once)
        shutil.rmtree(tmp_path / "work")
    shutil.copytree(once, tmp_path / "work")  # keeps the times, so no source has to be hashed again
    return tmp_path / "work/runs/tiny"


def content(root: Path) -> dict[str, Any]:
    """All files, with their bytes and the time they were changed, but for the lock."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


class Stopped(Exception):
    """Stands for a kill: nobody catches it."""


def stops(monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]) -> None:
    """Stop before a step."""
    update = Trainer._update

    def stopping(trainer: Trainer, step: int) -> dict[str, float]:
        if (trainer.job.title, step) == at:
            trainer.saver.finish()
            raise Stopped
        return update(trainer, step)

    monkeypatch.setattr(Trainer, "_update", stopping)


# --- what is refused changes nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        ["stage.instruct.muon_lr=0.5"],
        ["stage.pretrain.muon_lr=0.5"],
        ["seed=5"],
        ["source.notes.min_chars=2"],
        ["source.talks.heldout_share=0.4"],
        ["tokenizer.vocab_size=289"],
        ["model.context=64"],
    ],
)
def test_a_change_under_a_finished_model_is_refused_before_anything_is_touched(
    run: Run, root: Path, changes: list[str]
) -> None:
    before = content(root)
    with pytest.raises(InputError, match=r"finished, but .* changed since; give the recipe another name"):
        run(*changes, until=None)
    assert content(root) == before
    assert run() == []


def test_it_is_refused_as_early_where_data_have_to_be_made_again(run: Run, root: Path) -> None:
    shutil.rmtree(root / "documents-notes")
    before = content(root)
    with pytest.raises(InputError, match="instruct: finished, but the recipe changed since"):
        run("stage.instruct.muon_lr=0.5")
    assert content(root) == before


def test_data_that_were_thrown_away_are_made_again_under_a_finished_model(run: Run, root: Path) -> None:
    before = ledger.read(root / "instruct")
    for name in ("documents-notes", "shards-talks"):
        shutil.rmtree(root / name)
    assert run() == []
    assert ledger.read(root / "instruct") == before
    assert (root / "documents-notes/documents.parquet").exists()


def test_a_stage_that_fails_gets_its_record_back_and_the_recipe_stays(run: Run, root: Path) -> None:
    for name in ("pretrain", "instruct"):
        shutil.rmtree(root / name)
    before = content(root)
    with pytest.raises(InputError, match="no documents are left"):
        run("source.notes.min_chars=100000")
    del before["hashes.json"]
    after = content(root)
    assert {name: after[name][0] for name in before} == {name: found for name, (found, _) in before.items()}
    assert run(until="shards-talks") == []


def test_a_refused_checkpoint_leaves_the_recipe_it_belongs_to(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(root / "instruct")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stops(patch, ("instruct", 2))
        run()
    recipe, checkpoints = (root / "recipe.json").read_bytes(), content(root / "instruct")
    with pytest.raises(InputError, match="made from other data or another recipe"):
        run("stage.instruct.muon_lr=0.5")
    assert (root / "recipe.json").read_bytes() == recipe
    assert content(root / "instruct") == checkpoints
    assert run() == [("instruct", 2)]


def test_a_file_that_a_later_stage_misses_is_named_before_a_folder_is_made(run: Run, tmp_path: Path) -> None:
    sources(tmp_path / "work")
    with pytest.raises(InputError, match=r"nothing\.jsonl: no such file, but evaluate needs it"):
        run("evaluate.suites=['choice']", "evaluate.choice=['nothing.jsonl']", until=None)
    assert not (tmp_path / "work/runs").exists()


def test_a_pipe_that_a_stage_would_read_is_named_and_not_opened(run: Run, tmp_path: Path) -> None:
    sources(tmp_path / "work")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match=r"pipe\.jsonl: no regular file, such as evaluate needs"):
        run("evaluate.suites=['choice']", f"evaluate.choice=['{tmp_path / 'pipe.jsonl'}']", until=None)


def test_the_recipe_that_is_kept_is_the_one_that_ran(run: Run, root: Path) -> None:
    run("stage.instruct.muon_lr=0.5", retrain=True)
    assert recall(root)[0].stage[1].muon_lr == 0.5
    run("stage.instruct.muon_lr=0.5", "stage.instruct.keep=7")  # changes no result, so all is fresh
    assert recall(root)[0].stage[1].keep == 7


# --- what was begun goes on ------------------------------------------------------------------------------------


def test_a_stage_killed_before_its_manifest_trains_no_step_again(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(root)
    shutil.rmtree(root / "instruct")

    def fail(*arguments: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ledger, "write", fail)
        run()
    assert run() == []
    assert not (root / "instruct/checkpoints").exists()
    assert content(root)["instruct/model.safetensors"][0] == before["instruct/model.safetensors"][0]


def test_training_again_goes_on_where_it_was_killed(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["stage.pretrain.muon_lr=0.5"]
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stops(patch, ("pretrain", 3))
        run(*changes, retrain=True)
    assert run(*changes, retrain=True) == [("pretrain", 2), ("pretrain", 3), *[("instruct", step) for step in range(3)]]
    found = content(root)
    assert [name for name in found if "checkpoint" in name] == []
    assert run(*changes, retrain=True) == []


def test_training_again_with_other_values_begins_anew(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stops(patch, ("pretrain", 3))
        run("stage.pretrain.muon_lr=0.5", retrain=True)
    with pytest.raises(InputError, match="run with --retrain"):
        run("stage.pretrain.muon_lr=0.4")
    assert run("stage.pretrain.muon_lr=0.4", retrain=True, until="pretrain") == [
        ("pretrain", step) for step in range(4)
    ]


def test_training_again_in_the_same_folder_uses_no_old_checkpoint(run: Run, root: Path) -> None:
    whole = (root / "pretrain/model.safetensors").read_bytes()
    (root / "pretrain/model.safetensors").unlink()
    assert run(until="pretrain", retrain=True) == [("pretrain", step) for step in range(4)]
    assert (root / "pretrain/model.safetensors").read_bytes() == whole


def test_leftovers_of_killed_runs_are_cleared_at_the_next_start(run: Run, root: Path) -> None:
    before = set(content(root))
    child = subprocess.Popen(["true"])
    child.wait()
    for folder in (root, root / "pretrain", root / "shards-notes/train"):
        (folder / f".some file.{child.pid}.tmp").write_text("half")
        (folder / f".folder.{child.pid}.tmp" / "deep").mkdir(parents=True)
    (root / "pretrain/checkpoints/step-00000002").mkdir(parents=True)  # killed after the manifest
    (root / "pretrain/.manifest.before.json").write_text("{")
    assert run() == []
    assert set(content(root)) == before
    assert [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())] == []
