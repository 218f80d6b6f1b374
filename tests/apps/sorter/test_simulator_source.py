"""Pictures of the line as documents: what they say, which are drawn, and that processes change nothing."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groundup.apps.sorter import simulator_source as simulated
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.camera import VisibleItem
from groundup.apps.sorter.simulator.frames import frames
from groundup.apps.sorter.simulator_source import SimulatorSource
from groundup.config.recipe import Recipe
from groundup.core import extras
from groundup.core.errors import InputError
from groundup.data.clean import LEAST_HELDOUT
from groundup.data.filtered import Filtered
from groundup.pipeline.plan import plan

COUNT = 10


def source(**knobs):
    return SimulatorSource(
        **{"name": "line", "kind": "simulator", "count": COUNT, "world": SimulatorConfig(pixels=32)} | knobs
    )


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("mujoco")
    return list(source().read(Path(), Filtered()))


def test_pictures_are_those_of_the_world_with_nothing_asked(made):
    learnt = [document for document in made if not document.heldout]
    for document, (pixels, seen) in zip(
        learnt, frames(simulated.seed_of(0, False), COUNT, SimulatorConfig(pixels=32)), strict=True
    ):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(document.images[0]))), pixels)
        assert document.messages == [{"role": "user", "content": [{"type": "image"}]}]
        assert {(thing.class_name, *thing.box) for thing in document.detections[0]} <= {
            (each.kind, *(side / 32 for side in each.box)) for each in seen
        }


def test_training_and_heldout_pictures_have_no_seed_in_common(made):
    seeds = [{simulated.seed_of(chunk, heldout) for chunk in range(10_000)} for heldout in (False, True)]
    assert not seeds[0] & seeds[1]
    images = [{document.images for document in made if document.heldout == heldout} for heldout in (False, True)]
    assert not images[0] & images[1]
    assert [len(config) for config in images] == [COUNT, LEAST_HELDOUT]


def test_several_processes_draw_what_one_does(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setattr(simulated, "CHUNK", 3)
    world = SimulatorConfig(pixels=32)
    alone = [picture for chunk in range(3) for picture in simulated._draw(simulated.seed_of(chunk, True), 3, world)]
    assert list(simulated._pictures(8, True, world)) == alone[:8]


@pytest.mark.parametrize(
    ("box", "visible", "there"),
    [
        ((10, 10, 14, 12), 0.25, True),
        ((10, 10, 14, 11), 1.0, False),
        ((10, 10, 11, 14), 1.0, False),
        ((10, 10, 40, 40), 0.24, False),
    ],
)
def test_slivers_are_no_things(box, visible, there):
    assert simulated._is_labelled(VisibleItem(1, "can", box, visible)) is there


def test_without_the_extra_a_run_is_refused_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "missing", lambda: {"sorter": "missing mujoco: pip install 'groundup[sorter]'"})
    recipe = Recipe.of({"name": "small", "source": [source()]})
    with pytest.raises(InputError, match=r"groundup\[sorter\]"):
        plan(recipe, tmp_path)
