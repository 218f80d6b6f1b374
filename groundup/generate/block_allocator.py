"""Allocates the blocks of the KV cache, and finds blocks that already hold a prefix (prefix cache).

A sequence has a *block table*: its blocks of BLOCK_SIZE tokens, in order. The hash of a full block covers all tokens up
to its end and the images among them, so equal hashes mean equal content. A block without users keeps its content until
it is allocated again, the least recently used first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from groundup.kernels.kv_cache import BLOCK_SIZE


def block_hashes(ids: Sequence[int], parent: bytes = b"", extra: Sequence[bytes] = ()) -> list[bytes]:
    """The hash of each full block after the block with hash `parent`; `extra` has each block's image digests."""
    hashes = []
    for start in range(0, len(ids) - BLOCK_SIZE + 1, BLOCK_SIZE):
        content = np.asarray(ids[start : start + BLOCK_SIZE], dtype=np.int32).tobytes()
        content += extra[start // BLOCK_SIZE] if extra else b""
        parent = blake2b(content, key=parent, digest_size=16).digest()
        hashes.append(parent)
    return hashes


class BlockAllocator:
    """The blocks of one cache, by number, with reference counts."""

    def __init__(self, count: int):
        self.count = count
        self._free = list(reversed(range(count)))
        self._users = [0] * count
        self._hash: dict[int, bytes] = {}  # of the blocks that can be shared
        self._block: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # hashed blocks without users, least recently used first

    @property
    def available(self) -> int:
        """Blocks that can be allocated now."""
        return len(self._free) + len(self._idle)

    @property
    def idle(self) -> int:
        """Blocks without users whose content can be shared."""
        return len(self._idle)

    def match_prefix(self, hashes: Sequence[bytes]) -> list[int]:
        """The blocks of the longest cached prefix; adds a reference to each for the caller."""
        blocks = []
        for each in hashes:
            if (block := self._block.get(each)) is None:
                break
            self._idle.pop(block, None)
            self._users[block] += 1
            blocks.append(block)
        return blocks

    def allocate(self) -> int:
        """An empty block with one user; may evict the least recently used. Raises IndexError if none is available."""
        if self._free:
            block = self._free.pop()
        elif self._idle:
            block, _ = self._idle.popitem(last=False)
            del self._block[self._hash.pop(block)]
        else:
            raise IndexError("no block is available")
        self._users[block] = 1
        return block

    def register(self, block: int, block_hash: bytes) -> None:
        """Add a full block to the prefix cache under its hash, unless another block has the same content."""
        if block_hash not in self._block:
            self._block[block_hash], self._hash[block] = block, block_hash

    def free(self, blocks: Iterable[int]) -> None:
        """Release a sequence's blocks, given in order, so that the end of a text is evicted before its beginning."""
        for block in reversed(list(blocks)):
            self._users[block] -= 1
            if self._users[block] == 0:
                if block in self._hash:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def check(self, block_tables: Iterable[Iterable[int]]) -> None:
        """Raise AssertionError unless reference counts, free lists and hashes agree with these block tables."""
        users = [0] * self.count
        for blocks in block_tables:
            for block in blocks:
                users[block] += 1
        assert users == self._users, "a reference count is wrong"
        used = {block for block, count in enumerate(self._users) if count}
        assert sorted([*self._free, *self._idle, *used]) == list(range(self.count)), "a block is lost or listed twice"
        assert {each: block for block, each in self._hash.items()} == self._block, "hashes and blocks disagree"
        assert set(self._idle) <= set(self._hash), "an idle block has no hash"
