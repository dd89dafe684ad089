"""Breakers that look at rates, slow calls and several probes, over real sockets."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.fault_server import FaultServer, answer, cut, hold, late
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from walltrack import (
    Backoff,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitOpened,
    CircuitState,
    CountWindow,
    TimeWindow,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def guarded(
    family: ModuleType,
    connections: int = 1,
    **options: Any,  # noqa: ANN401 - handed on
) -> AsyncIterator[tuple[httpx.AsyncClient, CircuitBreakerTransport]]:
    """A plain client over a breaker alone, and that breaker."""
    transport = CircuitBreakerTransport(
        pool(connections, family=family), **{"listener": None, **options}
    )
    async with family.AsyncClient(transport=transport, timeout=5) as client:
        yield client, transport


async def break_down(client: httpx.AsyncClient, server: FaultServer) -> None:
    """Have one request fail."""
    server.will(answer(500))
    assert (await client.get(server.url)).status_code == 500


def state_of(transport: CircuitBreakerTransport, server: FaultServer) -> CircuitState:
    """The state that a request to the server would meet."""
    return transport.breaker_for(server.url).state


@pytest.mark.parametrize("window", [CountWindow(), TimeWindow()])
async def test_half_of_the_calls_failing_shuts_the_server_off(
    family: ModuleType,
    server: FaultServer,
    clock: Clock,
    events: Events,
    window: CountWindow | TimeWindow,
) -> None:
    """A server of which every second answer is a 503 never fails twice in a row, and is caught."""
    server.will(*[answer(200), answer(503)] * 5)
    async with guarded(family, window=window, clock=clock, listener=events) as (client, transport):
        for _ in range(10):
            assert state_of(transport, server) is CircuitState.CLOSED
            await client.get(server.url)
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(server.url)
    assert len(server.seen) == 10
    assert events.names == ["circuit_opened", "request_rejected"]


async def test_broken_bodies_count_in_a_window(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A body that breaks off is a failure in a window, too, and a complete one is a success."""
    window = CountWindow(4, minimum_calls=4)
    server.will(cut(), answer(), answer(), cut())
    async with guarded(family, window=window, clock=clock) as (client, transport):
        for broken in (True, False, False, True):
            assert state_of(transport, server) is CircuitState.CLOSED
            if broken:
                with pytest.raises(family.RemoteProtocolError):
                    await client.get(server.url)
            else:
                await client.get(server.url)
        assert state_of(transport, server) is CircuitState.OPEN


async def test_slow_calls_shut_the_server_off(family: ModuleType, server: FaultServer) -> None:
    """A server that answers well, but late, is caught by the real clock."""
    window = CountWindow(3, minimum_calls=3, slow_call_seconds=0.01)
    server.default = late(0.03)
    async with guarded(family, window=window) as (client, transport):
        for _ in range(3):
            assert state_of(transport, server) is CircuitState.CLOSED
            assert (await client.get(server.url)).status_code == 200
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(server.url)
    assert len(server.seen) == 3


async def test_several_probes_close_the_circuit(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """Of twenty callers exactly three reach the server; the last good answer opens the way."""
    answers: list[int] = []
    refusals: list[CircuitBreakerOpenError] = []

    async def call(client: httpx.AsyncClient) -> None:
        try:
            answers.append((await client.get(server.url)).status_code)
        except CircuitBreakerOpenError as refusal:
            refusals.append(refusal)

    options: dict[str, Any] = {"failure_threshold": 1, "probes": 3, "clock": clock}
    async with guarded(family, 10, listener=events, **options) as (client, transport):
        await break_down(client, server)
        clock.advance(30.0)
        release = threading.Event()
        server.will(*[hold(release, answer())] * 3)
        async with anyio.create_task_group() as callers:
            for _ in range(20):
                callers.start_soon(call, client)
            await until(lambda: len(refusals) == 17)
            release.set()
        assert state_of(transport, server) is CircuitState.CLOSED
    assert len(server.seen) == 1 + 3
    assert answers == [200] * 3
    assert events.circuit_names == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
    assert events.names.count("request_rejected") == 17


async def test_a_cancelled_probe_of_several_gives_its_place_back(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """Cancelled over a real connection, it leaves its place to the next, and the breaker closes."""
    async with guarded(family, 2, failure_threshold=1, probes=2, clock=clock) as (
        client,
        transport,
    ):
        await break_down(client, server)
        clock.advance(30.0)
        release = threading.Event()
        server.will(hold(release, answer()))
        async with anyio.create_task_group() as callers:
            callers.start_soon(client.get, server.url)
            await until(lambda: len(server.seen) == 2)
            callers.cancel_scope.cancel()
        release.set()
        await client.get(server.url)
        assert state_of(transport, server) is CircuitState.HALF_OPEN
        await client.get(server.url)
        assert state_of(transport, server) is CircuitState.CLOSED


async def test_the_cooldown_grows_while_the_server_is_down(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """Each failed probe waits twice as long as the one before, up to the cap."""
    growth = Backoff(base=5.0, cap=15.0)
    options: dict[str, Any] = {"failure_threshold": 1, "cooldown": growth, "clock": clock}
    async with guarded(family, listener=events, **options) as (client, _):
        for cooldown in (5.0, 10.0, 15.0, 15.0):
            await break_down(client, server)
            clock.advance(cooldown - 0.5)
            with pytest.raises(CircuitBreakerOpenError):
                await client.get(server.url)
            clock.advance(0.5)
        assert (await client.get(server.url)).status_code == 200
    opened = [event for event in events if isinstance(event, CircuitOpened)]
    assert [event.cooldown for event in opened] == [5.0, 10.0, 15.0, 15.0]


async def test_a_server_can_be_taken_out_of_service_manually(
    family: ModuleType, server: FaultServer
) -> None:
    """Forced open, nothing is sent; disabled, everything is, however much of it fails."""
    async with guarded(family, failure_threshold=1) as (client, transport):
        transport.breaker_for(server.url).force_open()
        with pytest.raises(CircuitBreakerOpenError, match="forced open"):
            await client.get(server.url)
        assert not server.seen
        transport.breaker_for(server.url).disable()
        for _ in range(5):
            await break_down(client, server)
    assert len(server.seen) == 5
