"""Metrics and spans of a storm of faults, against what the server did and the callers saw."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final

import anyio
import httpx
import httpx2
import pytest
from opentelemetry.instrumentation.httpx import (
    AsyncOpenTelemetryTransport,
    AsyncOpenTelemetryTransportHttpx2,
    HTTPX2ClientInstrumentor,
    HTTPXClientInstrumentor,
)

from tests.integration.fault_server import Exchange, FaultServer, answer, close, late, reset
from tests.recorded import Recorded
from tests.support import Events, until
from walltrack import (
    Backoff,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    HedgingTransport,
    HTTPTransport,
    RequestAdmitted,
    RetryBudget,
    RetryPolicy,
    WaitingRoomTransport,
    WallTrackError,
    origin_of,
    resilient_transport,
)
from walltrack.telemetry.otel import OpenTelemetryListener, number_resends

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CALLS, CALLERS, CAPACITY = 60, 6, 1000
BEHAVIOURS: Final = {
    "200": answer(),
    "404": answer(404),
    "503": answer(503),
    "ReadError": reset,
    "RemoteProtocolError": close,
}
FAILURES: Final = ("503", "ReadError", "RemoteProtocolError")
TRACED: Any = {httpx: AsyncOpenTelemetryTransport, httpx2: AsyncOpenTelemetryTransportHttpx2}
INSTRUMENTORS: Any = {httpx: HTTPXClientInstrumentor, httpx2: HTTPX2ClientInstrumentor}
STATUS = ("http.status_code", "http.response.status_code")

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


class Storm:
    """What a server does to the requests that come, and how often it did it."""

    def __init__(self) -> None:
        kinds = [*["200"] * 30, *["404"] * 4, *["503"] * 20, *["ReadError"] * 8]
        kinds += ["RemoteProtocolError"] * 6
        random.Random(7).shuffle(kinds)  # noqa: S311 - the same storm each time
        self._kinds = iter(kinds)
        self.done: Counter[str] = Counter()

    async def __call__(self, exchange: Exchange) -> None:
        kind = next(self._kinds, "200")
        self.done[kind] += 1
        await BEHAVIOURS[kind](exchange)


class Told:
    """A storm, what its callers saw of it, and what was recorded."""

    def __init__(self) -> None:
        self.recorded = Recorded()
        self.events = Events()
        self.seen: Counter[str] = Counter()
        self.never_sent = 0
        self.listener = OpenTelemetryListener(self.recorded.meters, listener=self.events)
        self._tracer = self.recorded.tracers.get_tracer("callers")

    def stack(self, inner: Any, **options: Any) -> Any:  # noqa: ANN401 - of either family
        """The stack under test, with short waits and a circuit that opens and closes often."""
        return resilient_transport(
            inner,
            **options,
            retry=RetryPolicy(backoff=Backoff(base=0.001, cap=0.001)),
            breaker=partial(
                CircuitBreakerTransport,
                failure_threshold=3,
                cooldown=0.003,
                listener=self.listener,
            ),
            budget=RetryBudget(CAPACITY, deposit=0, refill=0),
            concurrency_limit=partial(
                ConcurrencyLimitTransport,
                limit=4,
                max_queue=1,
                key=origin_of,
                listener=self.listener,
            ),
            listener=self.listener,
        )

    async def endure(self, client: Any, url: str) -> None:  # noqa: ANN401 - of either family
        """Make all calls, some at a time, each within a span of its caller."""
        calls = iter(range(CALLS))

        async def caller() -> None:
            for _ in calls:
                with self._tracer.start_as_current_span("caller"):
                    self.seen[await self._outcome_of(client, url)] += 1
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(caller)

    async def _outcome_of(self, client: Any, url: str) -> str:  # noqa: ANN401 - of either family
        """A status, or the class of an exception."""
        try:
            response = await client.get(url, timeout=5)
        except (httpx.TransportError, httpx2.TransportError) as error:
            self.never_sent += isinstance(error, WallTrackError) and not hasattr(error, "__notes__")
            return type(error).__name__
        return str(response.status_code)

    def spans(self) -> tuple[list[Any], list[Any]]:
        """The spans of callers, and all others."""
        callers = [span for span in self.recorded.spans if span.name == "caller"]
        return callers, [span for span in self.recorded.spans if span.name != "caller"]


def pool(home: ModuleType) -> Any:  # noqa: ANN401 - of either family
    """The family's own transport; each attempt has a connection of its own."""
    return home.AsyncHTTPTransport(limits=home.Limits(max_keepalive_connections=0))


