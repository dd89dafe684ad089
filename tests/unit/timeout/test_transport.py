import asyncio
import math
import sys
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest

from tests.support import (
    Body,
    Clock,
    ConnectionBody,
    Endless,
    Events,
    IteratorBody,
    Scripted,
    get,
    post,
    without_gc,
)
from tests.timers import Timers
from walltrack import (
    CircuitBreaker,
    CircuitBreakerTransport,
    CircuitState,
    Delivery,
    RetryPolicy,
    RetryTransport,
    StopReason,
    TimeLimitExceededError,
)
from walltrack.core.extensions import DEADLINE, DELIVERY, GATE, CallReport, time_left
from walltrack.http.watched_body import watched
from walltrack.timeout.transport import TimeoutTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
def timers(clock: Clock) -> Timers:
    """Limits that end when the test moves the clock."""
    return Timers(clock)


def limited(
    inner: httpx.AsyncBaseTransport, timers: Timers, seconds: float = 5, name: str = "timeout"
) -> TimeoutTransport:
    """A limit by the clock that the test moves."""
    return TimeoutTransport(inner, seconds, name=name, clock=timers.clock, timer=timers)


def takes(timers: Timers, seconds: float, outcome: Any = 200) -> Any:  # noqa: ANN401 - any step
    """A step of a script whose outcome comes after `seconds`."""

    async def step(_: httpx.Request) -> httpx.Response:
        await timers.sleep(seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, httpx.Response) else httpx.Response(outcome)

    return step


class Foreign:
    """A deadline of the caller's own."""

    def __init__(self, left: float) -> None:
        self._left = left

    def remaining(self) -> float:
        return self._left


class Slow(ConnectionBody):
    """A body of which each chunk takes a second; it notes how its iteration ended."""

    def __init__(self, timers: Timers, chunks: int = 4, *, deaf: bool = False) -> None:
        super().__init__()
        self._timers = timers
        self._chunks = chunks
        self._deaf = deaf
        self.given = 0
        self.ended: type[BaseException] | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(self._chunks):
                if not self._deaf:
                    await self._timers.sleep(1)
                elif self.given < 9:
                    self._timers.advance(1)
                self.given += 1
                yield b"x"
        finally:
            self.ended = sys.exc_info()[0]

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().aclose()


# What comes in time


async def test_what_comes_in_time_comes_as_it_is(timers: Timers) -> None:
    """The same response, with the body that it had."""
    response = httpx.Response(204)
    body = response.stream
    transport = limited(Scripted(takes(timers, 4, response)), timers)

    assert await transport.handle_async_request(get()) is response
    assert response.stream is body
    assert timers.asked == [5]


async def test_a_body_that_comes_in_time_is_read_to_its_end(timers: Timers) -> None:
    """Each read has the remaining time; reading after the end gives the end again."""
    body = Slow(timers, 3)
    transport = limited(Scripted(httpx.Response(200, stream=body)), timers)

    response = await transport.handle_async_request(get())
    assert await response.aread() == b"xxx"
    assert timers.asked == [5, 5, 4, 3, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(response.stream)  # type: ignore[call-overload]  # an iterator as well
    assert body.closes == 1


async def test_an_inner_exception_comes_as_it_is(timers: Timers) -> None:
    """An exception that comes in time is raised unchanged."""
    error = httpx.ReadError("scripted")
    transport = limited(Scripted(error), timers)

    with pytest.raises(httpx.ReadError) as raised:
        await transport.handle_async_request(get())
    assert raised.value is error


# What does not


async def test_silence_ends_with_an_error_that_says_which_limit(timers: Timers) -> None:
    """It names service, limit and seconds, and has the request, but shows nothing of it."""
    transport = limited(Scripted(takes(timers, 5)), timers, name="attempt timeout")
    request = get()

    with pytest.raises(TimeLimitExceededError) as raised:
        await transport.handle_async_request(request)

    error = raised.value
    assert str(error) == "api.test: not done within 5 s (attempt timeout)"
    assert (error.service, error.seconds, error.limit) == ("api.test", 5, "attempt timeout")
    assert error.request is request
    assert error.__cause__ is error.__context__ is None
    assert isinstance(error, httpx.TimeoutException)
    assert isinstance(error, httpx2.TimeoutException)


async def test_the_default_limit_is_real_time() -> None:
    """Without a clock and a timer of the test, the limit is in real seconds."""

    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    began = time.monotonic()
    with anyio.fail_after(5), pytest.raises(TimeLimitExceededError, match=r"0\.01 s \(timeout\)"):
        await TimeoutTransport(Scripted(never), 0.01).handle_async_request(get())
    assert time.monotonic() - began >= 0.01


async def test_the_default_limit_of_a_body_is_real_time() -> None:
    """A body that never ends is ended, as is one that never comes."""
    body = Endless()
    inner = Scripted(httpx.Response(200, stream=body))
    response = await TimeoutTransport(inner, 0.05).handle_async_request(get())

    with anyio.fail_after(5), pytest.raises(TimeLimitExceededError):
        await response.aread()
    assert body.closes >= 1


async def test_a_body_that_drips_ends_in_the_middle(timers: Timers) -> None:
    """The limit begins with the request; reading the body is cancelled, and the body closed."""
    body = Slow(timers, 9)
    transport = limited(Scripted(takes(timers, 2, httpx.Response(200, stream=body))), timers)
    response = await transport.handle_async_request(get())

    with pytest.raises(TimeLimitExceededError) as raised:
        await response.aread()

    assert str(raised.value) == "api.test: not done within 5 s (timeout)"
    assert body.given == 2
    assert body.closes >= 1
    assert body.ended not in (None, GeneratorExit)


async def test_the_time_that_the_reader_takes_counts(timers: Timers) -> None:
    """After that nothing more is read from the connection, and the iteration ends at once."""
    body = Slow(timers, 9)
    transport = limited(Scripted(httpx.Response(200, stream=body)), timers)
    response = await transport.handle_async_request(get())
    chunks: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]  # of both kinds

    assert await anext(chunks) == b"x"
    timers.advance(4)
    with without_gc():
        with pytest.raises(TimeLimitExceededError):
            await anext(chunks)
        assert body.ended is not None
    assert body.given == 1
    assert body.closes == 1


