"""Runs that start from given weights: what these decide, what is refused, and what is on record of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.config.derived import derivations, schedules
from groundup.config.load import load, stored
from groundup.config.recipe import BROUGHT, Recipe
from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.model import weights
from groundup.pipeline.plan import plan
from groundup.pipeline.start import begun, weight_files
from groundup.release.lineage import UNSTATED, lineage
from groundup.release.trace import render
from tests.pipeline.test_run import fill, groundup
from tests.random_models import random_model

RECIPE = """\
name = "more"

[model]
start = "given"

[[source]]
name = "notes"
kind = "text"
path = "notes/*.txt"
licence = "CC0-1.0"

[[stage]]
do = "pretrain"
tokens = 4096
mix = { notes = 1.0 }
"""
CARD = "---\nlicense: apache-2.0\nbase_model: someone/small\ntags: [a, b]\n---\n# A model\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with weights, notes and a recipe that starts from them."""
    fill(tmp_path)
    weights.save(random_model(depth=5), tmp_path / "given", None)
    (tmp_path / "more.toml").write_text(RECIPE)
    return tmp_path


def begin(home: Path, *overrides: str) -> Recipe:
    return begun(load(home / "more.toml", overrides), home)


def test_the_shape_is_that_of_the_weights_and_so_are_the_rates(home: Path) -> None:
    recipe, config = begin(home), weights.config_of(home / "given")
    notes = {note.key: note for note in derivations(recipe)}
    for key in ("width", "heads", "kv_heads", "head_dim", "ffn"):
        assert (notes[f"model.{key}"].value, notes[f"model.{key}"].origin) == (getattr(config, key), "derived")
        assert notes[f"model.{key}"].reason == "of the weights in given"
    assert recipe.model.depth == 5
    assert recipe.model.context == config.context
    ((schedule, _),) = schedules(recipe)
    assert schedule.batch_tokens == 8192 * 5 // 4 // config.context * config.context
    assert schedule.adamw_lr == pytest.approx(0.004 * (768 / config.width) ** 0.5)


def test_rows_are_as_long_as_the_recipe_says(home: Path) -> None:
    assert begin(home, "model.context=32").model.context == 32
    with pytest.raises(InputError, match=r"model\.context is 65, but the weights in .* know 64 positions; lower"):
        begin(home, "model.context=65")


VALUES: dict[str, Any] = {"tied": "true", "rope_base": "10000.0", "kv_heads": 1}


@pytest.mark.parametrize("key", sorted(BROUGHT))
def test_what_the_weights_bring_is_refused_in_the_recipe(home: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"model\.{key}: the weights in model\.start bring their own {key}; leave it"):
        load(home / "more.toml", [f"model.{key}={VALUES.get(key, 8)}"])


def test_a_tokenizer_beside_the_weights_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"vocab_size: the weights in model\.start bring their own tokenizer"):
        load(home / "more.toml", ["tokenizer.vocab_size=300"])


def test_a_licence_of_no_weights_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"licence is that of the weights in model\.start; name them there"):
        load(home / "tiny.toml", ["model.licence=MIT"])


def test_images_are_refused_by_weights_that_take_none(home: Path) -> None:
    (home / "more.toml").write_text(RECIPE.replace('kind = "text"\npath = "notes/*.txt"', 'kind = "scenes"\ncount = 4'))
    with pytest.raises(InputError, match="these weights take no images"):
        begin(home)


def test_a_stored_recipe_keeps_what_was_derived(home: Path) -> None:
    recipe = begin(home)
    assert stored(recipe.model_dump(mode="json")).model == recipe.model


@pytest.mark.parametrize(
    ("card", "overrides", "licence", "origin"),
    [
        (None, [], UNSTATED, UNSTATED),
        (CARD, [], "apache-2.0", "someone/small"),
        (CARD, ["model.licence=MIT", "model.origin=ours"], "MIT", "ours"),
        ("# no front matter\nlicense: mit\n", [], UNSTATED, UNSTATED),
        ("---\nlicense:\n  - mit\n---\n", [], UNSTATED, UNSTATED),
    ],
    ids=["nothing", "card", "recipe", "text", "list"],
)
def test_licence_and_origin_are_the_recipes_or_the_cards(
    home: Path, card: str | None, overrides: list[str], licence: str, origin: str
) -> None:
    if card is not None:
        (home / "given" / "README.md").write_text(card)
    recipe = begin(home, *overrides)
    assert (recipe.model.licence, recipe.model.origin) == (licence, origin)
    notes = {note.key: note.reason for note in derivations(recipe)}
    assert ("model.licence" in notes) == (not overrides)
    if licence == "apache-2.0":
        assert notes["model.licence"] == "stated in README.md"


