"""Time limits over real sockets: a call ends in time, whatever the server does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    drip,
    falls_silent,
    head,
    late,
)
from tests.integration.layered import AT_ONCE, pool, still_serves
from tests.support import Clock, Events, until
from tests.timers import Timers
from walltrack import (
    Backoff,
    BaseAPIClient,
    CircuitBreaker,
    CircuitBreakerTransport,
    Delivery,
    ExternalServiceError,
    RetryPolicy,
    RetryTransport,
    StopReason,
    TimeLimitExceededError,
)
from walltrack.core.extensions import CallReport
from walltrack.timeout.transport import TimeoutTransport

pytestmark = pytest.mark.anyio

Transport = httpx.AsyncBaseTransport

SHORT = 0.05
PATIENT = 5.0  # what httpx waits for an operation: no test waits for it

# Cancelled right after this step, httpcore itself forgets the connection that it has made.
LOSES_ITS_CONNECTION = "connection.connect_tcp.complete"


async def silence(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.reader.read()
    exchange.end()


async def processing(exchange: Exchange) -> None:
    """One informational response after another, as long as the client is connected."""
    while True:
        await exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0)


async def drips_its_head(exchange: Exchange) -> None:
    """A header line that never ends, a byte at a time."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.001)


async def endless(exchange: Exchange) -> None:
    """A body that comes as fast as it is read, and has no end."""
    await exchange.send(head(200, {"transfer-encoding": "chunked"}))
    while True:
        await exchange.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


FOREVER = [
    pytest.param(silence, id="no answer"),
    pytest.param(processing, id="endless informational responses"),
    pytest.param(drips_its_head, id="a head that drips"),
    pytest.param(falls_silent(content_length="9"), id="silence after the headers"),
    pytest.param(drip(every=0.001, times=10**9), id="a body that drips"),
    pytest.param(endless, id="an endless body"),
]


class Trace:
    """Notes the steps that httpcore takes; calls `then` at the one that `at` names or numbers."""

    def __init__(self, at: int | str, then: Callable[[], None]) -> None:
        self.steps: list[str] = []
        self._at = at
        self._then = then

    async def __call__(self, name: str, _: Mapping[str, Any]) -> None:
        if name == LOSES_ITS_CONNECTION:
            return
        self.steps.append(name)
        if self._at in (len(self.steps), name.partition(".")[2]):
            self._at = 0
            self._then()


