"""The standard order of all layers, in one call."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Unpack, cast

import anyio

from walltrack.auth.credentials import AuthTypes
from walltrack.auth.transport import AuthTransport
from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.core import family, validation, waiting
from walltrack.core.backoff import Backoff
from walltrack.core.budget import RetryBudget
from walltrack.core.classification import Classify
from walltrack.core.events import Listener
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.shared_state import SharedState
from walltrack.core.statuses import UNHEALTHY_STATUSES
from walltrack.http.body import ReadAhead
from walltrack.http.options import HTTPOptions
from walltrack.http.sending import inner_transport
from walltrack.http.wrapper import WrappingTransport
from walltrack.layers import Layer, Limit, StandardLayers, Transport, key_of, room_at
from walltrack.rate_limit.transport import RateLimitTransport
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.sole import SoleRetrier
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import observe_calls
from walltrack.timeout.body import Timer
from walltrack.timeout.header import DeadlineHeader
from walltrack.timeout.limits import AttemptTimeout
from walltrack.waiting_room.transport import WaitingRoomTransport


@shows_defaults_by_name
def resilient_transport(
    transport: family.Transport | None = None,
    *,
    deadline: float | Layer | None = None,
    retry: RetryPolicy | Layer | None = RetryPolicy(
        backoff=Backoff(jitter="full"), statuses=UNHEALTHY_STATUSES
    ),
    budget: RetryBudget | None = RetryBudget(
        5, deposit=0.5, refill=0.02, refused_cost=0.1, timeout_cost=5
    ),
    sole_retrier: bool = False,
    body: ReadAhead = "small",
    hedge: float | Literal["p95"] | Layer | None = None,
    rate_limit: float | Layer | None = RateLimitTransport,
    concurrency_limit: Limit | Layer | None = None,
    waiting_room: float | Layer | None = WaitingRoomTransport,
    breaker: CircuitBreaker | Layer | None = CircuitBreakerTransport,
    attempt_timeout: float | AttemptTimeout | Layer | None = None,
    deadline_header: str | None = None,
    auth: AuthTypes | None = None,
    shared: SharedState | None = None,
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
    6. `waiting_room`: around the breaker, whose open circuit it waits for, and inside `retry`,
       which sends a call back to it. Waiters keep their places in the concurrency limit, so that
       their number is limited as well, and no other request overtakes them.
    7. `breaker`: inside all queues, so that its permit is acquired last: a request in a queue uses
       no probe, and when it leaves the queue, the current state of the circuit applies.
    8. `attempt_timeout`: innermost, so that time in a queue does not count, and the breaker counts
       attempts that took too long.
    9. `auth`: inside all others, so that each attempt has its own nonce, signature or token.

    The defaults need no tuning for a service. They were found by simulation, by 1, 10 and 50
    clients; this is what other values cost in % of all calls (10 clients, 3 seeds, the standard
    scenarios of `walltrack.simulation`):

    - Cooldown of 1 to 3 s with jitter: 30 s cost 24 in a blackout of 10 s, 23 in a brownout of
      10 s, and 52 if the service is down for 5 of every 10 s. 1 to 30 s cost 8 in a blackout of
      60 s, since probes come late; a constant 1 s costs up to 1 there, and more requests.
    - 5 failures in a row, for half a second, without 429: 3 or 10 change at most 3, also by 50
      clients. If half of all responses are 500, a client that sends 20 requests per second has 5 in
      a row by chance: without the half second that costs 9, and at 200 per second 26. (Not with
      `shared`, whose circuits count the failures of all processes.) A 429 is a response of a
      healthy service, which the rate limit respects.
    - Waiting for an open circuit for 10 s: none costs 6 in a blackout of 10 s, and 29 in the
      service that is down for 5 of every 10 s; 5 s cost 3 and 8; 30 s gain nothing.
    - Budget: a deposit of 0.1 costs 6 if half of all responses are 500. A `refused_cost` of 1
      costs 10 where the service is down for 5 of every 10 s. By 50 clients, in a brownout of 10 s,
      a `timeout_cost` of 1 costs 8, a capacity of 20 costs 6, and `RetryBudget()` costs 10. So a
      client with few successes repeats a call once after a timeout, not three times.
    - Backoff with full jitter and the rate limit change no result by more than 1: they spread
      retries, and save requests.
    - No `attempt_timeout`: 3 s cost 4 in a brownout, and httpx's own timeouts remain.

    Where the service is down for 5 of every 10 s, retries without a circuit breaker succeed more
    often, 95 instead of 90 %: they keep sending to a service that is down. After a brownout, the
    same retries keep it down: 11 instead of 90 %.

    None leaves a layer out. Instead of a value, each option accepts a layer class, or a
    `functools.partial` of one, for settings that have no value here:
    `rate_limit=partial(RateLimitTransport, rate=100, per=60)`. It has the defaults of the class,
    and what is given here and it does not name: listener, clock, sleep, timer, shared, classify,
    budget and body. Any other function that wraps a transport gets nothing.

    Args:
        transport: What sends the requests. None: an `HTTPTransport()`, which uses the proxies of
            the environment.
        deadline: Seconds for a whole call, with its redirects, its body and the requests of `auth`
            below. Each request that an auth flow of the httpx client sends has a deadline of its
            own, since httpx sends it like a new call. Default: no limit.
        retry: What is retried. Default: `RetryPolicy()` with full jitter and without the statuses
            501 and 505. A server that does not know the method or the version of HTTP will not
            know it a second later.
        budget: Limits the retries: a budget like this one for each origin, or this object for all
            if it is `shared`. Default: 5 retries, or one after a timeout, and 0.5 for each success.
            None: no limit. Hedges have a smaller budget of their own.
        sole_retrier: Whether final 4xx and 5xx responses are marked with `x-should-retry: false`.
            SDKs generated by Stainless obey it, and do not repeat a call that was retried here.
        body: Which response bodies are read inside the attempt, and so retried: "small", "whole"
            or "stream"; see `RetryTransport`.
        hedge: Seconds without a response after which a second attempt is sent, or "p95". Default:
            there is none.
        rate_limit: How many requests per second are sent to each origin. Default: only the limits
            that a server announces apply.
        concurrency_limit: How many requests to each origin may be in flight, or "adaptive", or an
            `AdaptiveLimit`. Default: no limit.
        waiting_room: Seconds that an attempt waits for an open circuit, instead of being rejected.
            Default: 10 seconds; none if `breaker` is a layer, which has a longer cooldown and may
            have keys that are unknown here.
        breaker: The circuit breaker for all requests. Default: one for each origin.
        attempt_timeout: Seconds for one attempt, including its body; or an `AttemptTimeout` with
            limits until the headers and between two chunks. Default: no limit.
        deadline_header: Name of a header in which each attempt states for how many seconds its
            caller still waits, by all limits and cancel scopes around it, so that the service can
            drop what comes too late. If it does, 66 instead of 63 % of the calls succeed in a
            brownout of 60 s. Default: it is not sent.
        auth: Credentials, as an httpx client takes them, for the origin of the first request; see
            `AuthTransport`, which is the transport to give for another one.
        shared: Shares the circuits and the rate with other processes: a
            `walltrack.fleet.RedisState`. Budgets stay local: each grows with the successes of
            its own process. Default: nothing is shared.
        classify: Decides for all layers what the outcomes of one API mean; a function, or several
            of which the first result that is not None counts. Where none decides, the outcome table
            does. See `walltrack.dialects`.
        listener: Called with the events of all layers; None: no events. Default: log entries.
        clock: Monotonic seconds; measures durations. Time limits and queues use the clock of the
            event loop: see `timer`.
        sleep: Waits for the given number of seconds; replace it to test without waiting.
        timer: Opens a scope that is cancelled after the given seconds; replace clock, sleep and
            timer together to test without waiting, as by `walltrack.testing.VirtualTime`.
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
    validation.instance("shared", shared, SharedState | None)
    validation.instance("sole_retrier", sole_retrier, bool)
    if sole_retrier and retry is None:
        raise ValueError("sole_retrier=True needs a retry=, or nothing would retry")
    standard = StandardLayers(
        budget,
        body,
        classifier_of(classify),
        listener,
        clock,
        sleep,
        timer,
        shared,
        breaker_key=key_of(breaker),
    )
    waiting_room = room_at(breaker, waiting_room)
    if breaker is CircuitBreakerTransport:
        breaker = standard.breakers
    layers: tuple[tuple[str, Any, Callable[..., Transport]], ...] = (
        ("attempt_timeout", attempt_timeout, standard.attempt_timeout),
        ("breaker", breaker, standard.breaker),
        ("waiting_room", waiting_room, standard.waiting_room),
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
    if deadline_header is not None:
        stack = DeadlineHeader(stack, deadline_header, clock)
    for name, layer, put_around in layers:
        if layer is not None:
            if callable(layer):
                stack = standard.wired(layer)(stack)
            else:
                stack = _made(put_around, stack, layer, name)
            if stack is None:  # the next layer would make an HTTPTransport, without those inside
                raise TypeError(f"{name} must return a transport, got None")
    if isinstance(stack, WrappingTransport):  # the deadline has no listener of its own
        observe_calls(stack, listener)
    return cast("family.AsyncBaseTransport", stack)  # it serves the family that `transport` does


def _made(put_around: Callable[..., Transport], inner: Transport, value: object, name: str) -> Any:  # noqa: ANN401 - checked by the caller
    try:
        return put_around(inner, value)
    except TypeError as error:
        error.add_note(f"{name} can also be None, a layer class, or a functools.partial of one")
        raise
