"""RateLimitTransport over real sockets."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.fault_server import Behaviour, FaultServer, answer, cut, drip, running
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from tests.virtual_time import VirtualTime, settle
from walltrack import CircuitBreakerTransport, RetryTransport
from walltrack.core.events import OriginThrottled
from walltrack.core.exceptions import RateLimitError
from walltrack.rate_limit.transport import RateLimitTransport

pytestmark = pytest.mark.anyio

WALL = 1_700_000_000.0


@pytest.fixture
def other() -> Iterator[FaultServer]:
    """A second server, and so another origin."""
    with running() as fault_server:
        yield fault_server


@asynccontextmanager
async def limited(
    family: ModuleType,
    time: Clock | VirtualTime,
    rate: float | None = None,
    **options: Any,  # noqa: ANN401 - handed on
) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client over a RateLimitTransport that waits as `time` says."""
    defaults = {"clock": time, "sleep": time.sleep, "wall_clock": lambda: WALL, "listener": None}
    inner = pool(10, family=family)
    transport = RateLimitTransport(inner, rate, **{**defaults, **options})
    async with family.AsyncClient(transport=transport, timeout=5.0) as client:
        yield client


class Callers:
    """Tasks that each make a call, and what came of them."""

    def __init__(self, client: httpx.AsyncClient, group: Any) -> None:  # noqa: ANN401 - a TaskGroup
        self.client = client
        self.group = group
        self.outcomes: Counter[int | str] = Counter()

    def call(self, url: str, times: int = 1) -> None:
        """Start this number of calls at once."""
        for _ in range(times):
            self.group.start_soon(self._call, url)

    async def _call(self, url: str) -> None:
        try:
            response = await self.client.get(url)
        except RateLimitError:
            self.outcomes["refused"] += 1
        else:
            self.outcomes[response.status_code] += 1


@pytest.mark.parametrize(
    ("status", "told"),
    [
        pytest.param(429, answer(429, Retry_After="1"), id="429, Retry-After"),
        pytest.param(
            503, answer(503, Retry_After="Tue, 14 Nov 2023 22:13:21 GMT"), id="503, a date"
        ),
        pytest.param(200, answer(RateLimit='"default";r=0;t=1'), id="RateLimit"),
        pytest.param(
            200, answer(X_RateLimit_Remaining="0", X_RateLimit_Reset="1"), id="X-RateLimit"
        ),
        pytest.param(
            200,
            answer(x_ratelimit_remaining="0", x_ratelimit_reset=str(int(WALL) + 1)),
            id="X-RateLimit, a moment",
        ),
    ],
)
async def test_the_limit_in_one_response_delays_all_callers(
    family: ModuleType,
    server: FaultServer,
    other: FaultServer,
    status: int,
    told: Behaviour,
) -> None:
    """Nothing is sent to that origin until that time; other origins are not affected."""
    server.will(told)
    time, events = VirtualTime(), Events()
    async with limited(family, time, listener=events) as client, anyio.create_task_group() as group:
        assert (await client.get(server.url)).status_code == status
        callers = Callers(client, group)
        callers.call(server.url, 20)
        assert (await client.get(other.url)).status_code == 200
        await time.advance(0.75)
        assert (await client.get(other.url)).status_code == 200
        assert len(server.seen) == 1

        await time.advance(0.25)
        await until(lambda: callers.outcomes.total() == 20)
    assert callers.outcomes == {200: 20}
    assert len(server.seen) == 21
    throttled, *waits = events
    assert isinstance(throttled, OriginThrottled)
    assert throttled.seconds == pytest.approx(1.0)
    assert [getattr(wait, "waited", 0) for wait in waits] == [pytest.approx(1.0)] * 20


async def test_callers_that_wait_for_their_turn_are_delayed_too(
    family: ModuleType, server: FaultServer
) -> None:
    """A limit that the server announces takes precedence over the configured rate."""
    server.will(answer(429, Retry_After="10"))
    time = VirtualTime()
    async with limited(family, time, 1.0) as client, anyio.create_task_group() as group:
        callers = Callers(client, group)
        callers.call(server.url, 3)
        await until(lambda: callers.outcomes.total() == 1)
        await time.advance(9.5)
        assert len(server.seen) == 1
        await time.advance(0.5)
        await until(lambda: callers.outcomes.total() == 2)
        await time.advance(1.0)
    assert callers.outcomes == {429: 1, 200: 2}


async def test_requests_are_paced_in_earnest(family: ModuleType, server: FaultServer) -> None:
    """By the real clock, no request is sent earlier than the rate allows."""
    transport = RateLimitTransport(pool(10, family=family), 200.0, burst=2)
    async with family.AsyncClient(transport=transport) as client:
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            callers = Callers(client, group)
            callers.call(server.url, 6)
        assert anyio.current_time() - began >= 4 / 200.0 - 1e-6
    assert callers.outcomes == {200: 6}


async def test_callers_that_give_up_leave_nothing_behind(
    family: ModuleType, server: FaultServer
) -> None:
    """Half of a hundred callers are cancelled while they wait; all others are sent at the rate."""
    time = VirtualTime()
    async with limited(family, time, 10.0) as client, anyio.create_task_group() as group:
        assert (await client.get(server.url)).status_code == 200
        callers = Callers(client, group)
        async with anyio.create_task_group() as impatient:
            for _ in range(50):
                impatient.start_soon(client.get, server.url)
                callers.call(server.url)
            await settle()
            impatient.cancel_scope.cancel()
        for gone in range(1, 51):
            await time.advance(0.1)
            await until(lambda gone=gone: callers.outcomes.total() == gone)  # type: ignore[misc]
        assert not time.sleepers
    assert callers.outcomes == {200: 50}
    assert len(server.seen) == 51


async def test_a_caller_is_refused_what_it_cannot_wait_for(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The error is one of the client's own family, and nothing is sent."""
    server.will(answer(429, Retry_After="3600"))
    async with limited(family, clock) as client:
        await client.get(server.url)
        with pytest.raises(family.TransportError) as caught:
            await client.get(server.url)
        assert isinstance(caught.value, RateLimitError)
        assert caught.value.retry_after == 3600.0
        assert len(server.seen) == 1
        clock.advance(3600.0)
        assert (await client.get(server.url)).status_code == 200


async def test_a_body_that_goes_on_does_not_matter_to_the_rate(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A request counts when it is sent, however long its response takes, and however it ends."""
    server.will(drip(every=0.001, times=5), cut())
    async with limited(family, clock, 1.0, burst=2) as client:
        async with client.stream("GET", server.url) as response:
            async with client.stream("GET", server.url) as broken:
                with pytest.raises(family.RemoteProtocolError):
                    await broken.aread()
            assert clock.sleeps == []
            assert await response.aread() == b"....."
        assert (await client.get(server.url)).status_code == 200
    assert clock.sleeps == [pytest.approx(1.0)]


async def test_beneath_retries_and_above_a_breaker(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """A retry waits for a Retry-After once, not once in each layer."""
    server.will(answer(429, Retry_After="5"))
    inner = CircuitBreakerTransport(pool(family=family), listener=None, clock=clock)
    limit = RateLimitTransport(
        inner, clock=clock, sleep=clock.sleep, wall_clock=clock, listener=None
    )
    retrying = RetryTransport(limit, sleep=clock.sleep, wall_clock=clock, listener=None)
    async with family.AsyncClient(transport=retrying) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert response.extensions["walltrack.attempts"] == 2
    assert clock.sleeps == [5.0]
