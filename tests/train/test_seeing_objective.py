"""What is learnt from images: the loss by hand, the same whatever the pieces, and that every weight learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groundup.data.batches import Batch, Batches
from groundup.data.shards import Shards
from groundup.model.attention import document_mask
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import normalised
from groundup.train.loss_module import LossModule, tensors
from groundup.train.patch_objective import PatchObjective
from tests.data.test_image_batches import CLASSES, OBJECTIVE, SIDE, shards_of, shown, text, tokenizer
from tests.train.train_helpers import CONFIG

CPU = torch.device("cpu")
OBJECTIVES = {
    "next": PatchObjective("next", 0.0, CLASSES),
    "masked": PatchObjective("masked", 0.0, CLASSES),
    "labels": OBJECTIVE,
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return shards_of(
        tmp_path_factory.mktemp("shards"), [shown(number) if number % 3 else text(number) for number in range(12)]
    )


@pytest.fixture
def learner() -> LossModule:
    config = replace(CONFIG, vocab=tokenizer().size, context=96, patch=SIDE, patches=24, classes=CLASSES)
    learner = LossModule(Transformer(config).initialise(0).train())
    torch.manual_seed(0)
    for parameter in learner.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return learner


def batch_of(shards: Shards, objective: PatchObjective) -> Batch:
    return Batches({"shown": shards}, {"shown": 1.0}, shards.rows, 1, objective.predict == "none", objective)[0]


def by_hand(learner: LossModule, batch: Batch) -> torch.Tensor:
    """The loss, one prediction after the other."""
    inputs, vision = tensors(batch, CPU), learner.model.vision
    assert vision is not None
    x = learner.model(
        inputs.ids_BT, inputs.positions_BT, document_mask(inputs.segments_BT, inputs.blocks_BT), images=inputs.images
    )
    scores = learner.model.logits(x).flatten(0, 1).log_softmax(-1)
    total = -(scores.gather(1, inputs.targets_BT.flatten()[:, None])[:, 0] * inputs.weights_BT.flatten()).sum()
    of_row = [(row, image) for row, images in enumerate(batch.images) for image in images]
    for row, image, n in [(*each, n) for each in of_row for n in range(each[1].grid.patches)]:
        state = x[row, image.position + n]
        if image.weights[n]:
            target = normalised(torch.from_numpy(image.patches[n + image.ahead])[None])[0]
            total = total + (vision.next_patch(state) - target).square().mean()
        if image.classes[n] >= 0:
            scores, values = vision.detect(state[None])
            total = total - scores.log_softmax(-1)[0, image.classes[n]]
            if image.classes[n]:
                off = (values[0] - torch.from_numpy(image.boxes[n])).abs()
                total = total + torch.where(off < 0.1, off.square() / 0.2, off - 0.05).sum()
    return total


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_that_of_each_prediction_by_hand(learner: LossModule, shards: Shards, objective: str) -> None:
    batch = batch_of(shards, OBJECTIVES[objective])
    assert learner(tensors(batch, CPU)).item() == pytest.approx(by_hand(learner, batch).item(), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pieces_of_a_batch_sum_to_its_loss(learner: LossModule, shards: Shards, objective: str) -> None:
    batch = batch_of(shards, OBJECTIVES[objective])
    parts = sum(learner(tensors(part, CPU)).item() for part in batch.micro(1))
    assert parts == pytest.approx(learner(tensors(batch, CPU)).item(), rel=1e-5)


@pytest.mark.parametrize("labels", [False, True])
def test_the_last_layer_is_computed_only_where_something_is_asked(
    learner: LossModule, tmp_path: Path, labels: bool
) -> None:
    seen = [shown(number) for number in range(6)]
    shards = shards_of(tmp_path, seen if labels else [replace(document, detections=()) for document in seen])
    inputs = tensors(batch_of(shards, OBJECTIVE), CPU)
    assert inputs.selected_BA is not None
    assert inputs.selected_BA.shape[1] < inputs.ids_BT.shape[1]
    slopes = []
    for each in (inputs, replace(inputs, selected_BA=None)):
        learner.zero_grad()
        learner(each).backward()
        slopes.append([parameter.grad.clone() for parameter in learner.parameters() if parameter.grad is not None])
    for less, all_of_it in zip(*slopes, strict=True):
        torch.testing.assert_close(less, all_of_it, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "idle"), [("next", {"detection_head"}), ("masked", {"detection_head"}), ("labels", {"next_patch"})]
)
def test_every_weight_learns_but_those_of_another_objective(
    learner: LossModule, shards: Shards, objective: str, idle: set[str]
) -> None:
    learner(tensors(batch_of(shards, OBJECTIVES[objective]), CPU)).backward()
    still = {
        name.split(".")[-2]
        for name, weight in learner.named_parameters()
        if weight.grad is None or not weight.grad.abs().max()
    }
    assert still == idle


def test_a_batch_without_an_image_gives_every_weight_a_gradient(learner: LossModule, tmp_path: Path) -> None:
    batch = batch_of(shards_of(tmp_path, [text(1), text(2)]), OBJECTIVES["next"])
    assert not any(batch.images)
    learner(tensors(batch, CPU)).backward()
    assert all(weight.grad is not None for weight in learner.parameters())
