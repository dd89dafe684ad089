"""The standard order of all layers, in one call."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, cast

import anyio
import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.concurrency_limit.adaptive import AdaptiveLimit
from walltrack.concurrency_limit.transport import ConcurrencyLimitTransport
from walltrack.core import family, validation, waiting
from walltrack.core.budget import RetryBudget
from walltrack.core.classification import Classifier, Classify
from walltrack.core.events import Listener
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import origin_of
from walltrack.hedging.transport import HedgingTransport
from walltrack.http.body import ReadAhead
from walltrack.http.sending import http_transport
from walltrack.rate_limit.transport import RateLimitTransport
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.transport import RetryTransport
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.timeout.body import Timer
from walltrack.timeout.limits import AttemptTimeout
from walltrack.timeout.transport import TimeoutTransport
from walltrack.waiting_room.transport import WaitingRoomTransport

Limit: TypeAlias = int | Literal["adaptive"] | AdaptiveLimit
Transport: TypeAlias = httpx.AsyncBaseTransport


class Layer(Protocol):
    """A function that puts a layer around a transport; a class of transports is one."""

    def __call__(self, transport: Transport, /) -> Transport:
        """Return a transport that sends its requests through `transport`."""
        ...


@shows_defaults_by_name
def resilient_transport(
    transport: family.Transport | None = None,
    *,
    deadline: float | Layer | None = None,
    retry: RetryPolicy | Layer | None = RetryPolicy(),
    budget: RetryBudget | None = RetryBudget(),
    body: ReadAhead = "small",
    hedge: float | Literal["p95"] | Layer | None = None,
    rate_limit: float | Layer | None = None,
    concurrency_limit: Limit | Layer | None = None,
    waiting_room: float | Layer | None = None,
    breaker: CircuitBreaker | Layer | None = CircuitBreakerTransport,
    attempt_timeout: float | AttemptTimeout | Layer | None = None,
    classify: Classify | Sequence[Classify] | None = None,
    listener: Listener | None = log_event,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
    timer: Timer = anyio.move_on_after,
) -> family.AsyncBaseTransport:
    """Build the standard stack around a transport.

        client = httpx.AsyncClient(
            transport=resilient_transport(deadline=30, rate_limit=10, concurrency_limit=20)
        )

    From the outside in, and why each stands where it stands:

    1. `deadline`: outermost, so that every wait inside counts: backoff, queue and rate.
    2. `retry`: around the breaker, so that it counts attempts, and an open circuit ends the call.
    3. `hedge`: inside `retry`, which asks again only when both attempts failed, and around the
       limits, since a second attempt is a request like any other and waits for its own turn.
    4. `rate_limit`: inside `retry`, so that each attempt takes its turn; before the concurrency
       limit, so that a request holds no permit of it while it waits for its turn.
    5. `concurrency_limit`: inside `retry`, so that no place is held in a backoff.
    6. `waiting_room`: around the breaker, whose open circuit it waits for, and inside `retry`,
       which sends a call back to it. Waiters hold their places in the concurrency limit: what waits
       is limited as well, and nothing that would wait here overtakes the others.
    7. `breaker`: after all queues, so that its permit is taken last: a request in a queue spends no
       probe, and who leaves it meets the circuit as it is by then.
    8. `attempt_timeout`: innermost, so that time in a queue is not held against the service, and
       the breaker counts what took too long.

    Each is left out by None, and is then not there at all. Instead of a value each takes a function
    that puts a layer of your making around a transport, for options that have no value here:
    `rate_limit=functools.partial(RateLimitTransport, rate=100, per=60)`. Such a layer has a
    listener, clock and sleep of its own.

    Args:
        transport: What sends the requests. None: an `HTTPTransport()`, which takes the proxies of
            the environment.
        deadline: Seconds for a whole call, with its redirects and its body. Default: no limit.
        retry: What is retried. Default: `RetryPolicy()`.
        budget: What retries are paid from: a budget like this one for each origin, or this very one
            if it is `shared`. Default: `RetryBudget()`. None: retries are free. Hedges have a
            smaller budget of their own.
        body: Which response bodies are read inside the attempt, and so retried: "small", "whole"
            or "stream"; see `RetryTransport`.
        hedge: After how many seconds without an answer a second attempt is sent, or "p95". Default:
            there is none.
        rate_limit: How many requests a second each origin gets. Default: no limit.
        concurrency_limit: How many requests each origin gets at a time, or "adaptive", or an
            `AdaptiveLimit`. Default: no limit.
        waiting_room: For how many seconds a call waits for an open circuit, instead of being
            rejected. Without a breaker there is nothing to wait for; with one whose `key` is your
            own, give a `WaitingRoomTransport` the same key. Default: it does not wait.
        breaker: The circuit breaker for all requests. Default: one for each origin.
        attempt_timeout: Seconds for one attempt, its body included; or an `AttemptTimeout` with
            limits until the headers and between two chunks. Default: no limit.
        classify: Says to all layers what the outcomes of one API mean, where that differs from the
            default; of several functions the first one that says something wins. See
            `walltrack.dialects`.
        listener: Called with the events of all layers; None for no events. Default: a log entry
            each.
        clock: Monotonic seconds; durations are measured by it. Time limits and queues end by the
            clock of the event loop.
        sleep: Waits for the given seconds; replace it to test without waiting.
        timer: Opens a scope that is cancelled after the given seconds by that clock; as `sleep`.

    Raises:
        TypeError: An argument is of another type, or a function returns None.
        ValueError: A number is out of range, or the environment names a proxy that cannot be one.
    """
    validation.instance("budget", budget, RetryBudget | None)
    validation.function("timer", timer)
    standard = _Standard(
        budget,
        body,
        classifier_of(classify),
        listener,
        clock,
        sleep,
        timer,
        is_breaker_shared=isinstance(breaker, CircuitBreaker),
    )
    if breaker is CircuitBreakerTransport:
        breaker = standard.breakers
    layers: tuple[tuple[str, Any, Callable[..., Transport]], ...] = (
        ("attempt_timeout", attempt_timeout, standard.attempt_timeout),
        ("breaker", breaker, standard.breaker),
        ("waiting_room", None if breaker is None else waiting_room, standard.waiting_room),
        ("concurrency_limit", concurrency_limit, standard.concurrency_limit),
        ("rate_limit", rate_limit, standard.rate_limit),
        ("hedge", hedge, standard.hedge),
        ("retry", retry, standard.retry),
        ("deadline", deadline, standard.deadline),
    )
    stack = http_transport() if transport is None else family.typed(transport)
    for name, option, put_around in layers:
        if option is not None:
            stack = option(stack) if callable(option) else put_around(stack, option)
            if stack is None:  # would be taken for one to be made, and all inside be lost
                raise TypeError(f"{name} must return a transport, got None")
    return cast("family.AsyncBaseTransport", stack)  # it serves the family that `transport` does


@dataclass(frozen=True, slots=True)
class _Standard:
    """Puts each layer around a transport, by a value that stands for it."""

    budget: RetryBudget | None
    body: ReadAhead
    classifier: Classifier | None
    listener: Listener | None
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    timer: Timer
    is_breaker_shared: bool

    def attempt_timeout(self, inner: Transport, limits: float | AttemptTimeout) -> Transport:
        if not isinstance(limits, AttemptTimeout):
            validation.positive("attempt_timeout", limits)
            limits = AttemptTimeout(total=limits)
        return TimeoutTransport(
            inner,
            limits.total,
            headers=limits.headers,
            idle=limits.idle,
            name="attempt timeout",
            clock=self.clock,
            timer=self.timer,
        )

    def breakers(self, inner: Transport) -> Transport:
        return CircuitBreakerTransport(
            inner, classify=self.classifier, listener=self.listener, clock=self.clock
        )

    def breaker(self, inner: Transport, breaker: CircuitBreaker) -> Transport:
        validation.instance("breaker", breaker, CircuitBreaker)
        return CircuitBreakerTransport(
            inner, breaker=breaker, classify=self.classifier, listener=self.listener
        )

    def waiting_room(self, inner: Transport, max_wait: float) -> Transport:
        validation.positive("waiting_room", max_wait)
        return WaitingRoomTransport(
            inner,
            max_wait=max_wait,
            key=_same_for_all if self.is_breaker_shared else origin_of,
            clock=self.clock,
            timer=self.timer,
            listener=self.listener,
        )

    def concurrency_limit(self, inner: Transport, limit: Limit) -> Transport:
        if isinstance(limit, str):
            validation.choice("concurrency_limit", limit, ("adaptive",))
        elif not isinstance(limit, AdaptiveLimit):
            validation.integer("concurrency_limit", limit, minimum=1)
        return ConcurrencyLimitTransport(
            inner,
            limit,
            key=origin_of,
            classify=self.classifier,
            clock=self.clock,
            timer=self.timer,
            listener=self.listener,
        )

    def rate_limit(self, inner: Transport, rate: float) -> Transport:
        validation.positive("rate_limit", rate)
        return RateLimitTransport(
            inner,
            rate,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def hedge(self, inner: Transport, delay: float | Literal["p95"]) -> Transport:
        if isinstance(delay, str):
            validation.choice("hedge", delay, ("p95",))
        else:
            validation.number("hedge", delay)
        return HedgingTransport(
            inner,
            delay,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def retry(self, inner: Transport, policy: RetryPolicy) -> Transport:
        validation.instance("retry", policy, RetryPolicy)
        return RetryTransport(
            inner,
            policy=policy,
            budget=self.budget,
            body=self.body,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def deadline(self, inner: Transport, seconds: float) -> Transport:
        validation.positive("deadline", seconds)
        return TimeoutTransport(
            inner,
            seconds,
            name="deadline",
            whole_call=True,
            clock=self.clock,
            timer=self.timer,
        )


def _same_for_all(_: httpx.Request) -> None:
    """Return the key of all requests, for a room at a circuit that they share."""
