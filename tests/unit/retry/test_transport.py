import random
import ssl
import uuid
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
import respx
from structlog.testing import capture_logs

from tests.support import (
    URL,
    Body,
    Clock,
    Endless,
    Events,
    Scripted,
    Step,
    get,
    post,
    without_gc,
)
from walltrack import (
    DEFAULT_RETRY_STATUSES,
    Backoff,
    CallSucceededAfterRetries,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitState,
    Classification,
    Delivery,
    Event,
    Outcome,
    RequestRejectedError,
    ResponseTooLargeError,
    RetryBudget,
    RetryPolicy,
    RetryScheduled,
    RetryStopped,
    RetryTransport,
    StopReason,
    TransportClosedError,
)
from walltrack.core.extensions import CallReport
from walltrack.http.body import ReadAhead

asynchronous = pytest.mark.anyio

KEY = "Idempotency-Key"
KEYED = RetryPolicy(non_idempotent="keyed")
WHOLE = {"walltrack.whole_body": True}

RETRIED_STATUSES = [429, 500, 501, 502, 503, 504, 505, 511, 520, 529, 599]
OTHER_STATUSES = [200, 204, 301, 304, 400, 401, 403, 404, 408, 409, 418, 422, 425, 499]

RETRIED_ERRORS = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    httpx.PoolTimeout,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
]
OTHER_ERRORS = [
    httpx.UnsupportedProtocol("scheme"),
    httpx.LocalProtocolError("header"),
    httpx.DecodingError("gzip"),
    httpx.TooManyRedirects("loop"),
    RequestRejectedError("things"),
    CircuitBreakerOpenError("things", 7.0),
    ValueError("a bug"),
]


class Untouchable(Exception):  # noqa: N818 - represents what must not be caught
    """An exception that no policy names."""


