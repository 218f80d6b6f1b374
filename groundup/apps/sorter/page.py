"""The sorter's live page: state of the line, orders as sentences, stop and resume. Served to this machine only."""

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

from groundup.apps.sorter.policy import COLOURS, WASTE_CLASSES, Language
from groundup.apps.sorter.simulator.camera import AT, RAIL, VIEW
from groundup.apps.sorter.simulator.line import BINS, MANUAL
from groundup.apps.sorter.worker_thread import WorkerThread
from groundup.codecs.patches import Pixels
from groundup.core.errors import InputError
from groundup.serve import body, connections, static
from groundup.serve.client import InferenceTimeout
from groundup.serve.errors import HANDLERS, ApiError

T = TypeVar("T")
FOLDER = Path(__file__).with_name("page")
BASE = Path(static.__file__).with_name("page")  # styles, controls and helpers shared with the chat page
HERE = ("localhost", "127.0.0.1")
OPERATIONS = ("/api/stop", "/api/resume")  # answered under any load
CONFIRM = 2.0  # seconds in which the robot must confirm a stop or a resume
EVENTS, TEXT = 100, 400  # most events in an answer; most characters of an order
BODY, SECONDS = 4096, 10.0  # most bytes of a body, and seconds until it has come


class ShiftControl(Protocol):
    """The page's interface of a work shift (`shift.WorkShift`). Called from several threads while it runs.

    A stop and a resume have two halves. The first decides their order without waiting; the second calls the robot."""

    def state(self) -> dict[str, Any]:
        """The state as JSON: time (s), picks (a minute), purity, recovery (0 to 1, or None), bins (number, colour,
        kinds: counts by class), boxes (kind: class, box in fractions of the image, score), arm (x, y, z in metres),
        belt (m/s), policy (text by language), waiting (order, text, words; or None), held, stopped (why, or None),
        stop (number of the newest stop), events (time, what, kind, bin, or of an order text, line, model; newest last).
        """

    def picture(self) -> Pixels:
        """The image of the boxes: [height, width, 3]."""

    def order(self, text: str, language: Language) -> dict[str, Any]:
        """Change the policy by a sentence, whole or not at all: the new one in words under `policy`, or a `question`,
        or a `refusal`; or an order in words to `confirm`, with its number under `order`.

        Raises InferenceTimeout, and InputError for a sentence that the model cannot take.
        """

    def confirm(self, number: int, yes: bool) -> dict[str, Any]:
        """Carry out the order of this number or drop it. Raises InputError where it does not wait any more."""

    def stopping(self) -> Callable[[], None]:
        """Allow no action from now on. The returned function waits until the robot has confirmed."""

    def resuming(self, answers: int) -> Callable[[], bool]:
        """Resume after the stop of this number, unless it is not the newest or another comes meanwhile.

        The returned function waits for the robot, and says whether the line goes on."""


class Order(BaseModel):
    """An operator's order: the body of `POST /api/order`."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=TEXT)
    language: Language


class Confirmation(BaseModel):
    """An operator's answer to the words of an order: the body of `POST /api/confirm`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    order: int
    yes: bool


