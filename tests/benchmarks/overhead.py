"""Time that the layers add to a call that succeeds, and to one that fails.

Run it with `uv run --group bench python -m tests.benchmarks.overhead`. It takes under a minute, and
no network: beneath every contender is a transport that answers at once.
"""

import argparse
import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.benchmarks.contenders import (
    AT_ONCE,
    LAYERS,
    OURS,
    PEERS,
    REFERENCE,
    Factory,
    bare,
    walltrack,
)
from tests.benchmarks.measuring import Run, Table, added, interleaved, keep, show
from walltrack import CircuitBreakerTransport, RetryTransport

URL = "https://api.test/"
HEADERS = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"2"), (b"Date", b"today")]
ALL: dict[str, Factory] = {"bare": bare, **OURS, **PEERS}


class Answering(httpx.AsyncBaseTransport):
    """Answers at once, with a body that is there already."""

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200)


class Chunk(httpx.AsyncByteStream):
    """A body of one chunk, read when it is asked for, and once."""

    def __init__(self) -> None:
        self._chunks = [b"ok"]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._chunks.pop()


class Streaming(httpx.AsyncBaseTransport):
    """Answers at once, with a body that has still to be read."""

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=HEADERS, stream=Chunk())


class Faltering(httpx.AsyncBaseTransport):
    """Answers 503 every other time."""

    def __init__(self) -> None:
        self.asked = 0

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(503 if self.asked % 2 else 200)


class Refusing(httpx.AsyncBaseTransport):
    """Refuses every connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection attempts failed", request=request)


def calls(transport: httpx.AsyncBaseTransport, *, read: bool = False) -> Run:
    """Calls of a transport, each with a request of its own, as a client makes them."""
    requests = [httpx.Request("GET", URL) for _ in range(200)]

    async def run(times: int) -> None:
        for number in range(times):
            response = await transport.handle_async_request(requests[number % 200])
            if read:
                await response.aread()

    return run


def refusals(transport: httpx.AsyncBaseTransport) -> Run:
    """Calls that fail, each handled as a client would."""
    requests = [httpx.Request("GET", URL) for _ in range(200)]

    async def run(times: int) -> None:
        for number in range(times):
            try:
                await transport.handle_async_request(requests[number % 200])
            except httpx.TransportError:
                pass

    return run


async def refused(rounds: int) -> Table:
    """What a refusal by an open circuit takes, in multiples of a refused connection."""
    runs = {
        "a refused connection": refusals(Refusing()),
        "an open circuit": refusals(CircuitBreakerTransport(Refusing(), listener=None)),
        "an open circuit, below retries": refusals(walltrack(Refusing())),
    }
    took = {name: min(ns) for name, ns in (await interleaved(runs, rounds, 200)).items()}
    return {
        name: {"ns": round(ns), "x": round(ns / took["a refused connection"], 2)}
        for name, ns in took.items()
    }


async def through_a_client(rounds: int) -> Table:
    """What both layers add to `AsyncClient.get`, body read to its end."""
    clients = {
        name: httpx.AsyncClient(transport=factory(Streaming()))
        for name, factory in (("bare", bare), ("walltrack", walltrack))
    }

    def gets(client: httpx.AsyncClient) -> Run:
        async def run(times: int) -> None:
            for _ in range(times):
                await client.get(URL)

        return run

    runs = {name: gets(client) for name, client in clients.items()}
    took = {name: min(ns) for name, ns in (await interleaved(runs, rounds, 40)).items()}
    over = took["walltrack"] - took["bare"]
    return {"walltrack": {"added ns": round(over), "added %": round(100 * over / took["bare"], 1)}}


async def growth_with_tasks(rounds: int) -> Table:
    """What is added to a call while many tasks make calls."""
    table: Table = {}
    for tasks in (1, 10, 100, 1000):

        def at_once(transport: httpx.AsyncBaseTransport, tasks: int = tasks) -> Run:
            one = calls(transport)

            async def run(times: int) -> None:
                await asyncio.gather(*(one(times // tasks) for _ in range(tasks)))

            return run

        runs = {
            name: at_once(f(Answering())) for name, f in (("bare", bare), ("walltrack", walltrack))
        }
        took = {name: min(ns) for name, ns in (await interleaved(runs, rounds, 4000)).items()}
        table[f"{tasks} tasks"] = {"added ns": round(took["walltrack"] - took["bare"])}
    return table


async def memory_of_an_origin(origins: int = 10_000) -> Table:
    """What is kept for an origin that answers."""
    kept: dict[str, float] = {}
    for name, factory in (("bare", bare), ("walltrack", walltrack)):
        transport = factory(Answering())
        gc.collect()
        tracemalloc.start()
        for number in range(origins):
            request = httpx.Request("GET", f"https://host{number}.test/")
            await transport.handle_async_request(request)
        gc.collect()
        kept[name] = tracemalloc.get_traced_memory()[0] / origins
        tracemalloc.stop()
    return {"walltrack": {"bytes for each": round(kept["walltrack"] - kept["bare"], 1)}}


def import_time(rounds: int = 7) -> Table:
    """What importing takes beyond `import httpx, structlog`."""
    table: Table = {}
    for statement in (
        "import walltrack",
        "from walltrack import RetryTransport, CircuitBreakerTransport",
        "from walltrack import BaseAPIClient",
    ):
        code = (
            f"import time, httpx, structlog; began = time.perf_counter(); {statement}; "
            "print((time.perf_counter() - began) * 1000)"
        )
        took = [
            float(subprocess.check_output([sys.executable, "-c", code], text=True))
            for _ in range(rounds)
        ]
        table[statement.removeprefix("from walltrack ")] = {"ms": round(min(took), 1)}
    return table


async def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, default=Path("overhead.json"))
    options = parser.parse_args()
    rounds: int = options.rounds
    began = time.monotonic()

    answered = {name: calls(factory(Answering())) for name, factory in ALL.items()}
    streamed = {name: calls(factory(Streaming()), read=True) for name, factory in ALL.items()}
    only = RetryTransport(Faltering(), policy=AT_ONCE, listener=None)
    retried = {name: calls(ALL[name](Faltering())) for name in ("walltrack", REFERENCE)}
    retried["RetryTransport alone"] = calls(only)
    retried["bare"] = calls(Answering())
    alone = {name: calls(factory(Answering())) for name, factory in LAYERS.items()}
    alone |= {"bare": calls(Answering()), REFERENCE: calls(PEERS[REFERENCE](Answering()))}
    tables = {
        "each layer by itself, the body there already": added(
            await interleaved(alone, rounds, 100), "bare", REFERENCE
        ),
        "200, the body there already": added(
            await interleaved(answered, rounds, 100), "bare", REFERENCE
        ),
        "200, the body read by the caller": added(
            await interleaved(streamed, rounds, 50), "bare", REFERENCE
        ),
        "503 once, retried without a wait": added(
            await interleaved(retried, rounds, 100), "bare", REFERENCE
        ),
        "a refusal": await refused(rounds),
        "AsyncClient.get": await through_a_client(rounds),
        "many tasks at once": await growth_with_tasks(max(rounds // 6, 3)),
        "memory of an idle origin": await memory_of_an_origin(),
        "import": import_time(),
    }
    for title, table in tables.items():
        show(title, table)
    keep(options.json, tables)
    print(f"It took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    asyncio.run(main())
