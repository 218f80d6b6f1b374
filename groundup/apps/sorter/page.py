"""The sorter's live page: what the line sees and does, orders in a sentence, stop and resume. On this machine only."""

import base64
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from groundup.apps.sorter.brain import Late
from groundup.codecs.image import Pixels
from groundup.errors import InputError
from groundup.serve import body, static
from groundup.serve.errors import HANDLERS, ApiError
from groundup.world.camera import AT, RAIL, VIEW
from groundup.world.line import BINS, MANUAL
from groundup.world.policy import COLOURS, SORTS, Language

FOLDER = Path(__file__).with_name("page")
BASE = Path(static.__file__).with_name("page")  # its colours, controls and helpers are this page's too
HERE = ("localhost", "127.0.0.1")
EVENTS, TEXT, BODY, SECONDS = 100, 400, 4096, 10.0  # newest events that are sent; characters of an order; bytes of a body, and seconds it may take


class Shift(Protocol):
    """A line at work, such as `shift.Shift`. Called from several threads while it runs."""

    def state(self) -> dict[str, Any]:
        """As JSON: time (s), picks (a minute), purity, recovery (0 to 1, or None), bins (number, colour, kinds: counts), boxes (kind, box in
        shares of the picture, score), arm (x, y, z in metres), belt (m/s), policy (words by language), held, stopped (why, or None),
        events (time, what, kind, bin, or of an order its text and line), the newest last."""

    def picture(self) -> Pixels:
        """What the boxes lie in: [height, width, 3]."""

    def order(self, text: str, language: Language) -> dict[str, str]:
        """Change the policy by a sentence, whole or not at all: the new one in words under `policy`, or a `question`, or a `refusal`.

        Raises Late when nobody understood it in time, and InputError for one that cannot be understood."""

    def stop(self) -> None:
        """Stop all motion; waits for nothing."""

    def resume(self) -> None:
        """Go on after a stop: a person says so."""


class Order(BaseModel):
    """What an operator writes."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=TEXT)
    language: Language


def make_app(shift: Shift) -> FastAPI:
    """The page of a shift and the endpoints under it, for browsers of this machine and pages of its own."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.add_middleware(body.BodyLimit, most=BODY, seconds=SECONDS)
    api, ordering = APIRouter(prefix="/api", dependencies=[Depends(_from_here)]), Lock()

    @api.get("/line")
    async def line() -> dict[str, Any]:
        """What stays: places in metres, and names."""
        return {"bins": BINS, "manual": MANUAL, "window": [AT, VIEW], "rail": RAIL, "colours": COLOURS, "kinds": SORTS, "text": TEXT}

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
        shift.stop()  # here, not in a thread: all threads may be busy
        return {"stopped": True}

    @api.post("/resume")
    def resume() -> dict[str, bool]:
        shift.resume()
        return {"resumed": True}

    for routes in (api, static.routes(FOLDER)):
        app.include_router(routes)
    app.include_router(static.routes(BASE), prefix="/base")
    return app


@contextmanager
def serving(shift: Shift, port: int = 0) -> Iterator[str]:
    """The address of the page, which is there meanwhile; port 0 is any that is free. Raises InputError for one that is taken."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise InputError(f"port {port} cannot be used for the page: {error}; give another, or 0 for any") from None
    with listener:
        config = uvicorn.Config(make_app(shift), log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _ordered(shift: Shift, asked: Order, ordering: Lock) -> dict[str, str]:
    try:
        return shift.order(asked.text, asked.language)
    except Late as late:
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
