"""CircuitBreakerTransport over real sockets, by itself and under RetryTransport."""

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import anyio
import httpx
import pytest

from tests.integration.fault_server import FaultServer, answer, close, cut, hold, late
from tests.integration.layered import impatient, pool
from tests.support import Clock, Events, until
from walltrack import (
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitState,
    RetryPolicy,
    RetryTransport,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def guarded(
    family: ModuleType, clock: Clock, events: Events | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, CircuitBreakerTransport]]:
    """A plain client over a breaker alone, and that breaker."""
    transport = CircuitBreakerTransport(pool(None, family=family), clock=clock, listener=events)
    async with family.AsyncClient(transport=transport, timeout=5) as client:
        yield client, transport


async def fail(client: httpx.AsyncClient, server: FaultServer, times: int) -> None:
    """Have `times` requests fail."""
    server.will(*[answer(500)] * times)
    for _ in range(times):
        await client.get(server.url)


async def test_five_failures_in_a_row_shut_the_server_off(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """After the fifth failure, a request is rejected at once, and nothing is sent."""
    async with guarded(family, clock, events) as (client, _):
        await fail(client, server, 5)
        began = time.perf_counter()
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await client.get(server.url)
        took = time.perf_counter() - began
    assert len(server.seen) == 5
    assert took < 0.05
    assert caught.value.retry_after == 30.0
    assert events.names == ["circuit_opened", "request_rejected"]


async def test_a_success_in_between_starts_the_count_anew(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """Only failures in a row open the circuit."""
    async with guarded(family, clock) as (client, transport):
        await fail(client, server, 4)
        await client.get(server.url)
        await fail(client, server, 4)
        assert transport.breaker_for(server.url).state is CircuitState.CLOSED


async def test_one_of_twenty_callers_probes_after_the_cooldown(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """Exactly one request reaches the server; the other nineteen are rejected meanwhile."""
    answers: list[int] = []
    refusals: list[CircuitBreakerOpenError] = []

    async def call(client: httpx.AsyncClient) -> None:
        try:
            answers.append((await client.get(server.url)).status_code)
        except CircuitBreakerOpenError as refusal:
            refusals.append(refusal)

    async with guarded(family, clock, events) as (client, transport):
        await fail(client, server, 5)
        clock.advance(30.0)
        server.will(late(0.03))
        async with anyio.create_task_group() as callers:
            for _ in range(20):
                callers.start_soon(call, client)
        assert transport.breaker_for(server.url).state is CircuitState.CLOSED
    assert len(server.seen) == 5 + 1
    assert answers == [200]
    assert len(refusals) == 19
    assert events.circuit_names == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
    assert events.names.count("request_rejected") == 19


async def test_a_failed_probe_opens_it_for_another_cooldown(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The second cooldown is measured from the probe's failure."""
    async with guarded(family, clock) as (client, _):
        await fail(client, server, 5)
        clock.advance(30.0)
        await fail(client, server, 1)
        clock.advance(29.9)
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(server.url)
        clock.advance(0.1)
        assert (await client.get(server.url)).status_code == 200


async def test_a_body_that_breaks_off_is_a_failure(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A body that breaks off after a good status counts as a failure."""
    async with guarded(family, clock) as (client, transport):
        server.will(*[cut()] * 5)
        for _ in range(5):
            with pytest.raises(family.RemoteProtocolError):
                await client.get(server.url)
        assert transport.breaker_for(server.url).state is CircuitState.OPEN


async def test_a_stream_closed_early_is_a_success(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A caller that has read enough does not count as a failure of the server."""
    async with guarded(family, clock) as (client, transport):
        await fail(client, server, 4)
        server.will(answer(200, b"x" * 200_000))
        async with client.stream("GET", server.url):
            assert transport.breaker_for(server.url).failure_count == 4
        assert transport.breaker_for(server.url).failure_count == 0


async def test_origins_do_not_answer_for_each_other(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """Each origin has its own circuit: one that is down does not affect others."""
    async with guarded(family, clock) as (client, transport):
        for _ in range(5):
            with pytest.raises(family.ConnectError):
                await client.get("http://127.0.0.1:1/")
        with pytest.raises(CircuitBreakerOpenError):
            await client.get("http://127.0.0.1:1/")
        assert (await client.get(server.url)).status_code == 200
        assert transport.breaker_for(server.url).failure_count == 0


async def test_the_breaker_counts_attempts_and_ends_the_call_when_it_opens(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """Inside the retry, the fifth failed attempt opens the circuit, and no wait follows."""
    breaker = CircuitBreakerTransport(clock=clock, listener=events)
    transport = RetryTransport(breaker, sleep=clock.sleep, listener=events)
    server.default = answer(503, b"down")
    async with family.AsyncClient(transport=transport) as client:
        first = await client.get(server.url)
        second = await client.get(server.url)
    assert first.extensions["walltrack.attempts"] == 4
    assert second.extensions["walltrack.attempts"] == 1
    assert (second.status_code, second.content) == (503, b"down")
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert events.names[-2:] == ["circuit_opened", "retry_stopped"]


async def test_a_circuit_that_another_caller_opened_ends_the_call_without_a_wait(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """No retry waits for an open circuit, whichever call opened it, also with a Retry-After."""
    breaker = CircuitBreakerTransport(clock=clock, listener=None)
    transport = RetryTransport(breaker, sleep=clock.sleep, listener=None)
    async with family.AsyncClient(transport=transport) as client:
        opened = threading.Event()

        async def slow() -> None:
            response = await client.get(server.url)
            assert response.status_code == 503

        server.will(hold(opened, answer(503, retry_after="5")), *[close] * 5)
        async with anyio.create_task_group() as callers:
            callers.start_soon(slow)
            await until(lambda: bool(server.seen))
            once = {"walltrack.retry": False}
            for _ in range(5):
                with pytest.raises(family.RemoteProtocolError):
                    await client.get(server.url, extensions=once)
            opened.set()
    assert clock.sleeps == []
    assert len(server.seen) == 6


async def test_what_knows_only_httpx_can_handle_everything(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """`except httpx.HTTPError` catches any failure, an open circuit included, with its request."""
    breaker = CircuitBreakerTransport(clock=clock, listener=None)
    transport = RetryTransport(breaker, policy=RetryPolicy(max_retries=1), sleep=clock.sleep)
    caught: list[httpx.HTTPError] = []
    async with family.AsyncClient(transport=transport, timeout=impatient(family)) as client:
        for fault in (close, late(0.2), answer(500)):
            server.will(fault, fault)
            try:
                (await client.get(server.url)).raise_for_status()
            except family.HTTPError as error:
                caught.append(error)
        try:
            await client.get(server.url)
        except family.HTTPError as error:
            caught.append(error)
    assert [type(error) for error in caught] == [
        family.RemoteProtocolError,
        family.ReadTimeout,
        family.HTTPStatusError,
        CircuitBreakerOpenError,
    ]
    assert {error.request.url for error in caught} == {family.URL(server.url)}
