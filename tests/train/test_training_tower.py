"""A tower that is trained along: what it learns from, in what pieces, and that what is served is what was trained."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from groundup.config.recipe import Recipe
from groundup.core.errors import InputError, Interrupted
from groundup.data.batches import Batch, Batches
from groundup.data.document import Document
from groundup.data.shards import Shards
from groundup.generate.engine import Engine
from groundup.generate.image_inputs import alone, from_bytes
from groundup.model.attention import document_mask
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.pipeline.plan import plan
from groundup.train.distributed.mesh import ProcessMesh, join
from groundup.train.loop import Trainer, TrainingConfig
from groundup.train.loss_module import LossModule, tensors
from groundup.train.patch_objective import PatchObjective
from tests.data.test_image_batches import CLASSES, OBJECTIVE, SIDE, picture, shards_of, shown, text, tokenizer
from tests.model.test_tower import SMALL, TOWER_CONFIG, random_tower, written
from tests.train.train_helpers import CONFIG, Eager, Record, logged, make_job, together, train, weights

CPU = torch.device("cpu")
OBJECTIVES = {
    "next": PatchObjective("next", 0.0, CLASSES),
    "masked": PatchObjective("masked", 0.0, CLASSES),
    "labels": OBJECTIVE,
}
VISION = {"patch": SIDE, "patches": 24, "classes": CLASSES, "tower": SMALL, "context": 96}
ALONE = Document("shown", "alone", "CC0-1.0", text="", images=(picture(1, 20, 12),))


def config() -> ModelConfig:
    return replace(CONFIG, vocab=tokenizer().size, **VISION)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def shards(place: Path) -> Shards:
    documents = [ALONE, *(shown(number) if number % 3 else text(number) for number in range(12))]
    return shards_of(place, documents)


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("outside") / "tower")


@pytest.fixture
def learner() -> LossModule:
    learner = LossModule(Transformer(config()).initialise(0).train())
    for parameter in learner.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return learner


def batch_of(shards: Shards, objective: PatchObjective) -> Batch:
    return Batches({"shown": shards}, {"shown": 1.0}, shards.rows, 1, objective.predict == "none", objective)[0]


def job_of(shards: Shards, folder: Path, tower: Path | None, data: Path, **changes: Any) -> TrainingConfig:
    batches = Batches({"shown": shards}, {"shown": 1.0}, 2, 1, False, OBJECTIVES["next"])
    own = {"vocab": tokenizer().size, **VISION}
    job = make_job(
        data, folder, batches=batches, heldout={}, steps=4, checkpoint_steps=1, batch_tokens=192, **own, **changes
    )
    return replace(job, tower=tower)  # its folder; the model's config has a tower as well


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pieces_of_a_batch_sum_to_its_loss(learner: LossModule, shards: Shards, objective: str) -> None:
    batch = batch_of(shards, OBJECTIVES[objective])
    parts = sum(learner(tensors(part, CPU)).item() for part in batch.micro(1))
    assert parts == pytest.approx(learner(tensors(batch, CPU)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "idle"), [("next", {"detection_head"}), ("masked", {"detection_head"}), ("labels", {"next_patch"})]
)
def test_every_weight_learns_but_those_of_another_objective(
    learner: LossModule, shards: Shards, objective: str, idle: set[str]
) -> None:
    learner(tensors(batch_of(shards, OBJECTIVES[objective]), CPU)).backward()
    assert {name.split(".")[-2] for name, weight in learner.named_parameters() if not weight.grad.abs().max()} == idle


def test_a_batch_without_an_image_gives_every_weight_a_gradient(learner: LossModule, tmp_path: Path) -> None:
    learner(tensors(batch_of(shards_of(tmp_path, [text(1), text(2)]), OBJECTIVES["next"]), CPU)).backward()
    assert all(weight.grad is not None for weight in learner.parameters())


@torch.no_grad()
def test_what_predicts_the_next_patch_has_not_seen_it(learner: LossModule, shards: Shards) -> None:
    """The last patch of an image is never in its beginning, so nothing of the image may move with it but itself."""
    batch = batch_of(shards, OBJECTIVES["next"])
    images = [image for row in batch.images for image in row]
    last = np.cumsum([image.grid.patches for image in images]) - 1

    def states() -> torch.Tensor:
        inputs = tensors(batch, CPU)
        return learner.model(
            inputs.ids_BT,
            inputs.positions_BT,
            document_mask(inputs.segments_BT, inputs.blocks_BT),
            images=inputs.images,
        ).flatten(0, 1)

    before = states()
    for image in images:
        image.patches[-1] = 255 - image.patches[-1]
    positions = tensors(batch, CPU).images.index_N
    moved = (states() - before).abs().amax(1)[positions]
    first_images = [number for number, place in enumerate(positions) if batch.segments.flatten()[place] == 0]
    assert {number for number in first_images if moved[number] > 1e-6} == set(last) & set(first_images)


# --- from an outside folder to what is served -------------------------------------------------------------------------


def test_training_begins_with_the_outside_weights(shards: Shards, tower: Path, data: Path, tmp_path: Path) -> None:
    model = Trainer(job_of(shards, tmp_path, tower, data), Eager("cpu"), ProcessMesh(), Record()).model
    assert all(
        torch.equal(weight, random_tower().state_dict()[name])
        for name, weight in model.vision.tower.state_dict().items()
    )


def test_a_checkpoint_with_another_tower_is_not_continued(
    shards: Shards, tower: Path, data: Path, tmp_path: Path
) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "model.safetensors").write_bytes(b"something else")
    assert job_of(shards, tmp_path, tower, data).fingerprint != job_of(shards, tmp_path, other, data).fingerprint


def test_stopped_and_continued_it_ends_with_the_same_bits_and_has_learnt(
    shards: Shards, tower: Path, data: Path, tmp_path: Path
) -> None:
    train(job_of(shards, tmp_path / "whole", tower, data))
    with pytest.raises(Interrupted):
        train(
            job_of(shards, tmp_path / "parts", tower, data),
            Record(after_step=lambda step: os.kill(os.getpid(), signal.SIGINT)),
        )
    train(job_of(shards, tmp_path / "parts", tower, data))
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    learnt, outside = load_file(tmp_path / "whole" / "model.safetensors"), random_tower().state_dict()
    assert not any(torch.equal(learnt[f"eyes.tower.{name}"], weight) for name, weight in outside.items())


def test_recomputed_it_learns_the_same(shards: Shards, tower: Path, data: Path, tmp_path: Path) -> None:
    train(job_of(shards, tmp_path / "kept", tower, data))
    train(job_of(shards, tmp_path / "recomputed", tower, data, recompute=True))
    assert weights(tmp_path / "recomputed") == weights(tmp_path / "kept")


def _peer(place: Path, folder: Path, tower: Path, data: Path) -> None:
    device = Eager("cpu")
    train(job_of(Shards.open(place / "s" / "train"), folder, tower, data), None, device, join(device))


def test_two_processes_train_it_as_one_does(
    place: Path, shards: Shards, tower: Path, data: Path, tmp_path: Path
) -> None:
    """Each of the two rows is one process's; some have no image, and all the same every process gathers the same
    weights.
    """
    train(job_of(shards, tmp_path / "one", tower, data))
    together(2, _peer, place, tmp_path / "two", tower, data)
    losses = {name: [record["loss"] for record in logged(tmp_path / name)] for name in ("one", "two")}
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)


def test_what_is_served_is_what_was_trained(shards: Shards, tower: Path, data: Path, tmp_path: Path) -> None:
    trainer = Trainer(job_of(shards, tmp_path, tower, data), Eager("cpu"), ProcessMesh(), Record())
    trainer.run()
    tokenizer().save(tmp_path)
    engine = Engine.load(tmp_path, Eager("cpu"), "fp32")
    view = from_bytes(engine.config, ALONE.images[0])
    ids, placed = alone(engine.tokenizer, view)
    inputs = tensors(batch_of(shards, OBJECTIVE), CPU)
    ((row, start),) = (inputs.ids_BT.unfold(1, len(ids), 1) == torch.tensor(ids)).all(2).nonzero().tolist()
    with torch.no_grad():
        mask = document_mask(inputs.segments_BT, inputs.blocks_BT)
        states = trainer.model.eval()(inputs.ids_BT, inputs.positions_BT, mask, images=inputs.images)[
            row, start + placed[0].position : start + placed[0].end
        ]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0)
    # fp32: the batch pads images, and kernels sum in another order
    torch.testing.assert_close(torch.tensor(engine.embed(ids, placed)), expected, rtol=0, atol=1e-5)


def recipe_of(**model: Any) -> Recipe:
    source = {"name": "scenes", "kind": "scenes", "count": 9}
    stage = {"do": "instruct", "tokens": 1000, "mix": {"scenes": 1.0}}
    return Recipe.of({"name": "seen", "source": [source], "stage": [stage], "model": model})


def test_a_tower_of_other_patches_is_refused_before_anything_runs(tower: Path) -> None:
    with pytest.raises(InputError, match=r"tower: its patches have 4 pixels, but model.patch is 16; set it to 4"):
        plan(recipe_of(vision_tower=str(tower)), Path())


def test_a_folder_without_weights_is_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = written(tmp_path / "tower", TOWER_CONFIG)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"tower: holds no model.safetensors"):
        plan(recipe_of(vision_tower=str(folder), patch=4), Path())


def test_only_the_stage_that_begins_reads_the_tower(tower: Path) -> None:
    (training,) = [stage for stage in plan(recipe_of(vision_tower=str(tower), patch=4), Path()) if stage.trains]
    assert set(training.files) == {tower / "config.json", tower / "model.safetensors"}


def test_initial_weights_bring_their_own_vision_encoder() -> None:
    with pytest.raises(ValueError, match="brings its own vision encoder"):
        recipe_of(vision_tower="tower", start="model")
