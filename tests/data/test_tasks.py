"""Tasks: their answers against independent computations, held-out instances against training ones."""

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from groundup.core.errors import InputError
from groundup.data.sources.tasks import TasksSource, is_heldout
from groundup.data.tasks import FAMILIES, Language
from groundup.data.tasks.table import markdown
from groundup.data.tasks.vocabulary import PEOPLE, THINGS, WORDS
from tests.data.task_oracles import ORACLES

LANGUAGES: tuple[Language, ...] = ("en", "zh")
EVERY_LEVEL = [(name, level, language) for name in FAMILIES for level in range(1, 6) for language in LANGUAGES]


def source(**knobs):
    """A source of all families at level 1, unless told otherwise."""
    given = {"name": "drills", "kind": "tasks", "count": 300, "families": dict.fromkeys(FAMILIES, 1)} | knobs
    return TasksSource(**given)


def draw(name, level, language, count, seed=1):
    """Instances of one family."""
    rng = Random(seed)
    return [FAMILIES[name].make(rng, level, language) for _ in range(count)]


def questions(documents):
    return [document.messages[0]["content"] for document in documents]


# --- the instances -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "level", "language"), EVERY_LEVEL)
def test_answer_is_right(name, level, language):
    for task in draw(name, level, language, 50):
        assert ORACLES[name](task.question, language) == task.answer, task.question


@pytest.mark.parametrize(("name", "level", "language"), EVERY_LEVEL)
def test_answer_is_canonical(name, level, language):
    for task in draw(name, level, language, 20):
        assert task.answer == task.answer.strip() != ""
        assert "\n" not in task.answer
        assert "{" not in task.question


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"spelling"}))
def test_both_languages_tell_the_same_instance(name):
    for level in range(1, 6):
        for seed in range(30):
            english, chinese = (FAMILIES[name].make(Random(seed), level, language) for language in LANGUAGES)
            assert english.payload == chinese.payload


@pytest.mark.parametrize("name", FAMILIES)
def test_level_1_is_large_enough_to_hold_instances_out(name):
    for language in LANGUAGES:
        payloads = {task.payload for task in draw(name, 1, language, 5000)}
        assert len(payloads) >= 300
        assert sum(is_heldout(name, payload, 0.1) for payload in payloads) >= 30


@pytest.mark.parametrize("name", FAMILIES)
def test_higher_levels_have_larger_spaces(name):
    sizes = [len({task.payload for task in draw(name, level, "en", 2000)}) for level in range(1, 6)]
    for lower, higher in pairwise(sizes):
        assert higher >= 0.99 * lower  # 1 %: two large spaces differ by chance in how often a draw repeats


@pytest.mark.parametrize("name", FAMILIES)
def test_several_wordings(name):
    for language in LANGUAGES:
        wordings = {
            re.sub(r"[A-Z]{2,}|\d+", "_", task.question.splitlines()[-1 if name == "lookup" else 0])
            for task in draw(name, 1, language, 200)
        }
        assert len(wordings) >= 3


def test_words_are_told_apart_in_both_languages():
    for words in (THINGS, PEOPLE):
        assert len(set(words.values())) == len(words)
    for words in WORDS.values():
        assert len(set(words)) == len(words)


# --- training and held-out documents -----------------------------------------------------------------------


def test_training_and_heldout_share_no_instance():
    levels = [source(count=9000, families=dict.fromkeys(FAMILIES, level)) for level in (1, 3)]
    trained = {question for each in levels for question in questions(each.training())}
    held = {question for each in levels for question in questions(each.heldout(40))}
    assert not trained & held


def test_a_payload_is_held_out_in_every_language_and_level():
    """The decision reads family and payload alone, so one instance cannot be on both sides."""
    each = source(count=4000, families={"arithmetic": 1})
    trained = {expression(question) for question in questions(each.training())}
    held = {expression(question) for question in questions(each.heldout(1000))}
    assert trained and held and not trained & held


def expression(question):
    return "".join(character for character in question if character in "0123456789+-×÷()")


def test_heldout_share_is_met():
    payloads = {task.payload for task in draw("lookup", 1, "en", 5000)}
    share = sum(is_heldout("lookup", payload, 0.1) for payload in payloads) / len(payloads)
    assert 0.08 < share < 0.12  # five standard deviations of a fair draw


def test_training_makes_exactly_the_count_evenly():
    documents = list(source(count=1000).training())
    lanes = Counter((document.labels["family"], document.labels["language"]) for document in documents)
    assert len(documents) == 1000
    assert len(lanes) == len(FAMILIES) * 2
    assert max(lanes.values()) - min(lanes.values()) <= 1
    assert len({document.labels["family"] for document in documents[: len(lanes)]}) == len(FAMILIES)


