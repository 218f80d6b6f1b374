"""Siglip2VisionModel of transformers as a judge of the tower, on random weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from groundup.codecs.patches import Frame, PatchGrid, to_patches
from groundup.model.vision.tower import VisionTower, VisionTowerConfig
from groundup.model.weights import fill_tower
from tests.model.test_tower import features, patches_of

pytestmark = pytest.mark.judge
transformers = pytest.importorskip("transformers")

# fp32 through three layers: sums of about 100 terms of size 1, in another order, and positions resized by matrix
# products.
TOLERANCE = 3e-5
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": 4,
    "num_patches": 36,
}
TEXT = SIZES | {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
GRIDS = {
    "square": [PatchGrid(6, 6)],
    "wide": [PatchGrid(2, 17)],
    "tall": [PatchGrid(13, 3)],
    "one patch": [PatchGrid(1, 1)],
    "larger than learnt": [PatchGrid(9, 9)],
    "a batch with padding": [PatchGrid(3, 8), PatchGrid(7, 7), PatchGrid(1, 5), PatchGrid(3, 8)],
}


def randomised(model):
    """Every weight matters: fresh models have biases of zero and norms of one."""
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    return model.eval()


@pytest.fixture(scope="module", params=["vision part", "whole model"])
def pair(request, tmp_path_factory):
    """Their vision model, and ours loaded from the folder that it, or the whole model around it, was saved to."""
    folder = tmp_path_factory.mktemp("siglip")
    if request.param == "vision part":
        saved = theirs = randomised(transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**SIZES)))
    else:
        text = transformers.Siglip2TextConfig(
            **{key: value for key, value in TEXT.items() if key not in ("patch_size", "num_patches")}
        )
        config = transformers.Siglip2Config(vision_config=SIZES, text_config=text.to_dict())
        saved = randomised(transformers.Siglip2Model(config))
        theirs = saved.vision_model
    saved.save_pretrained(folder)
    ours = VisionTower(VisionTowerConfig.of(folder)).eval()
    fill_tower(ours, folder)
    return theirs, ours


@pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS.keys())
def test_features_equal_theirs(pair, grids: list[PatchGrid]):
    theirs, ours = pair
    images = [Frame(*grid, grid.patches) for grid in grids]
    patches = patches_of(images)
    parts = patches.split([grid.patches for grid in grids])
    values = torch.nn.utils.rnn.pad_sequence([part / 127.5 - 1 for part in parts], batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones(len(part), dtype=torch.long) for part in parts], batch_first=True
    )
    with torch.no_grad():
        expected = theirs(
            pixel_values=values, pixel_attention_mask=mask, spatial_shapes=torch.tensor(grids)
        ).last_hidden_state
    torch.testing.assert_close(features(ours, patches, images), expected[mask.bool()], rtol=0, atol=TOLERANCE)


def test_their_processor_makes_the_patches_that_we_make():
    """Of an image that needs no scaling: values and their order within a patch."""
    processor = pytest.importorskip(
        "transformers.models.siglip2.image_processing_pil_siglip2"
    ).Siglip2ImageProcessorPil(patch_size=4, max_num_patches=15)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    made = processor(images=Image.fromarray(pixels), return_tensors="pt")
    assert made["spatial_shapes"].tolist() == [[3, 5]]
    ours = torch.from_numpy(to_patches(pixels, 4)).float()
    torch.testing.assert_close(made["pixel_values"][0], (ours - 127.5) / 127.5, rtol=0, atol=1e-6)
