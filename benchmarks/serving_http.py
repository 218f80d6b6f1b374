"""Latency of `groundup serve` for its clients: time to first token, time between tokens, prefix cache, and a soak test.

The server runs in a process of its own, with a random model of a given depth, or with the model of --model. Clients
stream over HTTP, all from one process on the same cores.

    python benchmarks/serving_http.py [--depth 8] [--clients 1 4 16 64] [--model FOLDER]
    python benchmarks/serving_http.py --soak 10        # minutes; 32 clients, some disconnect or send invalid requests
"""

import argparse
import asyncio
import json
import random
import re
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from served import make_model, serving

PROMPT, ANSWER, SHARED = 64, 64, 512
FATE = {"answer": 0.6, "leave": 0.2, "nonsense": 0.1, "whole": 0.1}  # of a request in the soak test


@dataclass(frozen=True)
class Asked:
    """One streamed answer: seconds to its first text, and between texts; tokens as the server counts them, since not
    each ends a character.
    """

    first: float
    gaps: list[float]
    tokens: int


# --- clients ----------------------------------------------------------------------------------------------------------


async def ask(url: str, ids: list[int], tokens: int = ANSWER) -> Asked:
    """Stream an answer of at most so many tokens, by a client that does little but read: it runs on the server's own
    cores.
    """
    body = {
        "model": "model",
        "prompt": ids,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent, parts = json.dumps(body).encode(), urlsplit(url)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nConnection:"
        " close\r\n"
    )
    start, moments, text = time.perf_counter(), [], bytearray()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head.encode() + f"Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
    while data := await reader.read(1 << 16):
        moments += [time.perf_counter()] * data.count(b'"finish_reason":null')  # one for each piece of text
        text += data
    writer.close()
    count = re.findall(rb'"completion_tokens":\s*(\d+)', bytes(text))
    if not count:
        raise RuntimeError(text.decode(errors="replace")[:300])
    return Asked(moments[0] - start, [after - before for before, after in pairwise(moments)], int(count[-1]))


async def crowd(url: str, clients: int, rounds: int) -> tuple[list[Asked], float]:
    """So many clients, each asking again and again; all answers, and tokens a second of all together."""
    source = random.Random(clients)

    async def one() -> list[Asked]:
        return [await ask(url, [source.randrange(300, 4000) for _ in range(PROMPT)]) for _ in range(rounds)]

    await ask(url, [1, 2, 3])
    start = time.perf_counter()
    answers = [answer for found in await asyncio.gather(*(one() for _ in range(clients))) for answer in found]
    seconds = time.perf_counter() - start
    return answers, sum(answer.tokens for answer in answers) / seconds


async def shared_prefix(url: str, repeats: int = 7) -> tuple[float, float]:
    """Seconds to the first token of a prompt of SHARED tokens: new, and when it was there before; medians."""
    source, fresh, again = random.Random(5), [], []
    await ask(url, [1, 2, 3], 2)
    for _ in range(repeats):
        ids = [source.randrange(300, 4000) for _ in range(SHARED)]
        fresh.append((await ask(url, ids, 2)).first)
        again.append((await ask(url, [*ids[:-1], 7], 2)).first)
    return percentile(fresh, 50), percentile(again, 50)


def percentile(values: list[float], share: float) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


# --- soak -------------------------------------------------------------------------------------------------------------


