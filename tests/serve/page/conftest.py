"""A browser, a stand-in server, and a page on it that complains of nothing and asks nobody else for anything."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import chromium
from tests.serve.page.fake_server import StandIn

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[3] / "build" / "screenshots"))
WIDE = (1280, 860)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def running_host() -> Iterator[StandIn]:
    host = StandIn()
    yield host
    host.close()


@pytest.fixture
def host(running_host: StandIn) -> StandIn:
    running_host.reset()
    return running_host


class Contexts:
    """Browser profiles by their options: used again, as a fresh one starts with nothing in its memory and takes twice
    the time.
    """

    def __init__(self, browser: Any):
        self.browser, self.known = browser, {}

    def get(self, size: tuple[int, int] = WIDE, locale: str = "en-GB", own: bool = False, **options: Any) -> Any:
        """The profile; with `own` one that no other test gets."""
        key = repr((size, locale, sorted(options.items())))
        if own or key not in self.known:
            made = self.browser.new_context(
                viewport={"width": size[0], "height": size[1]}, locale=locale, accept_downloads=True, **options
            )
            made.set_default_timeout(60_000)
            if own:
                return made
            self.known[key] = made
        return self.known[key]


class Visit:
    """A page in an empty browser profile; `noise` is what it complained of, `outside` what it asked others for."""

    def __init__(self, context: Any, host: StandIn):
        self.context, self.host, self.noise, self.outside, self.pending = context, host, [], [], set()
        self.page = self.tab()
        self.context.new_cdp_session(self.page).send(
            "Storage.clearDataForOrigin", {"origin": host.url.rstrip("/"), "storageTypes": "all"}
        )

    def leave(self) -> None:
        """Close all tabs."""
        self.context.set_offline(False)
        self.context.clear_permissions()
        for page in self.context.pages:
            page.close()

    def tab(self) -> Any:
        """Another tab of the same profile."""
        page = self.context.new_page()
        page.on(
            "console", lambda message: self.noise.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.noise.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((self.host.url, "blob:", "data:")) else self.outside.append(request.url)
            ),
        )
        page.on("request", lambda request: self.pending.add(request))  # a method of a set itself is none to it
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda request: self.pending.discard(request))
        return page

    def calm(self) -> None:
        """Wait until the page waits for no answer."""
        self.page.evaluate("0")  # what it asked for until now is known
        while self.pending:
            self.page.wait_for_timeout(5)
        self.page.evaluate("0")

    def open(self, place: str = "") -> Any:
        """Go to a part of the page and wait until it knows what the server offers."""
        self.page.goto(self.host.url + place)
        self.page.wait_for_selector("#side nav a[data-part=runs]", state="attached")
        return self.page

    def say(self, text: str, wait: bool = True) -> None:
        """Send a message; wait for the end of the answer."""
        self.page.fill("#composer", text)
        self.page.keyboard.press("Enter")
        if wait:
            self.settle()

    def settle(self) -> None:
        """Wait until no answer is under way."""
        self.wait("!document.querySelector('.round.stop') && !document.querySelector('.message.running')")

    def wait(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until an expression holds. The browser's own way would evaluate text in the page, which its headers
        forbid.
        """
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)

    def shoot(self, name: str) -> None:
        """Keep a picture of what is seen."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", caret="initial")


@pytest.fixture(scope="module")
def contexts(browser: Any) -> Contexts:
    return Contexts(browser)


@pytest.fixture
def visit(contexts: Contexts, host: StandIn) -> Iterator[Callable[..., Visit]]:
    """Makes visits. At the end of the test none may have complained, unless the test emptied `noise`, nor asked
    others.
    """
    visits: list[Visit] = []

    def make(host: Any = host, **options: Any) -> Visit:
        visits.append(Visit(contexts.get(**options), host))
        return visits[-1]

    yield make
    for one in visits:
        noise, outside = list(one.noise), list(one.outside)
        one.leave()
        assert noise == []
        assert outside == []


@pytest.fixture
def chat(visit: Callable[..., Visit]) -> Visit:
    """The chat, open."""
    one = visit()
    one.open()
    return one
