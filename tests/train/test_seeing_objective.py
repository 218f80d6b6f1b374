"""What is learnt from images: the loss by hand, the same whatever the pieces, and that every weight learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groundup.data.batches import Batch, Batches
from groundup.data.shards import Shards
from groundup.data.views import ImageObjective
from groundup.model.attention import document_mask
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import normalised
from groundup.train.objectives.packed import LossModule, tensors
from tests.data.test_views import KINDS, LESSON, SIDE, shards_of, shown, text, tokenizer
from tests.train.train_helpers import CONFIG

CPU = torch.device("cpu")
LESSONS = {"next": ImageObjective("next", 0.0, KINDS), "masked": ImageObjective("masked", 0.0, KINDS), "labels": LESSON}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return shards_of(
        tmp_path_factory.mktemp("shards"), [shown(number) if number % 3 else text(number) for number in range(12)]
    )


@pytest.fixture
def learner() -> LossModule:
    config = replace(CONFIG, vocab=tokenizer().size, context=96, patch=SIDE, patches=24, classes=KINDS)
    learner = LossModule(Transformer(config).initialise(0).train())
    torch.manual_seed(0)
    for parameter in learner.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return learner


def batch_of(shards: Shards, lesson: ImageObjective) -> Batch:
    return Batches({"shown": shards}, {"shown": 1.0}, shards.rows, 1, lesson.predict == "none", lesson)[0]


def by_hand(learner: LossModule, batch: Batch) -> torch.Tensor:
    """The loss, one prediction after the other."""
    inputs, views, vision = tensors(batch, CPU), batch.views, learner.model.vision
    assert views is not None
    assert vision is not None
    x = learner.model(
        inputs.ids_BT, inputs.positions_BT, document_mask(inputs.segments_BT, inputs.blocks_BT), images=inputs.images
    )
    scores = learner.model.logits(x).flatten(0, 1).log_softmax(-1)
    total = -(scores.gather(1, inputs.targets_BT.flatten()[:, None])[:, 0] * inputs.weights_BT.flatten()).sum()
    x = x.flatten(0, 1)
    for n, place in enumerate(views.places):
        if views.weights[n]:
            wanted = normalised(torch.from_numpy(views.patches[n + views.ahead])[None])[0]
            total = total + (vision.next_patch(x[place]) - wanted).square().mean()
        if views.labels[n] >= 0:
            found, values = vision.detect(x[place][None])
            total = total - found.log_softmax(-1)[0, views.labels[n]]
            if views.labels[n]:
                off = (values[0] - torch.from_numpy(views.values[n])).abs()
                total = total + torch.where(off < 0.1, off.square() / 0.2, off - 0.05).sum()
    return total


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_loss_is_that_of_each_prediction_by_hand(learner: LossModule, shards: Shards, lesson: str) -> None:
    batch = batch_of(shards, LESSONS[lesson])
    assert learner(tensors(batch, CPU)).item() == pytest.approx(by_hand(learner, batch).item(), rel=1e-5)


@pytest.mark.parametrize("lesson", LESSONS)
def test_pieces_of_a_batch_sum_to_its_loss(learner: LossModule, shards: Shards, lesson: str) -> None:
    batch = batch_of(shards, LESSONS[lesson])
    parts = sum(learner(tensors(part, CPU)).item() for part in batch.micro(1))
    assert parts == pytest.approx(learner(tensors(batch, CPU)).item(), rel=1e-5)


@pytest.mark.parametrize("labels", [False, True])
def test_the_last_layer_is_computed_only_where_something_is_asked(
    learner: LossModule, tmp_path: Path, labels: bool
) -> None:
    seen = [shown(number) for number in range(6)]
    shards = shards_of(tmp_path, seen if labels else [replace(document, things=()) for document in seen])
    inputs = tensors(batch_of(shards, LESSON), CPU)
    assert inputs.selected_BA is not None
    assert inputs.selected_BA.shape[1] < inputs.ids_BT.shape[1]
    slopes = []
    for each in (inputs, replace(inputs, selected_BA=None)):
        learner.zero_grad()
        learner(each).backward()
        slopes.append([parameter.grad.clone() for parameter in learner.parameters() if parameter.grad is not None])
    for less, all_of_it in zip(*slopes, strict=True):
        torch.testing.assert_close(less, all_of_it, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("lesson", "idle"), [("next", {"labels"}), ("masked", {"labels"}), ("labels", {"next"})])
def test_every_weight_learns_but_those_of_another_lesson(
    learner: LossModule, shards: Shards, lesson: str, idle: set[str]
) -> None:
    learner(tensors(batch_of(shards, LESSONS[lesson]), CPU)).backward()
    still = {
        name.split(".")[-2]
        for name, weight in learner.named_parameters()
        if weight.grad is None or not weight.grad.abs().max()
    }
    assert still == idle


def test_a_batch_without_an_image_gives_every_weight_a_gradient(learner: LossModule, tmp_path: Path) -> None:
    batch = batch_of(shards_of(tmp_path, [text(1), text(2)]), LESSONS["next"])
    assert batch.views is None
    learner(tensors(batch, CPU)).backward()
    assert all(weight.grad is not None for weight in learner.parameters())
