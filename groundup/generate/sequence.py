"""One request on its way to its answer."""

from collections.abc import Callable

from torch import Tensor

from groundup.codecs.text import Tokenizer
from groundup.generate.block_table import PAGE, names
from groundup.generate.look import Look
from groundup.generate.reader import Reader
from groundup.generate.request import OutputDelta, Request, Score

Listen = Callable[[OutputDelta], None]


class SequenceState:
    """What has been said so far, and how much of it the cache holds.

    `ids` are the prompt's and the answer's; keys and values of the first `computed` lie in `pages`. All of them may go
    and be computed again, with the same bits.
    """

    def __init__(self, request: Request, tokenizer: Tokenizer, listen: Listen):
        self.request, self.listen = request, listen
        self.ids, self.asked = list(request.prompt), len(request.prompt)
        self.computed = 0
        self.pages: list[int] = []
        self.cached: int | None = None  # ids of the prompt that others had computed; None before it is admitted
        self.prompt_scores: list[Score] = []
        self.source = request.sampling.source(request.number)
        self.reader = Reader(tokenizer, request.stops)
        self.constraint = None if request.grammar is None else request.grammar.constraint(tokenizer)
        self.ended = False
        self.held: Tensor | None = None  # the scores of what comes next, while it is not known what may come
        self._names: list[bytes] = []

    @property
    def left(self) -> int:
        """Ids to be computed: one while answering."""
        return len(self.ids) - self.computed

    @property
    def plain(self) -> bool:
        """Whether the next id is the likeliest one, and nobody asks for more."""
        request = self.request
        return (
            request.sampling.temperature == 0
            and not request.sampling.shifts
            and request.logprobs is None
            and self.constraint is None
        )

    def names(self) -> list[bytes]:
        """The name of each whole page of the ids."""
        known = len(self._names)
        if len(self.ids) - known * PAGE >= PAGE:
            marks = [self._mark(page) for page in range(known, len(self.ids) // PAGE)] if self.request.images else []
            self._names += names(self.ids[known * PAGE :], self._names[-1] if self._names else b"", marks)
        return self._names

    def _mark(self, page: int) -> bytes:
        """The images that reach into a page: all patches see each other, so that each depends on its whole image."""
        inside = self.within(page * PAGE, (page + 1) * PAGE)
        return b"".join(look.place.to_bytes(8, "little") + look.view.digest for look in inside)

    def within(self, start: int, end: int) -> tuple[Look, ...]:
        """The images with patches among the ids from `start` to `end`."""
        return tuple(look for look in self.request.images if look.place < end and start < look.end)

    def chunk(self, most: int) -> int:
        """How many ids to compute next: at most so many, and more only to the end of an image, whose patches see each
        other.
        """
        end = self.computed + min(most, self.left)
        return max([end, *(look.end for look in self.request.images if look.place < end)]) - self.computed

    def say(self, piece: OutputDelta) -> None:
        """Tell the one who asked."""
        self.listen(piece)

    def close(self) -> None:
        """Nothing more comes."""
        self.ended, self.held = True, None
        if self.constraint is not None:
            self.constraint.close()
