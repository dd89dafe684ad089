import enum
import importlib
import sys
from contextlib import suppress
from functools import partial
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from tests.fleet.fake_store import FakeStore
from tests.recorded import Recorded
from tests.support import Clock, Events, Scripted, get, post
from walltrack import (
    CircuitBreaker,
    CircuitBreakerTransport,
    CircuitClosed,
    ConcurrencyLimitTransport,
    HedgingTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    WaitingRoomTransport,
    resilient_transport,
)
from walltrack.fleet import SharedStateLost, SharedStateRecovered
from walltrack.telemetry.otel import OpenTelemetryListener

pytestmark = pytest.mark.anyio

PLACE = {"walltrack.service": "api.test", "server.address": "api.test", "server.port": 443}


@pytest.fixture
def recorded() -> Recorded:
    """What is recorded."""
    return Recorded()


def listening(recorded: Recorded, **options: Any) -> OpenTelemetryListener:  # noqa: ANN401 - handed on
    """The listener under test, without a log."""
    return OpenTelemetryListener(recorded.meters, **{"listener": None, **options})


async def at_once(_: float) -> None:
    """Wait for nothing."""


async def test_calls_retries_and_rejections_are_counted(recorded: Recorded) -> None:
    """The attributes are server, method and failure, never a path."""
    stack = resilient_transport(
        Scripted(503, httpx.ReadTimeout, 200, 404, *[503] * 5),
        budget=None,
        breaker=CircuitBreaker(),
        waiting_room=None,
        sleep=at_once,
        listener=listening(recorded),
    )
    async with httpx.AsyncClient(transport=stack) as client:
        await client.get("https://api.test/secret")
        await client.get("https://api.test/other")
        for _ in range(2):
            await client.get("https://api.test/")
        with pytest.raises(httpx.TransportError):
            await client.post("https://api.test/")

    get_, post_ = ({**PLACE, "http.request.method": method} for method in ("GET", "POST"))
    assert recorded.points("walltrack.retries") == [
        ({**get_, "error.type": "503"}, 4),
        ({**get_, "error.type": "ReadTimeout"}, 1),
    ]
    assert recorded.points("walltrack.rejected") == [
        ({**post_, "walltrack.reason": "circuit_open"}, 1)
    ]
    assert recorded.by("walltrack.call.duration", "http.request.method", "error.type") == {
        ("GET", None): 1,
        ("GET", "404"): 1,
        ("GET", "503"): 2,
        ("POST", "CircuitBreakerOpenError"): 1,
    }


async def test_a_call_is_measured_with_its_waits(recorded: Recorded, clock: Clock) -> None:
    """The duration is in seconds, with buckets for seconds."""
    listener = listening(recorded, clock=clock)
    transport = RetryTransport(Scripted(503, 503, 200), sleep=clock.sleep, listener=listener)
    await transport.handle_async_request(get())
    data: Any = recorded._reader.get_metrics_data()  # noqa: SLF001 - a test of the SDK's data
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    metric = metrics["walltrack.call.duration"]
    [point] = metric.data.data_points
    assert metric.unit == "s"
    assert (point.sum, point.count) == (3.0, 1)
    assert point.explicit_bounds[-1] == 60.0


async def test_the_service_is_named_as_the_caller_does(recorded: Recorded) -> None:
    """With the address of its server beside it."""
    transport = CircuitBreakerTransport(
        Scripted(503), failure_threshold=1, listener=listening(recorded)
    )
    request = get("http://10.0.0.1:8080/x", extensions={"walltrack.service": "prices"})
    await transport.handle_async_request(request)
    place = {
        "walltrack.service": "prices",
        "server.address": "10.0.0.1",
        "server.port": 8080,
    }
    assert recorded.points("walltrack.call.duration") == [
        ({**place, "http.request.method": "GET", "error.type": "503"}, 1)
    ]
    assert recorded.points("walltrack.circuit.state") == [(place, 2)]
    [(attributes, _)] = recorded.points("walltrack.circuit.transitions")
    assert place.items() <= attributes.items()


