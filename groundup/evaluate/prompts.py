"""Prompts of documents with images, and greedy answers to them."""

from collections.abc import Callable, Sequence

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.data.document import Document
from groundup.generate.engine import Engine
from groundup.generate.image_inputs import from_bytes, prompt
from groundup.generate.packing import PackedRow


def prompt_of(engine: Engine, document: Document) -> PackedRow:
    """The prompt of a conversation's last answer; of a document without a conversation, its images as a user turn.

    Raises BadImage, and InputError for a model without image inputs.
    """
    images = [from_bytes(engine.config, data) for data in document.images]
    messages = document.messages or chat.shown(len(images))
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return PackedRow(*prompt(engine.tokenizer, messages, images, document.tools))


def prompt_of_question(engine: Engine, text: str) -> PackedRow:
    """The prompt of a question by itself, in the chat template."""
    return PackedRow(chat.prompt(engine.tokenizer, [{"role": "user", "content": text}]))


def supervised_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of an answer that tuning trains on, what ends its turn among them."""
    question = {"role": "user", "content": "?"}
    ids, loss_mask = chat.encode(tokenizer, [question, {"role": "assistant", "content": text}])
    return [id for id, supervised in zip(ids, loss_mask, strict=True) if supervised]


def answer(
    engine: Engine, rows: Sequence[PackedRow], limit: int, advance: Callable[[int], None] = lambda done: None
) -> list[str]:
    """Greedy answers of at most `limit` ids. A prompt too long for the context gets an empty one."""
    fitting = [index for index, row in enumerate(rows) if row.size < engine.config.context]
    prompts = [rows[index] for index in fitting]
    completed = engine.complete(
        [row.ids for row in prompts], limit, advance=advance, images=[row.images for row in prompts]
    )
    answers = [""] * len(rows)
    for index, ids in zip(fitting, completed, strict=True):
        answers[index] = engine.tokenizer.decode(ids)
    advance(len(rows) - len(fitting))
    return answers