async def test_what_reads_the_body_ends_here_and_now(timers: Timers) -> None:
    """All generators beneath end, too; trio would report one that is left half-way."""
    body = Slow(timers, 9)

    class Outer(Slow):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            async for chunk in body:
                yield chunk

    response = httpx.Response(200, stream=Outer(timers))
    response = await limited(Scripted(response), timers).handle_async_request(get())
    chunks: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]  # of both kinds
    await anext(chunks)
    timers.advance(5)
    with without_gc():
        with pytest.raises(TimeLimitExceededError):
            await anext(chunks)
        assert body.ended not in (None, GeneratorExit)


async def test_a_body_that_was_cut_by_the_limit_never_looks_whole(timers: Timers) -> None:
    """Reading again raises again, where an iterator that failed would just end."""
    transport = limited(Scripted(httpx.Response(200, stream=Slow(timers, 9))), timers)
    response = await transport.handle_async_request(get())
    chunks: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]  # of both kinds

    for _ in range(4):
        assert await anext(chunks) == b"x"
    for _ in range(3):
        with pytest.raises(TimeLimitExceededError):
            await anext(chunks)


async def test_a_body_that_never_waits_is_ended_between_two_chunks(timers: Timers) -> None:
    """It cannot be cancelled, since it never waits, but is closed as well."""
    body = Slow(timers, 10**9, deaf=True)
    transport = limited(Scripted(httpx.Response(200, stream=body)), timers)
    response = await transport.handle_async_request(get())

    with pytest.raises(TimeLimitExceededError):
        await response.aread()

    assert body.closes >= 1
    assert body.ended is not None


async def test_what_goes_wrong_while_letting_go_is_of_no_interest(timers: Timers) -> None:
    """An error while closing does not replace that of the limit."""

    class Bad(Slow):
        async def aclose(self) -> None:
            await super().aclose()
            raise httpx.CloseError("scripted")

    body = Bad(timers, 9)
    transport = limited(Scripted(httpx.Response(200, stream=body)), timers)
    response = await transport.handle_async_request(get())
    timers.advance(5)

    with pytest.raises(TimeLimitExceededError):
        await anext(aiter(response.stream))  # type: ignore[arg-type]  # of both kinds
    assert body.closes == 1


async def test_closing_is_not_limited(timers: Timers) -> None:
    """A connection that is slow to close is still closed, also after the limit."""

    class SlowToClose(Slow):
        async def aclose(self) -> None:
            await timers.sleep(60)
            await super().aclose()

    body = SlowToClose(timers, 9)
    transport = limited(Scripted(httpx.Response(200, stream=body)), timers)
    response = await transport.handle_async_request(get())

    await response.aclose()
    assert body.closes == 1


# What is not limited


async def test_a_body_in_memory_is_not_limited(timers: Timers) -> None:
    """A body that was read ahead can be read at any later time."""

    async def reads_ahead(_: httpx.Request) -> httpx.Response:
        response = httpx.Response(200, stream=Body(b"x", b"y"))
        assert await watched(response).read_ahead(10)
        return response

    response = await limited(Scripted(reads_ahead), timers).handle_async_request(get())
    timers.advance(60)

    assert await response.aread() == b"xy"
    assert timers.asked == [5]


async def test_a_response_that_comes_although_the_limit_struck_is_preferred(timers: Timers) -> None:
    """The response is returned; only a body that is still to be read is late."""

    async def deaf(_: httpx.Request) -> httpx.Response:
        timers.advance(60)
        return httpx.Response(200, content=b"whole")

    response = await limited(Scripted(deaf), timers).handle_async_request(get())
    assert response.content == b"whole"


