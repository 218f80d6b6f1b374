"""The engine in its thread: answers come, cancelling and closing lose nothing they should not."""

import threading
import time

import pytest

from groundup.core.errors import InputError
from groundup.generate.refusals import Busy
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from groundup.generate.service import Service
from tests.generate.generate_helpers import Heard, Ids, Waited, ask, engine, random_prompts
from tests.random_models import CONFIG

NEVER = Ids(im_end=-1, end=-2)


@pytest.fixture
def service():
    made = Service(engine(tokenizer=NEVER), queue=8)
    yield made
    made.close(0)


def test_answers_are_those_of_the_engine(service):
    requests = [
        Request(prompt, 10, Sampling(temperature=1.0), number) for number, prompt in enumerate(random_prompts(8))
    ]
    heard = [Waited() for _ in requests]
    for request, listen in zip(requests, heard, strict=True):
        service.submit(request, listen)
    assert all(each.ended.wait(60) for each in heard)
    assert [each.ids for each in heard] == [each.ids for each in ask(engine(tokenizer=NEVER), *requests)]
    assert service.stats().generated_tokens == 80


def test_a_request_that_cannot_be_answered_is_refused_where_it_is_handed_in(service):
    with pytest.raises(InputError, match="no tokens"):
        service.submit(Request([], 1), Heard())


def test_a_full_queue_says_when_to_come_again(service):
    held, go = threading.Event(), threading.Event()
    service._enqueue(lambda: held.set() or go.wait(60))
    held.wait(60)
    heard = [Waited() for _ in range(8)]
    for listen in heard:
        service.submit(Request([1], 2), listen)
    with pytest.raises(Busy, match="try again in 1 second"):
        service.submit(Request([1], 2), Heard())
    go.set()
    assert all(each.ended.wait(60) for each in heard)


def test_embeddings_wait_in_the_same_queue(service):
    held, go = threading.Event(), threading.Event()
    service._enqueue(lambda: held.set() or go.wait(60))
    held.wait(60)
    futures = [service.embed([[1]] * 5), service.embed([[2]] * 5)]
    with pytest.raises(Busy):
        service.embed([[3]])
    futures[0].cancel()
    go.set()
    assert len(futures[1].result(60)) == 5
    until(lambda: service.stats().waiting == 0)


def test_a_cancelled_request_is_silent_and_leaves_nothing(service):
    heard, other = Waited(), Waited()
    service.cancel(service.submit(Request([1], 50), heard))
    service.submit(Request([1], 3), other)
    assert other.ended.wait(60)
    before = len(heard.pieces)
    assert not heard.ended.is_set()
    until(lambda: service.stats().running == 0)
    assert len(heard.pieces) == before
    assert service.stats().blocks_used == 0


def until(true) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_closing_finishes_what_was_taken_and_takes_no_more():
    service, heard = Service(engine(tokenizer=NEVER)), Waited()
    service.submit(Request([1], 40), heard)
    service.close()
    assert (heard.finish, len(heard.ids)) == ("length", 40)
    assert not service.stats().alive
    with pytest.raises(InputError, match="shutting down"):
        service.submit(Request([1], 2), Heard())
    with pytest.raises(InputError, match="shutting down"):
        service.embed([[1]])


def test_closing_at_once_tells_those_who_wait():
    service, heard = Service(engine(tokenizer=NEVER)), Waited()
    service.submit(Request([1], CONFIG.context - 1), heard)
    service.close(0)
    assert heard.ended.is_set()


def test_who_is_to_blame_is_told():
    service, heard = Service(engine(tokenizer=NEVER)), Waited()
    service.submit(Request([1], CONFIG.context - 1), heard)
    service.close(0)
    assert heard.pieces[-1].fault in (None, "closing")  # None: it was done before


def test_embeddings_that_nobody_waits_for_harm_nothing(service, monkeypatch):
    embed, futures = service.engine.embed, []
    monkeypatch.setattr(service.engine, "embed", lambda *row: futures[0].cancel() and embed(*row))
    held, go = threading.Event(), threading.Event()
    service._enqueue(lambda: held.set() or go.wait(60))
    held.wait(60)
    futures.append(service.embed([[1]]))
    go.set()
    assert service.embed([[2]]).result(60) == [embed([2])]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_fails_tells_everybody(monkeypatch):
    broken, heard, later, rows = engine(tokenizer=NEVER), Waited(), Waited(), []

    def fail() -> None:
        service.submit(Request([1], 5), later)
        rows.append(service.embed([[1]]))
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(broken, "step", fail)
    service = Service(broken)
    service.submit(Request([1], 5), heard)
    for each in (heard, later):
        assert each.ended.wait(60)
        assert "the engine failed: of all things" in each.pieces[-1].error
        assert each.pieces[-1].fault == "engine"
    with pytest.raises(InputError, match="shutting down"):
        rows[0].result(60)
    with pytest.raises(InputError, match="shutting down"):
        service.submit(Request([1], 5), later)
    until(lambda: not service.stats().alive)


def test_embeddings_come_between_the_steps(service, monkeypatch):
    heard = Waited()
    service.submit(Request([1], 30), heard)
    rows = [[1, 2, 3], [4], [5] * 20]
    embed, steps = service.engine.embed, []
    monkeypatch.setattr(
        service.engine, "embed", lambda *row: steps.append(service.engine.scheduler.stats.steps) or embed(*row)
    )
    assert service.embed(rows).result(60) == [embed(row) for row in rows]
    assert len(set(steps)) == 3
    with pytest.raises(InputError, match="cannot be embedded"):
        service.embed([[1], []]).result(60)
    assert heard.ended.wait(60)
