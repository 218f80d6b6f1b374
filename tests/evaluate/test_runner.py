"""The evaluation of a recipe: what its suites measure, on which data, and the JSON it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs.text import Tokenizer
from groundup.config.recipe import Recipe
from groundup.core.ledger import figures as to_json
from groundup.data.document import Document, read
from groundup.data.prepare import write_documents
from groundup.device import Device
from groundup.evaluate.exact_match import exact_match
from groundup.evaluate.runner import Evaluation, evaluate
from groundup.evaluate.suites.bits_per_byte import bits_per_byte
from groundup.evaluate.texts import sample
from groundup.generate.engine import Engine
from groundup.model import weights
from tests.random_models import random_model

SOURCES: list[dict[str, Any]] = [
    {"name": "stories", "kind": "text", "path": "*.md", "licence": "CC0-1.0", "heldout_share": 0.3},
    {"name": "talks", "kind": "messages", "path": "*.jsonl", "heldout_share": 0.3},
    {"name": "gym", "kind": "tasks", "count": 20, "families": {"copying": 1, "comparing": 1}},
]
FIGURE = {"value", "low", "high", "n"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder with a model in model/, sources, their documents in documents-*/, and questions."""
    home = tmp_path_factory.mktemp("home")
    for number in range(30):
        (home / f"{number}.md").write_text(
            f"Story {number}: the cat sat on mat {number} and the dog by door {number * 7}.\n" * (1 + number % 5)
        )
    talk = '{"messages": [{"role": "user", "content": "cat %d?"}, {"role": "assistant", "content": "dog"}]}\n'
    (home / "talks.jsonl").write_text("".join(talk % number for number in range(20)))
    (home / "questions.json").write_text('{"question": "who sat?", "choices": ["cat", "mat"], "answer": "A"}\n')
    for source in recipe().source[:2]:
        write_documents(source, home, home / f"documents-{source.name}", lambda done: None)
    weights.save(random_model(context=128), home / "model", tokenizer.im_end)
    tokenizer.save(home / "model")
    return home


def recipe(**part: Any) -> Recipe:
    return Recipe.of({"name": "small", "source": SOURCES, "model": {"precision": "fp32"}, "evaluate": part})


def run(home: Path, **part: Any) -> dict[str, Any]:
    documents = {source["name"]: home / f"documents-{source['name']}" for source in SOURCES}
    return evaluate(home / "model", recipe(**part), home, documents, Device("cpu"), lambda done: None).as_json()


@pytest.fixture
def engine(home: Path) -> Engine:
    return Engine.load(home / "model", Device("cpu"), "fp32")


def test_bits_per_byte_are_those_of_the_held_out_texts(home, engine):
    table = run(home, suites=["bits-per-byte"])["bits_per_byte"]
    texts = [document.text for document in read(home / "documents-stories/documents.parquet", heldout=True)]
    expected = bits_per_byte(engine, texts)
    assert table.keys() == {"stories"}  # conversations and tasks are no running text
    assert table["stories"]["model"]["value"] == pytest.approx(expected.value, rel=1e-5)
    assert table["stories"]["model"]["n"] == len(texts) > 3
    assert table["stories"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert table["stories"]["baselines"] == {}


def test_baselines_stand_beside_them_when_asked_for(home):
    table = run(home, suites=["bits-per-byte"], baselines=True)["bits_per_byte"]["stories"]
    assert table["baselines"].keys() == {"gzip", "gzip after training", "xz", "xz after training", "n-gram"}
    training = read(home / "documents-stories/documents.parquet", heldout=False)
    assert table["training_bytes"] == sum(len(document.text.encode()) for document in training)


def test_tasks_are_the_held_out_ones(home, engine):
    table = run(home, suites=["tasks"], per_family=4)["tasks"]["gym"]
    rows = exact_match(engine, recipe().source[2].heldout(4))
    assert table["rows"] == [to_json(row) for row in rows]
    assert [(row["family"], row["language"], row["exact_match"]["n"]) for row in table["rows"]] == [
        (family, language, 4) for family in ("copying", "comparing") for language in ("en", "zh")
    ]
    assert table["average"]["n"] == 16


def test_questions_are_found_from_the_recipes_folder(home):
    table = run(home, suites=["choice"], choice=["questions.json"])["choice"]
    assert table["questions.json"][""]["raw"]["n"] == 1
    assert table["questions.json"][""]["chance"] == 0.5


def test_prompts_are_answered(home, engine):
    table = run(home, prompts=["who sat?", "on what?"])
    assert [item["prompt"] for item in table["prompts"]] == ["who sat?", "on what?"]
    assert all(isinstance(item["answer"], str) for item in table["prompts"])


def figures(value: Any) -> list[dict[str, Any]]:
    """Every table that has a value, at any depth."""
    if isinstance(value, dict):
        return [value] if "value" in value else [figure for item in value.values() for figure in figures(item)]
    return [figure for item in value for figure in figures(item)] if isinstance(value, list) else []


def test_the_table_is_json_and_every_figure_has_its_interval_and_number(home):
    table = run(
        home,
        suites=["bits-per-byte", "tasks", "choice"],
        per_family=2,
        baselines=True,
        choice=["questions.json"],
        prompts=["who?"],
    )
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table.keys() == {
        "bits_per_byte",
        "tasks",
        "choice",
        "images",
        "questions",
        "boxes",
        "probe",
        "orders",
        "order_calibration",
        "programs",
        "conversations",
        "text_files",
        "open_questions",
        "prompts",
        "notes",
    }
    assert Evaluation.from_json(table).as_json() == table
    assert len(figures(table)) == 1 + 5 + 1 + 4 + 2
    for figure in figures(table):
        assert figure.keys() == FIGURE
        assert figure["low"] is None or figure["low"] <= figure["value"] <= figure["high"]


def test_what_could_not_be_measured_is_said(home, tmp_path):
    nowhere = {"stories": tmp_path}
    table = evaluate(
        home / "model", recipe(suites=["bits-per-byte", "choice"]), home, nowhere, Device("cpu"), lambda done: None
    ).as_json()
    assert table["bits_per_byte"] == table["choice"] == {}
    assert [note.split(";")[0].split(":")[0] for note in table["notes"]] == [
        "source 'stories' has no held-out text, so no bits per byte",
        "the suite 'choice' has nothing to measure",
    ]


def test_a_sample_is_the_same_whatever_the_order_and_just_large_enough(home):
    file = home / "documents-stories/documents.parquet"
    everything = sample(file, heldout=False, limit=1e9)
    some = sample(file, heldout=False, limit=800)
    assert some == everything[: len(some)]
    assert sum(map(len, some[:-1])) < 800 <= sum(map(len, some))
    assert set(everything) == {document.text for document in read(file, heldout=False)}
    assert isinstance(next(read(file)), Document)
