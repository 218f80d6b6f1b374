"""The published formats of conversations, recognised by their keys: OpenAI, ShareGPT, Alpaca, pairs, trees.

A row is converted to messages in the OpenAI format. A key that is neither used nor bookkeeping is refused by name, as
it may change the meaning of the row.
"""

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from groundup.codecs import strict_json
from groundup.codecs.answers import parse_answer
from groundup.codecs.messages import Message
from groundup.codecs.strict_json import says_nothing
from groundup.core.errors import InputError
from groundup.data import chat_images

Row = dict[str, Any]

TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")  # keys of a list of turns
QUESTIONS = ("instruction", "prompt", "question", "query", "problem", "input", "inputs", "user", "human")
CONTEXTS = ("input", "context")  # keys beside a question: its subject
ANSWERS = ("output", "completion", "response", "answer", "chosen", "solution", "target", "targets", "assistant")
SYSTEMS = ("system", "system_prompt")
REASONING = ("reasoning_content", "reasoning", "thinking")
PREFERENCES = (
    *("rejected", "rejected_response", "non_preferred_output", "preferred_output", "chosen_response"),
    *("score_rejected", "rejected_score"),
)
# Bookkeeping keys of a row: not read, but reported. The index that pandas writes has no name, or one of two.
BOOKKEEPING = (
    *("id", "uuid", "idx", "index", "hash", "conversation_id", "prompt_id", "conversation_hash", "turn", "num_turns"),
    *("source", "dataset", "dataset_name", "data_source", "subset", "split", "category", "task", "domain", "topic"),
    *("title", "language", "lang", "url", "created", "created_at", "date", "timestamp", "metadata", "meta"),
    *("message_tree_id", "model", "model_name", "views", "avatarUrl", "text", "parallel_tool_calls"),
    *("", "Unnamed: 0", "__index_level_0__"),
)
_READY = "ready_for_export"  # state of a tree of OpenAssistant that its reviewers have finished
_CALLS = ("function_call", "tool_call")  # roles of ShareGPT whose text is the JSON of a call
_ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "ai", "bing", "bard", *_CALLS), "assistant"),
    **dict.fromkeys(("observation", "function", "function_response", "tool_response", "ipython"), "tool"),
}
_MARKED = "it marks good and bad answers, which is for preference learning; keep the good ones, and take it out"
_REMEDIES = {
    "label": _MARKED,
    "kto_tag": _MARKED,
}


class Conversation(NamedTuple):
    """A conversation in the OpenAI form, the name of the format it came in, and the keys that were not read."""

    form: str
    messages: list[Message]
    tools: list[dict[str, Any]] | None
    unread: list[str]


class PreferencePair(InputError):
    """Raised for a row of preference learning in a source of conversations."""


def conversation(row: Row, ignore: Collection[str] = ()) -> Conversation:
    """The conversation of a row; keys in `ignore` are skipped, in its turns too.

    Raises PreferencePair for a chosen and a rejected answer, and InputError for a row that is not a conversation or has
    a key that is not used.
    """
    rest = {
        key: _passing_over(ignore, _structure(value, key) if key in TURNS else value)
        for key, value in row.items()
        if key not in ignore and not says_nothing(value)
    }
    if pair := [key for key in PREFERENCES if key in rest]:
        raise PreferencePair(
            f"{pair[0]!r} makes it a preference pair, which is for preference learning, not for instruction tuning; to"
            f" learn the chosen answers alone, set ignore = {[*ignore, *pair]} in the source"
        )
    tools = _tools(rest)
    system = next((rest.pop(key) for key in SYSTEMS if isinstance(rest.get(key), str)), None)
    shown = [rest.pop(key) for key in chat_images.KEYS if key in rest]
    form, messages = _messages(rest)
    if shown:
        messages = chat_images.illustrated(messages, shown[0])
    if any(isinstance(message, dict) and message.get("content") == rest.get("prompt", ()) for message in messages):
        del rest["prompt"]  # a copy of one of the messages
    unread = [key for key in BOOKKEEPING if rest.pop(key, None) is not None]
    _refuse(rest, "a conversation", f"take it out, or pass over it with ignore = {[*ignore, *rest]} in the source")
    if any(isinstance(message, dict) and message.get("name") for message in messages):
        unread.append("name of a message")
    return Conversation(form, _opened(system, messages), tools, unread)


def _passing_over(ignore: Collection[str], value: Any) -> Any:
    """A list of turns without the ignored keys; any other value unchanged."""
    if not ignore or not isinstance(value, list):
        return value
    return [
        {key: item for key, item in turn.items() if key not in ignore} if isinstance(turn, dict) else turn
        for turn in value
    ]


