"""Conversations to ids through the chat template of another project, for tuning, evaluation and serving alike.

Only the template writes control tokens. Their literals in a question, a tool's description or a result are hidden from
it, and are text afterwards; an answer may write those that are no special tokens, such as <think>.
"""

import re
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from groundup.codecs.chat_template import A_DAY, ChatTemplate
from groundup.codecs.foreign import ForeignTokenizer
from groundup.codecs.messages import Message, arguments, in_order, supervised
from groundup.codecs.normal import repair_surrogates
from groundup.codecs.strict_json import in_texts
from groundup.codecs.template_worker import CLOSED, OPENED
from groundup.core.errors import InputError

Tools = list[dict[str, Any]] | None

_MARK = "\U000f0000"  # before a character that stands for a literal
_FIRST = 0xF0010


def prompt(tokenizer: ForeignTokenizer, messages: list[Message], tools: Tools, today: datetime = A_DAY) -> list[int]:
    """The ids of a conversation up to the answer. Raises InputError as `ChatTemplate.render`."""
    hidden = _Hidden.of(tokenizer)
    [rendered] = tokenizer.template.render([_case(hidden, messages, tools, True)], today)
    return tokenizer.spell(hidden.unmarked(rendered), True, hidden.shown)


def encode(tokenizer: ForeignTokenizer, messages: list[Message], tools: Tools) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and the loss mask: the assistant's answers of weight 1, each with what ends its turn.

    Raises InputError as `ChatTemplate.render`, and for a template that does not show where an answer begins.
    """
    hidden = _Hidden.of(tokenizer)
    marked = _marked(hidden, tokenizer.template, messages, tools)
    rendered, spans = marked if marked else _compared(tokenizer, hidden, messages, tools)
    ids: list[int] = []
    mask: list[bool] = []
    edges = [0, *(edge for span in spans for edge in span), len(rendered)]
    for number, (start, end) in enumerate(pairwise(edges)):
        piece = tokenizer.spell(rendered[start:end], not ids, hidden.shown)
        ids += piece
        mask += [number % 2 == 1] * len(piece)
    return ids, mask


# --- where the answers stand ----------------------------------------------------------------------------------------

_Spans = tuple[str, list[tuple[int, int]]]


def _marked(hidden: "_Hidden", template: ChatTemplate, messages: list[Message], tools: Tools) -> _Spans | None:
    """A rendering and the answers in it, as {% generation %} marks them; None without marks."""
    if not template.marks_answers:
        return None
    [rendered] = template.render([_case(hidden, messages, tools, False)])
    parts = re.split(f"[{OPENED}{CLOSED}]", rendered)
    learnt = [supervised(message) for message in messages if message["role"] == "assistant"]
    if len(parts) // 2 != len(learnt):
        if not all(learnt):
            raise InputError(
                f"{template.origin}: the chat template marks {len(parts) // 2} answers of {len(learnt)}, so that one of"
                " weight 0 cannot be told apart; take the weights out"
            )
        learnt = [True] * (len(parts) // 2)
    ends = [sum(map(len, parts[: place + 1])) for place in range(len(parts))]
    spans = list(zip(ends[0::2], ends[1::2], strict=False))
    return "".join(parts), [span for span, kept in zip(spans, learnt, strict=True) if kept]


def _compared(tokenizer: ForeignTokenizer, hidden: "_Hidden", messages: list[Message], tools: Tools) -> _Spans:
    """A rendering and the answers in it: each begins where its prompt ends, and goes on to what ends a turn."""
    places = [place for place, message in enumerate(messages) if supervised(message)]
    cases = [_case(hidden, messages, tools, False)]
    for place in places:
        cases += [_case(hidden, messages[:place], tools, asks) for asks in (False, True)]
    rendered, *prefixes = map(hidden.unmarked, tokenizer.template.render(cases))
    spans: list[tuple[int, int]] = []
    for place, before, asked in zip(places, prefixes[::2], prefixes[1::2], strict=True):
        if not rendered.startswith(before):
            raise InputError(
                f"message {place + 1}: the chat template renders what stands before this answer otherwise once there is"
                " more behind it, so that its tokens cannot be told apart; give it weight 0, or let the conversation"
                " end with it"
            )
        start = _shared(asked, rendered)
        spans.append((start, _end(tokenizer, rendered, start)))
    return rendered, [span for span in spans if span[0] < span[1]]


def _shared(one: str, other: str) -> int:
    """How many characters two texts share at their beginning."""
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def _end(tokenizer: ForeignTokenizer, rendered: str, start: int) -> int:
    """The place behind the first end of a turn."""
    ends = set(tokenizer.ends)
    found = tokenizer.vocabulary.pattern.finditer(rendered, start)
    return next((match.end() for match in found if int(str(match.lastgroup)[1:]) in ends), len(rendered))


# --- what the template is given -------------------------------------------------------------------------------------


class _Hidden:
    """The literals of control tokens, hidden from a template and given back as text."""

    def __init__(self, tokenizer: ForeignTokenizer):
        control = tokenizer.vocabulary.control
        marks = [_MARK, OPENED, CLOSED]
        literals = [*marks, *sorted(control, key=lambda name: -len(name))]
        self._codes = {literal: _MARK + chr(_FIRST + place) for place, literal in enumerate(literals)}
        self._literals = {code[1]: literal for literal, code in self._codes.items()}
        self._all = re.compile("|".join(map(re.escape, literals)))
        special = [name for name in literals if name in marks or control[name].special]
        self._special = re.compile("|".join(map(re.escape, special)))

    @staticmethod
    @lru_cache(maxsize=8)
    def of(tokenizer: ForeignTokenizer) -> "_Hidden":
        """That of a tokenizer."""
        return _Hidden(tokenizer)

    def text(self, text: str, answer: bool = False) -> str:
        """A text with its literals hidden; in an answer, those of special tokens alone."""
        return (self._special if answer else self._all).sub(
            lambda match: self._codes[match[0]], repair_surrogates(text)
        )

    def value(self, value: Any) -> Any:
        """A JSON value with the literals in all its texts hidden, keys included."""
        return in_texts(value, self.text)

    def shown(self, text: str) -> str:
        """A rendered text with its literals given back."""
        if _MARK not in text:
            return text
        return re.sub(f"{_MARK}(.)", lambda match: self._literals.get(match[1], match[0]), text, flags=re.DOTALL)

    def unmarked(self, rendered: str) -> str:
        """A rendering without the marks of {% generation %}."""
        return rendered.replace(OPENED, "").replace(CLOSED, "")


def _case(hidden: _Hidden, messages: list[Message], tools: Tools, asks: bool) -> dict[str, Any]:
    shown = [_shown(hidden, message) for message in _with_ids(in_order(messages))]
    return {"messages": shown, "tools": hidden.value(tools) or None, "add_generation_prompt": asks}


def _with_ids(messages: list[Message]) -> list[Message]:
    """The messages with an id for each call and result, and the function's name in each result, as templates want."""
    found: list[Message] = []
    calls: list[tuple[str, str]] = []
    for message in messages:
        if made := message.get("tool_calls"):
            ids = [_id(call.get("id") or f"{len(found)}-{place}") for place, call in enumerate(made)]
            calls = [(id, call["function"]["name"]) for id, call in zip(ids, made, strict=True)]
            message = message | {"tool_calls": [call | {"id": id} for id, call in zip(ids, made, strict=True)]}
        elif message["role"] == "tool":
            wanted = message.get("tool_call_id")
            place = next((at for at, call in enumerate(calls) if wanted and call[0] == _id(wanted)), 0)
            id, name = calls.pop(place) if calls else (_id(wanted or ""), "")
            message = message | {"tool_call_id": id, "name": message.get("name") or name}
        found.append(message)
    return found


def _id(id: str) -> str:
    """An id of nine letters and digits, which every template takes."""
    return id if len(id) == 9 and id.isalnum() and id.isascii() else blake2b(id.encode(), digest_size=8).hexdigest()[:9]


def _shown(hidden: _Hidden, message: Message) -> Message:
    role = {"developer": "system"}.get(message["role"], message["role"])
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    found: Message = {"role": role, "content": hidden.text(text, role == "assistant")}
    if role == "tool":
        found |= {key: hidden.text(message[key]) for key in ("tool_call_id", "name")}
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call["id"],
                "function": hidden.value({"name": call["function"]["name"], "arguments": arguments(call["function"])}),
            }
            for call in calls
        ]
    return found
