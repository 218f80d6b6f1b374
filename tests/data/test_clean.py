"""Cleaning: what is mended, what is dropped, and where the split runs."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.clean import DigestSet, clean, is_heldout
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from tests.data.data_helpers import text_source


def document(text: str) -> Document:
    return Document("notes", "a.txt", "CC0-1.0", text=text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("\x00\x07", "empty"),
        ("abc", "too short"),
        ("a" * 11, "too long"),
        ("half \ud800", "invalid Unicode"),
    ],
)
def test_a_drop_is_counted_by_its_reason(text: str, reason: str) -> None:
    drops = Filtered()
    assert list(clean(iter([document(text)]), text_source("x", min_chars=4, max_chars=10), drops)) == []
    assert drops.counts == {reason: 1}
    assert drops.examples == [f"a.txt: {reason}"]


def test_content_in_parts_becomes_one_text() -> None:
    parts = [{"type": "text", "text": "cafe"}, {"type": "text", "text": "\u0301\r\n"}]
    talk = Document("talks", "a:1", "CC0-1.0", messages=[{"role": "user", "content": parts}])
    assert next(clean(iter([talk]), text_source("x"), Filtered())).messages == [
        {"role": "user", "content": "caf\u00e9\n"}
    ]


def test_the_content_of_messages_is_mended_and_calls_are_not() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "a\r\n"}}]}
    talk = Document("talks", "a:1", "CC0-1.0", messages=[{"role": "user", "content": "a\r\nb"}, call])
    cleaned = list(clean(iter([talk]), text_source("x"), Filtered()))
    assert cleaned[0].messages == [{"role": "user", "content": "a\nb"}, call]


@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=12))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_seen_tells_first_meetings_as_a_set_does(groups: list[list[int]]) -> None:
    digests, reference = DigestSet(), set[int]()
    for group in groups:
        expected = [not (number in reference or reference.add(number)) for number in group]
        assert digests.add([number.to_bytes(16, "little") for number in group]).tolist() == expected


def test_seen_holds_eight_bytes_a_digest_in_few_runs() -> None:
    digests, rng = DigestSet(), random.Random(1)
    for _ in range(300):
        digests.add([rng.randbytes(16) for _ in range(100)])
    assert sum(run.nbytes for run in digests.runs) == 8 * 30_000
    assert len(digests.runs) <= np.log2(300)


def test_a_larger_share_holds_out_all_that_a_smaller_one_does() -> None:
    digests = [document(str(number)).digest for number in range(2000)]
    small, large = ({digest for digest in digests if is_heldout(digest, share)} for share in (0.05, 0.2))
    assert small < large


def test_the_share_held_out_is_the_share_asked_for() -> None:
    heldout = sum(is_heldout(document(str(number)).digest, 0.1) for number in range(20_000))
    assert abs(heldout - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5  # five standard deviations


def test_the_ends_of_the_share_hold_out_none_and_all() -> None:
    assert not is_heldout(bytes(16), 0.0)
    assert is_heldout(b"\xff" * 16, 1.0)
