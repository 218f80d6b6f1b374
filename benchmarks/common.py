"""Shared by all benchmarks: a line about the machine, medians, and a table."""

import os
import statistics
import time
from collections.abc import Callable, Sequence

from groundup.device import Device, pick


def machine() -> str:
    """One line about the machine of a measurement."""
    import torch

    device: Device = pick()
    precision = device.precision("auto")
    return (
        f"{device.name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{str(precision).removeprefix('torch.')} matrix product {device.matrix_peak(precision) / 1e9:.0f} GFLOP/s"
    )


def seconds(work: Callable[[], object], repeats: int, warm: int = 1) -> float:
    """Median wall time of a call, after warm-up calls."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
