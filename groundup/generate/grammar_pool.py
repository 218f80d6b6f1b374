"""The grammar process pool: each client's grammar is compiled and evaluated in a worker process of its own.

A grammar is compiled before its request enters the engine, whose thread waits only a limited time for a token mask. The
state of a sequence is its grammar and its ids: when a worker ends, its sequences restart in another and get the same
masks. A sequence fails when two of its workers have ended.
"""

import asyncio
import json
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from select import POLLIN, poll
from typing import TypeVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate import grammar_worker as worker
from groundup.generate.grammar import AnyConstraint, UntrustedGrammar, unpacked
from groundup.generate.grammar_process import WorkerLink, WorkerSpawner, framed
from groundup.generate.refusals import Busy, Closing

T = TypeVar("T")
COMPILING = 2  # grammars that are compiled at a time, at most one of each client
PENDING, PENDING_OF_ONE = 64, 16  # grammars that wait to be compiled: of all clients, of one
HELD, HELD_OF_ONE = 64, 16  # grammars that are in use or about to be, each with a process: of all clients, of one
RECENT = 16  # compiled grammars, and refusals, that are cached for later requests
WALL_SECONDS = 30.0  # wall time for work that has a limit of CPU time, on an overloaded machine
LIVES = 2  # a sequence fails when so many of its workers have ended: the first may have another cause


class RemoteConstraint:
    """The state of one sequence under a grammar that a worker process evaluates."""

    def __init__(self, grammar: "CompiledGrammar", session: int, first: bytes, size: int):
        self.session, self.ids = session, list[int]()
        self.mask: bytes | None = first
        self.error: str | None = None
        self.link: WorkerLink | None = None  # the worker that knows the first `known` ids
        self.known, self.lives, self.since = 0, LIVES, 0.0
        self._grammar, self._size = grammar, size

    def token_mask(self) -> NDArray[np.bool_] | None:
        """As `AnyConstraint`."""
        if self.mask is None and self.error is None:
            self._grammar.update()
        if self.error is not None:
            raise InputError(self.error)
        return None if self.mask is None else unpacked(self.mask, self._size)

    def accept(self, id: int) -> None:
        """As `AnyConstraint`."""
        self.ids.append(id)
        self.mask = None
        self._grammar.request_mask(self)

    def fileno(self) -> int:
        """As `AnyConstraint`."""
        return self._grammar.fileno()

    def close(self) -> None:
        """As `AnyConstraint`."""
        self._grammar.forget(self)


class CompiledGrammar:
    """A compiled grammar with its worker process, as a `Request` takes it. For the engine's thread."""

    def __init__(self, source: UntrustedGrammar, client: str, spawner: WorkerSpawner, link: WorkerLink, first: bytes):
        self.source, self.client = source, client
        self._spawner, self._link, self._first = spawner, link, first
        self._sessions = 0
        self._requested: dict[int, RemoteConstraint] = {}  # in the order in which the worker replies

    def constraint(self, tokenizer: Tokenizer) -> RemoteConstraint:
        """The state of a new sequence."""
        self._sessions += 1
        return RemoteConstraint(self, self._sessions, self._first, tokenizer.size)

    def request_mask(self, sequence: RemoteConstraint) -> None:
        """Ask the worker for the mask after a sequence's ids."""
        known = sequence.known if sequence.link is self._link else 0
        self._requested[sequence.session] = sequence
        sequence.link, sequence.known, sequence.since = self._link, len(sequence.ids), time.monotonic()
        self._link.send([sequence.session, known, *sequence.ids[known:]])

    def forget(self, sequence: RemoteConstraint) -> None:
        """Release a sequence."""
        self._requested.pop(sequence.session, None)
        if sequence.link is self._link:
            self._link.send([sequence.session, worker.FORGET])

    def update(self) -> None:
        """Receive the worker's messages; replace it if it has ended, or takes too long by the clock."""
        for session, kind, content in self._link.receive():
            sequence = self._requested.pop(session, None)
            if sequence is not None and kind == worker.MASK:
                sequence.mask = content
            elif sequence is not None:
                sequence.error = content.decode()
        first = next(iter(self._requested.values()), None)
        if first is not None and time.monotonic() - first.since > WALL_SECONDS:
            self._link.kill()
        if self._link.ended:
            self._restart()

    def _restart(self) -> None:
        waiting = list(self._requested.values())
        self._requested.clear()
        if waiting:
            waiting[0].lives -= 1
            if not waiting[0].lives:
                waiting.pop(0).error = f"the grammar cannot be followed: {_beyond(worker.MASK_SECONDS)}"
        self._link = WorkerLink(self._spawner)
        self._link.send_bytes(_message(self.source))
        for sequence in waiting:
            self.request_mask(sequence)

    def fileno(self) -> int:
        """The worker's channel: readable when there is something to `update`."""
        return self._link.channel.fileno()


def wait(constraints: Sequence[AnyConstraint], seconds: float) -> None:
    """Wait until one of the masks may be ready, at most so many seconds."""
    poller = poll()
    for constraint in constraints:
        if constraint.fileno() >= 0:
            poller.register(constraint.fileno(), POLLIN)
    poller.poll(seconds * 1000)


