"""Text while it comes: in pieces of any size it is the text, up to the first stop."""

from hypothesis import given
from hypothesis import strategies as st

from groundup.generate.detokenizer import Detokenizer


class Bytes:
    """A tokenizer whose ids are bytes."""

    def token_bytes(self, id: int) -> bytes:
        return bytes([id])


def read(text: bytes, stops: tuple[str, ...]) -> tuple[list[str], bool]:
    detokenizer, pieces = Detokenizer(Bytes(), stops), []
    for id in text:
        pieces.append(detokenizer.feed(id))
        if detokenizer.stopped:
            break
    return [*pieces, detokenizer.flush()], detokenizer.stopped


@given(st.text(alphabet="ab你é", max_size=30), st.lists(st.text(alphabet="ab你", min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_first_stop(text, stops):
    pieces, stopped = read(text.encode(), tuple(stops))
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    first = [text.find(stop) for stop in stops if stop in text and text.find(stop) + len(stop) == min(ends)]
    assert stopped == bool(ends)
    assert "".join(pieces) == (text[: min(first)] if ends else text)


@given(st.text(alphabet="ab", max_size=20))
def test_nothing_is_said_that_would_have_to_be_taken_back(text):
    said = ""
    detokenizer = Detokenizer(Bytes(), ("aab",))
    for place, id in enumerate(text.encode(), 1):
        said += detokenizer.feed(id)
        if detokenizer.stopped:
            break
        assert text[:place].startswith(said)
        assert "aab" not in said


def test_characters_come_whole_and_broken_ones_are_marked():
    assert read("你".encode(), ())[0] == ["", "", "你", ""]
    assert read("你".encode()[:2], ())[0] == ["", "", "�"]
