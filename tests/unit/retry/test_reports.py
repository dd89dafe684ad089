"""Every failed call leaves its reason in the log."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Body, Clock, Events, Scripted, Step, get, post
from walltrack import (
    Backoff,
    CallSucceededAfterRetries,
    CircuitBreakerTransport,
    Classification,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    StopReason,
    TimeoutTransport,
)
from walltrack.core.delivery import Delivery
from walltrack.core.extensions import CallReport

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

Layered = Callable[[Clock], httpx.AsyncBaseTransport]


def retrying(*steps: Step, around: Any = lambda inner: inner, **options: Any) -> Layered:  # noqa: ANN401 - handed on
    """Retries, with the log as their listener, around a layer around what answers."""
    return lambda clock: RetryTransport(
        around(Scripted(*steps)), sleep=clock.sleep, clock=clock, **options
    )


def broken(**headers: str) -> httpx.Response:
    """A response whose body breaks off while it is read."""
    return httpx.Response(200, headers=headers, stream=Body(b"so", httpx.ReadError("broken")))


def caused_by(cause: BaseException) -> httpx.ConnectError:
    """An error of httpx with a cause."""
    error = httpx.ConnectError("broken")
    error.__cause__ = cause
    return error


async def read(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
    """Send a request, and read its response."""
    response = await transport.handle_async_request(request)
    await response.aread()


async def cancel(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
    """Send a request, and cancel it as soon as it waits."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.handle_async_request, request)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def close(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
    """Send a request, and close its transport as soon as it waits."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_quietly, transport, request)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()


async def read_quietly(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
    """Send a request that may fail."""
    with suppress(httpx.TransportError):
        await read(transport, request)


async def silent(_: httpx.Request) -> httpx.Response:
    """No response."""
    await anyio.sleep_forever()
    raise AssertionError  # pragma: no cover - it is cancelled


async def consuming(request: httpx.Request) -> httpx.Response:
    """A failure after the body of the request was read."""
    assert isinstance(request.stream, httpx.AsyncByteStream)
    assert [chunk async for chunk in request.stream]
    return httpx.Response(503)


async def endless_wait(_: float) -> None:
    """A wait that only a cancellation ends."""
    await anyio.sleep_forever()


def one_rate(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """A rate limit that admits one request."""
    return RateLimitTransport(inner, 0.001, wait=False, listener=None)


def breaker(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """A circuit breaker that opens at the first failure."""
    return CircuitBreakerTransport(inner, failure_threshold=1, listener=None)


def final(_: object) -> Classification:
    """No outcome is worth a retry."""
    return Classification(retry=False)


AT_ONCE = RetryPolicy(backoff=Backoff(base=0, cap=0))
LATER = httpx.Response(503, headers={"retry-after": "3600"})
DECLINED = httpx.Response(503, headers={"x-should-retry": "false"})
AGAIN = {"walltrack.deadline": 0.5}
Send = Callable[[httpx.AsyncBaseTransport, httpx.Request], Awaitable[None]]

REASONS: dict[StopReason, tuple[Layered, httpx.Request, Send]] = {
    StopReason.RETRIES_EXHAUSTED: (retrying(503), get(), read),
    StopReason.METHOD_NOT_RETRIED: (retrying(500), post(), read),
    StopReason.BODY_CANNOT_REPLAY: (
        retrying(consuming),
        httpx.Request("PUT", "https://api.test", content=Body(b"x")),
        read,
    ),
    StopReason.CIRCUIT_OPEN: (retrying(503, around=breaker), get(), read),
    StopReason.RETRY_AFTER_TOO_LONG: (retrying(LATER), get(), read),
    StopReason.BUDGET_EMPTY: (retrying(503, budget=RetryBudget(1, refill=0)), get(), read),
    StopReason.DEADLINE_TOO_CLOSE: (retrying(503), get(extensions=AGAIN), read),
    StopReason.TRANSPORT_CLOSED: (
        lambda _: RetryTransport(Scripted(503), sleep=endless_wait),
        get(),
        close,
    ),
    StopReason.STATUS_NOT_RETRIED: (retrying(404), get(), read),
    StopReason.SERVER_DECLINED: (retrying(DECLINED), get(), read),
    StopReason.CLASSIFIED_AS_FINAL: (retrying(503, classify=final), get(), read),
    StopReason.ERROR_NOT_RETRIED: (retrying(httpx.UnsupportedProtocol("x")), get(), read),
    StopReason.BAD_CERTIFICATE: (
        retrying(caused_by(ssl.SSLCertVerificationError("self-signed"))),
        get(),
        read,
    ),
    StopReason.CLOSED_LOCALLY: (retrying(caused_by(anyio.ClosedResourceError())), get(), read),
    StopReason.RESPONSE_TOO_LARGE: (
        retrying(lambda _: httpx.Response(200, stream=Body(b"x" * 9)), max_response_bytes=5),
        get(extensions={"walltrack.whole_body": True}),
        read,
    ),
    StopReason.REQUEST_REJECTED: (retrying(503, around=one_rate), get(), read),
    StopReason.RETRIES_OFF: (retrying(503), get(extensions={"walltrack.retry": False}), read),
    StopReason.CANCELLED: (retrying(silent), get(), cancel),
    StopReason.DEADLINE_PASSED: (
        lambda _: TimeoutTransport(RetryTransport(Scripted(silent)), 0.01),
        get(),
        read,
    ),
    StopReason.BODY_BROKE_OFF: (retrying(lambda _: broken(), around=breaker), get(), read),
}
"""How to get each reason: the transport, the request, and what its caller does."""


@pytest.mark.parametrize("reason", StopReason)
async def test_each_reason_is_found_in_the_log(
    reason: StopReason, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever ends a failed call, one entry says that there is no retry, and why."""
    caplog.set_level(logging.DEBUG, "walltrack")
    make, request, send = REASONS[reason]
    with suppress(httpx.RequestError):
        await send(make(clock), request)
    stopped = [
        getattr(record, "stop_reason", None)
        for record in caplog.records
        if getattr(record, "event", None) == "retry_stopped"
    ]
    assert stopped == [reason]


