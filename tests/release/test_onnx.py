"""A graph for the edge finds what the engine finds, computed by onnxruntime as the judge."""

import json
from pathlib import Path

import numpy as np
import pytest

from groundup.codecs.detections import from_predictions
from groundup.codecs.patches import PatchGrid
from groundup.codecs.text import VISION_TOKENS, Tokenizer
from groundup.core.errors import InputError
from groundup.device import pick
from groundup.generate.engine import Engine
from groundup.generate.image_inputs import from_pixels
from groundup.model import cost, weights
from groundup.release.export import onnx
from groundup.release.lineage import lineage
from tests.random_models import random_model
from tests.release.release_helpers import Run

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
onnx_graph = pytest.importorskip("groundup.release.onnx_graph")

pytestmark = pytest.mark.judge

TEXTS = ["the cat sat on the mat and the dog sat by the door, then there were three of them\n"] * 50
HEIGHT, WIDTH = 16, 24  # 4 rows of 6 patches


def model(home: Path, **changes: object) -> Path:
    """A finished stage whose model has random weights and a vision encoder of 24 patches of 4 pixels."""
    run = Run(home / "runs" / "vision_engine")
    tokenizer = Tokenizer.learn(TEXTS, 256 + len(VISION_TOKENS) + 20, VISION_TOKENS)
    vision = {
        "depth": 2,
        "patch": 4,
        "patches": 24,
        "classes": ("cup", "瓶"),
        "context": 128,
        "vocab": tokenizer.size,
    } | changes
    weights.save(random_model(**vision), run.folder("instruct"), tokenizer.im_end)
    tokenizer.save(run.folder("instruct"))
    run.record("instruct", {"stage": {}}, (), flops=1.0)
    return run.folder("instruct")


@pytest.fixture(scope="module")
def vision_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("vision_engine"))


@pytest.fixture(scope="module")
def edge(vision_engine: Path) -> Path:
    """Its graph for pictures that are no square."""
    out = vision_engine.parent / "edge"
    onnx.export(vision_engine, out, f"{WIDTH}x{HEIGHT}")
    return out


@pytest.mark.slow
def test_onnxruntime_finds_what_the_engine_finds(vision_engine, edge):
    agree(vision_engine, edge)


@pytest.mark.slow
def test_onnxruntime_finds_the_rotated_boxes_that_the_engine_finds(tmp_path):
    vision_engine, out = model(tmp_path, rotated=True), tmp_path / "out"
    onnx.export(vision_engine, out, f"{WIDTH}x{HEIGHT}")
    contract = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert contract["outputs"]["values"]["shape"] == [24, 7]
    assert "turned clockwise" in contract["boxes"]["how"]
    agree(vision_engine, out)


def agree(vision_engine, edge):
    """The graph's outputs, and the detections that follow, are those of the engine."""
    engine = Engine.load(vision_engine, pick("cpu"), "fp32")
    session = onnxruntime.InferenceSession(edge / "model.onnx", providers=["CPUExecutionProvider"])
    contract = json.loads((edge / "model.json").read_text(encoding="utf-8"))
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        view = from_pixels(engine.config, pixels)
        scores, values = session.run(["scores", "values"], {"pixels": pixels})
        shares, places = engine.detector.per_patch(view)
        # Sums in another order: differences of a few units in the last place of fp32, on numbers of size one.
        np.testing.assert_allclose(scores, shares, atol=1e-5)
        np.testing.assert_allclose(values, places, atol=2e-5)
        theirs = engine.detect(view)
        ours = from_predictions(scores, values, PatchGrid(**contract["grid"]), contract["kinds"])
        assert len(ours) > 1 and [thing.class_name for thing in ours] == [thing.class_name for thing in theirs]
        np.testing.assert_allclose([thing.box for thing in ours], [thing.box for thing in theirs], atol=1e-5)
        outlines = [np.array([thing.corners or () for thing in side]) for side in (ours, theirs)]
        np.testing.assert_allclose(*outlines, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_graph_carries_its_record_and_no_more_than_it_needs(vision_engine, edge):
    assert {path.name for path in edge.iterdir()} == {"model.onnx", "model.json", "about.json", "lineage.json"}
    found = lineage(edge, verify=True).require()
    assert [stage.stage for stage in found.stages] == ["instruct", "export"] and found.model.part["grid"] == [4, 6]
    model = weights.load(vision_engine, pick("cpu").handle)
    unread = 4 * model.model.embed_tokens.weight.numel()
    graph = (edge / "model.onnx").read_bytes()
    assert len(graph) < 4 * cost.total(model.config) - unread + 60_000  # the nodes
    assert str(Path(onnx_graph.__file__).parents[1]).encode() not in graph  # no path of this machine


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="the graph's answers are off by"):
        onnx.export(model(tmp_path, depth=1), tmp_path / "out", "4x4")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_model_without_detection_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match="no detection classes"):
        onnx.export(model(tmp_path, classes=()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["96", "0x8", "8x", "8 x 8", "-4x4"])
def test_what_is_no_size_is_refused(vision_engine, tmp_path, size):
    with pytest.raises(InputError, match="write width and height in pixels"):
        onnx.export(vision_engine, tmp_path / "out", size)
