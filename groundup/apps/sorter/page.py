"""The sorter's live page: what the line sees and does, orders in a sentence, stop and resume. On this machine only."""

import base64
import io
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from groundup.apps.sorter.lane import Lane
from groundup.apps.sorter.model_client import InferenceTimeout
from groundup.apps.sorter.policy import COLOURS, SORTS, Language
from groundup.apps.sorter.simulator.camera import AT, RAIL, VIEW
from groundup.apps.sorter.simulator.line import BINS, MANUAL
from groundup.codecs.patches import Pixels
from groundup.core.errors import InputError
from groundup.serve import body, connections, static
from groundup.serve.errors import HANDLERS, ApiError

T = TypeVar("T")
FOLDER = Path(__file__).with_name("page")
BASE = Path(static.__file__).with_name("page")  # its colours, controls and helpers are this page's too
HERE = ("localhost", "127.0.0.1")
OPERATIONS = ("/api/stop", "/api/resume")  # are answered however many other requests are under way
CONFIRM = 2.0  # seconds in which the limb must confirm that it was told to stop
EVENTS, TEXT, BODY, SECONDS = (
    100,
    400,
    4096,
    10.0,
)  # newest events that are sent; characters of an order; bytes of a body, and seconds it may take


class Shift(Protocol):
    """A line at work, such as `shift.Shift`. Called from several threads while it runs.

    A stop and a resume have two halves. The first waits for nothing and decides in which order they count; the
    second tells the limb."""

    def state(self) -> dict[str, Any]:
        """As JSON: time (s), picks (a minute), purity, recovery (0 to 1, or None), bins (number, colour, kinds:
        counts), boxes (kind, box in shares of the picture, score), arm (x, y, z in metres), belt (m/s), policy (words
        by language), held, stopped (why, or None), stop (number of the newest stop), events (time, what, kind, bin, or
        of an order its text and line), the newest last.
        """

    def picture(self) -> Pixels:
        """What the boxes lie in: [height, width, 3]."""

    def order(self, text: str, language: Language) -> dict[str, str]:
        """Change the policy by a sentence, whole or not at all: the new one in words under `policy`, or a `question`,
        or a `refusal`.

        Raises Late when nobody understood it in time, and InputError for one that cannot be understood.
        """

    def stopping(self) -> Callable[[], None]:
        """Let nothing move from now on. What this returns waits until the limb has confirmed; raises what that
        raises.
        """

    def resuming(self, answers: int) -> Callable[[], bool]:
        """Go on after the stop of this number, unless it is not the newest or another comes meanwhile.

        What this returns waits for the limb, and says whether it goes on."""


class Order(BaseModel):
    """What an operator writes."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=TEXT)
    language: Language


def make_app(shift: Shift, stops: Lane, resumes: Lane) -> FastAPI:
    """The page of a shift and the endpoints under it, for browsers of this machine and pages of its own.

    Stops and resumes take their turn in the event loop, as they arrive; the limb is told in a lane for each, not in
    threads that may be busy.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.add_middleware(body.BodyLimit, most=BODY, seconds=SECONDS)
    api, ordering = APIRouter(prefix="/api", dependencies=[Depends(_from_here)]), Lock()

    @api.get("/line")
    async def line() -> dict[str, Any]:
        """What stays: places in metres, and names."""
        return {
            "bins": BINS,
            "manual": MANUAL,
            "window": [AT, VIEW],
            "rail": RAIL,
            "colours": COLOURS,
            "kinds": SORTS,
            "text": TEXT,
        }

    @api.get("/live")
    def live() -> dict[str, Any]:
        state, out = shift.state(), io.BytesIO()
        Image.fromarray(shift.picture()).save(out, "PNG", compress_level=1)
        picture = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        return {**state, "events": state["events"][-EVENTS:], "picture": picture}

    @api.post("/order")
    async def order(request: Request) -> dict[str, str]:
        """Carried out whole once it has come whole, whether or not anybody still waits for the answer."""
        asked = await body.read(request, Order)
        if not ordering.acquire(blocking=False):
            raise ApiError(409, "another order is being read; try again in a moment")
        return await run_in_threadpool(_ordered, shift, asked, ordering)

    @api.post("/stop")
    async def stop() -> dict[str, bool]:
        await _told(stops, shift.stopping())
        return {"stopped": True}

    @api.post("/resume")
    async def resume(request: Request) -> dict[str, bool]:
        resuming = shift.resuming(_number(request))
        try:
            goes_on = await _told(resumes, resuming)
        except ApiError:  # it would take effect whenever the limb confirms, when nobody expects it any more
            await _told(stops, shift.stopping())
            raise
        if not goes_on:
            again = "the line was stopped again, or is stopping still; look and resume again"
            raise ApiError(409, again, code="stopped_again")
        return {"resumed": True}

    for routes in (api, static.routes(FOLDER)):
        app.include_router(routes)
    app.include_router(static.routes(BASE), prefix="/base")
    return app


@contextmanager
def serving(shift: Shift, port: int = 0) -> Iterator[str]:
    """The address of the page, which is there meanwhile; port 0 is any that is free. Raises InputError for one that is
    taken.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise InputError(f"port {port} cannot be used for the page: {error}; give another, or 0 for any") from None
    with listener, closing(Lane("stop")) as stops, closing(Lane("resume")) as resumes:
        server = connections.Server(make_app(shift, stops, resumes), OPERATIONS, 1.0)
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def _told(lane: Lane, tell: Callable[[], T]) -> T:
    """What comes of telling the limb. Raises ApiError where it does not confirm in time; no action passes even so."""
    try:
        return await lane.do(tell, CONFIRM)
    except TimeoutError:
        late = f"the machine has not confirmed within {CONFIRM:g} s; use the switch at the machine"
        raise ApiError(504, late, code="unconfirmed") from None


def _number(request: Request) -> int:
    """Which stop a resume answers. Raises ApiError for one that does not say."""
    said = request.query_params.get("stop", "")
    if not (said.isascii() and said.isdigit() and len(said) < 20):
        unsaid = "say which stop is answered: POST /api/resume?stop=N, with the number under `stop` in /api/live"
        raise ApiError(409, unsaid, "stop", "no_stop")
    return int(said)


def _ordered(shift: Shift, asked: Order, ordering: Lock) -> dict[str, str]:
    try:
        return shift.order(asked.text, asked.language)
    except InferenceTimeout as late:
        raise ApiError(503, str(late), code="late") from None
    finally:
        ordering.release()


async def _from_here(request: Request) -> None:
    """Raises ApiError for another host, whose name may have been turned on this machine, and for another's page."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if host.partition(":")[0] not in HERE:
        raise ApiError(403, f"this page answers to localhost, not to {host!r}", code="wrong_host")
    if origin is not None and origin.partition("://")[2] != host:
        raise ApiError(403, f"pages of {origin} may not use this line", code="wrong_origin")