async def test_a_late_response_with_a_body_to_come_is_closed_at_the_first_read(
    timers: Timers,
) -> None:
    """If the headers came although the limit had ended, reading the body raises."""
    body = Slow(timers)

    async def deaf(_: httpx.Request) -> httpx.Response:
        timers.advance(60)
        return httpx.Response(200, stream=body)

    response = await limited(Scripted(deaf), timers).handle_async_request(get())
    with pytest.raises(TimeLimitExceededError):
        await response.aread()
    assert body.given == 0
    assert body.closes >= 1


async def test_an_exception_that_comes_although_the_limit_struck_is_preferred(
    timers: Timers,
) -> None:
    """It says more than a timeout would; the same holds for one in the body."""
    error = httpx.ReadError("scripted")

    async def deaf(_: httpx.Request) -> httpx.Response:
        timers.advance(60)
        raise error

    with pytest.raises(httpx.ReadError) as raised:
        await limited(Scripted(deaf), timers).handle_async_request(get())
    assert raised.value is error


# Cancelled by others


async def test_a_cancellation_from_outside_propagates(timers: Timers) -> None:
    """It is not taken for the limit, while waiting for the headers or for the body."""
    with anyio.CancelScope() as scope:

        async def cancelled(_: httpx.Request) -> httpx.Response:
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        await limited(Scripted(cancelled), timers).handle_async_request(get())
    assert scope.cancelled_caught


async def test_a_cancellation_from_outside_propagates_from_a_read(timers: Timers) -> None:
    """The closing of the body stays with its reader."""
    body = Slow(timers)
    inner = Scripted(httpx.Response(200, stream=body))
    response = await limited(inner, timers).handle_async_request(get())

    with anyio.CancelScope() as scope:
        scope.cancel()
        await response.aread()
    assert scope.cancelled_caught
    assert body.closes == 0
    await response.aclose()
    assert body.closes == 1


async def test_a_cancellation_at_the_moment_of_the_limit_goes_first(timers: Timers) -> None:
    """The cancellation wins, because its caller is waiting for it."""
    with anyio.CancelScope() as scope:

        async def cancelled(_: httpx.Request) -> httpx.Response:
            timers.advance(60)
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        await limited(Scripted(cancelled), timers).handle_async_request(get())
    assert scope.cancelled_caught


async def test_a_cancellation_while_letting_go_does_not_keep_the_connection(
    timers: Timers,
) -> None:
    """Closing is shielded, and then the cancellation takes precedence."""
    with anyio.CancelScope() as scope:

        class Cancelling(Slow):
            async def aclose(self) -> None:
                scope.cancel()
                await super().aclose()

        body = Cancelling(timers)
        inner = Scripted(httpx.Response(200, stream=body))
        response = await limited(inner, timers).handle_async_request(get())
        timers.advance(60)
        with pytest.raises(TimeLimitExceededError):
            await anext(aiter(response.stream))  # type: ignore[arg-type]  # of both kinds
        await anyio.lowlevel.checkpoint()
    assert body.closes == 1
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "limit_first",
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                tuple(map(int, version("anyio").split(".")[:2])) < (4, 16),
                reason="anyio up to 4.15 takes a native cancellation for its own scope's",
            ),
        ),
        False,
    ],
)
async def test_a_task_cancelled_at_the_moment_of_the_limit(
    timers: Timers, *, limit_first: bool
) -> None:
    """A native cancellation is not taken for the limit either, in whichever order they come."""
    waits = anyio.Event()

    async def waiting(_: httpx.Request) -> httpx.Response:
        waits.set()
        await anyio.sleep_forever()
        raise AssertionError

    task = asyncio.create_task(limited(Scripted(waiting), timers).handle_async_request(get()))
    await waits.wait()
    if limit_first:
        timers.advance(5)
        task.cancel()
    else:
        task.cancel()
        timers.advance(5)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_timeout_of_asyncio_around_it_stays_one(timers: Timers) -> None:
    """`asyncio.timeout` recognizes its own cancellation."""

    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await limited(Scripted(never), timers).handle_async_request(get())


# What layers inside see


async def test_a_redirect_has_a_limit_of_its_own(timers: Timers) -> None:
    """It is a request of its own, made by the client above all transports."""
    moved = httpx.Response(302, headers={"location": "/elsewhere"})
    inner = Scripted(takes(timers, 3, moved), takes(timers, 3))
    async with httpx.AsyncClient(transport=limited(inner, timers)) as client:
        response = await client.get("https://api.test/", follow_redirects=True)
    assert response.status_code == 200
    assert timers.asked == [5, 5]


async def test_layers_inside_see_what_is_left(timers: Timers) -> None:
    """They see the remaining time by the same clock; the caller's request is not changed."""
    seen = []

    async def look(request: httpx.Request) -> httpx.Response:
        seen.append(time_left(request.extensions))
        await timers.sleep(3)
        seen.append(time_left(request.extensions))
        return httpx.Response(200)

    request = get(extensions={"timeout": {}})
    await limited(Scripted(look), timers).handle_async_request(request)

    assert seen == [5, 2]
    assert request.extensions == {"timeout": {}}


