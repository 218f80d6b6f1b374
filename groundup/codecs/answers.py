"""An answer as a message: its text, its reasoning and its tool calls, read while it is generated or as a whole."""

from groundup.codecs.call_format import Call, CallFormat
from groundup.codecs.call_formats.hermes import HERMES
from groundup.codecs.messages import Message
from groundup.codecs.text import Tokenizer

THINK, THOUGHT = "<think>", "</think>"


def parse_answer(text: str, form: CallFormat | None = HERMES) -> Message:
    """An answer as a message: `content`, and `tool_calls` (arguments as JSON text) unless malformed or in reasoning."""
    return _message(AnswerParser(form), text)


def message_of(tokenizer: Tokenizer, text: str, calls: bool) -> Message:
    """A model's answer as a message, with calls if they may be in it, and reasoning apart if its template has it so."""
    parser = parser_of(tokenizer, calls)
    return _message(parser, text) if parser else {"role": "assistant", "content": text}


def _message(parser: "AnswerParser", text: str) -> Message:
    found = [parser.feed(text), parser.close()]
    calls = [call for _, each in found for call in each]
    thought = parser.reasoning()
    message: Message = {"role": "assistant", "content": "".join(said for said, _ in found)}
    return message | ({"reasoning_content": thought} if thought else {}) | ({"tool_calls": calls} if calls else {})


class AnswerParser:
    """Splits an answer into text and tool calls while it is generated.

    Text and calls are returned once they are complete; an unclosed or malformed call is returned as text, by `close`.
    With `apart`, reasoning is no part of the text: `reasoning` returns what is new of it. `thinking` says that the
    prompt has opened it already.
    """

    def __init__(self, form: CallFormat | None = HERMES, apart: bool = False, thinking: bool = False):
        self._form, self._apart, self._thought = form, apart, ""
        self._text = self._space = ""  # not parsed yet; trailing white space, returned only if text follows
        self._state = self._in_thought if thinking else self._at_start
        self._begun = self._last = self._thinks_already = False

    def feed(self, text: str) -> tuple[str, list[Call]]:
        """Parse more of the answer; returns new text and calls."""
        self._text += text
        text, calls = "", []
        while step := self._state():
            text += step[0]
            calls += step[1]
        return self._hold_trailing_space(text), calls

    def close(self) -> tuple[str, list[Call]]:
        """End the answer; returns the remaining text and calls."""
        self._last = True
        return self.feed("")

    def reasoning(self) -> str:
        """What is new of the reasoning that stands apart, without white space around the whole."""
        found = self._thought if self._thinks_already else self._thought.lstrip()
        bare = found.rstrip()
        self._thought, self._thinks_already = found[len(bare) :], self._thinks_already or bool(bare)
        return bare

    def _at_start(self) -> tuple[str, list[Call]] | None:
        start, whole = self._text.lstrip(), self._form.starts if self._form else ()
        if any(mark.startswith(start) and start != mark for mark in (THINK, *whole)) and not self._last:
            return None
        if not start.startswith(THINK):
            self._state = self._in_call if start.startswith(whole) else self._in_text
            return "", []
        self._state = self._in_thought
        return self._thinks(self._take(len(self._text) - len(start) + len(THINK)), THINK)

    def _in_thought(self) -> tuple[str, list[Call]] | None:
        place = self._text.find(THOUGHT)
        if place >= 0:
            self._state = self._after_thought if self._apart else self._in_text
            return self._thinks(self._take(place + len(THOUGHT)), THOUGHT)
        found = self._text_before(THOUGHT)
        return self._thinks(found[0], "") if found else None

    def _after_thought(self) -> tuple[str, list[Call]] | None:
        """White space behind reasoning is none of the text's; a whole answer may be a call behind it too."""
        if not self._text.strip() and not self._last:
            return None
        self._text = self._text.lstrip()
        self._state = self._at_start if not self._text.startswith(THINK) else self._in_text
        return "", []

    def _thinks(self, text: str, mark: str) -> tuple[str, list[Call]]:
        """Reasoning, in the text or apart; the mark that opens or closes it stands at its end."""
        if not self._apart:
            return text, []
        text = text.removesuffix(mark) if mark else text
        self._thought += text if mark != THINK else ""
        return "", []

    def _in_text(self) -> tuple[str, list[Call]] | None:
        opening = self._form.opening if self._form else ""
        if not opening:
            return (self._take(len(self._text)), []) if self._text else None
        place = self._text.find(opening)
        if place >= 0:
            self._state = self._in_call
            text = self._take(place)
            self._take(len(opening))
            return text, []
        return self._text_before(opening)

    def _in_call(self) -> tuple[str, list[Call]] | None:
        assert self._form is not None, "only a format opens calls"
        found = self._form.read(self._text) if self._form.closing in self._text else None
        if found is not None:
            self._text, self._state = found[1], self._in_text
            return "", found[0]
        if not self._last:
            return None
        self._state = self._in_text
        return self._form.opening, []

    def _text_before(self, mark: str) -> tuple[str, list[Call]] | None:
        text = self._take(len(self._text) - (0 if self._last else overlap(self._text, mark)))
        return (text, []) if text else None

    def _take(self, count: int) -> str:
        taken, self._text = self._text[:count], self._text[count:]
        return taken

    def _hold_trailing_space(self, text: str) -> str:
        text = self._space + text
        if not self._begun:
            text = text.lstrip()
        bare = text.rstrip()
        self._space, self._begun = text[len(bare) :], self._begun or bool(bare)
        return bare


def parser_of(tokenizer: Tokenizer, calls: bool) -> AnswerParser | None:
    """The parser of a model's answers; None where they are text as it stands: no calls, no reasoning kept apart."""
    form = tokenizer.calls if calls else None
    apart = tokenizer.template is not None and THOUGHT in tokenizer.template.text
    return AnswerParser(form, apart, apart and tokenizer.opens_thought) if form or apart else None


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
