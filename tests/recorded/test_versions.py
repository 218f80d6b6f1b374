"""A changed result needs a raised version: what users have finished must not be taken for what the program makes now.

The test goes through two of the tiny runs; `python -m tests.recorded --write` records all of them anew, after a version
was raised.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.recorded.record import broken_promise, broken_promises, where
from tests.recorded.tiny import Outcome, outcomes


@pytest.mark.parametrize("name", ["text", "masked"])
def test_outputs_change_only_with_a_version(name: str, tmp_path: Path) -> None:
    assert broken_promises(name, outcomes(name, tmp_path)) == []


def test_a_changed_digest_without_a_raised_version_is_told() -> None:
    outcome = Outcome("old", {"shards": 1}, None)
    entry = {"versions": {"shards": 1}, "loss": None, "digests": {"any": "old"}}
    assert broken_promise("shards-notes", outcome, entry) is None
    assert "shards-notes: its outputs changed" in str(
        broken_promise("shards-notes", replace(outcome, digest="new"), entry)
    )
    assert "record it anew" in str(broken_promise("shards-notes", replace(outcome, versions={"shards": 2}), entry))


def test_an_unknown_processor_compares_the_loss() -> None:
    entry = {"versions": {"training": 1}, "loss": 2.5, "digests": {"another processor": "old"}}
    assert where("pretrain") != "any"
    assert broken_promise("pretrain", Outcome("new", {"training": 1}, 2.501), entry) is None
    assert broken_promise("pretrain", Outcome("new", {"training": 1}, 2.6), entry) is not None
