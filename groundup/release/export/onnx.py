"""Export to ONNX: object detection in images of one size, as a graph that onnxruntime runs without torch."""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from groundup.codecs.patches import PatchGrid, fit
from groundup.core.errors import InputError
from groundup.core.tables import EXPORTS
from groundup.model import weights
from groundup.model.config import ModelConfig
from groundup.release.exporter import Export
from groundup.release.folder import release

GRAPH_MODULE = "groundup.release.onnx_graph"  # it needs the extra


def export(model: Path, out: Path, size: str | None = None) -> list[Path]:
    """Write the ONNX graph of a finished stage's model for images of `size`, "WxH" or default square; return the files.

    Raises InputError as `release` does, for a model without detection classes, and for an invalid size.
    """
    config = weights.config_of(model)
    if not config.classes:
        raise InputError(f"{model}: the model has no detection classes; export one that was tuned on a source of boxes")
    grid = _grid(config, size)

    def write(folder: Path) -> None:
        from groundup.release.onnx_graph import write_graph

        write_graph(model, grid, folder)

    part = {"layout": "onnx", "dtype": "fp32", "grid": list(grid)}
    return release(model, out, part, GRAPH_MODULE, write)


def _grid(config: ModelConfig, size: str | None) -> PatchGrid:
    if size is None:
        return PatchGrid(isqrt(config.patches), isqrt(config.patches))
    if not (found := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size)):
        raise InputError(f"--size {size}: no size of an image; write width and height in pixels, such as 640x480")
    return fit(int(found[1]), int(found[2]), config.patch, config.patches)


def _write(model: Path, out: Path, options: Mapping[str, str]) -> list[Path]:
    return export(model, out, options.get("size"))


_FP32 = "graphs are written in fp32, which onnxruntime computes in everywhere; leave it out"
EXPORTS.add("onnx", Export(_write, {"dtype": _FP32, "type": _FP32}, extra="edge"))