class Shut:
    """A gate that is shut for `seconds`, and counts how often it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0

    def shut_for(self) -> float:
        self.asked += 1
        return self.seconds


@pytest.fixture
def make(clock: Clock, events: Events) -> Callable[..., RetryTransport]:
    """Makes a transport that neither waits nor logs."""

    def make(inner: httpx.AsyncBaseTransport, **options: Any) -> RetryTransport:  # noqa: ANN401
        return RetryTransport(inner, **{"sleep": clock.sleep, "listener": events, **options})

    return make


Make = Callable[..., RetryTransport]


def seeded() -> random.Random:
    """A source of random numbers with a fixed seed."""
    return random.Random(7)  # noqa: S311 - spreads waits, guards nothing


def certificate_failure() -> httpx.ConnectError:
    """The exception for a certificate that fails verification."""
    error = httpx.ConnectError("certificate verify failed")
    error.__context__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error


def behind(gate: object, status: int = 503) -> Step:
    """An attempt that fails and leaves `gate`, as a circuit breaker does."""

    def step(request: httpx.Request) -> httpx.Response:
        request.extensions["walltrack.gate"] = gate
        return httpx.Response(status)

    return step


def waiting_for(value: str, status: int = 503) -> httpx.Response:
    """A response that asks to wait."""
    return httpx.Response(status, headers={"Retry-After": value})


def put_once() -> httpx.Request:
    """A PUT whose body can be read once."""

    async def body() -> AsyncIterator[bytes]:
        yield b"on"
        yield b"ce"

    return httpx.Request("PUT", URL, content=body())


def after_reading(outcome: int | Exception) -> Step:
    """An attempt that reads the whole body, and then has this outcome."""

    async def step(request: httpx.Request) -> httpx.Response:
        body: Any = request.stream
        read = b"".join([chunk async for chunk in body])
        if isinstance(outcome, Exception):
            raise outcome
        return httpx.Response(outcome, extensions={"read": read})

    return step


def small(body: Body) -> httpx.Response:
    """A good answer with a body that says it is small."""
    return httpx.Response(200, headers={"Content-Length": "4"}, stream=body)


def keys(transport: Scripted) -> list[str | None]:
    """The idempotency key of every attempt."""
    return [request.headers.get(KEY) for request in transport.requests]


# How often, and after how long


@asynchronous
async def test_three_retries_wait_one_two_and_four_seconds(make: Make, clock: Clock) -> None:
    """Four attempts at most, with the documented waits in between."""
    inner = Scripted(503)
    response = await make(inner).handle_async_request(get())
    assert response.status_code == 503
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert len(inner.requests) == 4


@asynchronous
async def test_a_success_ends_the_retries(make: Make, clock: Clock) -> None:
    """Nothing more is sent once an answer is good."""
    inner = Scripted(503, httpx.ReadTimeout, 200)
    response = await make(inner).handle_async_request(get())
    assert response.status_code == 200
    assert clock.sleeps == [1.0, 2.0]
    assert len(inner.requests) == 3


@asynchronous
@pytest.mark.parametrize("max_retries", [0, 1, 5])
async def test_the_policy_says_how_often(make: Make, max_retries: int) -> None:
    """As many retries as the policy allows, and not one more."""
    inner = Scripted(httpx.ConnectError)
    with pytest.raises(httpx.ConnectError):
        await make(inner, policy=RetryPolicy(max_retries)).handle_async_request(get())
    assert len(inner.requests) == 1 + max_retries


@asynchronous
async def test_jitter_comes_from_the_given_source(make: Make, clock: Clock) -> None:
    """The same seed gives the same waits."""
    policy = RetryPolicy(backoff=Backoff(jitter="full"))
    await make(Scripted(503), policy=policy, rng=seeded()).handle_async_request(get())
    twin = seeded()
    assert clock.sleeps == [twin.uniform(0.0, ceiling) for ceiling in (1.0, 2.0, 4.0)]


@asynchronous
async def test_a_decorrelated_wait_grows_from_the_one_before(make: Make, clock: Clock) -> None:
    """The backoff grows from its own last delay, not from a longer Retry-After."""
    policy = RetryPolicy(backoff=Backoff(cap=100.0, jitter="decorrelated"))
    rng = seeded()
    inner = Scripted(503, waiting_for("50"), 503, 200)
    await make(inner, policy=policy, rng=rng).handle_async_request(get())
    twin = seeded()
    first = twin.uniform(1.0, 3.0)
    second = twin.uniform(1.0, 3.0 * first)
    spread = twin.uniform(0.0, 2.0)
    assert clock.sleeps == [first, 50.0 + spread, twin.uniform(1.0, 3.0 * second)]


# What is retried


@asynchronous
@pytest.mark.parametrize("status", RETRIED_STATUSES)
async def test_a_status_that_says_not_now_is_retried(make: Make, status: int) -> None:
    """429 and every 5xx."""
    inner = Scripted(status, 200)
    assert (await make(inner).handle_async_request(get())).status_code == 200
    assert len(inner.requests) == 2


@asynchronous
@pytest.mark.parametrize("status", OTHER_STATUSES)
async def test_any_other_status_is_an_answer(make: Make, events: Events, status: int) -> None:
    """It is returned at once; for an error status, an event says why it was not retried."""
    inner = Scripted(status)
    assert (await make(inner).handle_async_request(get())).status_code == status
    assert len(inner.requests) == 1
    reason = StopReason.STATUS_NOT_RETRIED
    stopped = [RetryStopped("api.test", "GET", "/things", 1, 3, str(status), reason)]
    assert events == ([] if status < 400 else stopped)


@asynchronous
@pytest.mark.parametrize("error", RETRIED_ERRORS)
async def test_an_error_on_the_way_is_retried(make: Make, error: type[Exception]) -> None:
    """Timeouts, broken connections, failing proxies and malformed responses are retried."""
    inner = Scripted(error, 200)
    assert (await make(inner).handle_async_request(get())).status_code == 200
    assert len(inner.requests) == 2


@asynchronous
@pytest.mark.parametrize("earlier", [(), (503,)], ids=["at first", "later"])
@pytest.mark.parametrize(
    "error", [*OTHER_ERRORS, certificate_failure()], ids=lambda error: type(error).__name__
)
async def test_any_other_error_comes_out_at_once(
    make: Make, earlier: tuple[int, ...], error: Exception
) -> None:
    """It would recur, or is no error of the service; this holds for later attempts, too."""
    inner = Scripted(*earlier, error)
    with pytest.raises(type(error)) as raised:
        await make(inner).handle_async_request(get())
    assert raised.value is error
    assert len(inner.requests) == 1 + len(earlier)


@asynchronous
@pytest.mark.parametrize(
    ("outcome", "policy"),
    [
        (408, RetryPolicy(statuses=DEFAULT_RETRY_STATUSES.plus(408, 425))),
        (425, RetryPolicy(statuses=DEFAULT_RETRY_STATUSES.plus(408, 425))),
        (418, RetryPolicy(statuses={418})),
        (Untouchable, RetryPolicy(exceptions=(Untouchable,))),
    ],
)
async def test_other_sets_can_be_retried(make: Make, outcome: Step, policy: RetryPolicy) -> None:
    """The statuses and exceptions that the policy names are retried instead."""
    inner = Scripted(outcome, 200)
    assert (await make(inner, policy=policy).handle_async_request(get())).status_code == 200
    assert len(inner.requests) == 2


@asynchronous
@pytest.mark.parametrize(
    ("outcomes", "policy"),
    [([503], RetryPolicy(statuses={418})), ([418, 503], RetryPolicy(statuses={418}))],
)
async def test_what_other_sets_leave_out_is_not_retried(
    make: Make, outcomes: list[int], policy: RetryPolicy
) -> None:
    """The sets replace the default, on the first attempt and on later ones."""
    inner = Scripted(*outcomes)
    assert (await make(inner, policy=policy).handle_async_request(get())).status_code == 503
    assert len(inner.requests) == len(outcomes)


# What comes out in the end


@asynchronous
async def test_the_last_response_comes_out_as_it_is(make: Make) -> None:
    """The caller gets the same object, with its body unread."""
    last = httpx.Response(503, stream=Body(b"sorry"))
    assert await make(Scripted(503, 502, 500, last)).handle_async_request(get()) is last
    assert not last.is_closed
    assert await last.aread() == b"sorry"


@asynchronous
async def test_the_last_exception_comes_out_as_it_is(make: Make) -> None:
    """The caller gets the same object, and no other exception in its chain."""
    last = httpx.ReadError("the last")
    inner = Scripted(httpx.ConnectError, 503, httpx.ReadTimeout, last)
    with pytest.raises(httpx.ReadError) as raised:
        await make(inner).handle_async_request(get())
    assert raised.value is last
    assert (last.__cause__, last.__context__) == (None, None)


@asynchronous
@pytest.mark.parametrize(
    ("script", "attempts"),
    [([200], 1), ([404], 1), ([503, 200], 2), ([503, 503, 404], 3), ([503], 4)],
)
async def test_a_response_tells_how_many_attempts_it_took(
    make: Make, script: list[Step], attempts: int
) -> None:
    """Under "walltrack.attempts", whatever the response is."""
    response = await make(Scripted(*script)).handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == attempts


@asynchronous
@pytest.mark.parametrize(("script", "attempts"), [([httpx.ReadError], 4), ([503, ValueError], 2)])
async def test_a_report_tells_the_attempts_of_a_call_that_raised(
    make: Make, script: list[Step], attempts: int
) -> None:
    """An exception has no extensions, but a `CallReport` of the caller has the number."""
    report = CallReport()
    with pytest.raises((httpx.ReadError, ValueError)):
        await make(Scripted(*script)).handle_async_request(
            get(extensions={"walltrack.report": report})
        )
    assert report.attempts == attempts


@asynchronous
@pytest.mark.parametrize(
    ("script", "delivery"),
    [
        ([httpx.ConnectError], Delivery.NOT_SENT),
        ([httpx.ReadTimeout, httpx.ConnectError], Delivery.UNCERTAIN),
        ([503, httpx.ConnectError], Delivery.ANSWERED),
        ([503, httpx.ReadTimeout, httpx.ConnectError], Delivery.UNCERTAIN),
    ],
)
async def test_a_report_tells_what_any_attempt_may_have_done(
    make: Make, script: list[Step], delivery: Delivery
) -> None:
    """A last attempt that was not sent does not change what earlier ones may have done."""
    report = CallReport()
    with pytest.raises(httpx.ConnectError):
        await make(Scripted(*script)).handle_async_request(
            get(extensions={"walltrack.report": report})
        )
    assert report == CallReport(4, delivery)


@asynchronous
async def test_a_report_tells_of_a_body_whose_reading_was_cancelled(make: Make) -> None:
    """The attempt has no outcome, so what the server did is unknown."""

    async def hang() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()

    report = CallReport()
    endless = httpx.Response(404, headers={"content-length": "9"}, content=hang())
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                make(Scripted(endless)).handle_async_request,
                get(extensions={"walltrack.report": report}),
            )
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert report == CallReport(1, Delivery.UNCERTAIN, stop_reason=StopReason.CANCELLED)


@asynchronous
async def test_a_report_of_another_kind_is_left_alone(make: Make) -> None:
    """Any other object under that key is ignored."""
    request = get(extensions={"walltrack.report": "mine"})
    response = await make(Scripted(503, 200)).handle_async_request(request)
    assert response.status_code == 200


@asynchronous
@pytest.mark.parametrize("max_retries", [0, 3])
@pytest.mark.parametrize("script", [[httpx.ReadError], [httpx.ReadError, 503, Untouchable]])
async def test_an_exception_dies_with_its_handler(
    make: Make, script: list[Step], max_retries: int
) -> None:
    """No frame in its traceback holds it, so that no request waits for the garbage collector."""
    transport = make(Scripted(*script), policy=RetryPolicy(max_retries))
    with without_gc():
        try:
            await transport.handle_async_request(get())
        except (httpx.ReadError, Untouchable) as error:
            died = weakref.ref(error)
        assert died() is None


@asynchronous
async def test_a_discarded_exception_dies_before_the_wait(make: Make) -> None:
    """A call that is retried keeps no reference to the exception."""
    discarded: list[weakref.ref[Exception]] = []

    def reset(_: httpx.Request) -> httpx.Response:
        error = httpx.ReadError("reset")
        discarded.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # this frame, too, is in the traceback

    alive: list[bool] = []

    async def sleep(_: float) -> None:
        alive.append(discarded[0]() is not None)

    with without_gc():
        await make(Scripted(reset, 200), sleep=sleep).handle_async_request(get())
    assert alive == [False]


# Events


@asynchronous
async def test_each_retry_is_reported_before_its_wait(
    make: Make, clock: Clock, events: Events
) -> None:
    """The event has service, method, path, attempt, limit, delay and reason, but no query."""
    request = get("https://me:secret@api.test:8443/a?api-key=secret")
    transport = make(Scripted(503, httpx.ReadTimeout, 200), clock=clock)
    await transport.handle_async_request(request)
    assert events == [
        RetryScheduled("api.test:8443", "GET", "/a", 1, 3, 1.0, "503"),
        RetryScheduled("api.test:8443", "GET", "/a", 2, 3, 2.0, "ReadTimeout"),
        CallSucceededAfterRetries("api.test:8443", "GET", "/a", 3, 3.0),
    ]
    assert "secret" not in repr(events)


@asynchronous
async def test_the_end_of_the_retries_is_reported(make: Make, events: Events) -> None:
    """The event has the last outcome, and why there is no retry."""
    await make(Scripted(503)).handle_async_request(get())
    assert events.names == ["retry_scheduled"] * 3 + ["retry_stopped"]
    assert events[-1] == RetryStopped(
        "api.test", "GET", "/things", 4, 3, "503", StopReason.RETRIES_EXHAUSTED
    )
    assert "hunter2" not in repr(events)


@asynchronous
async def test_events_call_the_service_by_its_name(make: Make, events: Events) -> None:
    """A name that the caller gave takes precedence over the host."""
    request = get(extensions={"walltrack.service": "things"})
    await make(Scripted(503)).handle_async_request(request)
    assert {event.service for event in events} == {"things"}


@asynchronous
async def test_an_event_is_emitted_before_the_wait(make: Make, clock: Clock) -> None:
    """The log shows what the call is waiting for while it waits."""
    slept: list[list[float]] = []
    transport = make(Scripted(503, 200), listener=lambda _: slept.append(list(clock.sleeps)))
    await transport.handle_async_request(get())
    assert slept == [[], [1.0]]


@asynchronous
async def test_no_listener_is_needed(make: Make) -> None:
    """Without a listener, calls are retried in the same way."""
    transport = make(Scripted(503), listener=None)
    assert (await transport.handle_async_request(get())).extensions["walltrack.attempts"] == 4


@asynchronous
async def test_a_listener_that_fails_harms_no_call(make: Make) -> None:
    """A listener that raises changes neither the retries nor the response."""

    def broken(event: Event) -> None:
        raise RuntimeError(event.name)

    transport = make(Scripted(503), listener=broken)
    assert (await transport.handle_async_request(get())).extensions["walltrack.attempts"] == 4


@asynchronous
async def test_the_log_is_the_listener_unless_another_is_given(clock: Clock) -> None:
    """An entry for each retry and for their end goes to structlog."""
    with capture_logs() as logs:
        await RetryTransport(Scripted(503), sleep=clock.sleep).handle_async_request(get())
    assert [entry["event"] for entry in logs] == ["retry_scheduled"] * 3 + ["retry_stopped"]
    assert logs[0] == {
        "event": "retry_scheduled",
        "log_level": "warning",
        "service": "api.test",
        "method": "GET",
        "path": "/things",
        "attempt": 1,
        "max_retries": 3,
        "delay": 1.0,
        "failure": "503",
    }


# One call's policy


@asynchronous
async def test_one_call_has_a_policy_of_its_own(make: Make, clock: Clock) -> None:
    """It replaces the whole policy of the transport."""
    policy = RetryPolicy(max_retries=1, backoff=Backoff(base=9.0, cap=9.0), statuses={418})
    request = get(extensions={"walltrack.retry": policy})
    response = await make(Scripted(418)).handle_async_request(request)
    assert response.extensions["walltrack.attempts"] == 2
    assert clock.sleeps == [9.0]


@asynchronous
@pytest.mark.parametrize(
    ("policy", "script", "attempts"),
    [
        (RetryPolicy(statuses={418}), [418, 503], 2),
        (RetryPolicy(exceptions=(Untouchable,)), [Untouchable, Untouchable, 200], 3),
    ],
    ids=["statuses", "exceptions"],
)
async def test_the_policy_of_a_call_holds_for_its_later_attempts(
    make: Make, policy: RetryPolicy, script: list[Step], attempts: int
) -> None:
    """They follow only the call's policy, not the transport's."""
    request = get(extensions={"walltrack.retry": policy})
    response = await make(Scripted(*script)).handle_async_request(request)
    assert response.extensions["walltrack.attempts"] == attempts


@asynchronous
@pytest.mark.parametrize("outcome", [503, httpx.ReadError])
async def test_one_call_can_do_without_retries(make: Make, events: Events, outcome: Step) -> None:
    """There is a single attempt without a key, and the reason is part of normal operation."""
    inner = Scripted(outcome)
    with suppress(httpx.ReadError):
        await make(inner).handle_async_request(post(extensions={"walltrack.retry": False}))
    assert keys(inner) == [None]
    assert [getattr(event, "stop_reason", None) for event in events] == [StopReason.RETRIES_OFF]


@asynchronous
async def test_no_policy_of_its_own_means_that_of_the_transport(make: Make) -> None:
    """None means that no policy was given."""
    inner = Scripted(503)
    await make(inner).handle_async_request(get(extensions={"walltrack.retry": None}))
    assert len(inner.requests) == 4


@asynchronous
@pytest.mark.parametrize("given", [True, 0, 3, "never", {"max_retries": 1}])
async def test_anything_else_as_a_policy_is_refused(make: Make, given: object) -> None:
    """The error names the key, and nothing is sent."""
    inner = Scripted(200)
    with pytest.raises(TypeError, match=r"walltrack\.retry.* RetryPolicy or False"):
        await make(inner).handle_async_request(get(extensions={"walltrack.retry": given}))
    assert inner.requests == []


@pytest.mark.parametrize("policy", [None, False, 3])
def test_a_transport_refuses_what_is_no_policy(policy: Any) -> None:  # noqa: ANN401 - wrong on purpose
    """Where it is given, not on the first failure."""
    with pytest.raises(TypeError, match="policy must be a RetryPolicy"):
        RetryTransport(Scripted(200), policy=policy)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 5}, TypeError, "budget must be a .*RetryBudget"),
        ({"budget": False}, TypeError, "budget must be a .*RetryBudget"),
        ({"sleep": 5}, TypeError, "sleep must be a function"),
        ({"sleep": None}, TypeError, "sleep must be a function"),
        ({"max_response_bytes": 1.5}, TypeError, "max_response_bytes must be a whole number"),
        ({"max_response_bytes": True}, TypeError, "max_response_bytes must be a whole number"),
        ({"max_response_bytes": 0}, ValueError, "max_response_bytes must be at least 1"),
    ],
)
def test_bad_input_is_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Where it is given, not on the first failure."""
    with pytest.raises(error, match=message):
        RetryTransport(Scripted(200), **arguments)


