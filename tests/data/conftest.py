"""Fixtures of the data tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from groundup.codecs.text import Tokenizer
from groundup.data.prepare import write_documents
from groundup.data.results import DocumentsResult
from tests.data.data_helpers import ignore


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(
        ["the cat sat on the mat and the dog sat by the door, then there were three of them\n"] * 50, 290
    )


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., DocumentsResult]:
    """Prepare a source whose paths start at tmp_path; the documents go to tmp_path/out."""
    return lambda source: write_documents(source, tmp_path, tmp_path / "out", ignore)
