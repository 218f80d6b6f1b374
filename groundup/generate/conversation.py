"""The terminal chat: a conversation with a model, turn by turn."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from groundup.codecs.answers import parse_answer
from groundup.generate import image_inputs
from groundup.generate.engine import Engine
from groundup.generate.image_inputs import ImageInput
from groundup.generate.sampling import Sampling


class Conversation:
    """A conversation: all messages with their images; each answer is generated from all of them."""

    def __init__(self, engine: Engine, system: str | None, sampling: Sampling, limit: int):
        self.engine, self.sampling, self.limit = engine, sampling, limit
        self._system: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
        self.reset()

    def reset(self) -> None:
        """Forget all but the system message."""
        self.messages = list(self._system)
        self._images: list[ImageInput] = []
        self._next_images: list[ImageInput] = []

    def show(self, file: Path) -> None:
        """Add an image to the next question. Raises InputError for an invalid image, or a model without vision."""
        self._next_images.append(image_inputs.from_file(self.engine.config, file))

    def answer(self, question: str) -> Iterator[str]:
        """Stream the answer to a question. Raises InputError when the conversation is too long for the context."""
        messages, images = [*self.messages, self._message(question)], [*self._images, *self._next_images]
        prompt, placed = image_inputs.prompt(self.engine.tokenizer, messages, images, today=datetime.now())
        ids: list[int] = []

        def kept() -> Iterator[int]:
            for token in self.engine.stream(prompt, self.limit, self.sampling, placed):
                ids.append(token)
                yield token

        yield from self.engine.tokenizer.stream(kept())
        self.messages = [*messages, parse_answer(self.engine.tokenizer.decode(ids), self.engine.tokenizer.calls)]
        self._images, self._next_images = images, []

    def _message(self, question: str) -> dict[str, Any]:
        images = [{"type": "image"}] * len(self._next_images)
        return {"role": "user", "content": [*images, {"type": "text", "text": question}] if images else question}