def _refuse(rest: Row, what: str, remedy: str = "take it out") -> None:
    """Raise InputError for the first remaining key."""
    if rest:
        key = next(iter(rest))[:60]
        raise InputError(f"unknown key {key!r} in {what}; {_REMEDIES.get(key, remedy)}")


def _messages(rest: Row) -> tuple[str, list[Any]]:
    """The format and the messages; removes the used keys from `rest`."""
    if isinstance(rest.get("prompt"), dict) and "replies" in rest["prompt"]:
        if (state := rest.pop("tree_state", _READY)) != _READY:
            raise InputError(f"a tree of state {str(state)[:40]!r}; only those of state {_READY!r} are finished")
        return "message tree, its best replies", list(_best_path(rest.pop("prompt")))
    if key := next((key for key in TURNS if key in rest), None):
        turns = rest.pop(key)
        if not isinstance(turns, list):
            raise InputError(f'"{key}" must be a list of turns, found {type(turns).__name__}')
        if turns and all(isinstance(turn, dict) and not turn.keys() & {"role", "from"} for turn in turns):
            return f"{key} of pairs", [message for turn in turns for message in _pair(dict(turn), f"a turn of {key}")]
        return ("ShareGPT" if any("from" in turn for turn in turns if isinstance(turn, dict)) else f"OpenAI {key}"), [
            _turn(turn) for turn in turns
        ]
    names = [next((key for key in keys if key in rest), "") for keys in (QUESTIONS, ANSWERS)]
    if isinstance(rest.get(names[1]), list) and is_whole(rest[names[1]]):
        return names[1], _as_messages(rest.pop(names[1]), names[1], "")
    if not all(names):
        if "parent_id" in rest:
            raise InputError("a message of a tree, by itself; take the file of whole trees (.trees.jsonl.gz)")
        raise InputError(
            f"no conversation: its keys are {', '.join(rest)[:200] or 'none'}; known are messages (OpenAI),"
            " conversations (ShareGPT), instruction with output (Alpaca), prompt with completion or response, question"
            " with answer"
        )
    return "Alpaca" if names == ["instruction", "output"] else "/".join(names), list(_pair(rest))


def _best_path(node: Any) -> Iterator[Any]:
    """The messages of a tree of OpenAssistant along the replies of the best rank, without rejected and deleted ones."""
    while isinstance(node, dict):
        yield _turn({"role": node.get("role"), "content": node.get("text")})
        replies = node.get("replies")
        good = [
            reply for reply in (replies if isinstance(replies, list) else [])
            if isinstance(reply, dict) and not reply.get("deleted") and reply.get("review_result") is not False
        ]  # fmt: skip
        node = min(good, key=_rank, default=None)


def _rank(reply: Row) -> float:
    rank = reply.get("rank")
    return rank if isinstance(rank, int | float) else math.inf


def is_whole(answer: list[Any]) -> bool:
    """Whether the list in the place of an answer is the whole conversation, with its question."""
    first = _turn(answer[0]) if answer else None
    return isinstance(first, dict) and first["role"] != "assistant"


def _pair(rest: Row, where: str = "") -> Iterator[Any]:
    """A question and its answer, as texts or messages, after their history; `where` is named in errors."""
    if isinstance(system := rest.pop("system", None), str) and system:
        yield {"role": "system", "content": system}
    question, answer = (next((key for key in keys if key in rest), None) for keys in (QUESTIONS, ANSWERS))
    questions = [_as_messages(rest.pop(question), question, "user")] if question else [[]]
    context = next((rest.pop(key) for key in CONTEXTS if isinstance(rest.get(key), str)), "") if question else ""
    history = _structure(rest.pop("history", None) or [], "history")
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise InputError('"history" must be a list of [question, answer]')
    for before in history:
        yield from _as_messages(before[0], "history", "user") + _as_messages(before[1], "history", "assistant")
    if context and isinstance(questions[0][-1].get("content"), str):
        questions[0][-1]["content"] += f"\n\n{context}"
    # In a list of messages, everything before the completion is left out of the loss mask (as in TRL).
    yield from ({**each, "weight": 0} if each.get("role") == "assistant" else each for each in questions[0])
    yield from _as_messages(rest.pop(answer), answer, "assistant") if answer else []
    if where:
        _refuse(rest, where)