# Retry-After


@asynchronous
@pytest.mark.parametrize(
    ("value", "delay"),
    [("2", 2.0), ("0.5", 1.0), ("0", 1.0), ("60", 60.0), ("-5", 1.0), ("soon", 1.0), ("", 1.0)],
)
async def test_a_server_may_ask_for_a_longer_wait(
    make: Make, clock: Clock, value: str, delay: float
) -> None:
    """The wait is the longer of backoff and Retry-After; a malformed Retry-After is ignored."""
    await make(Scripted(waiting_for(value), 200)).handle_async_request(get())
    assert clock.sleeps == [delay]


@asynchronous
@pytest.mark.parametrize("value", ["3600", "61", "1" + "0" * 400])
async def test_a_wait_that_is_too_long_ends_the_call(
    make: Make, clock: Clock, events: Events, value: str
) -> None:
    """The response is returned at once: its wait is neither kept nor shortened."""
    asking = waiting_for(value, 429)
    assert await make(Scripted(asking)).handle_async_request(get()) is asking
    assert clock.sleeps == []
    assert events == [
        RetryStopped("api.test", "GET", "/things", 1, 3, "429", StopReason.RETRY_AFTER_TOO_LONG)
    ]


@asynchronous
@pytest.mark.parametrize(("later", "delay"), [(7, 7.0), (-7, 1.0)], ids=["to come", "past"])
async def test_a_date_is_measured_by_the_wall_clock(
    make: Make, clock: Clock, later: int, delay: float
) -> None:
    """The time until the date is measured by the injected clock; a past date is ignored."""
    moment = format_datetime(datetime.fromtimestamp(1e9 + later, UTC), usegmt=True)
    transport = make(Scripted(waiting_for(moment), 200), wall_clock=lambda: 1e9)
    await transport.handle_async_request(get())
    assert clock.sleeps == [delay]


