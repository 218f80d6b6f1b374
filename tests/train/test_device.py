"""What a device says of itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.device import Device, free_memory, pick


def test_growth_of_memory_is_the_most_there_was_and_not_what_was_before() -> None:
    before = torch.ones(1 << 26)  # 256 MiB
    growth = Device("cpu").memory_growth()
    during = torch.ones(1 << 24)  # 64 MiB
    del during
    assert 60 << 20 < growth() < 160 << 20
    assert before.sum() > 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no such measure on this system")
def test_pages_of_mapped_files_are_no_growth_of_memory(tmp_path: Path) -> None:
    size = 256 << 20
    (tmp_path / "file").write_bytes(bytes(size))
    growth = Device("cpu").memory_growth()
    mapped = np.memmap(tmp_path / "file", mode="r")
    assert mapped.sum() == 0
    assert growth() < size / 2


def test_free_memory_is_part_of_all_memory() -> None:
    assert 0 < free_memory() <= Device("cpu").memory()


def test_the_speed_of_matrix_products_is_that_of_a_long_one() -> None:
    device = pick("cpu")
    speed = device.matrix_peak(torch.float32)
    again = 2 * 1024**3 / device._product_seconds(torch.float32, 1024)
    assert 0.2 < speed / again < 5  # other programs may be busy meanwhile


def test_precision_follows_the_request_and_the_hardware() -> None:
    device = Device("cpu")
    assert device.precision("fp32") == torch.float32
    assert device.precision("bf16") == torch.bfloat16
    assert device.precision("auto") == (torch.bfloat16 if device.multiplies_bf16 else torch.float32)
