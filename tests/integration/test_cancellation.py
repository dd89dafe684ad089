"""Cancelling a call at any step: it ends at once, and leaves no connection or permit behind."""

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any, Self

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.integration.fault_server import Behaviour, Exchange, FaultServer, answer, head
from tests.integration.layered import pool
from tests.support import Clock, ConnectionBody, Events, get, until
from walltrack import CircuitBreaker, CircuitBreakerTransport, CircuitState, RetryTransport

pytestmark = pytest.mark.anyio

Sleep = Callable[[float], Awaitable[None]]

# Cancelled right after this step, httpcore itself forgets the connection that it has made.
LOSES_ITS_CONNECTION = "connection.connect_tcp.complete"


async def silence(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.reader.read()
    exchange.end()


def half(status: int = 200, length: int = 8) -> Behaviour:
    """The first half of a body, then silence."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(status, {"content-length": str(length)}) + b"half")
        await silence(exchange)

    return behave


class Trace:
    """Notes the steps that httpcore takes; calls `then` at the step of the number `at`."""

    def __init__(self, at: int = 0, then: Callable[[], None] | None = None) -> None:
        self.steps: list[str] = []
        self._at = at
        self._then = then

    async def __call__(self, name: str, _: Mapping[str, Any]) -> None:
        if name != LOSES_ITS_CONNECTION:
            self.steps.append(name)
            if self._then is not None and len(self.steps) == self._at:
                self._then()

    def saw(self, step: str) -> bool:
        """Whether a step whose name ends so was taken."""
        return any(name.endswith(step) for name in self.steps)


@asynccontextmanager
async def guarded(
    family: ModuleType, breaker: CircuitBreaker, sleep: Sleep, events: Events | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client over both layers whose pool has one connection only."""
    inner = CircuitBreakerTransport(pool(family=family), breaker=breaker, listener=events)
    transport = RetryTransport(inner, sleep=sleep, listener=events)
    # One call at a time: no call has to wait for a connection.
    timeout = family.Timeout(5, pool=0.05)
    async with family.AsyncClient(transport=transport, timeout=timeout) as client:
        yield client


def half_open(clock: Clock) -> CircuitBreaker:
    """A breaker whose next request is its probe."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    breaker.record_failure()
    clock.advance(30)
    return breaker


async def still_serves(client: httpx.AsyncClient, server: FaultServer) -> None:
    """One more request gets the pool's only connection, and its answer."""
    server.script.clear()
    response = await client.get(server.url)
    assert (response.status_code, response.content) == (200, b"ok")


@pytest.fixture
def crowded() -> Iterator[str]:
    """The URL of a server whose queue is full: a connection to it is neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):
            yield f"http://127.0.0.1:{address[1]}"


HEADERS_AWAITED = "receive_response_headers.started"
BODY_AWAITED = "receive_response_body.started"

BEFORE_HEADERS = pytest.param(silence, HEADERS_AWAITED, id="before the headers")
IN_THE_BODY = pytest.param(half(), BODY_AWAITED, id="in the body")
DRAINING = pytest.param(half(503), BODY_AWAITED, id="while draining")


async def cancel_when(
    client: httpx.AsyncClient, url: str, begun: Callable[[Trace], bool]
) -> anyio.CancelScope:
    """Cancel a call from another task as soon as `begun` holds."""
    trace = Trace()

    async def call() -> None:
        with scope:
            await client.get(url, extensions={"trace": trace})

    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(call)
            await until(lambda: begun(trace))
            scope.cancel()
    return scope


@pytest.mark.parametrize(("fault", "step"), [BEFORE_HEADERS, IN_THE_BODY, DRAINING])
async def test_a_call_that_waits_for_the_server_ends_when_it_is_cancelled(
    family: ModuleType,
    server: FaultServer,
    clock: Clock,
    events: Events,
    *,
    fault: Behaviour,
    step: str,
) -> None:
    """It is not retried, counts neither way for the breaker, and its connection is closed."""
    server.will(fault)
    breaker = CircuitBreaker(5, 30, clock=clock)
    async with guarded(family, breaker, clock.sleep, events) as client:
        scope = await cancel_when(client, server.url, lambda trace: trace.saw(step))
        assert scope.cancelled_caught
        assert events.names == ["retry_stopped"]
        assert events.stops == ["cancelled"]
        await until(lambda: server.open_connections == 0)
        await still_serves(client, server)
    assert breaker.state is CircuitState.CLOSED
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize(("fault", "step"), [BEFORE_HEADERS, IN_THE_BODY])
async def test_a_probe_that_is_cancelled_gives_its_place_back(
    family: ModuleType, server: FaultServer, clock: Clock, fault: Behaviour, step: str
) -> None:
    """The next request probes at once, without another cooldown, and closes the circuit."""
    server.will(fault)
    breaker = half_open(clock)
    async with guarded(family, breaker, clock.sleep) as client:
        await cancel_when(
            client, server.url, lambda trace: trace.saw(step) and not breaker.can_execute()
        )
        assert breaker.can_execute()
        await still_serves(client, server)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("probe", [False, True], ids=["closed", "half-open"])
async def test_a_call_that_is_cancelled_in_the_connect(
    family: ModuleType, server: FaultServer, crowded: str, clock: Clock, *, probe: bool
) -> None:
    """The place in the pool that its connection was to take is free again, and so is a probe's."""
    breaker = half_open(clock) if probe else CircuitBreaker(1, 30, clock=clock)
    async with guarded(family, breaker, clock.sleep) as client:
        scope = await cancel_when(client, crowded, lambda trace: trace.saw("connect_tcp.started"))
        assert scope.cancelled_caught
        assert breaker.can_execute()
        await still_serves(client, server)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("probe", [False, True], ids=["closed", "half-open"])
async def test_a_caller_that_is_cancelled_while_reading_a_stream(
    family: ModuleType, server: FaultServer, clock: Clock, *, probe: bool
) -> None:
    """The stream and its connection are closed, and a probe's place is free."""
    server.will(half(length=2**21))
    breaker = half_open(clock) if probe else CircuitBreaker(1, 30, clock=clock)
    async with guarded(family, breaker, clock.sleep) as client:
        with anyio.CancelScope() as scope:
            async with client.stream("GET", server.url) as response:
                async for _ in response.aiter_raw():
                    scope.cancel()
        assert scope.cancelled_caught
        assert response.is_closed
        await until(lambda: server.open_connections == 0)
        assert breaker.can_execute()
        await still_serves(client, server)
    assert breaker.state is CircuitState.CLOSED


async def test_a_call_that_is_cancelled_in_the_backoff(
    family: ModuleType, server: FaultServer, clock: Clock, events: Events
) -> None:
    """It ends during its sleep, and holds no connection during it."""
    asleep = anyio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await anyio.sleep_forever()

    server.will(answer(503, b"down"))
    async with guarded(family, CircuitBreaker(5, 30, clock=clock), sleep, events) as client:
        scope = await cancel_when(client, server.url, lambda _: asleep.is_set())
        assert scope.cancelled_caught
        assert events.names == ["retry_scheduled", "retry_stopped"]
        assert events.stops == ["cancelled"]
        assert len(server.seen) == 1
        await still_serves(client, server)
    assert server.connections == 1


@pytest.mark.parametrize("probe", [False, True], ids=["closed", "half-open"])
@pytest.mark.parametrize("whole", [True, False], ids=["read inside the attempt", "streamed"])
async def test_a_call_can_be_cancelled_at_every_step_that_httpcore_takes(
    family: ModuleType, server: FaultServer, clock: Clock, *, whole: bool, probe: bool
) -> None:
    """At each step, up to closing the response, the only connection becomes free."""
    total = cancelled = 0
    while cancelled == total:
        total += 1
        server.will(*([] if probe else [answer(503)]), answer(200, b"x" * (8 if whole else 2**21)))
        breaker = half_open(clock) if probe else CircuitBreaker(5, 30, clock=clock)
        async with guarded(family, breaker, clock.sleep) as client:
            with anyio.fail_after(2), anyio.CancelScope() as scope:
                trace = Trace(at=total, then=scope.cancel)
                await client.get(server.url, extensions={"trace": trace})
                await anyio.lowlevel.checkpoint()
            cancelled += scope.cancelled_caught
            assert breaker.can_execute()
            await still_serves(client, server)
        assert breaker.state is CircuitState.CLOSED
        await until(lambda: server.open_connections == 0)
    assert total >= 12  # connect, send, receive and close begin and end


# Every await of what is inside is a checkpoint that may be the one


class Steps:
    """Checkpoints with names; the one of the number `cancel_at` is where a call is cancelled."""

    def __init__(self, cancel_at: int) -> None:
        self.scope = anyio.CancelScope()
        self.taken: list[str] = []
        self._cancel_at = cancel_at

    async def __call__(self, name: str) -> None:
        self.taken.append(name)
        if len(self.taken) == self._cancel_at:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()

    async def sleep(self, _: float) -> None:
        """One more step, of the backoff."""
        await self("sleep")

    @property
    def after(self) -> set[str]:
        """What was begun after the cancellation."""
        return set(self.taken[self._cancel_at :])


class Stepwise(httpx.AsyncBaseTransport):
    """A pool of one connection that answers with `statuses`, and takes a step at every turn."""

    def __init__(self, steps: Steps, *statuses: int) -> None:
        self.steps = steps
        self.statuses = list(statuses)
        self.open: list[StepwiseBody] = []

    async def __aenter__(self) -> Self:
        return self

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        if self.open:
            raise httpx.PoolTimeout("a response was not closed")
        await self.steps("connect")
        await self.steps("headers")
        status = self.statuses.pop(0)
        if status == 0:
            raise httpx.ReadError("scripted")
        body = StepwiseBody(self)
        self.open.append(body)
        return httpx.Response(status, headers={"content-length": "8"}, stream=body)


class StepwiseBody(ConnectionBody):
    """A body whose closing can be interrupted."""

    def __init__(self, pool: Stepwise) -> None:
        super().__init__()
        self._pool = pool

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for chunk in (b"half", b"half"):
            await self._pool.steps("body")
            yield chunk

    async def aclose(self) -> None:
        await super().aclose()
        await self._pool.steps("close")
        if self in self._pool.open:
            self._pool.open.remove(self)


@pytest.mark.parametrize(
    ("probe", "statuses"),
    [(False, [200]), (True, [200]), (False, [0, 200]), (False, [503, 0, 503, 200])],
)
async def test_a_call_can_be_cancelled_at_every_await(
    clock: Clock, statuses: list[int], *, probe: bool
) -> None:
    """The attempt ends, no other attempt follows, and nothing stays open."""
    total = cancelled = 0
    while cancelled == total:
        total += 1
        steps = Steps(total)
        inner = Stepwise(steps, *statuses)
        breaker = half_open(clock) if probe else CircuitBreaker(9, 30, clock=clock)
        guard = CircuitBreakerTransport(inner, breaker=breaker, listener=None)
        transport = RetryTransport(guard, sleep=steps.sleep, listener=None)
        with steps.scope, suppress(httpx.ReadError):
            response = await transport.handle_async_request(get())
            with anyio.CancelScope(shield=True):
                await response.aclose()
        cancelled += steps.scope.cancelled_caught
        assert inner.open == []
        assert breaker.can_execute()
        assert steps.after <= {"close", "sleep"}  # the next await of all, at which it comes out
    assert total > 2 * len(statuses)