@contextmanager
def instrumented(told: Told, home: ModuleType) -> Iterator[Any]:
    """A stack over the transport of this library, while the family is instrumented."""
    instrumentor = INSTRUMENTORS[home]()
    instrumentor.instrument(
        tracer_provider=told.recorded.tracers, async_request_hook=number_resends
    )
    try:
        inner = HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        yield home.AsyncClient(transport=told.stack(inner))
    finally:
        instrumentor.uninstrument()


def status_of(span: Any) -> str | None:  # noqa: ANN401 - a span of the SDK
    """The status on a span, under the old name or the stable one."""
    found = [str(span.attributes[name]) for name in STATUS if name in span.attributes]
    return found[0] if found else None


def check_metrics(told: Told, storm: Storm) -> None:
    """Each metric is what the server did, and what the callers saw."""
    recorded, done, seen = told.recorded, storm.done, told.seen
    duration = recorded.by("walltrack.call.duration", "error.type")
    retries = recorded.by("walltrack.retries", "error.type")
    rejected = recorded.by("walltrack.rejected", "walltrack.reason")

    assert min(retries["503"], rejected["circuit_open"], seen["200"]) > 0  # it was a storm
    assert sum(seen.values()) == sum(duration.values()) == CALLS
    assert {kind or "200": count for kind, count in duration.items()} == dict(seen)
    for kind in ("200", "404"):  # each was the end of its call
        assert seen[kind] == done[kind]
    for kind in FAILURES:  # each was followed by a retry, or was the end of its call
        assert retries.get(kind, 0) + duration.get(kind, 0) == done[kind]
    assert set(retries) <= set(FAILURES)
    # Each attempt that was not rejected reached the server.
    attempts = CALLS + sum(retries.values())
    assert attempts - sum(rejected.values()) == sum(done.values())
    assert rejected == {
        "circuit_open": seen["CircuitBreakerOpenError"],
        "queue_full": seen["ConcurrencyLimitError"],
    }
    # Each call that failed has one reason, unless it was rejected at once.
    not_retried = recorded.by("walltrack.not_retried", "walltrack.reason")
    assert sum(not_retried.values()) == CALLS - seen["200"] - told.never_sent
    assert not_retried["status_not_retried"] == seen["404"]
    assert recorded.by("walltrack.retry_budget.balance", "server.address") == {
        "127.0.0.1": CAPACITY - sum(retries.values())
    }
    assert recorded.by("walltrack.queue.waiting", "walltrack.queue") == {"concurrency_limit": 0}
    last = [name for name in told.events.circuit_names if name.startswith("circuit_")][-1]
    state = recorded.by("walltrack.circuit.state", "server.address")["127.0.0.1"]
    assert (
        state in {"circuit_opened": {1, 2}, "circuit_half_opened": {1}, "circuit_closed": {0}}[last]
    )
    assert recorded.by("walltrack.circuit.transitions", "walltrack.circuit.to") == {
        name.removeprefix("circuit_").replace("opened", "open"): count
        for name, count in Counter(told.events.circuit_names).items()
    }
    places = {
        (found.get("server.address"), found.get("walltrack.service", "127.0.0.1").partition(":")[0])
        for name in recorded.names()
        for found, _ in recorded.points(name)
    }
    assert places == {("127.0.0.1", "127.0.0.1")}


def check_callers(told: Told, spans: list[Any]) -> None:
    """The events on these spans are those that were counted."""
    on_spans = Counter(event.name for span in spans for event in span.events)
    assert on_spans == Counter(f"walltrack.{name}" for name in told.events.names)


@each_family
@pytest.mark.parametrize("how", ["its transport", "instrument()"])
async def test_inside_each_attempt_has_a_span_with_its_number(
    server: FaultServer, home: ModuleType, how: str
) -> None:
    """The spans are what the server did; events are on the span of the caller."""
    told, storm = Told(), Storm()
    server.default = storm
    if how == "instrument()":
        with instrumented(told, home) as client:
            async with client:
                await told.endure(client, server.url)
    else:
        inner = TRACED[home](
            pool(home), tracer_provider=told.recorded.tracers, request_hook=number_resends
        )
        async with home.AsyncClient(transport=told.stack(inner)) as client:
            await told.endure(client, server.url)

    check_metrics(told, storm)
    callers, attempts = told.spans()
    check_callers(told, callers)
    assert len(attempts) == len(server.seen) == sum(storm.done.values())
    statuses = Counter(status_of(span) for span in attempts)
    lost = storm.done["ReadError"] + storm.done["RemoteProtocolError"]
    answered = {kind: storm.done[kind] for kind in ("200", "404", "503")}
    assert statuses == Counter(answered) + Counter({None: lost})
    for caller in callers:  # they are siblings, and none is missing
        own = sorted(
            (span.start_time, span.attributes.get("http.request.resend_count"))
            for span in attempts
            if span.parent.span_id == caller.context.span_id
        )
        numbers = [number for _, number in own]
        assert numbers == [None, *range(1, len(numbers))][: len(numbers)]
    assert len({seen.headers["traceparent"] for seen in server.seen}) == len(server.seen)


