"""What the pages of the model, generation and evaluation rooms print, runs."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.config.load import load
from groundup.config.recipe import Recipe
from groundup.device import Device
from groundup.evaluate.questions import read
from groundup.evaluate.runner import evaluate
from groundup.evaluate.suites import programs, questions
from groundup.generate.engine import Engine
from groundup.generate.sampling import Sampling
from groundup.model import weights
from groundup.model.attention import document_mask
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from tests.random_models import random_model

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {thing.__name__: thing for thing in (Engine, Sampling, ModelConfig, Transformer, document_mask, evaluate)}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def world(tmp_path: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """The names that the pages take for given."""
    folder = tmp_path / "model"
    weights.save(random_model(context=128), folder, tokenizer.im_end)
    tokenizer.save(folder)
    recipe = Recipe.of(
        {"name": "small", "source": [{"name": "gym", "kind": "tasks", "count": 1, "families": {"copying": 1}}]}
    )
    ids = torch.zeros(2, 8, dtype=torch.long)
    values = {
        "folder": folder,
        "home": tmp_path,
        "documents": {},
        "device": Device("cpu"),
        "advance": lambda done: None,
        "recipe": recipe,
    }
    return (
        NAMES
        | {"torch": torch, "weights": weights, "chat": chat}
        | values
        | {"ids": ids, "positions": ids, "segments": ids}
    )


@pytest.mark.parametrize(
    ("page", "made"), [("model.md", "logits"), ("generate.md", "answers"), ("evaluate.md", "table")]
)
def test_a_printed_program_runs(world: dict[str, Any], page: str, made: str, capsys: pytest.CaptureFixture[str]):
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), world)
    assert len(world[made])


def test_a_printed_recipe_part_is_one(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    [part] = blocks("evaluate.md", "toml")
    path.write_text('name = "small"\n[[source]]\nname = "lib"\nkind = "python-library"\n' + part, encoding="utf-8")
    assert load(path).evaluate.choice == ("questions.jsonl",)


def test_a_printed_question_is_one(tmp_path: Path):
    open_question, task, with_choices = blocks("evaluate.md", "json")
    path = tmp_path / "questions.jsonl"
    path.write_text(with_choices, encoding="utf-8")
    assert [question.answer for question in read(path)] == [0]
    path.write_text(task, encoding="utf-8")
    assert [each.function for each in programs.read(path)] == ["add"]
    path.write_text(open_question, encoding="utf-8")
    assert [question.answers for question in questions.read(path)] == [("7",)]
