"""Who is computed in the next step: answers go on, prompts are read in chunks, and none waits longer than it must.

An answer is admitted once there are pages for all of its prompt; those of a beginning that is in the cache, or is being
computed by another, are shared. When pages run out, the youngest answer gives its own up and is computed again later.
"""

from collections import deque

from groundup.generate.block_table import PAGE, Pages
from groundup.generate.sequence import SequenceState

ROWS = 128  # answers at a time: more make a step longer and hardly more of it useful
CHUNK = 128  # tokens of prompts a step while others wait for their next id; four times that when nobody does
STEP = 4 * CHUNK + ROWS  # tokens that no step exceeds, but for the rest of an image


class Scheduler:
    """The answers of one engine, and the pages they hold."""

    def __init__(self, pages: int):
        self.pages = Pages(pages)
        self.waiting: deque[SequenceState] = deque()
        self.running: list[SequenceState] = []
        self.preemptions = 0
        self._promised: dict[bytes, SequenceState] = {}  # pages that somebody is computing

    def plan(self) -> list[tuple[SequenceState, int]]:
        """Answers with how many of their next ids to compute, pages at hand."""
        step = [(answer, 1) for answer in self._answering()]
        budget = (CHUNK if step else 4 * CHUNK) - len(step)
        for answer in self.running:
            if answer.left > 1 and budget > 0:
                step.append((answer, answer.chunk(budget)))
                budget -= step[-1][1]
        while budget > 0 and len(self.running) < ROWS and (admitted := self._admit()) is not None:
            step.append((admitted, admitted.chunk(budget)))
            budget -= step[-1][1]
        return step

    def _answering(self) -> list[SequenceState]:
        """Answers that need one id, the oldest first, each with a page to put it; a younger one may lose its pages to
        an older.
        """
        found = [answer for answer in self.running if answer.left == 1]
        for answer in found:
            while len(answer.pages) * PAGE <= answer.computed and answer in self.running:
                if self.pages.available:
                    answer.pages.append(self.pages.take())
                else:
                    self._preempt(self.running[-1])
        return [answer for answer in found if answer.pages]

    def _admit(self) -> SequenceState | None:
        """The first in the queue that can begin now; one whose beginning another is computing lets those behind it
        pass.
        """
        for place, answer in enumerate(self.waiting):
            shared = [] if answer.request.echo else answer.names()[: (len(answer.ids) - 1) // PAGE]
            found = self.pages.match(shared)
            if len(found) < len(shared) and shared[len(found)] in self._promised:
                self.pages.release(found)
                continue
            needed = -(-len(answer.ids) // PAGE) - len(found)
            if needed > self.pages.available:
                self.pages.release(found)
                return None
            del self.waiting[place]
            answer.pages = found + [self.pages.take() for _ in range(needed)]
            answer.computed = len(found) * PAGE
            if answer.cached is None:
                answer.cached = answer.computed
            for name in shared[len(found) :]:
                self._promised.setdefault(name, answer)
            self.running.append(answer)
            return answer
        return None

    def computed(self, answer: SequenceState, count: int) -> None:
        """Note that the cache holds `count` more ids of an answer, and offer the pages they filled to others."""
        first = answer.computed // PAGE
        answer.computed += count
        for place in range(first, answer.computed // PAGE):
            name = answer.names()[place]
            self.pages.name(answer.pages[place], name)
            if self._promised.get(name) is answer:
                del self._promised[name]

    def remove(self, answer: SequenceState) -> None:
        """Give up an answer's place and pages; nothing happens if it has none."""
        if answer in self.running:
            self.running.remove(answer)
            self._give_up(answer)
        elif answer in self.waiting:
            self.waiting.remove(answer)

    def _preempt(self, answer: SequenceState) -> None:
        self.running.remove(answer)
        self._give_up(answer)
        self.waiting.appendleft(answer)
        self.preemptions += 1

    def _give_up(self, answer: SequenceState) -> None:
        self.pages.release(answer.pages)
        answer.pages, answer.computed, answer.held = [], 0, None
        for name in [name for name, owner in self._promised.items() if owner is answer]:
            del self._promised[name]

    def check(self) -> None:
        """Raise AssertionError unless every page is where the books say."""
        self.pages.check(answer.pages for answer in self.running)
        assert set(self._promised.values()) <= set(self.running), "a page is promised by nobody"
