"""Stop against resume on the page, with the guard behind it: over HTTP in every order, and by clicks in a browser
while others look on."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.page import serving
from groundup.apps.sorter.robot import Oracle, SimulatedLine
from groundup.apps.sorter.shift import WorkShift
from tests.chromium import chromium


class Slow(SimulatedLine):
    """A robot that takes its time to stop."""

    seconds = 0.0

    def stop(self) -> None:
        time.sleep(self.seconds)
        super().stop()


@pytest.fixture
def line() -> Iterator[Any]:
    robot = Slow(SimulatorConfig(pixels=32), 7)
    shift = WorkShift(robot, Oracle(robot), pace=4.0)
    worker = threading.Thread(target=shift.run)
    worker.start()
    try:
        with serving(shift) as address:
            yield shift, robot, address
    finally:
        robot.seconds = 0.0
        shift.end()
        worker.join(20)


def test_a_resume_that_was_not_confirmed_in_time_takes_no_effect_later(line, monkeypatch):
    monkeypatch.setattr("groundup.apps.sorter.page.CONFIRM", 0.1)
    shift, robot, address = line
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        assert client.post("/api/stop").status_code == 200
        robot.seconds = 1.0
        assert client.post(f"/api/resume?stop={shift.guard.newest}").status_code == 504
        robot.seconds = 0.0
        time.sleep(2.5)
        assert shift.guard.stopped is not None
        assert client.post(f"/api/resume?stop={shift.guard.newest}").status_code == 200
        assert shift.guard.stopped is None


@pytest.mark.parametrize("seconds", [0.0, 0.004])
def test_no_order_of_requests_loses_a_stop(line, seconds):
    """Two operators resume what they saw while a third stops: at random moments, each over a connection of its own."""
    shift, robot, address = line
    robot.seconds, rng = seconds, Random(0)
    went_on = 0
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client, ThreadPoolExecutor(3) as pool:

        def send(path: str, wait: float) -> int:
            time.sleep(wait)
            return client.post(path).status_code

        for _ in range(30):
            seen = client.get("/api/live").json()["stop"]
            paths = [f"/api/resume?stop={seen}", f"/api/resume?stop={seen}", "/api/stop"]
            sent = [pool.submit(send, path, rng.choice((0, 0.001, 0.003))) for path in rng.sample(paths, 3)]
            assert {each.result() for each in sent} <= {200, 409}
            assert shift.guard.stopped is not None
            assert client.post(f"/api/resume?stop={seen}").status_code == 409  # late, or played again
            assert client.get("/api/live").json()["stopped"]
            if rng.random() < 0.5:
                went_on += client.post(f"/api/resume?stop={shift.guard.newest}").json()["resumed"]
                assert shift.guard.stopped is None
    assert went_on > 5


def test_a_stop_during_a_slow_resume_is_answered_first_and_holds(line):
    shift, robot, address = line
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client, ThreadPoolExecutor(1) as pool:
        client.post("/api/stop")
        robot.seconds = 0.3
        resume = pool.submit(client.post, "/api/resume?stop=1")
        time.sleep(0.1)
        assert client.post("/api/stop").status_code == 200
        assert resume.result().status_code == 409
        assert shift.guard.stopped is not None


def test_a_resume_that_comes_twice_leaves_a_running_line_alone(line):
    shift, robot, address = line
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        client.post("/api/stop")
        assert client.post("/api/resume?stop=1").status_code == 200
        robot.seconds = 5.0  # it would take as long if it was told to stop
        began = time.monotonic()
        assert client.post("/api/resume?stop=1").status_code == 200
        assert time.monotonic() - began < 4
    assert shift.guard.stopped is None


@pytest.mark.browser
def test_a_stop_that_was_clicked_after_resume_holds_while_others_look_on(line):
    shift, robot, address = line
    rng, tries = Random(0), 10
    with chromium() as browser:
        pages = [browser.new_page() for _ in range(4)]
        for page in pages:
            page.goto(address)
            page.wait_for_selector(".figures div")
        page = pages[0]
        for each in range(tries):
            robot.seconds = rng.choice((0.0, 0.02))
            page.keyboard.press("Escape")
            page.wait_for_selector(".status.halted >> text=Stopped", timeout=20_000)
            page.get_by_role("button", name="Resume").click()
            time.sleep(rng.choice((0, 0.01, 0.05, 0.1, 0.2)))
            before = shift.guard.newest
            page.get_by_role("button", name="Stop", exact=True).click()
            end = time.monotonic() + 20
            while shift.guard.newest == before:
                assert time.monotonic() < end, each
                time.sleep(0.01)
            time.sleep(0.1)
            assert shift.guard.stopped is not None, each
