"""`HTTPTransport` beneath `httpx.AsyncClient`, against httpx's own transport, over loopback.

Run it with `uv run python -m tests.benchmarks.connections`; it takes about five minutes, most of
them for httpx's transport and 500 callers. The server is a process of its own, and answers at once.
Then thirty callers with a timeout of 50 ms share a pool of one, and it is asked whether the pool
serves afterwards.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.benchmarks.answering import server
from tests.benchmarks.measuring import Table, keep, show
from walltrack import HTTPTransport

OURS = "HTTPTransport"
CONTENDERS: dict[str, Callable[..., httpx.AsyncBaseTransport]] = {
    "httpx": httpx.AsyncHTTPTransport,
    OURS: HTTPTransport,
}
ONE = httpx.Limits(max_connections=1)
PATIENT = httpx.Timeout(120)

SLOW = 0.002

LOADS = ((1, 200), (50, 500), (200, 1000), (500, 2500))
"""Callers, and the requests that they make among themselves: enough for their queue to last."""


async def load(client: httpx.AsyncClient, url: str, callers: int, requests: int) -> list[float]:
    """The seconds that each of `requests` takes when `callers` tasks send them at once."""
    left = iter(range(requests))
    took: list[float] = []

    async def call() -> None:
        for _ in left:
            began = time.perf_counter()
            await client.get(url)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(call() for _ in range(callers)))
    return took


async def measured(url: str, callers: int, requests: int, rounds: int) -> Table:
    """Requests per second and the slowest percent, in alternating rounds of both transports."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    slowest: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in random.sample(list(CONTENDERS), len(CONTENDERS)):
            async with httpx.AsyncClient(transport=CONTENDERS[name](), timeout=PATIENT) as client:
                await load(client, url, callers, callers)  # opens the connections
                began, began_cpu = time.perf_counter(), time.process_time()
                took = await load(client, url, callers, requests)
                cpu[name].append((time.process_time() - began_cpu) / requests)
                rates[name].append(requests / (time.perf_counter() - began))
            slowest[name].append(statistics.quantiles(took, n=100)[-1])
    return {
        name: {
            "requests/s": round(statistics.median(mine)),
            "x httpx": round(statistics.median(ratios), 2),
            "quartiles": " - ".join(f"{q:.2f}" for q in statistics.quantiles(ratios)[::2]),
            "p99 ms": round(1000 * statistics.median(slowest[name]), 1),
            "CPU us": round(1e6 * statistics.median(cpu[name])),
        }
        for name, mine in rates.items()
        if (ratios := [a / b for a, b in zip(mine, rates["httpx"], strict=True)])
    }


async def survival(url: str, runs: int) -> Table:
    """Whether a pool of one serves after thirty callers gave up at any moment."""
    table: Table = {}
    for name, make in CONTENDERS.items():
        ended: Counter[str] = Counter()
        for _ in range(runs):
            transport = make(limits=ONE)
            async with httpx.AsyncClient(transport=transport, timeout=2) as client:

                async def give_up(client: httpx.AsyncClient = client) -> None:
                    for _ in range(10):
                        with contextlib.suppress(TimeoutError, httpx.TransportError):
                            async with asyncio.timeout(0.05):
                                await client.get(url)

                await asyncio.gather(*(give_up() for _ in range(30)))
                try:
                    await client.get(url)
                except httpx.TransportError as error:
                    ended[type(error).__name__] += 1
                else:
                    ended["serves"] += 1
        shown = ", ".join(f"{what} {times}" for what, times in ended.items())
        table[name] = {"afterwards": shown, "runs": runs}
    return table


async def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("connections.json"))
    options = parser.parse_args()
    tables: dict[str, Table] = {}
    async with server() as url:
        for callers, requests in LOADS:
            title = f"{callers} callers"
            tables[title] = await measured(url, callers, requests, options.rounds)
            show(title, tables[title])
    async with server(delay=SLOW) as url:
        title = "a pool of one, 30 callers, a timeout of 50 ms"
        tables[title] = await survival(url, options.rounds)
        show(title, tables[title])
    keep(options.json, tables)


if __name__ == "__main__":
    asyncio.run(main())
