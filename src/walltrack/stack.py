"""The standard order of all layers, in one call."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, Unpack, cast

import anyio
import httpx

from walltrack.auth.credentials import AuthTypes
from walltrack.auth.transport import AuthTransport
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
from walltrack.http.options import HTTPOptions
from walltrack.http.sending import inner_transport
from walltrack.rate_limit.transport import RateLimitTransport
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.sole import SoleRetrier
from walltrack.retry.transport import RetryTransport
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.timeout.body import Timer
from walltrack.timeout.limits import AttemptTimeout
from walltrack.timeout.transport import TimeoutTransport

Limit: TypeAlias = int | Literal["adaptive"] | AdaptiveLimit
Transport: TypeAlias = httpx.AsyncBaseTransport


class Layer(Protocol):
    """A function that wraps a transport in a layer, such as the class of a layer."""

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
    sole_retrier: bool = False,
    body: ReadAhead = "small",
    hedge: float | Literal["p95"] | Layer | None = None,
    rate_limit: float | Layer | None = None,
    concurrency_limit: Limit | Layer | None = None,
    breaker: CircuitBreaker | Layer | None = CircuitBreakerTransport,
    attempt_timeout: float | AttemptTimeout | Layer | None = None,
    auth: AuthTypes | None = None,
    classify: Classify | Sequence[Classify] | None = None,
    listener: Listener | None = log_event,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
    timer: Timer = anyio.move_on_after,
    **connection: Unpack[HTTPOptions],
) -> family.AsyncBaseTransport:
    """Build the standard stack around a transport.

        client = httpx.AsyncClient(
            transport=resilient_transport(deadline=30, rate_limit=10, concurrency_limit=20)
        )

    The layers from the outside in, with the reason for their order:

    1. `deadline`: outermost, so that every wait inside counts: backoff, queue and rate.
    2. `retry`: around the breaker, so that it counts attempts, and an open circuit ends the call.
    3. `hedge`: inside `retry`, which asks again only when both attempts failed, and around the
       limits, since a second attempt is a request like any other and waits for its own turn.
    4. `rate_limit`: inside `retry`, so that each attempt takes its turn; before the concurrency
       limit, so that a request holds no permit of it while it waits for its turn.
    5. `concurrency_limit`: inside `retry`, so that no place is held in a backoff.
    6. `breaker`: inside all queues, so that its permit is acquired last: a request in a queue uses
       no probe, and when it leaves the queue, the current state of the circuit applies.
    7. `attempt_timeout`: innermost, so that time in a queue does not count, and the breaker counts
       attempts that took too long.
    8. `auth`: inside all others, so that each attempt has its own nonce, signature or token.

    None leaves a layer out. Instead of a value, each option accepts a function that wraps a
    transport in a layer, for settings that have no value here:
    `rate_limit=functools.partial(RateLimitTransport, rate=100, per=60)`. Such a layer does not get
    the listener, clock and sleep that are given here.

    Args:
        transport: What sends the requests. None: an `HTTPTransport()`, which uses the proxies of
            the environment.
        deadline: Seconds for a whole call, with its redirects and its body. Default: no limit.
        retry: What is retried. Default: `RetryPolicy()`.
        budget: Limits the retries: a budget like this one for each origin, or this object for all
            if it is `shared`. Default: `RetryBudget()`. None: no limit. Hedges have a smaller
            budget of their own.
        sole_retrier: Whether final 4xx and 5xx responses are marked with `x-should-retry: false`.
            SDKs generated by Stainless obey it, and do not repeat a call that was retried here.
        body: Which response bodies are read inside the attempt, and so retried: "small", "whole"
            or "stream"; see `RetryTransport`.
        hedge: Seconds without a response after which a second attempt is sent, or "p95". Default:
            there is none.
        rate_limit: How many requests per second are sent to each origin. Default: no limit.
        concurrency_limit: How many requests to each origin may be in flight, or "adaptive", or an
            `AdaptiveLimit`. Default: no limit.
        breaker: The circuit breaker for all requests. Default: one for each origin.
        attempt_timeout: Seconds for one attempt, including its body; or an `AttemptTimeout` with
            limits until the headers and between two chunks. Default: no limit.
        auth: Credentials, as an httpx client takes them, for the origin of the first request; see
            `AuthTransport`, which is the transport to give for another one.
        classify: Decides for all layers what the outcomes of one API mean; a function, or several
            of which the first result that is not None counts. Where none decides, the outcome table
            does. See `walltrack.dialects`.
        listener: Called with the events of all layers; None: no events. Default: log entries.
        clock: Monotonic seconds; measures durations. Time limits and queues use the clock of the
            event loop: see `timer`.
        sleep: Waits for the given number of seconds; replace it to test without waiting.
        timer: Opens a scope that is cancelled after the given seconds; replace it to test without
            waiting.
        connection: The options of the `HTTPTransport` that is made if no `transport` is given:
            verify, cert, http1, http2, limits, trust_env, proxy, uds, local_address, retries and
            socket_options.

    Raises:
        TypeError: An argument has another type, or a function returns None; an option does not
            exist, or is one of `connection` although there is a `transport`.
        ValueError: A number is out of range, or the environment names an invalid proxy.
    """
    validation.instance("budget", budget, RetryBudget | None)
    validation.function("timer", timer)
    validation.instance("sole_retrier", sole_retrier, bool)
    if sole_retrier and retry is None:
        raise ValueError("sole_retrier=True needs a retry=, or nothing would retry")
    standard = _Standard(budget, body, classifier_of(classify), listener, clock, sleep, timer)
    if breaker is CircuitBreakerTransport:
        breaker = standard.breakers
    layers: tuple[tuple[str, Any, Callable[..., Transport]], ...] = (
        ("attempt_timeout", attempt_timeout, standard.attempt_timeout),
        ("breaker", breaker, standard.breaker),
        ("concurrency_limit", concurrency_limit, standard.concurrency_limit),
        ("rate_limit", rate_limit, standard.rate_limit),
        ("hedge", hedge, standard.hedge),
        ("retry", retry, standard.retry),
        ("sole_retrier", SoleRetrier if sole_retrier else None, SoleRetrier),
        ("deadline", deadline, standard.deadline),
    )
    stack = inner_transport(resilient_transport, transport, connection)
    if auth is not None:
        stack = AuthTransport(stack, auth)
    for name, option, put_around in layers:
        if option is not None:
            stack = option(stack) if callable(option) else put_around(stack, option)
            if (
                stack is None
            ):  # the next layer would make an HTTPTransport, without the layers inside
                raise TypeError(f"{name} must return a transport, got None")
    return cast("family.AsyncBaseTransport", stack)  # it serves the family that `transport` does


@dataclass(frozen=True, slots=True)
class _Standard:
    """Wraps a transport in each layer, configured by the value of its option."""

    budget: RetryBudget | None
    body: ReadAhead
    classifier: Classifier | None
    listener: Listener | None
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    timer: Timer

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