async def soak(url: str, pid: int, minutes: float, clients: int = 32) -> dict[str, Any]:
    """Clients that ask, leave in the middle, and ask nonsense; what went wrong that was not theirs, and what is left
    afterwards.
    """
    until, counts, faults, memory = time.monotonic() + 60 * minutes, dict.fromkeys(FATE, 0), [], []

    async def one(number: int) -> None:
        source = random.Random(number)
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            while time.monotonic() < until:
                fate = source.choices(list(FATE), FATE.values())[0]
                counts[fate] += 1
                try:
                    if (said := await FATES[fate](client, source)) is not None:
                        faults.append(f"{fate}: {said}")
                except httpx.HTTPError as error:
                    faults.append(f"{fate}: {error!r}")

    async def watch() -> None:
        while time.monotonic() < until:
            memory.append(_resident(pid))
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(one(number) for number in range(clients)))
    await asyncio.sleep(2)
    quarter = max(1, len(memory) // 4)
    async with httpx.AsyncClient(base_url=url) as client:
        metrics = (await client.get("/metrics")).text
        health = (await client.get("/health")).status_code
    found = re.search(r'groundup_engine_pages_used\{model="model"\} ([\d.]+)', metrics)
    return {
        "requests": counts,
        "faults": faults[:20],
        "fault_count": len(faults),
        "health": health,
        "pages_used_afterwards": float(found[1]) if found else None,
        "memory_mib_second_quarter": round(sum(memory[quarter : 2 * quarter]) / quarter / 2**20, 1),
        "memory_mib_last_quarter": round(sum(memory[-quarter:]) / quarter / 2**20, 1),
    }


def _prompt(source: random.Random) -> list[int]:
    shared = [source.randrange(8)] * 48  # one of eight beginnings, so that pages are shared
    return shared + [source.randrange(300, 4000) for _ in range(source.randrange(1, 200))]


def _body(source: random.Random, **more: Any) -> dict[str, Any]:
    sampling = {
        "temperature": source.choice([0, 0.8]),
        "top_p": source.choice([1.0, 0.9]),
        "n": source.choice([1, 1, 1, 3]),
    }
    return {"model": "model", "prompt": _prompt(source), "max_tokens": source.randrange(1, 80), **sampling, **more}


async def _whole(client: httpx.AsyncClient, source: random.Random) -> str | None:
    answer = await client.post("/v1/completions", json=_body(source))
    return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:100]}"


async def _stream(client: httpx.AsyncClient, source: random.Random) -> str | None:
    last = ""
    async with client.stream("POST", "/v1/completions", json=_body(source, stream=True)) as answer:
        async for line in answer.aiter_lines():
            last = line or last
    return None if last == "data: [DONE]" else f"{answer.status_code} {last[:100]}"


async def _leave(client: httpx.AsyncClient, source: random.Random) -> str | None:
    left = source.randrange(1, 10)
    async with client.stream("POST", "/v1/completions", json=_body(source, stream=True)) as answer:
        if answer.status_code != 200:
            return str(answer.status_code)
        async for _ in answer.aiter_lines():
            left -= 1
            if not left:
                break
    return None


async def _nonsense(client: httpx.AsyncClient, source: random.Random) -> str | None:
    body = source.choice(NONSENSE)
    answer = await client.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    return None if 400 <= answer.status_code < 500 else f"{answer.status_code} to {body!r}"


NONSENSE = (
    b"{",
    b"[]",
    b"\xff",
    b'{"model": "model"}',
    b'{"model": "no", "prompt": "x"}',
    b'{"model": "model", "prompt": [99999999]}',
)
FATES = {"answer": _stream, "leave": _leave, "nonsense": _nonsense, "whole": _whole}


def _resident(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


# --- the tables -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run what was asked for."""
    from common import machine, table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--weights", default="full", choices=["full", "int8", "int4"])
    parser.add_argument("--soak", type=float, help="minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.model or Path(made)
        if arguments.model is None:
            make_model(arguments.depth, folder)
        print(machine(), flush=True)
        with serving(folder, "--weights", arguments.weights) as (url, pid):
            if arguments.soak:
                print(json.dumps(asyncio.run(soak(url, pid, arguments.soak)), indent=2))
                return
            rows = []
            for clients in arguments.clients:
                answers, rate = asyncio.run(crowd(url, clients, max(2, 32 // clients)))
                firsts, gaps = [answer.first for answer in answers], [gap for answer in answers for gap in answer.gaps]
                shown = [
                    f"{1e3 * percentile(values, share):.1f}" for values in (firsts, gaps) for share in (50, 95, 99)
                ]
                rows.append((clients, *shown, f"{rate:,.0f}"))
            print(
                table(
                    (
                        "clients",
                        "first p50",
                        "p95",
                        "p99",
                        "between p50",
                        "p95",
                        "p99 ms",
                        "tokens/s, prompts read meanwhile",
                    ),
                    rows,
                )
            )
            fresh, again = asyncio.run(shared_prefix(url))
            print(
                f"\nfirst token after {SHARED} tokens: {1e3 * fresh:.1f} ms new, {1e3 * again:.1f} ms when shared:"
                f" {fresh / again:.1f}x"
            )


if __name__ == "__main__":
    main()
