"""Events, calls and the state of layers as metrics and span events of OpenTelemetry."""

import time
from collections.abc import Callable
from typing import Final

import httpx

from walltrack.core import validation
from walltrack.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeChanged,
    CircuitOpened,
    Event,
    Listener,
    OriginThrottled,
    RequestAdmitted,
    RequestHedged,
    RequestRejected,
    RetryScheduled,
    RetryStopped,
    SharedStateLost,
    SharedStateRecovered,
)
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.observer import Ended, Readable
from walltrack.core.version import __version__
from walltrack.telemetry.attributes import Attributes, about, of_call, of_span, outcome_of
from walltrack.telemetry.emit import emit
from walltrack.telemetry.log import log_event
from walltrack.telemetry.resends import number_resends

try:
    from opentelemetry import context, metrics, trace

    from walltrack.telemetry.gauges import gauges_of
except ImportError as _error:
    raise ImportError(
        "OpenTelemetryListener needs OpenTelemetry: install walltrack[otel]"
    ) from _error

__all__ = ["OpenTelemetryListener", "number_resends"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class OpenTelemetryListener:
    """Report what happens to calls as metrics, and as events on the caller's current span.

        listener = OpenTelemetryListener()
        client = httpx.AsyncClient(transport=resilient_transport(listener=listener))

    It is the listener of any number of layers and stacks, and of a `RedisState`. It needs
    `walltrack[otel]`, and an SDK that the program configures.

    Metrics: `walltrack.call.duration` (histogram in seconds, until the headers or, if it is read
    inside, the end of the body), `walltrack.queue.duration` (histogram in seconds, of the requests
    that waited and were sent), `walltrack.retries`, `walltrack.not_retried`, `walltrack.rejected`,
    `walltrack.hedges`, `walltrack.throttled`,
    `walltrack.circuit.transitions`, `walltrack.shared_state.transitions`, and the gauges
    `walltrack.circuit.state`, `walltrack.queue.waiting` and `walltrack.retry_budget.balance`. Their
    attributes are `server.address`, `server.port`, `http.request.method`, `error.type`,
    `walltrack.service`, `walltrack.reason`, `walltrack.queue`, `walltrack.circuit.from`, `.to` and
    `.mode`, and `walltrack.shared_state.to`; never a path.

    Args:
        meter_provider: Makes the metrics. None: the global provider.
        tracer_provider: Makes a span for each call that begins outside of any span, for the events
            of the call. None: such a call has no span.
        keys: Whether the keys of circuit breakers that are not origins become the attribute
            `walltrack.key`. Each value is a time series of its own, so there must be few.
        listener: Called with each event as well; None: no other listener. Default: log entries.
        clock: Monotonic seconds; measures the calls.

    Raises:
        TypeError: An argument has another type.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        *,
        keys: bool = False,
        listener: Listener | None = log_event,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        validation.instance("keys", keys, bool)
        validation.listener("listener", listener)
        validation.function("clock", clock)
        self._keys = keys
        self._listener = listener
        self._clock = clock
        self._tracer = (
            None
            if tracer_provider is None
            else tracer_provider.get_tracer("walltrack", __version__)
        )
        self._gauges = gauges_of(meter_provider)
        meter = metrics.get_meter("walltrack", __version__, meter_provider)
        self._duration = meter.create_histogram(
            "walltrack.call.duration",
            "s",
            "Duration of calls, with their retries and waits.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._waits = meter.create_histogram(
            "walltrack.queue.duration",
            "s",
            "How long requests waited in a queue before they were sent.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._retries = meter.create_counter(
            "walltrack.retries", "{retry}", "Retries, by what ended the attempt before."
        )
        self._rejected = meter.create_counter(
            "walltrack.rejected", "{request}", "Requests that a layer rejected, by its reason."
        )
        self._hedges = meter.create_counter(
            "walltrack.hedges", "{request}", "Second attempts, sent because the first took long."
        )
        self._transitions = meter.create_counter(
            "walltrack.circuit.transitions", "{transition}", "Changes of the state of circuits."
        )
        self._not_retried = meter.create_counter(
            "walltrack.not_retried", "{call}", "Failed calls without another retry, by the reason."
        )
        self._throttled = meter.create_counter(
            "walltrack.throttled", "{response}", "Responses that asked for fewer requests."
        )
        self._store_transitions = meter.create_counter(
            "walltrack.shared_state.transitions", "{transition}", "Losses and returns of a store."
        )

    def __call__(self, event: Event, /) -> None:
        """Call the other listener with `event`, add it to the current span, and count it."""
        if self._listener is not None:  # first, since it does not depend on an exporter
            emit(self._listener, event)
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(f"walltrack.{event.name}", of_span(event))
        self._count(event)

    def layer_made(self, layer: Readable) -> None:
        """Read the state of `layer` when metrics are collected, as long as it exists."""
        self._gauges.add(layer, keys=self._keys)

    def call_began(self, request: httpx.Request) -> Ended:
        """Measure a call, and give it a span if it has none and there is a tracer provider."""
        attributes = of_call(request)
        end_span = None
        if self._tracer is not None and not trace.get_current_span().is_recording():
            end_span = _begin_span(self._tracer, request.method, attributes)
        began = self._clock()

        def ended(outcome: httpx.Response | BaseException) -> None:
            try:
                failure = outcome_of(outcome)
                self._duration.record(
                    self._clock() - began, {**attributes, **failure} if failure else attributes
                )
            finally:
                if end_span is not None:
                    end_span(outcome)

        return ended

    def _count(self, event: Event) -> None:
        match event:
            case RetryScheduled():
                self._retries.add(1, {**self._about(event), "error.type": event.failure})
            case RetryStopped(stop_reason=reason):
                self._not_retried.add(1, {**self._about(event), "walltrack.reason": str(reason)})
            case RequestRejected(reason=reason):
                self._rejected.add(1, {**self._about(event), "walltrack.reason": str(reason)})
            case RequestAdmitted(waited=waited, queue=queue):
                self._waits.record(waited, {**self._about(event), "walltrack.queue": queue})
            case RequestHedged():
                self._hedges.add(1, self._about(event))
            case OriginThrottled():
                place = about(None, event.service, event.server)
                self._throttled.add(1, {**place, "walltrack.reason": event.reason})
            case _:
                self._count_transition(event)

    def _count_transition(self, event: Event) -> None:
        match event:
            case CircuitOpened():
                self._changed(event, event.previous, "open")
            case CircuitHalfOpened():
                self._changed(event, "open", "half_open")
            case CircuitClosed():
                self._changed(event, event.previous, "closed")
            case CircuitModeChanged(previous=previous, state=state) if previous != state:
                self._changed(event, previous, state)
            case SharedStateLost():
                self._store_changed(event, "lost")
            case SharedStateRecovered():
                self._store_changed(event, "recovered")

    def _changed(
        self,
        event: CircuitOpened | CircuitHalfOpened | CircuitClosed | CircuitModeChanged,
        before: str,
        after: str,
    ) -> None:
        attributes = {
            **about(None, event.service, event.server),
            "walltrack.circuit.from": str(before),
            "walltrack.circuit.to": str(after),
            "walltrack.circuit.mode": str(event.mode),
        }
        if self._keys and event.key is not None:
            attributes["walltrack.key"] = event.key
        self._transitions.add(1, attributes)

    def _store_changed(self, event: SharedStateLost | SharedStateRecovered, became: str) -> None:
        attributes = {**about(None, event.service, None), "walltrack.shared_state.to": became}
        self._store_transitions.add(1, attributes)

    @staticmethod
    def _about(
        event: RetryScheduled | RetryStopped | RequestRejected | RequestAdmitted | RequestHedged,
    ) -> Attributes:
        return about(event.method, event.service, event.server)


def _begin_span(tracer: trace.Tracer, method: str, attributes: Attributes) -> Ended:
    span = tracer.start_span(method, attributes=attributes)
    token = context.attach(trace.set_span_in_context(span))

    def ended(outcome: httpx.Response | BaseException) -> None:
        context.detach(token)
        failure = outcome_of(outcome)
        span.set_attributes(failure)
        if failure:
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    return ended
