"""The order of the data in closed form: source and row at position n, the same in any process; no order is stored."""

import hashlib
import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
ROUNDS = 4


class Node(NamedTuple):
    """A node of the mixing tree: the fraction of the rows below it, and its source or its two halves."""

    fraction: float
    number: int  # at a leaf the number of the source; inside, later numbers; breaks ties when the tree is built
    halves: "tuple[Node, Node] | None" = None  # the smaller fraction first


def mixing_tree(fractions: list[float]) -> Node:
    """The Huffman tree of the fractions (each > 0): halves as equal as they can be, large fractions near the root."""
    heap = [Node(fraction, number) for number, fraction in enumerate(fractions)]
    heapq.heapify(heap)
    for number in range(len(fractions), 2 * len(fractions) - 1):
        small, large = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, Node(small.fraction + large.fraction, number, (small, large)))
    return heap[0]


def assign(rows: Indices, tree: Node) -> tuple[Indices, Indices]:
    """The source of each row [n] of the mixed stream, and its index among that source's rows [n].

    At a node whose smaller half has the fraction q, the first m rows hold round(m q) of that half, at most half a row
    off. Down the tree the errors shrink with the fractions: after any number of rows a source is off by at most
    1/2 * sum(p / p_a) over the nodes a from its leaf (p_a = p) up to below the root (`deviation`).
    """
    sources, indices = np.zeros_like(rows), rows.copy()
    _descend(tree, np.arange(len(rows)), sources, indices)
    return sources, indices


def _descend(node: Node, members: Indices, sources: Indices, indices: Indices) -> None:
    if node.halves is None:
        sources[members] = node.number
        return
    small, large = node.halves
    fraction = small.fraction / node.fraction
    rows = indices[members]
    before = np.floor(rows * fraction + 0.5).astype(np.int64)
    after = np.floor((rows + 1) * fraction + 0.5).astype(np.int64)
    in_small = after > before
    indices[members] = np.where(in_small, before, rows - before)
    _descend(small, members[in_small], sources, indices)
    _descend(large, members[~in_small], sources, indices)


def deviation(tree: Node, source: int) -> float:
    """The most rows by which a source can be off its fraction, after any number of rows (see `assign`)."""
    path = _path(tree, source)
    return 0.5 * sum(path[-1] / fraction for fraction in path[1:])


def _path(node: Node, source: int) -> list[float]:
    """Fractions from the root to the leaf of a source; empty when it is not below."""
    if node.halves is None:
        return [node.fraction] if node.number == source else []
    below = _path(node.halves[0], source) or _path(node.halves[1], source)
    return [node.fraction, *below] if below else []


def shuffled(indices: Indices, rows: int, key: int) -> Indices:
    """The row [n] of a source of `rows` rows at each index [n] of its endless stream.

    Every epoch of `rows` indices visits each row once, in an order of its own: a format-preserving permutation, an
    alternating Feistel network over the grid a x b >= rows (Black and Rogaway 2002, "Ciphers with Arbitrary Finite
    Domains"), walked again while it lands outside the rows. It needs no table of the size of the data.
    """
    a = int(np.ceil(np.sqrt(rows)))
    b = -(-rows // a)
    epoch, place = np.divmod(indices, rows)
    keys = mix(epoch.astype(np.uint64) ^ np.uint64(key))
    result = _feistel(place.astype(np.uint64), a, b, keys)
    while (outside := result >= rows).any():
        result[outside] = _feistel(result[outside], a, b, keys[outside])
    return result.astype(np.int64)


def _feistel(place: Bits, a: int, b: int, keys: Bits) -> Bits:
    left, right = np.divmod(place, np.uint64(b))
    for turn in range(ROUNDS):
        left = (left + mix(right ^ mix(keys + np.uint64(2 * turn))) % np.uint64(a)) % np.uint64(a)
        right = (right + mix(left ^ mix(keys + np.uint64(2 * turn + 1))) % np.uint64(b)) % np.uint64(b)
    return left * np.uint64(b) + right


def mix(bits: Bits) -> Bits:
    """The output function of splitmix64 (Steele, Lea and Flood 2014): scatters 64-bit numbers [n]."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def stream_key(seed: int, name: str) -> int:
    """A different 64-bit key for each seed and source name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")
