"""The access log: one line of JSON a request, which holds up nobody and breaks for nothing that clients send."""

import io
import json
import threading
from typing import Any

import pytest

from groundup.serve import access_log
from groundup.serve.access_log import AccessLog
from groundup.serve.request_stats import RequestStats

FIELDS = {
    "time",
    "id",
    "model",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "finish",
    "first_token_seconds",
}


def line(record: RequestStats, body: bytes | None = None, **entry: Any) -> dict[str, Any]:
    out = io.StringIO()
    written = AccessLog(out)
    written.write({"id": "1"} | entry, record, body)
    written.close()
    (only,) = out.getvalue().splitlines()
    return json.loads(only)


def test_a_line_has_what_the_endpoint_noted():
    found = line(RequestStats("small", 20, 16, 5, "stop", 0.123456))
    assert set(found) == FIELDS
    assert found | {"time": ""} == {
        "time": "", "id": "1", "model": "small", "prompt_tokens": 20, "cached_tokens": 16, "generated_tokens": 5,
        "finish": "stop",
        "first_token_seconds": 0.1235,
    }  # fmt: skip


def test_a_request_that_reached_no_model_has_a_line_too():
    found = line(RequestStats())
    assert (found["model"], found["finish"], found["first_token_seconds"], found["prompt_tokens"]) == (
        None,
        None,
        None,
        0,
    )


@pytest.mark.parametrize("body", ['{"prompt": "多少？"}'.encode(), b"a\nb\r\n\x00", b"\xff\xfe", '"\u2028"'.encode()])
def test_whatever_was_sent_stays_in_one_line(body):
    assert line(RequestStats(), body)["body"] == body.decode("utf-8", errors="replace")


@pytest.mark.parametrize("path", ['/v1/"}', "/v1/\n{}", "/v1/\x1b[31m"])
def test_a_path_makes_no_second_line_and_no_colour(path):
    assert line(RequestStats(), path=path)["path"] == path
    out = io.StringIO()
    written = AccessLog(out)
    written.event({"path": path})
    written.close()
    assert "\x1b" not in out.getvalue()


def test_lines_come_in_order_and_all_of_them_before_it_closes():
    out = io.StringIO()
    written = AccessLog(out)
    for number in range(500):
        written.event({"number": number})
    written.close()
    assert [json.loads(each)["number"] for each in out.getvalue().splitlines()] == list(range(500))


class Stuck(io.StringIO):
    """Takes the first line and then nothing until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        if self.tell():
            self.free.wait(60)
        return super().write(text)


def test_a_log_that_nobody_reads_holds_up_no_answer(monkeypatch):
    monkeypatch.setattr(access_log, "MAX_LINES", 3)
    stuck = Stuck()
    written = AccessLog(stuck)
    for number in range(10):
        written.event({"number": number})
    stuck.free.set()
    written.close()
    lines = [json.loads(line) for line in stuck.getvalue().splitlines()]
    assert 3 <= len(lines) < 10
    again = AccessLog(io.StringIO())
    again._lost = 6
    again.event({"number": 10})
    again.close()
    assert json.loads(again._out.getvalue()) == {"number": 10, "lines_lost": 6}
