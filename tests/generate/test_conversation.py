"""A conversation with images in the terminal: as the engine answers, and a wrong file ends nothing."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from groundup.cli import app
from groundup.codecs.text import VISION_TOKENS, Tokenizer
from groundup.core.errors import InputError
from groundup.core.files import write_json
from groundup.generate import image_inputs
from groundup.generate.conversation import Conversation
from groundup.generate.engine import Engine
from groundup.generate.sampling import GREEDY
from groundup.model import weights
from groundup.release.about import ABOUT
from tests.random_models import random_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.learn(
        ["one two three four five six seven eight nine ten " * 20],
        256 + len(VISION_TOKENS) + 20,
        VISION_TOKENS,
    )
    tokenizer.save(folder)
    weights.save(random_model(vocab=tokenizer.size, context=256, patch=4, patches=16, classes=("a", "b")), folder, None)
    return folder


@pytest.fixture(scope="module")
def engine(model):
    return Engine(weights.load(model, "cpu"), Tokenizer.load(model), cache_bytes=64 << 20)


@pytest.fixture
def images(tmp_path):
    """Two files of other colours."""
    files = [tmp_path / f"{name}.png" for name in "ab"]
    for place, file in enumerate(files):
        Image.fromarray(np.full((12, 16, 3), 60 + 120 * place, np.uint8)).save(file)
    return files


def test_each_answer_sees_the_images_before_it(engine, images):
    talk = Conversation(engine, "one", GREEDY, 6)
    talk.show(images[0])
    first = "".join(talk.answer("two"))
    talk.show(images[1])
    second = "".join(talk.answer("three"))
    assert [part["type"] for part in talk.messages[3]["content"]] == ["image", "text"]
    seen = [image_inputs.from_file(engine.config, file) for file in images]
    for pictures, messages, said in ((seen[:1], talk.messages[:2], first), (seen, talk.messages[:4], second)):
        prompt, placed = image_inputs.prompt(engine.tokenizer, messages, pictures)
        assert engine.tokenizer.decode(engine.complete([prompt], 6, images=[placed])[0]) == said
    talk.reset()
    talk.show(images[1])
    assert "".join(talk.answer("two")) != first


def test_files_that_show_nothing_are_named(engine, images, tmp_path):
    talk = Conversation(engine, None, GREEDY, 6)
    (tmp_path / "words.png").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    unread = ("missing.png", ".", "pipe.png", "/dev/zero", "a\0b", "a" * 5000)
    for name, words in (("words.png", "not an image"), *((name, "cannot be read") for name in unread)):
        with pytest.raises(InputError, match=words):
            talk.show(tmp_path / name)
    text_only = Conversation(engine, None, GREEDY, 6)
    text_only.engine = type("Blind", (), {"config": replace(engine.config, patch=0)})
    with pytest.raises(InputError, match="no vision encoder"):
        text_only.show(images[0])


def test_chat_shows_images_with_the_first_question(model, images):
    shown = [argument for file in images for argument in ("--image", str(file))]
    run = CliRunner().invoke(
        app, ["chat", str(model), *shown, "--ask", "one", "--ask", "two", "--tokens", "3", "--json"]
    )
    asked = [
        message["content"] for message in json.loads(run.stdout.strip().splitlines()[-1]) if message["role"] == "user"
    ]
    assert asked == [[{"type": "image"}, {"type": "image"}, {"type": "text", "text": "one"}], "two"]


def test_images_are_shown_within_a_conversation(model, images):
    lines = f"one\n/image {images[0]}\n/image {images[0]}.missing\none\n/reset\n/image {images[0]}\none\n/reset\none\n"
    run = CliRunner().invoke(app, ["chat", str(model), "--tokens", "4"], input=lines)
    assert run.exit_code == 0, run.output
    assert "shown with the next question" in run.stderr
    assert "cannot be read" in run.stderr
    said = [line.removeprefix("you> ") for line in run.stdout.replace("you> ", "\n").splitlines() if line]
    assert said[0] == said[3] != said[2]


def test_chat_begins_with_what_the_model_is_for(model, tmp_path):
    told = Path(shutil.copytree(model, tmp_path / "told"))
    write_json(told / ABOUT, {"name": "run", "purpose": "Counts things.", "examples": ["one two", "three"]})
    run = CliRunner().invoke(app, ["chat", str(told)], input="/exit\n")
    assert "Counts things.\nfor example:\n  one two\n  three\n" in run.stderr
    assert "for example" not in CliRunner().invoke(app, ["chat", str(model)], input="/exit\n").stderr


@pytest.mark.parametrize("line", [b"caf\xe9\n", b"one\\\n\xff\xfe\n"])
def test_questions_that_are_no_utf8_are_refused_in_one_sentence(model, line):
    run = CliRunner().invoke(app, ["chat", str(model)], input=line)
    assert isinstance(run.exception, InputError)
    assert re.match(r"standard input is not UTF-8 \(.*\); convert it", str(run.exception))
