"""The process that fills in chat templates of other projects: a template may loop, grow or reach out, so it is bounded.

Each rendering has a limit of processor time, all of them one of memory, and no file can be written. As a script: the
worker, which reads jobs from its standard input and answers on its standard output, each JSON behind its length in 4
bytes. It imports only Jinja, so that it starts at once. The settings are those in which transformers runs a template.
"""

import json
import resource
import signal
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import jinja2.ext
from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2.0  # of processor time, a rendering
MEMORY = 256 << 20  # bytes beyond those that the worker starts with
LONGEST = 64 << 20  # characters of all that a job renders
OPENED, CLOSED = "\U0010fff0", "\U0010fff1"  # around what {% generation %} encloses
_INPUTS = ("messages", "tools", "documents", "add_generation_prompt")


class _Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: what the assistant writes, for loss masks."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """The enclosed part, between marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Callable[[], str]) -> str:
        return OPENED + caller() + CLOSED


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@cache
def _template(text: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals.pop("lipsum")
    return environment.from_string(text)


def render(text: str, case: dict[str, Any], variables: dict[str, Any], now: str) -> str:
    """One rendering of a template, at a moment in ISO format."""
    today = datetime.fromisoformat(now)
    inputs = dict.fromkeys(_INPUTS) | variables | case
    return _template(text).render(**inputs, strftime_now=today.strftime)


def answer(job: dict[str, Any], limit: Callable[[], None]) -> dict[str, Any]:
    """The texts of a job, or the sentence that says why there are none."""
    texts: list[str] = []
    try:
        for case in job["cases"]:
            limit()
            texts.append(render(job["template"], case, job["variables"], job["now"]))
            if sum(map(len, texts)) > LONGEST:
                return {"error": f"renders more than {LONGEST:,} characters"}
    except TemplateSyntaxError as error:
        return {"error": f"has a fault in line {error.lineno}: {error.message}"}
    except (MemoryError, RecursionError) as error:
        return {"error": f"takes more memory than it may ({type(error).__name__})"}
    except Exception as error:  # noqa: BLE001 - a template can raise anything that Python can
        return {"error": f"refuses the conversation: {(str(error) or type(error).__name__).strip().splitlines()[0]}"}
    return {"texts": texts}


def receive(file: BinaryIO) -> Any:
    """The next message, parsed; None at the end of the file."""
    head = file.read(4)
    size = struct.unpack("<I", head)[0] if len(head) == 4 else 0
    content = file.read(size)
    return json.loads(content) if size and len(content) == size else None


def send(file: BinaryIO, message: Any) -> None:
    """Write a message."""
    content = json.dumps(message).encode()
    file.write(struct.pack("<I", len(content)) + content)
    file.flush()


def main() -> None:
    """Answer jobs until the input is closed. The system ends the process where a rendering takes too long."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    _limit()
    while (job := receive(source)) is not None:
        found = answer(job, lambda: signal.setitimer(signal.ITIMER_PROF, SECONDS))  # type: ignore[arg-type]
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(target, found)


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if pages is not None:
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":
    main()
