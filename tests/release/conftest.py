"""Fixtures of the release tests."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.release.release_helpers import Run, evaluation, make_run


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was measured. Not to be changed."""
    return make_run(tmp_path_factory.mktemp("original"), evaluation())


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "small"))


@pytest.fixture
def begun_from(tmp_path: Path) -> Callable[[Path], Path]:
    """Make the stage of another run, whose training began with the weights in a folder; returns its folder."""

    def make(model: Path) -> Path:
        other = Run(tmp_path / "other")
        other.folder("tuned").mkdir(parents=True)
        other.record("tuned", {"stage": {}}, (), (model / "model.safetensors",), flops=1.0)
        return other.folder("tuned")

    return make


@pytest.fixture
def begun(original: Path, begun_from: Callable[[Path], Path]) -> Path:
    """A stage that began with the original's weights."""
    return begun_from(original / "instruct")
