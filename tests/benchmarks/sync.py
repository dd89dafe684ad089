"""`SyncTransport` beneath `httpx.Client`, against bare httpx and the peers, over loopback.

Run it with `uv run --group bench python -m tests.benchmarks.sync`. The server is a process of its
own, and answers at once. All contenders take turns in every round, with one thread and with 32.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import httpx_retries
from anyio.from_thread import start_blocking_portal
from interlock.integrations.httpx import CircuitBreakerTransport as Interlock

from tests.benchmarks.answering import SERVER
from tests.benchmarks.measuring import Table, keep, show
from walltrack import HTTPTransport, SyncTransport, resilient_transport

T = TypeVar("T")

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)
LOADS = ((1, 100), (32, 640))
"""Threads, and the requests that they make among themselves in a round."""


def stack() -> httpx.AsyncBaseTransport:
    """The standard layers."""
    return resilient_transport(HTTPTransport(limits=LIMITS))


class Floor(httpx.BaseTransport):
    """The same stack in the thread that calls, which has to be the only one: no crossing at all."""

    def __init__(self) -> None:
        self._inner = stack()
        self._loop = asyncio.new_event_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._run(self._send(request))

    def close(self) -> None:
        self._run(self._inner.aclose())
        self._loop.close()

    def _run(self, coroutine: Coroutine[None, None, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body: Any = response.stream
        response.stream = httpx.ByteStream(b"".join([chunk async for chunk in body]))
        await body.aclose()
        return response


class Portal(Floor):
    """The same stack behind anyio's portal, by one call of it."""

    def __init__(self) -> None:
        self._inner = stack()
        self._opening = start_blocking_portal()
        self._portal = self._opening.__enter__()

    def close(self) -> None:
        self._run(self._inner.aclose())
        self._opening.__exit__(None, None, None)

    def _run(self, coroutine: Coroutine[None, None, T]) -> T:
        return self._portal.call(lambda: coroutine)


def bare() -> httpx.BaseTransport:
    """Connections of httpx, and nothing else."""
    return httpx.HTTPTransport(limits=LIMITS)


def retries(inner: httpx.BaseTransport) -> httpx.BaseTransport:
    """The transport of httpx-retries."""
    policy = httpx_retries.Retry(total=3, backoff_factor=0.0)
    transport: httpx.BaseTransport = httpx_retries.RetryTransport(inner, policy)
    return transport


CONTENDERS: dict[str, Callable[[], httpx.BaseTransport]] = {
    "bare": bare,
    "SyncTransport": lambda: SyncTransport(stack()),
    "... on trio": lambda: SyncTransport(stack(), backend="trio"),
    "the stack behind anyio's portal": Portal,
    "the stack in the calling thread": Floor,
    "httpx-retries": lambda: retries(bare()),
    "interlock-cb": lambda: Interlock(bare()),
    "httpx-retries + interlock-cb": lambda: retries(Interlock(bare())),
}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a server that answers at once."""
    command = [sys.executable, "-c", SERVER, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


def load(client: httpx.Client, url: str, threads: int, requests: int) -> tuple[float, float]:
    """Seconds for each request, on the clock and of this process's CPU."""
    left = iter(range(requests))

    def call() -> None:
        for _ in left:
            client.get(url)

    workers = [threading.Thread(target=call) for _ in range(threads)]
    began, began_cpu = time.perf_counter(), time.process_time()
    if threads == 1:
        call()
    else:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return took / requests, cpu / requests


def measured(
    clients: dict[str, httpx.Client], url: str, threads: int, requests: int, rounds: int
) -> Table:
    """Microseconds and CPU for each call, and in multiples of bare httpx's in the same round."""
    walls: dict[str, list[float]] = {name: [] for name in clients}
    cpus: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name in random.sample(list(clients), len(clients)):
            load(clients[name], url, threads, 2 * threads)  # idle connections expire
            wall, cpu = load(clients[name], url, threads, requests)
            walls[name].append(1e6 * wall)
            cpus[name].append(1e6 * cpu)
    return {
        name: {
            "us a call": round(statistics.median(mine)),
            "x bare": round(statistics.median(ratios), 2),
            "quartiles": " - ".join(f"{q:.2f}" for q in statistics.quantiles(ratios)[::2]),
            "x bare's requests/s": round(1 / statistics.median(ratios), 2),
            "CPU us": round(statistics.median(cpus[name])),
        }
        for name, mine in walls.items()
        if (ratios := [a / b for a, b in zip(mine, walls["bare"], strict=True)])
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, default=Path("sync.json"))
    options = parser.parse_args()
    tables: dict[str, Table] = {}
    with server() as url, contextlib.ExitStack() as opened:
        clients = {
            name: opened.enter_context(httpx.Client(transport=made(), timeout=60))
            for name, made in CONTENDERS.items()
        }
        for threads, requests in LOADS:
            if threads > 1:
                clients.pop("the stack in the calling thread")
            title = f"{threads} thread{'s' * (threads > 1)}"
            tables[title] = measured(clients, url, threads, requests, options.rounds)
            show(title, tables[title])
    keep(options.json, tables)


if __name__ == "__main__":
    main()