@asynccontextmanager
async def limited(
    family: ModuleType, layers: Callable[[Transport], Transport]
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """A client over `layers` over a pool of one connection, and one over that pool alone."""
    bottom = pool(family=family)
    plain = family.AsyncClient(transport=bottom, timeout=PATIENT)
    async with family.AsyncClient(transport=layers(bottom), timeout=PATIENT) as client:
        yield client, plain


def retrying(inner: Transport, **options: Any) -> RetryTransport:  # noqa: ANN401 - handed on
    """Retries that do not wait."""
    return RetryTransport(inner, **{"policy": AT_ONCE, "listener": None, **options})


async def read_stream(stream: AbstractAsyncContextManager[httpx.Response]) -> None:
    """Read a response as it comes, to its end."""
    async with stream as response:
        async for _ in response.aiter_raw():
            pass


@pytest.fixture
def timers(clock: Clock) -> Timers:
    """Limits that strike when the test moves the clock."""
    return Timers(clock)


@pytest.fixture
def crowded() -> Iterator[str]:
    """The URL of a server whose queue is full: a connection to it is neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):
            yield f"http://127.0.0.1:{address[1]}"


# In real time


@pytest.mark.parametrize("behaviour", FOREVER)
async def test_a_server_that_never_ends_is_left_in_time(
    family: ModuleType, server: FaultServer, behaviour: Behaviour
) -> None:
    """No timeout of httpx ends the call; the limit does, and the pool's only connection is free."""
    async with limited(family, lambda inner: TimeoutTransport(inner, SHORT)) as (client, plain):
        assert await still_serves(plain, server.url)  # connected
        server.will(behaviour)
        with anyio.fail_after(PATIENT), pytest.raises(family.TimeoutException) as raised:
            await client.get(server.url)
        assert isinstance(raised.value, TimeLimitExceededError)
        server.script.clear()
        await until(lambda: server.open_connections == 0)
        assert await still_serves(plain, server.url)


@pytest.mark.parametrize("behaviour", FOREVER[3:])
async def test_a_stream_that_never_ends_is_left_in_time(
    family: ModuleType, server: FaultServer, behaviour: Behaviour
) -> None:
    """The reader gets what came and then the limit's error; the connection is free."""
    server.will(behaviour)
    async with limited(family, lambda inner: TimeoutTransport(inner, 0.2)) as (client, plain):
        with anyio.fail_after(PATIENT), pytest.raises(TimeLimitExceededError):
            await read_stream(client.stream("GET", server.url))
        server.script.clear()
        await until(lambda: server.open_connections == 0)
        assert await still_serves(plain, server.url)


async def test_a_connection_that_is_never_made_is_left_in_time(
    family: ModuleType, server: FaultServer, crowded: str
) -> None:
    """Its place in the pool is free."""
    async with limited(family, lambda inner: TimeoutTransport(inner, SHORT)) as (client, plain):
        with anyio.fail_after(PATIENT), pytest.raises(TimeLimitExceededError):
            await client.get(crowded)
        assert await still_serves(plain, server.url)


async def test_the_wait_for_a_free_connection_is_limited(
    family: ModuleType, server: FaultServer
) -> None:
    """The call ends while another holds the only connection; afterwards the pool works."""
    server.will(answer(200, b"x" * 2**21))
    async with limited(family, lambda inner: TimeoutTransport(inner, SHORT)) as (client, plain):
        async with plain.stream("GET", server.url):
            with anyio.fail_after(PATIENT), pytest.raises(TimeLimitExceededError):
                await client.get(server.url)
        assert await still_serves(plain, server.url)
    assert len(server.seen) == 2


async def test_of_many_callers_each_has_a_limit_of_its_own(
    family: ModuleType, server: FaultServer
) -> None:
    """Some are answered and some are not; all end in time, and no connection is left open."""
    # None of them waits for a place in the pool. httpcore 1.0 loses the place permanently when it
    # gives it to a request in the same round of the event loop in which that is cancelled, or trips
    # a PoolTimeout of its own.
    server.script = [late(0.002), silence] * 15
    ended: list[str] = []

    async def call(client: httpx.AsyncClient) -> None:
        try:
            ended.append(str((await client.get(server.url)).status_code))
        except TimeLimitExceededError as error:
            ended.append(error.limit)

    bottom = pool(None, family=family)
    client = family.AsyncClient(transport=TimeoutTransport(bottom, 0.2), timeout=PATIENT)
    async with client:
        with anyio.fail_after(PATIENT):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(call, client)
        assert len(ended) == 30
        assert ended.count("timeout") >= 15
    await until(lambda: server.open_connections == 0)


async def test_a_wait_that_does_not_fit_into_the_deadline_is_not_begun(
    family: ModuleType, server: FaultServer, events: Events
) -> None:
    """The last outcome is returned at once, and an event says why."""
    server.will(answer(503, b"down"), answer(503, b"still down"))
    policy = RetryPolicy(backoff=Backoff(base=0.001, factor=1_000_000, cap=1000))

    def layers(inner: Transport) -> Transport:
        return TimeoutTransport(retrying(inner, policy=policy, listener=events), 60)

    async with limited(family, layers) as (client, plain):
        with anyio.fail_after(PATIENT):
            response = await client.get(server.url)
        assert (response.status_code, response.content) == (503, b"still down")
        assert response.extensions["walltrack.attempts"] == 2
        assert events[-1].stop_reason is StopReason.DEADLINE_TOO_CLOSE  # type: ignore[union-attr]
        assert await still_serves(plain, server.url)
    assert server.connections == 1


async def test_attempts_waits_and_all_end_by_the_deadline(
    family: ModuleType, server: FaultServer
) -> None:
    """However many attempts fit into it, and whether it or an attempt's limit strikes last."""
    server.default = silence
    policy = RetryPolicy(max_retries=1000, backoff=Backoff(base=0.001, factor=1))

    def layers(inner: Transport) -> Transport:
        attempt = TimeoutTransport(inner, 0.01, name="attempt timeout")
        return TimeoutTransport(retrying(attempt, policy=policy), 0.1, name="deadline")

    async with limited(family, layers) as (client, plain):
        with anyio.fail_after(PATIENT), pytest.raises(TimeLimitExceededError) as raised:
            await client.get(server.url)
        assert raised.value.limit in {"deadline", "attempt timeout"}
        server.default = answer()
        assert await still_serves(plain, server.url)


async def test_a_client_tells_of_a_time_limit(server: FaultServer) -> None:
    """It raises its own error, as for any final failure, with the limit's as the cause."""
    server.will(silence)
    transport = TimeoutTransport(pool(), SHORT, name="attempt timeout")
    policy = RetryPolicy(max_retries=0)
    async with BaseAPIClient(
        server.url, transport=transport, retry=policy, listener=None
    ) as client:
        with pytest.raises(ExternalServiceError) as raised:
            await client.get("/things?api-key=hunter2")
    error = raised.value
    assert isinstance(error.__cause__, TimeLimitExceededError)
    assert error.delivery is Delivery.UNCERTAIN
    assert str(error) == (
        f"127.0.0.1:{server.port}: GET /things was not done within 0.05 s (attempt timeout)"
        " after 1 attempt (the service may have acted on it)"
    )


async def test_a_client_tells_of_a_time_limit_in_a_stream(server: FaultServer) -> None:
    """The reader gets the client's error in the middle of the body."""
    server.will(drip(every=0.001, times=10**9))
    transport = TimeoutTransport(pool(), 0.2, name="attempt timeout")
    policy = RetryPolicy(max_retries=0)
    async with BaseAPIClient(
        server.url, transport=transport, retry=policy, listener=None
    ) as client:
        with pytest.raises(ExternalServiceError) as raised:
            await read_stream(client.stream("GET", "/"))
        assert isinstance(raised.value.__cause__, TimeLimitExceededError)
        assert client.circuit_breaker.failure_count == 1


# At a step of httpcore's


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        ("connect_tcp.started", False),
        ("receive_response_headers.started", True),
        ("receive_response_body.started", True),
    ],
)
async def test_with_proof_a_post_is_made_again_only_when_it_was_not_sent(
    family: ModuleType, server: FaultServer, timers: Timers, *, step: str, sent: bool
) -> None:
    """At whichever step the limit ends the attempt, httpcore's trace shows what was sent."""
    server.will(*([falls_silent(content_length="9")] if sent else []))
    policy = RetryPolicy(backoff=Backoff(base=0.0), non_idempotent="proven")

    def layers(inner: Transport) -> Transport:
        attempt = TimeoutTransport(inner, 5, clock=timers.clock, timer=timers)
        return retrying(attempt, policy=policy)

    report = CallReport()
    extensions = {"trace": Trace(step, lambda: timers.advance(5)), "walltrack.report": report}
    async with limited(family, layers) as (client, plain):
        if sent:
            with pytest.raises(TimeLimitExceededError):
                await client.post(server.url, content=b"order", extensions=extensions)
            assert report.delivery is Delivery.UNCERTAIN
        else:
            response = await client.post(server.url, content=b"order", extensions=extensions)
            assert response.extensions["walltrack.attempts"] == 2
            assert report.delivery is Delivery.ANSWERED
        await until(lambda: len(server.seen) == 1)
        assert await still_serves(plain, server.url)
    assert len(server.seen) == 2


