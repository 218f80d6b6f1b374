"""A conversation with a model, turn by turn."""

from collections.abc import Iterator
from typing import Any

from groundup.codecs import chat
from groundup.generate.engine import Engine
from groundup.generate.sampling import Sampling


class Conversation:
    """Keeps the messages; each answer sees all of them."""

    def __init__(self, engine: Engine, system: str | None, sampling: Sampling, limit: int):
        self.engine, self.sampling, self.limit = engine, sampling, limit
        self.opening: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
        self.messages = list(self.opening)

    def reset(self) -> None:
        """Forget all but the system message."""
        self.messages = list(self.opening)

    def answer(self, question: str) -> Iterator[str]:
        """Ask; yields the answer's text as it comes. Raises InputError when the conversation outgrows the context."""
        asked = [*self.messages, {"role": "user", "content": question}]
        ids: list[int] = []

        def watched() -> Iterator[int]:
            for token in self.engine.stream(chat.prompt(self.engine.tokenizer, asked), self.limit, self.sampling):
                ids.append(token)
                yield token

        yield from self.engine.tokenizer.stream(watched())
        self.messages = [*asked, chat.parse_answer(self.engine.tokenizer.decode(ids))]
