"""A small tokenizer of real and mixed text, and the same file in Hugging Face tokenizers."""

import json
import textwrap
from pathlib import Path

import pytest
import tokenizers

from groundup.codecs.text import Tokenizer
from tests.codecs.codec_helpers import CHINESE


@pytest.fixture(scope="session")
def library_texts() -> list[str]:
    return [
        Path(module.__file__).read_text(encoding="utf-8") for module in (json.decoder, json.encoder, textwrap, pytest)
    ]


@pytest.fixture(scope="session")
def tokenizer(library_texts: list[str]) -> Tokenizer:
    return Tokenizer.learn([*library_texts, CHINESE * 20, "aaaa baaa aab " * 50], 1500)


@pytest.fixture(scope="session")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def peer(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
