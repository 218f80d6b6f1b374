"""The vision tower of SigLIP 2: what is read of a folder, what its features show of hidden and later patches, and what
a model with it costs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from groundup.codecs.patches import Frame, PatchGrid, frames
from groundup.core.errors import InputError
from groundup.model import cost, weights
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs
from groundup.model.vision.tower import VisionTower, VisionTowerConfig
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.memory import _held
from groundup.train.optim.optimizer import Optimizer
from tests.random_models import CONFIG, random_model
from tests.train.train_helpers import SCHEDULE

SMALL = VisionTowerConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, patch_size=4, num_patches=16
)
TOWER_CONFIG = {"model_type": "siglip2_vision_model", **asdict(SMALL)}
VISION = {"patch": 4, "patches": 24, "classes": ("cup",), "tower": SMALL}


def random_tower(config: VisionTowerConfig = SMALL, seed: int = 0) -> VisionTower:
    """A tower in which every weight matters."""
    tower = VisionTower(config).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in tower.parameters():
            weight.copy_(torch.randn(weight.shape) * (weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3))
    return tower


def patches_of(images: Sequence[Frame], seed: int = 1) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (sum(frame.patches for frame in images), 48), dtype=torch.uint8, generator=chance)


@torch.no_grad()
def features(
    tower: VisionTower, patches: torch.Tensor, images: Sequence[Frame], hidden: torch.Tensor | None = None
) -> torch.Tensor:
    return tower(patches, images, hidden, torch.float32)


def written(folder: Path, config: dict[str, Any] = TOWER_CONFIG, prefix: str = "") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {prefix + name: tensor for name, tensor in random_tower().state_dict().items()}, folder / "model.safetensors"
    )
    return folder


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_an_image_has_the_same_features_in_any_company() -> None:
    tower, images = random_tower(), (Frame(2, 3, 6), Frame(5, 1, 5), Frame(4, 6, 24))
    patches = patches_of(images)
    together = features(tower, patches, images).split([frame.patches for frame in images])
    for frame, part, found in zip(images, patches.split([frame.patches for frame in images]), together, strict=True):
        # padding takes part in sums with weight 0: only their order changes
        torch.testing.assert_close(found, features(tower, part, [frame]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("together", [0, 3, 5])
def test_a_feature_behind_the_beginning_shows_nothing_that_comes_later(together: int) -> None:
    """Else the next patch would be predicted from itself."""
    tower, images = random_tower(), (Frame(2, 4, together),)
    patches = patches_of(images)
    before = features(tower, patches, images)
    for place in range(8):
        changed = patches.clone()
        changed[place] = 255 - changed[place]
        moved = (features(tower, changed, images) - before).abs().amax(1) > 1e-6
        assert moved.tolist() == [seen >= place or max(seen, place) < together for seen in range(8)]


def test_a_hidden_patch_shows_its_place_and_no_pixel() -> None:
    tower, images = random_tower(), (Frame(2, 4, 8),)
    hidden = torch.arange(8) == 5
    patches = patches_of(images)
    changed = patches.clone()
    changed[5] = 255 - changed[5]
    assert torch.equal(features(tower, changed, images, hidden), features(tower, patches, images, hidden))


def test_frames_are_found_in_a_row_of_patches() -> None:
    images = (Frame(2, 3, 4), Frame(1, 1, 0), Frame(3, 2, 6))
    grid = torch.cat([torch.from_numpy(PatchGrid(frame.rows, frame.columns).coordinates()) for frame in images]).numpy()
    together = torch.cat([torch.arange(frame.patches) < frame.together for frame in images]).numpy()
    assert frames(grid, together) == images


# --- what is read and written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "vision_model."])
@pytest.mark.parametrize("whole", [False, True])
def test_a_tower_is_read_from_a_whole_model_and_from_its_vision_part(tmp_path: Path, prefix: str, whole: bool) -> None:
    config = {"model_type": "siglip2", "vision_config": asdict(SMALL)} if whole else TOWER_CONFIG
    folder = written(tmp_path / "model", config, prefix)
    tensors = load_file(folder / "model.safetensors")
    others = {
        "text_model.embeddings.token_embedding.weight": torch.zeros(2, 2),
        f"{prefix}head.probe": torch.zeros(1),
        "logit_scale": torch.zeros(1),
    }
    save_file(tensors | others, folder / "model.safetensors")
    tower = VisionTower(VisionTowerConfig.of(folder))
    weights.fill_tower(tower, folder)
    assert all(torch.equal(weight, tensors[prefix + name]) for name, weight in tower.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "siglip"}, "model_type is 'siglip'; only 'siglip2'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu_pytorch_tanh'"),
        ({"num_channels": 1}, "num_channels is 1; only 3"),
        ({"patch_size": [4, 4]}, r"patch_size is \[4, 4\]; expected a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_attention_heads": 5}, "hidden_size 32 does not divide into num_attention_heads 5"),
        ({"num_patches": 15}, "num_patches is 15, which is no square"),
    ],
)
def test_another_tower_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"model/config.json: {words}"):
        VisionTowerConfig.of(written(tmp_path / "model", TOWER_CONFIG | change))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json: no such file; give the folder of a SigLIP 2"):
        VisionTowerConfig.of(tmp_path)


def _lacking(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "post_layernorm.bias"}


def _misshapen(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"encoder.layers.1.mlp.fc1.bias": torch.zeros(7)}


def _unknown(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"embeddings.class_embedding": torch.zeros(7)}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lacking, "lack 1 tensors, among them post_layernorm.bias"),
        (_misshapen, r"encoder.layers.1.mlp.fc1.bias has shape \(7,\), the model has \(48,\)"),
        (_unknown, "embeddings.class_embedding has shape .* nothing of that name"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: Any, words: str) -> None:
    folder = written(tmp_path / "model")
    save_file(damage(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    with pytest.raises(InputError, match=words):
        weights.fill_tower(VisionTower(SMALL), folder)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "model")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or not a safetensors file"):
        weights.fill_tower(VisionTower(SMALL), folder)


def image_inputs(images: tuple[Frame, ...]) -> ImageInputs:
    grid = torch.cat([torch.from_numpy(PatchGrid(frame.rows, frame.columns).coordinates()) for frame in images])
    patches = patches_of(images)
    return ImageInputs(patches, torch.arange(len(patches)) + 1, grid, frames=images)


def test_a_model_with_a_tower_is_written_and_read_again(tmp_path: Path) -> None:
    model, images = random_model(**VISION), image_inputs((Frame(2, 3, 6), Frame(3, 4, 12)))
    weights.save(model, tmp_path, None)
    again = weights.load(tmp_path, torch.device("cpu"))
    assert again.config == model.config
    ids = torch.arange(30)[None]
    assert torch.equal(again(ids, ids, images=images), model(ids, ids, images=images))


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [SMALL, VisionTowerConfig(), VisionTowerConfig(1152, 4304, 27, 16)], ids=["small", "base", "so400m"]
)
def test_parameters_of_a_tower_equal_the_built_one(config: VisionTowerConfig) -> None:
    with torch.device("meta"):
        tower = VisionTower(config)
    assert config.parameters == sum(weight.numel() for weight in tower.parameters())


def test_groups_of_parameters_sum_to_the_whole_and_are_what_is_built() -> None:
    config = replace(CONFIG, **VISION)
    assert cost.total(config) == sum(weight.numel() for weight in Transformer(config).parameters())
    assert cost.parameters(config)["tower"] == SMALL.parameters


def test_flops_of_the_vision_tower_equal_those_counted() -> None:
    """Of the kernels for attention only the plain one is counted; what resizes positions, which no patch takes part in,
    is taken off.
    """
    model, images = random_model(**VISION), (Frame(4, 4, 16),) * 3
    assert model.vision is not None
    with FlopCounterMode(display=False) as resizing, torch.no_grad():
        model.vision.tower.embeddings.position_embedding(4, 4)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model.vision(image_inputs(images), torch.float32)
    assert counter.get_total_flops() - resizing.get_total_flops() == 48 * cost.image_flops(model.config, 16)


def test_weights_and_state_are_counted_exactly() -> None:
    config = replace(CONFIG, **VISION)
    model = Transformer(config).initialise(0)
    optimizer = Optimizer(model, SCHEDULE, 10, ProcessMesh())
    optimizer.prepare(0)
    tensors = [*model.parameters(), *(value for value in optimizer.state().values() if value.ndim)]
    assert _held(model, ProcessMesh()) == sum(tensor.nbytes for tensor in tensors)


def test_a_fresh_tower_has_neutral_norms_and_no_biases() -> None:
    tower = Transformer(replace(CONFIG, **VISION)).initialise(0).vision.tower
    for name, weight in tower.named_parameters():
        assert weight.isfinite().all()
        if weight.ndim == 1:
            assert (weight == name.endswith(".weight")).all()


def test_a_config_says_nothing_of_a_tower_that_is_not_there() -> None:
    plain = replace(CONFIG, patch=4, patches=24)
    assert "tower" not in weights.write_config(plain, "float32", None)["groundup"]
    for config in (plain, replace(CONFIG, **VISION)):
        assert (
            weights.read_config(json.loads(json.dumps(weights.write_config(config, "float32", None))), "config.json")
            == config
        )
