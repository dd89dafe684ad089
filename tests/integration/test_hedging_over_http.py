"""A second attempt over real sockets: which one wins, and how the other's connection ends."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    head,
    hold,
    late,
    reset,
)
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from walltrack import CircuitBreaker, CircuitBreakerTransport, CircuitState, RetryBudget
from walltrack.core import family
from walltrack.hedging.transport import HedgingTransport

pytestmark = pytest.mark.anyio

SOON = 0.01
"""Seconds until the second attempt."""


@asynccontextmanager
async def hedged(
    inner: httpx.AsyncBaseTransport | None = None,
    *,
    server: FaultServer | None = None,
    **options: Any,  # noqa: ANN401 - handed on
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that hedges, over two connections.

    With a `server`, as soon as that has read its first request: then its script is in order.
    """

    async def sleep(_: float) -> None:
        assert server is not None
        await until(lambda: len(server.seen) > 0)

    options = {"delay": SOON, "budget": RetryBudget(), "listener": None, **options}
    if server is not None:
        options["sleep"] = sleep
    transport = HedgingTransport(inner or pool(2), **options)
    async with httpx.AsyncClient(transport=transport, timeout=5) as client:
        yield client


async def silence(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.reader.read()
    exchange.end()


async def half(exchange: Exchange) -> None:
    """Half the body of an error, and then silence."""
    await exchange.send(head(503, {"content-length": "9"}) + b"half")
    await silence(exchange)


async def two_at_once(client: httpx.AsyncClient, url: str) -> list[str]:
    """Both connections are free: what two requests get that need one each."""
    got: list[str] = []

    async def one() -> None:
        got.append((await client.post(url)).text)  # which is not sent twice

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            tasks.start_soon(one)
    return got


async def test_the_second_attempt_wins(server: FaultServer, events: Events) -> None:
    """The first one's connection is closed, and the winner's body is read by the caller."""
    server.will(silence, answer(200, b"second" * 50_000))
    async with hedged(server=server, listener=events) as client:
        response = await client.get(server.url)
        assert response.content == b"second" * 50_000
        await until(lambda: server.open_connections == 1)
        assert events.names == ["request_hedged"]
        assert len(server.seen) == 2
        assert await two_at_once(client, server.url) == ["ok", "ok"]


async def test_the_winner_streams_to_its_caller(server: FaultServer) -> None:
    """The body can be read although the task that made the attempt has ended."""
    server.will(silence, answer(200, b"x" * 300_000))
    async with hedged(server=server) as client:
        async with client.stream("GET", server.url) as response:
            read = [len(chunk) async for chunk in response.aiter_raw()]
        assert sum(read) == 300_000
        assert len(read) > 1
        assert await two_at_once(client, server.url) == ["ok", "ok"]
    await until(lambda: server.open_connections == 0)


async def test_the_first_attempt_wins_after_all(server: FaultServer) -> None:
    """The second one's connection is closed."""
    go = threading.Event()
    server.will(hold(go, answer(200, b"first")), silence)
    async with hedged(server=server) as client:
        got: list[bytes] = []

        async def call() -> None:
            got.append((await client.get(server.url)).content)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(server.seen) == 2)
            go.set()
        assert got == [b"first"]
        await until(lambda: server.open_connections == 1)
        assert await two_at_once(client, server.url) == ["ok", "ok"]


@pytest.mark.parametrize("failure", [reset, answer(503, b"down"), half])
async def test_a_second_attempt_that_fails_does_not_spoil_the_first(
    server: FaultServer, failure: Behaviour
) -> None:
    """Its connection is free at once, however it failed."""
    go = threading.Event()
    server.will(hold(go, answer(200, b"first")), failure)
    server.default = answer(200, b"ok")
    async with hedged(server=server) as client:
        got: list[bytes] = []

        async def call() -> None:
            got.append((await client.get(server.url)).content)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(server.seen) == 2)
            assert (await client.post(server.url)).text == "ok"
            assert got == []
            go.set()
        assert got == [b"first"]
        assert await two_at_once(client, server.url) == ["ok", "ok"]