def _as_messages(value: Any, key: str, role: str) -> list[Message]:
    """A text as a message of a role, or the messages in its place."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    turns = value if isinstance(value, list) else [value]
    if not turns or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f'"{key}" must be a text or a list of messages, found {type(value).__name__}')
    return [_turn(turn) for turn in turns]


def _opened(system: str | None, messages: list[Any]) -> list[Any]:
    """The messages, with a system prompt from beside them as the first one."""
    if system is None:
        return messages
    if messages and isinstance(messages[0], dict) and messages[0].get("role") in ("system", "developer"):
        if messages[0].get("content") == system:
            return messages
        raise InputError("a system prompt beside messages that begin with another; take one of them out")
    return [{"role": "system", "content": system}, *messages]


# --- one turn -----------------------------------------------------------------------------------------------


def _turn(turn: Any) -> Any:
    """A turn as a message in the OpenAI format; unknown parts are left for `messages.check`."""
    if not isinstance(turn, dict):
        return turn
    message = {key: value for key, value in turn.items() if not says_nothing(value) or key in ("role", "content")}
    given = message.pop("from", message.get("role")) if "role" not in message else message["role"]
    content = next((message.pop(key) for key in ("content", "value") if key in message), None)
    message |= {"role": _ROLES.get(given, given) if isinstance(given, str) else given, "content": content}
    if isinstance(given, str) and given in _CALLS:
        return message | {"content": None, "tool_calls": _calls(content)}
    if isinstance(content, list):
        message |= _typed(content) if _is_typed(content) else {"content": list(map(chat_images.placed, content))}
    return _answer(message) if message["role"] == "assistant" else message


def _is_typed(content: list[Any]) -> bool:
    """Whether content is a list of {"type": text, reasoning or tool_call, "value": text}."""
    return all(
        isinstance(part, dict) and part.keys() == {"type", "value"} and isinstance(part["value"], str)
        and part["type"] in ("text", "reasoning", "tool_call")
        for part in content
    )  # fmt: skip


def _typed(content: list[dict[str, str]]) -> Message:
    """Text, reasoning and tool calls of a message with typed parts."""
    texts, reasoning, calls = (
        [part["value"] for part in content if part["type"] == kind] for kind in ("text", "reasoning", "tool_call")
    )
    more: Message = {"reasoning_content": "\n\n".join(reasoning)} if reasoning else {}
    more |= {"tool_calls": [call for each in calls for call in _calls(each)]} if calls else {}
    return {"content": "".join(texts) if texts or not calls else None} | more


def _answer(message: Message) -> Message:
    """An assistant's message with its reasoning and its tool calls in their current OpenAI fields."""
    if isinstance(called := message.get("function_call"), dict):
        message = {key: value for key, value in message.items() if key != "function_call"}
        message["tool_calls"] = [*(message.get("tool_calls") or []), {"type": "function", "function": called}]
    content = message["content"]
    if isinstance(content, str) and "<tool_call>" in content and not message.get("tool_calls"):
        message = message | parse_answer(content)
    return with_reasoning(message)


def with_reasoning(message: Message) -> Message:
    """An assistant's message with its reasoning inside the content, where the model writes it."""
    for key in REASONING:
        thought, content = message.get(key), message.get("content")
        if isinstance(thought, str) and isinstance(content, str | list | None):
            message = {other: value for other, value in message.items() if other != key}
            if thought.strip():
                message["content"] = _thought(thought, content)
    return message


def _thought(thought: str, content: Any) -> Any:
    """The content with the reasoning before it, between <think> and </think>."""
    written = f"<think>\n{thought.strip()}\n</think>\n\n"
    return [{"type": "text", "text": written}, *content] if isinstance(content, list) else written + (content or "")


def _calls(content: Any) -> list[dict[str, Any]]:
    """The tool calls of a ShareGPT turn: JSON of one or several."""
    calls = _structure(content, "function_call")
    return [{"type": "function", "function": call} for call in (calls if isinstance(calls, list) else [calls])]


# --- tools --------------------------------------------------------------------------------------------------


def _tools(rest: Row) -> list[dict[str, Any]] | None:
    """The tools of a row, also as JSON text, as bare functions, or under the old key `functions`."""
    key = next((key for key in ("tools", "functions") if key in rest), None)
    if key is None:
        return None
    found = _structure(rest.pop(key), key)
    tools = [_structure(tool, key) for tool in found] if isinstance(found, list) else found
    return None if says_nothing(tools) else [_wrapped(tool) for tool in tools] if isinstance(tools, list) else tools


def _wrapped(tool: Any) -> Any:
    bare = isinstance(tool, dict) and isinstance(tool.get("name"), str) and "function" not in tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} if bare else tool


def _structure(value: Any, key: str) -> Any:
    """A list or object, also if given as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return strict_json.loads(value)
    except ValueError as error:
        raise InputError(f'"{key}" is a text that is no JSON ({error})') from None
