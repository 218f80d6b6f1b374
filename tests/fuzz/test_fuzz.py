"""Every parser takes a changed file or refuses it in one sentence; `python -m tests.fuzz` tries for longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import served
from tests.fuzz.campaign import once
from tests.fuzz.targets import TARGETS, Target, attempt


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """The server is stopped with the last test."""
    yield
    served.stop()


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def placed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, Path]:
    """A target with its files."""
    folder = tmp_path_factory.mktemp("files")
    request.param.files(folder)
    return request.param, folder


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_changed_file_is_read_or_refused_in_one_sentence(placed: tuple[Target, Path], seed: int) -> None:
    assert once(*placed, seed) in ("read", "refused")


def test_the_files_are_read_as_they_are(placed: tuple[Target, Path]) -> None:
    """Else the other test would only see refusals."""
    assert attempt(*placed) == "read"