def test_documents_say_what_they_are():
    document = next(source(families={"sorting": 2}, languages=["zh"]).training())
    assert document.origin == "tasks/sorting/zh/level-2/0"
    assert document.labels == {"family": "sorting", "language": "zh", "level": 2}
    assert [message["role"] for message in document.messages] == ["user", "assistant"]
    assert (document.source, document.licence, document.heldout) == ("drills", "CC0-1.0", False)


def test_training_depends_on_the_seed_alone():
    one, same, other = (list(source(seed=seed).training()) for seed in (1, 1, 2))
    assert one == same
    assert one != other


PRINT_QUESTIONS = """
from groundup.data.tasks import FAMILIES
from groundup.data.sources.tasks import TasksSource
source = TasksSource(name="drills", kind="tasks", count=300, families=dict.fromkeys(FAMILIES, 1))
print([document.messages[0]["content"] for document in source.training()])
"""


def test_training_is_the_same_in_every_process():
    """Python salts its own hashes anew in every process."""
    command = [sys.executable, "-c", PRINT_QUESTIONS]
    salted = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True)
        for salt in "12"
    ]
    assert salted[0].stdout == salted[1].stdout == f"{questions(source().training())}\n"


def test_questions_are_distinct():
    asked = questions(source(count=6000).training())
    assert len(set(asked)) == len(asked)


def test_an_exhausted_space_comes_round_again():
    """Level 1 of sequences has 600 instances in three wordings: every question comes once before any comes again."""
    asked = questions(source(count=4000, families={"sequence": 1}, languages=["en"]).training())
    times = Counter(asked).values()
    assert 300 < len(times) < 2000
    assert max(times) - min(times) <= 1


def test_heldout_is_distinct_and_deterministic():
    held = source(count=1).heldout(20)
    assert held == source(count=999, seed=5).heldout(20)
    assert len(set(questions(held))) == len(held) == len(FAMILIES) * 2 * 20
    assert all(document.heldout for document in held)


def test_a_larger_heldout_set_contains_the_smaller():
    assert set(questions(source().heldout(10))) <= set(questions(source().heldout(20)))


def test_heldout_ends_where_the_space_does():
    held = source(families={"sequence": 1}, languages=["en"]).heldout(1000)
    assert 30 <= len(held) < 80


def test_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"drills: unknown task family 'sortng'; known are copying, .*lookup"):
        source(families={"sortng": 1}).files(Path())


def test_documentation_shows_the_current_tables():
    page = Path(__file__).parents[2] / "docs" / "tasks.md"
    assert markdown() in page.read_text(encoding="utf-8")


# --- reasoning-gym -----------------------------------------------------------------------------------------


def test_missing_gym_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(InputError, match=r"install groundup\[gym\]"):
        source(families={"gym-absent": 1}).files(Path())


@pytest.mark.judge
def test_gym_families_make_documents():
    pytest.importorskip("reasoning_gym")
    each = source(count=200, families={"gym-leg_counting": 1, "gym-spell_backward": 2, "sorting": 1})
    documents = list(each.training())
    lanes = Counter((document.labels["family"], document.labels["language"]) for document in documents)
    assert lanes == {
        ("gym-leg_counting", "en"): 50,
        ("gym-spell_backward", "en"): 50,
        ("sorting", "en"): 50,
        ("sorting", "zh"): 50,
    }
    assert documents == list(each.training())
    assert not set(questions(documents)) & set(questions(each.heldout(20)))


@pytest.mark.judge
def test_gym_answers_score_full_marks():
    gym = pytest.importorskip("reasoning_gym")
    for name in ("leg_counting", "spell_backward", "chain_sum", "gcd"):
        scorer = gym.create_dataset(name, size=1, seed=0)
        for document in source(families={f"gym-{name}": 1}).heldout(10):
            entry = {"answer": document.messages[1]["content"], "metadata": {}}
            assert scorer.score_answer(document.messages[1]["content"], entry) == 1.0


@pytest.mark.judge
def test_chinese_alone_gets_gym_families_in_english():
    pytest.importorskip("reasoning_gym")
    documents = list(source(count=4, languages=["zh"], families={"gym-gcd": 1}).training())
    assert {document.labels["language"] for document in documents} == {"en"}


@pytest.mark.judge
@pytest.mark.parametrize("name", ["gym-nonsense", "gym-zebra_puzzles_of_mine", "gym-sudoku"])
def test_gym_data_sets_without_one_right_answer_are_refused(name):
    pytest.importorskip("reasoning_gym")
    with pytest.raises(InputError, match=r"no data set .* with levels and one right answer; it has .*leg_counting"):
        source(families={name: 1}).files(Path())


@pytest.mark.judge
def test_gym_level_out_of_reach_is_refused():
    pytest.importorskip("reasoning_gym")
    with pytest.raises(InputError, match="gym-caesar_cipher: reasoning-gym cannot make level 5"):
        source(families={"gym-caesar_cipher": 5}).files(Path())
