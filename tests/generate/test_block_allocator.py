"""Blocks of the KV cache: none is lost or allocated twice, equal prefixes are shared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.generate.block_allocator import BlockAllocator, block_hashes
from groundup.kernels.kv_cache import BLOCK_SIZE


def test_hashes_are_equal_exactly_where_all_ids_before_are():
    ids = list(range(5 * BLOCK_SIZE + 3))
    assert len(block_hashes(ids)) == 5
    assert block_hashes(ids[: 2 * BLOCK_SIZE]) == block_hashes(ids)[:2]
    changed = [*ids[:BLOCK_SIZE], 99, *ids[BLOCK_SIZE + 1 :]]
    assert [a == b for a, b in zip(block_hashes(ids), block_hashes(changed), strict=True)] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert block_hashes(ids[BLOCK_SIZE:], block_hashes(ids)[0]) == block_hashes(ids)[1:]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 6)), max_size=60))
def test_any_sequence_of_events_leaves_the_allocator_consistent(events):
    """Sequences with one of six texts start (0, 1) or end (2)."""
    allocator, held = BlockAllocator(9), []
    for kind, text, length in events:
        hashes = block_hashes([text] * BLOCK_SIZE * length)
        if kind < 2:
            hits = allocator.match_prefix(hashes)
            if length - len(hits) > allocator.available:
                allocator.free(hits)
            else:
                blocks = hits + [allocator.allocate() for _ in range(length - len(hits))]
                for block, block_hash in zip(blocks[len(hits) :], hashes[len(hits) :], strict=True):
                    allocator.register(block, block_hash)
                held.append(blocks)
        elif kind == 2 and held:
            allocator.free(held.pop(text % len(held)))
        allocator.check(held)
    for blocks in held:
        allocator.free(blocks)
    assert allocator.available == allocator.count


def test_content_stays_until_it_is_evicted_the_least_recently_used_first():
    allocator = BlockAllocator(4)
    for text in (1, 2):
        hashes = block_hashes([text] * 2 * BLOCK_SIZE)
        blocks = [allocator.allocate(), allocator.allocate()]
        for block, block_hash in zip(blocks, hashes, strict=True):
            allocator.register(block, block_hash)
        allocator.free(blocks)
    assert (allocator.available, allocator.idle) == (4, 4)
    allocator.allocate()  # the end of the first text is forgotten, its beginning stays
    assert len(allocator.match_prefix(block_hashes([1] * 2 * BLOCK_SIZE))) == 1
    assert len(allocator.match_prefix(block_hashes([2] * 2 * BLOCK_SIZE))) == 2


def test_nothing_is_allocated_where_none_is_left():
    allocator = BlockAllocator(1)
    allocator.allocate()
    with pytest.raises(IndexError):
        allocator.allocate()


@pytest.mark.parametrize("wrong", [[], [[0, 1]], [[0], [0]]])
def test_the_check_finds_wrong_counts(wrong):
    allocator = BlockAllocator(3)
    allocator.allocate()
    allocator.check([[0]])
    with pytest.raises(AssertionError):
        allocator.check(wrong)