async def test_if_both_fail_the_first_ones_answer_comes_back_whole(server: FaultServer) -> None:
    """Its body is open until then, and the other's connection is free."""
    go = threading.Event()
    server.will(hold(go, answer(503, b"first")), hold(go, late(SOON, answer(500, b"second"))))
    async with hedged(server=server) as client:
        got: list[httpx.Response] = []

        async def call() -> None:
            got.append(await client.get(server.url))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(server.seen) == 2)
            go.set()
        assert [(response.status_code, response.content) for response in got] == [(503, b"first")]
        assert await two_at_once(client, server.url) == ["ok", "ok"]


async def test_a_pool_without_room_for_both(server: FaultServer) -> None:
    """The second attempt waits for the only connection, and goes when the first has answered."""
    server.default = late(2 * SOON)
    async with hedged(pool(1)) as client:
        for _ in range(3):
            assert (await client.get(server.url)).text == "ok"
        assert len(server.seen) == 3
        assert server.connections == 1


async def test_a_hundred_calls_leave_no_connection_behind(server: FaultServer) -> None:
    """Whichever attempt wins, and although the answers come close together."""
    server.default = late(SOON)  # just when the second attempt is sent
    async with hedged(pool(4)) as client:

        async def calls() -> None:
            for _ in range(25):
                assert (await client.get(server.url)).text == "ok"

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(calls)
        assert await two_at_once(client, server.url) == ["ok", "ok"]
        await until(lambda: server.open_connections <= 4)
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("sent", [1, 2])
async def test_a_call_that_is_cancelled(server: FaultServer, sent: int) -> None:
    """Both connections are closed, and a probe's place is not lost."""
    server.will(*[silence] * sent)
    breaker = CircuitBreaker(1, 30)
    inner = CircuitBreakerTransport(pool(2), breaker=breaker, listener=None)
    async with hedged(inner, delay=SOON if sent == 2 else 5.0) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, server.url)
            await until(lambda: len(server.seen) == sent)
            tasks.cancel_scope.cancel()
        await until(lambda: server.open_connections == 0)
        assert await two_at_once(client, server.url) == ["ok", "ok"]
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("home", family.FAMILIES, ids=lambda home: home.__name__)
async def test_either_family(server: FaultServer, home: Any) -> None:  # noqa: ANN401 - a package
    """The winning response is of the client's own family."""
    server.will(silence, answer(200, b"second"))
    transport: Any = HedgingTransport(None, SOON, listener=None)
    async with home.AsyncClient(transport=transport, timeout=5) as client:
        response = await client.get(server.url)
        assert isinstance(response, home.Response)
        assert response.text == "second"
        server.default = reset
        with pytest.raises(home.TransportError):
            await client.get(server.url)


CALLS = 300


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it proves a number
async def test_stragglers_are_cut_off_for_a_few_requests_more(
    server: FaultServer, clock: Clock
) -> None:
    """One answer in a hundred never comes: with a few more requests, each call gets an answer.

    The time of the client is what the server says that it took.
    """
    number = 0

    async def behave(exchange: Exchange) -> None:
        nonlocal number
        number += 1
        if number % 100 == 50:
            clock.advance(1.0)
            await silence(exchange)
        else:
            clock.advance(0.002 if number % 10 else 0.004)
            await answer()(exchange)

    async def sleep(seconds: float) -> None:
        moment = clock() + seconds
        await until(lambda: clock() > moment)

    server.default = behave
    async with hedged(
        delay="p95", budget=RetryBudget(0.1 * CALLS), clock=clock, sleep=sleep
    ) as client:
        for _ in range(CALLS):
            assert (await client.get(server.url)).text == "ok"
    assert CALLS + CALLS // 100 <= len(server.seen) <= CALLS * 1.06
