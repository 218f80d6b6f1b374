"""Suite: held-out conversations without images: the loss of their last answer, and its exact match."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from groundup.core import units
from groundup.core.tables import SUITES
from groundup.data.document import Document
from groundup.evaluate.cases import answer_of
from groundup.evaluate.display import Cell, Display, Headline, Table, interval
from groundup.evaluate.exact_match import MISTAKES, Case, cells, greedy_cases
from groundup.evaluate.figure import Figure, proportion, ratio
from groundup.evaluate.matching import exact
from groundup.evaluate.prompts import prompt_of, supervised_ids
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.evaluate.texts import conversations
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText

CONVERSATIONS = 500  # of a source


@dataclass(frozen=True)
class Answers:
    """Loss in nats a token of the last answers, and the fraction that greedy decoding gives exactly.

    `cut` counts conversations that are too long for the context: they have no loss, and count as answered wrong.
    """

    loss: Figure | None
    exact_match: Figure
    cut: int
    mistakes: list[Case]


@dataclass(frozen=True)
class Conversations:
    """The result, by source."""

    conversations: dict[str, Answers] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Conversations:
    """Measure each source of conversations that the run used."""
    found = {}
    for source, file in inputs.files():
        if source.holds == "conversations":
            held = [each for each in conversations(file, True, CONVERSATIONS, images=False) if _answered(each)]
            if held:
                found[source.name] = last_answers(inputs.engine, held, inputs.advance)
            else:
                inputs.note(f"source {source.name!r} has no held-out conversation without images; raise heldout_share")
    return Conversations(found)


def last_answers(engine: Engine, documents: Sequence[Document], advance: Advance = ignored) -> Answers:
    """The loss and the exact match of conversations that end with an answer."""
    prompts = [prompt_of(engine, document) for document in documents]
    targets = [supervised_ids(engine.tokenizer, answer_of(document)) for document in documents]
    scored = [
        ScoredText(prompt.ids + ids, len(prompt.ids))
        for prompt, ids in zip(prompts, targets, strict=True)
        if len(prompt.ids) + len(ids) <= engine.config.context + 1
    ]
    losses = engine.scorer.negative_log_likelihoods(scored)
    cases = greedy_cases(engine, documents, prompts, max(map(len, targets)), advance)
    wrong = [case for case in cases if not exact(case.answer, case.expected)]
    return Answers(
        ratio(losses, [len(each.ids) - each.first for each in scored]) if scored else None,
        proportion(len(documents) - len(wrong), len(documents)),
        len(documents) - len(scored),
        wrong[:MISTAKES],
    )


def _answered(document: Document) -> bool:
    """Whether a conversation ends with an answer in words to a message before it."""
    messages = document.messages or []
    return len(messages) > 1 and messages[-1]["role"] == "assistant" and bool(answer_of(document))


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Conversations) -> Display:
    """A headline and a row a source."""
    entries = result.conversations.items()
    rows = [
        [source, str(entry.exact_match.n), *_loss(entry.loss), interval(entry.exact_match), str(entry.cut)]
        for source, entry in entries
    ]
    columns = ("source", ">conversations", ">loss, nats a token", ">perplexity a token", ">exact match", ">too long")
    headline = [
        Headline(f"Exact match, {source}", units.percent(entry.exact_match.value), "last answers, held out")
        for source, entry in entries
    ]
    mistakes = [[Cell(source, verbatim=True), *cells(case)] for source, entry in entries for case in entry.mistakes]
    return Display(headline, [Table("Held-out conversations: the last answer", columns, rows)], mistakes=mistakes)


def _loss(loss: Figure | None) -> tuple[str, str]:
    value = None if loss is None else loss.value
    return units.number(value, 3), units.number(None if value is None else math.exp(min(value, 700)), 2)


SUITES.add("conversations", Suite(1, Conversations, measure, display, "no source of conversations was used"))