async def test_the_request_inside_is_the_same_but_for_its_deadline(timers: Timers) -> None:
    """All that a transport sends, and all other extensions, are the same."""
    inner = Scripted(200)
    request = post(content=b"body", headers={"X-A": "b"}, extensions={"a": 1})
    await limited(inner, timers).handle_async_request(request)

    (seen,) = inner.requests
    assert type(seen) is httpx.Request
    assert (seen.method, seen.url, seen.headers) == (request.method, request.url, request.headers)
    assert seen.stream is request.stream
    assert seen.content == b"body"
    assert seen.extensions["a"] == 1


async def test_a_request_of_the_other_family_stays_one(timers: Timers) -> None:
    """It gets httpx2's request, stream and exceptions, which httpx2's code requires."""
    inner = Scripted(takes(timers, 1), takes(timers, 5))
    transport: Any = limited(inner, timers)
    request = httpx2.Request("GET", "https://api.test/")

    assert (await transport.handle_async_request(request)).status_code == 200
    assert isinstance(inner.requests[0], httpx2.Request)
    with pytest.raises(httpx2.TimeoutException):
        await transport.handle_async_request(request)


async def test_one_request_sent_twice_at_a_time_has_two_limits(timers: Timers) -> None:
    """The remaining time of one call does not limit the other."""
    request, left = get(), []
    second_came = anyio.Event()

    async def first(_: httpx.Request) -> httpx.Response:
        await second_came.wait()
        return httpx.Response(200)

    async def second(request: httpx.Request) -> httpx.Response:
        left.append(time_left(request.extensions))
        second_came.set()
        return httpx.Response(200)

    transport = limited(Scripted(first, second), timers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.handle_async_request, request)
        await anyio.wait_all_tasks_blocked()
        timers.advance(3)
        tasks.start_soon(transport.handle_async_request, request)
    assert left == [5]
    assert DEADLINE not in request.extensions


@pytest.mark.parametrize(("outer", "inner", "left"), [(5, 2, 2), (2, 5, 2)])
async def test_one_limit_in_another(
    timers: Timers, outer: float, inner: float, left: float
) -> None:
    """Inside both, the shorter one is seen, and it is the one that ends the call."""
    seen = []

    async def look(request: httpx.Request) -> httpx.Response:
        seen.append(time_left(request.extensions))
        await timers.sleep(2)
        raise AssertionError

    nested = limited(limited(Scripted(look), timers, inner, "inner"), timers, outer, "outer")
    with pytest.raises(TimeLimitExceededError) as raised:
        await nested.handle_async_request(get())

    assert seen == [left]
    assert (raised.value.seconds, raised.value.limit) == (2, "inner" if inner < outer else "outer")


async def test_of_two_limits_that_end_together_the_outer_one_is_named(timers: Timers) -> None:
    """The layers in between see a cancellation, and count no failure."""
    nested = limited(limited(Scripted(takes(timers, 5)), timers, 5, "inner"), timers, 5, "outer")

    with pytest.raises(TimeLimitExceededError, match="outer"):
        await nested.handle_async_request(get())


async def test_a_body_in_two_limits_ends_with_the_shorter_one(timers: Timers) -> None:
    """Whichever limit it is, the innermost body is closed."""
    for inner, outer in [(3, 9), (9, 3)]:
        body = Slow(timers, 9)
        at_the_bottom = Scripted(httpx.Response(200, stream=body))
        nested = limited(limited(at_the_bottom, timers, inner, "inner"), timers, outer, "outer")
        response = await nested.handle_async_request(get())
        with pytest.raises(TimeLimitExceededError) as raised:
            await response.aread()
        assert raised.value.limit == ("inner" if inner < outer else "outer")
        assert (body.given, body.closes >= 1) == (2, True)
        assert body.ended is not None


async def test_each_of_two_limits_strikes_by_its_own_time(timers: Timers) -> None:
    """The outer limit ends the call with its own name, and the inner one not before it."""
    inner = limited(Scripted(httpx.Response(200, stream=Slow(timers, 2))), timers, 9)
    response = await limited(inner, timers, 3).handle_async_request(get())

    assert await response.aread() == b"xx"
    assert timers.asked == [3, 9, 3, 9, 2, 8, 1, 7]


async def test_when_both_limits_of_a_body_have_passed_the_outer_one_is_named(
    timers: Timers,
) -> None:
    """Both may pass before the first read; then nothing is read, and the body is closed."""
    body = Slow(timers, 9)
    inner = limited(Scripted(httpx.Response(200, stream=body)), timers, 3, "inner")
    response = await limited(inner, timers, 5, "outer").handle_async_request(get())
    timers.advance(60)
    with pytest.raises(TimeLimitExceededError, match="outer"):
        await response.aread()
    assert body.given == 0
    assert body.closes >= 1


