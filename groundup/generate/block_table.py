"""Which pages of the cache are free, which are in use, and which hold a beginning that others may share.

A page holds PAGE tokens. Its *name* is a hash of all tokens up to its end, and of the images that reach into them, so
equal names mean equal content, whoever computed it. A page that nobody uses keeps its content until the room is needed,
the longest unused first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

PAGE = 16  # tokens


def names(ids: Sequence[int], before: bytes = b"", marks: Sequence[bytes] = ()) -> list[bytes]:
    """The name of each whole page of a sequence that goes on after the page called `before`; `marks` say what else is
    in each.
    """
    found = []
    for start in range(0, len(ids) - PAGE + 1, PAGE):
        content = np.asarray(ids[start : start + PAGE], dtype=np.int32).tobytes() + (
            marks[start // PAGE] if marks else b""
        )
        before = blake2b(content, key=before, digest_size=16).digest()
        found.append(before)
    return found


class Pages:
    """The pages of one cache, by number."""

    def __init__(self, count: int):
        self.count = count
        self._free = list(reversed(range(count)))
        self._users = [0] * count
        self._name: dict[int, bytes] = {}  # of the pages that hold something to share
        self._page: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # named pages without users, the longest unused first

    @property
    def available(self) -> int:
        """Pages that can be taken now."""
        return len(self._free) + len(self._idle)

    @property
    def idle(self) -> int:
        """Pages without users whose content may be shared."""
        return len(self._idle)

    def match(self, wanted: Sequence[bytes]) -> list[int]:
        """The pages that hold the first of the wanted content, as many as there are; the caller uses them from now
        on.
        """
        found = []
        for name in wanted:
            if (page := self._page.get(name)) is None:
                break
            self._idle.pop(page, None)
            self._users[page] += 1
            found.append(page)
        return found

    def take(self) -> int:
        """An empty page, now used once; what an idle one held is forgotten if need be. Raises IndexError if none is
        available.
        """
        if self._free:
            page = self._free.pop()
        elif self._idle:
            page, _ = self._idle.popitem(last=False)
            del self._page[self._name.pop(page)]
        else:
            raise IndexError("no page is available")
        self._users[page] = 1
        return page

    def name(self, page: int, name: bytes) -> None:
        """Let others share a used page's content, unless another page offers the same already."""
        if name not in self._page:
            self._page[name], self._name[page] = page, name

    def release(self, pages: Iterable[int]) -> None:
        """One user less for each page of a sequence, given in order: its end is forgotten before its beginning."""
        for page in reversed(list(pages)):
            self._users[page] -= 1
            if self._users[page] == 0:
                if page in self._name:
                    self._idle[page] = None
                else:
                    self._free.append(page)

    def check(self, users: Iterable[Iterable[int]]) -> None:
        """Raise AssertionError unless the books agree with the pages that the users say they hold."""
        held = [0] * self.count
        for pages in users:
            for page in pages:
                held[page] += 1
        assert held == self._users, "the count of users is wrong"
        used = {page for page, count in enumerate(self._users) if count}
        assert sorted([*self._free, *self._idle, *used]) == list(range(self.count)), "a page is lost or in two places"
        assert {name: page for page, name in self._name.items()} == self._page, "names and pages disagree"
        assert set(self._idle) <= set(self._name), "an idle page holds nothing to share"
