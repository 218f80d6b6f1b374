"""The sorter's page: what it shows of a line, what it lets an operator do, and what it refuses; over HTTP and in a
browser.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx

from groundup.apps.sorter.page import BODY, EVENTS, TEXT, serving
from groundup.apps.sorter.policy import COLOURS, WASTE_CLASSES, describe, standard_policy
from groundup.core.errors import InputError
from groundup.serve.client import InferenceTimeout
from tests.chromium import chromium

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[3] / "build" / "screenshots"))
EVIL = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'
SIZES = {"wide": (1280, 860), "narrow": (320, 640)}


class Line:
    """A shift that stands still. Tests set what it says and read what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.says: dict[str, str] = {"policy": "as you say"}
        self.raises: Exception | None = None
        self.wait = threading.Event()  # an order waits for it
        self.wait.set()
        self.tell: Callable[[], None] = lambda: None  # the half of a stop that tells the robot
        bins = [
            {"number": number, "colour": each.colour, "kinds": {}}
            for number, each in enumerate(standard_policy().bins, 1)
        ]
        bins[1]["kinds"] = {"can": 7, "film": 2}
        self.now: dict[str, Any] = {
            "time": 61.2,
            "picks": 82.4,
            "purity": 0.985,
            "recovery": None,
            "bins": [*bins, {"number": 9, "colour": "grey", "kinds": {"film": 1}}],
            "boxes": [box("can", 0.91, 0.2, 0.3, 0.4, 0.5), box("glass-brown", 0.71, 0.6, 0.5, 0.9, 0.7)],
            "arm": [0.1, 0.2, 0.15],
            "belt": 0.35,
            "policy": {"en": describe(standard_policy(), "en"), "zh": describe(standard_policy(), "zh")},
            "waiting": None,
            "held": None,
            "stopped": None,
            "stop": 0,
            "events": [
                {"time": 60.5, "what": "picked", "kind": "can", "bin": None},
                {"time": 61.1, "what": "binned", "kind": "can", "bin": 2},
                {"time": 61.2, "what": "order: policy", "text": "no paper today", "line": "leave paper"},
            ],
        }

    def state(self) -> dict[str, Any]:
        return dict(self.now)

    def picture(self) -> np.ndarray:
        return np.tile(np.arange(0, 240, 5, dtype=np.uint8)[:, None, None], (1, 48, 3))

    def order(self, text: str, language: str) -> dict[str, str]:
        self.asked.append((text, language))
        assert self.wait.wait(60)
        if self.raises:
            raise self.raises
        return self.says

    def confirm(self, number: int, yes: bool) -> dict[str, str]:
        self.calls.append(f"{number} {yes}")
        if self.raises:
            raise self.raises
        self.now["waiting"] = None
        return {"policy": "as you say"} if yes else {"dropped": "that"}

    def stopping(self) -> Callable[[], None]:
        self.calls.append("stop")
        self.now |= {"stopped": "stop was called", "stop": self.now["stop"] + 1}
        return self.tell

    def resuming(self, answers: int) -> Callable[[], bool]:
        self.calls.append(f"resume {answers}")
        if answers != self.now["stop"]:
            return lambda: False
        self.now["stopped"] = None
        return lambda: True


def box(kind: str, score: float, *place: float) -> dict[str, Any]:
    return {"kind": kind, "box": list(place), "score": score}


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.wait.set()


@pytest.fixture
def address(line: Line) -> Iterator[str]:
    with serving(line) as where:
        yield where


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as made:
        yield made


# --- over HTTP ------------------------------------------------------------------------------------------------------


def test_the_live_state_comes_with_its_picture(client, line):
    line.now["events"] *= EVENTS
    said = client.get("/api/live").json()
    assert said.pop("picture").startswith("data:image/png;base64,")
    assert said == line.now | {"events": line.now["events"][-EVENTS:]}


def test_an_order_is_handed_on_and_answered(client, line):
    line.says = {"question": "Which bin?"}
    assert client.post("/api/order", json={"text": "放到那个箱子", "language": "zh"}).json() == line.says
    assert line.asked == [("放到那个箱子", "zh")]


