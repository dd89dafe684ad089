"""Requests per second of far too many callers at once, with a limit and without.

Run it with `uv run --group bench python -m tests.benchmarks.queueing`. The callers of bare httpx
queue in its connection pool, which looks through all of them at each request. The server is a
process of its own, and answers at once.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path

import httpx

from tests.benchmarks.answering import server
from tests.benchmarks.contenders import Factory, bare
from tests.benchmarks.measuring import Table, keep, show
from tests.benchmarks.throughput import measured
from walltrack import ConcurrencyLimitTransport


def limited(limit: int) -> Factory:
    """A layer with this concurrency limit, and nothing else."""
    return lambda inner: ConcurrencyLimitTransport(inner, limit, listener=None)


def adaptive(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """A limit that adapts to the server."""
    return ConcurrencyLimitTransport(inner, "adaptive", listener=None)


CONTENDERS: dict[str, Factory] = {
    "bare": bare,
    "limit of 3": limited(3),
    "limit of 5": limited(5),
    "limit of 10": limited(10),
    "limit of 20": limited(20),
    "adaptive": adaptive,
}

LOADS = ((1, 100), (10, 200), (50, 250), (200, 1000), (500, 2500))
"""Callers, and the requests that they make among themselves in a round: enough for a queue to last.

A crowd that soon disperses is served faster: bare httpx does not get slow before it has opened all
its connections.
"""


async def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("queueing.json"))
    options = parser.parse_args()
    tables: dict[str, Table] = {}
    async with server() as url, contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                httpx.AsyncClient(transport=factory(httpx.AsyncHTTPTransport()), timeout=60)
            )
            for name, factory in CONTENDERS.items()
        }
        for callers, requests in LOADS:
            title = f"{callers} callers"
            tables[title] = await measured(clients, url, callers, requests, options.rounds)
            show(title, tables[title])
    keep(options.json, tables)


if __name__ == "__main__":
    asyncio.run(main())
