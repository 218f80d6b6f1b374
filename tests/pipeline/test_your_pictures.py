"""The short ways of docs/your-own-data.md for pictures, each walked with small data: the recipe as it is printed."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from groundup.config.load import load
from groundup.config.recipe import Recipe
from groundup.core.ledger import Manifest
from groundup.pipeline.run import Options, run
from tests.data.test_idx import packed

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text(encoding="utf-8")
TINY = {"model.depth": 1, "model.width": 32, "model.head_dim": 16, "model.precision": "fp32", "seed": 3}


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling would take most of the time."""
    monkeypatch.setattr("groundup.device.Device.compiles", False)


def printed(name: str) -> str:
    """The page's recipe of a name."""
    return next(
        text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if text.startswith(f'name = "{name}"')
    )


def walk(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str], **changes: Any
) -> tuple[Recipe, dict[str, Manifest], str]:
    """Run the printed recipe in a folder, with a small model and few steps; the recipe, manifests and what is said."""
    (folder / "recipe.toml").write_text(printed(name))
    stage = {"stage.instruct.tokens": 600, "stage.instruct.batch_tokens": 300, "stage.instruct.sample_steps": 0}
    recipe = load(folder / "recipe.toml", [f"{key}={value}" for key, value in (TINY | stage | changes).items()])
    manifests = run(recipe, folder, folder / "runs", Options(device="cpu"))
    return recipe, manifests, capsys.readouterr().err


def picture(path: Path, seed: int, size: tuple[int, int] = (28, 28)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def test_folders_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, part in enumerate(("train", "val", "test")):
        for place, kind in enumerate(("seven", "eight")):
            for copy in range(3):
                picture(tmp_path / "digits" / part / kind / f"{copy}.png", 100 * number + 10 * place + copy)
    recipe, manifests, said = walk(tmp_path, "digits", capsys)
    assert (recipe.patch, recipe.model.patches, recipe.model.context) == (7, 16, 40)
    result = manifests["documents-pictures"].metrics
    assert (result["documents"], result["heldout"]) == (12, 6)
    assert "6 images of val: held out" in said
    assert "6 images of test: for the last measurement alone" in said
    assert "the text supports" in said
    assert manifests["evaluate"].metrics["images"]["pictures"]["accuracy"]["n"] == 6


def test_idx_as_mnist_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits").mkdir()
    for part, count in (("train", 6), ("t10k", 4)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        (tmp_path / "digits" / f"{part}-images-idx3-ubyte").write_bytes(packed(pixels))
        (tmp_path / "digits" / f"{part}-labels-idx1-ubyte").write_bytes(packed(np.arange(count, dtype=np.uint8) % 2))
    _, manifests, said = walk(tmp_path, "digits", capsys)
    assert "4 images of test: held out" in said
    assert manifests["evaluate"].metrics["images"]["pictures"]["accuracy"]["n"] == 4


BOX = "<object><name>cup</name><bndbox><xmin>11</xmin><ymin>5</ymin><xmax>30</xmax><ymax>16</ymax></bndbox></object>"


def coco(folder: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(folder / f"{part}2017" / "a.png", number, (64, 64))
        table = {
            "images": [{"id": "1", "file_name": "a.png"}],
            "annotations": [{"image_id": 1.0, "category_id": 2, "segmentation": [[8, 8, 40, 8, 40, 40]]}],
            "categories": [{"id": 2, "name": "cup"}],
        }
        path = folder / "annotations" / f"instances_{part}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(table))


def yolo(folder: Path) -> None:
    for number, part in enumerate(("one", "two")):
        picture(folder / "images" / part / "a.png", number, (64, 64))
        (folder / "labels" / part).mkdir(parents=True)
        (folder / "labels" / part / "a.txt").write_text("0.0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: images/one\nval: images/two\nnames: [cup]\n")


def voc(folder: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(folder / "JPEGImages" / f"{part}1.jpg", number, (64, 64))
        for path, text in (
            (f"Annotations/{part}1.xml", f"<annotation><filename>{part}1.jpg</filename>{BOX}</annotation>"),
            (f"ImageSets/Main/{part}.txt", f"{part}1\n"),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


@pytest.mark.parametrize("form", [coco, yolo, voc])
def test_boxes_of_each_form(tmp_path: Path, form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    form(tmp_path / "shelves")
    _, manifests, said = walk(tmp_path, "shelves", capsys)
    result = manifests["documents-shelves"].metrics
    assert (result["documents"], result["heldout"], result["detection_classes"]) == (2, 1, ["cup"])
    assert "1 images of val: held out" in said
    assert ("2 polygons" in said) == (form is coco)
    assert manifests["evaluate"].metrics["boxes"]
