"""A small model learns the angle of drawn bars: its rotated boxes fit them, the upright boxes around these do not."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from groundup.codecs import chat
from groundup.codecs.detections import Detection
from groundup.codecs.patches import to_patches
from groundup.data.batches import Batches
from groundup.data.document import Document
from groundup.data.image_shards import ImageResolution
from groundup.data.shards import Shards, write_shards
from groundup.evaluate.average_precision import ScoredImage, average_precision
from groundup.generate.detection import Detector
from groundup.generate.image_inputs import ImageInput
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train.loss_module import LossModule, tensors
from groundup.train.patch_objective import PatchObjective
from tests.data.data_helpers import ignore, write_parquet
from tests.data.test_image_batches import tokenizer

SIDE, PIXELS, STEPS, ROWS = 8, 48, 150, 24
RESOLUTION = ImageResolution(SIDE, (PIXELS // SIDE) ** 2)


def drawn(number: int) -> Document:
    """A bright bar at any angle on a dark ground."""
    random = np.random.default_rng(number)
    turn, centre = random.uniform(0, math.pi), random.uniform(20, 28, 2)
    across = np.array([math.cos(turn), math.sin(turn)]) * random.uniform(14, 18)
    down = np.array([-math.sin(turn), math.cos(turn)]) * random.uniform(3, 4)
    corners = centre + np.array([-across - down, across - down, across + down, down - across])
    picture = Image.new("RGB", (PIXELS * 4, PIXELS * 4), (30, 30, 30))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in corners * 4], fill=(230, 200, 90))
    file = io.BytesIO()
    picture.reduce(4).save(file, "PNG")
    things = (Detection.rotated("bar", corners / PIXELS),)
    return Document(
        "bars", str(number), "CC0-1.0", messages=chat.shown(), images=(file.getvalue(),), detections=(things,)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    """A model after some steps, from documents on disk."""
    folder = tmp_path_factory.mktemp("bars")
    path = write_parquet(folder / "d.parquet", [drawn(number) for number in range(480)])
    write_shards(path, tokenizer(), 44, folder / "s", ignore, RESOLUTION)
    shards = Shards.open(folder / "s" / "train")
    objective = PatchObjective("none", 0.0, ("bar",), rotated=True)
    batches = Batches({"bars": shards}, {"bars": 1.0}, ROWS, 1, True, objective)
    config = ModelConfig(
        depth=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn=128, vocab=tokenizer().size, context=44,
        patch=SIDE, patches=RESOLUTION.budget, classes=("bar",), rotated=True,
    )  # fmt: skip
    learner = LossModule(Transformer(config).initialise(0).train())
    adam = torch.optim.AdamW(learner.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    fade = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1, step / 10) * (1 - step / STEPS) + 0.01)
    for step in range(STEPS):
        loss = learner(tensors(batches[step], torch.device("cpu"))) / (ROWS * RESOLUTION.budget)
        adam.zero_grad()
        loss.backward()
        adam.step()
        fade.step()
    return learner.model.eval()


@pytest.mark.slow
def test_rotated_boxes_fit_bars_whose_upright_boxes_do_not(model: Transformer) -> None:
    pytest.importorskip("pycocotools")
    documents = [drawn(number) for number in range(1000, 1060)]
    detector, images = Detector(model, tokenizer()), []
    for document in documents:
        grid, pixels = RESOLUTION.decode(document.images[0])
        [[found]] = detector.detect([detector.row(ImageInput.of(grid, to_patches(pixels, SIDE)))])
        images.append(ScoredImage((PIXELS, PIXELS), (document.detections or ((),))[0], found))
    upright = [
        replace(image, detections=[replace(each, corners=None) for each in image.detections]) for image in images
    ]
    rotated, bounds = average_precision(images), average_precision(upright)
    assert rotated is not None and bounds is not None
    assert rotated.ap50 > 0.8
    assert bounds.ap50 < 0.4