@pytest.mark.parametrize("outermost", [True, False], ids=["deadline", "attempt timeout"])
@pytest.mark.parametrize("whole", [True, False], ids=["read inside the attempt", "streamed"])
async def test_the_limit_may_strike_at_every_step_that_httpcore_takes(
    family: ModuleType, server: FaultServer, timers: Timers, *, whole: bool, outermost: bool
) -> None:
    """Whether the call ends or is retried, the only connection becomes free."""
    total, outcomes = 0, []
    breaker = CircuitBreaker(1000, clock=timers.clock)

    def limit(inner: Transport) -> Transport:
        return TimeoutTransport(inner, 5, clock=timers.clock, timer=timers)

    def layers(inner: Transport) -> Transport:
        guard = CircuitBreakerTransport(
            inner if outermost else limit(inner), breaker=breaker, listener=None
        )
        return limit(retrying(guard)) if outermost else retrying(guard)

    while True:
        total += 1
        server.script.clear()
        server.will(answer(200, b"x" * (8 if whole else 2**21)))
        trace = Trace(total, lambda: timers.advance(5))
        async with limited(family, layers) as (client, plain):
            with anyio.fail_after(PATIENT):
                try:
                    response = await client.get(server.url, extensions={"trace": trace})
                    outcomes.append(response.extensions["walltrack.attempts"])
                except TimeLimitExceededError:
                    outcomes.append(0)
            server.script.clear()
            assert await still_serves(plain, server.url)
            assert breaker.can_execute()
        await until(lambda: server.open_connections == 0)
        if len(trace.steps) < total:
            break
    assert total >= 12  # connect, send, receive and close begin and end
    if outermost:
        assert breaker.failure_count == 0
        assert outcomes.count(0) >= 6
    else:
        assert outcomes.count(2) >= 6
        assert (0 in outcomes) != whole


