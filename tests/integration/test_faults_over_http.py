"""Faults injected above a real pool and a real server: only what was intended fails."""

from collections import Counter
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.fault_server import FaultServer, answer, drip, falls_silent
from tests.integration.layered import layered, pool, still_serves
from tests.support import Clock, until
from walltrack import CircuitBreaker, RetryPolicy, RetryTransport
from walltrack.testing import FaultTransport

pytestmark = pytest.mark.anyio

BODY = b"0123456789" * 2_000


def faulty(family: ModuleType, **options: Any) -> FaultTransport:  # noqa: ANN401 - handed on
    """Faults over a single connection."""
    return FaultTransport(pool(family=family), **options)


async def test_retries_live_through_all_kinds_of_faults(
    server: FaultServer, family: ModuleType
) -> None:
    """Every call is answered in full, over one connection that no fault may leak."""
    server.default = answer(body=BODY)
    faults = faulty(
        family,
        error_rate=0.1,
        status_rate=0.1,
        cut_rate=0.1,
        latency_rate=0.1,
        latency=0.001,
        seed=4,
    )
    breaker = CircuitBreaker(failure_threshold=100)
    async with layered(faults, family=family, breaker=breaker) as client:
        for _ in range(60):
            response = await client.get(server.url)
            assert response.status_code == 200
            assert response.content == BODY
        faults.enabled = False
        assert await still_serves(client, server.url)
    assert min(faults.injected.errors, faults.injected.statuses, faults.injected.cuts) > 0


async def test_what_is_counted_is_what_happened(server: FaultServer, family: ModuleType) -> None:
    """Without any layer above, caller, counts and server agree about every request."""
    server.default = answer(body=BODY)
    ends: Counter[str] = Counter()
    faults = faulty(family, error_rate=0.3, status_rate=0.2, cut_rate=0.2, seed=9)
    async with family.AsyncClient(transport=faults) as client:
        for _ in range(60):
            try:
                ends[str((await client.get(server.url)).status_code)] += 1
            except family.TransportError as error:
                ends[type(error).__name__] += 1
    injected = faults.injected
    assert ends["503"] == injected.statuses > 0
    assert ends["RemoteProtocolError"] == injected.cuts > 0
    assert ends["ConnectError"] + ends["ReadTimeout"] == injected.errors
    assert min(ends["ConnectError"], ends["ReadTimeout"]) > 0
    # A lost answer and a cut body were asked for; what failed to connect and the statuses were not.
    assert len(server.seen) == 60 - ends["ConnectError"] - injected.statuses


async def test_an_answer_that_is_lost_was_given(server: FaultServer, family: ModuleType) -> None:
    """The server acted on the POST, and can tell the second by its key."""
    faults = faulty(family, error_rate=0.5, errors=[httpx.ReadTimeout], seed=2)
    policy = RetryPolicy(non_idempotent="keyed")
    transport = RetryTransport(faults, policy=policy, sleep=Clock().sleep, listener=None)
    async with family.AsyncClient(transport=transport) as client:
        for number in range(10):
            await client.post(server.url, json=number)
    keys = Counter(seen.headers["idempotency-key"] for seen in server.seen)
    assert len(keys) == 10
    assert sum(keys.values()) == 10 + faults.injected.errors > 10


async def test_a_connection_that_is_refused_sent_nothing(
    server: FaultServer, family: ModuleType
) -> None:
    """A POST that is repeated on proof alone is repeated, and arrives once."""
    faults = faulty(family, error_rate=0.5, errors=[httpx.ConnectError], seed=2)
    policy = RetryPolicy(non_idempotent="proven", max_retries=10)
    transport = RetryTransport(faults, policy=policy, sleep=Clock().sleep, listener=None)
    async with family.AsyncClient(transport=transport) as client:
        for number in range(10):
            assert (await client.post(server.url, json=number)).status_code == 200
    assert faults.injected.errors > 0
    assert [seen.body for seen in server.seen] == [str(n).encode() for n in range(10)]


@pytest.mark.parametrize("behaviour", [answer(body=BODY), drip(every=0.0, times=3)])
async def test_a_cut_closes_the_connection(
    server: FaultServer,
    family: ModuleType,
    behaviour: Any,  # noqa: ANN401 - a behaviour
) -> None:
    """The server sees it go, the caller's only place in the pool is free, nothing is left open."""
    server.will(behaviour)
    faults = faulty(family, cut_rate=1.0, seed=1)
    async with family.AsyncClient(transport=faults) as client:
        with pytest.raises(family.RemoteProtocolError, match="injected"):
            await client.get(server.url)
        faults.enabled = False
        assert await still_serves(client, server.url)
    await until(lambda: server.open_connections == 0)


async def test_a_lost_answer_is_not_waited_for(server: FaultServer, family: ModuleType) -> None:
    """Its body may never end: the connection is closed, and its place free."""
    server.will(falls_silent())
    faults = faulty(family, error_rate=1.0, errors=[httpx.ReadError])
    async with family.AsyncClient(transport=faults) as client:
        with pytest.raises(family.ReadError, match="injected"):
            await client.get(server.url)
        faults.enabled = False
        assert await still_serves(client, server.url)


async def test_a_reader_cancelled_before_the_cut_frees_the_connection(
    server: FaultServer, family: ModuleType
) -> None:
    """This holds for a body that stalls before the position of the cut."""
    server.will(falls_silent(content_length="1000000"))
    faults = faulty(family, cut_rate=1.0, seed=1)
    async with family.AsyncClient(transport=faults) as client:
        with anyio.CancelScope() as scope:
            async with client.stream("GET", server.url) as response:
                async for _ in response.aiter_raw():
                    scope.cancel()
        assert scope.cancelled_caught
        faults.enabled = False
        assert await still_serves(client, server.url)
    assert faults.injected.cuts == 0


async def test_a_game_day_ends_when_it_is_switched_off(
    server: FaultServer, family: ModuleType
) -> None:
    """A circuit that faults opened closes again by the next probe."""
    clock = Clock()
    breaker = CircuitBreaker(failure_threshold=3, cooldown_seconds=30, clock=clock)
    faults = faulty(family, status_rate=1.0)
    async with layered(faults, family=family, breaker=breaker) as client:
        assert (await client.get(server.url)).status_code == 503
        assert not breaker.can_execute()
        faults.enabled = False
        clock.advance(30)
        assert await still_serves(client, server.url)
    assert breaker.failure_count == 0
    assert len(server.seen) == 1
