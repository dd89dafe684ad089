"""Requests per second over loopback, through both layers and bare, in interleaved rounds.

Run it with `uv run --group bench python -m tests.benchmarks.throughput`. The server is a process of
its own, and answers at once.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from pathlib import Path

import httpx

from tests.benchmarks.answering import server
from tests.benchmarks.contenders import bare, retries, walltrack
from tests.benchmarks.measuring import Table, keep, show

CONTENDERS = {"bare": bare, "walltrack": walltrack, "httpx-retries": retries}


async def rate(client: httpx.AsyncClient, url: str, callers: int, requests: int) -> float:
    """Requests per second that `callers` tasks complete together."""
    left = iter(range(requests))

    async def call() -> None:
        for _ in left:
            await client.get(url)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return requests / (time.perf_counter() - began)


async def measured(
    clients: dict[str, httpx.AsyncClient], url: str, callers: int, requests: int, rounds: int
) -> Table:
    """Requests per second, and in multiples of bare httpx's of the same round."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name in random.sample(list(clients), len(clients)):
            await rate(clients[name], url, callers, callers)  # idle connections expire
            rates[name].append(await rate(clients[name], url, callers, requests))
    return {
        name: {
            "requests/s": round(statistics.median(mine)),
            "x bare": round(statistics.median(ratios), 3),
            "quartiles": " - ".join(f"{q:.2f}" for q in statistics.quantiles(ratios)[::2]),
        }
        for name, mine in rates.items()
        if (ratios := [a / b for a, b in zip(mine, rates["bare"], strict=True)])
    }


async def one_by_one(clients: dict[str, httpx.AsyncClient], url: str, requests: int) -> Table:
    """What is added to one `AsyncClient.get`, the contenders taking turns."""
    took: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(requests):
        for name in random.sample(list(clients), len(clients)):
            began = time.perf_counter()
            await clients[name].get(url)
            took[name].append((time.perf_counter() - began) * 1e6)
    bare_us = statistics.median(took["bare"])
    return {
        name: {
            "us": round(statistics.median(us), 1),
            "added %": round(100 * (statistics.median(us) / bare_us - 1), 2),
            "of the fastest tenth %": round(100 * (fast(us) / fast(took["bare"]) - 1), 2),
        }
        for name, us in took.items()
    }


def fast(us: list[float]) -> float:
    """The time that a tenth of the requests stayed below."""
    return statistics.quantiles(us, n=10)[0]


async def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("throughput.json"))
    options = parser.parse_args()
    tables: dict[str, Table] = {}
    async with server() as url, contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                httpx.AsyncClient(transport=factory(httpx.AsyncHTTPTransport()), timeout=60)
            )
            for name, factory in CONTENDERS.items()
        }
        title = "AsyncClient.get, one request after the other"
        tables[title] = await one_by_one(clients, url, 100 * options.rounds)
        show(title, tables[title])
        for callers, requests in ((1, 100), (10, 150), (50, 200), (200, 400)):
            title = f"{callers} callers"
            tables[title] = await measured(clients, url, callers, requests, options.rounds)
            show(title, tables[title])
    keep(options.json, tables)


if __name__ == "__main__":
    asyncio.run(main())
