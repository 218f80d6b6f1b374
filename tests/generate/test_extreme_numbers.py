"""Numbers of requests at their smallest, largest and in between: an answer comes or the request is refused, and others
get what they get alone.
"""

from random import Random
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from groundup.generate.service import Service
from tests.generate.generate_helpers import Ids, Waited, ask, engine
from tests.random_models import CONFIG

FLOATS = [
    0.0,
    -0.0,
    5e-324,
    1e-320,
    2.2e-308,
    1e-300,
    1e-46,
    1e-45,
    1.4e-45,
    1e-40,
    1.2e-38,
    1e-30,
    1e-7,
    0.5,
    1 - 2**-53,
    1.0,
    2.0,
    10.0,
    100.0,
    1e38,
]
FLOATS += [3.4e38, 3.5e38, 1e300, 1.7976931348623157e308, float("inf"), float("nan")]
INTS = [0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**40]
NUMBERS = ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"]
QUESTION = Request([9, 8, 7], 5, Sampling(temperature=0.7, seed=1), logprobs=2)


def one_field() -> list[dict[str, Any]]:
    """Each number at each of its values, with and without a temperature."""
    floats = [{name: sign * value} for name in NUMBERS for value in FLOATS for sign in (1, -1)]
    ints = [{name: sign * value} for name in ("top_k", "seed") for value in INTS for sign in (1, -1)]
    biases = [{"bias": {3: sign * value, 5: -sign * value}} for value in FLOATS for sign in (1, -1)]
    return [{"temperature": temperature} | field for field in floats + ints + biases for temperature in (0.0, 1.0)]


def many_fields(count: int) -> list[dict[str, Any]]:
    random = Random(7)

    def some() -> dict[str, Any]:
        fields = {name: random.choice(FLOATS) * random.choice([1, 1, 1, -1]) for name in random.sample(NUMBERS, 3)}
        ids = random.sample(range(CONFIG.vocab), random.choice([0, 1, 30]))
        return (
            {"temperature": 1.0}
            | fields
            | {"top_k": random.choice(INTS), "bias": {id: random.choice([-100.0, 100.0, 5e-324]) for id in ids}}
        )

    return [some() for _ in range(count)]


def request(fields: dict[str, Any], **more: Any) -> Request | None:
    """None for what is refused."""
    try:
        return Request([3, 5, 3], 4, Sampling(**fields), logprobs=1, **more)
    except InputError:
        return None


@pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
@pytest.mark.parametrize("tried", [one_field(), many_fields(400)], ids=["one", "many"])
def test_numbers_end_no_engine_and_change_no_other_answer(native, tried):
    never = Ids(im_end=-1, end=-2)
    asked = [each for fields in tried if (each := request(fields)) is not None]
    assert len(asked) > len(tried) // 10
    alone = ask(engine(native, tokenizer=never), QUESTION)[0]
    service = Service(engine(native, tokenizer=never))
    for each in asked:
        bad, good = Waited(), Waited()
        service.submit(each, bad)
        service.submit(QUESTION, good)
        assert bad.ended.wait(60) and good.ended.wait(60)
        assert (bad.finish, len(bad.ids)) == ("length", 4), each
        if native:  # the library's products may round otherwise in other company
            assert (good.ids, good.logprobs) == (alone.ids, alone.logprobs), each
        assert good.ids == alone.ids, each
    service.close()


@pytest.mark.parametrize("limit", [value for value in INTS if value])
@pytest.mark.parametrize("number", [0, 2**63, -(2**70)])
def test_limits_and_numbers_of_any_size(limit, number):
    [heard] = ask(engine(), Request([1, 2], limit, Sampling(temperature=1.0), number))
    assert heard.finish in ("stop", "length")
    assert len(heard.ids) <= CONFIG.context - 2
