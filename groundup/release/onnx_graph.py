"""The ONNX graph of object detection at one image size. Shapes: H, W pixels; N patches; K classes."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from groundup.codecs.detections import MAX_IOU, MIN_SCORE
from groundup.codecs.patches import Frame, PatchGrid
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.core.files import write_json
from groundup.generate.image_inputs import ImageInput, user_turn
from groundup.kernels.dense_attention import dense_attention
from groundup.model import weights
from groundup.model.attention import document_mask
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs

GRAPH, CONTRACT = "model.onnx", "model.json"
TOLERANCE = 1e-4  # of probabilities and box regression: another order of summation differs in the last digits of fp32
PLACE = (
    "Patch n lies in row n // columns and column n % columns. Its box, in patches, has its centre at (column + 0.5 +"
    " values[n][0], row + 0.5 + values[n][1])"
)
SUPPRESSION = (
    " For each class, every patch whose score is at least `least` proposes its box. Non-maximum suppression:"
    " of the boxes that overlap the one with the highest score by more than `overlap` (intersection over union) one"
    " detection is kept, with that score and the mean of their boxes weighted by score; and so on."
)
HOW = (
    f"{PLACE} and the width and height exp(values[n][2:4]), with the exponents clipped"
    " to -4 and 6. Left and right divided by columns, top and bottom by rows, clipped to 0 and 1, are fractions of the"
    f" image.{SUPPRESSION}"
)
HOW_ROTATED = (
    f"{PLACE} and is turned clockwise by the angle a. Let (s, e, o, c, q) = values[n][2:7]. Of the four angles"
    " atan2(q, c) / 4 + k * pi / 2, a is the one nearest to atan2(o, e) / 2, modulo pi. With"
    " r = e * cos(2 * a) + o * sin(2 * a), the side along a is exp(s + r / 2) and the other exp(s - r / 2), with the"
    " exponents clipped to -4 and 6. x of a corner divided by columns and y by rows are fractions of the image."
    f"{SUPPRESSION} The overlap is that of the rotated boxes, and the mean is taken of the values, the centres in"
    " patches, of which the kept box is computed as above."
)


class VisionPath(nn.Module):
    """Pixels [H, W, 3] to per-patch class probabilities [N, 1 + K] and box regression [N, 4 or 7], as the engine does.

    Changes the model: of the token embeddings only those of the ids before the image are kept.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, grid: PatchGrid):
        super().__init__()
        ids, (image,) = user_turn(
            tokenizer, ImageInput.of(grid, np.zeros((grid.patches, model.config.patch_values), np.uint8))
        )
        used, self.ids_1T = torch.unique(torch.tensor([ids[: image.end]]), return_inverse=True)
        model.model.embed_tokens.weight = nn.Parameter(
            model.model.embed_tokens.weight[used].detach()
        )  # other embeddings are not used
        model.attend = dense_attention  # the fused kernel has no ONNX operator
        self.model, self.grid = model, grid
        self.positions_1T = torch.arange(image.end)[None]
        blocks_1T = (self.positions_1T >= image.position).long()
        self.mask_1TT = document_mask(torch.zeros_like(blocks_1T), blocks_1T)
        self.index_N, self.grid_N2 = torch.arange(image.position, image.end), torch.from_numpy(grid.coordinates())

    def forward(self, pixels_HW3: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities [N, 1 + K] and box regression [N, 4] (rotated: [N, 7]) of uint8 pixels."""
        (rows, columns), side, vision = self.grid, self.model.config.patch, self.model.vision
        assert vision is not None, "a model that detects has a vision encoder"
        patches_NP = pixels_HW3.reshape(rows, side, columns, side, 3).transpose(1, 2).reshape(rows * columns, -1)
        image_inputs = ImageInputs(
            patches_NP, self.index_N, self.grid_N2, frames=(Frame(rows, columns, rows * columns),)
        )
        states_1TD = self.model(self.ids_1T, self.positions_1T, self.mask_1TT, images=image_inputs)
        scores_NC, values_N4 = vision.detect(states_1TD[0, self.index_N])
        return scores_NC.softmax(-1), values_N4


def write_graph(model: Path, grid: PatchGrid, folder: Path) -> None:
    """Write the graph of the model in a folder, as `write` does."""
    write(weights.load(model, torch.device("cpu")), Tokenizer.load(model), grid, folder)


def write(model: Transformer, tokenizer: Tokenizer, grid: PatchGrid, folder: Path) -> None:
    """Write GRAPH and CONTRACT. Raises InputError where onnxruntime's outputs differ from the model's."""
    path, side = VisionPath(model, tokenizer, grid).eval(), model.config.patch
    shape_hw3 = (grid.rows * side, grid.columns * side, 3)
    pixels = torch.randint(0, 256, shape_hw3, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            path, (pixels,), dynamo=True, input_names=["pixels"], output_names=["scores", "values"], verbose=False
        )
    assert program is not None, "dynamo gives a program"
    ClearMetadataAndDocStringPass()(program.model)  # a node's source lines name paths of this machine
    program.save(folder / GRAPH)
    with torch.inference_mode():
        expected = path(pixels)
    found = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"]).run(
        ["scores", "values"], {"pixels": pixels.numpy()}
    )
    off = max(float(np.abs(there - here.numpy()).max()) for there, here in zip(found, expected, strict=True))
    if not off <= TOLERANCE:
        raise InputError(
            f"the graph's answers are off by {off:.1e}, more than {TOLERANCE:.0e}; use other versions of onnxscript and"
            " onnxruntime"
        )
    write_json(folder / CONTRACT, _contract(model.config, grid, shape_hw3, off))


def _contract(config: ModelConfig, grid: PatchGrid, shape_hw3: tuple[int, int, int], off: float) -> dict[str, Any]:
    """The description (`model.json`) for a program that runs the graph."""
    return {
        "input": {
            "pixels": {
                "dtype": "uint8",
                "shape": shape_hw3,
                "is": "red, green, blue; the whole picture scaled to this size, bicubic",
            }
        },
        "outputs": {
            "scores": {
                "dtype": "float32",
                "shape": [grid.patches, 1 + len(config.classes)],
                "is": "probabilities: background, then each of the kinds",
            },
            "values": {
                "dtype": "float32",
                "shape": [grid.patches, config.box_values],
                "is": "box regression: centre offset and log extent of the box that a patch lies in"
                + (", and its orientation" if config.rotated else ""),
            },
        },
        "kinds": config.classes,
        "patch": config.patch,
        "grid": grid._asdict(),
        "boxes": {"least": MIN_SCORE, "overlap": MAX_IOU, "how": HOW_ROTATED if config.rotated else HOW},
        "largest_difference": off,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about optional packages and deprecations."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)