def test_an_order_that_nobody_understood_in_time_is_answered_as_such(client, line):
    line.raises = InferenceTimeout("not within 1 s")
    answer = client.post("/api/order", json={"text": "leave paper", "language": "en"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "not within 1 s")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": "", "language": "en"}, 400),
        ({"text": "x" * (TEXT + 1), "language": "en"}, 400),
        ({"text": "x", "language": "fr"}, 400),
        ({"text": "x", "language": "en", "more": 1}, 400),
        ({"text": "x" * BODY, "language": "en"}, 413),
    ],
    ids=["empty", "long", "language", "field", "body"],
)
def test_what_is_no_order_is_refused(client, line, body, status):
    assert client.post("/api/order", json=body).status_code == status
    assert line.asked == []


def test_a_yes_and_a_no_are_handed_on(client, line):
    assert client.post("/api/confirm", json={"order": 3, "yes": True}).json() == {"policy": "as you say"}
    assert client.post("/api/confirm", json={"order": 4, "yes": False}).json() == {"dropped": "that"}
    assert line.calls == ["3 True", "4 False"]


def test_a_yes_that_comes_late_is_a_conflict(client, line):
    line.raises = InputError("order 3 does not wait for an answer any more")
    answer = client.post("/api/confirm", json={"order": 3, "yes": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_waiting")
    assert "does not wait" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [{}, {"order": 1}, {"order": "1", "yes": True}, {"order": 1, "yes": 1}])
def test_what_is_no_answer_is_refused(client, line, body):
    assert client.post("/api/confirm", json=body).status_code == 400
    assert line.calls == []


def test_an_order_that_breaks_off_half_way_is_none(client, line, address):
    head = (
        b"POST /api/order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as cut:
        cut.sendall(head + b'{"text": "leave paper", "lang')
    assert client.post("/api/order", json={"text": "leave film", "language": "en"}).status_code == 200
    assert line.asked == [("leave film", "en")]


def test_the_line_stops_while_an_order_is_being_read_and_takes_no_second_one(client, line):
    line.wait.clear()
    ask = {"text": "leave paper", "language": "en"}
    first = threading.Thread(
        target=lambda: httpx.post(f"{client.base_url}/api/order", json=ask, timeout=60, trust_env=False)
    )
    first.start()
    until(lambda: line.asked)
    assert client.post("/api/order", json=ask).status_code == 409
    assert client.post("/api/stop").json() == {"stopped": True}
    line.wait.set()
    first.join()
    assert (line.calls, len(line.asked)) == (["stop"], 1)
    assert client.post("/api/order", json=ask).status_code == 200


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("path", ["stop", "resume", "order", "confirm"])
def test_other_pages_and_other_names_get_nothing(client, line, headers, path):
    assert client.post(f"/api/{path}", json={"text": "x", "language": "en"}, headers=headers).status_code == 403
    assert client.get("/api/live", headers=headers).status_code == 403
    assert (line.calls, line.asked) == ([], [])


def test_files_come_under_headers_that_run_nothing_else(client):
    for path in ("/", "/main.js", "/sorter.css", "/base/base.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/../page.py").status_code == 404


def test_a_port_that_is_taken_is_refused(address, line):
    with pytest.raises(InputError, match="port"), serving(line, int(address.rpartition(":")[2])):
        pass


# --- stop and resume ------------------------------------------------------------------------------------------------


def test_a_resume_that_does_not_answer_the_newest_stop_is_refused(client, line):
    for _ in range(2):
        assert client.post("/api/stop").json() == {"stopped": True}
    for query in (
        "",
        "?stop=1",
        "?stop=3",
        "?stop=-2",
        "?stop=two",
        "?stop=2.0",
        "?stop=%D9%A2",
        f"?stop={'9' * 5000}",
    ):
        answer = client.post(f"/api/resume{query}", json={"stop": 2})
        assert answer.status_code == 409, query
        assert line.now["stopped"]
    assert client.post(f"/api/resume?stop={client.get('/api/live').json()['stop']}").json() == {"resumed": True}
    assert line.now["stopped"] is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\x00", b'{"stop": 1}', b"x" * (BODY + 1)])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
def test_a_stop_is_taken_with_whatever_body(client, line, body, kind):
    assert client.post("/api/stop", content=body, headers={"Content-Type": kind}).json() == {"stopped": True}
    assert line.calls == ["stop"]


def test_a_stop_does_not_wait_for_its_body(line, address):
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10) as slow:
        slow.sendall(
            b"POST /api/stop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
            b" 60\r\n\r\n"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert line.calls == ["stop"]


def test_a_robot_that_hangs_delays_neither_the_order_nor_others_and_is_reported(client, line, monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr("groundup.apps.sorter.page.CONFIRM", 0.1)
    line.tell = lambda: hung.wait(20)
    for tries in (1, 2):
        answer = client.post("/api/stop")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "unconfirmed")
        assert client.get("/api/live").json()["stop"] == tries
    hung.set()
    line.tell = lambda: None
    assert client.post("/api/stop").status_code == 200


def test_a_robot_that_fails_to_stop_is_reported(client, line, caplog):
    def fail() -> None:
        raise ConnectionError("no cable")

    line.tell = fail
    assert client.post("/api/stop").status_code == 500
    assert line.now["stopped"]


def test_a_stop_waits_for_no_thread_and_no_other_connection(address, line, monkeypatch):
    """Twice as many pages as there are threads look on, each picture waits, and idle connections take all places."""
    waits = threading.Event()
    monkeypatch.setattr(line, "picture", lambda: waits.wait(20) and np.zeros((8, 8, 3), np.uint8))
    host = ("127.0.0.1", int(address.rpartition(":")[2]))
    polling = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as open_:
        for each in range(300):
            one = open_.enter_context(socket.create_connection(host))
            if each < 80:
                one.sendall(polling)
        began = time.monotonic()
        assert httpx.post(f"{address}/api/stop", timeout=10, trust_env=False).status_code == 200
        assert httpx.post(f"{address}/api/resume?stop=1", timeout=10, trust_env=False).status_code == 200
        assert httpx.post(f"{address}/api/stop", timeout=10, trust_env=False).status_code == 200
        assert time.monotonic() - began < 10
        waits.set()
    assert line.calls == ["stop", "resume 1", "stop"]


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page. At the end it may have complained of nothing, and asked nobody else for anything."""
    contexts, noise = [], []

    def make(size: tuple[int, int] = SIZES["wide"], locale: str = "en-GB", **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": size[0], "height": size[1]}, locale=locale, **options))
        contexts[-1].set_default_timeout(60_000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: noise.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: (noise.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: noise.append(request.url) if not request.url.startswith((address, "data:")) else None,
        )
        page.goto(address)
        page.wait_for_selector(".figures div")
        return page

    yield make
    for context in contexts:
        context.close()
    assert noise == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_line(visit, scheme):
    page = visit(color_scheme=scheme)
    text = page.locator("#sorter").inner_text()
    for part in (
        "82",
        "98.5 %",
        "–",
        "cans 91.0 %",
        "brown glass 71.0 %",
        "cans 7, film 2",
        "9 (by hand)",
        "61.1 s cans binned → 2",
        "61.2 s order carried out: no paper today → leave paper",
        "Bin 1 (blue)",
    ):
        assert part in text, part
    assert page.locator(".camera g").count() == 2
    assert page.locator(".camera img").evaluate("image => image.naturalWidth") == 48
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"sorter-{scheme}.png", full_page=True)


@pytest.mark.browser
def test_an_order_by_keyboard_is_answered_and_the_policy_shown(visit, line):
    page = visit()
    line.says = {"policy": "x"}
    page.get_by_label("Order in English or Chinese").focus()
    page.keyboard.type("leave paper")
    line.now["policy"] = {"en": "Paper stays.", "zh": "纸留下。"}
    page.keyboard.press("Enter")
    page.wait_for_selector("output >> text=Done")
    page.wait_for_selector(".policy >> text=Paper stays.")
    line.says = {"refusal": "危险品只能单独放。"}
    page.get_by_label("Order in English or Chinese").fill("把电池放到一号箱")
    page.keyboard.press("Enter")
    page.wait_for_selector("output >> text=危险品只能单独放。")
    assert line.asked == [("leave paper", "en"), ("把电池放到一号箱", "zh")]


@pytest.mark.browser
def test_an_order_that_waits_is_shown_in_words_and_answered(visit, line):
    page = visit()
    line.says = {"confirm": "leave paper on the belt", "order": 7, "line": "leave paper", "model": "orders"}
    page.get_by_label("Order in English or Chinese").fill("no paper")
    page.keyboard.press("Enter")
    page.wait_for_selector("output >> text=Did you mean this? Nothing changes before a yes: leave paper on the belt")
    page.wait_for_selector("output >> text=understood by orders")
    assert page.get_by_role("button", name="Yes, do that").count() == 0  # the line says which order waits
    line.now["waiting"] = {"order": 7, "text": "no paper", "words": "leave paper on the belt"}
    page.screenshot(path=SCREENSHOTS / "sorter-waiting.png", full_page=True)
    page.get_by_role("group", name="An order that waits").get_by_role("button", name="Yes, do that").click()
    page.wait_for_selector("output >> text=Done.")
    page.wait_for_selector(".waiting", state="hidden")
    line.now["waiting"] = {"order": 8, "text": EVIL, "words": EVIL}
    page.get_by_role("button", name="No", exact=True).click()
    page.wait_for_selector("output >> text=Dropped.")
    line.now["waiting"] = {"order": 9, "text": "x", "words": "x"}
    late = page.get_by_role("button", name="Yes, do that")
    late.wait_for()
    page.evaluate("() => { window.fetch = async () => new Response('{}', { status: 409 }); }")
    late.click()
    page.wait_for_selector("output >> text=That order waits no longer.")
    assert line.calls == ["7 True", "8 False"]


@pytest.mark.browser
def test_stop_is_first_at_the_keyboard_and_resume_goes_on(visit, line):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    page.keyboard.press("Enter")
    page.wait_for_selector(".status.halted >> text=Stopped: stop was called")
    assert page.locator("#spoken").inner_text() == "Stopped: stop was called"
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector(".status >> text=Running")
    page.keyboard.press("Escape")
    page.wait_for_selector(".status.halted")
    assert line.calls == ["stop", "resume 1", "stop"]


@pytest.mark.browser
def test_a_stop_that_nobody_heard_is_said_loudly(visit):
    page = visit()
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('gone')); }")
    page.keyboard.press("Escape")
    page.get_by_role("alert").filter(has_text="Use the switch at the machine").wait_for()
    page.wait_for_selector(".status.halted >> text=these data are old")


@pytest.mark.browser
def test_nothing_that_is_said_is_carried_out(visit, line):
    line.says = {"question": EVIL}
    line.now |= {"held": EVIL, "policy": {"en": EVIL, "zh": EVIL}, "boxes": [box(EVIL, 0.5, 0, 0, 1, 1)]}
    line.now["events"] = [{"time": 1.0, "what": EVIL, "kind": EVIL, "bin": EVIL}]
    line.now["bins"] = [{"number": 1, "colour": EVIL, "kinds": {EVIL: 1}}]
    page = visit()
    page.get_by_label("Order in English or Chinese").fill(EVIL)
    page.keyboard.press("Enter")
    page.wait_for_selector("output >> text=Question")
    assert page.title() == "Ground Up: the sorter"
    assert page.locator("h1").inner_text() == "The sorter, simulated"
    assert page.get_by_role("heading", name="Figures on the simulated line").count() == 1
    assert page.locator("#sorter script, #sorter img:not(.camera img)").count() == 0
    for selector in (".policy", ".log", ".detections", ".bins tbody", "output", ".status"):
        assert EVIL in page.locator(selector).inner_text(), selector


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
def test_it_is_as_wide_as_the_screen_in_both_languages(visit, size):
    page = visit(size=SIZES[size])
    for language, name in (("en", "中文"), ("zh", "English")):
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        page.screenshot(path=SCREENSHOTS / f"sorter-{size}-{language}.png", full_page=True)
        page.get_by_role("button", name=name).click()
        assert page.evaluate("document.activeElement.id") == "turn"


@pytest.mark.browser
def test_a_chinese_browser_gets_a_chinese_page(visit):
    page = visit(locale="zh-CN")
    text = page.locator("#sorter").inner_text()
    for part in ("停止", f"2 ({COLOURS['yellow']}色)", WASTE_CLASSES["can"][1], "1号箱（蓝色）", "入箱"):
        assert part in text, part


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, line, scheme):
    checker = pytest.importorskip("axe_playwright_python.base")
    line.now |= {"held": "no action for 0.20 s", "waiting": {"order": 1, "text": "no paper", "words": "leave paper"}}
    page = visit(color_scheme=scheme)
    page.evaluate(Path(checker.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    assert [(each["id"], [node["html"][:90] for node in each["nodes"]]) for each in found["violations"]] == []
