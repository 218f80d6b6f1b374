"""Evaluation on files of one's own: text, questions, and conversations that a run held out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs.text import Tokenizer
from groundup.config.evaluation import EvaluatePart
from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.device import Device
from groundup.evaluate import exact_match
from groundup.evaluate.matching import MATCHINGS
from groundup.evaluate.prompts import prompt_of, supervised_ids
from groundup.evaluate.runner import Evaluation, evaluate_files
from groundup.evaluate.suites import conversations, questions, text
from groundup.evaluate.suites.bits_per_byte import bits_per_byte
from groundup.generate.engine import Engine
from groundup.model import weights
from groundup.release.terminal import render
from tests.random_models import random_model

STORY = "the cat sat on the mat and the dog sat by the door\n" * 3


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


# --- text ----------------------------------------------------------------------------------------------------------


def test_a_text_file_has_its_bits_per_byte_and_perplexity_a_word(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text(STORY, encoding="utf-8")
    found, expected = text.of_file(engine, file), bits_per_byte(engine, [STORY])
    assert found.bits_per_byte == expected
    assert found.words == 39 and found.bytes == len(STORY)
    assert found.word_perplexity.value == pytest.approx(2 ** (expected.value * len(STORY) / 39))
    assert found.word_perplexity.low is None  # one text has no interval


def test_lines_of_json_are_texts_of_their_own(engine: Engine, tmp_path: Path) -> None:
    file = written(tmp_path / "stories.JSONL", {"text": "the cat"}, {"text": "三只猫 sat", "id": 7})
    found = text.of_file(engine, file)
    assert found.bits_per_byte == bits_per_byte(engine, ["the cat", "三只猫 sat"])
    assert found.bits_per_byte.n == 2 and found.words == 4
    assert found.word_perplexity.low < found.word_perplexity.value < found.word_perplexity.high


def test_a_script_without_spaces_gives_a_finite_number(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "zh.txt"
    file.write_text("猫坐在垫子上" * 200, encoding="utf-8")
    assert math.isfinite(text.of_file(engine, file).word_perplexity.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "holds no text"), (b" \n ", "holds no text"), (b"caf\xe9", "byte 3 is not UTF-8"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_measured_is_refused(engine: Engine, tmp_path: Path, content: Any, says: str) -> None:
    file = tmp_path / "a.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.txt: .*{says}"):
        text.of_file(engine, file)


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "answer", "expected", "right"),
    [
        ("exact", " cat\n", "cat", True),
        ("exact", "Cat", "cat", False),
        ("set", "b, a", "a,b", True),
        ("set", "红、绿", "绿，红", True),
        ("set", "a", "a, a", False),
        ("set", "a; b\nc", "c, b, a", True),
        ("numeric", "It is 1,200 euros", "1200.0", True),
        ("numeric", "3 and 4 make 7", "7", True),
        ("numeric", "7 or 8", "7", False),
        ("numeric", "-0.50", "-.5", False),
        ("numeric", "−0.50", "-0.5", True),
        ("numeric", "none", "7", False),
        ("numeric", "1e3", "1000", True),
    ],
)
def test_answers_are_compared_as_the_question_says(match: Any, answer: str, expected: str, right: bool) -> None:
    assert MATCHINGS[match](answer, expected) == right


def test_questions_count_what_the_model_answers(engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    told = iter(["seven: 7", "b, a", "cat", "dog"])
    monkeypatch.setattr(questions, "answer", lambda engine, rows, limit, advance: [next(told) for _ in rows])
    file = written(
        tmp_path / "own.jsonl",
        {"question": "3 + 4?", "answer": 7, "match": "numeric", "subject": "sums"},
        {"question": "which?", "answer": "a, b", "match": "set"},
        {"question": "who?", "answer": ["kitten", "cat"]},
        {"question": "who else?", "answer": "bird", "subject": "sums"},
    )
    found = questions.ask(engine, file)
    assert {subject: (each.right.value, each.right.n) for subject, each in found.items()} == {
        "": (0.75, 4),
        "sums": (0.5, 2),
    }
    assert [case.answer for case in found[""].mistakes] == ["dog"]


def test_a_question_is_asked_in_the_chat_template(engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    asked = []
    monkeypatch.setattr(questions, "answer", lambda engine, rows, limit, advance: asked.extend(rows) or ["x"])
    questions.ask(engine, written(tmp_path / "own.jsonl", {"question": "who?", "answer": "x"}))
    document = Document("s", "o", "CC0-1.0", messages=[{"role": "user", "content": "who?"}])
    assert asked == [prompt_of(engine, document)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "a"}, "'answer' must be"),
        ({"question": "a", "answer": []}, "'answer' must be"),
        ({"question": "a", "answer": True}, "'answer' must be"),
        ({"question": 3, "answer": "b"}, "'question' must be a text"),
        ({"question": "a", "answer": "b", "match": "fuzzy"}, "'match' must be one of 'exact', 'set', 'numeric'"),
        ({"question": "a", "answer": "b", "match": ["set"]}, "'match' must be one of"),
        ({"question": "a", "answer": "b", "match": "numeric"}, "must hold a number"),
        ({"question": "a", "answer": "b", "choices": ["b", "c"]}, "unknown key 'choices'"),
        ([1], "not a JSON object"),
    ],
)
def test_a_wrong_line_is_named(engine: Engine, tmp_path: Path, row: Any, says: str) -> None:
    file = written(tmp_path / "own.jsonl", {"question": "a", "answer": "b"}, row)
    with pytest.raises(InputError, match=rf"own\.jsonl:2: .*{says}"):
        questions.ask(engine, file)


# --- conversations -------------------------------------------------------------------------------------------------


def talk(answer: str, question: str = "who?") -> Document:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Document("talks", "1", "CC0-1.0", messages=messages)


def test_conversations_have_the_loss_of_their_last_answer(engine: Engine) -> None:
    documents = [talk("cat"), talk("the dog sat")]
    found = conversations.last_answers(engine, documents)
    total, tokens = 0.0, 0
    for document in documents:
        row = prompt_of(engine, document)
        ids = supervised_ids(engine.tokenizer, document.messages[-1]["content"])
        total -= float(engine.scorer.log_probabilities([row], [ids])[0, 0])
        tokens += len(ids)
    assert found.loss.value == pytest.approx(total / tokens, rel=1e-4)
    assert (found.loss.n, found.exact_match.n, found.cut) == (2, 2, 0)


def test_what_the_model_answers_is_an_exact_match(engine: Engine, monkeypatch: Any) -> None:
    monkeypatch.setattr(exact_match, "answer", lambda *arguments: ["cat", "cat"])
    found = conversations.last_answers(engine, [talk("cat"), talk("dog")])
    assert found.exact_match.value == 0.5
    assert [case.expected for case in found.mistakes] == ["dog"]


def test_a_conversation_longer_than_the_context_is_counted(engine: Engine) -> None:
    found = conversations.last_answers(engine, [talk("cat", "who? " * 500)])
    assert (found.loss, found.exact_match.value, found.cut) == (None, 0.0, 1)


# --- as a whole ----------------------------------------------------------------------------------------------------


def test_files_need_no_recipe_and_their_figures_display(tokenizer: Tokenizer, tmp_path: Path) -> None:
    weights.save(random_model(context=128), tmp_path / "model", tokenizer.im_end)
    tokenizer.save(tmp_path / "model")
    (tmp_path / "a.txt").write_text(STORY)
    own = written(tmp_path / "own.jsonl", {"question": "who?", "answer": "cat"})
    part = EvaluatePart(suites=("text", "questions"), text=(str(tmp_path / "a.txt"),), questions=(str(own),))
    table = evaluate_files(tmp_path / "model", part, Device("cpu"), lambda done: None).as_json()
    assert table["text_files"][str(tmp_path / "a.txt")]["words"] == 39
    assert table["open_questions"][str(own)][""]["right"]["n"] == 1
    assert table["notes"] == []
    assert Evaluation.from_json(table).as_json() == table
    assert render(Evaluation.from_json(table).display())
