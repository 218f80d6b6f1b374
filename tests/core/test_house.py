"""Rules of the house that no other tool checks."""

import re
import socket
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "groundup"
FILES = sorted(PACKAGE.rglob("*.py"))
DEVICE = re.compile(r"""["'](cuda|mps|xpu|npu|hpu)[:"']|torch\.(cuda|mps|xpu)\b""")
UNSAFE = re.compile(r"\bimport pickle\b|torch\.load\(|(?<![.\w])(?:eval|exec)\(|yaml\.load\(|\ballow_pickle=True")
NETWORK = re.compile(r"\b(?:import requests|urllib\.request|urlopen|hf_hub_download|snapshot_download|import httpx)\b")


@pytest.mark.parametrize("rule", [UNSAFE, NETWORK], ids=["unsafe", "network"])
def test_no_file_breaks_a_rule(rule: re.Pattern[str]) -> None:
    found = [
        f"{path.name}: {match.group()}" for path in FILES for match in rule.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_devices_are_named_in_one_file() -> None:
    found = {path.name for path in FILES if DEVICE.search(path.read_text(encoding="utf-8"))}
    assert found == {"device.py"}


def test_the_tests_cannot_reach_outside() -> None:
    with (
        pytest.raises(Exception, match=r"outside|blocked|network"),
        socket.create_connection(("192.0.2.1", 80), timeout=1),
    ):
        pass
