"""What one request's work raises ends that request, and nobody else's."""

import threading
from types import SimpleNamespace

import pytest
import torch

from groundup.generate import isolation
from groundup.generate.image_inputs import ImageInput
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from groundup.generate.service import Service
from tests.generate.generate_helpers import Heard, Waited, answers, ask, engine, random_prompts
from tests.generate.test_engine_images import VISION, image_input, request
from tests.generate.test_service import NEVER, until

FAULTS = [
    ZeroDivisionError("of all things"),
    MemoryError(),
    RecursionError("deep"),
    StopIteration(),
    OSError("gone"),
    AssertionError("no"),
]
LONG = Request([1, 2, 3], 30, Sampling(temperature=1.0, seed=4))


def alone() -> list[int]:
    return ask(engine(tokenizer=NEVER), LONG)[0].ids


@pytest.fixture
def service():
    made = Service(engine(tokenizer=NEVER))
    yield made
    made.close(0)


def raising(error: BaseException):
    def work(*_: object) -> None:
        raise error

    return work


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_choice_that_fails_ends_its_request_alone(service, fault):
    class Broken(Sampling):
        sample = raising(fault)

    bad, good = answers(service, Request([1, 2], 5, Broken(temperature=1.0)), LONG)
    assert bad.pieces[-1].fault == "engine"
    assert good.ids == alone()
    assert answers(service, LONG)[0].ids == alone()
    until(lambda: service.stats().blocks_used == 0)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_listener_that_fails_ends_its_request_alone(service, fault):
    good, called = Waited(), threading.Event()
    service.submit(Request([1, 2], 5), lambda piece: called.set() or raising(fault)())
    service.submit(LONG, good)
    assert good.ended.wait(60)
    assert called.is_set()
    assert good.ids == alone()
    until(lambda: service.stats().blocks_used == 0)
    assert service.stats().alive


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("where", ["constraint", "token_mask", "accept"])
def test_a_grammar_that_fails_ends_its_request_alone(service, fault, where):
    def grammar_for(tokenizer: object) -> SimpleNamespace:
        whole = SimpleNamespace(
            token_mask=lambda: torch.ones(NEVER.size, dtype=torch.bool).numpy(),
            accept=lambda id: None,
            close=lambda: None,
        )
        setattr(whole, where, raising(fault))
        return whole

    grammar = SimpleNamespace(constraint=raising(fault) if where == "constraint" else grammar_for)
    bad, good = answers(service, Request([1, 2], 5, grammar=grammar), LONG)  # type: ignore[arg-type]
    assert bad.pieces[-1].fault == "engine"
    assert good.ids == alone()


def test_an_image_that_fails_ends_its_request_alone(monkeypatch):
    made = engine(tokenizer=NEVER, **VISION)
    encode, damaged = made._steps.images.encode, image_input(3)
    wanted = request(4, image_input(1), limit=6)
    expected = ask(made, wanted)[0].ids

    def failing(image: ImageInput) -> torch.Tensor:
        if image.digest == damaged.digest:
            raise MemoryError
        return encode(image)

    monkeypatch.setattr(made._steps.images, "encode", failing)
    bad, good = ask(made, request(4, damaged, limit=6), wanted)
    assert bad.pieces[-1].fault == "engine"
    assert good.ids == expected


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_job_that_fails_ends_its_future_alone(service, fault):
    good = Waited()
    service.submit(LONG, good)
    jobs = service.between_steps([lambda: 1, raising(fault)]), service.between_steps([lambda: 2, lambda: 3])
    with pytest.raises(RuntimeError, match="engine failed"):
        jobs[0].result(60)
    assert jobs[1].result(60) == [2, 3]
    assert good.ended.wait(60)
    assert good.ids == alone()
    until(lambda: service.stats().waiting == 0)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("place", ["begin", "attend"])
def test_a_forward_that_fails_ends_the_answers_in_it_and_the_engine_goes_on(native, place, monkeypatch):
    made = engine(native, tokenizer=NEVER)
    working, failing = getattr(made._steps.cache, place), [2]

    def sometimes(*arguments: object) -> object:
        failing[0] -= 1
        if not failing[0]:
            raise MemoryError
        return working(*arguments)

    monkeypatch.setattr(made._steps.cache, place, sometimes)
    service = Service(made)
    heard = answers(service, *(Request(prompt, 8) for prompt in random_prompts(4)))
    assert [each.pieces[-1].fault for each in heard].count("engine") >= 1
    assert answers(service, LONG)[0].ids == ask(engine(native, tokenizer=NEVER), LONG)[0].ids
    until(lambda: service.stats().blocks_used == 0)
    service.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_allocator_is_wrong_does_not_go_on(monkeypatch):
    made = engine(tokenizer=NEVER)

    def losing(*_: object) -> None:
        made.scheduler.blocks._free.pop()
        raise MemoryError

    monkeypatch.setattr(made._steps.cache, "begin", losing)
    service = Service(made)
    [heard] = answers(service, LONG)
    assert heard.pieces[-1].fault == "engine"
    until(lambda: not service.stats().alive)


def test_many_requests_that_fail_in_every_way_leave_the_others_answers_as_they_are(service, monkeypatch):
    """300 requests, each with a fault in another place, and another client's answer after each."""
    expected = ask(engine(tokenizer=NEVER), Request([9, 8], 4, Sampling(temperature=0.7, seed=1)))[0].ids
    monkeypatch.setattr(isolation.LOG, "disabled", True)
    for number in range(300):
        fault = FAULTS[number % len(FAULTS)]

        class Broken(Sampling):
            sample = raising(fault)

        kind = number % 3
        if kind == 0:
            service.submit(Request([number % 60], 3, Broken(temperature=1.0)), Heard())
        elif kind == 1:
            service.submit(Request([number % 60], 3), raising(fault))
        else:
            service.between_steps([raising(fault)])
        assert answers(service, Request([9, 8], 4, Sampling(temperature=0.7, seed=1)))[0].ids == expected
    until(lambda: service.stats().blocks_used == 0)
