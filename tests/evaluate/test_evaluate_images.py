"""Classes, answers and the probe; and the suites of a recipe with images."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from groundup.config.recipe import Recipe
from groundup.core.ledger import figures as to_json
from groundup.core.ledger import result_of
from groundup.data.document import SCHEMA
from groundup.device import Device
from groundup.evaluate import classification, exact_match
from groundup.evaluate.attentive_probe import probe
from groundup.evaluate.classification import Classification, classify
from groundup.evaluate.runner import Evaluation, evaluate
from groundup.evaluate.suites.images import ask
from groundup.evaluate.texts import answers, conversations
from groundup.generate.scoring import Scorer
from groundup.model import weights

CLASSES = ["cat", "dog", "mat"]


@pytest.fixture
def zoo(pictured):
    return [pictured(CLASSES[seed % 3 and 1], seed=seed) for seed in range(9)]  # cats and dogs, no mat


def test_the_confusions_sum_to_the_cases(vision_engine, zoo):
    done: list[int] = []
    found = classify(vision_engine, zoo, CLASSES, done.append)
    assert [sum(row) for row in found.counts] == [3, 6, 0]
    assert sum(map(sum, found.counts)) == found.accuracy.n == sum(done) == 9
    assert found.accuracy.value == sum(found.counts[place][place] for place in range(3)) / 9
    assert found.recall.keys() == {"cat", "dog"} and found.recall["dog"].n == 6
    assert found.commonest == 6 / 9
    assert len(found.worst) == 9 - sum(found.counts[place][place] for place in range(3))
    table = to_json(found)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert result_of(Classification, table) == found


def test_the_likeliest_class_is_said_and_the_surest_mistakes_come_first(vision_engine, zoo, monkeypatch):
    sure = [
        torch.tensor([float(number), 9.0, 0.0]) for number in range(9)
    ]  # always the dog, of the cats the first the most surely
    monkeypatch.setattr(Scorer, "log_probabilities", lambda self, rows, continuations: torch.stack(sure))
    monkeypatch.setattr(classification, "WORST", 2)
    found = classify(vision_engine, zoo, CLASSES)
    assert found.counts == [[0, 3, 0], [0, 6, 0], [0, 0, 0]]
    assert (found.accuracy.value, found.recall["cat"].value, found.recall["dog"].value) == (6 / 9, 0, 1)
    worst = found.worst
    assert [(each.truth, each.predicted) for each in worst] == [("cat", "dog")] * 2
    assert worst[0].probability == pytest.approx(float(sure[0].softmax(0)[1]))
    assert worst[0].probability > worst[1].probability
    assert worst[0].image.startswith("data:image/jpeg;base64,") and worst[0].attention.startswith(
        "data:image/png;base64,"
    )


def test_without_images_there_is_no_accuracy(vision_engine):
    assert classify(vision_engine, [], CLASSES) is None


def test_answers_are_matched_exactly_by_family(vision_engine, pictured, monkeypatch):
    labels = {"family": "count", "language": "en", "level": 1}
    documents = [pictured(str(number), f"{number}?", number, labels=labels) for number in range(3)] + [pictured("x")]
    said = iter([["0", " 1\n", "7"], ["y"]])
    monkeypatch.setattr(exact_match, "answer", lambda engine, rows, limit, advance: next(said))
    rows = [to_json(each) for each in ask(vision_engine, documents, "talks")]
    assert [(row["family"], row["language"], row["exact_match"]["n"]) for row in rows] == [
        ("count", "en", 3),
        ("talks", "any", 1),
    ]
    assert rows[0]["exact_match"]["value"] == 2 / 3
    assert rows[0]["mistakes"] == [{"question": "2?", "expected": "2", "answer": "7"}]
    assert rows[0]["boxes"] is None


def test_boxes_of_an_answer_are_measured_as_boxes(vision_engine, pictured, monkeypatch):
    right = "a<loc0><loc0><loc500><loc500>; b<loc500><loc500><loc999><loc999>"
    near = "b<loc510><loc500><loc999><loc990>"
    monkeypatch.setattr(exact_match, "answer", lambda engine, rows, limit, advance: [right, near])
    (row,) = ask(vision_engine, [pictured(right), pictured(right, seed=1)], "talks")
    assert row.exact_match.value == 0.5
    assert (row.boxes.precision.value, row.boxes.recall.value, row.boxes.f1.value) == pytest.approx((1, 3 / 4, 6 / 7))


def test_an_answer_may_be_longer_than_the_longest_right_one(vision_engine, pictured, monkeypatch):
    limits: list[int] = []
    monkeypatch.setattr(
        exact_match, "answer", lambda engine, rows, limit, advance: limits.append(limit) or [""] * len(rows)
    )
    ask(vision_engine, [pictured("a<loc0><loc0><loc500><loc500>")], "talks")
    assert limits == [1 + 4 + 1 + 8]  # the kind, four locations, the end, and what is spare


def test_the_probe_tells_plainly_different_images_apart(vision_engine, pictured):
    def part(start: int, count: int):
        return [
            pictured(CLASSES[seed % 2], seed=seed, colour=(200, 60, 60) if seed % 2 else (60, 60, 200))
            for seed in range(start, start + count)
        ]

    found = probe(vision_engine, part(0, 80), part(1000, 40), CLASSES[:2])
    assert found.n == 40 and found.value > 0.9
    assert probe(vision_engine, part(0, 80), part(1000, 40), CLASSES[:2]) == found  # its chances follow from a seed
    assert probe(vision_engine, [], part(0, 2), CLASSES[:2]) is None


# --- the suites of a recipe -------------------------------------------------------------------------------------------

SOURCES = [
    {"name": "zoo", "kind": "images", "path": "zoo"},
    {"name": "streets", "kind": "boxes", "path": "streets.jsonl"},
    {"name": "scenes", "kind": "scenes", "count": 10, "pixels": 16, "things": 1},
    {"name": "talks", "kind": "messages", "path": "talks.jsonl"},
]


def written(folder, documents):
    folder.mkdir()
    pq.write_table(
        pa.Table.from_pylist([document.row() for document in documents], SCHEMA), folder / "documents.parquet"
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory, vision_engine, pictured):
    """A folder with a model that sees, and documents of images."""
    home = tmp_path_factory.mktemp("home")
    weights.save(vision_engine.model, home / "model", vision_engine.tokenizer.im_end)
    vision_engine.tokenizer.save(home / "model")
    zoo = [pictured(CLASSES[seed % 3], seed=seed, heldout=seed % 2 == 1) for seed in range(12)]
    written(home / "zoo", zoo)
    things = tuple(SimpleNamespace(class_name=kind, box=(0.0, 0.0, 0.5, 0.5), corners=None) for kind in "ab")
    written(home / "streets", [pictured("nothing", seed=seed, heldout=True, detections=(things,)) for seed in range(3)])
    blind = replace(
        zoo[1],
        images=(),
        messages=[{"role": "user", "content": '"type": "image"'}, {"role": "assistant", "content": "mat"}],
    )
    written(home / "talks", [pictured("three", seed=99, heldout=True), blind])
    return home


def run(home, documents, **part):
    recipe = Recipe.of({"name": "small", "source": SOURCES, "model": {"precision": "fp32"}, "evaluate": part})
    return evaluate(
        home / "model", recipe, home, {name: home / name for name in documents}, Device("cpu"), lambda done: None
    ).as_json()


def test_the_suites_measure_every_source_that_shows_images(home):
    pytest.importorskip("pycocotools")
    table = run(home, ("zoo", "streets", "talks"), suites=["images", "boxes", "probe"], per_family=1)
    assert {name: sorted(table[name]) for name in ("images", "questions", "boxes", "probe")} == {
        "images": ["zoo"],
        "questions": ["scenes", "talks"],
        "boxes": ["scenes", "streets"],
        "probe": ["zoo"],
    }
    assert table["images"]["zoo"]["accuracy"]["n"] == table["probe"]["zoo"]["n"] == 6
    assert table["questions"]["talks"]["average"]["n"] == 1  # the other conversation shows nothing
    assert len(table["questions"]["scenes"]["rows"]) == 6
    assert table["boxes"]["streets"]["recall"]["n"] == 6
    assert table["notes"] == []
    assert Evaluation.from_json(table).as_json() == table
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_what_is_not_there_is_said(home):
    recipe = {
        "name": "small",
        "source": SOURCES[:1],
        "model": {"precision": "fp32"},
        "evaluate": {"suites": ["images", "boxes", "probe"]},
    }
    table = evaluate(home / "model", Recipe.of(recipe), home, {}, Device("cpu"), lambda done: None).as_json()
    assert [note.split(":")[0] for note in table["notes"]] == [
        "the suite 'images' has nothing to measure",
        "the suite 'boxes' has nothing to measure",
        "the suite 'probe' has nothing to measure",
    ]


def test_few_conversations_are_those_of_the_lowest_digests(home):
    file = home / "zoo/documents.parquet"
    everything = list(conversations(file, True, 100, images=True))
    assert len(everything) == 6
    few = {document.digest for document in conversations(file, True, 2, images=True)}
    assert few == set(sorted(document.digest for document in everything)[:2])
    assert answers(file) == CLASSES