@each_family
@pytest.mark.parametrize("how", ["its transport", "instrument_client()"])
async def test_outside_each_call_has_a_span_with_the_events(
    server: FaultServer, home: ModuleType, how: str
) -> None:
    """One for each call, however often it was sent; the callers' own spans have no events."""
    told, storm = Told(), Storm()
    server.default = storm
    stack = told.stack(pool(home))
    if how == "its transport":
        stack = TRACED[home](stack, tracer_provider=told.recorded.tracers)
    async with home.AsyncClient(transport=stack) as client:
        if how != "its transport":
            INSTRUMENTORS[home].instrument_client(client, tracer_provider=told.recorded.tracers)
        await told.endure(client, server.url)

    check_metrics(told, storm)
    callers, calls = told.spans()
    assert len(calls) == len(callers) == CALLS
    assert not [event for span in callers for event in span.events if "exception" not in event.name]
    ours = [event for span in calls for event in span.events if event.name.startswith("walltrack.")]
    assert Counter(event.name for event in ours) == Counter(
        f"walltrack.{name}" for name in told.events.names
    )
    statuses = Counter(status_of(span) for span in calls)
    assert {kind: statuses[kind] for kind in ("200", "404", "503")} == {
        kind: told.seen[kind] for kind in ("200", "404", "503")
    }


async def test_in_the_standard_order_calls_wait_for_a_circuit_and_for_the_limits_of_the_server(
    server: FaultServer,
) -> None:
    """Each wait is measured once, each rejection is counted, and no attempt is missing."""
    told, storm = Told(), Storm()
    server.default = storm
    server.will(answer(429, retry_after_ms="100"), *[answer(503)] * 3)
    room = partial(WaitingRoomTransport, max_wait=5.0, listener=told.listener)
    async with httpx.AsyncClient(transport=told.stack(pool(httpx), waiting_room=room)) as client:
        await told.endure(client, server.url)

    recorded = told.recorded
    waits = recorded.by("walltrack.queue.duration", "walltrack.queue")
    queues = Counter(event.queue for event in told.events if isinstance(event, RequestAdmitted))
    assert waits == queues
    assert set(queues) == {"concurrency_limit", "rate_limit", "waiting_room"}
    rejected = recorded.by("walltrack.rejected", "walltrack.reason")
    errors = {"queue_full": "ConcurrencyLimitError", "circuit_open": "CircuitBreakerOpenError"}
    assert rejected == {r: told.seen[e] for r, e in errors.items() if told.seen[e]}
    retries = sum(recorded.by("walltrack.retries", "error.type").values())
    assert CALLS + retries - sum(rejected.values()) == len(server.seen)
    assert recorded.by("walltrack.throttled", "walltrack.reason") == {"retry-after-ms": 1}
    assert recorded.by("walltrack.queue.waiting", "walltrack.queue") == {
        "concurrency_limit": 0,
        "rate_limit": 0,
    }


async def test_each_hedge_is_one_more_request_at_the_server(server: FaultServer) -> None:
    """Exactly, whichever of the two is answered first."""
    told, turns = Told(), itertools.cycle((late(0.5), answer()))
    calls = 6

    async def by_turns(exchange: Exchange) -> None:
        await next(turns)(exchange)

    server.default = by_turns
    transport = HedgingTransport(
        pool(httpx),
        0.02,
        budget=RetryBudget(CAPACITY, deposit=0, refill=0, shared=True),
        listener=told.listener,
    )
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(calls):
            assert (await client.get(server.url)).status_code == 200
    hedges = told.recorded.by("walltrack.hedges", "server.address")["127.0.0.1"]
    assert hedges > 0
    await until(lambda: len(server.seen) == calls + hedges)
    assert told.recorded.by("walltrack.call.duration", "error.type") == {None: calls}


@each_family
async def test_a_route_hides_the_path_of_a_span(server: FaultServer, home: ModuleType) -> None:
    """A token in a path is in no attribute and in no event."""
    told = Told()
    server.will(answer(503))
    inner = TRACED[home](
        pool(home), tracer_provider=told.recorded.tracers, request_hook=number_resends
    )
    async with home.AsyncClient(transport=told.stack(inner)) as client:
        with told.recorded.tracers.get_tracer("callers").start_as_current_span("caller"):
            await client.get(
                f"{server.url}/bot7:hunter2/send", extensions={"walltrack.route": "/bot{t}/send"}
            )
    assert server.seen[0].target == "/bot7:hunter2/send"
    shown = "".join(span.to_json() for span in told.recorded.spans)
    assert "hunter2" not in shown
    assert shown.count("/bot{t}/send") >= 2
