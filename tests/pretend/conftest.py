"""The pretended device lives in a process of its own: a device cannot be taken away again."""

import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "train"))

from train_helpers import FORKS, prepare

from groundup import process


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data"))


def _begin() -> None:
    import torch
    from pretend_device import register

    process.settle()
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    register()


@pytest.fixture(scope="session")
def on_pretend() -> Iterator[Callable[..., Any]]:
    """Calls a function where the device is there, and returns what it returns."""
    with ProcessPoolExecutor(1, FORKS, _begin) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
