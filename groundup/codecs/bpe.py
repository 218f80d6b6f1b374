"""Byte-pair encoding: the merge list of a vocabulary, that is, the pair of tokens that each token is merged from.

tiktoken merges the neighbours whose *result* has the lowest id; Hugging Face tokenizers merge those that come first in
a list of *pairs*. Both agree on every text if each token has exactly one pair: the last merge when the token's own
bytes are tokenised. As long as nothing merges across a token's ends, no other pair occurs.
"""

from collections.abc import Iterable, Iterator


class Merges:
    """The pair of each token, in the order of merging; the ids of merged tokens are in ascending order."""

    def __init__(self) -> None:
        self._token: dict[tuple[int, int], int] = {}
        self._halves: dict[int, tuple[int, int]] = {}

    def add(self, left: int, right: int, token: int) -> bool:
        """Record `left`, `right` as the pair of `token`, if merging gives this pair last; returns whether it does."""
        if not self._arrives(left, right, token):
            return False
        self._token[left, right] = token
        self._halves[token] = (left, right)
        return True

    def _arrives(self, left: int, right: int, token: int) -> bool:
        """Whether the bytes of `left` and `right` become these two before anything merges across their seam.

        At the seam, a token of the right edge of `left` meets one of the left edge of `right`. They merge if their rank
        precedes that of the tokens they are merged into; at the same rank, the merge further left comes first.
        """
        right_edge = list(self._edge(right, 0, token))
        for before, before_ends in self._edge(left, 1, token):
            for after, after_ends in right_edge:
                across = self._token.get((before, after))
                if across is not None and across < before_ends and across <= after_ends:
                    return False
        return True

    def _edge(self, part: int, side: int, swallowed_by: int) -> Iterator[tuple[int, int]]:
        """Tokens at one edge of `part`, largest first, each with the token that it is merged into."""
        yield part, swallowed_by
        while part in self._halves:
            swallowed_by, part = part, self._halves[part][side]
            yield part, swallowed_by


def halves(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merge list of a vocabulary: the pair of each longer token, by rank. Raises ValueError if one has no pair."""
    known = {token: rank for token, rank in ranks.items() if len(token) == 1}
    merges, pairs = Merges(), []
    for token in sorted(ranks.keys() - known.keys(), key=ranks.__getitem__):
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        pair = next((pair for pair in cuts if _add(merges, known, pair, ranks[token])), None)
        if pair is None:
            raise ValueError(f"token {token!r} is not made of two tokens before it")
        known[token] = ranks[token]
        pairs.append(pair)
    return pairs


def reachable(ids: dict[bytes, int], pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, int]:
    """The tokens, with ids, that a merge list can produce; merging by lowest id must produce the same.

    Raises ValueError if it would not: a result without id, falling ids, a token that needs a later one.
    """
    known = {token: id for token, id in ids.items() if len(token) == 1}
    merges, last, early = Merges(), -1, []
    for pair in pairs:
        token = pair[0] + pair[1]
        id = ids.get(token)
        if id is None or id < last:
            raise ValueError(f"{token!r} is not in the vocabulary, or its id is lower than that of a merge before it")
        last = id
        if pair[0] not in known or pair[1] not in known:
            early.append(pair)
        elif token not in known and merges.add(known[pair[0]], known[pair[1]], id):
            known[token] = id
    for left, right in early:
        if left in known and right in known and left + right not in known:
            raise ValueError(f"the merge of {left!r} and {right!r} stands before the merges of its parts")
    return known


def _add(merges: Merges, known: dict[bytes, int], pair: tuple[bytes, bytes], token: int) -> bool:
    left, right = pair
    return left in known and right in known and merges.add(known[left], known[right], token)
