"""A small tokenizer and an engine with random weights; the same with a vision encoder, and small images."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from groundup.codecs.text import VISION_TOKENS, Tokenizer
from groundup.data.document import Document
from groundup.generate.engine import Engine
from tests.random_models import random_model

TEXTS = ["the cat sat on the mat and the dog sat by the door, then there were three of them\n"] * 50


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(TEXTS, 290)


@pytest.fixture
def engine(tokenizer: Tokenizer) -> Engine:
    return Engine(random_model(), tokenizer)


@pytest.fixture(scope="session")
def vision_tokenizer() -> Tokenizer:
    return Tokenizer.learn(TEXTS, 256 + len(VISION_TOKENS) + 20, VISION_TOKENS)


@pytest.fixture(scope="session")
def vision_engine(vision_tokenizer: Tokenizer) -> Engine:
    """An engine whose model has a vision encoder and detects the classes a and b."""
    vision = {"patch": 4, "patches": 16, "classes": ("a", "b"), "context": 128, "vocab": vision_tokenizer.size}
    return Engine(random_model(**vision), vision_tokenizer)


@pytest.fixture(scope="session")
def pictured() -> Callable[..., Document]:
    """Makes a conversation about an image of noise around a colour."""

    def make(
        answer: str = "cat",
        question: str = "what?",
        seed: int = 0,
        size: tuple[int, int] = (16, 16),
        colour: tuple[int, ...] = (128,) * 3,
        **more: object,
    ) -> Document:
        noise = np.random.default_rng(seed).normal(0, 40, (size[1], size[0], 3))
        written = io.BytesIO()
        Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(written, "PNG")
        asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return Document(
            "pictures",
            str(seed),
            "CC0-1.0",
            messages=[asked, {"role": "assistant", "content": answer}],
            images=(written.getvalue(),),
            **more,
        )  # type: ignore[arg-type]

    return make
