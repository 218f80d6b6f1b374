"""Process settings: threads and memory, configured before torch is imported; and stopping on a signal."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)


def configure_process() -> None:
    """Make OpenMP threads spin briefly and then sleep, and keep freed memory in the process.

    Threads that spin for long lose most of their speed when another program is busy; threads that sleep at once take 50
    microseconds to wake, at each operation. GNU OpenMP lets threads beyond the number of processors sleep at once
    unless the policy is "active": an engine in a second thread took 5 ms a step instead of 2. Buffers returned to the
    system cost page faults at the next step; keeping them makes eager training on a CPU about 1.4x faster
    (`benchmarks/training.py`). Without glibc this has no effect.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "ACTIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # a few microseconds: most of the gaps between two operations
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's and Intel's OpenMP, where "active" alone would spin for ever
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_TOP_PAD, 64 << 20)


@contextmanager
def stoppable(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Turn the first stop signal into a flag, so that the step ends; the second interrupts. Main thread only."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
