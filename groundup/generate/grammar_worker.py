"""A worker of the grammar process pool: compiles one grammar and computes its token masks. As a script: the spawner.

It imports only llguidance, so that it starts fast and forks have little memory. The spawner holds the vocabulary and
forks a worker for each grammar; it parses no grammar. The system kills a worker that exceeds its memory or CPU time.

Messages start with their length in 4 bytes. To the spawner: the vocabulary as JSON; then 4 bytes each, 0 with a socket
for a new worker, or the process id of a worker to kill. To a worker: the grammar as JSON; then 4-byte numbers: session,
count of its known ids, next ids (count 0: restart; FORGET: release). From a worker: session, PID, MASK or ERROR,
content.
"""

import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

# Seconds of CPU time of a grammar and its first mask, of any other mask, and of all masks of a sequence.
COMPILE_SECONDS, MASK_SECONDS, ANSWER_SECONDS = 1.0, 0.5, 20.0
MEMORY = 128 << 20  # bytes that a worker may allocate beyond those it starts with
PID, MASK, ERROR = 0, 1, 2
FORGET = 2**32 - 1
NICE, MUCH, LAST = 10, 0.5, 19  # niceness of a worker: below the model; LAST once it has computed for MUCH seconds
NAMES = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "grammar"}
MAKERS = {"json_schema": "grammar_from_json_schema", "regex": "grammar_from_regex", "lark": "grammar_from_lark"}


class Refused(Exception):
    """A grammar that cannot be used; one sentence."""


# --- llguidance, for this process and any other ---------------------------------------------------------------------


def vocabulary(table: str, size: int, ends: list[int]) -> Any:
    """llguidance's tokenizer from a tokenizer.json with `size` ids, of which `ends` end an answer."""
    from llguidance import LLTokenizer

    return LLTokenizer(table, n_vocab=size, eos_token=ends)


def check(kind: str, text: str) -> None:
    """Raise Refused for a text that is not a grammar; needs no vocabulary."""
    from llguidance import LLMatcher

    if problem := LLMatcher.validate_grammar(_written(kind, text)):
        raise _unusable(kind, problem)


def matcher(kind: str, text: str, tokens: Any) -> Any:
    """The matcher of a new sequence. Raises Refused for a text that is not a grammar, or too complex."""
    from llguidance import LLMatcher, LLParserLimits

    made = LLMatcher(
        tokens, _written(kind, text), log_level=0, limits=LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
    )
    if made.is_error():
        raise _unusable(kind, made.get_error())
    return made


def _written(kind: str, text: str) -> str:
    """The grammar in llguidance's own syntax."""
    from llguidance import LLMatcher

    try:
        found: str = getattr(LLMatcher, MAKERS[kind])(text)
    except ValueError as error:
        raise _unusable(kind, str(error)) from None
    return found


def _unusable(kind: str, problem: str) -> Refused:
    return Refused(f"the {NAMES[kind]} cannot be used: {_first_line(problem)}")


def mask(following: Any) -> bytes:
    """The token mask, one bit for each id, lowest first. Raises Refused for a grammar that is too complex."""
    bits: bytes = following.compute_bitmask()
    if following.is_error():
        raise Refused(f"the grammar cannot be followed: {_first_line(following.get_error())}")
    if not any(bits):
        raise Refused("the grammar cannot be followed: no token may come next")
    return bits


def _first_line(text: str) -> str:
    """The first line of an error; a panic of llguidance is not quoted."""
    return "it is beyond llguidance" if text.startswith("panic") else text.strip().splitlines()[0][:200]


# --- a worker -------------------------------------------------------------------------------------------------------


def send(channel: socket.socket, session: int, kind: int, content: bytes) -> None:
    """Send a message of a worker."""
    channel.sendall(struct.pack("<III", len(content) + 8, session, kind) + content)


def receive(channel: socket.socket) -> bytes:
    """The next message; raises EOFError once the other end is closed."""
    (size,) = struct.unpack("<I", _exactly(channel, 4))
    return _exactly(channel, size)


def _exactly(channel: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = channel.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


class Worker:
    """One grammar and the sequences that it constrains. Work beyond the limits ends the process."""

    def __init__(self, channel: socket.socket, tokens: Any):
        self._channel = channel
        self._following: dict[int, Any] = {}
        self._spent: dict[int, float] = {}
        send(channel, 0, PID, struct.pack("<I", os.getpid()))
        _limit_memory()
        kind, text = json.loads(receive(channel))
        _limit_time(COMPILE_SECONDS)
        self._start = matcher(kind, text, tokens)
        send(channel, 0, MASK, mask(self._start))

    def work(self) -> None:
        """Answer messages until the channel is closed."""
        while True:
            session, known, *ids = array("I", receive(self._channel))
            if known == FORGET:
                self._following.pop(session, None)
                self._spent.pop(session, None)
                continue
            try:
                send(self._channel, session, MASK, self._after(session, known, ids))
            except Refused as error:
                send(self._channel, session, ERROR, str(error).encode())

    def _after(self, session: int, known: int, ids: list[int]) -> bytes:
        if self._spent.setdefault(session, 0.0) > ANSWER_SECONDS:
            raise Refused(f"the grammar takes too long to follow: more than {ANSWER_SECONDS:g} seconds for one answer")
        began = time.process_time()
        _limit_time(MASK_SECONDS)
        if not known:
            self._following[session] = self._start.deep_copy()
        following = self._following[session]
        following.consume_tokens(ids)
        bits = mask(following)
        self._spent[session] += time.process_time() - began
        if time.process_time() > MUCH:
            os.nice(LAST)
        return bits


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # not on every system
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


def _limit_time(seconds: float) -> None:
    """End the process by a signal after so many more seconds of CPU time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


# --- the spawner ------------------------------------------------------------------------------------


def main(control: socket.socket) -> None:
    """Fork and kill workers on request, until the control channel is closed."""
    tokens, workers = vocabulary(**json.loads(receive(control))), set[int]()
    os.nice(NICE)
    try:
        while True:
            command, channels, _, _ = socket.recv_fds(control, 4, 1)
            if len(command) < 4:
                return
            _reap(workers)
            (pid,) = struct.unpack("<i", command)
            if pid in workers:
                os.kill(pid, signal.SIGKILL)
            for number in channels:
                workers.add(_fork(control, number, tokens))
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


def _fork(control: socket.socket, number: int, tokens: Any) -> int:
    """Fork a worker at the other end of a socket; returns its process id."""
    pid = os.fork()
    if pid:
        os.close(number)
        return pid
    try:
        control.close()
        channel = socket.socket(fileno=number)
        try:
            Worker(channel, tokens).work()
        except Refused as error:
            send(channel, 0, ERROR, str(error).encode())
    finally:
        os._exit(0)


def _reap(workers: set[int]) -> None:
    """Reap those that have ended."""
    with suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            workers.discard(pid)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
