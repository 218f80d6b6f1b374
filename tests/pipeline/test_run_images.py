"""Models that see, through the command line: the recipes that come along, made small, and what holds for any run."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groundup.config.recipe import Recipe
from groundup.core.files import sha256
from groundup.data.document import read
from groundup.pipeline.plan import plan
from tests.model.test_tower import SMALL, written
from tests.pipeline.test_run import RECIPES, command, environment, groundup, logged_losses

TINY = {
    "tokenizer.vocab_size": 1270,
    "model.depth": 1,
    "model.width": 32,
    "model.head_dim": 16,
    "model.patch": 16,
    "model.patches": 16,
    "model.precision": "fp32",
    "evaluate.per_family": 2,
}
SCENES = {"source.scenes.count": 80, "source.scenes.heldout_share": 0.01}


def settings(**changes: object) -> list[str]:
    return [f"--set={key}={value}" for key, value in changes.items()]


def small(*titles: str, **more: object) -> list[str]:
    """A recipe's settings, with stages of a few steps."""
    stages = {
        f"stage.{title}.{key}": value
        for title in titles
        for key, value in (("tokens", 2048), ("batch_tokens", 768), ("checkpoint_steps", 1))
    }
    return settings(**TINY | stages | more)


def photographs(folder: Path, count: int = 8) -> dict[str, list[str]]:
    """A folder of images a class, of one colour each, and their names."""
    names: dict[str, list[str]] = {"red": [], "blue": []}
    for kind, place in (("red", 0), ("blue", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 90, (48, 64, 3), dtype=np.uint8)
            pixels[:, :, place] += 150
            Image.fromarray(pixels).save(folder / kind / f"{kind}{number}.png")
            names[kind].append(f"{kind}{number}.png")
    return names


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of scenes, made small and gone through once."""
    folder = tmp_path_factory.mktemp("seen")
    groundup(folder, "run", str(RECIPES / "scenes.toml"), *small("instruct", **SCENES))
    return folder


def test_scenes_end_with_figures_and_a_report_with_pictures(seen: Path) -> None:
    result = groundup(seen, "run", str(RECIPES / "scenes.toml"), "--json", *small("instruct", **SCENES)).stdout
    figures = json.loads(result)["evaluate"]
    assert {row["family"] for row in figures["questions"]["scenes"]["rows"]} == {
        "describe",
        "count",
        "colour",
        "detect",
        "read",
        "exists",
    }
    assert 0 <= figures["boxes"]["scenes"]["ap50"]["value"] <= 1
    assert "data:image/" in (seen / "runs/scenes/report/report.html").read_text(encoding="utf-8")


def test_a_chat_is_shown_an_image(seen: Path) -> None:
    photographs(seen / "shown", 1)
    said = groundup(
        seen, "chat", "runs/scenes", "--image", "shown/red/red0.png", "--ask", "What is there?", "--tokens", "4",
        "--json"
    ).stdout  # fmt: skip
    assert json.loads(said)[-1]["role"] == "assistant"
    refused = groundup(seen, "chat", "runs/scenes", "--image", "none.png", "--ask", "What?", code=2).stderr
    assert "none.png" in refused


def test_an_exported_model_sees_as_the_one_it_came_from(seen: Path) -> None:
    groundup(seen, "export", "runs/scenes", "out")
    photographs(seen / "again", 1)
    asked = ["--image", "again/blue/blue0.png", "--ask", "What is there?", "--tokens", "8", "--json"]
    assert groundup(seen, "chat", "out", *asked).stdout == groundup(seen, "chat", "runs/scenes", *asked).stdout


def test_a_lineage_names_the_images(seen: Path) -> None:
    assert "CC0-1.0" in groundup(seen, "trace", "runs/scenes").stdout


def test_text_images_and_both_are_mixed_in_one_run(tmp_path: Path) -> None:
    more = {
        **SCENES,
        "source.library.parts": "['topics']",
        "source.tasks.count": 100,
        "evaluate.validation_megabytes": 0.001,
    }
    groundup(tmp_path, "run", str(RECIPES / "multimodal.toml"), *small("pretrain", "instruct", **more))
    figures = json.loads((tmp_path / "runs/multimodal/evaluate/manifest.json").read_text())["metrics"]
    assert all(figures[suite] for suite in ("bits_per_byte", "tasks", "questions", "boxes"))


def test_a_published_split_is_taken_as_it_is(tmp_path: Path) -> None:
    names = photographs(tmp_path / "waste")
    photographs(tmp_path / "more")
    (tmp_path / "test.txt").write_text("".join(f"{names[kind][0]} 1\n{names[kind][1]} 1\n" for kind in names))
    (tmp_path / "val.txt").write_text("".join(f"{names[kind][2]} 1\n" for kind in names))
    places = {
        "source.photographs.path": tmp_path / "waste",
        "source.photographs.heldout_files": tmp_path / "test.txt",
        "source.photographs.without_files": tmp_path / "val.txt",
        "source.pictures.path": tmp_path / "more",
    }
    groundup(tmp_path, "run", str(RECIPES / "trashnet.toml"), *small("pretrain", "instruct", **places))
    figures = json.loads((tmp_path / "runs/trashnet/evaluate/manifest.json").read_text())["metrics"]
    assert sum(map(sum, figures["images"]["photographs"]["counts"])) == 4
    tables = {
        name: tmp_path / f"runs/trashnet/documents-{name}/documents.parquet" for name in ("photographs", "pictures")
    }
    tested = {document.images for document in read(tables["photographs"], heldout=True)}
    assert tested <= {
        document.images for document in read(tables["pictures"], heldout=True)
    }  # the same pictures are in the other source


def test_the_documents_of_a_source_of_images_depend_on_those_before_it_lists_first(tmp_path: Path) -> None:
    photographs(tmp_path / "in", 1)
    (tmp_path / "test.txt").write_text("red0.png\n")
    made = {"name": "made", "kind": "tasks", "count": 1, "families": {"copying": 1}}
    sources = [{"name": name, "kind": "images", "path": "in"} for name in ("a", "b")] + [made]
    sources += [{"name": "c", "kind": "images", "path": "in", "heldout_files": "test.txt"}]
    chain = plan(Recipe.of({"name": "seen", "source": sources}), tmp_path)
    parents = {stage.name: stage.parents for stage in chain if stage.name.startswith("documents-")}
    assert [*parents.items()] == [
        ("documents-c", ()), ("documents-a", ("documents-c",)), ("documents-b", ("documents-c", "documents-a")),
        ("documents-made", ()),
    ]  # fmt: skip


def test_boxes_are_learnt_and_measured(tmp_path: Path) -> None:
    names = photographs(tmp_path / "waste", 12)
    lines = [
        {"file": f"{kind}/{name}", "boxes": [{"class": kind, "xyxy": [0.1, 0.2, 0.7, 0.9]}]}
        for kind in names
        for name in names[kind]
    ]
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    places = {
        "source.waste.path": tmp_path / "boxes.jsonl",
        "source.waste.images": tmp_path / "waste",
        "source.waste.heldout_share": 0.4,
    }
    places["source.waste.question"] = '"What lies where?"'
    groundup(tmp_path, "run", str(RECIPES / "waste-boxes.toml"), *small("instruct", **places))
    found = json.loads((tmp_path / "runs/waste-boxes/evaluate/manifest.json").read_text())["metrics"]["boxes"]["waste"]
    assert 0 <= found["ap"]["value"] <= found["ap50"]["value"] <= 1


def test_boxes_are_learnt_where_nothing_is_asked(tmp_path: Path) -> None:
    names = photographs(tmp_path / "waste", 12)
    lines = [
        {"file": f"{kind}/{name}", "boxes": [{"class": kind, "xyxy": [0.1, 0.2, 0.7, 0.9]}]}
        for kind in names
        for name in names[kind]
    ]
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    places = {
        "source.waste.path": tmp_path / "boxes.jsonl",
        "source.waste.images": tmp_path / "waste",
        "source.waste.heldout_share": 0.4,
    }
    chosen = small("instruct", **places, **{"source.waste.question": '""', "tokenizer.vocab_size": 1268})
    groundup(tmp_path, "run", str(RECIPES / "waste-boxes.toml"), *chosen)
    run = tmp_path / "runs/waste-boxes"
    documents = list(read(run / "documents-waste/documents.parquet"))
    assert all(len(document.messages or []) == 1 and document.detections for document in documents)
    assert (
        0 <= json.loads((run / "evaluate/manifest.json").read_text())["metrics"]["boxes"]["waste"]["ap"]["value"] <= 1
    )


SORTER = {
    f"source.{name}.{knob}": value
    for name in ("line", "weather")
    for knob, value in (("count", 40), ("world.pixels", 64))
}
SORTER |= {"source.orders.count": 60, "line.items": 2}


@pytest.fixture(scope="module")
def sorted_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of the sorter, made small and gone through once; what it said lies in a file."""
    pytest.importorskip("mujoco")
    folder = tmp_path_factory.mktemp("sorter")
    said = groundup(folder, "run", str(RECIPES / "sorter.toml"), *small("instruct", **SORTER)).stdout
    (folder / "said.txt").write_text(said, encoding="utf-8")
    return folder


def test_the_sorter_sees_and_understands(sorted_: Path) -> None:
    figures = json.loads((sorted_ / "runs/sorter/evaluate/manifest.json").read_text())["metrics"]
    assert figures["boxes"]["line"]["ap"]["n"] == 50
    parts = [(row["family"], row["language"]) for row in figures["orders"]["orders"]]
    assert parts == [(part, language) for part in ("heldout", "novel", "three", "many") for language in ("en", "zh")]
    assert "known structure, other words" in (sorted_ / "runs/sorter/report/report.html").read_text(encoding="utf-8")


def test_the_run_ends_with_the_line_at_work_its_figures_a_film_and_the_way_to_its_page(sorted_: Path) -> None:
    work = json.loads((sorted_ / "runs/sorter/line/manifest.json").read_text())["metrics"]
    assert [(row["setting"], row["by"]) for row in work["rows"]] == [("standard", "model"), ("standard", "oracle")]
    assert all(row["sorted"] + row["manual"] + row["passed"] >= 2 for row in work["rows"])
    with Image.open(sorted_ / "runs/sorter/line/line.webp") as film:
        assert film.is_animated
    report = (sorted_ / "runs/sorter/report/report.html").read_text(encoding="utf-8")
    assert "Sorting on the simulated line until 2 items" in report and '<img src="data:image/webp;base64,' in report
    said = (sorted_ / "said.txt").read_text(encoding="utf-8")
    sort = f"sort    groundup sort runs/sorter --sure {work['sure']} --page"
    for part in ("Sorting on the simulated line", "film    runs/sorter/line/line.webp", sort):
        assert part in said, part


def test_the_line_is_stale_by_what_it_depends_on_and_nothing_else(sorted_: Path) -> None:
    def stale(**changes: object) -> set[str]:
        asked = groundup(
            sorted_, "run", str(RECIPES / "sorter.toml"), "--dry-run", "--json", *small("instruct", **SORTER | changes)
        )
        return {name for name, reason in json.loads(asked.stdout)["stages"].items() if reason != "fresh"}

    assert stale() == set()
    assert stale(**{"line.items": 3}) == {"line", "report"}
    assert stale(**{"evaluate.per_family": 3}) == {"evaluate", "report"}


def test_killed_at_a_random_moment_a_run_with_augmented_images_ends_with_the_same_bits(tmp_path: Path) -> None:
    chosen = [
        str(RECIPES / "scenes.toml"),
        "--until",
        "instruct",
        *small("instruct", **SCENES, **{"stage.instruct.augment": 0.7}),
    ]
    groundup(tmp_path, "run", *chosen, "--runs", "whole")
    groundup(tmp_path, "run", *[part if part != "instruct" else "shards-scenes" for part in chosen])
    process = subprocess.Popen(command("run", *chosen), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    checkpoints, waited = tmp_path / "runs/scenes/instruct/checkpoints", time.monotonic() + 60
    while process.poll() is None and not list(checkpoints.glob("*step*")) and time.monotonic() < waited:
        time.sleep(0.01)
    time.sleep(random.Random(3).uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    groundup(tmp_path, "run", *chosen)
    assert sha256(tmp_path / "runs/scenes/instruct/model.safetensors") == sha256(
        tmp_path / "whole/scenes/instruct/model.safetensors"
    )


def test_two_processes_see_as_one_does(tmp_path: Path) -> None:
    chosen = [str(RECIPES / "scenes.toml"), "--until", "instruct", *small("instruct", **SCENES)]
    groundup(tmp_path, "run", *chosen, "--runs", "one")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "groundup.cli",
    ]
    subprocess.run(
        [*launcher, "run", *chosen], cwd=tmp_path, capture_output=True, text=True, env=environment(), check=True
    )
    losses = {folder: logged_losses(tmp_path / folder / "scenes/instruct/metrics.jsonl") for folder in ("one", "runs")}
    assert losses["runs"] == pytest.approx(losses["one"], rel=5e-3)


def test_a_context_that_holds_no_image_is_refused(tmp_path: Path) -> None:
    refused = groundup(tmp_path, "run", str(RECIPES / "scenes.toml"), "--set=model.context=64", code=2).stderr
    assert "an image of 64 patches and a question do not fit 64 tokens" in refused


OUTSIDE = """\
name = "outside"

[[source]]
name = "photographs"
kind = "images"
path = "photographs"
heldout_share = 0.3

[tokenizer]
vocab_size = 1270

[model]
depth = 1
width = 32
head_dim = 16
context = 96
patch = 4
patches = 24
vision_tower = "tower"

[[stage]]
do = "pretrain"
tokens = 768
batch_tokens = 384
mix = { photographs = 1.0 }

[[stage]]
do = "instruct"
tokens = 768
mix = { photographs = 1.0 }

[evaluate]
suites = ["images"]
"""


def test_an_outside_tower_is_trained_through_all_stages_and_sees_wherever_the_model_goes(tmp_path: Path) -> None:
    photographs(tmp_path / "photographs")
    written(tmp_path / "tower")
    (tmp_path / "outside.toml").write_text(OUTSIDE)
    groundup(tmp_path, "run", "outside.toml")
    groundup(tmp_path, "export", "runs/outside", "out")
    asked = ["--image", "photographs/blue/blue0.png", "--ask", "What is there?", "--tokens", "4", "--json"]
    assert groundup(tmp_path, "chat", "out", *asked).stdout == groundup(tmp_path, "chat", "runs/outside", *asked).stdout
    sizes = json.loads((tmp_path / "runs/outside/instruct/manifest.json").read_text())["metrics"]["parameters"]
    assert sizes["tower"] == SMALL.parameters
    went_in = json.loads(groundup(tmp_path, "trace", "out", "--json").stdout)["files"]
    assert {(Path(file["path"]).name, file["licence"]) for file in went_in if "tower" in file["path"]} == {
        ("config.json", "unstated"), ("model.safetensors", "unstated")
    }  # fmt: skip
