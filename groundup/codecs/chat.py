"""Conversations to ids and back: one Jinja template, in the ChatML form, for tuning, evaluation, serving and export.

A model of another project brings its own template (`codecs.foreign_chat`), which the same functions apply. Only the
template, and an assistant that thinks or calls a tool, can write special tokens: "<|im_end|>" in a user's text ends no
turn.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from groundup.codecs import foreign_chat
from groundup.codecs.chat_template import A_DAY
from groundup.codecs.detections import LOCATIONS
from groundup.codecs.foreign import ForeignTokenizer
from groundup.codecs.messages import Message, arguments, check, images, in_order, supervised, to_json
from groundup.codecs.normal import normalise, repair_surrogates
from groundup.codecs.patches import PatchGrid
from groundup.codecs.strict_json import in_texts
from groundup.codecs.text import (
    ANSWER_TOKENS,
    CHAT_TEMPLATE,
    IMAGE_TOKENS,
    SPECIAL_TOKENS,
    VISION_TOKENS,
    Tokenizer,
)
from groundup.core.errors import InputError

_START, _END = "<|im_start|>", "<|im_end|>"
_ANSWER = _START + "assistant\n"

_IMAGE = "".join((IMAGE_TOKENS[0], IMAGE_TOKENS[2], IMAGE_TOKENS[1]))

# While the template is rendered, literals that must stay text contain a mark; so does the mark itself.
_MARK = "\ue000"
_HIDDEN = {literal: _MARK + chr(0xE001 + place) for place, literal in enumerate((_MARK, *VISION_TOKENS))}
_SHOWN = {hidden: literal for literal, hidden in _HIDDEN.items()}
_MARKED = re.compile(f"{_MARK}[\ue001-{chr(0xE001 + len(VISION_TOKENS))}]")
_LOCATION = r"<loc(?:0|[1-9][0-9]{0,2})>"  # any of LOCATIONS
_SPECIAL = re.compile("(" + "|".join([*map(re.escape, (*SPECIAL_TOKENS, *IMAGE_TOKENS)), _LOCATION]) + ")")
_FOREIGN = re.compile("|".join([*(re.escape(literal) for literal in _HIDDEN if literal not in LOCATIONS), _LOCATION]))
_FOREIGN_IN_ANSWER = re.compile("|".join(re.escape(literal) for literal in _HIDDEN if literal not in ANSWER_TOKENS))


def encode(
    tokenizer: Tokenizer,
    messages: list[Message],
    tools: list[dict[str, Any]] | None = None,
    grids: Sequence[PatchGrid] = (),
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and the loss mask: the assistant's answers of weight 1, each with its <|im_end|>.

    `tools` are JSON descriptions of functions (OpenAI). `grids` are those of the images, in order; an image becomes one
    <|image_pad|> a patch between <|vision_start|> and <|vision_end|>. Raises InputError as `check` does, for images
    without grids, and for a tokenizer without image tokens.
    """
    check(messages, tools)
    if isinstance(tokenizer, ForeignTokenizer):
        _require_no_images(tokenizer, messages)
        return foreign_chat.encode(tokenizer, messages, tools)
    _check_images(messages, grids)
    learnt = [supervised(message) for message in messages if message["role"] == "assistant"]
    return _walk(tokenizer, _render(messages, tools, add_generation_prompt=False), iter(grids), iter(learnt))


def prompt(
    tokenizer: Tokenizer,
    messages: list[Message],
    tools: list[dict[str, Any]] | None = None,
    grids: Sequence[PatchGrid] = (),
    today: datetime = A_DAY,
) -> list[int]:
    """The ids of a prompt: the first of `encode`'s for the same messages and any answer. Raises InputError likewise.

    `today` is told to a template of another project that asks for it.
    """
    check(messages, tools)
    if isinstance(tokenizer, ForeignTokenizer):
        _require_no_images(tokenizer, messages)
        return foreign_chat.prompt(tokenizer, messages, tools, today)
    _check_images(messages, grids)
    return _walk(tokenizer, _render(messages, tools, add_generation_prompt=True), iter(grids), iter(()))[0]


def shown(images: int = 1) -> list[Message]:
    """A user message with so many images and no text."""
    return [{"role": "user", "content": [{"type": "image"}] * images}]


def image(tokenizer: Tokenizer, grid: PatchGrid) -> list[int]:
    """The ids of an image: a placeholder for each patch, and one id before and after."""
    start, end, pad = map(tokenizer.special, IMAGE_TOKENS)
    return [start, *[pad] * grid.patches, end]


