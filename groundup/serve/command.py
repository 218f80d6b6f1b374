"""`groundup serve`: models, admission control and endpoints in one server; signals reload and stop it."""

import asyncio
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
from groundup.serve import connections, health, runs
from groundup.serve.access_log import AccessLog
from groundup.serve.admission import AdmissionControl, for_any_origin
from groundup.serve.app import make_app
from groundup.serve.images import ImageLoader
from groundup.serve.keys import Keys
from groundup.serve.metrics import Metrics
from groundup.serve.models import Registry
from groundup.serve.rate_limit import RateLimiter
from groundup.serve.serving import Limits, Serving

WATCH_SECONDS = 2.0  # between checks of the models' folders; a new version must be unchanged for as long
IMAGE_BODY_BYTES = 16 << 20  # bytes of a body where a model reads images: base64 takes four for three
OPERATIONS = ("/health", "/ready", "/metrics")  # exempt from the limit on requests in flight
LOGGERS = ("groundup.serve.protocol", "uvicorn.error", "asyncio")
EXIT_SLACK = 3.0  # seconds after the grace until the process is ended


@dataclass(frozen=True)
class Options:
    """Options of `groundup serve`."""

    host: str
    port: int
    keys: Path | None
    weights: Weights
    cache_bytes: int
    queue: int
    concurrent: int
    requests_per_minute: int
    total_concurrent: int
    grace: float
    temperature: float
    watch: bool
    runs: Path
    log_prompts: bool
    device: str | None
    images_from: Path | None = None


def serve(
    models: list[str],
    find: Callable[[Path], Path],
    options: Options,
    end_process: Callable[[int], object] | None = None,
) -> None:
    """Serve models, each `FOLDER` or `NAME=FOLDER`, until SIGTERM or SIGINT; `find` gives the model folder of a run.

    Requests in flight get `grace` seconds; a second signal aborts them. SIGHUP reloads changed models. `end_process`
    (os._exit) is called EXIT_SLACK seconds after the grace if threads are stuck. Raises InputError for unusable models,
    keys or addresses.
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

    registry, reload = Registry(parse_models(models), find, load), threading.Event()
    log = AccessLog(prompts=options.log_prompts)
    admission = AdmissionControl(
        health.loading,
        keys,
        RateLimiter(options.requests_per_minute, options.concurrent, options.total_concurrent),
        log,
        Metrics(registry.states),
    )
    with _listening(options.host, options.port) as listener, log.capturing(*LOGGERS), _handle_sighup(reload):
        try:
            console.note(
                f"loading {', '.join(models)}; port {listener.getsockname()[1]} answers /health and /ready meanwhile"
            )
            door = admission if keys is None else for_any_origin(admission)
            with _answer_probes(door, listener), console.working("loading"):
                registry.load()
            server = SignalledServer(door, registry, log, options, reload, end_process)
            _run(server, registry, admission, options, listener)
        finally:
            registry.close(0)
            log.close()


@contextmanager
def _answer_probes(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Answer probes from a thread meanwhile. Its server closes a copy of the socket: clients wait meanwhile."""
    server = connections.Server(app, OPERATIONS, 1.0)
    thread = threading.Thread(target=server.run, args=([listener.dup()],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _handle_sighup(event: threading.Event) -> Iterator[None]:
    """Set the event on SIGHUP until the server handles it: by default the signal would end the process."""
    before = signal.signal(signal.SIGHUP, lambda number, frame: event.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _run(
    server: "SignalledServer",
    registry: Registry,
    admission: AdmissionControl,
    options: Options,
    listener: socket.socket,
) -> None:
    admission.app = application(registry, admission.metrics, options, lambda: server.started and not server.should_exit)
    host = f"[{options.host}]" if ":" in options.host else options.host
    console.note(
        f"serving {', '.join(model.name for model in registry.list())} at http://{host}:{listener.getsockname()[1]}"
        " (page, /v1)"
    )
    server.run(sockets=[listener])


def application(registry: Registry, metrics: Metrics, options: Options, ready: Callable[[], bool]) -> ASGIApp:
    """The whole app, to be wrapped in AdmissionControl."""
    sees = any(model.service.config.patch for model in registry.list())
    limits = Limits(body_bytes=IMAGE_BODY_BYTES) if sees else Limits()
    serving = Serving(
        registry, limits=limits, temperature=options.temperature, image_loader=ImageLoader(options.images_from)
    )
    app = make_app(serving)
    app.include_router(health.routes(serving, registry, metrics, ready, options.weights, options.runs))
    app.include_router(runs.routes(options.runs))
    return app


class SignalledServer(connections.Server):
    """A server with signals: SIGTERM or SIGINT stops it, the second at once; SIGHUP reloads changed models.

    Stuck threads of user requests: `end_process` is called after the grace, or soon after the second signal.
    """

    def __init__(
        self,
        app: ASGIApp,
        registry: Registry,
        log: AccessLog,
        options: Options,
        reload: threading.Event,
        end_process: Callable[[int], object] | None = None,
    ):
        super().__init__(app, OPERATIONS, options.grace)
        self._grace, self._end_process = options.grace, end_process
        self._registry, self._log, self._watch = registry, log, options.watch
        self._reload = reload

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replace uvicorn's signal handlers, which would end the process by the signal instead of with exit code 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        with suppress(AttributeError):  # not on every system
            loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        watcher = threading.Thread(target=self._watch_models, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self.should_exit = True
            self._reload.set()
            watcher.join(EXIT_SLACK)  # it may be loading

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        if self._end_process is not None:
            last = threading.Timer(
                EXIT_SLACK + (0 if self.force_exit else self._grace), self._exit, (self._end_process,)
            )
            last.daemon = True
            last.start()

    def _exit(self, end_process: Callable[[int], object]) -> None:
        """End the process although threads are stuck."""
        self._log.event({"event": "stop", "message": "the process was ended with requests that did not end"})
        self._log.close()
        end_process(0)

    def _watch_models(self) -> None:
        """Reload changed models on SIGHUP, and every few seconds with `--watch`."""
        while not self.should_exit:
            told = self._reload.wait(WATCH_SECONDS if self._watch else None)
            self._reload.clear()
            if not self.should_exit:
                for message in self._registry.reload(0.0 if told else WATCH_SECONDS):
                    self._log.event({"event": "reload", "message": message})


def parse_models(models: list[str]) -> dict[str, Path]:
    """Folders by model name; the default name is the folder's. Raises InputError for a duplicate or empty name."""
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
    """A listening socket. Raises InputError for an address that cannot be bound."""
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
