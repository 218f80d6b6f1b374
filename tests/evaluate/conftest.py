"""A small tokenizer and an engine with random weights."""

import pytest

from groundup.codecs.text import Tokenizer
from groundup.generate.engine import Engine
from tests.random_models import random_trunk


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(["the cat sat on the mat and the dog sat by the door, then there were three of them\n"] * 50, 290)


@pytest.fixture
def engine(tokenizer: Tokenizer) -> Engine:
    return Engine(random_trunk(), tokenizer)