async def test_nothing_is_sent_when_the_time_has_passed(timers: Timers) -> None:
    """The error names the limit that passed, and retry layers learn that nothing was sent."""
    inner, requests = Scripted(200), []
    attempt = limited(inner, timers, 9, "attempt timeout")

    async def late(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        timers.clock.advance(5)  # the scope has not heard of it yet
        return await attempt.handle_async_request(request)

    request = get()
    with pytest.raises(TimeLimitExceededError, match=r"5 s \(deadline\)"):
        await limited(Scripted(late), timers, 5, "deadline").handle_async_request(request)
    assert inner.requests == []
    assert requests[0].extensions[DELIVERY] is Delivery.NOT_SENT


async def test_a_deadline_of_the_callers_own_is_kept(timers: Timers) -> None:
    """If it leaves less time than the limit, it is enforced instead."""
    transport = limited(Scripted(takes(timers, 2)), timers)

    with pytest.raises(TimeLimitExceededError, match="not done within 2 s"):
        await transport.handle_async_request(get(extensions={DEADLINE: Foreign(2)}))
    assert timers.asked == [2]


async def test_a_deadline_of_the_callers_own_that_has_passed(timers: Timers) -> None:
    """Nothing is sent, and the caller's request is unchanged and can be sent again."""
    inner, deadline = Scripted(200), Foreign(-1)
    request = get(extensions={DEADLINE: deadline})

    with pytest.raises(TimeLimitExceededError, match="not done within 0 s"):
        await limited(inner, timers).handle_async_request(request)
    assert inner.requests == []
    assert request.extensions == {DEADLINE: deadline}


@pytest.mark.parametrize("outcome", [200, httpx.ConnectError("scripted")])
async def test_what_is_left_for_layers_outside_reaches_them(
    timers: Timers, outcome: int | Exception
) -> None:
    """The gate and the delivery are copied from the inner request to the outer one."""
    gate = CircuitBreaker()

    async def leaves(request: httpx.Request) -> httpx.Response:
        request.extensions |= {GATE: gate, DELIVERY: Delivery.NOT_SENT, "stranger": 1}
        if isinstance(outcome, Exception):
            raise outcome
        return httpx.Response(outcome)

    request = get()
    with suppress(httpx.ConnectError):
        await limited(Scripted(leaves), timers).handle_async_request(request)
    assert request.extensions == {GATE: gate, DELIVERY: Delivery.NOT_SENT}


# Beneath retries and a breaker: one attempt's limit


def retrying(inner: httpx.AsyncBaseTransport, clock: Clock, **options: Any) -> RetryTransport:  # noqa: ANN401 - handed on
    """Retries that do not really wait."""
    return RetryTransport(inner, **{"sleep": clock.sleep, "listener": None, **options})


async def test_an_attempt_that_takes_too_long_is_made_again(timers: Timers, clock: Clock) -> None:
    """Each attempt has a limit of its own."""
    inner = Scripted(takes(timers, 5), takes(timers, 5), takes(timers, 4))
    response = await retrying(limited(inner, timers), clock).handle_async_request(get())

    assert response.status_code == 200
    assert response.extensions["walltrack.attempts"] == 3
    assert clock.sleeps == [1, 2]


async def test_a_small_body_that_takes_too_long_is_asked_for_again(
    timers: Timers, clock: Clock
) -> None:
    """It is read inside the attempt, and so within its limit."""
    slow = httpx.Response(200, headers={"content-length": "9"}, stream=Slow(timers, 9))
    inner = Scripted(slow, httpx.Response(200, content=b"whole"))
    response = await retrying(limited(inner, timers), clock).handle_async_request(get())

    assert await response.aread() == b"whole"
    assert response.extensions["walltrack.attempts"] == 2


async def test_a_stream_that_takes_too_long_raises_and_counts(timers: Timers, clock: Clock) -> None:
    """A part of it was delivered already, so it cannot be retried."""
    inner = Scripted(httpx.Response(200, stream=Slow(timers, 9)))
    breaker = CircuitBreaker(5, 30, clock=clock)
    guard = CircuitBreakerTransport(limited(inner, timers), breaker=breaker, listener=None)
    response = await retrying(guard, clock).handle_async_request(get())

    assert breaker.failure_count == 0
    with pytest.raises(TimeLimitExceededError):
        await response.aread()
    assert breaker.failure_count == 1
    assert len(inner.requests) == 1


async def test_attempts_that_take_too_long_open_the_circuit(timers: Timers, clock: Clock) -> None:
    """They count like any other timeout, and the call ends with the last of them."""
    inner = Scripted(takes(timers, 5))
    breaker = CircuitBreaker(2, 30, clock=clock)
    guard = CircuitBreakerTransport(limited(inner, timers), breaker=breaker, listener=None)

    with pytest.raises(TimeLimitExceededError):
        await retrying(guard, clock).handle_async_request(get())
    assert breaker.state is CircuitState.OPEN
    assert len(inner.requests) == 2


@pytest.mark.parametrize("where", ["connecting", "waiting for the answer"])
async def test_with_proof_a_post_is_made_again_only_when_it_was_not_sent(
    timers: Timers, clock: Clock, where: str
) -> None:
    """A trace shows what was sent; during the wait for the response the server may act."""

    async def traced(request: httpx.Request) -> httpx.Response:
        trace = request.extensions["trace"]
        await trace("connection.connect_tcp.started", {})
        if where != "connecting":
            core = type("Core", (), {"method": b"POST"})
            await trace("http11.send_request_headers.started", {"request": core})
        await timers.sleep(5)
        raise AssertionError

    inner = Scripted(traced, 200)
    policy = RetryPolicy(non_idempotent="proven")
    transport = retrying(limited(inner, timers), clock, policy=policy)
    report = CallReport()
    request = post(content=b"order", extensions={"walltrack.report": report})
    if where == "connecting":
        assert (await transport.handle_async_request(request)).status_code == 200
        assert len(inner.requests) == 2
    else:
        with pytest.raises(TimeLimitExceededError):
            await transport.handle_async_request(request)
        assert len(inner.requests) == 1
        assert report.delivery is Delivery.UNCERTAIN


async def test_what_a_mock_states_beneath_a_limit_is_believed(timers: Timers, clock: Clock) -> None:
    """The delivery that it states on its request reaches the retry layer."""

    def refused(request: httpx.Request) -> httpx.Response:
        request.extensions[DELIVERY] = Delivery.NOT_SENT
        raise httpx.ConnectError("scripted")

    inner = Scripted(refused, 200)
    policy = RetryPolicy(non_idempotent="proven")
    transport = retrying(limited(inner, timers), clock, policy=policy)
    assert (await transport.handle_async_request(post())).status_code == 200


@pytest.mark.parametrize("by_body", [False, True])
async def test_no_call_sleeps_towards_a_circuit_that_is_open_beneath_a_limit(
    timers: Timers, clock: Clock, events: Events, *, by_body: bool
) -> None:
    """The retry layer sees the open circuit, also if a broken body opened it."""
    cut = Body(b"x", httpx.ReadError("scripted"))
    broken = httpx.Response(200, headers={"content-length": "9"}, stream=cut)
    breaker = CircuitBreaker(1, 30, clock=clock)
    guard = CircuitBreakerTransport(
        Scripted(broken if by_body else 503), breaker=breaker, listener=None
    )
    transport = retrying(limited(guard, timers), clock, listener=events)
    with suppress(httpx.ReadError):
        await transport.handle_async_request(get())
    (stopped,) = events
    assert stopped.stop_reason is StopReason.CIRCUIT_OPEN  # type: ignore[union-attr]
    assert clock.sleeps == []


# Above retries and a breaker: the deadline of a call


async def test_a_retry_that_cannot_be_made_in_time_is_not_begun(
    timers: Timers, clock: Clock, events: Events
) -> None:
    """The last outcome is returned at once, and an event says why."""
    inner = Scripted(503)
    transport = limited(retrying(inner, clock, listener=events), timers, 3)

    response = await transport.handle_async_request(get())

    assert response.status_code == 503
    assert response.extensions["walltrack.attempts"] == 2
    assert clock.sleeps == [1]  # two seconds are left by then, as long as the next wait
    assert events.names == ["retry_scheduled", "retry_stopped"]
    assert events[-1].stop_reason is StopReason.DEADLINE_TOO_CLOSE  # type: ignore[union-attr]


async def test_an_exception_that_comes_last_comes_back_before_the_deadline(
    timers: Timers, clock: Clock
) -> None:
    """The exception says more than a timeout would."""
    inner = Scripted(httpx.ReadError("scripted"))
    transport = limited(retrying(inner, clock), timers, 1)

    with pytest.raises(httpx.ReadError):
        await transport.handle_async_request(post())
    assert clock.sleeps == []


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    timers: Timers, clock: Clock
) -> None:
    """The policy allows that wait, but it does not fit into the deadline."""
    inner = Scripted(httpx.Response(503, headers={"Retry-After": "30"}))
    response = await limited(retrying(inner, clock), timers, 20).handle_async_request(get())

    assert response.status_code == 503
    assert clock.sleeps == []


