"""A half-open circuit over real sockets, and callers that do not wait for one that is open."""

import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import anyio
import httpx
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    close,
    head,
    hold,
)
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitState,
    RetryPolicy,
    RetryTransport,
)

pytestmark = pytest.mark.anyio


def begins(goes_on: threading.Event, *, whole: bool, status: int = 200) -> Behaviour:
    """The first half of a body; the second, or the end of the connection, when `goes_on` is set."""

    async def rest(exchange: Exchange) -> None:
        if whole:
            await exchange.send(b"half")
        else:
            exchange.end()

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(status, {"content-length": "8"}) + b"half")
        await hold(goes_on, rest)(exchange)

    return behave


@asynccontextmanager
async def half_open(
    family: ModuleType, clock: Clock
) -> AsyncIterator[tuple[httpx.AsyncClient, CircuitBreaker]]:
    """A client whose next request is the probe, and its breaker."""
    breaker = CircuitBreaker(2, 30, clock=clock)
    breaker.record_failure()
    breaker.record_failure()
    clock.advance(30)
    transport = CircuitBreakerTransport(breaker=breaker, listener=None)
    async with family.AsyncClient(transport=transport, timeout=5) as client:
        yield client, breaker


async def refused(client: httpx.AsyncClient, server: FaultServer, times: int) -> float:
    """Check that `times` calls are rejected and not sent; return how long the circuit is open."""
    asked = len(server.seen)
    for _ in range(times):
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await client.get(server.url)
    assert len(server.seen) == asked
    return caught.value.retry_after


@pytest.mark.parametrize("whole", [True, False], ids=["ends well", "breaks off"])
async def test_a_probe_whose_stream_stays_open_for_long(
    family: ModuleType, server: FaultServer, clock: Clock, *, whole: bool
) -> None:
    """It keeps its place for one cooldown; then its good headers count, and its end as usual."""
    goes_on = threading.Event()
    server.will(begins(goes_on, whole=whole))
    async with half_open(family, clock) as (client, breaker):
        async with client.stream("GET", server.url) as probe:
            assert await refused(client, server, times=20) == 30.0
            clock.advance(30)
            assert (await client.get(server.url)).status_code == 200
            assert breaker.state is CircuitState.CLOSED
            goes_on.set()
            if whole:
                assert await probe.aread() == b"halfhalf"
            else:
                with pytest.raises(family.RemoteProtocolError):
                    await probe.aread()
        assert breaker.state is CircuitState.CLOSED
        assert breaker.failure_count == (0 if whole else 1)


