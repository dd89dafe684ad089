"""What it costs to share a circuit through a server of Valkey on this machine.

Run it with `uv run --group bench python -m tests.benchmarks.sharing`. It takes under a minute. The
transport beneath every contender answers at once, and the commands are those that the server counts
(`INFO commandstats`); a script is one command, and what it calls inside is not counted.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import purgatory
import redis.asyncio
from interlock.integrations.httpx import AsyncCircuitBreakerTransport
from interlock.integrations.redis import AsyncRedisStorage
from interlock.registry import Registry

from tests.benchmarks.contenders import Around
from tests.benchmarks.measuring import Run, Table, added, interleaved, keep, show
from tests.fleet.server import Server, serving
from walltrack import CircuitBreakerTransport
from walltrack.fleet import RedisState

URL = "https://api.test/"
REFERENCE = "walltrack"
SECONDS = 3.0


class Answering(httpx.AsyncBaseTransport):
    """Answers at once; a failing one raises, since not every contender looks at the status."""

    fails = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.fails:
            raise httpx.ConnectError("down", request=request)
        return httpx.Response(200)


Make = Callable[[Server, Answering, AsyncExitStack], httpx.AsyncBaseTransport]


def alone(_server: Server, inner: Answering, _stack: AsyncExitStack) -> httpx.AsyncBaseTransport:
    """The breaker without a store."""
    return CircuitBreakerTransport(inner, listener=None)


def bare(_server: Server, inner: Answering, _stack: AsyncExitStack) -> httpx.AsyncBaseTransport:
    """Nothing at all."""
    return inner


def shared(server: Server, inner: Answering, stack: AsyncExitStack) -> httpx.AsyncBaseTransport:
    """The breaker with a store."""
    client = redis.asyncio.Redis(port=server.port)
    stack.push_async_callback(client.aclose)
    return CircuitBreakerTransport(inner, listener=None, shared=RedisState(client))


def by_purgatory(
    server: Server, inner: Answering, _stack: AsyncExitStack
) -> httpx.AsyncBaseTransport:
    """A breaker of purgatory for each host, in Redis."""
    factory = purgatory.AsyncCircuitBreakerFactory(
        default_threshold=5, default_ttl=30, uow=purgatory.AsyncRedisUnitOfWork(server.url)
    )

    async def handle(request: httpx.Request) -> httpx.Response:
        async with await factory.get_breaker(request.url.host):
            return await inner.handle_async_request(request)

    return Around(handle)


def by_interlock(
    server: Server, inner: Answering, stack: AsyncExitStack
) -> httpx.AsyncBaseTransport:
    """The transport of interlock-cb, with its storage."""
    client = redis.asyncio.Redis(port=server.port)
    registry = Registry(storage=AsyncRedisStorage(client))
    stack.push_async_callback(client.aclose)
    stack.push_async_callback(registry.get("api.test").aclose)
    transport: httpx.AsyncBaseTransport = AsyncCircuitBreakerTransport(inner, registry=registry)
    return transport


CONTENDERS: dict[str, Make] = {
    "bare": bare,
    REFERENCE: alone,
    "walltrack, shared": shared,
    "purgatory, in Redis": by_purgatory,
    "interlock-cb, in Redis": by_interlock,
}


@asynccontextmanager
async def made(server: Server, make: Make, *, fails: bool = False) -> AsyncIterator[Run]:
    """A contender, after its first call, which may open connections."""
    async with AsyncExitStack() as stack:
        inner = Answering()
        transport = make(server, inner, stack)

        async def run(times: int) -> None:
            for _ in range(times):
                try:
                    await transport.handle_async_request(httpx.Request("GET", URL))
                except httpx.ConnectError:
                    pass
                except Exception:  # noqa: BLE001 - open, for which each has an exception of its own
                    return

        await run(1)
        inner.fails = fails
        server.commands()
        yield run


async def latencies(server: Server, rounds: int) -> Table:
    """The time that each adds to a healthy call."""
    async with AsyncExitStack() as stack:
        runs = {
            name: await stack.enter_async_context(made(server, make))
            for name, make in CONTENDERS.items()
        }
        return added(await interleaved(runs, rounds, 200), "bare", REFERENCE)


async def commands(server: Server) -> Table:
    """The commands that each sends: per healthy call, while idle, and per failing call."""
    table: Table = {}
    for name, make in list(CONTENDERS.items())[1:]:
        server.client().flushall()
        async with made(server, make) as run:
            await run(1000)
            healthy = server.commands() / 1000
            await asyncio.sleep(SECONDS)
            idle = server.commands() / SECONDS
        server.client().flushall()
        async with made(server, make, fails=True) as run:
            await run(5)
            failing = server.commands() / 5
        table[name] = {
            "per healthy call": round(healthy, 3),
            "per idle second": round(idle, 2),
            "per failing call": round(failing, 2),
        }
    return table


def main() -> None:
    """Measure, print, and keep the results if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with serving() as server:
        tables = {
            "Time added to a healthy call": asyncio.run(latencies(server, options.rounds)),
            "Commands": asyncio.run(commands(server)),
        }
    for title, table in tables.items():
        show(title, table)
    if options.json:
        keep(options.json, tables)


if __name__ == "__main__":
    main()
