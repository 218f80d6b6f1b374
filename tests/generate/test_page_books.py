"""The books of the cache: no page is lost, none is handed out twice, equal beginnings are shared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.generate.block_table import PAGE, Pages, names


def test_names_are_equal_exactly_where_all_ids_before_are():
    ids = list(range(5 * PAGE + 3))
    assert len(names(ids)) == 5
    assert names(ids[: 2 * PAGE]) == names(ids)[:2]
    changed = [*ids[:PAGE], 99, *ids[PAGE + 1 :]]
    assert [a == b for a, b in zip(names(ids), names(changed), strict=True)] == [True, False, False, False, False]
    assert names(ids[PAGE:], names(ids)[0]) == names(ids)[1:]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 6)), max_size=60))
def test_any_sequence_of_events_leaves_the_books_right(events):
    """Answers with one of six texts come (0, 1) or go (2)."""
    pages, held = Pages(9), []
    for kind, text, length in events:
        wanted = names([text] * PAGE * length)
        if kind < 2:
            found = pages.match(wanted)
            if length - len(found) > pages.available:
                pages.release(found)
            else:
                taken = found + [pages.take() for _ in range(length - len(found))]
                for page, name in zip(taken[len(found) :], wanted[len(found) :], strict=True):
                    pages.name(page, name)
                held.append(taken)
        elif kind == 2 and held:
            pages.release(held.pop(text % len(held)))
        pages.check(held)
    for taken in held:
        pages.release(taken)
    assert pages.available == pages.count


def test_content_stays_until_the_room_is_needed_the_oldest_goes_first():
    pages = Pages(4)
    for text in (1, 2):
        wanted = names([text] * 2 * PAGE)
        taken = [pages.take(), pages.take()]
        for page, name in zip(taken, wanted, strict=True):
            pages.name(page, name)
        pages.release(taken)
    assert (pages.available, pages.idle) == (4, 4)
    pages.take()  # the end of the first text is forgotten, its beginning stays
    assert len(pages.match(names([1] * 2 * PAGE))) == 1
    assert len(pages.match(names([2] * 2 * PAGE))) == 2


def test_no_page_is_taken_where_none_is_left():
    pages = Pages(1)
    pages.take()
    with pytest.raises(IndexError):
        pages.take()


@pytest.mark.parametrize("wrong", [[], [[0, 1]], [[0], [0]]])
def test_the_check_finds_wrong_books(wrong):
    pages = Pages(3)
    pages.take()
    pages.check([[0]])
    with pytest.raises(AssertionError):
        pages.check(wrong)
