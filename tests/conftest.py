"""What holds in every test: a settled process, one thread, fixed seeds, and no connection that leaves the machine."""

import os
import random
import sys
from ipaddress import ip_address
from typing import Any

from groundup.core import process

process.configure_process()  # before torch is imported

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(1)  # the models are tiny, and sums do not depend on the number of cores


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Global random states that libraries may look at."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _stay_at_home(event: str, arguments: tuple[Any, ...]) -> None:
    if (
        event in ("socket.connect", "socket.sendto")
        and isinstance(arguments[1], tuple)
        and not _is_here(arguments[1][0])
    ):
        raise ConnectionRefusedError(f"a test connects to {arguments[1]}; nothing may need the network")
    if event == "socket.getaddrinfo" and not _is_here(arguments[0]):
        raise ConnectionRefusedError(f"a test looks up {arguments[0]!r}; nothing may need the network")


def _is_here(host: str | bytes | None) -> bool:
    if host is None or host in ("", "localhost", b"localhost"):
        return True
    try:
        return ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


sys.addaudithook(_stay_at_home)
