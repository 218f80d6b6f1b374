"""Continuous batching: schedules which sequences compute how many tokens in the next step (prefill and decode).

A decoding sequence computes one token a step; prompts are computed in chunks beside them (chunked prefill). A sequence
is admitted once there are blocks for its prompt; cached prefixes, and those being computed, are shared. When blocks run
out, the youngest sequence is preempted and computed again later.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from groundup.generate.block_allocator import BlockAllocator
from groundup.generate.isolation import isolated
from groundup.generate.request import OutputDelta
from groundup.generate.sequence import SequenceState
from groundup.kernels.kv_cache import BLOCK_SIZE, CacheChunk

T = TypeVar("T")
MAX_SEQUENCES = 128  # running at a time: more make a step longer and raise the throughput little
PREFILL_CHUNK = 128  # prompt tokens a step while sequences decode; four times that when none does
MAX_STEP_TOKENS = 4 * PREFILL_CHUNK + MAX_SEQUENCES  # limit of tokens a step, except for the rest of an image


@dataclass(frozen=True)
class ScheduledChunk(CacheChunk):
    """The tokens that one sequence computes in a step."""

    sequence: SequenceState = field(kw_only=True)

    @staticmethod
    def of(sequence: SequenceState, count: int) -> "ScheduledChunk":
        """The next `count` tokens of a sequence that has blocks for them."""
        start = sequence.num_computed_tokens
        images = sequence.images_within(start, start + count) if sequence.request.images else ()
        spans = tuple((image.position, image.end) for image in images) if images else ()
        return ScheduledChunk(start, count, sequence.block_table, spans, sequence=sequence)

    @property
    def is_decode(self) -> bool:
        """Whether only the newest token is computed (decode); a request with `echo` is always prefilled."""
        return self.sequence.num_remaining_tokens == 1 and not self.sequence.request.echo

    @property
    def ids(self) -> list[int]:
        """The ids of its tokens."""
        return self.sequence.ids[self.start : self.start + self.count]


@dataclass
class SchedulerStats:
    """Counters since the start: steps, tokens by origin, and preempted sequences."""

    steps: int = 0
    prefilled_tokens: int = 0
    prefix_hit_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0


class Scheduler:
    """The sequences of one engine, and the blocks of the KV cache that they hold."""

    def __init__(self, blocks: int):
        self.blocks = BlockAllocator(blocks)
        self.waiting: deque[SequenceState] = deque()
        self.running: list[SequenceState] = []
        self.stats = SchedulerStats()
        self._computing: dict[bytes, SequenceState] = {}  # hashes of the blocks that a sequence is computing

    def schedule(self) -> list[ScheduledChunk]:
        """The chunks of the next step, with blocks allocated."""
        chunks = [ScheduledChunk.of(sequence, 1) for sequence in self._decoding()]
        budget = (PREFILL_CHUNK if chunks else 4 * PREFILL_CHUNK) - len(chunks)
        for sequence in self.running:
            if sequence.num_remaining_tokens > 1 and budget > 0:
                chunks.append(ScheduledChunk.of(sequence, sequence.chunk_size(budget)))
                budget -= chunks[-1].count
        while budget > 0 and len(self.running) < MAX_SEQUENCES and (admitted := self._admit()) is not None:
            chunks.append(ScheduledChunk.of(admitted, admitted.chunk_size(budget)))
            budget -= chunks[-1].count
        return chunks

    def _decoding(self) -> list[SequenceState]:
        """Decoding sequences, oldest first, each with a block for its token; may preempt the youngest for that."""
        decoding = [sequence for sequence in self.running if sequence.num_remaining_tokens == 1]
        for sequence in decoding:
            while len(sequence.block_table) * BLOCK_SIZE <= sequence.num_computed_tokens and sequence in self.running:
                if self.blocks.available:
                    sequence.block_table.append(self.blocks.allocate())
                else:
                    self._preempt(self.running[-1])
        return [sequence for sequence in decoding if sequence.block_table]

    def _admit(self) -> SequenceState | None:
        """Admit the first waiting sequence that can start; skip those whose prefix another sequence is computing."""
        for index, sequence in enumerate(self.waiting):
            full = (len(sequence.ids) - 1) // BLOCK_SIZE
            hashes = [] if sequence.request.echo else sequence.block_hashes()[:full]
            hits = self.blocks.match_prefix(hashes)
            if len(hits) < len(hashes) and hashes[len(hits)] in self._computing:
                self.blocks.free(hits)
                continue
            missing = -(-len(sequence.ids) // BLOCK_SIZE) - len(hits)
            if missing > self.blocks.available:
                self.blocks.free(hits)
                return None
            del self.waiting[index]
            self._start(sequence, hits, missing)
            for each in hashes[len(hits) :]:
                self._computing.setdefault(each, sequence)
            return sequence
        return None

    def _start(self, sequence: SequenceState, hits: list[int], missing: int) -> None:
        sequence.block_table = hits + [self.blocks.allocate() for _ in range(missing)]
        sequence.num_computed_tokens = len(hits) * BLOCK_SIZE
        if sequence.num_prefix_hits is None:
            sequence.num_prefix_hits = sequence.num_computed_tokens
        self.running.append(sequence)

    def count(self, chunks: list[ScheduledChunk]) -> None:
        """Count a step in the statistics; call it before `mark_computed`."""
        self.stats.steps += 1
        for chunk in chunks:
            sequence = chunk.sequence
            if chunk.start == (sequence.num_prefix_hits or 0) and chunk.start < sequence.num_prompt_tokens:
                self.stats.prefix_hit_tokens += chunk.start
            self.stats.prefilled_tokens += min(chunk.count, max(0, sequence.num_prompt_tokens - chunk.start))

    def mark_computed(self, chunk: ScheduledChunk) -> None:
        """Mark a chunk as computed in the KV cache, and add the blocks that it filled to the prefix cache."""
        sequence, first = chunk.sequence, chunk.start // BLOCK_SIZE
        sequence.num_computed_tokens += chunk.count
        for index in range(first, sequence.num_computed_tokens // BLOCK_SIZE):
            block_hash = sequence.block_hashes()[index]
            self.blocks.register(sequence.block_table[index], block_hash)
            if self._computing.get(block_hash) is sequence:
                del self._computing[block_hash]

    def finish(self, sequence: SequenceState) -> None:
        """End a sequence and free its blocks at once. Does nothing if it has ended."""
        if sequence.ended:
            return
        if sequence in self.running:
            self.running.remove(sequence)
            self._free(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.close()

    def fail(self, sequence: SequenceState, error: Exception) -> None:
        """End a sequence whose work raised, and emit the error unless the sequence has ended (its callback raised)."""
        ended = sequence.ended
        self.finish(sequence)
        if not ended:
            isolated(partial(sequence.on_delta, OutputDelta.failed(error)), lambda error: None)

    def isolated(self, sequence: SequenceState, work: Callable[[], T]) -> T | None:
        """Run the work of one sequence and return its result; an exception ends that sequence alone."""
        return isolated(work, partial(self.fail, sequence))

    def _preempt(self, sequence: SequenceState) -> None:
        self.running.remove(sequence)
        self._free(sequence)
        self.waiting.appendleft(sequence)
        self.stats.preemptions += 1

    def _free(self, sequence: SequenceState) -> None:
        self.blocks.free(sequence.block_table)
        sequence.block_table, sequence.num_computed_tokens, sequence.pending_logits = [], 0, None
        for each in [each for each, owner in self._computing.items() if owner is sequence]:
            del self._computing[each]

    def check(self) -> None:
        """Raise AssertionError unless allocator and block tables agree about every block."""
        self.blocks.check(sequence.block_table for sequence in self.running)
        assert set(self._computing.values()) <= set(self.running), "a block is being computed by no sequence"