async def test_a_circuit_is_followed_through_its_states(recorded: Recorded, clock: Clock) -> None:
    """Each transition is counted, also a manual one, and the gauge shows where it is."""
    transport = CircuitBreakerTransport(
        Scripted(503, 503, 200),
        failure_threshold=1,
        clock=clock,
        listener=listening(recorded),
    )
    states: list[Any] = []

    def look() -> None:
        states.extend(value for _, value in recorded.points("walltrack.circuit.state"))

    await transport.handle_async_request(get())
    look()
    clock.advance(30)
    look()
    await transport.handle_async_request(get())
    clock.advance(30)
    await transport.handle_async_request(get())
    look()
    breaker = transport.breaker_for("https://api.test")
    breaker.force_open()
    breaker.force_open()
    look()
    breaker.reset()

    assert states == [2, 1, 0, 2]
    for attributes, _ in recorded.points("walltrack.circuit.transitions"):
        assert {type(value) for value in attributes.values()} == {str, int}  # what exporters know
    way = ("walltrack.circuit.from", "walltrack.circuit.to", "walltrack.circuit.mode")
    assert recorded.by("walltrack.circuit.transitions", *way) == {
        ("closed", "open", "automatic"): 1,
        ("open", "half_open", "automatic"): 2,
        ("half_open", "open", "automatic"): 1,
        ("half_open", "closed", "automatic"): 1,
        ("closed", "open", "forced_open"): 1,
        ("open", "closed", "automatic"): 1,
    }


async def send(*transports: httpx.AsyncBaseTransport) -> None:
    """Send a request through each, whatever comes of it."""
    for transport in transports:
        with suppress(httpx.TransportError):
            await transport.handle_async_request(get())


async def test_a_circuit_that_follows_its_fleet_counts_where_it_came_from(
    recorded: Recorded, clock: Clock
) -> None:
    """Each change begins where the last one led, whichever process sent the probe."""
    store, answer = FakeStore(clock), {"status": 503}

    async def service(_: httpx.Request) -> httpx.Response:
        if answer["status"] == 0:
            await anyio.sleep_forever()
        return httpx.Response(answer["status"])

    def ways() -> dict[Any, Any]:
        way = ("walltrack.circuit.from", "walltrack.circuit.to")
        return recorded.by("walltrack.circuit.transitions", *way)

    other, ours = (
        CircuitBreakerTransport(
            Scripted(service), failure_threshold=2, clock=clock, shared=store, listener=listener
        )
        for listener in (None, listening(recorded))
    )
    await send(other, ours, ours)
    assert ways() == {("closed", "open"): 1}

    clock.advance(30)
    await send(other, ours)  # the probe of the other one fails: ours is open, as it was
    assert ways() == {("closed", "open"): 1}

    clock.advance(30)
    answer["status"] = 0
    with anyio.move_on_after(0.01):  # our probe is given back
        await send(ours)
    answer["status"] = 503
    await send(other, ours)  # the other one's fails
    assert ways() == {("closed", "open"): 1, ("open", "half_open"): 1, ("half_open", "open"): 1}

    clock.advance(30)
    answer["status"] = 200
    await send(other, ours)
    assert ways() == {
        ("closed", "open"): 1,
        ("open", "half_open"): 1,
        ("half_open", "open"): 1,
        ("open", "closed"): 1,
    }
    assert recorded.by("walltrack.circuit.state", "server.address") == {"api.test": 0}


@pytest.mark.parametrize("keys", [False, True])
async def test_keys_are_attributes_only_on_request(recorded: Recorded, *, keys: bool) -> None:
    """Each would be a time series of its own; without them, the worst circuit is shown."""
    transport = CircuitBreakerTransport(
        Scripted(503, 200),
        failure_threshold=1,
        key=lambda request: request.headers["x-tenant"],
        listener=listening(recorded, keys=keys),
    )
    for tenant in ("acme", "globex"):
        await transport.handle_async_request(get(headers={"x-tenant": tenant}))
    transport.breaker_for(get(headers={"x-tenant": "globex"}))
    shown = recorded.by("walltrack.circuit.state", "walltrack.key")
    assert shown == ({"acme": 2, "globex": 0} if keys else {None: 2})
    assert recorded.by("walltrack.circuit.transitions", "walltrack.key") == (
        {"acme": 1} if keys else {None: 1}
    )


async def test_a_shared_breaker_has_the_name_of_its_service(recorded: Recorded) -> None:
    """Since it belongs to no origin, the name of the service is used."""
    kept = CircuitBreakerTransport(
        Scripted(200), breaker=CircuitBreaker(service="prices"), listener=listening(recorded)
    )
    assert recorded.points("walltrack.circuit.state") == [({"walltrack.service": "prices"}, 0)]
    del kept


async def test_queues_and_budgets_are_gauges(recorded: Recorded, clock: Clock) -> None:
    """How many wait in which queue, and how many retries are left."""
    go = anyio.Event()

    async def held(_: httpx.Request) -> httpx.Response:
        await go.wait()
        return httpx.Response(200)

    listener = listening(recorded)
    limit = ConcurrencyLimitTransport(Scripted(held), 1, listener=listener)
    rate = RateLimitTransport(Scripted(200), 0.1, listener=listener)
    await rate.handle_async_request(get())
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(limit.handle_async_request, get())
        for _ in range(4):
            tasks.start_soon(rate.handle_async_request, get())
        await anyio.wait_all_tasks_blocked()
        waiting = recorded.by("walltrack.queue.waiting", "walltrack.queue", "server.address")
        tasks.cancel_scope.cancel()
    assert waiting == {("concurrency_limit", None): 2, ("rate_limit", "api.test"): 4}

    retrying = RetryTransport(
        Scripted(503, 503, 200),
        budget=RetryBudget(10, refill=0, deposit=0),
        sleep=at_once,
        clock=clock,
        listener=listener,
    )
    assert recorded.points("walltrack.retry_budget.balance") == []
    await retrying.handle_async_request(get())
    assert recorded.by("walltrack.retry_budget.balance", "server.address") == {"api.test": 8}


