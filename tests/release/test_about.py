"""What a model is for: from the recipe beside its run, and with its export."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from groundup.config.load import RECIPE, load
from groundup.core.errors import InputError
from groundup.core.files import write_json
from groundup.pipeline import stages
from groundup.pipeline.plan import plan
from groundup.release import tables
from groundup.release.about import ABOUT, About, about
from groundup.release.export.hf import export
from groundup.release.lineage import lineage
from tests.release.release_helpers import RECIPE as TABLE

STATED = {"purpose": "Answers *questions* about cats.", "examples": ["the cat", "two\nlines"]}


@pytest.fixture
def told(run: Path) -> Path:
    """A stage of a run whose recipe says what the model is for."""
    stages.remember(TABLE.model_copy(update=STATED | {"examples": tuple(STATED["examples"])}), run, run)
    return run / "instruct"


def test_a_stage_says_what_the_recipe_of_its_run_says(told):
    assert about(told) == About(name="small", **STATED)
    assert about(told).stated() == STATED


def test_weights_without_a_run_say_nothing(run, tmp_path):
    assert about(run / "instruct") == About()
    assert about(run / "instruct").stated() == {}
    (tmp_path / RECIPE).write_text("[]")
    (tmp_path / "weights").mkdir()
    assert about(tmp_path / "weights") == About()


def test_an_export_carries_it_and_its_card_begins_with_it(told, tmp_path):
    export(told, tmp_path / "out")
    assert about(tmp_path / "out") == about(told)
    assert json.loads((tmp_path / "out" / ABOUT).read_text()) == {"name": "small", **STATED}
    assert ABOUT in json.loads((tmp_path / "out" / "lineage.json").read_text())["stages"][-1]["outputs"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\n# small, " in card
    assert "\nAnswers \\*questions\\* about cats.\n\n- the cat\n- two lines\n\nA language model in" in card


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "valid dictionary"),
        ({"purpose": 7}, "purpose: input should be a valid string"),
        ({"purpose": "a\nb"}, "purpose: string should match"),
        ({"examples": "one"}, "examples: input should be a valid"),
        ({"examples": ["one"] * 9}, "examples: tuple should have at most 8"),
        ({"examples": [""]}, "examples.0: string should have at least 1"),
    ],
)
def test_what_is_no_purpose_is_refused_in_one_sentence(told, tmp_path, table, words):
    write_json(tmp_path / ABOUT, table)
    with pytest.raises(InputError, match=words):
        about(tmp_path)
    write_json(told.parent / RECIPE, {"recipe": table})
    with pytest.raises(InputError, match=words):
        about(told)


def test_a_model_is_named_by_what_it_takes_in(original):
    found = lineage(original / "instruct")

    def kind_of_model(*kinds: str) -> str:
        parts = {each.stage: {"kind": kind} for each, kind in zip(found.sources, kinds, strict=True)}
        parts |= {each.stage: {"model": {"patch": 8}} for each in found.trainings}
        stages = tuple(replace(each, part=parts.get(each.stage, each.part)) for each in found.stages)
        return tables.kind(replace(found, stages=stages))

    assert tables.kind(found) == "language model"
    assert kind_of_model("text", "images", "tasks") == "multimodal model"
    assert kind_of_model("boxes", "images", "scenes") == "vision model"


def test_a_purpose_trains_nothing(tmp_path):
    """Only the report's key holds it: a finished model stays fresh when its purpose is written down."""
    text = """
name = "small"
[[source]]
name = "tasks"
kind = "tasks"
count = 100
families = { copying = 1 }
[[stage]]
do = "pretrain"
tokens = 1000
mix = { tasks = 1.0 }
"""
    (tmp_path / "plain.toml").write_text(text)
    (tmp_path / "told.toml").write_text('purpose = "Copies."\nexamples = ["Copy: a"]\n' + text)
    plain, stated = (plan(load(tmp_path / f"{name}.toml"), tmp_path) for name in ("plain", "told"))
    changed = [one.name for one, other in zip(plain, stated, strict=True) if one.part != other.part]
    assert changed == ["report"]
