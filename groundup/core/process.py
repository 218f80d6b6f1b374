"""The process itself: settled before torch is imported, as some of its speed is decided at load time, and stopped when
a signal says so.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)


def configure_process() -> None:
    """Make threads wait a moment awake and then asleep, and freed memory stay with the process.

    Threads that spin for long lose most of their speed when another program is busy; threads that sleep at once take 50
    microseconds to wake, at every operation. A second thread that computes brings threads of its own, and GNU's OpenMP
    lets all beyond the number of processors sleep at once, unless the policy is "active": an engine in its thread took
    5 ms a step instead of 2. Returning every large buffer to the system costs a page fault for each of its pages at the
    next step; keeping it makes eager training on a CPU about 1.4x faster (`benchmarks/training.py` measures it). Has no
    effect where the C library is not glibc.
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
    """Turn the first of these signals into a flag, so that the step under way ends; the second one interrupts. For the
    main thread.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