@asynchronous
async def test_of_several_waits_the_longest_is_obeyed(make: Make, clock: Clock) -> None:
    """Several Retry-After headers give the longest wait."""
    asking = httpx.Response(503, headers=[("Retry-After", "3"), ("Retry-After", "5")])
    await make(Scripted(asking, 200)).handle_async_request(get())
    assert clock.sleeps == [5.0]


# Discarded responses


@asynchronous
async def test_a_response_that_is_retried_is_released_before_the_wait(make: Make) -> None:
    """Its connection is free again while the call sleeps."""
    body, closes = Body(b"sorry"), list[int]()

    async def sleep(_: float) -> None:
        closes.append(body.closes)

    inner = Scripted(httpx.Response(503, stream=body), 200)
    await make(inner, sleep=sleep).handle_async_request(get())
    assert closes == [1]
    assert (body.read, body.closes) == (5, 1)


@asynchronous
async def test_every_discarded_response_is_released_once(make: Make) -> None:
    """Three are discarded, and the last one is the caller's."""
    bodies = [Body(b"sorry") for _ in range(4)]
    inner = Scripted(*(httpx.Response(503, stream=body) for body in bodies))
    response = await make(inner).handle_async_request(get())
    assert [body.closes for body in bodies] == [1, 1, 1, 0]
    await response.aclose()


@asynchronous
async def test_a_call_cancelled_in_its_sleep_leaves_nothing_open(make: Make) -> None:
    """The cancellation ends the call at once, and no connection is left behind."""
    body = Body(b"sorry")
    inner = Scripted(httpx.Response(503, stream=body), 200)
    with anyio.CancelScope() as scope:

        async def sleep(_: float) -> None:
            scope.cancel()
            await anyio.sleep_forever()

        await make(inner, sleep=sleep).handle_async_request(get())
    assert scope.cancelled_caught
    assert body.closes == 1
    assert len(inner.requests) == 1


@asynchronous
async def test_a_cancelled_attempt_is_not_made_again(make: Make, events: Events) -> None:
    """After its caller has cancelled it, a call makes no further attempt."""
    with anyio.CancelScope() as scope:

        async def cancelled(_: httpx.Request) -> httpx.Response:
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError  # pragma: no cover - the sleep never ends

        inner = Scripted(cancelled)
        await make(inner).handle_async_request(get())
    assert scope.cancelled_caught
    assert len(inner.requests) == 1
    assert [getattr(event, "stop_reason", None) for event in events] == [StopReason.CANCELLED]


# Asking twice safely


@asynchronous
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
@pytest.mark.parametrize("mode", ["keyed", "proven", "always", "never"])
async def test_an_idempotent_method_is_retried_without_a_key(
    make: Make,
    method: str,
    mode: Any,  # noqa: ANN401 - a literal
) -> None:
    """Two such requests have the same effect as one."""
    inner = Scripted(500, httpx.ReadError, 200)
    transport = make(inner, policy=RetryPolicy(non_idempotent=mode))
    await transport.handle_async_request(httpx.Request(method, URL))
    assert keys(inner) == [None] * 3


@asynchronous
@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
async def test_any_other_method_carries_one_key_on_every_attempt(make: Make, method: str) -> None:
    """After a reset it is uncertain whether the server acted; with the key it acts once."""
    inner = Scripted(500, httpx.ReadError, 200)
    await make(inner, policy=KEYED).handle_async_request(httpx.Request(method, URL))
    [key] = set(keys(inner))
    assert key is not None
    assert uuid.UUID(key).version == 4
    assert len(inner.requests) == 3


@asynchronous
async def test_every_call_has_a_key_of_its_own(make: Make) -> None:
    """The same request sent again is a new call."""
    inner, request = Scripted(200), post()
    transport = make(inner, policy=KEYED)
    for _ in range(2):
        await transport.handle_async_request(request)
    assert len(set(keys(inner))) == 2


@asynchronous
async def test_a_key_comes_from_the_given_maker(make: Make) -> None:
    """One key for one call, however many attempts it takes."""
    inner, made = Scripted(503, 503, 200), iter(["first", "second"])
    await make(inner, policy=KEYED, new_key=lambda: next(made)).handle_async_request(post())
    assert keys(inner) == ["first"] * 3


@asynchronous
@pytest.mark.parametrize("name", [KEY, KEY.lower(), KEY.upper()])
async def test_a_key_of_the_caller_is_kept(make: Make, name: str) -> None:
    """It is found in any letter case, and no other key is added."""
    inner = Scripted(503, 200)
    await make(inner).handle_async_request(post(headers={name: "mine"}))
    assert [r.headers.get_list(KEY) for r in inner.requests] == [["mine"]] * 2


@asynchronous
async def test_the_callers_request_is_left_as_it_was(make: Make) -> None:
    """The key is added to a copy, which is the same otherwise."""
    inner, request = Scripted(behind(Shut(0.0)), 200), post(json={"a": 1})
    headers, extensions = request.headers.copy(), dict(request.extensions)
    await make(inner).handle_async_request(request)
    assert (request.headers, request.extensions) == (headers, extensions)
    assert [await r.aread() for r in inner.requests] == [b'{"a":1}'] * 2


@asynchronous
@pytest.mark.parametrize(
    ("mode", "outcome", "attempts"),
    [
        ("keyed", 500, 4),
        ("keyed", httpx.ReadError, 4),
        ("always", 500, 4),
        ("always", httpx.ReadError, 4),
        ("never", 503, 1),
        ("never", httpx.ConnectError, 1),
        ("proven", 429, 4),
        ("proven", 503, 4),
        ("proven", 500, 1),
        ("proven", 502, 1),
        ("proven", httpx.ConnectError, 4),
        ("proven", httpx.ConnectTimeout, 4),
        ("proven", httpx.PoolTimeout, 4),
        ("proven", httpx.ReadTimeout, 1),
        ("proven", httpx.WriteError, 1),
        ("proven", httpx.RemoteProtocolError, 1),
    ],
)
async def test_a_post_is_repeated_as_the_policy_says(
    make: Make,
    mode: Any,  # noqa: ANN401 - a literal
    outcome: Step,
    attempts: int,
) -> None:
    """Under "proven", it is repeated only if the server cannot have acted."""
    inner = Scripted(outcome)
    transport = make(inner, policy=RetryPolicy(non_idempotent=mode))
    with suppress(httpx.TransportError):
        await transport.handle_async_request(post())
    assert len(inner.requests) == attempts


@asynchronous
@pytest.mark.parametrize("mode", ["always", "proven", "never"])
async def test_only_the_keyed_mode_adds_a_key(make: Make, mode: Any) -> None:  # noqa: ANN401 - a literal
    """The other modes send what the caller sent."""
    inner = Scripted(503, 200)
    transport = make(inner, policy=RetryPolicy(non_idempotent=mode))
    await transport.handle_async_request(post())
    assert set(keys(inner)) == {None}


@asynchronous
async def test_a_post_that_is_not_retried_is_reported(make: Make, events: Events) -> None:
    """The event names the method as the reason."""
    transport = make(Scripted(503), policy=RetryPolicy(non_idempotent="never"))
    await transport.handle_async_request(post())
    assert events == [
        RetryStopped("api.test", "POST", "/things", 1, 3, "503", StopReason.METHOD_NOT_RETRIED)
    ]