async def test_the_deadline_ends_a_wait(timers: Timers, clock: Clock) -> None:
    """A wait that takes longer than planned is cancelled by the deadline."""

    async def oversleep(seconds: float) -> None:
        await timers.sleep(seconds + 60)

    transport = limited(retrying(Scripted(503), clock, sleep=oversleep), timers, 5, "deadline")
    with pytest.raises(TimeLimitExceededError, match="deadline"):
        await transport.handle_async_request(get())


@pytest.mark.parametrize("probe", [False, True])
async def test_a_deadline_that_ends_an_attempt_says_nothing_of_the_service(
    timers: Timers, clock: Clock, *, probe: bool
) -> None:
    """For the layers inside it is a cancellation: no retry, no failure, no probe's place held."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    if probe:
        breaker.record_failure()
        clock.advance(30)
    inner = Scripted(takes(timers, 5))
    guard = CircuitBreakerTransport(inner, breaker=breaker, listener=None)
    report = CallReport()

    with pytest.raises(TimeLimitExceededError):
        await limited(retrying(guard, clock), timers).handle_async_request(
            get(extensions={"walltrack.report": report})
        )
    assert len(inner.requests) == 1
    assert breaker.state is (CircuitState.HALF_OPEN if probe else CircuitState.CLOSED)
    assert breaker.can_execute()
    assert report.delivery in (None, Delivery.UNCERTAIN)


@pytest.mark.parametrize("away", [True, False])
async def test_a_deadline_that_ends_a_stream_says_nothing_of_the_service(
    timers: Timers, clock: Clock, *, away: bool
) -> None:
    """This holds during a read and between two reads."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    body = Slow(timers, 9)
    guard = CircuitBreakerTransport(
        Scripted(httpx.Response(200, stream=body)), breaker=breaker, listener=None
    )
    response = await limited(retrying(guard, clock), timers).handle_async_request(get())
    if away:
        timers.advance(5)
    with pytest.raises(TimeLimitExceededError):
        await response.aread()
    assert breaker.state is CircuitState.CLOSED
    assert body.closes >= 1


