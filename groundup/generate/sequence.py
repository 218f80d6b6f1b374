"""The state of one request while it is answered."""

from collections.abc import Callable

from torch import Tensor

from groundup.codecs.text import Tokenizer
from groundup.generate.block_allocator import block_hashes
from groundup.generate.detokenizer import Detokenizer
from groundup.generate.image_inputs import ImageInput
from groundup.generate.request import OutputDelta, Request, TokenLogprob
from groundup.kernels.kv_cache import BLOCK_SIZE

OnDelta = Callable[[OutputDelta], None]


class SequenceState:
    """Prompt and generated ids of one request; the first `num_computed_tokens` are in the KV cache (`block_table`).

    A preempted sequence loses its blocks and computes them again, with the same bits.
    """

    def __init__(self, request: Request, tokenizer: Tokenizer, on_delta: OnDelta):
        self.request, self.on_delta = request, on_delta
        self.ids, self.num_prompt_tokens = list(request.prompt), len(request.prompt)
        self.num_computed_tokens = 0
        self.block_table: list[int] = []
        self.num_prefix_hits: int | None = None  # prompt tokens from the prefix cache; None before it is admitted
        self.prompt_logprobs: list[TokenLogprob] = []
        self.random = request.sampling.random(request.number)
        self.detokenizer = Detokenizer(tokenizer, request.stops)
        self.constraint = None if request.grammar is None else request.grammar.constraint(tokenizer)
        self.ended = False
        self.pending_logits: Tensor | None = None  # of the next id, while its token mask is not ready
        self._hashes: list[bytes] = []

    @property
    def num_remaining_tokens(self) -> int:
        """Number of ids that are not in the KV cache: one while decoding."""
        return len(self.ids) - self.num_computed_tokens

    @property
    def is_greedy(self) -> bool:
        """Whether the next id is the argmax of the logits, and no log-probabilities are requested."""
        request = self.request
        return (
            request.sampling.temperature == 0
            and not request.sampling.adjusts_logits
            and request.logprobs is None
            and self.constraint is None
        )

    def block_hashes(self) -> list[bytes]:
        """The hash of each full block of the ids."""
        known = len(self._hashes)
        if len(self.ids) - known * BLOCK_SIZE >= BLOCK_SIZE:
            full = range(known, len(self.ids) // BLOCK_SIZE)
            extra = [self._image_digests(block) for block in full] if self.request.images else []
            parent = self._hashes[-1] if self._hashes else b""
            self._hashes += block_hashes(self.ids[known * BLOCK_SIZE :], parent, extra)
        return self._hashes

    def _image_digests(self, block: int) -> bytes:
        """Digests of the images that reach into a block: patches attend to each other, so all of them count."""
        images = self.images_within(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
        return b"".join(image.position.to_bytes(8, "little") + image.digest for image in images)

    def images_within(self, start: int, end: int) -> tuple[ImageInput, ...]:
        """The images with patches at positions `start` to `end`."""
        return tuple(image for image in self.request.images if image.position < end and start < image.end)

    def chunk_size(self, budget: int) -> int:
        """Number of ids to compute next: at most `budget`, except to reach the end of an image (chunked prefill)."""
        end = self.num_computed_tokens + min(budget, self.num_remaining_tokens)
        ends = (image.end for image in self.request.images if image.position < end)
        return max([end, *ends]) - self.num_computed_tokens

    def close(self) -> None:
        """End the sequence; nothing more is computed."""
        self.ended, self.pending_logits = True, None
        if self.constraint is not None:
            self.constraint.close()
