"""The waiting room over real sockets: a service dies, its callers wait, and it comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import anyio
import httpx
import pytest

from tests.integration.fault_server import Exchange, FaultServer, answer, reset
from tests.integration.layered import pool
from tests.support import until
from walltrack import (
    Backoff,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    RetryPolicy,
    RetryTransport,
    WaitingRoomTransport,
)

pytestmark = pytest.mark.anyio

CALLERS = 20
COOLDOWN = 0.15


class Crowd:
    """Behaves as a service that takes its time, and knows how many it serves at once."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.when_asked: list[int] = []  # how many had been answered when each request came
        self.answered = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.when_asked.append(self.answered)
        self.in_flight += 1
        await asyncio.sleep(0.02)
        self.in_flight -= 1
        self.answered += 1
        await answer()(exchange)


@asynccontextmanager
async def waiting(
    family: ModuleType, **timeouts: float
) -> AsyncIterator[tuple[httpx.AsyncClient, WaitingRoomTransport]]:
    """A client over retry, over a waiting room, over a breaker; and the room."""
    breaker = CircuitBreakerTransport(
        pool(None, family=family), failure_threshold=2, cooldown=COOLDOWN, listener=None
    )
    room = WaitingRoomTransport(breaker, listener=None)
    policy = RetryPolicy(max_retries=9, backoff=Backoff(base=0.001, cap=0.001))
    top = RetryTransport(room, policy=policy, listener=None)
    timeout = family.Timeout(5.0, **timeouts)
    async with family.AsyncClient(transport=top, timeout=timeout) as client:
        yield client, room


async def test_twenty_callers_wait_for_a_service_that_comes_back(
    family: ModuleType, server: FaultServer
) -> None:
    """It gets one probe, and then at most twice as many as it has answered; all are served."""
    crowd = Crowd()
    statuses: list[int] = []
    server.default = reset

    async with waiting(family) as (client, room):

        async def call() -> None:
            statuses.append((await client.get(server.url)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(call)
            await until(lambda: f"<{CALLERS} waiting>" in repr(room))
            server.default = crowd
    assert statuses == [200] * CALLERS
    assert len(crowd.when_asked) == CALLERS
    assert all(number <= 2 * answered for number, answered in enumerate(crowd.when_asked))


async def test_the_pool_timeout_of_the_client_limits_the_wait(
    family: ModuleType, server: FaultServer
) -> None:
    """Code that handles it keeps working, and the server sees nothing."""
    server.default = reset
    async with waiting(family, pool=0.1) as (client, _):
        with pytest.raises(family.ReadError):  # it opens the circuit, and cannot wait so long
            await client.get(server.url)
        with pytest.raises(family.PoolTimeout) as caught:
            await client.get(server.url)
    assert isinstance(caught.value, CircuitBreakerOpenError)
    assert len(server.seen) == 2


async def test_those_who_give_up_leave_nothing_behind(
    family: ModuleType, server: FaultServer
) -> None:
    """Half of the waiters are cancelled; the others are served."""
    server.default = reset
    statuses: list[int] = []
    async with waiting(family) as (client, room):

        async def call(scope: anyio.CancelScope) -> None:
            with scope:
                statuses.append((await client.get(server.url)).status_code)

        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in range(10)]
            for scope in scopes:
                tasks.start_soon(call, scope)
            await until(lambda: "<10 waiting>" in repr(room))
            for scope in scopes[:5]:
                scope.cancel()
            await until(lambda: "<5 waiting>" in repr(room))
            server.default = answer()
        assert statuses == [200] * 5
        assert vars(room)["_rooms"] == {}
    await until(lambda: server.open_connections == 0)
