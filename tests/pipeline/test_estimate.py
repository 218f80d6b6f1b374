"""The estimate of training time: linear in tokens and layers, none for what is too large to time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groundup.config.recipe import Recipe
from groundup.device import Device
from groundup.model import weights
from groundup.pipeline import estimate
from groundup.pipeline.stages import planned_config
from tests.random_models import CONFIG, random_model

SOURCES = [{"name": "gym", "kind": "tasks", "count": 20, "families": {"copying": 1}}]


def recipe(*tokens: int, **model: Any) -> Recipe:
    common = {"do": "pretrain", "batch_tokens": 64, "mix": {"gym": 1.0}}
    stages = [common | {"name": f"s{place}", "tokens": each} for place, each in enumerate(tokens)]
    return Recipe.of({"name": "small", "source": SOURCES, "model": {"context": 64} | model, "stage": stages})


def test_time_grows_with_tokens_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {depth: estimate.Seconds(0.5 + 0.25 * depth, 2.0 * depth) for depth in (1, 2)}
    monkeypatch.setattr(estimate, "timed", lambda config, *rest: times[config.depth])
    deep = replace(CONFIG, depth=7, context=64)
    seconds = estimate.training_seconds(recipe(640, 1280), deep, Device("cpu"))
    assert seconds == pytest.approx(1920 * (0.5 + 0.25 * 7) + 30 * 2.0 * 7)


def test_layers_are_timed_on_the_device() -> None:
    seconds = estimate.training_seconds(recipe(4096), CONFIG, Device("cpu"))
    assert seconds is not None and 0 < seconds < 600


def test_what_is_too_large_to_time_has_no_estimate() -> None:
    huge = replace(CONFIG, depth=80, width=16384, ffn=65536)
    assert estimate.training_seconds(recipe(4096), huge, Device("cpu")) is None


def test_given_weights_have_their_own_shape(tmp_path: Path) -> None:
    weights.save(random_model(depth=3), tmp_path / "given", None)
    assert planned_config(recipe(64, start="given"), tmp_path) == weights.config_of(tmp_path / "given")
    assert planned_config(recipe(64, depth=5), tmp_path).depth == 5
