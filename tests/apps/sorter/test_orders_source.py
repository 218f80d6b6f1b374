"""Orders as conversations: what is trained on, held out and measured."""

from collections import Counter
from itertools import islice
from pathlib import Path

from groundup.apps.sorter.orders_source import CALIBRATED, MEASURED, OrdersSource
from groundup.apps.sorter.policy import END, parse
from groundup.data.filtered import Filtered


def source(**knobs):
    return OrdersSource(**{"name": "orders", "kind": "orders", "count": 200} | knobs)


def asked(documents):
    return [document.messages[-2]["content"] for document in documents]


def test_languages_take_turns_and_every_answer_is_an_order():
    made = list(source().read(Path(), Filtered()))
    learnt = [document for document in made if not document.heldout]
    assert len(learnt) == 200 < len(made)
    assert [document.labels["language"] for document in learnt[:4]] == ["en", "zh", "en", "zh"]
    uneven = source(languages={"zh": 1, "en": 2}).read(Path(), Filtered())
    assert [(document.labels["language"], document.origin) for document in islice(uneven, 4)] == [
        ("zh", "train zh 0"), ("en", "train en 0"), ("en", "train en 1"), ("zh", "train zh 1"),
    ]  # fmt: skip
    for document in made:
        assert [message["role"] for message in document.messages] == ["user", "assistant"]
        answer = document.messages[-1]["content"]
        assert answer.endswith(END) and parse(answer.removesuffix(END))


def test_what_is_measured_is_different_sentences_none_of_them_trained_on():
    measured = source().heldout(300)
    labels = Counter((document.labels["family"], document.labels["language"]) for document in measured)
    assert labels == {(part, language): 300 for part in MEASURED for language in ("en", "zh")}
    calibrated = source().heldout(300, CALIBRATED)
    assert len({*asked(measured), *asked(calibrated)}) > 0.98 * (len(measured) + len(calibrated))
    assert not set(asked(measured)) & set(asked(calibrated))
    learnt = [document for document in source(count=3000).read(Path(), Filtered()) if not document.heldout]
    assert not set(asked(measured)) & set(asked(learnt))


def test_what_is_measured_does_not_depend_on_the_count():
    assert asked(source().heldout(20)) == asked(source(count=7).heldout(20))