def make_app(shift: ShiftControl, stops: WorkerThread, resumes: WorkerThread) -> FastAPI:
    """The page of a shift and its endpoints, for browsers of this machine and its own pages.

    `stops` and `resumes` are worker threads that call the robot.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.add_middleware(body.BodyLimit, max_bytes=BODY, seconds=SECONDS)
    api = APIRouter(prefix="/api", dependencies=[Depends(_from_here)])
    _read_routes(api, shift)
    _write_routes(api, shift, stops, resumes)
    for routes in (api, static.routes(FOLDER)):
        app.include_router(routes)
    app.include_router(static.routes(BASE), prefix="/base")
    return app


def _read_routes(api: APIRouter, shift: ShiftControl) -> None:
    @api.get("/line")
    async def line() -> dict[str, Any]:
        """Constants of the line: geometry in metres, classes and colours."""
        return {
            "bins": BINS,
            "manual": MANUAL,
            "window": [AT, VIEW],
            "rail": RAIL,
            "colours": COLOURS,
            "kinds": WASTE_CLASSES,
            "text": TEXT,
        }

    @api.get("/live")
    def live() -> dict[str, Any]:
        state, out = shift.state(), io.BytesIO()
        Image.fromarray(shift.picture()).save(out, "PNG", compress_level=1)
        picture = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        return {**state, "events": state["events"][-EVENTS:], "picture": picture}


def _write_routes(api: APIRouter, shift: ShiftControl, stops: WorkerThread, resumes: WorkerThread) -> None:
    """Orders, and stops and resumes in the order of their arrival, which the event loop knows.

    One worker thread for each calls the robot, not a pool that may be busy.
    """
    ordering = Lock()

    @api.post("/order")
    async def post_order(request: Request) -> dict[str, Any]:
        """Carry out an order once its body is complete, whether or not the client still waits."""
        order = await body.read(request, Order)
        if not ordering.acquire(blocking=False):
            raise ApiError(409, "another order is being read; try again in a moment")
        return await run_in_threadpool(_carry_out, shift, order, ordering)

    @api.post("/confirm")
    async def confirm(request: Request) -> dict[str, Any]:
        answer = await body.read(request, Confirmation)
        try:
            return shift.confirm(answer.order, answer.yes)
        except InputError as late:
            raise ApiError(409, str(late), "order", "not_waiting") from None

    @api.post("/stop")
    async def stop() -> dict[str, bool]:
        await _tell(stops, shift.stopping())
        return {"stopped": True}

    @api.post("/resume")
    async def resume(request: Request) -> dict[str, bool]:
        resuming = shift.resuming(_number(request))
        try:
            goes_on = await _tell(resumes, resuming)
        except ApiError:  # otherwise it would take effect whenever the robot confirms
            await _tell(stops, shift.stopping())
            raise
        if not goes_on:
            again = "the line was stopped again, or is stopping still; check it and resume again"
            raise ApiError(409, again, code="stopped_again")
        return {"resumed": True}


@contextmanager
def serving(shift: ShiftControl, port: int = 0) -> Iterator[str]:
    """A context in which the page is served; yields its address. Port 0 is any free port. Raises InputError for a port
    in use.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise InputError(f"port {port} cannot be used for the page: {error}; give another, or 0 for any") from None
    with listener, closing(WorkerThread("stop")) as stops, closing(WorkerThread("resume")) as resumes:
        server = connections.Server(make_app(shift, stops, resumes), OPERATIONS, 1.0)
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def _tell(worker: WorkerThread, tell: Callable[[], T]) -> T:
    """Call the robot in the worker thread. Raises ApiError if it does not confirm in time; no action passes."""
    try:
        return await worker.do(tell, CONFIRM)
    except TimeoutError:
        late = f"the machine has not confirmed within {CONFIRM:g} s; use the switch at the machine"
        raise ApiError(504, late, code="unconfirmed") from None


def _number(request: Request) -> int:
    """The number of the stop that a resume answers. Raises ApiError for a request without one."""
    number = request.query_params.get("stop", "")
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        unsaid = "say which stop is answered: POST /api/resume?stop=N, with the number under `stop` in /api/live"
        raise ApiError(409, unsaid, "stop", "no_stop")
    return int(number)


def _carry_out(shift: ShiftControl, order: Order, ordering: Lock) -> dict[str, Any]:
    try:
        return shift.order(order.text, order.language)
    except InferenceTimeout as late:
        raise ApiError(503, str(late), code="late") from None
    finally:
        ordering.release()


async def _from_here(request: Request) -> None:
    """Raise ApiError for another host name (DNS rebinding) and for another origin (cross-site requests)."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if host.partition(":")[0] not in HERE:
        raise ApiError(403, f"this page answers to localhost, not to {host!r}", code="wrong_host")
    if origin is not None and origin.partition("://")[2] != host:
        raise ApiError(403, f"pages of {origin} may not use this line", code="wrong_origin")
