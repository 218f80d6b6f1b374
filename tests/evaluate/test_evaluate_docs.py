"""The commands in `your-own-data.md` for own evaluation and for continuing to train a model work as printed."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundup.cli import app
from groundup.codecs.text import Tokenizer
from groundup.core.files import write_json
from groundup.model import weights
from tests.random_models import random_model

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the page has no {heading!r}"
    return found[1]


def block(text: str, language: str) -> str:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return next(content for kind, content in blocks if kind == language)


@pytest.fixture
def home(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands are given in, with a model where they expect one."""
    for folder in ("runs/mine", "runs/mine/pretrain"):
        weights.save(random_model(context=64, depth=3), tmp_path / folder, tokenizer.im_end)
        tokenizer.save(tmp_path / folder)
    write_json(tmp_path / "runs/mine/recipe.json", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> str:
    result = CliRunner().invoke(app, command.split()[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_own_evaluation(home: Path) -> None:
    text = section("Your own evaluation")
    (home / "notes").mkdir()
    (home / "notes/ideas.txt").write_text("the cat sat on the mat\n" * 5)
    (home / "exam.jsonl").write_text(block(text, "json"))
    table = json.loads(run(block(text, "").strip() + " --json"))
    assert table["text_files"]["notes/ideas.txt"]["words"] == 30
    assert table["open_questions"]["exam.jsonl"][""]["right"]["n"] == 3


def test_continuing_to_train_a_model(home: Path) -> None:
    text = section("Continuing to train a model")
    (home / "letters").mkdir()
    (home / "letters/a.txt").write_text("dear cat\n" * 500)
    (home / "more.toml").write_text(block(text, "toml"))
    [command] = re.findall(r"^groundup run .*$", text, re.MULTILINE)
    plan = json.loads(run(f"{command} --json"))
    expected = sum(weight.numel() for weight in random_model(context=64, depth=3).parameters())
    assert plan["parameters"]["total"] == expected  # of the weights, not of a model with the recipe's defaults
