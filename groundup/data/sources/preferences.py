"""Preference pairs as they are published: a prompt, a chosen and a rejected answer."""

from collections.abc import Sequence
from typing import Any

from groundup.codecs.messages import Message, check
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data.chat_formats import Conversation, Row, conversation, is_whole
from groundup.data.document import REJECTED, Document
from groundup.data.sources.messages import MessagesSource

SIDES = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("preferred_output", "non_preferred_output"),  # OpenAI's preference tuning, its prompt under "input"
)
_SCORES = ("score_chosen", "score_rejected", "chosen_score", "rejected_score", "chosen_rating", "rejected_rating")


class PreferencesSource(MessagesSource):
    """Preference pairs: chosen and rejected as texts, messages, or whole conversations with one beginning."""

    version = 1
    holds = "preferences"

    def talk(self, row: Row) -> Conversation:
        """The conversation of a row that ends with the chosen answer, the rejected one under a key of it.

        Raises InputError for a row that is no pair, for prompts that differ and for equal answers.
        """
        names = next((pair for pair in SIDES if all(name in row for name in pair)), None)
        if names is None:
            known = ", ".join(" and ".join(pair) for pair in SIDES)
            raise InputError(f"no preference pair: its keys are {', '.join(row)[:200]}; known are {known}")
        rest = {key: value for key, value in row.items() if key not in names and key not in _SCORES}
        if isinstance(inner := rest.get("input"), dict):
            rest = {key: value for key, value in rest.items() if key != "input"} | inner
        chosen, rejected = (self._side(rest, row[name]) for name in names)
        if not chosen.messages or not rejected.messages:
            raise InputError("a pair with an empty conversation; give both sides a prompt and an answer")
        *before, good = chosen.messages
        *other, bad = rejected.messages
        _check_sides(before, other, good, bad)
        unlearnt = [each | {"weight": 0} if each.get("role") == "assistant" else each for each in before]
        form = f"pairs of {' and '.join(names)}"
        return Conversation(form, [*unlearnt, good | {REJECTED: bad}], chosen.tools, chosen.unread)

    def check(self, document: Document) -> None:
        """Raise InputError unless both answers make a conversation."""
        check(document.chosen, document.tools)
        check(document.rejected or [], document.tools)

    def _side(self, rest: Row, answer: Any) -> Conversation:
        """The conversation that ends with one of the answers."""
        if isinstance(answer, list) and is_whole(answer):  # its beginning may stand beside it
            rest = {key: value for key, value in rest.items() if key not in ("prompt", "messages")}
            return conversation(rest | {"messages": answer}, self.ignore)
        if "messages" in rest:  # the prompt
            return conversation(rest | {"messages": [*_messages(rest["messages"]), *_messages(answer)]}, self.ignore)
        return conversation(rest | {"completion": answer}, self.ignore)


def _messages(value: Any) -> Sequence[Message]:
    if not isinstance(value, list):
        raise InputError(f"a list of messages is expected, found {type(value).__name__}")
    return value


def _check_sides(before: list[Message], other: list[Message], good: Message, bad: Message) -> None:
    """Raise InputError unless two conversations differ in their last message alone, an assistant's in both."""
    for message in (*before, *other, good, bad):
        if not isinstance(message, dict):
            raise InputError(f"a message must be an object, found {type(message).__name__}")
    if not before:
        raise InputError("a pair without a prompt; give both answers one to answer")
    if before != other:
        raise InputError("the chosen and the rejected answer follow different prompts; give both the same")
    if good.get("role") != "assistant" or bad.get("role") != "assistant":
        raise InputError(
            f"a pair ends with messages of roles {good.get('role')!r} and {bad.get('role')!r}, not answers"
        )
    if good == bad:
        raise InputError("the chosen and the rejected answer are equal, so nothing is preferred; take the pair out")


SOURCES.add("preferences", PreferencesSource)