async def test_a_probe_whose_response_is_dropped_without_being_closed(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """Its result will never come; a cooldown later the circuit admits another probe."""
    async with half_open(family, clock) as (client, breaker):
        await client.send(client.build_request("GET", server.url), stream=True)
        gc.collect()
        assert await refused(client, server, times=20) == 30.0
        clock.advance(30)
        assert (await client.get(server.url)).status_code == 200
        assert breaker.state is CircuitState.CLOSED


async def test_a_probe_that_is_never_answered_loses_its_place_to_another(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """One other caller gets its place, and the late result of the first probe is ignored."""
    goes_on = threading.Event()
    server.will(hold(goes_on, close), hold(goes_on, answer()))
    ended: list[object] = []

    async def probe(client: httpx.AsyncClient) -> None:
        try:
            ended.append((await client.get(server.url)).status_code)
        except family.RemoteProtocolError as error:
            ended.append(type(error))

    async with half_open(family, clock) as (client, breaker), anyio.create_task_group() as probes:
        for number in (1, 2):
            probes.start_soon(probe, client)
            await until(lambda: len(server.seen) == number)  # noqa: B023 - called in this round
            await refused(client, server, times=20)
            clock.advance(30 if number == 1 else 0)
        goes_on.set()
        await until(lambda: len(ended) == 2)
        assert sorted(map(str, ended)) == ["200", str(family.RemoteProtocolError)]
        assert breaker.state is CircuitState.CLOSED
        assert breaker.failure_count == 0


async def test_a_probe_that_finds_no_free_connection_gives_its_place_back(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The probe never reached the server, so the next call may probe at once."""
    goes_on = threading.Event()
    server.will(begins(goes_on, whole=True))
    breaker = CircuitBreaker(1, 30, clock=clock)
    transport = CircuitBreakerTransport(pool(family=family), breaker=breaker, listener=None)
    timeout = family.Timeout(5, pool=0.01)
    async with family.AsyncClient(transport=transport, timeout=timeout) as client:
        async with client.stream("GET", server.url) as response:
            breaker.record_failure()
            clock.advance(30)
            for _ in range(3):
                with pytest.raises(family.PoolTimeout):
                    await client.get(server.url)
            goes_on.set()
            await response.aread()
        assert (await client.get(server.url)).status_code == 200
        assert breaker.state is CircuitState.CLOSED


async def test_a_probe_that_cannot_be_sent_gives_its_place_back(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A request that breaks the protocol is no result of the server."""
    async with half_open(family, clock) as (client, breaker):
        for _ in range(3):
            with pytest.raises(family.LocalProtocolError):
                await client.get(server.url, headers={"X-Bad": "a\n"})
        assert (await client.get(server.url)).status_code == 200
        assert breaker.state is CircuitState.CLOSED


async def test_of_many_callers_none_begins_to_sleep_towards_an_open_circuit(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """Calls in flight when the circuit opens do not sleep; only those that failed before do."""
    goes_on = threading.Event()
    server.default = hold(goes_on, close)
    breaker = CircuitBreaker(5, 30, clock=clock)
    woken = anyio.Event()
    shut_for: list[float] = []

    async def sleep(_: float) -> None:
        shut_for.append(breaker.shut_for())
        await woken.wait()

    guard = CircuitBreakerTransport(breaker=breaker, listener=events)
    transport = RetryTransport(guard, sleep=sleep, listener=events)
    ended: list[str] = []

    async def call(client: httpx.AsyncClient) -> None:
        try:
            ended.append(str((await client.get(server.url)).status_code))
        except family.TransportError as error:
            ended.append(type(error).__name__)

    async with (
        family.AsyncClient(transport=transport, timeout=5) as client,
        anyio.create_task_group() as callers,
    ):
        for _ in range(20):
            callers.start_soon(call, client)
        await until(lambda: len(server.seen) == 20)
        goes_on.set()
        await until(lambda: len(ended) + len(shut_for) == 20)
        assert breaker.state is CircuitState.OPEN
        woken.set()
    assert shut_for == [0.0] * 4
    assert ended.count("CircuitBreakerOpenError") == 4
    assert len(server.seen) == 20


async def test_a_call_of_a_long_wait_ends_at_once_when_its_circuit_is_open(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """An open circuit takes precedence over a Retry-After that would be respected."""
    server.default = answer(503, b"down", retry_after="50")
    guard = CircuitBreakerTransport(failure_threshold=2, clock=clock, listener=None)
    policy = RetryPolicy(max_retries=9)
    transport = RetryTransport(guard, policy=policy, sleep=clock.sleep, listener=None)
    async with family.AsyncClient(transport=transport) as client:
        response = await client.get(server.url)
    assert (response.status_code, response.content) == (503, b"down")
    assert clock.sleeps == [50.0]


async def test_a_circuit_that_opens_while_an_answer_is_let_go(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The wait was decided before the circuit opened, but does not begin."""
    goes_on = threading.Event()
    server.will(begins(goes_on, whole=True, status=503))
    breaker = CircuitBreaker(5, 30, clock=clock)
    guard = CircuitBreakerTransport(breaker=breaker, listener=None)
    transport = RetryTransport(guard, sleep=clock.sleep, listener=None)

    async def others_fail(step: str, _: object) -> None:
        if step.endswith("receive_response_body.started"):
            for _ in range(4):
                breaker.record_failure()
            assert breaker.state is CircuitState.OPEN
            goes_on.set()

    async with family.AsyncClient(transport=transport) as client:
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(server.url, extensions={"trace": others_fail})
    assert clock.sleeps == []
    assert len(server.seen) == 1
