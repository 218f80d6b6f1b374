"""Limits: a minute's worth at once, then steadily; so many at a time; nobody is counted for another."""

import pytest

from groundup.serve import rate_limit
from groundup.serve.rate_limit import RateLimited, RateLimiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entered(limiter: RateLimiter, name: str, times: int) -> None:
    for _ in range(times):
        limiter.acquire(name)
        limiter.release(name)


def test_a_minutes_worth_then_steadily():
    clock = Clock()
    limiter = RateLimiter(6, 10, 10, clock)
    entered(limiter, "a", 6)
    with pytest.raises(RateLimited, match="6 requests a minute") as refused:
        limiter.acquire("a")
    assert refused.value.retry_after == pytest.approx(10)
    entered(limiter, "b", 6)
    clock.now = refused.value.retry_after
    entered(limiter, "a", 1)
    with pytest.raises(RateLimited):
        limiter.acquire("a")
    clock.now += 3600
    entered(limiter, "a", 6)
    with pytest.raises(RateLimited):
        limiter.acquire("a")


def test_so_many_at_a_time():
    limiter = RateLimiter(100, 2, 3)
    limiter.acquire("a")
    limiter.acquire("a")
    with pytest.raises(RateLimited, match="2 requests at a time"):
        limiter.acquire("a")
    limiter.acquire("b")
    with pytest.raises(RateLimited, match="3 requests at a time"):
        limiter.acquire("c")
    limiter.release("a")
    limiter.acquire("c")


def test_a_refused_request_costs_nothing():
    limiter = RateLimiter(2, 1, 10, Clock())
    limiter.acquire("a")
    for _ in range(5):
        with pytest.raises(RateLimited):
            limiter.acquire("a")
    limiter.release("a")
    limiter.acquire("a")
    assert limiter.running == 1


def test_a_key_may_have_limits_of_its_own():
    limiter = RateLimiter(1, 1, 10, Clock())
    for _ in range(5):
        limiter.acquire("a", 5, 5)
    with pytest.raises(RateLimited):
        limiter.acquire("a", 5, 5)


def test_many_clients_are_not_remembered_for_ever_but_those_under_way_are(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 3)
    limiter = RateLimiter(10, 10, 10)
    limiter.acquire("stays")
    for number in range(20):
        entered(limiter, str(number), 1)
    assert len(limiter._buckets) <= 4
    limiter.release("stays")
    assert limiter.running == 0