@pytest.mark.parametrize("outermost", [True, False], ids=["deadline", "attempt timeout"])
async def test_a_call_under_a_limit_can_be_cancelled_at_every_step_that_httpcore_takes(
    family: ModuleType, server: FaultServer, timers: Timers, *, outermost: bool
) -> None:
    """A cancellation from outside stays one, and the only connection becomes free."""
    total = cancelled = 0

    def limit(inner: Transport) -> Transport:
        return TimeoutTransport(inner, 5, clock=timers.clock, timer=timers)

    def layers(inner: Transport) -> Transport:
        return limit(retrying(inner)) if outermost else retrying(limit(inner))

    while cancelled == total:
        total += 1
        async with limited(family, layers) as (client, plain):
            with anyio.fail_after(PATIENT), anyio.CancelScope() as scope:
                trace = Trace(total, scope.cancel)
                await client.get(server.url, extensions={"trace": trace})
                await anyio.lowlevel.checkpoint()
            cancelled += scope.cancelled_caught
            assert await still_serves(plain, server.url)
        await until(lambda: server.open_connections == 0)
    assert total >= 12


async def test_a_body_that_stops_in_the_middle_is_asked_for_again(
    family: ModuleType, server: FaultServer, timers: Timers
) -> None:
    """A small one is read inside the attempt, whose limit is a failure like any other."""
    server.will(falls_silent(content_length="9"), answer(200, b"wholebody"))
    breaker = CircuitBreaker(1000, clock=timers.clock)

    def layers(inner: Transport) -> Transport:
        attempt = TimeoutTransport(inner, 5, clock=timers.clock, timer=timers)
        return retrying(CircuitBreakerTransport(attempt, breaker=breaker, listener=None))

    trace = Trace("receive_response_body.started", lambda: timers.advance(5))
    async with limited(family, layers) as (client, _):
        response = await client.get(server.url, extensions={"trace": trace})
    assert response.content == b"wholebody"
    assert response.extensions["walltrack.attempts"] == 2
    assert len(server.seen) == 2


# To the headers, and between chunks


async def test_a_healthy_stream_outlasts_the_limits_on_its_parts(
    family: ModuleType, server: FaultServer
) -> None:
    """Ten chunks that are each in time may together take longer than either limit."""
    server.will(drip(every=0.02, times=11))
    transport = TimeoutTransport(pool(family=family), headers=0.2, idle=0.2)
    async with family.AsyncClient(transport=transport, timeout=5) as client:
        assert (await client.get(server.url)).status_code == 200


@pytest.mark.parametrize("headers", [{"content-length": "9"}, {"transfer-encoding": "chunked"}])
async def test_a_stream_that_stalls_is_left_and_retried(
    family: ModuleType, server: FaultServer, headers: dict[str, str]
) -> None:
    """If no byte of it was delivered, the attempt is retried as after any timeout."""
    server.will(falls_silent(**{name.replace("-", "_"): v for name, v in headers.items()}))
    limited = TimeoutTransport(pool(family=family), headers=5, idle=0.05)
    policy = RetryPolicy(backoff=Backoff(base=0.0))
    transport = RetryTransport(limited, policy=policy, body="whole", listener=None)
    async with family.AsyncClient(transport=transport, timeout=5) as client:
        response = await client.get(server.url)
    assert response.content == b"ok"
    assert response.extensions["walltrack.attempts"] == 2
