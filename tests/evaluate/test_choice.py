"""Multiple choice: the least surprising choice wins, and a file that cannot be used is refused by line."""

import json
from pathlib import Path

import pytest
import torch

from groundup.core.errors import InputError
from groundup.evaluate.questions import read
from groundup.evaluate.suites.choice import choices


def write(folder: Path, *lines: object) -> Path:
    path = folder / "questions.jsonl"
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines),
        encoding="utf-8",
    )
    return path


def question(
    text: str = "where?", options: tuple[str, ...] = ("on the mat", "by the door"), answer: object = 0, **more: object
) -> dict[str, object]:
    return {"question": text, "choices": list(options), "answer": answer, **more}


@torch.no_grad()
def surprise(engine, text: str, choice: str) -> float:
    """-log p of a choice, token by token, each from one forward over all that is before it."""
    asked, said = engine.tokenizer.encode(f"Question: {text}\nAnswer:"), engine.tokenizer.encode(f" {choice}")
    total = 0.0
    for place, id in enumerate(said):
        ids = torch.tensor([asked + said[:place]])[:, -engine.config.context :]
        logits = engine.model.logits(engine.model(ids, torch.arange(ids.shape[1])[None])[0, -1])
        total -= logits.log_softmax(-1)[id].item()
    return total


OPTIONS = ("by", "猫 the", "kj x", "oo")
TEXTS = [
    f"who sat {word}?" for word in ("there", "on the mat", "by the dog", "then", "on three", "by them", "door", "of")
]
LENGTHS = {"raw": lambda choice: 1, "per_byte": lambda choice: len(choice.encode()), "per character": len}


def by_length(engine, measure: str, pick=min) -> list[int]:
    """Place of the least surprising choice of each text, or of the most surprising."""
    rows = [[surprise(engine, text, choice) / LENGTHS[measure](choice) for choice in OPTIONS] for text in TEXTS]
    return [row.index(pick(row)) for row in rows]


@pytest.mark.parametrize("measure", ["raw", "per_byte"])
@pytest.mark.parametrize(("pick", "accuracy"), [(min, 1.0), (max, 0.0)])
def test_the_answer_is_the_least_surprising_choice(engine, tmp_path, measure, pick, accuracy):
    answers = by_length(engine, measure, pick)
    found = choices(
        engine, write(tmp_path, *(question(text, OPTIONS, place) for text, place in zip(TEXTS, answers, strict=True)))
    )[""]
    assert getattr(found, measure).value == accuracy


def test_the_measures_differ_on_these_questions(engine):
    best = [by_length(engine, measure) for measure in LENGTHS]
    assert best[0] != best[1] != best[2] != best[0]


def test_letters_and_places_name_the_same_choice(tmp_path):
    path = write(tmp_path, question(answer=1), question(answer="B"), question(answer=" b "))
    assert [item.answer for item in read(path)] == [1, 1, 1]


def test_subjects_are_counted_apart_and_together(engine, tmp_path):
    lines = [
        question(answer=0, subject="mats"),
        question(answer=1, subject="mats"),
        question(answer=0, subject="doors"),
        question(answer=0),
    ]
    found = choices(engine, write(tmp_path, *lines))
    assert {subject: accuracy.raw.n for subject, accuracy in found.items()} == {"": 4, "mats": 2, "doors": 1}
    assert found["mats"].raw.value == 0.5  # the same question with either answer


def test_chance_is_that_of_guessing(engine, tmp_path):
    path = write(tmp_path, question(), question(options=("a", "b", "c", "d")))
    assert choices(engine, path)[""].chance == (1 / 2 + 1 / 4) / 2


def test_a_question_too_long_loses_its_beginning_and_is_counted(engine, tmp_path):
    long = "there " * 80 + "who sat?"
    best = min(range(4), key=lambda place: surprise(engine, long, OPTIONS[place]))
    found = choices(engine, write(tmp_path, question(long, OPTIONS, best), question()))[""]
    assert found.cut == 1
    assert found.raw.value >= 0.5


def test_a_choice_longer_than_the_context_is_refused(engine, tmp_path):
    with pytest.raises(
        InputError, match=r"questions.jsonl: a choice of \d+ tokens is longer than the model's context of 64"
    ):
        choices(engine, write(tmp_path, question(options=("z" * 100, "b"))))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        (question(hint="x"), "unknown key 'hint'"),
        ({"choices": ["a", "b"], "answer": 0}, "'question' must be a text"),
        (question(text=3), "'question' must be a text, found 3"),
        (question(options=("a",)), "'choices' must be a list of two or more"),
        (question(options=("a", "")), "not empty"),
        (question(options=("a", 1)), "'choices' must be"),
        (question(answer=2), "from 0 to 1 or a letter from A to B, found 2"),
        (question(answer=-1), "found -1"),
        (question(answer=True), "found true"),
        (question(answer="C"), 'found "C"'),
        (question(answer="0"), 'found "0"'),
        ({"question": "q", "choices": ["a", "b"]}, "found null"),
        (question(subject=None), "'subject' must be a text"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(tmp_path, line, words):
    with pytest.raises(InputError, match=rf"questions.jsonl:3: .*{words}"):
        read(write(tmp_path, question(), "", line, question()))


def test_bytes_that_are_no_text_are_refused_by_line(tmp_path):
    path = write(tmp_path, question())
    path.write_bytes(path.read_bytes() + b'{"question": "\xff"}\n')
    with pytest.raises(InputError, match=r"questions.jsonl:2: not a JSON object"):
        read(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="holds no questions"):
        read(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.jsonl: cannot be read"):
        read(tmp_path / "nowhere.jsonl")


def test_lone_surrogates_are_repaired(tmp_path):
    path = tmp_path / "half.jsonl"
    path.write_text('{"question": "which \\ud800?", "choices": ["a \\udfff", "b"], "answer": 0}\n')
    (question,) = read(path)
    assert (question.text, question.choices) == ("which �?", ("a �", "b"))
    assert all(choice.encode() for choice in question.choices)
