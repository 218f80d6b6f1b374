"""The server's side of the grammar processes: the spawner that forks workers, and a link to each worker."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import finalize

from groundup.codecs.text import Tokenizer
from groundup.generate import grammar_worker

PATIENCE = 30.0  # seconds for a few bytes on a socket, and for a process to end
Message = tuple[int, int, bytes]  # session; PID, MASK or ERROR; content


class WorkerSpawner:
    """The process that forks workers for one vocabulary; `start` it before the first, and when it may have ended."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control = socket.socket()
        self._stop: Callable[[], object] = finalize(self, self._control.close)

    @property
    def runs(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it unless it runs. It is ready after loading the vocabulary, which may take seconds; forks wait."""
        with self._starting:
            if self.runs:
                return
            self.close()
            self._control, theirs = socket.socketpair()
            self._control.settimeout(PATIENCE)
            with theirs:
                self._process = _run(theirs.fileno())
            self._stop = finalize(self, _end, self._process, self._control)
            tokenizer = self._tokenizer
            vocabulary = {"table": tokenizer.json, "size": tokenizer.size, "ends": list(tokenizer.ends)}
            with suppress(OSError):  # it has ended; the next read detects that
                self._control.sendall(framed(json.dumps(vocabulary).encode()))

    def fork(self, channel: socket.socket) -> None:
        """Fork a worker at the other end of a channel; that end is closed if the process has ended."""
        with suppress(OSError):
            socket.send_fds(self._control, [struct.pack("<i", 0)], [channel.fileno()])

    def kill(self, worker: int) -> None:
        """End a worker, if it has not ended."""
        with suppress(OSError):
            self._control.sendall(struct.pack("<i", worker))

    def close(self) -> None:
        """End the process and its workers."""
        self._stop()


def _run(control: int) -> "subprocess.Popen[bytes]":
    paths = os.pathsep.join(path for path in sys.path if path)  # same import path as this process
    environment = os.environ | {"PYTHONPATH": paths, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command, null = [sys.executable, "-P", str(Path(grammar_worker.__file__)), str(control)], subprocess.DEVNULL
    # A process group of its own: Ctrl-C goes to the server alone, which ends this process.
    return subprocess.Popen(
        command, stdin=null, stdout=null, stderr=null, pass_fds=[control], env=environment, process_group=0
    )


def _end(process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
    control.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class WorkerLink:
    """The non-blocking channel to a new worker. The worker ends when its link is garbage-collected."""

    def __init__(self, spawner: WorkerSpawner):
        self._spawner = spawner
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        finalize(self, self.channel.close)
        with theirs:
            spawner.fork(theirs)
        self._sending, self._received = bytearray(), bytearray()
        self.worker: int | None = None
        self.ended = False

    def send(self, numbers: Sequence[int]) -> None:
        """Send a message of 4-byte numbers."""
        self.send_bytes(struct.pack(f"<{len(numbers)}I", *numbers))

    def send_bytes(self, content: bytes) -> None:
        """Send a message; the next call sends what remains unsent."""
        self._sending += framed(content)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._sending:
                del self._sending[: self.channel.send(self._sending)]
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def receive(self) -> list[Message]:
        """The messages that have arrived. `ended` is set if there will be no more."""
        self._flush()
        try:
            while part := self.channel.recv(1 << 16):
                self._received += part
            self.ended = True
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        return self._messages()

    def _messages(self) -> list[Message]:
        found: list[Message] = []
        while len(self._received) >= 4 and len(self._received) >= (
            size := 4 + struct.unpack_from("<I", self._received)[0]
        ):
            session, kind = struct.unpack_from("<II", self._received, 4)
            found.append((session, kind, bytes(self._received[12:size])))
            del self._received[:size]
            if kind == grammar_worker.PID:
                (self.worker,) = struct.unpack("<I", found.pop()[2])
        return found

    def kill(self) -> None:
        """End the worker at once."""
        self.ended = True
        if self.worker is not None:
            self._spawner.kill(self.worker)
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)


def framed(content: bytes) -> bytes:
    """A message with its length before it."""
    return struct.pack("<I", len(content)) + content
