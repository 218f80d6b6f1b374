"""Recipes: what is refused, in which words, and which knobs there are."""

import os
from pathlib import Path

import pytest

from groundup.config.base import Part
from groundup.config.derived import derivations, schedules
from groundup.config.load import load, stored
from groundup.config.recipe import recipe_class
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES


def _leaves(part: type[Part]) -> list[type[Part]]:
    return [leaf for child in part.__subclasses__() for leaf in _leaves(child)] or [part]


RECIPE = recipe_class()  # with the tables that applications declare
SOURCE_CLASSES = dict(SOURCES.items())  # which imports them
PARTS = sorted(
    {*_leaves(Part), *SOURCE_CLASSES.values()}, key=lambda part: (part is not RECIPE, part.__name__)
)  # every table of a recipe, so that no new one is forgotten
KNOBS = Path(__file__).parent / "knobs.txt"
KNOB_BUDGET = 140

GOOD = """\
name = "small"

[[source]]
name = "lib"
kind = "python-library"

[[source]]
name = "made"
kind = "tasks"
count = 10
families = { copying = 1 }

[model]
depth = 2

[[stage]]
do = "pretrain"
tokens = 1000
mix = { lib = 1.0 }
muon_lr = 0.03

[[stage]]
do = "instruct"
tokens = 1000
mix = { made = 1.0 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(GOOD)
    return path


def knobs() -> list[str]:
    return sorted({f"{part.__name__}.{name}" for part in PARTS for name in part.model_fields})


def test_knobs_are_those_argued_for() -> None:
    """To change the surface on purpose: `python -m tests.config.test_recipe > tests/config/knobs.txt`, and say why in
    the commit.
    """
    assert knobs() == KNOBS.read_text().split()


def test_knobs_stay_in_budget() -> None:
    shared = {name for name in SOURCE_CLASSES["text"].model_fields if name in SOURCE_CLASSES["table"].model_fields}
    own = [knob for knob in knobs() if not (knob.split(".")[0].endswith("Source") and knob.split(".")[1] in shared)]
    assert len(own) + len(shared) <= KNOB_BUDGET


@pytest.mark.parametrize("part", PARTS)
def test_every_knob_has_unit_and_reason(part: type) -> None:
    for name, field in part.model_fields.items():
        if name not in ("kind", "source", "tokenizer", "model", "stage", "evaluate", "line", "world"):
            assert field.description, name
            assert field.json_schema_extra["unit"], name


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.dept=3", "unknown key model.dept; known there: depth"),
        ("source.made.cuont=3", "unknown key source.1.cuont; known there: name"),
        ("stage.pretrain.token=3", "unknown key stage.0.token; known there: do, name"),
        ("evaluate.suite=[]", "unknown key evaluate.suite; known there: suites"),
        ("stage.instruct.mix={z=1}", "mix names 'z', which is no source; the sources are lib, made"),
        ("source.made.kind=guess", "source.1.kind: there is no source of kind 'guess'; known are boxes, images"),
        ("source.made.count=0", "source.1.count: input should be greater than or equal to 1, found 0"),
        ("model.kv_heads=3", "kv_heads 3 does not divide heads 2"),
        ("model.head_dim=7", "head_dim 7 is odd"),
        (
            "evaluate.suites=['guess']",
            "evaluate.suites.0: 'guess' is none of bits-per-byte, boxes, choice, conversations, images, orders, probe,",
        ),
        ("source.made.name=lib", "two sources are called 'lib'"),
        ("stage.instruct.do=pretrain", "two stages are called 'pretrain'"),
        ("line.settings=['rainy']", "'crowded' or 'unknown', found 'rainy'"),
        ("line.items=500", "line: the model of the line detects items in images, but no source has boxes"),
        ("seed=-1", "seed: input should be greater than or equal to 0"),
        ("tokenizer.vocab_size=10", "greater than or equal to 288"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(recipe: Path, override: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        load(recipe, [override])
    assert says in str(error.value)
    assert str(recipe) in str(error.value) or "--set" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("good", "bad", "number"),
    [
        ("depth = 2", "depht = 2", 14),
        ("depth = 2", 'depth = "two"', 14),
        ("count = 10", "count = 0", 10),
        ('kind = "tasks"', 'kind = "task"', 9),
        ('kind = "tasks"\n', "", 7),
        ("{ made = 1.0 }", "{ mad = 1.0 }", 25),
    ],
)
def test_the_line_of_the_file_is_named(recipe: Path, good: str, bad: str, number: int) -> None:
    recipe.write_text(
        GOOD.replace(good, bad).replace('name = "small"', 'name = "small" # no\u2028new\x85line'), encoding="utf-8"
    )
    with pytest.raises(InputError, match=rf"small\.toml:{number}: "):
        load(recipe)


def test_a_missing_key_is_named(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("count = 10\n", ""))
    with pytest.raises(InputError, match=r"source\.1\.count is missing"):
        load(recipe)


@pytest.mark.parametrize("text", ["name = ", "\x00", "name = 'a'\nname = 'b'"])
def test_what_is_no_toml_is_refused(recipe: Path, text: str) -> None:
    recipe.write_text(text)
    with pytest.raises(InputError, match="not a readable TOML file"):
        load(recipe)


UNREADABLE = {
    "nested": ("x = " + "[" * 5000, "it is nested too deep"),
    "nested tables": ("x = " + "{a=" * 5000, "it is nested too deep"),
    "a long number": ("x = " + "9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion"),
    "another encoding": (b"name = 'caf\xe9'", "'utf-8' codec can't decode byte 0xe9"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_no_reader_of_toml_takes_is_one_sentence(recipe: Path, kind: str) -> None:
    content, words = UNREADABLE[kind]
    recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refusal:
        load(recipe)
    assert words in str(refusal.value) and str(recipe) in str(refusal.value)
    assert "\n" not in str(refusal.value) and "sys." not in str(refusal.value)
    if isinstance(content, str):
        recipe.write_text(GOOD)
        with pytest.raises(InputError, match="--set"):
            load(recipe, [f"model.depth={content.removeprefix('x = ')}"])


def test_a_folder_whose_name_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the recipe's folder b'.*caf\\xe9' is not UTF-8; rename it"):
        load(tmp_path / os.fsdecode(b"caf\xe9") / "small.toml")


def test_a_number_of_more_than_64_bits_is_refused(recipe: Path) -> None:
    recipe.write_text(GOOD)
    with pytest.raises(InputError, match="the number 10000000000000000000… has more than 64 bits"):
        load(recipe, [f"stage.0.tokens=1{'0' * 400}"])


def test_a_recipe_may_begin_with_a_byte_order_mark(recipe: Path) -> None:
    recipe.write_text(GOOD, encoding="utf-8-sig")
    assert load(recipe).name == "small"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such recipe"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("override", ["model", "=3", "stage.tune.tokens=1", "name.first=1", "stage=3.x"])
def test_a_bad_override_is_refused(recipe: Path, override: str) -> None:
    with pytest.raises(InputError):
        load(recipe, [override])


def test_overrides_reach_tables_by_name_number_and_objective(recipe: Path) -> None:
    loaded = load(
        recipe, ["stage.pretrain.tokens=7", "stage.1.tokens=8", "source.made.count=9", "model.depth=3", "name=other"]
    )
    assert (
        loaded.stage[0].tokens,
        loaded.stage[1].tokens,
        loaded.source[1].count,
        loaded.model.depth,
        loaded.name,
    ) == (7, 8, 9, 3, "other")


def test_a_later_stage_inherits_what_was_set(recipe: Path) -> None:
    (first, _), (second, notes) = schedules(load(recipe))
    assert first.muon_lr == second.muon_lr == 0.03
    origins = {note.key: note.origin for note in notes}
    assert origins["instruct.muon_lr"] == "inherited"
    assert origins["instruct.adamw_lr"] == "derived"


def test_an_unknown_key_in_the_table_of_a_source_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_text(
        'name = "line"\n[[source]]\nname = "line"\nkind = "simulator"\ncount = 1\n[source.world]\npixel = 64\n'
    )
    with pytest.raises(InputError, match=r"unknown key source\.0\.world\.pixel; known there: pixels, belt"):
        load(path)


def test_a_stored_recipe_is_read_again_whatever_its_nulls(recipe: Path) -> None:
    loaded = load(recipe)
    table = loaded.model_dump(mode="json")
    assert table["model"]["vision_tower"] is None
    assert stored(table | {"model": table["model"] | {"a_knob_of_before": None}}) == loaded


def test_every_derived_value_has_a_reason(recipe: Path) -> None:
    values = derivations(load(recipe))
    assert {value.key for value in values} >= {"model.width", "model.ffn", "pretrain.batch_tokens", "instruct.decay"}
    assert all(value.reason for value in values)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_recipes_that_come_along_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


if __name__ == "__main__":
    print("\n".join(knobs()))


def values_of(recipe: Path, *overrides: str) -> dict[str, tuple[object, str]]:
    return {note.key: (note.value, note.reason) for note in derivations(load(recipe, overrides))}


def test_blocks_have_turns_by_the_steps_there_are(recipe: Path) -> None:
    usual = values_of(recipe)
    assert not [key for key in usual if key.endswith(("blocks", "block_steps", "optimizer"))]
    found = values_of(recipe, "stage.0.blocks=2", "stage.0.tokens=100000", "stage.0.batch_tokens=1024")
    assert found["pretrain.blocks"] == (2, "by the recipe")
    reason = "98 steps give 3 turns to each of 2 blocks, at most 50 steps each"
    assert found["pretrain.block_steps"] == (16, reason)
    assert found["instruct.blocks"] == (2, "from the stage before")
    assert found["instruct.block_steps"][0] == 1
    assert found["pretrain.micro_tokens"][0] == 1024
    assert values_of(recipe, "stage.0.blocks=2", "stage.0.tokens=9000000")["pretrain.block_steps"][0] == 50
    assert values_of(recipe, "stage.0.blocks=2", "stage.0.block_steps=7")["pretrain.block_steps"] == (
        7,
        "by the recipe",
    )
    assert "instruct.blocks" not in values_of(recipe, "stage.0.blocks=2", "stage.1.blocks=1")


def test_the_key_of_a_usual_schedule_knows_nothing_of_blocks(recipe: Path) -> None:
    usual = schedules(load(recipe))[0][0].as_dict()
    assert set(usual) == {
        "batch_tokens", "micro_tokens", "muon_lr", "adamw_lr", "weight_decay", "clip", "warmup", "decay"
    }  # fmt: skip
    unusual = schedules(load(recipe, ["stage.0.blocks=2", "stage.0.optimizer=adamw"]))[0][0].as_dict()
    assert set(unusual) - set(usual) == {"blocks", "block_steps", "optimizer"}


def test_adamw_for_matrices_has_a_rate_of_its_own(recipe: Path) -> None:
    assert values_of(recipe)["pretrain.adamw_lr"][0] == pytest.approx(
        4 * values_of(recipe, "stage.0.optimizer=adamw")["pretrain.adamw_lr"][0]
    )