@pytest.mark.parametrize(
    ("steps", "note"),
    [
        ([httpx.ReadError], "walltrack: 4 attempts, and no other because: retries_exhausted"),
        (
            [httpx.ReadError, httpx.UnsupportedProtocol],
            "walltrack: 2 attempts, and no other because: error_not_retried",
        ),
    ],
)
@pytest.mark.parametrize("listener", [None, Events()])
async def test_the_exception_of_a_plain_client_says_how_often_it_was_tried(
    clock: Clock, steps: list[Step], note: str, listener: Events | None
) -> None:
    """As an extension of a response does, with or without a listener."""
    transport = RetryTransport(Scripted(*steps), sleep=clock.sleep, listener=listener)
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("https://api.test/")
    assert caught.value.__notes__ == [note]


@pytest.mark.parametrize("listener", [None, Events()])
@pytest.mark.parametrize("steps", [[silent], [503, silent], [503, httpx.ReadError, silent]])
async def test_a_deadline_around_all_says_how_often_it_was_tried(
    clock: Clock, steps: list[Step], listener: Events | None
) -> None:
    """The layer that raises it does not know; the one that is cancelled does."""
    retries = RetryTransport(Scripted(*steps), policy=AT_ONCE, sleep=clock.sleep, listener=listener)
    with pytest.raises(httpx.TimeoutException) as caught:
        await TimeoutTransport(retries, 0.01).handle_async_request(get())
    made = "1 attempt" if len(steps) == 1 else f"{len(steps)} attempts"
    assert caught.value.__notes__ == [f"walltrack: {made}, and no other because: deadline_passed"]