def image_positions(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The position of each image's first patch."""
    start = tokenizer.special(IMAGE_TOKENS[0]) if tokenizer.sees else -1
    return [place + 1 for place, id in enumerate(ids) if id == start]


def _walk(
    tokenizer: Tokenizer, rendered: str, grids: Iterator[PatchGrid], learnt: Iterator[bool]
) -> tuple[list[int], list[bool]]:
    """The ids of a rendered conversation and their loss mask; `learnt` says whether each answer is in the mask."""
    ids: list[int] = []
    mask: list[bool] = []
    for turn in rendered.split(_START)[1:]:
        for text, trained in _stretches(_START + turn, learnt):
            stretch = _spell(tokenizer, text, grids)
            ids += stretch
            mask += [trained] * len(stretch)
    return ids, mask


def _stretches(turn: str, learnt: Iterator[bool]) -> list[tuple[str, bool]]:
    """Split a turn into spans, each with whether it is in the loss mask."""
    if not turn.startswith(_ANSWER):
        return [(turn, False)]
    answer, end, rest = turn.removeprefix(_ANSWER).partition(_END)
    return [(_ANSWER, False), (answer + end, next(learnt, False)), (rest, False)]


def _spell(tokenizer: Tokenizer, rendered: str, grids: Iterator[PatchGrid]) -> list[int]:
    ids: list[int] = []
    for place, piece in enumerate(_SPECIAL.split(rendered)):
        if piece == IMAGE_TOKENS[2] and place % 2:
            ids += [tokenizer.special(piece)] * next(grids).patches
        elif place % 2 and (tokenizer.knows(piece) or piece not in LOCATIONS):
            ids.append(tokenizer.special(piece))
        elif piece:
            ids += tokenizer.encode(_MARKED.sub(lambda match: _SHOWN[match[0]], piece) if _MARK in piece else piece)
    return ids


# --- rendering ----------------------------------------------------------------------------------------------


@cache
def _template() -> Template:
    """The compiled template, with the Jinja settings of `transformers`."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = to_json
    return environment.from_string(CHAT_TEMPLATE.read_text(encoding="utf-8"))


def _render(messages: list[Message], tools: list[dict[str, Any]] | None, add_generation_prompt: bool) -> str:
    hidden = [_hide_message(message) for message in in_order(messages)]
    return _template().render(messages=hidden, tools=_hide_all(tools), add_generation_prompt=add_generation_prompt)


def _hide_message(message: Message) -> Message:
    answer = message["role"] == "assistant"
    hidden = {
        "role": message["role"],
        "content": _shown(message.get("content"), _FOREIGN_IN_ANSWER if answer else _FOREIGN),
    }
    if answer and message.get("tool_calls"):
        functions = [call["function"] for call in message["tool_calls"]]
        hidden["tool_calls"] = [
            {"function": _hide_all({"name": each["name"], "arguments": arguments(each)})} for each in functions
        ]
    return hidden


def _hide(text: str, literals: re.Pattern[str] = _FOREIGN) -> str:
    return literals.sub(lambda match: _HIDDEN[match[0]], text) if "<" in text or _MARK in text else text


def _hide_all(value: Any) -> Any:
    """A JSON value with the special literals in all its texts marked as text, keys included."""
    return in_texts(value, _hide)


def _shown(content: str | list[dict[str, str]] | None, foreign: re.Pattern[str]) -> str:
    """Content as text for the template; only an image part writes the image placeholder."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    groups = groupby(parts, lambda part: part["type"] == "image")
    return "".join(
        _IMAGE * len(list(group)) if pictured else _hide(_joined(group), foreign) for pictured, group in groups
    )


def _joined(parts: Iterable[dict[str, str]]) -> str:
    """Text parts joined and normalised: a literal, or a letter with its accent, may be split over two parts."""
    return normalise(repair_surrogates("".join(part["text"] for part in parts)))


def _require_no_images(tokenizer: ForeignTokenizer, messages: list[Message]) -> None:
    if images(messages):
        raise InputError(
            f"{tokenizer.template.origin}: the chat template of this model shows no images; leave them out, or ask a"
            " model that was grown with images"
        )


def _check_images(messages: list[Message], grids: Sequence[PatchGrid]) -> None:
    if images(messages) != len(grids):
        raise InputError(
            f"the conversation shows {images(messages)} images, and {len(grids)} are given; give each its own"
        )
