"""ConcurrencyLimitTransport over real sockets, by itself and in a stack."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.integration.fault_server import Exchange, FaultServer, answer, cut, drip, hold, late
from tests.integration.layered import pool
from tests.support import until
from walltrack import (
    AdaptiveLimit,
    Backoff,
    CircuitBreakerTransport,
    ConcurrencyLimitError,
    ConcurrencyLimitTransport,
    RetryPolicy,
    RetryTransport,
)

pytestmark = pytest.mark.anyio

TIMEOUT = httpx.Timeout(10, pool=5)  # of the wait for a turn; no call waits in the pool after it

PATIENT = RetryPolicy(max_retries=30, backoff=Backoff(base=0.0))


@asynccontextmanager
async def limited(limit: int = 1, **options: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - handed on
    """A client with a limit over exactly as many connections; none is in use in the end."""
    transport = ConcurrencyLimitTransport(pool(limit), limit, **{"listener": None, **options})
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT) as client:
        yield client
        assert "<0 of " in repr(transport)
        assert ", 0 waiting>" in repr(transport)


async def test_fifty_callers_share_three_connections(server: FaultServer) -> None:
    """No call waits in the pool or is rejected, and at most three connections are open."""
    server.default = late(0.005)
    async with limited(3) as client, anyio.create_task_group() as callers:
        for _ in range(50):
            callers.start_soon(client.get, server.url)
    assert len(server.seen) == 50
    assert server.connections <= 3


async def test_a_connection_is_free_when_its_permit_is(server: FaultServer) -> None:
    """A stream holds both to its end, and the next call finds the connection in the pool."""
    server.will(drip(every=0.005, times=10))
    async with (
        limited() as client,
        anyio.create_task_group() as callers,
        client.stream("GET", server.url) as response,
    ):
        callers.start_soon(client.get, server.url)
        assert len(await response.aread()) == 10
        assert len(server.seen) == 1
    assert len(server.seen) == 2
    assert server.connections == 1


async def test_bodies_that_break_off_and_streams_that_are_left_hold_nothing(
    server: FaultServer,
) -> None:
    """The next call gets the permit, with a new connection."""
    async with limited() as client:
        for _ in range(3):
            server.will(cut(), answer(body=b"x" * 100_000))
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(server.url)
            async with client.stream("GET", server.url):
                pass
        assert (await client.get(server.url)).content == b"ok"


async def test_calls_that_are_cancelled_hold_nothing(server: FaultServer) -> None:
    """Neither those that were sent nor those that waited hold a permit."""
    go = threading.Event()
    server.default = hold(go, answer())
    async with limited(2) as client:
        async with anyio.create_task_group() as callers:
            for _ in range(10):
                callers.start_soon(client.get, server.url)
            await until(lambda: len(server.seen) == 2)
            callers.cancel_scope.cancel()
        go.set()
        assert (await client.get(server.url)).content == b"ok"
    assert len(server.seen) == 3


async def test_beneath_retry_and_over_a_breaker_every_attempt_has_its_turn(
    server: FaultServer,
) -> None:
    """No permit is held between two attempts, and none is lost by those that failed."""
    server.script = [answer(503), cut(), answer()] * 10
    inner = ConcurrencyLimitTransport(CircuitBreakerTransport(pool(2), failure_threshold=1000), 2)
    transport = RetryTransport(inner, policy=PATIENT, listener=None)
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await client.get(server.url)).status_code)

    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT) as client:
        async with anyio.create_task_group() as callers:
            for _ in range(10):
                callers.start_soon(call)
        assert "<0 of 2 in flight, 0 waiting>" in repr(transport)
    assert statuses == [200] * 10


async def test_a_crowd_is_refused_at_once_while_the_server_is_stuck(server: FaultServer) -> None:
    """Two calls are in flight, three wait, and all others are rejected."""
    go = threading.Event()
    server.default = hold(go, answer())
    answered: list[int] = []
    refused: list[ConcurrencyLimitError] = []

    async def call() -> None:
        try:
            answered.append((await client.get(server.url)).status_code)
        except ConcurrencyLimitError as error:
            refused.append(error)

    async with limited(2, max_queue=3) as client, anyio.create_task_group() as callers:
        for _ in range(20):
            callers.start_soon(call)
        await until(lambda: len(refused) == 15 and len(server.seen) == 2)
        go.set()
    assert answered == [200] * 5


def server_has_seen(server: FaultServer, requests: int) -> bool:
    """Whether the server got that many requests."""
    return len(server.seen) == requests


@pytest.mark.parametrize("family", [httpx, httpx2], ids=lambda family: family.__name__)
async def test_a_pool_timeout_ends_the_wait_for_a_turn_as_it_ends_that_for_a_connection(
    server: FaultServer, family: ModuleType
) -> None:
    """A caller that handles PoolTimeout gets one with a limit as without it."""
    go = threading.Event()
    server.default = hold(go, answer())
    limits = ConcurrencyLimitTransport(pool(1, family=family), 1, listener=None)
    for transport in (pool(1, family=family), limits):
        timeout = family.Timeout(10, pool=0.02)
        async with (
            family.AsyncClient(transport=transport, timeout=timeout) as client,
            anyio.create_task_group() as callers,
        ):
            seen = len(server.seen)
            callers.start_soon(client.get, server.url)
            await until(partial(server_has_seen, server, seen + 1))
            with pytest.raises(family.PoolTimeout):
                await client.get(server.url)
            go.set()
        go.clear()
    assert "<0 of 1 in flight, 0 waiting>" in repr(limits)
    assert len(server.seen) == 2


class Capacity:
    """How many requests the server works on at once; the others wait in it."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self.waiting: list[asyncio.Event] = []

    async def work(self, exchange: Exchange) -> None:
        """Work on one request for a twentieth of a second, when there is a place."""
        while self.taken >= self.places:
            self.waiting.append(asyncio.Event())
            await self.waiting[-1].wait()
        self.taken += 1
        try:
            await asyncio.sleep(0.05)  # long beside what a busy machine adds to it
        finally:
            self.taken -= 1
            for event in self.waiting[: max(self.places - self.taken, 0)]:
                event.set()
            del self.waiting[: max(self.places - self.taken, 0)]
        await answer()(exchange)


async def test_an_adaptive_limit_follows_a_server_whose_capacity_changes(
    server: FaultServer,
) -> None:
    """The limit goes down when the server works on fewer at once, and up again afterwards."""
    capacity = Capacity(16)
    server.default = capacity.work
    # A busy machine makes every latency vary; a first look that met it is corrected within 5 s.
    limit = AdaptiveLimit(16, maximum=40, tolerance=1.5, window=0.05, memory=5)
    transport = ConcurrencyLimitTransport(pool(40), limit, listener=None)

    async def call() -> None:
        while True:
            await client.get(server.url)

    async with (
        httpx.AsyncClient(transport=transport, timeout=30) as client,
        anyio.create_task_group() as callers,
    ):
        for _ in range(60):
            callers.start_soon(call)
        await until(lambda: limit.limit >= 16, 30)
        capacity.places = 2
        await until(lambda: limit.limit <= 8, 30)
        capacity.places = 16
        await until(lambda: limit.limit >= 16, 30)
        callers.cancel_scope.cancel()
    assert "<0 of " in repr(transport)
