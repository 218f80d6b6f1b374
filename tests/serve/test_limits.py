"""Limits: a minute's worth at once, then steadily; so many at a time; nobody is counted for another."""

import pytest

from groundup.serve import limits
from groundup.serve.limits import Limiter, TooMany


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entered(limiter: Limiter, name: str, times: int) -> None:
    for _ in range(times):
        limiter.enter(name)
        limiter.leave(name)


def test_a_minutes_worth_then_steadily():
    clock = Clock()
    limiter = Limiter(6, 10, 10, clock)
    entered(limiter, "a", 6)
    with pytest.raises(TooMany, match="6 requests a minute") as refused:
        limiter.enter("a")
    assert refused.value.retry_after == pytest.approx(10)
    entered(limiter, "b", 6)
    clock.now = refused.value.retry_after
    entered(limiter, "a", 1)
    with pytest.raises(TooMany):
        limiter.enter("a")
    clock.now += 3600
    entered(limiter, "a", 6)
    with pytest.raises(TooMany):
        limiter.enter("a")


def test_so_many_at_a_time():
    limiter = Limiter(100, 2, 3)
    limiter.enter("a")
    limiter.enter("a")
    with pytest.raises(TooMany, match="2 requests at a time"):
        limiter.enter("a")
    limiter.enter("b")
    with pytest.raises(TooMany, match="3 requests at a time"):
        limiter.enter("c")
    limiter.leave("a")
    limiter.enter("c")


def test_a_refused_request_costs_nothing():
    limiter = Limiter(2, 1, 10, Clock())
    limiter.enter("a")
    for _ in range(5):
        with pytest.raises(TooMany):
            limiter.enter("a")
    limiter.leave("a")
    limiter.enter("a")
    assert limiter.running == 1


def test_a_key_may_have_limits_of_its_own():
    limiter = Limiter(1, 1, 10, Clock())
    for _ in range(5):
        limiter.enter("a", 5, 5)
    with pytest.raises(TooMany):
        limiter.enter("a", 5, 5)


def test_many_clients_are_not_remembered_for_ever_but_those_under_way_are(monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS", 3)
    limiter = Limiter(10, 10, 10)
    limiter.enter("stays")
    for number in range(20):
        entered(limiter, str(number), 1)
    assert len(limiter._clients) <= 4
    limiter.leave("stays")
    assert limiter.running == 0