class Unending(Body):
    """A body that begins and does not end."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"so"
        await anyio.sleep_forever()


async def test_a_deadline_in_a_body_says_how_often_it_was_tried(clock: Clock) -> None:
    """The caller of a plain client has no response that could say it."""
    inner = CircuitBreakerTransport(
        Scripted(503, httpx.Response(200, stream=Unending())), listener=None
    )
    retries = RetryTransport(inner, policy=AT_ONCE, sleep=clock.sleep, listener=Events())
    async with httpx.AsyncClient(transport=TimeoutTransport(retries, 0.01)) as client:
        with pytest.raises(httpx.TimeoutException) as caught:
            await client.get("https://api.test/")
    assert caught.value.__notes__ == [
        "walltrack: 2 attempts, and no other because: deadline_passed"
    ]


async def test_a_report_that_is_used_again_forgets_why_its_last_call_ended(clock: Clock) -> None:
    """Or an error of a later call would give the reason of an earlier one."""
    report = CallReport()
    retries = RetryTransport(Scripted(silent, 503, 200), policy=AT_ONCE, sleep=clock.sleep)
    with pytest.raises(httpx.TimeoutException):
        await TimeoutTransport(retries, 0.01).handle_async_request(
            get(extensions={"walltrack.report": report})
        )
    assert report.stop_reason is StopReason.DEADLINE_PASSED
    await retries.handle_async_request(get(extensions={"walltrack.report": report}))
    assert report == CallReport(2, Delivery.ANSWERED)


async def test_a_time_limit_without_retries_has_no_note() -> None:
    """Nothing inside says how often it was tried."""
    with pytest.raises(httpx.TimeoutException) as caught:
        await TimeoutTransport(Scripted(silent), 0.01).handle_async_request(get())
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    "around",
    [lambda inner: inner, partial(CircuitBreakerTransport, listener=None)],
    ids=["alone", "around a breaker"],
)
async def test_a_body_that_breaks_off_says_so(
    clock: Clock, events: Events, around: Callable[[Any], Any]
) -> None:
    """The caller had a part of it: it was not asked for again, at the first attempt or later."""
    transport = RetryTransport(
        around(Scripted(503, broken(), 200)), sleep=clock.sleep, listener=events
    )
    response = await transport.handle_async_request(get())
    with pytest.raises(httpx.ReadError) as caught:
        await response.aread()
    assert caught.value.__notes__ == ["walltrack: 2 attempts, and no other because: body_broke_off"]
    assert [getattr(event, "attempt", 0) for event in events if event.name == "retry_stopped"] == [
        2
    ]


async def test_a_failed_call_whose_body_breaks_off_is_reported_once(events: Events) -> None:
    """The status has ended the call; the exception has the attempts noted all the same."""
    last = broken()
    last.status_code = 404
    transport = RetryTransport(breaker(Scripted(last)), listener=events)
    response = await transport.handle_async_request(get())
    with pytest.raises(httpx.ReadError) as caught:
        await response.aread()
    assert caught.value.__notes__ == ["walltrack: 1 attempt, and no other because: body_broke_off"]
    assert [getattr(event, "stop_reason", 0) for event in events] == [StopReason.STATUS_NOT_RETRIED]


async def test_a_failed_call_whose_reader_is_cancelled_is_reported_once(events: Events) -> None:
    """The caller gives up a body that tells of a failure."""
    last = httpx.Response(404, stream=Unending())
    transport = RetryTransport(breaker(Scripted(last)), listener=events)
    response = await transport.handle_async_request(get())
    with anyio.move_on_after(0.01):
        await response.aread()
    assert [getattr(event, "stop_reason", 0) for event in events] == [StopReason.STATUS_NOT_RETRIED]


async def test_a_body_that_is_read_to_its_end_or_closed_early_is_no_event(events: Events) -> None:
    """Only an exception is a failure."""
    transport = RetryTransport(
        breaker(Scripted(lambda _: httpx.Response(200, stream=Body(b"so", b"so")))), listener=events
    )
    await read(transport, get())
    await (await transport.handle_async_request(get())).aclose()
    assert events == []


async def test_a_body_whose_reader_is_cancelled_says_so(events: Events) -> None:
    """As a call that is cancelled before."""
    transport = RetryTransport(
        breaker(Scripted(httpx.Response(200, stream=Unending()))), listener=events
    )
    response = await transport.handle_async_request(get())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(response.aread)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [getattr(event, "stop_reason", 0) for event in events] == [StopReason.CANCELLED]


@pytest.mark.parametrize("end", ["in the wait", "in flight"])
async def test_a_call_that_is_cancelled_later_says_how_many_attempts_it_had(
    clock: Clock, events: Events, end: str
) -> None:
    """The attempt that was waited for was not made."""
    sleep = endless_wait if end == "in the wait" else clock.sleep
    transport = RetryTransport(Scripted(503, silent), sleep=sleep, listener=events)
    await cancel(transport, get())
    assert events.names == ["retry_scheduled", "retry_stopped"]
    assert getattr(events[-1], "attempt", 0) == (1 if end == "in the wait" else 2)
    assert getattr(events[-1], "stop_reason", 0) == StopReason.CANCELLED


async def test_a_deadline_that_raises_replaces_no_cancellation(events: Events) -> None:
    """A cancellation by asyncio itself comes only once."""

    class Raising:
        raises = False

        def remaining(self) -> float:
            if self.raises:
                raise ArithmeticError
            return 5.0

    deadline, request = Raising(), get()
    request.extensions["walltrack.deadline"] = deadline
    call = asyncio.create_task(
        RetryTransport(Scripted(silent), listener=events).handle_async_request(request)
    )
    await anyio.wait_all_tasks_blocked()
    deadline.raises = call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [getattr(event, "stop_reason", 0) for event in events] == [StopReason.CANCELLED]


async def test_a_rejection_at_once_has_the_event_of_its_layer_alone(events: Events) -> None:
    """The layer that rejected it said why, and no attempt was made."""
    limit = RateLimitTransport(Scripted(200), 0.001, wait=False, listener=events)
    transport = RetryTransport(limit, listener=events)
    await read(transport, get())
    with pytest.raises(httpx.TransportError) as caught:
        await read(transport, get())
    assert events.names == ["request_rejected"]
    assert not hasattr(caught.value, "__notes__")


async def test_a_listener_that_ends_the_program_is_not_called_again(clock: Clock) -> None:
    """What it raises at a success is no failure of the call."""
    heard = Events()

    def listener(event: Any) -> None:  # noqa: ANN401 - any event
        heard.append(event)
        if isinstance(event, CallSucceededAfterRetries):
            raise KeyboardInterrupt

    transport = RetryTransport(Scripted(503, 200), sleep=clock.sleep, listener=listener)
    with pytest.raises(KeyboardInterrupt):
        await read(transport, get())
    assert heard.names == ["retry_scheduled", "call_succeeded_after_retries"]


async def test_a_policy_of_the_call_is_the_one_that_is_reported(events: Events) -> None:
    """Its number of retries, also if the first attempt was the last."""
    request = get(extensions={"walltrack.retry": RetryPolicy(max_retries=7)})
    await read(RetryTransport(Scripted(404), listener=events), request)
    assert getattr(events[0], "max_retries", 0) == 7


@pytest.mark.parametrize(
    ("script", "stop_reason"),
    [
        ([503, 503], StopReason.RETRIES_EXHAUSTED),
        ([200], None),
        ([503, 200], None),
        ([503, 404], StopReason.STATUS_NOT_RETRIED),
    ],
)
async def test_a_final_response_says_why_it_is_final(
    script: list[int], stop_reason: StopReason | None, clock: Clock
) -> None:
    """A caller that has no listener can tell an exhausted retry from one that was not tried."""
    policy = RetryPolicy(max_retries=1)
    transport = RetryTransport(Scripted(*script), policy=policy, sleep=clock.sleep, listener=None)
    response = await transport.handle_async_request(get())
    assert response.extensions.get("walltrack.stop_reason") is stop_reason