async def test_waits_in_queues_are_measured_and_are_on_the_span_of_the_caller(
    recorded: Recorded, clock: Clock
) -> None:
    """Of the standard stack as well: for an open circuit, and for a limit of the server."""
    slow_down = httpx.Response(429, headers={"retry-after": "30"})
    stack = resilient_transport(
        Scripted(503, 200, slow_down, 200),
        retry=None,
        breaker=partial(
            CircuitBreakerTransport,
            failure_threshold=1,
            statuses={503},
            cooldown=0.02,
            listener=None,
        ),
        waiting_room=partial(WaitingRoomTransport, max_wait=5.0, listener=listening(recorded)),
        rate_limit=partial(
            RateLimitTransport, clock=clock, sleep=clock.sleep, listener=listening(recorded)
        ),
    )
    with recorded.tracers.get_tracer("t").start_as_current_span("caller"):
        for _ in range(4):
            await stack.handle_async_request(get())

    [span] = recorded.spans
    waits = [event for event in span.events if event.name == "walltrack.request_admitted"]
    assert [(event.attributes or {})["walltrack.queue"] for event in waits] == [
        "waiting_room",
        "rate_limit",
    ]
    assert (waits[1].attributes or {})["walltrack.waited"] == 30.0
    here = {**PLACE, "http.request.method": "GET"}
    assert recorded.points("walltrack.queue.duration") == [
        ({**here, "walltrack.queue": "rate_limit"}, 1),
        ({**here, "walltrack.queue": "waiting_room"}, 1),
    ]