# The limit strikes wherever it may


class Pool(httpx.AsyncBaseTransport):
    """One connection; each of its steps is a checkpoint at which the limit can end."""

    def __init__(self, timers: Timers, strike_at: int, *statuses: int) -> None:
        self._timers = timers
        self._strike_at = strike_at
        self._statuses = list(statuses)
        self.steps = 0
        self.open: list[PoolBody] = []

    async def step(self, seconds: float = 0) -> None:
        self.steps += 1
        await self._timers.sleep(60 if self.steps == self._strike_at else seconds)

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        if self.open:
            raise httpx.PoolTimeout("a response was not closed")
        await self.step()
        await self.step()
        body = PoolBody(self)
        self.open.append(body)
        try:
            await self.step()
        except BaseException:
            self.open.remove(body)  # as httpcore does
            raise
        headers = {"content-length": "8"}
        return httpx.Response(self._statuses.pop(0), headers=headers, stream=body)


class PoolBody(ConnectionBody):
    """A body whose closing takes a step, too."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for chunk in (b"half", b"half"):
            await self._pool.step()
            yield chunk

    async def aclose(self) -> None:
        await super().aclose()
        try:
            await self._pool.step()
        finally:  # as httpcore's pool does
            if self in self._pool.open:
                self._pool.open.remove(self)


@pytest.mark.parametrize("statuses", [[200], [503, 503, 200]])
@pytest.mark.parametrize("outermost", [True, False], ids=["deadline", "attempt timeout"])
async def test_the_limit_may_strike_at_every_await(
    timers: Timers, clock: Clock, statuses: list[int], *, outermost: bool
) -> None:
    """The call ends with the limit's error or succeeds by a retry, and loses no connection."""
    total, struck, mended = 0, 0, 0
    while True:
        total += 1
        pool = Pool(timers, total, *statuses, 200)
        breaker = CircuitBreaker(9, 30, clock=clock)
        inner = pool if outermost else limited(pool, timers)
        transport: httpx.AsyncBaseTransport = retrying(
            CircuitBreakerTransport(inner, breaker=breaker, listener=None), clock
        )
        transport = limited(transport, timers, 50) if outermost else transport
        try:
            response = await transport.handle_async_request(get())
            assert await response.aread() == b"halfhalf"
            mended += breaker.failure_count == 0
        except TimeLimitExceededError:
            assert outermost
            struck += 1
        assert pool.open == []
        assert breaker.can_execute()
        if pool.steps < total:
            break
    assert total > 5 * len(statuses)
    assert (struck if outermost else mended) > 3 * len(statuses)


@pytest.mark.parametrize("in_the_body", [False, True])
async def test_a_call_can_be_cancelled_at_every_await_under_a_limit(
    timers: Timers, *, in_the_body: bool
) -> None:
    """At whichever step it comes, the cancellation ends the call, and nothing stays open."""
    total = cancelled = 0
    while cancelled == total:
        total += 1
        pool = Pool(timers, 0, 200)
        scope = anyio.CancelScope()

        async def step(
            _: float, pool: Pool = pool, at: int = total, scope: anyio.CancelScope = scope
        ) -> None:
            if pool.steps == at:
                scope.cancel()
            await anyio.lowlevel.checkpoint()

        timers.sleep = step  # type: ignore[method-assign,assignment]  # what a pool's step does
        with scope:
            response = await limited(pool, timers).handle_async_request(get())
            try:
                if in_the_body:
                    await response.aread()
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
            await anyio.lowlevel.checkpoint()
        cancelled += scope.cancelled_caught
        assert pool.open == []
    assert total >= (6 if in_the_body else 4)


async def test_an_error_dies_with_its_last_holder(timers: Timers) -> None:
    """It is freed without the garbage collector, and with it its request."""
    transport = limited(Scripted(takes(timers, 5)), timers)
    with without_gc():
        try:
            await transport.handle_async_request(get())
        except TimeLimitExceededError as error:
            gone = weakref.ref(error)
        assert gone() is None