class GrammarPool:
    """Compiles grammars for one vocabulary; created in any thread, used in one event loop."""

    def __init__(self, tokenizer: Tokenizer):
        self._spawner = WorkerSpawner(tokenizer)
        self._live = WeakValueDictionary[UntrustedGrammar, CompiledGrammar]()
        self._recent = OrderedDict[UntrustedGrammar, CompiledGrammar]()
        self._refused = OrderedDict[UntrustedGrammar, str]()
        self._compilers = asyncio.Semaphore(COMPILING)
        self._turns: dict[str, asyncio.Lock] = {}
        self._pending = Counter[str]()
        self._closed = False

    async def compiled(self, grammar: UntrustedGrammar, client: str = "") -> CompiledGrammar:
        """Compile a grammar when it is the client's turn; cancelling the caller kills the process.

        Raises InputError for a grammar that is too complex, Closing, and Busy.
        """
        if not self._spawner.runs:
            await asyncio.to_thread(self._spawner.start)
        if (compiled := self._known(grammar)) is not None:
            return compiled
        with self._waiting(client) as turn:
            async with turn:
                await self._room(client)
                async with self._compilers:
                    return self._known(grammar) or await self._compile(
                        grammar, client
                    )  # known: compiled for another meanwhile

    def close(self) -> None:
        """End all processes; from any thread."""
        self._closed = True
        self._spawner.close()

    def _known(self, grammar: UntrustedGrammar) -> CompiledGrammar | None:
        if grammar in self._refused:
            self._refused.move_to_end(grammar)
            raise InputError(self._refused[grammar])
        compiled = self._live.get(grammar)
        if compiled is not None:
            _remember(self._recent, grammar, compiled)
        return compiled

    @contextmanager
    def _waiting(self, client: str) -> Iterator[asyncio.Lock]:
        """Count a client's waiting grammars; yields the lock under which one of them is compiled."""
        if self._pending.total() >= PENDING or self._pending[client] >= PENDING_OF_ONE:
            raise Busy(worker.COMPILE_SECONDS, "too many grammars wait to be compiled")
        self._pending[client] += 1
        try:
            yield self._turns.setdefault(client, asyncio.Lock())
        finally:
            self._pending[client] -= 1
            if not self._pending[client]:
                del self._pending[client], self._turns[client]

    async def _room(self, client: str) -> None:
        """Wait until one more grammar of a client can be held. Raises Busy if that takes too long."""
        try:
            async with asyncio.timeout(WALL_SECONDS):
                while self._full(client):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Busy(worker.COMPILE_SECONDS, "running answers use too many grammars") from None

    def _full(self, client: str) -> bool:
        held = list(self._live.values())
        own = [grammar.source for grammar in held if grammar.client == client]
        if len(own) < HELD_OF_ONE and len(held) < HELD:
            return False
        kept = next((source for source in self._recent if source in own or len(held) >= HELD), None)
        if kept is not None:  # perhaps no sequence uses it any more
            del self._recent[kept]
        return True

    async def _compile(self, source: UntrustedGrammar, client: str) -> CompiledGrammar:
        link = WorkerLink(self._spawner)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                first = await self._first_mask(source, link)
        except BaseException as error:
            link.kill()
            if isinstance(error, InputError) and not self._closed:
                _remember(self._refused, source, str(error))
            if isinstance(error, TimeoutError):
                raise Busy(worker.COMPILE_SECONDS, "the machine is too busy to compile a grammar") from None
            raise
        compiled = self._live[source] = CompiledGrammar(source, client, self._spawner, link, first)
        _remember(self._recent, source, compiled)
        return compiled

    async def _first_mask(self, grammar: UntrustedGrammar, link: WorkerLink) -> bytes:
        with suppress(OSError):  # it has ended, which the loop sees
            await asyncio.get_running_loop().sock_sendall(link.channel, framed(_message(grammar)))
        while True:
            for _, kind, content in link.receive():
                if kind == worker.MASK:
                    return content
                raise InputError(content.decode())
            if link.ended:
                raise self._ended(grammar, link)
            await _readable(link.channel)

    def _ended(self, grammar: UntrustedGrammar, link: WorkerLink) -> Exception:
        """Why a worker has ended before its first mask."""
        if self._closed:
            return Closing()
        if link.worker is None:
            return Busy(1.0, "the process that compiles grammars has ended")
        return InputError(f"the {worker.NAMES[grammar.kind]} cannot be used: {_beyond(worker.COMPILE_SECONDS)}")


async def _readable(channel: socket.socket) -> None:
    """Wait until the channel is readable."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(channel, news.set)
    try:
        await news.wait()
    finally:
        loop.remove_reader(channel)


def _message(grammar: UntrustedGrammar) -> bytes:
    return json.dumps([grammar.kind, grammar.text]).encode()


def _beyond(seconds: float) -> str:
    return f"it takes more than {seconds:g} s of a processor or {worker.MEMORY >> 20} MiB; make it smaller"


def _remember(kept: "OrderedDict[UntrustedGrammar, T]", grammar: UntrustedGrammar, value: T) -> None:
    """Keep the most recent values."""
    kept[grammar] = value
    kept.move_to_end(grammar)
    if len(kept) > RECENT:
        kept.popitem(last=False)
