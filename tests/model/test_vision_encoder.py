"""Eyes: what a patch may look at, where it stands, and that the model's cost counts them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from groundup.codecs.patches import PatchGrid
from groundup.model import cost, weights
from groundup.model.attention import document_mask
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs, VisionEncoder, normalised, positions
from tests.random_models import random_model

GRID = PatchGrid(2, 3)
VISION = {"patch": 4, "patches": 8, "classes": ("cup", "pen")}
FIRST, LENGTH = 3, 16  # of the image's patches in the row, and of the row


def image_inputs(seed: int = 0, hidden: torch.Tensor | None = None) -> ImageInputs:
    patches = torch.randint(
        0, 256, (GRID.patches, 48), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return ImageInputs(patches, torch.arange(GRID.patches) + FIRST, torch.from_numpy(GRID.coordinates()), hidden)


@torch.no_grad()
def states(model: Transformer, images: ImageInputs, ids: torch.Tensor | None = None) -> torch.Tensor:
    ids = torch.arange(LENGTH)[None] if ids is None else ids
    blocks = torch.zeros_like(ids)
    blocks[0, FIRST : FIRST + GRID.patches] = 1
    return model(ids, torch.arange(LENGTH)[None], document_mask(torch.zeros_like(ids), blocks), images=images)[0]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model(**VISION)


def test_any_patch_moves_all_patches_and_what_follows_but_nothing_before(model: Transformer) -> None:
    before = states(model, image_inputs())
    for patch in range(GRID.patches):
        changed = image_inputs()
        changed.patches_NP[patch] = 255 - changed.patches_NP[patch]
        moved = (states(model, changed) - before).abs().amax(-1)
        assert moved[:FIRST].sum() == 0
        assert (moved[FIRST:] > 1e-5).all()


def test_the_id_under_a_patch_is_not_seen(model: Transformer) -> None:
    ids = torch.arange(LENGTH)[None].clone()
    before = states(model, image_inputs(), ids)
    ids[0, FIRST + 2] = 99
    assert torch.equal(states(model, image_inputs(), ids), before)


def test_a_hidden_patch_shows_its_place_and_no_pixel(model: Transformer) -> None:
    hidden = torch.tensor([False, True, False, False, False, False])
    before = states(model, image_inputs(0, hidden))
    changed = image_inputs(0, hidden)
    changed.patches_NP[1] = 255 - changed.patches_NP[1]
    assert torch.equal(states(model, changed), before)


def test_positions_tell_all_cells_apart() -> None:
    found = positions(torch.from_numpy(PatchGrid(40, 40).coordinates()), 48)
    assert torch.cdist(found, found).fill_diagonal_(1).min() > 0.05
    assert found.abs().max() <= 1


def test_normalised_patches_have_no_mean_and_plain_ones_no_contents() -> None:
    patches = torch.stack([torch.arange(48, dtype=torch.uint8), torch.full((48,), 200, dtype=torch.uint8)])
    found = normalised(patches)
    assert found[0].mean().abs() < 1e-6
    assert 0.7 < found[0].std() < 1.05
    assert found[1].abs().max() == 0


@pytest.mark.parametrize("classes", [(), ("cup", "pen")])
def test_groups_of_parameters_sum_to_the_whole_and_are_what_is_built(classes: tuple[str, ...]) -> None:
    config = ModelConfig(
        depth=2,
        width=32,
        heads=4,
        kv_heads=2,
        head_dim=8,
        ffn=64,
        vocab=70,
        context=64,
        patch=4,
        patches=8,
        classes=classes,
    )
    assert cost.total(config) == sum(weight.numel() for weight in Transformer(config).parameters())


def test_a_model_that_sees_is_written_and_read_again(tmp_path, model: Transformer) -> None:
    weights.save(model, tmp_path, None)
    again = weights.load(tmp_path, torch.device("cpu"))
    assert again.config == model.config
    assert torch.equal(states(again, image_inputs()), states(model, image_inputs()))


def test_a_model_without_a_vision_encoder_has_no_fields_of_one_in_its_config(model: Transformer) -> None:
    text_only = replace(model.config, patch=0, patches=0, classes=())
    assert "groundup" not in weights.write_config(text_only, "float32", None)
    assert weights.read_config(weights.write_config(text_only, "float32", None), "config.json") == text_only


@pytest.mark.parametrize(("patch", "part"), [(8, 4), (16, 4), (12, 4), (6, 6), (10, 5), (14, 7), (3, 3)])
def test_the_parts_of_a_patch_are_a_convolution_whose_steps_do_not_overlap(
    patch: int, part: int, model: Transformer
) -> None:
    config = replace(model.config, patch=patch)
    assert config.part == part
    vision = VisionEncoder(config)
    assert vision.stem is not None
    assert sum(each.numel() for each in vision.parameters()) == cost.parameters(config)["vision"]
    x = torch.randn(5, patch, patch, 3)
    kernel = vision.stem.projection.weight.view(-1, part, part, 3).permute(0, 3, 1, 2)
    wanted = F.silu(F.conv2d(x.permute(0, 3, 1, 2), kernel, stride=part)).permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(vision.stem(x.flatten(1)), wanted)
    assert wanted.shape[1] == config.seen_values == vision.embed.in_features