@asynchronous
@pytest.mark.parametrize("outcome", [503, httpx.WriteError("reset")])
async def test_a_body_that_can_be_read_once_is_sent_once(
    make: Make, events: Events, outcome: int | Exception
) -> None:
    """The outcome is returned unchanged, and an event says why."""
    inner = Scripted(after_reading(outcome))
    ended: int | Exception
    try:
        ended = (await make(inner).handle_async_request(put_once())).status_code
    except httpx.WriteError as error:
        ended = error
    assert ended == outcome
    assert len(inner.requests) == 1
    [event] = events
    assert isinstance(event, RetryStopped)
    assert event.stop_reason is StopReason.BODY_CANNOT_REPLAY


@asynchronous
@pytest.mark.parametrize("outcome", [503, httpx.ConnectError])
async def test_a_body_of_which_nothing_was_taken_may_still_be_sent(
    make: Make, outcome: Step
) -> None:
    """If no attempt has begun to read the body, the next one sends all of it."""
    inner = Scripted(outcome, outcome, after_reading(200))
    response = await make(inner).handle_async_request(put_once())
    assert response.extensions == {"walltrack.attempts": 3, "read": b"once"}


@asynchronous
async def test_a_body_of_which_one_chunk_was_taken_is_not_sent_again(make: Make) -> None:
    """What is left of it is not what the caller wanted to send."""

    async def break_off(request: httpx.Request) -> httpx.Response:
        body: Any = request.stream
        assert await anext(aiter(body)) == b"x"
        await body.aclose()
        raise httpx.WriteError("reset")

    inner = Scripted(break_off, 200)
    with pytest.raises(httpx.WriteError):
        await make(inner).handle_async_request(httpx.Request("PUT", URL, stream=Endless()))
    assert len(inner.requests) == 1


# Bodies of responses


@asynchronous
@pytest.mark.parametrize("error", [httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError])
@pytest.mark.parametrize("earlier", [(), (503,)], ids=["at first", "later"])
async def test_a_small_body_that_breaks_off_is_asked_for_again(
    make: Make, events: Events, earlier: tuple[int, ...], error: type[Exception]
) -> None:
    """It is read inside the attempt, and the broken connection is released."""
    broken, whole = Body(b"so", error("broken")), Body(b"so", b"so")
    inner = Scripted(*earlier, small(broken), small(whole))
    response = await make(inner).handle_async_request(get())
    assert await response.aread() == b"soso"
    assert (broken.closes, whole.closes) == (1, 1)
    *_, last, succeeded = events
    assert isinstance(last, RetryScheduled)
    assert last.failure == error.__name__
    assert succeeded.name == "call_succeeded_after_retries"


@asynchronous
async def test_a_small_body_that_breaks_off_for_good_raises(make: Make) -> None:
    """The last exception is raised, as for any other failure."""
    last = httpx.ReadError("the last")
    bodies = [Body(b"so", error) for error in (*[httpx.ReadError("broken")] * 3, last)]
    with pytest.raises(httpx.ReadError) as raised:
        await make(Scripted(*map(small, bodies))).handle_async_request(get())
    assert raised.value is last
    assert [body.closes for body in bodies] == [1] * 4


@asynchronous
@pytest.mark.parametrize("length", [None, str(1024 * 1024 + 1)])
async def test_any_other_body_streams_through(make: Make, length: str | None) -> None:
    """Nothing is read before its reader asks, so the reader gets its errors."""
    body = Body(b"so", httpx.ReadError("broken"))
    headers = {} if length is None else {"Content-Length": length}
    inner = Scripted(httpx.Response(200, headers=headers, stream=body))
    response = await make(inner).handle_async_request(get())
    assert (body.read, response.is_closed) == (0, False)
    with pytest.raises(httpx.ReadError):
        await response.aread()
    assert len(inner.requests) == 1


@asynchronous
async def test_a_caller_that_wants_the_whole_body_gets_it(make: Make) -> None:
    """A body that breaks off is a failed attempt, also without a Content-Length."""
    broken = httpx.Response(200, stream=Body(b"so", httpx.ReadError("broken")))
    inner = Scripted(broken, httpx.Response(200, stream=Body(b"so", b"so")))
    response = await make(inner).handle_async_request(get(extensions=WHOLE))
    assert await response.aread() == b"soso"
    assert response.extensions["walltrack.attempts"] == 2


@asynchronous
@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("earlier", [(), (503,)], ids=["at first", "later"])
async def test_a_body_beyond_the_limit_raises(
    make: Make, earlier: tuple[int, ...], status: int
) -> None:
    """It raises without a retry, which would get the same; so does a last failure's body."""
    body = Endless()
    inner = Scripted(*earlier, httpx.Response(status, stream=body))
    policy = RetryPolicy(max_retries=len(earlier))
    transport = make(inner, max_response_bytes=5, policy=policy)
    with pytest.raises(ResponseTooLargeError) as raised:
        await transport.handle_async_request(get(extensions=WHOLE))
    assert raised.value.max_bytes == 5
    assert (body.read, body.closes) == (6, 1)
    assert len(inner.requests) == 1 + len(earlier)


@asynchronous
async def test_a_body_of_just_the_limit_is_read(make: Make) -> None:
    """A body as long as the limit is not too long."""
    inner = Scripted(httpx.Response(200, stream=Body(b"soso")))
    transport = make(inner, max_response_bytes=4)
    response = await transport.handle_async_request(get(extensions=WHOLE))
    assert await response.aread() == b"soso"


@asynchronous
async def test_a_streaming_caller_knows_no_limit(make: Make) -> None:
    """A caller that streams the body can stop reading when it is too long."""
    inner = Scripted(httpx.Response(200, stream=Body(b"soso", b"soso")))
    response = await make(inner, max_response_bytes=4).handle_async_request(get())
    assert await response.aread() == b"sosososo"


@asynchronous
async def test_the_body_of_the_last_failure_is_read_whole_if_wanted(make: Make) -> None:
    """If it breaks off, its error is raised, since no attempt is left."""
    last = httpx.Response(503, stream=Body(b"so", httpx.ReadError("broken")))
    with pytest.raises(httpx.ReadError):
        await make(Scripted(503, 503, 503, last)).handle_async_request(get(extensions=WHOLE))


# Gates


@asynchronous
async def test_a_call_never_sleeps_towards_a_shut_gate(
    make: Make, clock: Clock, events: Events
) -> None:
    """It ends at once with the last outcome."""
    inner = Scripted(503, behind(Shut(30.0), 502))
    response = await make(inner).handle_async_request(get())
    assert response.status_code == 502
    assert clock.sleeps == [1.0]
    assert events[-1] == RetryStopped(
        "api.test", "GET", "/things", 2, 3, "502", StopReason.CIRCUIT_OPEN
    )


@asynchronous
async def test_an_open_gate_stops_no_retry(make: Make) -> None:
    """It is asked after each failure, and again before each wait, and lets the call go on."""
    gate = Shut(0.0)
    response = await make(Scripted(behind(gate))).handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 4
    assert gate.asked == 3 * 2 + 1


@asynchronous
@pytest.mark.parametrize("seconds", [0.0, 30.0])
async def test_no_gate_lingers_in_the_callers_request(make: Make, seconds: float) -> None:
    """A request that is sent again is not affected by the gate of an earlier call."""
    request = get()
    await make(Scripted(behind(Shut(seconds)))).handle_async_request(request)
    assert "walltrack.gate" not in request.extensions


