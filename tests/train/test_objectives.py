"""Objectives declare themselves; recipes know them by name."""

from pathlib import Path

import pytest

from groundup.config.derived import schedules
from groundup.config.load import load
from groundup.config.objective import Objective
from groundup.core.errors import InputError
from groundup.core.tables import OBJECTIVES

RECIPE = """\
name = "tiny"

[[source]]
name = "made"
kind = "tasks"
count = 10
families = { copying = 1 }

[[stage]]
do = "DO"
tokens = 64
mix = { made = 1.0 }
"""


def recipe(folder: Path, do: str) -> Path:
    path = folder / "tiny.toml"
    path.write_text(RECIPE.replace("DO", do))
    return path


def test_an_objective_nobody_declares_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    says = r"tiny\.toml:10: stage\.0\.do: .*'guess' is none of instruct, prefer, pretrain"
    with pytest.raises(InputError, match=says):
        load(recipe(tmp_path, "guess"))


def test_an_objective_of_another_package_gives_its_stage_a_loss_mask_and_a_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Objective(version=3, assistant_only=True, predicts_patches=False, completes=False, muon_lr=0.005, decay=0.5)
    monkeypatch.setitem(OBJECTIVES._entries, "mine", mine)
    loaded = load(recipe(tmp_path, "mine"))
    assert OBJECTIVES[loaded.stage[0].do] is mine
    schedule, _ = schedules(loaded)[0]
    assert (schedule.muon_lr, schedule.decay) == (0.005, 0.5)
