"""The engine: prompts in, ids out. No HTTP and no text here.

Shapes: B rows, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import torch
from torch import Tensor, nn

from groundup.codecs.text import Tokenizer
from groundup.device import Device
from groundup.errors import InputError
from groundup.generate.cache import DenseCache
from groundup.generate.sampling import Sampling
from groundup.model import weights
from groundup.model.trunk import Linear, Trunk

ROWS = 128  # rows of a batch: more make a step longer and hardly more of it useful
MEMORY = 1 << 30  # bytes for the cache of a batch and the activations of its prompts
GREEDY = Sampling()


@dataclass
class _Row:
    """A row of a batch: the prompt it continues, how many more ids it may have, and its random numbers."""

    number: int
    left: int
    source: Random


class Engine:
    """Continues prompts with a model, many at a time.

    Raises InputError when the tokenizer has ids that the model lacks.
    """

    def __init__(self, trunk: Trunk, tokenizer: Tokenizer):
        if tokenizer.size > trunk.shape.vocab:
            raise InputError(f"the tokenizer has {tokenizer.size} ids, the model {trunk.shape.vocab}; they do not belong together")
        self.trunk, self.tokenizer = trunk, tokenizer
        self.device = trunk.lm_head.weight.device
        self._stops = frozenset((tokenizer.im_end, tokenizer.end))

    @staticmethod
    def load(folder: Path, device: Device, precision: Literal["auto", "bf16", "fp32"] = "auto") -> "Engine":
        """The engine of a model folder; raises InputError as `weights.load` and `Tokenizer.load` do.

        Matrices are kept in the precision they are multiplied in: the same bits come out, and no step converts them again.
        """
        trunk = weights.load(folder, device.handle, device.precision(precision))
        for module in trunk.modules():
            if isinstance(module, Linear | nn.Embedding):
                module.weight.data = module.weight.data.to(trunk.precision)
        return Engine(trunk, Tokenizer.load(folder))

    def complete(
        self, prompts: Sequence[list[int]], limit: int, sampling: Sampling = GREEDY, advance: Callable[[int], None] = lambda done: None
    ) -> list[list[int]]:
        """Continue each prompt by up to `limit` ids, to <|im_end|>, <|endoftext|> (both left out) or the context's end.

        A prompt's answer does not depend on the others. `advance` is told of prompts done. Raises InputError for a prompt
        that is empty or leaves no room in the context.
        """
        self._check(prompts, limit)
        answers: list[list[int]] = [[] for _ in prompts]
        for batch in self._batches(prompts, limit):
            for number, id in self._generate({number: prompts[number] for number in batch}, limit, sampling):
                answers[number].append(id)
            advance(len(batch))
        return answers

    def stream(self, prompt: list[int], limit: int, sampling: Sampling = GREEDY) -> Iterator[int]:
        """The same for one prompt, each id as it comes."""
        self._check([prompt], limit)
        return (id for _, id in self._generate({0: prompt}, limit, sampling))

    def _check(self, prompts: Sequence[list[int]], limit: int) -> None:
        context = self.trunk.shape.context
        if limit < 1:
            raise InputError(f"the limit of an answer is {limit} tokens; ask for at least 1")
        for prompt in prompts:
            if not prompt:
                raise InputError("a prompt has no tokens; give it at least one")
            if len(prompt) >= context:
                raise InputError(f"a prompt of {len(prompt)} tokens leaves no room for an answer in a context of {context}; shorten it")

    def _batches(self, prompts: Sequence[list[int]], limit: int) -> Iterator[list[int]]:
        """Numbers of prompts in batches of similar length, longest first: too little memory shows at once."""
        order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
        while order:
            rows = self._rows(min(len(prompts[order[0]]) + limit, self.trunk.shape.context))
            yield order[:rows]
            order = order[rows:]

    def _rows(self, length: int) -> int:
        """How many rows of a length fit into MEMORY: their cache, and a dozen states a token while the prompts are read."""
        shape, each = self.trunk.shape, self.trunk.precision.itemsize
        row = shape.cache_bytes(length, each) + 12 * each * length * (shape.width + shape.ffn)
        return max(1, min(ROWS, MEMORY // row))

    @torch.inference_mode()
    def _generate(self, prompts: dict[int, list[int]], limit: int, sampling: Sampling) -> Iterator[tuple[int, int]]:
        """Continue numbered prompts together; yields (number, next id). A row that is done leaves the batch."""
        context = self.trunk.shape.context
        rows = [_Row(number, min(limit, context - len(prompt)), sampling.source(number)) for number, prompt in prompts.items()]
        length = max(len(prompts[row.number]) + row.left for row in rows)
        cache = DenseCache(self.trunk.shape, len(rows), length, self.device, self.trunk.precision)
        pieces = list(prompts.values())
        while rows:
            ids = sampling.choose(self._scores(cache, pieces), [row.source for row in rows])
            for place in reversed(range(len(rows))):
                row, stopped = rows[place], ids[place] in self._stops
                if not stopped:
                    row.left -= 1
                    yield row.number, ids[place]
                if stopped or not row.left:
                    cache.drop(place)
                    rows[place], ids[place] = rows[-1], ids[-1]
                    rows.pop()
                    ids.pop()
            pieces = [[id] for id in ids]

    def _scores(self, cache: DenseCache, pieces: list[list[int]]) -> Tensor:
        """Scores of what follows each piece, [B, V] for the tokenizer's ids, fp32."""
        counts = [len(piece) for piece in pieces]
        positions_BT, mask_BTS = cache.place(counts)
        padded = [piece + [0] * (max(counts) - len(piece)) for piece in pieces]
        x_BTD = self.trunk(torch.tensor(padded, device=self.device), positions_BT, mask_BTS, cache)
        rows_B, last_B = torch.arange(len(pieces), device=self.device), torch.tensor(counts, device=self.device) - 1
        return self.trunk.logits(x_BTD[rows_B, last_B])[:, : self.tokenizer.size].float()