@asynchronous
async def test_a_gate_is_good_for_one_failure(make: Make) -> None:
    """The next attempt may have taken another route, and left none."""
    gate = Shut(0.0)
    inner = Scripted(behind(gate), 503)
    await make(inner).handle_async_request(get())
    assert gate.asked == 1 * 2
    assert len(inner.requests) == 4


@asynchronous
@pytest.mark.parametrize("outcome", [503, httpx.ReadError])
async def test_the_gate_of_an_earlier_call_is_dropped(make: Make, outcome: Step) -> None:
    """If the same request was sent before, only a gate of this attempt counts."""
    gate = Shut(30.0)
    request = get(extensions={"walltrack.gate": gate})
    response = await make(Scripted(outcome, 200)).handle_async_request(request)
    assert response.extensions["walltrack.attempts"] == 2
    assert gate.asked == 0
    assert "walltrack.gate" not in request.extensions


# Budget


@asynchronous
async def test_an_empty_budget_ends_the_call(make: Make, clock: Clock, events: Events) -> None:
    """It ends with the last outcome; the retries before were within the budget."""
    budget = RetryBudget(2, refill=0, shared=True)
    response = await make(Scripted(503), budget=budget).handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 3
    assert clock.sleeps == [1.0, 2.0]
    assert events[-1] == RetryStopped(
        "api.test", "GET", "/things", 3, 3, "503", StopReason.BUDGET_EMPTY
    )


@asynchronous
async def test_a_hiccup_long_after_an_outage_is_retried(make: Make, clock: Clock) -> None:
    """A budget that an outage used up fills again with time, also without any success."""
    budget = RetryBudget(2, deposit=0, refill=0.1)
    transport = make(Scripted(503), budget=budget, policy=RetryPolicy(1), clock=clock)
    for _ in range(3):
        await transport.handle_async_request(get())
    assert clock.sleeps == [1.0, 1.0]
    clock.advance(8)
    await transport.handle_async_request(get())
    assert clock.sleeps == [1.0, 1.0, 1.0]


@asynchronous
@pytest.mark.parametrize("script", [[200], [404], [503, 200]])
async def test_a_success_funds_the_budget(make: Make, script: list[Step]) -> None:
    """A response that is not retried funds it, on whichever attempt it comes."""
    budget = RetryBudget(10, deposit=0.5, refill=0, shared=True)
    for _ in range(2):
        budget.withdraw()
    await make(Scripted(*script), budget=budget).handle_async_request(get())
    assert budget.balance == 8.5 - (len(script) - 1)


@asynchronous
@pytest.mark.parametrize("outcome", [503, httpx.ReadError])
async def test_a_failure_funds_no_budget(make: Make, outcome: Step) -> None:
    """A retry takes from the budget, and a failure adds nothing."""
    budget = RetryBudget(10, deposit=0.5, refill=0, shared=True)
    transport = make(Scripted(outcome), budget=budget, policy=RetryPolicy(max_retries=1))
    with suppress(httpx.ReadError):
        await transport.handle_async_request(get())
    assert budget.balance == 9.0


@asynchronous
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_failure_that_is_not_retried_funds_no_budget(make: Make, status: int) -> None:
    """A failure that the policy does not retry is no success, on whichever attempt it comes."""
    budget = RetryBudget(10, deposit=0.5, refill=0, shared=True)
    budget.withdraw()
    transport = make(
        Scripted(status, 418, status), budget=budget, policy=RetryPolicy(statuses={418})
    )
    for balance in (9.0, 8.0):
        assert (await transport.handle_async_request(get())).status_code == status
        assert budget.balance == balance


# Composition


