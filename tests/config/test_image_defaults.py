"""Defaults that follow from the images: small pictures get small patches, and a context that holds one of them."""

from pathlib import Path

import pytest

from groundup.config.derived import derivations, schedules
from groundup.config.load import load, stored
from groundup.config.recipe import Recipe
from tests.data.data_helpers import encoded, save

IMAGES = """\
[[source]]
name = "digits"
kind = "images"
path = "in"
"""
STAGE = '[[stage]]\ndo = "instruct"\ntokens = 1000\nmix = { digits = 1.0 }\n'


def recipe(folder: Path, model: str = "", source: str = "") -> Recipe:
    text = f'name = "small"\n{IMAGES}{source}\n[model]\n{model}\n{STAGE}'
    (folder / "recipe.toml").write_text(text)
    return load(folder / "recipe.toml")


def shape(found: Recipe) -> tuple[int, int, int]:
    return found.patch, found.model.patches, found.model.context


def pictures(folder: Path, size: tuple[int, int]) -> None:
    for number, kind in enumerate(("7", "blue tit")):
        save(folder / "in" / kind / f"{number}.png", encoded(number, size))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((28, 28), (7, 16, 40)), ((8, 8), (2, 16, 40)), ((32, 20), (8, 16, 40)), ((64, 64), (8, 64, 88))],
)
def test_small_pictures_get_small_patches(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    pictures(tmp_path, size)
    assert shape(recipe(tmp_path)) == expected


def test_large_pictures_keep_patch_and_patches(tmp_path: Path) -> None:
    pictures(tmp_path, (320, 240))
    assert shape(recipe(tmp_path)) == (8, 196, 224)


def test_what_is_set_stays_and_the_rest_follows(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    assert shape(recipe(tmp_path, "patch = 4")) == (4, 49, 72)
    assert shape(recipe(tmp_path, "context = 300")) == (7, 16, 300)
    assert shape(recipe(tmp_path, "patches = 9")) == (7, 9, 32)


def test_with_text_beside_them_the_context_stays(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    notes = '[[source]]\nname = "notes"\nkind = "text"\npath = "notes"\n'
    assert shape(recipe(tmp_path, source=notes)) == (7, 16, 512)


def test_a_model_of_small_pictures_alone_is_narrow_unless_its_shape_is_set(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    assert recipe(tmp_path).model.dimensions()["width"] == 128
    assert recipe(tmp_path, "depth = 3").model.dimensions()["width"] == 96
    assert recipe(tmp_path, "head_dim = 64").model.dimensions()["width"] == 256
    pictures(tmp_path, (320, 240))
    assert recipe(tmp_path).model.dimensions()["width"] == 256


def test_missing_files_change_nothing(tmp_path: Path) -> None:
    assert shape(recipe(tmp_path)) == (8, 196, 512)


def test_a_damaged_picture_is_passed_over(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    save(tmp_path / "in" / "7" / "a.png", b"no image")
    assert shape(recipe(tmp_path)) == (7, 16, 40)


def test_stages_of_small_pictures_alone_turn_them_and_take_small_steps_unless_they_say(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    stage = recipe(tmp_path).stage[0]
    assert (stage.affine, stage.batch_tokens) == (0.2, 64 * 40)
    assert schedules(recipe(tmp_path))[0][0].batch_tokens == 64 * 40
    given = load(tmp_path / "recipe.toml", ["stage.instruct.affine=0", "stage.instruct.batch_tokens=320"]).stage[0]
    assert (given.affine, given.batch_tokens) == (0.0, 320)
    notes = '[[source]]\nname = "notes"\nkind = "text"\npath = "notes"\n'
    assert recipe(tmp_path, source=notes).stage[0].affine is None
    pictures(tmp_path, (64, 64))
    assert recipe(tmp_path).stage[0].affine is None


def test_patches_that_are_predicted_are_not_turned(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    recipe(tmp_path)
    assert load(tmp_path / "recipe.toml", ["stage.instruct.do=pretrain"]).stage[0].affine is None


def test_each_value_is_shown_with_its_reason_and_kept_with_the_run(tmp_path: Path) -> None:
    pictures(tmp_path, (28, 28))
    found = recipe(tmp_path, "patches = 16")
    shown = {each.key: (each.value, each.origin) for each in derivations(found) if each.key in found.reasons}
    assert shown == {
        "model.width": (128, "derived"),
        "model.head_dim": (32, "derived"),
        "model.patch": (7, "derived"),
        "model.context": (40, "derived"),
        "instruct.batch_tokens": (2560, "derived"),
        "instruct.affine": (0.2, "derived"),
    }
    assert "28" in found.reasons["model.patch"]
    assert shape(stored(found.model_dump(mode="json"))) == shape(found)
