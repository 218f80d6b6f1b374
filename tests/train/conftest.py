"""Fixtures of the training tests."""

from pathlib import Path

import pytest

from tests.train.train_helpers import prepare


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the shards that jobs read."""
    return prepare(tmp_path_factory.mktemp("data"))
