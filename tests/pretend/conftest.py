"""The pretended device lives in a process of its own: a device cannot be taken away again."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "train"))

from tests.pretend.pretend_device import begin
from tests.train.train_helpers import FORKS, prepare


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def on_pretend() -> Iterator[Callable[..., Any]]:
    """Calls a function where the device is there, and returns what it returns."""
    with ProcessPoolExecutor(1, FORKS, begin) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