def test_weights_of_a_file_are_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    assert weight_files(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


def test_the_key_of_training_names_the_weights_and_their_licence(home: Path) -> None:
    stage = next(stage for stage in plan(begin(home, "model.licence=MIT"), home) if stage.trains)
    assert {path.name for path in stage.files} == {"config.json", "model.safetensors"}
    assert stage.part["model"]["licence"] == "MIT"
    assert stage.part["model"]["depth"] == 5


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and one that goes on from it with the data of another recipe; and one from bare weights."""
    folder = fill(tmp_path_factory.mktemp("continued"))
    quick = ["--set", "evaluate.per_family=1", "--set", "evaluate.baselines=false"]
    groundup(folder, "run", "tiny.toml", "--until", "pretrain", *quick)
    recipe = (folder / "tiny.toml").read_text().replace('"tiny"', '"next"').replace("depth = 1", "depth = 3")
    (folder / "next.toml").write_text(recipe)
    groundup(folder, "continue", "runs/tiny", "--like", "next.toml", *quick)
    return folder


def test_going_on_keeps_the_models_shape_and_tokenizer(continued: Path) -> None:
    root = continued / "runs"
    first, last = (weights.config_of(root / name) for name in ("tiny/pretrain", "next/instruct"))
    assert first == last
    assert (root / "next/tokenizer/tokenizer.json").read_bytes() == (
        root / "tiny/tokenizer/tokenizer.json"
    ).read_bytes()


def test_the_finished_run_is_on_record_as_the_base(continued: Path) -> None:
    found = lineage(continued / "runs/next/instruct")
    assert found.base is not None
    assert found.base.model.digest == lineage(continued / "runs/tiny/pretrain").model.digest
    assert not found.breaks
    assert found.weights is None
    assert all(file.licence != UNSTATED for file in found.files)


def test_going_on_again_is_fresh(continued: Path) -> None:
    quick = ["--set", "evaluate.per_family=1", "--set", "evaluate.baselines=false"]
    out = groundup(continued, "continue", "runs/tiny", "--like", "next.toml", "--dry-run", "--json", *quick).stdout
    assert set(json.loads(out)["stages"].values()) == {"fresh"}


def test_a_run_cannot_go_on_in_its_own_folder(continued: Path) -> None:
    refused = groundup(continued, "continue", "runs/tiny", "--like", "tiny.toml", code=2)
    assert "its name, 'tiny', is that of the model's own run" in refused.stderr


def test_licence_and_origin_of_weights_are_traced(continued: Path) -> None:
    given = continued / "given"
    weights.save(random_model(vocab=320, context=64), given, None)
    tokenizer = continued / "runs/tiny/tokenizer/tokenizer.json"
    (given / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (continued / "more.toml").write_text(RECIPE)
    out = groundup(continued, "run", "more.toml", "--until", "pretrain")
    assert "the licence of the weights in given is not stated; set model.licence" in out.stderr
    found = lineage(continued / "runs/more/pretrain")
    assert found.weights is not None and found.weights.licence == UNSTATED
    assert {file.licence for file in found.files if "given" in file.path and file.stage == "pretrain"} == {UNSTATED}
    (given / "README.md").write_text(CARD)
    refused = groundup(continued, "run", "more.toml", "--until", "pretrain", code=2)
    assert "finished, but the recipe changed" in refused.stderr
    out = groundup(continued, "run", "more.toml", "--until", "pretrain", "--retrain")
    assert "is not stated" not in out.stderr
    found = lineage(continued / "runs/more/pretrain")
    assert found.weights is not None
    assert (found.weights.licence, found.weights.origin) == ("apache-2.0", "someone/small")
    assert {file.licence for file in found.files if file.stage == "pretrain"} == {"apache-2.0"}
    assert render(found)
    assert read_json(continued / "runs/more/pretrain/manifest.json")["part"]["model"]["licence"] == "apache-2.0"
