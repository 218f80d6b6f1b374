"""A server that stands in for the real one: the page's files under its headers, the contract under /api, and answers as
a test scripts them.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from groundup.serve.static import HEADERS

PAGE = Path(__file__).parents[3] / "groundup" / "serve" / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
USAGE = {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20, "prompt_tokens_details": {"cached_tokens": 4}}
Script = Callable[[dict[str, Any]], Iterator[bytes]]


def event(value: Any) -> bytes:
    """One event with JSON in it."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def delta(finish: str | None = None, **values: Any) -> bytes:
    """A chunk of a streamed answer."""
    return event(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": values, "finish_reason": finish}]}
    )


def says(*pieces: str, finish: str = "stop", pause: float = 0.0) -> Script:
    """An answer in pieces, so many seconds apart."""

    def script(body: dict[str, Any]) -> Iterator[bytes]:
        yield delta(role="assistant", content="")
        for piece in pieces:
            time.sleep(pause)
            yield delta(content=piece)
        yield delta(finish)
        yield event({"choices": [], "usage": USAGE})
        yield b"data: [DONE]\n\n"

    return script


def raw(*pieces: bytes) -> Script:
    """Bytes as they are."""
    return lambda body: iter(pieces)


class StandIn:
    """The server. Tests set what it answers and read what it was asked."""

    def __init__(self) -> None:
        self.reset()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"stand_in": self}))
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def reset(self) -> None:
        """As at the start."""
        self.script: Script = says("Hello ", "there.")
        self.refusal: tuple[int, dict[str, Any], dict[str, str]] | None = None
        self.key: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.cut = threading.Event()  # set when a client left in the middle of an answer
        self.settings: dict[str, Any] = {
            "version": "0.1.0",
            "models": [
                {"id": "demo", "context": 4096, "images": False, "weights": "full", "parameters": 3_500_000},
                {"id": "vision_engine", "context": 4096, "images": True, "weights": "int8", "parameters": 25_000_000},
            ],
            "limits": {"body_bytes": 4 << 20, "messages": 1000, "stops": 4, "answers": 16, "top_logprobs": 20},
            "defaults": {"temperature": 1.0, "top_p": 1.0, "max_tokens": None},
            "runs": True,
        }
        self.runs: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """Stop it."""
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: tests look at what was asked."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.stand_in.paths.append(url.path)
        if url.path.startswith("/api/"):
            if self._let_in():
                self._api(url.path.removeprefix("/api/"), parse_qs(url.query))
            return
        path = PAGE / (url.path.lstrip("/") or "index.html")
        if path.suffix not in TYPES or not path.is_file():
            self._json({"error": {"message": "not found"}}, 404)
            return
        self._send(path.read_bytes(), TYPES[path.suffix], HEADERS | {"Cache-Control": "max-age=3600"})

    def do_POST(self) -> None:
        self.stand_in.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        self.stand_in.asked.append(body)
        if self.stand_in.refusal is not None:
            status, value, headers = self.stand_in.refusal
            self._json(value, status, headers)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for piece in self.stand_in.script(body):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            self.stand_in.cut.set()

    def _let_in(self) -> bool:
        if self.stand_in.key is None or self.headers.get("Authorization") == f"Bearer {self.stand_in.key}":
            return True
        self._json(
            {
                "error": {
                    "message": "no valid key",
                    "type": "authentication_error",
                    "param": None,
                    "code": "invalid_api_key",
                }
            },
            401,
        )
        return False

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        if path == "settings":
            self._json(self.stand_in.settings)
        elif path == "runs":
            brief = [{key: run[key] for key in ("name", "live", "stages")} for run in self.stand_in.runs.values()]
            self._json({"runs": brief})
        elif path.endswith("/report"):
            self._send(b"<!doctype html><title>Report</title><h1>A report</h1>", "text/html", {})
        else:
            self._run(unquote(path.removeprefix("runs/")), query.get("since", [None])[0])

    def _run(self, name: str, since: str | None) -> None:
        run = self.stand_in.runs.get(name)
        if run is None:
            self._json({"error": {"message": f"there is no run {name!r}"}}, 404)
            return
        if since is not None:
            stage, _, step = since.rpartition(":")
            kept = [one for one in run["training"] if one["stage"] == stage]
            run = run | {
                "training": [
                    one | {"points": [point for point in one["points"] if point["step"] > int(step)]} for one in kept
                ]
            }
        self._json(run)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), "application/json", headers or {}, status)

    def _send(self, content: bytes, kind: str, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content)


def a_run(name: str = "demo", live: bool = True, steps: int = 400, done: int = 240) -> dict[str, Any]:
    """A run in its second training."""

    def points(until: int) -> list[dict[str, Any]]:
        shape = [
            {
                "step": step,
                "loss": 1.2 + 6 / (1 + step / 20) + 0.012 * ((step * 7) % 11 - 5),
                "tokens_per_second": 5200 + 60 * ((step * 13) % 7 - 3),
            }
            for step in range(1, until + 1, 2)
        ]
        for point in shape[19::20]:
            point["heldout"] = {"library": point["loss"] + 0.12, "tasks": point["loss"] * 0.8}
        return shape

    state = "running" if live else "done"
    stages = [
        {
            "name": "documents-library",
            "state": "done",
            "trains": False,
            "seconds": 3.1,
            "finished": "2026-11-24T09:00:00Z",
        },
        {"name": "tokenizer", "state": "done", "trains": False, "seconds": 8.4, "finished": "2026-11-24T09:00:09Z"},
        {"name": "pretrain", "state": "done", "trains": True, "seconds": 312.0, "finished": "2026-11-24T09:06:00Z"},
        {"name": "instruct", "state": state, "trains": True, "seconds": None if live else 402.0, "finished": None},
        {
            "name": "evaluate",
            "state": "waiting" if live else "done",
            "trains": False,
            "seconds": None,
            "finished": None,
        },
    ]
    return {
        "name": name,
        "live": live,
        "stages": stages,
        "training": [
            {"stage": "pretrain", "steps": 600, "points": points(600)},
            {"stage": "instruct", "steps": steps, "points": points(done)},
        ],
        "figures": [
            {
                "title": "Exact match on held-out tasks, 40 cases a family and language",
                "columns": ["family", "level", "English", "Chinese"],
                "rows": [
                    ["copying", "1", "100.0 % (91–100)", "100.0 % (91–100)"],
                    ["spelling", "1", "100.0 % (91–100)", "90.0 % (77–96)"],
                ],
            },
            {
                "title": "Bits per byte of held-out text, less is better",
                "columns": ["source", "text", "model"],
                "rows": [["library", "55.7 KiB", "1.668"]],
            },
        ],
        "lineage": {
            "nodes": [
                {"id": "documents-library", "kind": "stage", "title": "documents-library", "lines": ["3 s"]},
                {"id": "tokenizer", "kind": "stage", "title": "tokenizer", "lines": ["8 s"]},
                {"id": "shards-library", "kind": "stage", "title": "shards-library", "lines": ["2 s"]},
                {"id": "pretrain", "kind": "model", "title": "pretrain", "lines": ["312 s"]},
                {"id": "source library", "kind": "source", "title": "library", "lines": ["python-library", "PSF-2.0"]},
            ],
            "edges": [
                ["documents-library", "tokenizer"],
                ["documents-library", "shards-library"],
                ["tokenizer", "shards-library"],
                ["shards-library", "pretrain"],
                ["tokenizer", "pretrain"],
                ["source library", "documents-library"],
            ],
        },
        "licences": {"PSF-2.0": 1834},
        "report": True,
    }
