"""`groundup serve`: models, gate and endpoints put together, run until somebody stops it."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from starlette.types import ASGIApp

from groundup import device
from groundup.core import console
from groundup.core.errors import InputError
from groundup.generate.engine import Engine
from groundup.generate.service import Service
from groundup.kernels.cpu.matrix import Weights
from groundup.serve import connections, operate, runs
from groundup.serve.app import make_app
from groundup.serve.gate import Gate
from groundup.serve.keys import Keys
from groundup.serve.limits import Limiter
from groundup.serve.log import AccessLog
from groundup.serve.metrics import Metrics
from groundup.serve.models import Registry
from groundup.serve.pictures import Gallery
from groundup.serve.site import Limits, Site

WATCH = 2.0  # seconds between looks at the models' folders, and for which a new version must have stayed the same
SEEING_BODY = 16 << 20  # bytes of a request where a model sees: base64 takes four for three
OPERATIONS = ("/health", "/ready", "/metrics")  # answered whatever users do
LOGGERS = ("groundup.serve.protocol", "uvicorn.error", "asyncio")
SLACK = 3.0  # seconds after the grace until the process ends with whatever it still does


@dataclass(frozen=True)
class Options:
    """How to serve: where, to whom, how much at a time, and how to stop."""

    host: str
    port: int
    keys: Path | None
    weights: Weights
    cache_bytes: int
    queue: int
    concurrent: int
    a_minute: int
    together: int
    grace: float
    temperature: float
    watch: bool
    runs: Path
    log_prompts: bool
    device: str | None
    images_from: Path | None = None


def serve(models: list[str], find: Callable[[Path], Path], options: Options) -> None:
    """Serve models, each `FOLDER` or `NAME=FOLDER`, until SIGTERM or SIGINT; `find` gives the model's folder of a run.

    Answers under way are finished for at most `grace` seconds; a second signal ends them. SIGHUP looks for new
    versions. Raises InputError for models, keys or an address that cannot be used.
    """
    if options.keys is None and not _is_local(options.host):
        raise InputError(
            f"--host {options.host}: others can reach it, so API keys are needed; make one with `groundup key NAME"
            " --keys FILE`"
        )
    if options.images_from is not None and not options.images_from.is_dir():
        raise InputError(f"--images-from {options.images_from}: no such folder")
    keys = None if options.keys is None else Keys(options.keys)
    chosen = device.pick(options.device)

    def load(folder: Path) -> Service:
        return Service(
            Engine.load(folder, chosen, weights=options.weights, cache_bytes=options.cache_bytes), options.queue
        )

    registry, hung_up = Registry(named(models), find, load), threading.Event()
    log = AccessLog(prompts=options.log_prompts)
    gate = Gate(
        operate.loading,
        keys,
        Limiter(options.a_minute, options.concurrent, options.together),
        log,
        Metrics(registry.states),
    )
    with _listening(options.host, options.port) as listener, log.collecting(*LOGGERS), _noting_hang_ups(hung_up):
        try:
            console.note(
                f"loading {', '.join(models)}; port {listener.getsockname()[1]} answers /health and /ready meanwhile"
            )
            with _answering(gate, listener):
                registry.load()
            _run(registry, gate, log, options, listener, hung_up)
        finally:
            registry.close(0)
            log.close()


@contextmanager
def _answering(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Answer in a thread of its own meanwhile. It closes a copy of the socket: who comes between two servers waits."""
    server = connections.Server(app, OPERATIONS, 1.0)
    thread = threading.Thread(target=server.run, args=([listener.dup()],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _noting_hang_ups(noted: threading.Event) -> Iterator[None]:
    """Set the event where a hang-up comes before the server can hear it, which would end the process."""
    before = signal.signal(signal.SIGHUP, lambda number, frame: noted.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _run(
    registry: Registry, gate: Gate, log: AccessLog, options: Options, listener: socket.socket, hung_up: threading.Event
) -> None:
    server = Server(gate, registry, log, options, hung_up)
    gate.app = application(registry, gate.metrics, options, lambda: server.started and not server.should_exit)
    host = f"[{options.host}]" if ":" in options.host else options.host
    console.note(
        f"serving {', '.join(entry.name for entry in registry.list())} at http://{host}:{listener.getsockname()[1]}"
        " (page, /v1)"
    )
    server.run(sockets=[listener])


def application(registry: Registry, metrics: Metrics, options: Options, ready: Callable[[], bool]) -> ASGIApp:
    """The whole app, which belongs behind the gate."""
    sees = any(entry.service.config.patch for entry in registry.list())
    limits = Limits(body_bytes=SEEING_BODY) if sees else Limits()
    site = Site(registry, limits=limits, temperature=options.temperature, gallery=Gallery(options.images_from))
    app = make_app(site)
    app.include_router(operate.router(site, registry, metrics, ready, options.weights, options.runs))
    app.include_router(runs.router(options.runs))
    return app


class Server(connections.Server):
    """A server with signals: one stops it, two stop it at once, and a hang-up looks for new versions of the models.

    A thread that is stuck in a user's work holds up no stop: after the grace, or soon after the second signal, the
    process ends.
    """

    def __init__(self, app: ASGIApp, registry: Registry, log: AccessLog, options: Options, hung_up: threading.Event):
        super().__init__(app, OPERATIONS, options.grace)
        self._grace = options.grace
        self._registry, self._log, self._watch = registry, log, options.watch
        self._look = hung_up

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours instead of uvicorn's, which would end the process by the signal and not with exit code 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        with suppress(AttributeError):  # not on every system
            loop.add_signal_handler(signal.SIGHUP, self._look.set)
        watcher = threading.Thread(target=self._keep_up, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self.should_exit = True
            self._look.set()
            watcher.join(SLACK)  # it may be loading

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        last = threading.Timer(SLACK + (0 if self.force_exit else self._grace), self._end)
        last.daemon = True
        last.start()

    def _end(self) -> None:
        """End the process though something of it goes on."""
        self._log.say({"event": "stop", "message": "ended in the middle of what would not end"})
        self._log.close()
        os._exit(0)

    def _keep_up(self) -> None:
        """Look for new versions when told, and now and then if asked to."""
        while not self.should_exit:
            told = self._look.wait(WATCH if self._watch else None)
            self._look.clear()
            if not self.should_exit:
                for said in self._registry.refresh(0.0 if told else WATCH):
                    self._log.say({"event": "reload", "message": said})


def named(models: list[str]) -> dict[str, Path]:
    """Folders by name: as given, else the folder's own. Raises InputError for two of one name."""
    found: dict[str, Path] = {}
    for text in models:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if not name or name in found:
            raise InputError(
                f"{text}: the name {name!r} is {'taken' if name else 'empty'}; give each model its own with NAME=FOLDER"
            )
        found[name] = path
    return found


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; raises InputError for an address that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _unusable(host, port, error) from None
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(connections.CONNECTIONS)
        except OSError as error:
            raise _unusable(host, port, error) from None
        yield listener


def _unusable(host: str, port: int, error: OSError) -> InputError:
    return InputError(
        f"{host}:{port} cannot be listened on ({error.strerror or error}); choose another --host or --port"
    )