async def test_hedges_are_counted(recorded: Recorded) -> None:
    """Each second attempt counts as a hedge."""

    async def slow(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError  # pragma: no cover - it is cancelled

    transport = HedgingTransport(Scripted(slow, 200), 0.0, listener=listening(recorded))
    await transport.handle_async_request(get())
    assert recorded.points("walltrack.hedges") == [({**PLACE, "http.request.method": "GET"}, 1)]


async def test_what_is_not_retried_is_counted_by_its_reason(recorded: Recorded) -> None:
    """Once for each call that failed finally."""
    transport = RetryTransport(
        Scripted(404, 503, 503, 200, 500),
        policy=RetryPolicy(max_retries=1),
        sleep=at_once,
        listener=listening(recorded),
    )
    for request in (get(), get(), get(), post()):
        await transport.handle_async_request(request)
    way = ("http.request.method", "walltrack.reason")
    assert recorded.by("walltrack.not_retried", *way) == {
        ("GET", "status_not_retried"): 1,
        ("GET", "retries_exhausted"): 1,
        ("POST", "method_not_retried"): 1,
    }


async def test_throttled_origins_are_counted(recorded: Recorded) -> None:
    """By the header that asked for it."""
    answer = httpx.Response(429, headers={"retry-after": "30"})
    transport = RateLimitTransport(Scripted(answer), listener=listening(recorded))
    await transport.handle_async_request(get())
    assert recorded.points("walltrack.throttled") == [
        ({**PLACE, "walltrack.reason": "Retry-After"}, 1)
    ]


async def test_losses_and_returns_of_a_store_are_counted(recorded: Recorded) -> None:
    """By the name of the store."""
    listener = listening(recorded)
    for event in (SharedStateLost("shop", "TimeoutError"), SharedStateRecovered("shop")):
        listener(event)
    listener(SharedStateLost("shop", "ConnectionError"))
    way = ("walltrack.service", "walltrack.shared_state.to")
    assert recorded.by("walltrack.shared_state.transitions", *way) == {
        ("shop", "lost"): 2,
        ("shop", "recovered"): 1,
    }


async def test_names_of_an_enum_are_plain_text(recorded: Recorded) -> None:
    """An exporter would show the name of the member, or refuse it."""

    class Service(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
        PRICES = "prices"

    transport = resilient_transport(
        Scripted(503), retry=None, breaker=CircuitBreaker(1), listener=listening(recorded)
    )
    await transport.handle_async_request(get(extensions={"walltrack.service": Service.PRICES}))
    kinds = {
        (type(attributes["walltrack.service"]), attributes["walltrack.service"])
        for name in ("walltrack.call.duration", "walltrack.circuit.transitions")
        for attributes, _ in recorded.points(name)
    }
    assert kinds == {(str, "prices")}


# Spans


async def test_events_are_on_the_span_of_the_caller(recorded: Recorded) -> None:
    """With their fields; a call without a span gets none."""
    transport = RetryTransport(Scripted(503, 200), sleep=at_once, listener=listening(recorded))
    with recorded.tracers.get_tracer("t").start_as_current_span("caller"):
        await transport.handle_async_request(get(extensions={"walltrack.route": "/{x}"}))
    await transport.handle_async_request(get())
    [span] = recorded.spans
    assert recorded.events(span) == [
        "walltrack.retry_scheduled",
        "walltrack.call_succeeded_after_retries",
    ]
    attributes = dict(span.events[0].attributes or {})
    assert attributes["walltrack.delay"] == 1.0
    assert attributes["walltrack.path"] == "/{x}"


async def test_with_a_tracer_provider_a_call_outside_of_any_span_has_one(
    recorded: Recorded,
) -> None:
    """It has the events, and the outcome; within a span there is no other."""
    transport = RetryTransport(
        Scripted(503, 200, 404),
        sleep=at_once,
        listener=listening(recorded, tracer_provider=recorded.tracers),
    )
    await transport.handle_async_request(get())
    assert trace.get_current_span() is trace.INVALID_SPAN
    with recorded.tracers.get_tracer("t").start_as_current_span("caller"):
        await transport.handle_async_request(get())
    await transport.handle_async_request(post())
    good, caller, bad = recorded.spans
    assert (good.name, caller.name, bad.name) == ("GET", "caller", "POST")
    assert recorded.events(good) == [
        "walltrack.retry_scheduled",
        "walltrack.call_succeeded_after_retries",
    ]
    assert good.status.status_code is StatusCode.UNSET
    assert bad.status.status_code is StatusCode.ERROR
    assert (bad.attributes or {})["error.type"] == "404"
    assert (good.attributes or {})["server.address"] == "api.test"


async def test_an_sdk_that_fails_changes_neither_calls_nor_the_log(
    recorded: Recorded, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is logged; the span of the call ends, and the next call works."""
    listener = listening(recorded, listener=events, tracer_provider=recorded.tracers)
    broken = Mock()
    broken.add.side_effect = broken.record.side_effect = ZeroDivisionError
    for name in ("_duration", "_retries"):
        setattr(listener, name, broken)
    transport = RetryTransport(Scripted(503, 200, 200), sleep=at_once, listener=listener)
    for _ in range(2):
        assert (await transport.handle_async_request(get())).status_code == 200
    assert events.names == ["retry_scheduled", "call_succeeded_after_retries"]
    assert [recorded.events(span) for span in recorded.spans] == [
        [f"walltrack.{name}" for name in events.names],
        [],
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "listener failed on retry_scheduled",
        *["listener failed on the end of a call"] * 2,
    ]


async def test_after_the_shutdown_of_the_sdk_calls_go_on(recorded: Recorded) -> None:
    """This happens at the end of a program."""
    listener = listening(recorded, tracer_provider=recorded.tracers)
    transport = RetryTransport(Scripted(503, 200), sleep=at_once, listener=listener)
    recorded.meters.shutdown()
    recorded.tracers.shutdown()
    assert (await transport.handle_async_request(get())).status_code == 200


# The listener beside it


async def test_another_listener_hears_the_events_too(recorded: Recorded, events: Events) -> None:
    """By default the log; here one that is given, whose failure breaks nothing."""
    listening(recorded, listener=events)(CircuitClosed("api.test"))
    assert events.names == ["circuit_closed"]

    def raising(_: object) -> None:
        raise ZeroDivisionError

    listening(recorded, listener=raising)(CircuitClosed("api.test"))


async def test_by_default_events_are_logged(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that adds metrics does not lose its log."""
    caplog.set_level("INFO", "walltrack")
    OpenTelemetryListener(recorded.meters)(CircuitClosed("api.test"))
    assert caplog.messages == ["circuit_closed service=api.test mode=automatic previous=half_open"]


@pytest.mark.parametrize(
    "options", [{"keys": 1}, {"listener": 1}, {"clock": 1}], ids=["keys", "listener", "clock"]
)
async def test_a_wrong_option_is_refused_by_name(
    recorded: Recorded, options: dict[str, Any]
) -> None:
    """The constructor raises an error that names the option."""
    with pytest.raises(TypeError, match=next(iter(options))):
        OpenTelemetryListener(recorded.meters, **options)


async def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "walltrack.telemetry.otel")
    with pytest.raises(ImportError, match=r"install walltrack\[otel\]"):
        importlib.import_module("walltrack.telemetry.otel")