# What it is made of


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_limit_that_is_none_is_refused(seconds: float) -> None:
    """In the constructor, by name."""
    with pytest.raises(ValueError, match=r"seconds must be a finite number above 0"):
        TimeoutTransport(Scripted(200), seconds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": "5"}, "seconds must be a number"),
        ({"seconds": True}, "seconds must be a number"),
        ({"headers": "5"}, "headers must be a number"),
        ({"idle": True}, "idle must be a number"),
        ({"name": None}, "name must be a str"),
        ({"clock": 5}, "clock must be a function"),
        ({"timer": 5}, "timer must be a function"),
    ],
)
def test_what_is_of_another_type_is_refused(options: dict[str, Any], message: str) -> None:
    """In the constructor, by name."""
    with pytest.raises(TypeError, match=message):
        TimeoutTransport(Scripted(200), **{"seconds": 5, **options})


def test_it_tells_what_it_is() -> None:
    """Its repr has the inner transport, the seconds, and the name of the limit."""
    inner = TimeoutTransport(None, 2.5, name="attempt timeout")
    assert repr(TimeoutTransport(inner, 10)) == (
        "TimeoutTransport(TimeoutTransport(HTTPTransport(), seconds=2.5, "
        "name='attempt timeout'), seconds=10, name='timeout')"
    )


# Transports that cancel in their own way


class ForeignBody(IteratorBody):
    """A body that raises a CancelledError of its own when reading it is cancelled."""

    async def next_chunk(self) -> bytes:
        return await foreign()


async def foreign() -> bytes:
    """Wait until cancelled, and raise another CancelledError than the one that came."""
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        raise asyncio.CancelledError from None
    raise AssertionError  # pragma: no cover


on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def falls_silent(_: httpx.Request) -> httpx.Response:
    """Never answer, and raise a CancelledError of its own when cancelled."""
    await foreign()
    raise AssertionError  # pragma: no cover


@on_asyncio
async def test_a_foreign_cancellation_by_the_limit_is_a_timeout() -> None:
    """The caller's task is not cancelled: it gets the timeout, and goes on."""
    transport = TimeoutTransport(Scripted(falls_silent), 0.01)
    with pytest.raises(TimeLimitExceededError):
        await transport.handle_async_request(get())
    await anyio.lowlevel.checkpoint()


@on_asyncio
async def test_a_foreign_cancellation_in_the_body_is_a_timeout() -> None:
    """The same holds while the body is read."""
    transport = TimeoutTransport(Scripted(httpx.Response(200, stream=ForeignBody())), 0.01)
    response = await transport.handle_async_request(get())
    with pytest.raises(TimeLimitExceededError):
        await response.aread()
    await anyio.lowlevel.checkpoint()


@on_asyncio
@pytest.mark.parametrize("reading", [False, True])
async def test_a_cancellation_is_obeyed_however_it_arrives(*, reading: bool) -> None:
    """Before the limit ends, any CancelledError is the caller's."""
    step = httpx.Response(200, stream=ForeignBody()) if reading else falls_silent
    transport = TimeoutTransport(Scripted(step), 60)

    async def call() -> None:
        await (await transport.handle_async_request(get())).aread()

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_seconds_in_the_request_are_a_deadline(timers: Timers) -> None:
    """They count from now, and shorten the limit."""
    transport = limited(Scripted(takes(timers, 3)), timers)
    with pytest.raises(TimeLimitExceededError) as raised:
        await transport.handle_async_request(get(extensions={DEADLINE: 2}))
    assert raised.value.seconds == 2


# A whole call


def redirecting(timers: Timers, seconds: float, hops: int) -> Scripted:
    """A server that redirects a number of times, and answers slowly."""
    onward = httpx.Response(302, headers={"location": "/next"})
    return Scripted(*[takes(timers, seconds, onward)] * hops, takes(timers, seconds, 200))


@pytest.mark.parametrize("whole_call", [True, False])
async def test_redirects_share_the_limit_of_a_whole_call(
    timers: Timers, *, whole_call: bool
) -> None:
    """Although httpx sends each as a new request, the deadline of the call does not restart."""
    transport = TimeoutTransport(
        redirecting(timers, 2, hops=4),
        5,
        name="deadline",
        whole_call=whole_call,
        clock=timers.clock,
        timer=timers,
    )
    async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
        if whole_call:
            with pytest.raises(TimeLimitExceededError) as raised:
                await client.get("https://api.test/")
            assert (raised.value.seconds, raised.value.limit) == (5, "deadline")
        else:
            assert (await client.get("https://api.test/")).status_code == 200


async def test_the_same_request_sent_again_is_another_call(timers: Timers) -> None:
    """It has the whole time again, as has another request with the same extensions."""
    transport = TimeoutTransport(
        Scripted(takes(timers, 3)), 5, whole_call=True, clock=timers.clock, timer=timers
    )
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request("GET", "https://api.test/")
        for _ in range(3):
            assert (await client.send(request)).status_code == 200


def test_a_limit_has_to_be_given() -> None:
    """A transport without any limit is rejected as a mistake."""
    with pytest.raises(ValueError, match="at least one of seconds, headers and idle must be given"):
        TimeoutTransport(Scripted(200))
