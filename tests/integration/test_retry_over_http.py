"""RetryTransport over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import httpx
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    broken_chunk,
    close,
    cut,
    drip,
    late,
    reset,
)
from tests.integration.layered import impatient, often, pool
from tests.support import Clock, Events
from walltrack import Listener, RetryTransport

pytestmark = pytest.mark.anyio


def answering(*lines: str) -> Behaviour:
    """An answer of these lines and no body."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send("\r\n".join([*lines, "", ""]).encode())

    return behave


@asynccontextmanager
async def retrying(
    family: ModuleType, clock: Clock, listener: Listener | None = None, *, max_connections: int = 10
) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client over a RetryTransport that does not really wait."""
    inner = pool(max_connections, family=family)
    transport = RetryTransport(inner, sleep=clock.sleep, wall_clock=clock, listener=listener)
    async with family.AsyncClient(transport=transport, timeout=impatient(family)) as client:
        yield client


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(close, id="closed before the answer"),
        pytest.param(reset, id="reset before the answer"),
        pytest.param(late(0.2), id="answered too late"),
        pytest.param(answer(500), id="500"),
        pytest.param(answer(503), id="503"),
        pytest.param(answer(429), id="429"),
        pytest.param(answer(599), id="599"),
    ],
)
async def test_a_passing_fault_is_retried(
    family: ModuleType, server: FaultServer, clock: Clock, fault: Behaviour
) -> None:
    """A temporary fault is retried until a request succeeds, after 1 and 2 seconds."""
    server.will(fault, fault)
    async with retrying(family, clock) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert response.extensions["walltrack.attempts"] == 3
    assert clock.sleeps == [1.0, 2.0]
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 409, 422])
async def test_a_plain_answer_is_not_retried(
    family: ModuleType, server: FaultServer, clock: Clock, status: int
) -> None:
    """A response that a retry would not change is returned at once."""
    server.will(answer(status, b""))
    async with retrying(family, clock) as client:
        response = await client.get(server.url)
    assert response.status_code == status
    assert clock.sleeps == []
    assert len(server.seen) == 1


async def test_the_last_answer_comes_out_when_it_never_passes(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """After four attempts the caller gets the last response unchanged, with a readable body."""
    server.will(*[answer(503, b"no")] * 3, answer(502, b"the last words"))
    async with retrying(family, clock, events) as client:
        response = await client.get(server.url)
    assert (response.status_code, response.content) == (502, b"the last words")
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert events.names == ["retry_scheduled"] * 3 + ["retry_stopped"]


async def test_the_last_exception_comes_out_when_there_is_no_server(
    family: ModuleType, clock: Clock
) -> None:
    """A refused connection is tried four times and then raised as httpx raises it."""
    async with retrying(family, clock) as client:
        with pytest.raises(family.ConnectError) as caught:
            await client.get("http://127.0.0.1:1/")
    assert str(caught.value.request.url) == "http://127.0.0.1:1/"
    assert clock.sleeps == [1.0, 2.0, 4.0]


async def test_retry_after_is_obeyed(family: ModuleType, server: FaultServer, clock: Clock) -> None:
    """A longer Retry-After replaces the backoff; a shorter one does not shorten it."""
    server.will(answer(503, retry_after="7"), answer(503, retry_after="1"))
    async with retrying(family, clock) as client:
        await client.get(server.url)
    assert clock.sleeps == [7.0, 2.0]


@pytest.mark.parametrize(
    ("values", "wait"),
    [
        pytest.param(["Thu, 01 Jan 1970 00:16:47 GMT"], 7.0, id="a date"),
        pytest.param(["Thu, 01 Jan 1970 00:16:39 GMT"], 1.0, id="a date in the past"),
        pytest.param(["-7"], 1.0, id="negative"),
        pytest.param(["1e9"], 1.0, id="in scientific notation"),
        pytest.param(["soon"], 1.0, id="garbage"),
        pytest.param([""], 1.0, id="empty"),
        pytest.param(["5", "7", "soon"], 7.0, id="several"),
        pytest.param(["60"], 60.0, id="as long as is waited for"),
    ],
)
async def test_a_retry_after_is_understood_or_ignored(
    family: ModuleType, server: FaultServer, clock: Clock, values: list[str], wait: float
) -> None:
    """Seconds and dates are respected, the longest of several; anything else is ignored."""
    lines = [f"Retry-After: {value}" for value in values]
    server.will(answering("HTTP/1.1 503 Later", *lines, "Content-Length: 0"))
    async with retrying(family, clock) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert clock.sleeps == [wait]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            ["Date: Thu, 01 Jan 1970 00:11:40 GMT", "Retry-After: Thu, 01 Jan 1970 00:11:47 GMT"],
            id="the local clock is five minutes fast",
        ),
        pytest.param(
            ["Date: Thu, 01 Jan 1970 00:21:40 GMT", "Retry-After: Thu, 01 Jan 1970 00:21:47 GMT"],
            id="it is five minutes slow",
        ),
        pytest.param(["Retry-After: 9", "retry-after-ms: 7000"], id="milliseconds"),
        pytest.param(["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 7"], id="nothing left"),
        pytest.param(["Retry-After: 7, 7"], id="joined by a comma"),
    ],
)
async def test_a_server_may_say_otherwise_how_long_to_wait(
    family: ModuleType, server: FaultServer, clock: Clock, lines: list[str]
) -> None:
    """Other headers that ask for a wait are obeyed, and a date counts by the server's clock."""
    server.will(answering("HTTP/1.1 503 Later", *lines, "Content-Length: 0"))
    async with retrying(family, clock) as client:
        await client.get(server.url)
    assert clock.sleeps == [7.0]


@pytest.mark.parametrize(
    "value", ["61", "3600", "99999999999999", "9" * 400, "Thu, 01 Jan 1970 01:16:40 GMT"]
)
async def test_a_retry_after_beyond_the_bound_ends_the_call(
    family: ModuleType, server: FaultServer, clock: Clock, value: str
) -> None:
    """No caller has to wait for an hour: the response is returned at once."""
    server.will(answer(503, b"later", retry_after=value))
    async with retrying(family, clock) as client:
        response = await client.get(server.url)
    assert (response.status_code, response.content) == (503, b"later")
    assert clock.sleeps == []


async def test_a_thousand_retried_requests_share_one_connection(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """Discarded responses free the pool's only connection, and it is used again each time."""
    times = often(family, 500)  # of a thousand requests
    server.will(*[answer(503), answer(200)] * times)
    async with retrying(family, clock, max_connections=1) as client:
        client.timeout = family.Timeout(5)  # of that many answers one is late on a busy machine
        for _ in range(times):
            response = await client.get(server.url)
            assert response.status_code == 200
    assert len(server.seen) == 2 * times
    assert server.connections == 1


async def test_a_discarded_body_that_drips_does_not_hold_up_the_retry(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The rest of a body that comes slowly is abandoned, with its connection."""
    server.will(drip(503, every=0.04, times=1000))
    async with retrying(family, clock, max_connections=1) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert server.connections == 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(cut(status=503), id="short of its length"),
        pytest.param(cut(status=503, by_reset=True), id="reset"),
        pytest.param(broken_chunk(503), id="broken chunk"),
    ],
)
async def test_a_failing_status_with_a_broken_body_is_retried(
    family: ModuleType, server: FaultServer, clock: Clock, fault: Behaviour
) -> None:
    """A body that fails while it is discarded does not prevent the retry."""
    server.will(fault)
    async with retrying(family, clock, max_connections=1) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