@asynchronous
async def test_the_inner_transport_is_looked_up_for_each_attempt(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch of the transport, as by mocking libraries, also affects a running call."""
    inner, patched = Scripted(503), Scripted(200)

    async def patch(_: float) -> None:
        monkeypatch.setattr(inner, "handle_async_request", patched.handle_async_request)

    response = await make(inner, sleep=patch).handle_async_request(get())
    assert response.status_code == 200
    assert (len(inner.requests), len(patched.requests)) == (1, 1)


@asynchronous
async def test_around_a_breaker_each_attempt_counts(make: Make, clock: Clock) -> None:
    """The fifth failure in a row opens the circuit, and the call that meets it ends there."""
    inner, breaker = Scripted(503), CircuitBreaker(clock=clock)
    transport = make(CircuitBreakerTransport(inner, breaker=breaker, listener=None))
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).extensions["walltrack.attempts"] == 4
        assert breaker.failure_count == 4
        last = await client.get(URL)
        assert (last.status_code, last.extensions["walltrack.attempts"]) == (503, 1)
        assert breaker.state is CircuitState.OPEN
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(URL)
    assert len(inner.requests) == 5
    assert clock.sleeps == [1.0, 2.0, 4.0]


@asynchronous
async def test_a_circuit_that_somebody_else_opened_ends_the_call(make: Make, clock: Clock) -> None:
    """The current state of the breaker counts, not the state after the attempt."""
    breaker = CircuitBreaker(failure_threshold=2, clock=clock)

    def fail(_: httpx.Request) -> httpx.Response:
        breaker.record_failure()
        breaker.record_failure()
        return httpx.Response(503)

    inner = Scripted(fail)
    transport = make(CircuitBreakerTransport(inner, breaker=breaker, listener=None))
    assert (await transport.handle_async_request(get())).status_code == 503
    assert len(inner.requests) == 1
    assert clock.sleeps == []


@asynchronous
async def test_a_circuit_that_opens_during_the_wait_refuses_the_next_attempt(make: Make) -> None:
    """The rejection is raised, and nothing more is sent."""
    inner, breaker = Scripted(503), CircuitBreaker(failure_threshold=2)

    async def sleep(_: float) -> None:
        breaker.record_failure()

    transport = make(CircuitBreakerTransport(inner, breaker=breaker, listener=None), sleep=sleep)
    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(get())
    assert len(inner.requests) == 1


@asynchronous
async def test_inside_a_breaker_a_whole_call_counts_once(make: Make, clock: Clock) -> None:
    """In this order, the breaker counts only calls that still fail after their retries."""
    inner, breaker = Scripted(503), CircuitBreaker(failure_threshold=2, clock=clock)
    transport = CircuitBreakerTransport(make(inner), breaker=breaker, listener=None)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).extensions["walltrack.attempts"] == 4
        assert breaker.failure_count == 1
        assert (await client.get(URL)).extensions["walltrack.attempts"] == 4
        with pytest.raises(CircuitBreakerOpenError):
            await client.get(URL)
    assert len(inner.requests) == 8


@asynchronous
async def test_a_client_mocked_by_respx_is_still_retried(clock: Clock) -> None:
    """Since respx patches beneath the default transport, the retries are used."""
    with respx.mock:
        route = respx.get("https://api.test/things")
        route.mock(side_effect=[httpx.Response(503), httpx.ConnectError, httpx.Response(200)])
        transport = RetryTransport(sleep=clock.sleep, listener=None)
        async with httpx.AsyncClient(transport=transport) as client:
            response = await client.get(URL)
    assert response.extensions["walltrack.attempts"] == 3
    assert route.call_count == 3


@asynchronous
@pytest.mark.parametrize("error", [*RETRIED_ERRORS, httpx.UnsupportedProtocol])
async def test_httpx_error_catches_any_failure_of_a_plain_client(
    make: Make, error: type[Exception]
) -> None:
    """Code that knows only httpx handles it, and finds the request in it."""
    async with httpx.AsyncClient(transport=make(Scripted(error))) as client:
        request = client.build_request("POST", URL)
        with pytest.raises(httpx.HTTPError) as raised:
            await client.send(request)
    assert raised.value.request is request


@asynchronous
async def test_httpx_error_catches_an_open_circuit(make: Make) -> None:
    """A rejection is an `httpx.TransportError` with the request."""
    breaker = CircuitBreaker(failure_threshold=1)
    breaker.record_failure()
    inner = CircuitBreakerTransport(Scripted(200), breaker=breaker, listener=None)
    async with httpx.AsyncClient(transport=make(inner)) as client:
        request = client.build_request("POST", URL)
        with pytest.raises(httpx.HTTPError) as raised:
            await client.send(request)
    assert isinstance(raised.value, CircuitBreakerOpenError)
    assert raised.value.request is request


def test_a_transport_shows_what_it_wraps() -> None:
    """Its repr has the inner transport, and what differs from the default policy."""
    policy = RetryPolicy(max_retries=5, statuses={503})
    assert repr(RetryTransport(Scripted(200))) == "RetryTransport(Scripted(), policy=RetryPolicy())"
    assert repr(RetryTransport(Scripted(200), policy=policy)) == (
        "RetryTransport(Scripted(), policy=RetryPolicy(max_retries=5, statuses=<503>))"
    )


@pytest.mark.anyio
async def test_an_attempt_that_is_cancelled_may_have_been_acted_on(clock: Clock) -> None:
    """The report does not say "not sent" because the attempt before the cancelled one was not."""
    report = CallReport()
    with anyio.CancelScope() as scope:

        async def hang(_: httpx.Request) -> httpx.Response:
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        transport = RetryTransport(Scripted(httpx.ConnectError, hang), sleep=clock.sleep)
        await transport.handle_async_request(get(extensions={"walltrack.report": report}))
    assert (report.attempts, report.delivery) == (2, Delivery.UNCERTAIN)


@pytest.mark.anyio
async def test_a_circuit_that_opens_while_a_response_is_let_go_is_not_slept_towards(
    clock: Clock,
) -> None:
    """The gate is checked again right before the wait, and the next attempt is rejected."""
    gate = Shut(0.0)

    class Closing(Body):
        async def aclose(self) -> None:
            gate.seconds = 30.0  # another caller's failure opens the circuit
            await super().aclose()

    def fail(request: httpx.Request) -> httpx.Response:
        request.extensions["walltrack.gate"] = gate
        return httpx.Response(503, stream=Closing(b"busy"))

    transport = RetryTransport(
        Scripted(fail, CircuitBreakerOpenError("things", 30.0)), sleep=clock.sleep
    )
    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(get())
    assert clock.sleeps == []


# Attempts are numbered, transports are closed, deadlines may be numbers


@asynchronous
@pytest.mark.parametrize("request_of", [get, post], ids=["plain", "copied"])
async def test_each_attempt_knows_its_number_before_it_is_sent(
    make: Make, request_of: Callable[[], httpx.Request]
) -> None:
    """A layer inside reads it from the request: 1, 2, 3."""
    numbers: list[int] = []

    def note(request: httpx.Request) -> httpx.Response:
        numbers.append(request.extensions["walltrack.attempt"])
        return httpx.Response(503)

    always = RetryPolicy(max_retries=2, non_idempotent="always")
    await make(Scripted(note), policy=always).handle_async_request(request_of())
    assert numbers == [1, 2, 3]


@asynchronous
async def test_a_transport_around_itself_works(make: Make) -> None:
    """The body is read ahead once, by the inner one, and arrives complete."""
    body = Body(b"one", b"two")
    answer = httpx.Response(200, headers={"content-length": "6"}, stream=body)
    nested = make(make(make(Scripted(503, answer))))
    async with httpx.AsyncClient(transport=nested) as client:
        assert (await client.get(URL)).content == b"onetwo"
    assert (body.read, body.closes) == (6, 1)


@asynchronous
@pytest.mark.parametrize("is_shut", [True, False])
async def test_a_transport_closed_while_a_response_is_discarded_sends_nothing_more(
    is_shut: bool,  # noqa: FBT001 - a column
) -> None:
    """This holds also if the retry would not wait, with a backoff of 0 or an open circuit."""
    gate = Shut(0.0)

    class Closing(Body):
        async def aclose(self) -> None:
            await super().aclose()
            gate.seconds = 30.0 * is_shut
            await transport.aclose()

    def fail(request: httpx.Request) -> httpx.Response:
        request.extensions["walltrack.gate"] = gate
        return httpx.Response(503, stream=Closing(b"busy"))

    inner = Scripted(fail, 200)
    policy = RetryPolicy(backoff=Backoff(base=1.0 * is_shut))
    transport = RetryTransport(inner, policy=policy, listener=None)
    with pytest.raises(TransportClosedError):
        await transport.handle_async_request(get())
    assert len(inner.requests) == 1


@asynchronous
async def test_closing_ends_a_backoff_and_what_waits_sends_nothing_more() -> None:
    """The call ends at once, with an error that says why; a later call is served."""
    inner = Scripted(503, 200)
    transport = RetryTransport(inner, sleep=lambda _: anyio.sleep_forever(), listener=None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails_by_closing, transport)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()
    assert len(inner.requests) == 1

    assert (await transport.handle_async_request(get())).status_code == 200


async def fails_by_closing(transport: RetryTransport) -> None:
    """Make a call that the closing of its transport ends."""
    with pytest.raises(TransportClosedError, match="the transport was closed"):
        await transport.handle_async_request(get())


@asynchronous
@pytest.mark.parametrize("failure", [503, httpx.ReadError])
async def test_a_call_that_fails_after_the_closing_is_not_retried(
    make: Make, events: Events, failure: Step
) -> None:
    """It gets the last outcome, also if the transport was opened again meanwhile."""
    answering = anyio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        await answering.wait()
        if isinstance(failure, int):
            return httpx.Response(failure)
        raise httpx.ReadError("closed")

    inner = Scripted(answer)
    transport = make(inner)
    ended: list[object] = []

    async def call() -> None:
        try:
            ended.append((await transport.handle_async_request(get())).status_code)
        except httpx.ReadError as error:
            ended.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()
        answering.set()
    assert ended == [failure]
    assert len(inner.requests) == 1
    (stopped,) = events
    assert isinstance(stopped, RetryStopped)
    assert stopped.stop_reason is StopReason.TRANSPORT_CLOSED


@asynchronous
async def test_a_number_of_seconds_is_a_deadline(clock: Clock, make: Make, events: Events) -> None:
    """It counts from the beginning: waits of 1 and 2 s fit into 5 s, one of 4 s does not."""
    inner, request = Scripted(503), get(extensions={"walltrack.deadline": 5})
    response = await make(inner, clock=clock).handle_async_request(request)
    assert response.status_code == 503
    assert clock.sleeps == [1.0, 2.0]
    assert isinstance(events[-1], RetryStopped)
    assert events[-1].stop_reason is StopReason.DEADLINE_TOO_CLOSE


@asynchronous
@pytest.mark.parametrize(
    ("given", "error"),
    [("5", TypeError), (True, TypeError), (object(), TypeError), (-1, ValueError)],
)
async def test_what_is_no_deadline_is_refused_before_anything_is_sent(
    make: Make, given: object, error: type[Exception]
) -> None:
    """The message names the extension."""
    inner = Scripted(200)
    with pytest.raises(error, match=r"extensions\['walltrack.deadline'\] must be"):
        await make(inner).handle_async_request(get(extensions={"walltrack.deadline": given}))
    assert inner.requests == []


@asynchronous
@pytest.mark.parametrize(("mode", "attempts"), [("small", 1), ("whole", 2), ("stream", 1)])
async def test_a_transport_says_which_bodies_are_part_of_the_attempt(
    make: Make, mode: ReadAhead, attempts: int
) -> None:
    """A body without a length that breaks off is retried if the whole is part of the attempt."""
    broken = httpx.Response(200, stream=Body(b"one", httpx.ReadError("reset")))
    good = httpx.Response(200, stream=Body(b"one", b"two"))
    inner = Scripted(broken, good)
    async with httpx.AsyncClient(transport=make(inner, body=mode)) as client:
        if attempts == 1:
            with pytest.raises(httpx.ReadError):
                await client.get(URL)
        else:
            assert (await client.get(URL)).content == b"onetwo"
    assert len(inner.requests) == attempts


def test_another_word_for_the_body_is_refused() -> None:
    """The error names the values that exist."""
    with pytest.raises(ValueError, match="body must be one of 'small', 'whole', 'stream'; got 'al"):
        RetryTransport(Scripted(200), body="all")  # type: ignore[arg-type]


# What a response means


@asynchronous
async def test_a_conflict_after_an_uncertain_attempt_is_retried(make: Make) -> None:
    """The first attempt may still be in progress: with the same key, 409 says so."""
    inner = Scripted(httpx.ReadError, 409, 201)
    response = await make(inner, policy=KEYED).handle_async_request(post())
    assert response.status_code == 201
    assert len(set(keys(inner))) == 1


@asynchronous
@pytest.mark.parametrize("first", [503, httpx.ConnectError])
async def test_a_conflict_after_an_attempt_that_did_not_act_is_the_answer(
    make: Make, first: Step
) -> None:
    """No attempt of this call can be in progress, so the 409 is returned."""
    inner = Scripted(first, 409, 201)
    response = await make(inner, policy=KEYED).handle_async_request(post())
    assert response.status_code == 409
    assert len(inner.requests) == 2


@asynchronous
async def test_a_final_conflict_leaves_open_whether_the_first_attempt_acted(make: Make) -> None:
    """The report says so, whatever the last answer was."""
    report = CallReport()
    request = post(extensions={"walltrack.report": report})
    response = await make(Scripted(httpx.ReadError, 409), policy=KEYED).handle_async_request(
        request
    )
    assert response.status_code == 409
    assert report.delivery is Delivery.UNCERTAIN
    assert report.idempotency_key is not None


@asynchronous
@pytest.mark.parametrize("steps", [[200], [404], [503, 200]])
async def test_a_response_shows_the_key_of_its_call(make: Make, steps: list[Step]) -> None:
    """Whatever its status, and on the first attempt, too; other calls show none."""
    inner = Scripted(*steps)
    response = await make(inner, policy=KEYED).handle_async_request(post())
    assert response.extensions["walltrack.idempotency_key"] == inner.requests[-1].headers[KEY]
    plain = await make(Scripted(200), policy=KEYED).handle_async_request(get())
    assert "walltrack.idempotency_key" not in plain.extensions


@asynchronous
@pytest.mark.parametrize(
    ("status", "hint", "attempts"),
    [
        (503, "false", 1),
        (409, "true", 2),
        (409, " TRUE ", 2),
        (409, "maybe", 1),
        (503, "maybe", 2),
    ],
)
async def test_a_server_may_say_whether_to_retry(
    make: Make, status: int, hint: str, attempts: int
) -> None:
    """`x-should-retry` decides; other values are ignored."""
    inner = Scripted(httpx.Response(status, headers={"x-should-retry": hint}), 200)
    await make(inner).handle_async_request(get())
    assert len(inner.requests) == attempts


QUOTA = b'{"error": {"code": "insufficient_quota"}}'


def by_body(outcome: Outcome) -> Classification | None:
    """A classifier for an API that states errors in the body."""
    said = outcome.json()
    if not isinstance(said, dict):
        return None
    if said.get("error", {}).get("code") == "insufficient_quota":
        return Classification(retry=False, failure=False)
    if said.get("errors"):
        return Classification(retry=True, failure=True, retry_after=7.0)
    return None


@asynchronous
async def test_a_classifier_ends_what_no_retry_can_mend(make: Make) -> None:
    """The response is returned with its body, and funds the budget as a success."""
    budget = RetryBudget(2, deposit=0.5, refill=0, shared=True)
    budget.withdraw()
    inner = Scripted(httpx.Response(429, stream=Body(QUOTA)), 200)
    transport = make(inner, classify=by_body, budget=budget)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get(URL)
    assert (response.status_code, response.content) == (429, QUOTA)
    assert len(inner.requests) == 1
    assert budget.balance == 1.5


@asynchronous
async def test_a_classifier_retries_what_looks_well(make: Make, clock: Clock) -> None:
    """A 200 response with errors is retried, after the wait that the classifier returns."""
    sick = httpx.Response(200, stream=Body(b'{"errors": [1]}'), headers={"content-length": "15"})
    inner = Scripted(sick, 200)
    response = await make(inner, classify=by_body).handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 2
    assert clock.sleeps == [7.0]


@asynchronous
async def test_a_classifier_sees_exceptions_and_the_number_of_the_attempt(make: Make) -> None:
    """Its classification of an exception is used, too."""
    seen: list[tuple[str, int]] = []

    def classify(outcome: Outcome) -> Classification | None:
        seen.append((type(outcome.error).__name__, outcome.attempt))
        return Classification(retry=outcome.attempt < 2)

    with pytest.raises(httpx.ReadTimeout):
        await make(Scripted(httpx.ReadTimeout), classify=[classify]).handle_async_request(get())
    assert seen == [("ReadTimeout", 1), ("ReadTimeout", 2)]


@asynchronous
async def test_a_classifier_may_know_that_the_server_did_not_act(make: Make) -> None:
    """A POST is retried if the classifier says so, and not otherwise."""

    def classify(_: Outcome) -> Classification:
        return Classification(retry=True, delivery=Delivery.NOT_SENT)

    inner = Scripted(400, 201)
    response = await make(inner, classify=classify).handle_async_request(post())
    assert response.status_code == 201
    unsure = Scripted(400, 201)
    await make(unsure, classify=lambda _: Classification(retry=True)).handle_async_request(post())
    assert len(unsure.requests) == 1


@asynchronous
async def test_a_classifier_that_raises_changes_nothing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is returned, the table decides, and the exception is logged once."""
    inner = Scripted(503, 200)
    transport = make(inner, classify=lambda _: 1 / 0)
    for _ in range(2):
        assert (await transport.handle_async_request(get())).status_code == 200
    (record,) = caplog.records
    assert record.name == "walltrack"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


@asynchronous
async def test_a_body_that_breaks_off_before_it_is_classified_is_retried(make: Make) -> None:
    """The broken body is the outcome of the attempt."""
    broken = httpx.Response(429, stream=Body(b"so", httpx.ReadError("reset")))
    inner = Scripted(broken, 200)
    response = await make(inner, classify=by_body).handle_async_request(get())
    assert response.status_code == 200


def test_a_classifier_must_be_a_function_or_several() -> None:
    """The message names the option."""
    with pytest.raises(TypeError, match="classify must be a function"):
        RetryTransport(Scripted(200), classify="github")  # type: ignore[arg-type]


# The time that the caller has


@asynchronous
async def test_a_retry_that_the_caller_will_not_wait_for_is_not_begun(events: Events) -> None:
    """If the caller's scope ends before the wait does, the last outcome is returned at once."""
    transport = RetryTransport(Scripted(503), listener=events)
    with anyio.fail_after(0.5):
        response = await transport.handle_async_request(get())
    assert response.status_code == 503
    (stopped,) = events
    assert isinstance(stopped, RetryStopped)
    assert stopped.stop_reason is StopReason.DEADLINE_TOO_CLOSE
